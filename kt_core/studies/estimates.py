"""Tables of mastery estimates, exported from any tool: read and checked without a model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from kt_core.base.errors import KTError, brief
from kt_core.base.values import path_of
from kt_core.data.formats.frames import as_texts
from kt_core.data.formats.layouts import GENERAL
from kt_core.data.formats.tables import names_in, read_columns, usual_columns
from kt_core.data.pseudonyms import Pseudonyms
from kt_core.data.reading.values import combined, each, parts_of, plain, written

COLUMNS = ("learner", "step", "skill", "mastery")
PREDICTED = "predicted"  # a further column, where it is named
USUAL = {"learner": " ".join(GENERAL["user"]), "skill": " ".join(GENERAL["skill"])}
USUAL |= {"mastery": "mastery", "step": "step"}
OPTION = "--mastery-column"
ORDERS = ("orderid", "timestamp", "logid")


def read_mastery(
    source: str | Path | pd.DataFrame,
    columns: dict[str, str] | None = None,
    pseudonyms: Pseudonyms | None = None,
) -> pd.DataFrame:
    """Read and check the long table, from text, Parquet or a spreadsheet, or as it is in memory.

    Without a column of steps, a learner's rows are counted from 1, in order of the time or the
    number of the answer where the file has one, else as in the file.

    Parameters
    ----------
    columns : `learner`, `step`, `skill` or `mastery` -> name in the file, where it is not usual;
        `predicted` -> the column of predictions, where there is one.
    pseudonyms : to replace the learners' ids.

    Returns
    -------
    The four columns, `predicted` if it is named, and in `attrs["steps"]` where the steps are from.

    Raises
    ------
    KTError
        When it cannot be read, a column is missing or may be one of several, or a step or mastery
        is not a number.
    """
    path = named(source)
    if isinstance(source, pd.DataFrame):
        header = [str(name) for name in source.columns]
        names = _columns(path, header, columns or {})
        raw = source.set_axis(header, axis=1).reset_index(drop=True)
        table = as_texts(pd.DataFrame({part: raw[name] for part, name in names.items()}))
    else:
        names = _columns(path, names_in(path), columns or {})
        table = read_columns(path, names).drop(columns="line")
    for part in ("learner", "skill"):
        table[part] = written(table[part])[0]
    table["skill"] = each(table["skill"], lambda t: combined(frozenset(parts_of(t))))
    if pseudonyms:
        table["learner"] = pseudonyms.of(table["learner"])
    table.attrs["steps"] = _number_steps(path, table, names)
    return checked_estimates(table.drop(columns="order", errors="ignore"), str(path))


def named(source: str | Path | pd.DataFrame) -> Path:
    """What messages call a table of estimates."""
    return Path("mastery") if isinstance(source, pd.DataFrame) else path_of("mastery", source)


def checked_estimates(table: pd.DataFrame, path: str) -> pd.DataFrame:
    """The estimates with whole numbers as steps and numbers as masteries."""
    absent = [part for part in COLUMNS if part not in table]
    if absent:
        raise KTError(f"{path}: no column {', '.join(absent)}; an audit needs {', '.join(COLUMNS)}")
    table = table.reset_index(drop=True)
    for name in ("step", "mastery", *({PREDICTED} & set(table))):
        number = pd.to_numeric(table[name], errors="coerce").astype(float)
        wrong = ~np.isfinite(number)
        if name == "step":
            wrong |= (number % 1 != 0) | (number.abs() > 2**53)
        if name == PREDICTED:
            wrong |= ~number.between(0, 1)
        if wrong.any():
            row = int(np.argmax(wrong.to_numpy()))
            kind = "whole number" if name == "step" and np.isfinite(number.iloc[row]) else "number"
            kind = "share in [0, 1]" if name == PREDICTED else kind
            raise KTError(
                f"{path}, row {row + 1}: {name} {brief(table[name].iloc[row])} is not a {kind}; "
                "leave out the rows for which there is no estimate"
            )
        table[name] = number.astype(int) if name == "step" else number
    twice = table.duplicated(["learner", "step", "skill"])
    if twice.any():
        learner, step, skill = table.loc[twice.idxmax(), ["learner", "step", "skill"]]
        raise KTError(f"{path}: two values for learner {learner!r}, step {step}, skill {skill!r}")
    return table


def _columns(path: Path, header: list[str], given: dict[str, str]) -> dict[str, str]:
    """Part -> column of a table of estimates: `learner`, `skill`, `mastery`, `step` or `order`."""
    found = usual_columns(path, header, USUAL | {PREDICTED: ""}, given, OPTION)
    for name in found.values():
        if header.count(name) > 1:
            raise KTError(f"{path}: {header.count(name)} columns are called {name!r}; rename one")
    absent = [part for part in COLUMNS if part not in found and part != "step"]
    if absent:
        raise KTError(
            f"{path}: no column {', '.join(absent)}; an audit needs {', '.join(COLUMNS)}; the file "
            f"has {', '.join(header)}. Name it with --mastery-column {absent[0]}=NAME"
        )
    if "step" not in found:
        orders = [n for n in header if plain(n) in ORDERS and n not in found.values()]
        if len(orders) > 1:
            raise KTError(
                f"{path}: {' and '.join(orders)} can both be the order of the rows; drop or rename "
                "one, or add a column step"
            )
        if orders:
            found["order"] = orders[0]
    return found


def _number_steps(path: Path, table: pd.DataFrame, names: dict[str, str]) -> str:
    """Count each learner's rows in `step`, where there is no such column; return how."""
    if "step" in table:
        return f"from the column {names['step']}"
    place, how = np.arange(len(table)), "rows of a learner, counted in the order of the file"
    if "order" in table:
        order = pd.to_numeric(table["order"], errors="coerce")
        if order.isna().any():
            row = int(np.argmax(order.isna().to_numpy()))
            raise KTError(
                f"{path}, row {row + 1}: {names['order']} {brief(table['order'].iloc[row])} is not "
                "a number, and the rows are counted in its order; add a column step"
            )
        place = np.lexsort([place, order.to_numpy()])
        how = f"rows of a learner, counted in the order of {names['order']}"
    ranked = table.iloc[place].groupby("learner", sort=False).cumcount() + 1
    table["step"] = ranked.reindex(table.index).astype(str)
    return how
