"""Some columns of a table without answers, such as one of scores: text, Parquet, spreadsheet."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from kt_core.base.errors import KTError
from kt_core.data.formats import limits, parquet, sheet
from kt_core.data.formats.frames import as_texts
from kt_core.data.formats.text import header_of, known_encoding, read_delimited
from kt_core.data.reading.values import plain


def names_in(path: Path, encoding: str = "utf-8") -> list[str]:
    """The names of the columns.

    Raises
    ------
    KTError
        When the file does not exist or cannot be read.
    """
    if not path.is_file():
        raise KTError(f"{path}: no such file")
    if parquet.is_parquet(path):
        return parquet.header_of(path)
    if sheet.is_sheet(path):
        table, _ = sheet.read_sheet(path)
        return [str(name) for name in table.drop(columns="\0line")]
    return header_of(path, known_encoding(encoding))


def read_columns(path: Path, columns: dict[str, str], encoding: str = "utf-8") -> pd.DataFrame:
    """Columns as text under new names, and `line`, where each row begins (of Parquet, its number).

    Parameters
    ----------
    columns : new name -> name in the file.

    Raises
    ------
    KTError
        When the file cannot be read, or has no rows.
    """

    def wanted(header: list[str]) -> dict[str, int]:
        return {new: header.index(name) for new, name in columns.items()}

    if parquet.is_parquet(path):
        blocks = list(parquet.read_blocks(path, wanted, limits.MOST_ROWS))
        table = pd.concat(blocks, ignore_index=True) if blocks else pd.DataFrame()
        table["line"] = range(1, len(table) + 1)
    elif sheet.is_sheet(path):
        found, _ = sheet.read_sheet(path)
        table = as_texts(found[list(columns.values())].set_axis(list(columns), axis=1))
        table["line"] = found["\0line"].to_numpy()
    else:
        table = read_delimited(path, wanted, known_encoding(encoding))
    if table.empty:
        raise KTError(f"{path}: the table has no rows")
    return table


def usual_columns(
    path: Path, header: list[str], usual: dict[str, str], given: dict[str, str], option: str
) -> dict[str, str]:
    """Part -> name of its column: the one given, else the part's own name, else a usual one.

    Parameters
    ----------
    usual : part -> plain names of columns that can be it, separated by blanks.
    option : with which the user names a column, for messages; empty where there is none.

    Raises
    ------
    KTError
        When a column that was given is not there, or two columns can be a part.
    """
    if unknown := sorted(set(given) - set(usual)):
        raise KTError(f"{option} {unknown[0]}: choose from {', '.join(usual)}")
    found = {}
    for part, names in usual.items():
        if part in given and given[part] not in header:
            raise KTError(f"{path}: no column {given[part]!r}; it has: {', '.join(header)}")
        fits = [n for n in header if plain(n) in names.split() and n not in given.values()]
        fits = [given[part]] if part in given else [n for n in fits if n == part] or fits
        if len(fits) > 1:
            way = f"say which: {option} {part}={fits[0]}" if option else "drop or rename one"
            raise KTError(f"{path}: {' and '.join(fits)} can both be the {part}; {way}")
        if fits:
            found[part] = fits[0]
    return found
