"""Seconds and peak memory of the readers on giant files and on files with false headers.

python benchmarks/giants.py --folder /somewhere/with/4GB [--only bomb]

Each file is written, read (`read_table`) and converted (`convert`) in separate processes.
"""

from __future__ import annotations

import argparse
import gzip
import io
import logging
import resource
import shutil
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from kt_core.base.errors import KTError
from kt_core.data.formats import limits
from kt_core.data.formats.readers import read_table
from kt_core.data.store.convert import convert
from kt_core.studies.benchmark import markdown

HEAD = b"user,skill,correct\n"
GB = 10**9
PIECE = 10**7  # bytes written at a time


def one_line(path: Path) -> None:
    """2 GB without a line end."""
    _fill(path, b"", b"a" * PIECE, 2 * GB)


def one_row(path: Path) -> None:
    """A header, and a row of 2 GB."""
    _fill(path, HEAD, b"a" * PIECE, 2 * GB)


def columns(path: Path) -> None:
    """10^7 columns."""
    path.write_bytes(b"user,skill,correct," + b"c," * 10**7 + b"c\n" + b"1," * 10**7)


def columns_in_limit(path: Path) -> None:
    """10^6 columns, in lines that are short enough."""
    path.write_bytes(b"user,skill,correct," + b"c," * 10**6 + b"c\n" + b"1," * 10**6)


