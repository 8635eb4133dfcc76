"""Text files line by line, plain or gzip, within the limits of `kt_core.data.formats.limits`.

Every fault of a file raises a `KTError` that names the line.
"""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import re
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from sys import intern
from typing import BinaryIO

import numpy as np
import pandas as pd

from kt_core.base.errors import KTError, reason
from kt_core.data.formats import limits

GZIP = b"\x1f\x8b"
PACKED = {  # first bytes -> kind of file; none of these is unpacked here
    b"PK\x03\x04": "a zip archive (or a spreadsheet)",
    b"PK\x05\x06": "an empty zip archive",
    b"BZh": "compressed with bzip2",
    b"\xfd7zXZ\x00": "compressed with xz",
    b"\x28\xb5\x2f\xfd": "compressed with zstd",
    b"7z\xbc\xaf": "a 7z archive",
    b"PAR1": "a Parquet file; name it .parquet",
}
OTHER = {  # first bytes -> kind of file that is not text, and how to get at its table
    b"\xd0\xcf\x11\xe0": "an old spreadsheet (.xls): save it as .xlsx or CSV",
    b"SQLite format 3": "an SQLite database: export the table of answers as CSV",
    b"\x89HDF": "an HDF5 file: write its table as Parquet or CSV",
    b"RDX": "an R data file: write the data frame with write.csv(..., row.names = FALSE)",
    b"X\n\x00\x00": "an R data file: write the data frame with write.csv(..., row.names = FALSE)",
    b"$FL": "an SPSS file: save it as CSV",
    b"ARROW1": "an Arrow file: write it as Parquet",
    b"\x80\x04\x95": "a Python pickle: write its table as Parquet or CSV",
    b"\x80\x05\x95": "a Python pickle: write its table as Parquet or CSV",
    b"%PDF": "a PDF: save the table in it as CSV",
}
TAR = b"ustar"  # at byte 257 of an archive
HEAD = 512  # bytes from which the kind of a file is known
UTF16 = (b"\xff\xfe", b"\xfe\xff")
UTF8 = "utf-8"
QUOTED = re.compile(r'"[^"]*"')
NOT_UTF8 = re.compile("[\udc80-\udcff]")  # bytes that could not be decoded


class Lines:
    """The lines of a text file in order, with their line ends (LF, CRLF or CR).

    Attributes
    ----------
    number : number of the last line read, from 1.
    ended : whether the end has been reached.
    into_memory : whether the text is kept in memory; its total size then has a limit too.
    """

    def __init__(self, path: Path, into_memory: bool = True, encoding: str = UTF8):
        self.path, self.number, self.ended, self.into_memory = path, 0, False, into_memory
        self._chars, self._encoding = 0, encoding
        codec, errors = (
            ("utf-8-sig", "surrogateescape") if encoding == UTF8 else (encoding, "strict")
        )
        self._text = io.TextIOWrapper(opened(path, encoding), codec, errors, newline="")

    def __enter__(self) -> Lines:
        return self

    def __exit__(self, *_: object) -> None:
        self._text.close()

    def __iter__(self) -> Lines:
        return self

    def __next__(self) -> str:
        try:
            line = self._text.readline(limits.LINE_CHARS + 1)
        except UnicodeDecodeError as error:
            raise KTError(
                f"{self.path}, line {self.number + 1} or later: not {self._encoding} "
                f"({reason(error)}); give its own --encoding"
            ) from None
        except (EOFError, zlib.error, OSError) as error:
            raise KTError(
                f"{self.path}, after line {self.number}: cannot be read ({error}); it is cut short "
                "or damaged: fetch or copy it again"
            ) from None
        if not line:
            self.ended = True
            raise StopIteration
        self.number += 1
        self._chars += len(line)
        self._check(line)
        return line

    @property
    def _at(self) -> str:
        return f"{self.path}, line {self.number}"

    def _check(self, line: str) -> None:
        if len(line) > limits.LINE_CHARS:
            raise KTError(
                f"{self._at}: longer than {limits.LINE_CHARS:,} characters; write the table with "
                "one line per row"
            )
        too_many = self._chars > limits.TEXT_CHARS or self.number > limits.MOST_ROWS + 1
        if self.into_memory and too_many:
            raise KTError(
                f"{self._at}: more than {limits.TEXT_CHARS:,} characters of text or "
                f"{limits.MOST_ROWS:,} lines are not read into memory; {limits.BY_CONVERT} (other "
                "formats: split the file)"
            )
        if "\0" in line:
            raise KTError(f"{self._at}: a NUL byte, so not UTF-8 text; export it as UTF-8")
        if not line.isascii() and (bad := NOT_UTF8.search(line)):
            raise KTError(
                f"{self._at}: not UTF-8 (byte 0x{ord(bad[0]) - 0xDC00:02x}); say what it is, for "
                "instance --encoding latin1, or save it as UTF-8, with: iconv -f latin1 -t utf-8"
            )


