"""Spreadsheets (.xlsx): the first sheet, its first row with values as the header."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from kt_core.base.errors import KTError, reason
from kt_core.data.formats import limits
from kt_core.data.formats.frames import as_texts
from kt_core.data.formats.text import check_width

SUFFIXES = (".xlsx", ".xlsm")
MOST_RATIO = 100  # of the text to the packed bytes of a member


def is_sheet(path: Path) -> bool:
    """Whether the name is that of a spreadsheet that is read."""
    return path.suffix.lower() in SUFFIXES


def read_sheet(path: Path) -> tuple[pd.DataFrame, str]:
    """The first sheet as text, with the number of each row in `\\0line`; and a remark on others.

    Raises
    ------
    KTError
        For a file that is not a spreadsheet, or beyond the limits.
    """
    from openpyxl import load_workbook  # takes a while to load, and few need it

    _check_packed(path)
    try:
        book = load_workbook(path, read_only=True, data_only=True)
        try:
            names = book.sheetnames
            rows = list(_rows(path, book[names[0]]))
        finally:
            book.close()
    except KTError:
        raise
    except Exception as error:  # openpyxl lets through whatever its parsers raise
        raise KTError(
            f"{path}: not a readable spreadsheet ({reason(error)}); save it again, or as CSV"
        ) from None
    if not rows:
        others = f"; the file also has {', '.join(map(repr, names[1:4]))}" if names[1:] else ""
        raise KTError(
            f"{path}: the sheet {names[0]!r} is empty{others}; move the table to the first sheet, "
            "or save it as CSV"
        )
    (_, header), *rows = rows
    header = ["" if name is None else str(name) for name in header]
    while header and not header[-1].strip():
        header.pop()
    for number, row in rows:
        if any(value is not None for value in row[len(header) :]):
            raise KTError(
                f"{path}, row {number}: more fields than the header, which has {len(header)}; the "
                "first row must be the header: remove what is above it"
            )
    width = len(header)
    cells = [[*row[:width], *[None] * (width - len(row))] for _, row in rows]
    table = as_texts(pd.DataFrame(cells, columns=range(width), dtype=object))
    table.columns = header
    others = ", ".join(repr(n) for n in names[1:4])
    remark = (
        f"of the file, only the first sheet {names[0]!r} is read, not {others}" if others else ""
    )
    return table.assign(**{"\0line": [number for number, _ in rows]}), remark


def _rows(path: Path, sheet) -> Iterator[tuple[int, tuple]]:
    """The rows that have a value, with their numbers."""
    for number, row in enumerate(sheet.iter_rows(values_only=True), start=1):
        if number == 1:
            check_width(path, len(row))
        if number > limits.MOST_ROWS:
            raise KTError(f"{path}: more than {limits.MOST_ROWS:,} rows; save it as CSV")
        if any(value is not None and str(value).strip() for value in row):
            yield number, row


def _check_packed(path: Path) -> None:
    """Raise a KTError for a file that is not a zip archive, or that unpacks to far too much."""
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise KTError(
            f"{path}: not a readable spreadsheet ({reason(error)}); save it again, or as CSV"
        ) from None
    size = sum(member.file_size for member in members)
    packed = max(sum(member.compress_size for member in members), 1)
    if size > limits.TEXT_CHARS or (size > limits.RATIO_FROM and size > MOST_RATIO * packed):
        raise KTError(f"{path}: {size:,} bytes when unpacked; save the sheet as CSV")