def open_quote(path: Path) -> None:
    """A quote that is not closed, and 1 GB of lines after it."""
    _fill(path, HEAD + b'a,1,"', b"b,s,1\n" * (PIECE // 6), GB)


def quotes(path: Path) -> None:
    """1 GB of quotes within quotes."""
    _fill(path, HEAD + b'a,s,"', b'""' * (PIECE // 2), GB)


def bomb_of_rows(path: Path) -> None:
    """20 GB of rows in a .gz."""
    _packed(path, b"a,s,1\n" * (PIECE // 6), 20 * GB)


def bomb_of_blanks(path: Path) -> None:
    """20 GB of blank lines in a .gz."""
    _packed(path, b"\n" * PIECE, 20 * GB)


def bomb_of_one_line(path: Path) -> None:
    """A line of 20 GB in a .gz."""
    _packed(path, b"a" * PIECE, 20 * GB)


def bomb_in_a_zip(path: Path) -> None:
    """2 GB of rows in a .zip."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as z, z.open("x.csv", "w") as out:
        for _ in range(200):
            out.write(b"a,s,1\n" * (PIECE // 6))


def pykt_bomb(path: Path) -> None:
    """pyKT's lists, 400 million steps in a .gz."""
    steps = b"1," * 2_000_000 + b"1"
    row = b'0,7,"' + steps + b'","' + steps + b'"\n'
    path.write_bytes(
        gzip.compress(b"fold,uid,concepts,responses\n") + gzip.compress(row * 2, 1) * 100
    )


def parquet_claims(path: Path) -> None:
    """A Parquet file of a few rows that says it has 10^12."""
    pq.write_table(pa.table({"user": ["a"] * 9, "skill": ["s"] * 9, "correct": [1] * 9}), path)
    content = path.read_bytes()
    length = int.from_bytes(content[-8:-4], "little")
    footer, number = content[-8 - length : -8], 2 * 10**12
    lie = bytearray()
    while number > 127:
        lie.append(number & 127 | 128)
        number >>= 7
    at = footer.index(b"\x16\x12")  # field 3, the number of rows, 9
    footer = footer[: at + 1] + bytes([*lie, number]) + footer[at + 2 :]
    path.write_bytes(
        content[: -8 - length] + footer + len(footer).to_bytes(4, "little") + content[-4:]
    )


def parquet_values(path: Path) -> None:
    """A Parquet file in which a skill of 50 MB occurs 10^5 times."""
    skill = pa.DictionaryArray.from_arrays(np.zeros(10**5, np.int32), ["s" * 50_000_000])
    ones = np.ones(10**5, np.int8)
    table = pa.table({"user": ones, "skill": skill, "correct": ones})
    pq.write_table(table, path, compression="zstd", dictionary_pagesize_limit=1 << 30)


def parquet_columns(path: Path) -> None:
    """A Parquet file of 10^5 columns."""
    one = pa.array([1])
    names = ["user", "skill", "correct", *map(str, range(10**5))]
    pq.write_table(pa.Table.from_arrays([one] * len(names), names), path)


def parquet_rows(path: Path) -> None:
    """A Parquet file of 30 million equal rows, all present."""
    ones = pa.array(np.ones(10**6, np.int8))
    table = pa.table({"user": ones, "skill": ones, "correct": ones})
    with pq.ParquetWriter(path, table.schema) as writer:
        for _ in range(30):
            writer.write_table(table)


def most_rows(path: Path) -> None:
    """As many rows as are read into memory."""
    rows = limits.MOST_ROWS - 1
    with path.open("wb") as out:
        out.write(HEAD)
        for begin in range(0, rows, 10**6):
            n = np.arange(begin, min(rows, begin + 10**6))
            text = pd.DataFrame({"u": n // 100 + 10**6, "s": n % 97, "c": n % 3 // 2})
            out.write(text.to_csv(index=False, header=False).encode())


def most_text(path: Path) -> None:
    """As much text as is read into memory, every name different."""
    with path.open("wb") as out:
        out.write(HEAD)
        for i in range(limits.TEXT_CHARS // 400 - 100):
            out.write(b"%0198d,%0198d,1\n" % (i // 10, i))


def _fill(path: Path, head: bytes, piece: bytes, size: int) -> None:
    with path.open("wb") as out:
        out.write(head)
        for _ in range(size // len(piece)):
            out.write(piece)


def _packed(path: Path, piece: bytes, size: int) -> None:
    """Repeat one compressed member, which the gzip format allows."""
    out = io.BytesIO()
    with gzip.GzipFile(fileobj=out, mode="wb", compresslevel=9) as member:
        for _ in range(10):
            member.write(piece)
    with path.open("wb") as file:
        file.write(gzip.compress(HEAD))
        for _ in range(size // len(piece) // 10):
            file.write(out.getvalue())


FILES: dict[str, tuple[Callable[[Path], None], str]] = {
    "one-line": (one_line, "x.csv"),
    "one-row": (one_row, "x.csv"),
    "columns": (columns, "x.csv"),
    "columns-in-limit": (columns_in_limit, "x.csv"),
    "open-quote": (open_quote, "x.csv"),
    "quotes": (quotes, "x.csv"),
    "bomb-rows": (bomb_of_rows, "x.csv.gz"),
    "bomb-blanks": (bomb_of_blanks, "x.csv.gz"),
    "bomb-line": (bomb_of_one_line, "x.csv.gz"),
    "bomb-zip": (bomb_in_a_zip, "x.zip"),
    "bomb-pykt": (pykt_bomb, "x.csv.gz"),
    "parquet-claims": (parquet_claims, "x.parquet"),
    "parquet-values": (parquet_values, "x.parquet"),
    "parquet-columns": (parquet_columns, "x.parquet"),
    "parquet-rows": (parquet_rows, "x.parquet"),
    "most-rows": (most_rows, "x.csv"),
    "most-text": (most_text, "x.csv"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()))
    parser.add_argument("--only", default="", help="files whose name contains this")
    args = parser.parse_args()
    rows = []
    for name, (write, file) in FILES.items():
        if args.only in name:
            for row in both(args.folder, write, file):
                print(row, flush=True)
                rows.append(row)
    print(markdown(pd.DataFrame(rows)))


def both(folder: Path, write: Callable[[Path], None], file: str) -> Iterator[dict[str, object]]:
    """Yield a row for reading one file and one for converting it."""
    scratch = Path(tempfile.mkdtemp(prefix="giant-", dir=folder))
    try:
        path = scratch / file
        _alone(write, path)
        size = {"file": write.__doc__.strip("."), "MB": path.stat().st_size / 1e6}
        for read in (read_table, convert):
            target = (scratch / "stored",) if read is convert else ()
            yield size | {"by": read.__name__} | _alone(measured, read, path, *target)
    finally:
        shutil.rmtree(scratch)


def _alone(call: Callable, *given: object) -> dict[str, object]:
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        return pool.submit(call, *given).result()


def measured(read: Callable, path: Path, *target: Path) -> dict[str, object]:
    """Return seconds, peak memory (imports included) and outcome of one call."""
    logging.disable()
    started = time.perf_counter()
    try:
        read(path, *target)
        outcome = "read"
    except KTError as error:
        outcome = str(error).replace(str(path), path.name)
    return {
        "seconds": time.perf_counter() - started,
        "peak, MiB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "outcome": outcome,
    }


if __name__ == "__main__":
    main()
