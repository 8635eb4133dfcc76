"""Tables that are in memory, as text: every value as it would stand in a CSV file."""

from __future__ import annotations

import numpy as np
import pandas as pd

from kt_core.base.errors import KTError

SEVERAL = (list, tuple, set, frozenset, np.ndarray)


def as_texts(table: pd.DataFrame) -> pd.DataFrame:
    """Every column as text, each value as in a CSV file; empty where it is missing."""
    return pd.DataFrame({name: _as_text(column) for name, column in table.items()})


def _as_text(column: pd.Series) -> pd.Series:
    if isinstance(column.dtype, pd.CategoricalDtype):
        column = column.astype(object)
    if column.dtype == object:  # numbers among texts, as spreadsheets have them
        column = pd.Series([_plain(value) for value in column], column.index, object)
    text = column.astype("string")
    if pd.api.types.is_float_dtype(column):  # value by value: parts read like the whole table
        whole = (column % 1 == 0).fillna(False).astype(bool)
        text[whole] = (column[whole] + 0.0).map("{:.0f}".format)  # no -0
    return text.fillna("").astype(object).astype(str)


def _plain(value: object) -> object:
    """A float that is a whole number as one, and several values as a list."""
    if isinstance(value, SEVERAL):
        values = value.tolist() if isinstance(value, np.ndarray) else list(value)
        return repr(sorted(values, key=str) if isinstance(value, set | frozenset) else values)
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    return int(value) if isinstance(value, float) and value.is_integer() else value


def check_values(column: pd.Series, where: str, part: str) -> None:
    """Raise a KTError for records, and for several values that are not skills."""
    if column.dtype != object:
        return
    for value in column:
        if isinstance(value, dict) or (isinstance(value, SEVERAL) and part != "skill"):
            kind = type(value).__name__
            raise KTError(f"{where}: holds values of type {kind}; write one row for each of them")