def known_encoding(name: str) -> str:
    """The name under which Python knows a text encoding.

    Raises
    ------
    KTError
        For one that does not exist, or is not of text.
    """
    try:
        info = codecs.lookup(name)
    except (LookupError, ValueError):
        info = None
    if info is None or not getattr(info, "_is_text_encoding", True):
        raise KTError(f"data.encoding = {name!r}: no such encoding; use utf-8, latin1, cp1252, ...")
    return info.name


def opened(path: Path, encoding: str = UTF8) -> BinaryIO:
    """A text file as bytes, decompressed if its first bytes are those of gzip.

    Raises
    ------
    KTError
        For an archive, UTF-16, or a file that cannot be opened.
    """
    try:
        with path.open("rb") as file:
            head = file.read(HEAD)
    except OSError as error:
        raise KTError(f"{path}: cannot be opened ({error.strerror})") from None
    if not head.startswith(GZIP):
        _refuse(path, head, encoding)
        return path.open("rb")
    try:
        with gzip.open(path) as file:
            head = file.read(HEAD)
    except (EOFError, zlib.error, OSError):
        head = b""  # reported with its line when it is read
    if head.startswith(GZIP):
        raise KTError(f"{path}: compressed twice; decompress it once: gunzip")
    _refuse(path, head, encoding)
    return gzip.open(path)


def _refuse(path: Path, head: bytes, encoding: str) -> None:
    if head[:2] in UTF16 and not encoding.startswith("utf-16"):
        raise KTError(f"{path}: UTF-16; read it with --encoding utf-16, or save it as UTF-8")
    other = next((kind for magic, kind in OTHER.items() if head.startswith(magic)), None)
    if other is not None:
        raise KTError(f"{path}: {other}")
    kind = next((kind for magic, kind in PACKED.items() if head.startswith(magic)), None)
    if kind is None and head[257:262] == TAR:
        kind = "a tar archive"
    if kind is not None:
        raise KTError(
            f"{path}: {kind}; archives are not unpacked here: unpack it, and name the table in it "
            "(only gzip is read directly: .csv.gz)"
        )


class Watched(io.RawIOBase):
    """The bytes of a text file, checked before they reach a fast reader that does not check them.

    Attributes
    ----------
    quotes : number of quotes so far; an odd number may mean that one is not closed.
    """

    def __init__(self, path: Path, encoding: str = UTF8):
        self.path, self.quotes, self.read_so_far = path, 0, 0
        self._file, self.encoding = opened(path, encoding), encoding
        self._decoder = codecs.getincrementaldecoder(encoding)()

    @property
    def position(self) -> int:
        """How much of the file has been read, in bytes on disk."""
        packed = isinstance(self._file, gzip.GzipFile)
        return self._file.fileobj.tell() if packed else self.read_so_far

    def readable(self) -> bool:
        """Always true."""
        return True

    def read(self, size: int = -1) -> bytes:
        """The next bytes."""
        block = self._file.read(size)
        self.read_so_far += len(block)
        try:
            text = self._decoder.decode(block, final=not block)
        except UnicodeDecodeError as error:
            check_rows(self.path, self.encoding)
            raise KTError(
                f"{self.path}: not {self.encoding} ({error}); give its --encoding"
            ) from None
        if self.encoding != UTF8:
            if block and not text:  # no character is complete yet, and nothing would mean the end
                return self.read(size)
            block = text.encode()
        self.quotes += block.count(b'"')
        if b"\0" in block:
            raise KTError(f"{self.path}: a NUL byte, so not UTF-8 text; export it as UTF-8")
        enough = self.read_so_far > limits.RATIO_FROM
        if enough and self.read_so_far > limits.MOST_RATIO * self.position:
            raise KTError(
                f"{self.path}: more than {limits.MOST_RATIO} times as large when decompressed, "
                "which is not plausible for a table; if it is correct, decompress it first"
            )
        return block

    def close(self) -> None:
        """Close the file too."""
        self._file.close()
        super().close()


