"""Parquet files block by block, some columns at a time.

The metadata of a file is not trusted: rows are counted as they are read, and texts stay in Arrow's
dictionaries, each once, until their length is known.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from kt_core.base.errors import KTError, reason
from kt_core.data.formats import limits
from kt_core.data.formats.frames import as_texts
from kt_core.data.formats.text import check_width

BROKEN = (pa.ArrowException, OSError, UnicodeDecodeError, OverflowError)


def is_parquet(path: Path) -> bool:
    """Whether the name is that of a Parquet file."""
    return path.suffix.lower() in (".parquet", ".pq")


def rows_claimed(path: Path) -> int:
    """The number of rows that the file claims to have.

    Raises
    ------
    KTError
        When it is not a Parquet file, or that number is impossible.
    """
    with _opened(path) as file:
        return file.metadata.num_rows


def header_of(path: Path) -> list[str]:
    """The names of the columns."""
    with _opened(path) as file:
        return file.schema_arrow.names


def read_blocks(
    path: Path,
    wanted: Callable[[list[str]], dict[str, int]],
    rows: int,
    hashed: bool = False,
) -> Iterator[pd.DataFrame]:
    """Yield some columns as text under new names, at most `rows` rows at a time.

    Parameters
    ----------
    wanted : from the names in the file, new name -> position of each column to keep.
    hashed : also `row`, a hash of all columns, unless one holds lists or records.

    Raises
    ------
    KTError
        For a damaged file, a chosen column that holds records, or a value beyond the limits.
    """
    with _opened(path) as file:
        schema, seen = file.schema_arrow, 0
        chosen = {new: schema.field(place) for new, place in wanted(schema.names).items()}
        lists = [new for new, field in chosen.items() if _is_list(field.type)]
        for new, field in chosen.items():
            if pa.types.is_nested(field.type) and not (new == "skill" and new in lists):
                raise KTError(
                    f"{path}, column {field.name!r}: holds {field.type}, not single values; "
                    "write one row for each of them"
                )
        hashed = hashed and not any(pa.types.is_nested(field.type) for field in schema)
        names = [field.name for field in (schema if hashed else chosen.values())]
        names = list(dict.fromkeys(names))
        texts = [n for n in names if _is_text(schema.field(n).type)]
        claimed = file.metadata.num_rows
    with _opened(path, texts) as file:
        try:
            for batch in file.iter_batches(rows, columns=names):
                seen += len(batch)
                columns = {name: _checked(path, name, batch.column(name)) for name in names}
                table = pa.table(columns).to_pandas(integer_object_nulls=True)
                more = {}
                if hashed:
                    hashes = pd.util.hash_pandas_object(table, index=False)
                    more["row"] = hashes.to_numpy().view(np.int64)
                found = pd.DataFrame({new: table[field.name] for new, field in chosen.items()})
                yield as_texts(found).assign(**more)
        except KTError:
            raise
        except (*BROKEN, ValueError) as error:  # such as a date that Python cannot represent
            raise KTError(
                f"{path}, after row {seen}: cannot be read ({reason(error)}); it is cut short or "
                "damaged: fetch or write it again"
            ) from None
    if seen != claimed:
        raise KTError(f"{path}: {seen:,} rows, but its header says {claimed:,}; write it again")


def _is_list(kind: pa.DataType) -> bool:
    return pa.types.is_list(kind) or pa.types.is_large_list(kind)


def _opened(path: Path, texts: list[str] | None = None) -> pq.ParquetFile:
    try:
        file = pq.ParquetFile(path, read_dictionary=texts, pre_buffer=False, buffer_size=1 << 20)
        names, claimed = file.schema_arrow.names, file.metadata.num_rows
    except BROKEN as error:
        raise KTError(
            f"{path}: not a readable Parquet file ({reason(error)}); write it again"
        ) from None
    check_width(path, len(names))
    most = path.stat().st_size * limits.ROWS_PER_BYTE
    if not 0 <= claimed <= most:
        raise KTError(
            f"{path}: its header says {claimed:,} rows, in {path.stat().st_size:,} bytes; "
            "it is damaged: write it again"
        )
    return file


def _is_text(kind: pa.DataType) -> bool:
    return pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_binary(kind)


def _checked(path: Path, name: str, column: pa.Array) -> pa.Array:
    """The column, with bytes as text, after a check of the total length of its text."""
    if not pa.types.is_dictionary(column.type):
        return column
    column.validate(full=True)  # a damaged file may point beyond its dictionary
    words = column.dictionary
    if pa.types.is_binary(words.type):
        words = words.cast(pa.string())  # older writers store text as bytes
    if _is_text(words.type):
        words.validate(full=True)  # UTF-8
        lengths = pc.binary_length(words).to_numpy(zero_copy_only=False)
        indices = column.indices.drop_null().to_numpy(zero_copy_only=False)
        if len(indices) and lengths[indices].sum() > limits.TEXT_CHARS:
            raise KTError(
                f"{path}, column {name!r}: more than {limits.TEXT_CHARS:,} characters in "
                f"{len(column):,} rows; these are not names of learners, skills or items"
            )
    return pa.DictionaryArray.from_arrays(column.indices, words)