def first_line(path: Path, encoding: str = UTF8) -> str:
    """The first line that is not blank, without its end.

    Raises
    ------
    KTError
        When there is none, or it cannot be read.
    """
    with Lines(path, encoding=encoding) as lines:
        for line in lines:
            if line.strip():
                return line.rstrip("\r\n")
    raise KTError(f"{path}: the file is empty")


def delimiter(line: str) -> str:
    """The character that separates the fields of a header, not counting what stands in quotes."""
    return max("\t,;|", key=QUOTED.sub("", line).count)


def split_header(line: str, path: Path) -> list[str]:
    """The names in a header.

    Raises
    ------
    KTError
        For too many columns.
    """
    separator = delimiter(line)
    check_width(path, line.count(separator) + 1)
    try:
        return next(csv.reader([line], delimiter=separator), [])
    except csv.Error as error:
        raise KTError(f"{path}, line 1: {error}") from None


def check_width(path: Path, width: int) -> None:
    """Raise a KTError for too many columns."""
    if width > limits.MOST_COLUMNS:
        raise KTError(
            f"{path}: {width:,} columns; at most {limits.MOST_COLUMNS:,} are read. Keep those of "
            "learner, skill, response, item and time"
        )


def read_delimited(
    path: Path,
    wanted: Callable[[list[str]], dict[str, int]],
    encoding: str = UTF8,
    hashed: bool = False,
) -> pd.DataFrame:
    """Some columns of a table as text, and `line`, the line in which each row begins.

    Parameters
    ----------
    wanted : from the header, new name -> position of each column to keep.
    hashed : also `row`, a hash of all columns, to know equal rows.

    Raises
    ------
    KTError
        For a row with another number of fields than the header, or a quote that is not closed.
    """
    separator = delimiter(first_line(path, encoding))
    csv.field_size_limit(limits.LINE_CHARS)
    at: list[int] = []
    hashes: list[int] = []
    with Lines(path, encoding=encoding) as lines:
        rows = _rows(lines, separator)
        _, header = next(rows)
        columns = [(name, place, []) for name, place in wanted(header).items()]
        for number, row in rows:
            _check_fields(path, number, row, header)
            at.append(number)
            if hashed:
                hashes.append(hash(tuple(map(str.strip, row))))
            for _, place, cells in columns:
                cells.append(intern(row[place]))
    table = {name: np.array(cells, object) for name, _, cells in columns}
    more = {"row": np.array(hashes, np.int64)} if hashed else {}
    return pd.DataFrame(table).astype(str).assign(line=np.array(at, int), **more)


def header_of(path: Path, encoding: str = UTF8) -> list[str]:
    """The names in the first row of a table."""
    csv.field_size_limit(limits.LINE_CHARS)
    first = first_line(path, encoding)
    split_header(first, path)  # refuses a header that is too wide
    with Lines(path, encoding=encoding) as lines:
        return next(_rows(lines, delimiter(first)))[1]


def check_rows(path: Path, encoding: str = UTF8) -> None:
    """Raise a KTError, with the line, for the first row that cannot be read."""
    csv.field_size_limit(limits.LINE_CHARS)
    with Lines(path, into_memory=False, encoding=encoding) as lines:
        rows = _rows(lines, delimiter(first_line(path, encoding)))
        _, header = next(rows)
        for number, row in rows:
            _check_fields(path, number, row, header)


def _check_fields(path: Path, number: int, row: list[str], header: list[str]) -> None:
    if len(row) != len(header):
        raise KTError(
            f"{path}, line {number}: {len(row)} fields, but the header has {len(header)}; a value "
            "with a separator in it must stand in quotes"
        )


def _rows(lines: Lines, separator: str) -> Iterator[tuple[int, list[str]]]:
    rows = csv.reader(lines, delimiter=separator)
    while True:
        number = lines.number + 1
        try:
            row = next(rows, None)
        except csv.Error:  # a field that is too long is the only error of this reader
            raise KTError(
                f"{lines.path}, line {number}: a field of more than {limits.LINE_CHARS:,} "
                "characters; a quote may not be closed"
            ) from None
        if row is None:
            return
        if lines.ended:  # only an open quote reaches the end of the file within a row
            raise KTError(
                f"{lines.path}, line {number}: a quote that opens in this row is never closed; "
                "close it, or write a quote in a field as two"
            )
        if "".join(row).strip() or (len(row) > 1 and separator != "\t"):
            yield number, row
