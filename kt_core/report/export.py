"""Tables for a paper: LaTeX with names escaped and numbers rounded, and CSV for a spreadsheet."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from kt_core.base.errors import KTError, brief
from kt_core.base.files import FORMULA, check_target, write_table
from kt_core.base.log import log
from kt_core.base.values import whole_number

MISSING = "--"
ESCAPED = str.maketrans(
    {
        **{c: f"\\{c}" for c in "&%$#_{}"},
        "\\": r"\textbackslash{}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "<": r"\textless{}",
        ">": r"\textgreater{}",
        "|": r"\textbar{}",
        '"': r"\textquotedbl{}",
        "\n": " ",
    }
)


def to_latex(table: pd.DataFrame, digits: int = 3, caption: str = "", label: str = "") -> str:
    r"""A table of `kt_core` as LaTeX, for the package booktabs.

    A value and its interval share a column, as in ``0.728 [0.723, 0.732]``: `low` and `high`
    belong to the column before them, `gap_low` and `gap_high` to `gap`. Names are escaped, other
    numbers are rounded, and what is not defined is a dash. Resamples (`draws`) are left out.

    Parameters
    ----------
    digits : after the decimal point.
    caption, label : of the table; without either, only the tabular is made.

    Raises
    ------
    KTError
        When `table` is not a DataFrame, two of its columns would have one title, or `digits` is not
        a number from 0 to 15.

    Examples
    --------
    >>> import pandas as pd
    >>> rows = {"skill": ["a_b & c"], "mastery": [0.51234], "low": [0.4], "high": [0.61]}
    >>> print(to_latex(pd.DataFrame(rows | {"answers": [1200], "growth": [-0.02]}), digits=2))
    \begin{tabular}{llrr}
    \toprule
    skill & mastery & answers & growth \\
    \midrule
    a\_b \& c & 0.51 [0.40, 0.61] & 1{,}200 & $-$0.02 \\
    \bottomrule
    \end{tabular}
    <BLANKLINE>
    """
    table, digits = _checked(table), whole_number("digits", digits, 0, 15)
    columns: dict[str, pd.Series] = {}
    alignment = ""
    for name, ends in _with_intervals(table).items():
        values = table[name].map(lambda x: _cell(x, digits))
        if ends:
            low, high = (table[end].map(lambda x: _cell(x, digits)) for end in ends)
            known = (values != MISSING) & (low != MISSING) & (high != MISSING)
            values = values.where(~known, values + " [" + low + ", " + high + "]")
        if (title := name.replace("_", " ").translate(ESCAPED)) in columns:
            raise KTError(f"two columns would be called {title!r}; rename one")
        columns[title] = values
        alignment += "l" if ends or not pd.api.types.is_numeric_dtype(table[name]) else "r"
    return pd.DataFrame(columns).to_latex(
        index=False,
        escape=False,
        column_format=alignment,
        caption=caption.translate(ESCAPED) or None,
        label=label or None,
    )


def to_csv(table: pd.DataFrame, path: str | Path, digits: int = 6) -> Path:
    """Write a table of `kt_core` as CSV that a spreadsheet opens safely; return the path.

    Numbers are rounded, and resamples (`draws`) are left out. A name that a spreadsheet would
    compute as a formula gets an apostrophe before it, and that is told.

    Parameters
    ----------
    path : of a file whose name ends in .csv.
    digits : after the decimal point.

    Raises
    ------
    KTError
        When `table` is not a DataFrame, or the file cannot be written.

    Examples
    --------
    >>> to_csv(kt.demo().evaluate(), "quality.csv", digits=2).name
    'quality.csv'
    """
    table, digits = _checked(table), whole_number("digits", digits, 0, 15)
    if (target := check_target(path)).suffix != ".csv":
        raise KTError(f"{target}: name it .csv")
    texts = table.select_dtypes(exclude=["number", "bool"]).astype("string")
    computed = texts.apply(lambda column: column.str.startswith(FORMULA).fillna(False))
    titles = {name: f"'{name}" for name in table if str(name).startswith(FORMULA)}
    if count := int(computed.to_numpy().sum()) + len(titles):
        log.warning("%s: %s names begin as formulas do; they got an apostrophe", path, f"{count:,}")
    texts = texts.where(~computed, "'" + texts)
    return write_table(table.round(digits).assign(**texts).rename(columns=titles), target)


def _checked(table: Any) -> pd.DataFrame:
    """The table without resamples."""
    if not isinstance(table, pd.DataFrame):
        raise KTError(f"table: expected a pandas DataFrame, not {brief(table)}")
    names = [str(name) for name in table.columns]
    if len(set(names)) < len(names):
        raise KTError("table: two columns have the same name; rename one")
    return table.set_axis(names, axis=1).drop(columns="draws", errors="ignore")


def _with_intervals(table: pd.DataFrame) -> dict[str, tuple[str, ...]]:
    """The columns to show, each with the two that hold its interval."""
    names, found = list(table), {}
    for place, name in enumerate(names):
        ends = (f"{name}_low", f"{name}_high")
        if names[place + 1 : place + 3] == ["low", "high"]:
            ends = ("low", "high")
        found[name] = ends if set(ends) <= set(names) else ()
    within = {end for ends in found.values() for end in ends}
    return {name: ends for name, ends in found.items() if name not in within}


def _cell(value: Any, digits: int) -> str:
    if isinstance(value, bool | np.bool_):
        return "yes" if value else "no"
    if pd.api.types.is_scalar(value) and pd.isna(value):
        return MISSING
    if isinstance(value, int | np.integer):
        text = f"{value:,}".replace(",", "{,}")
    elif isinstance(value, float | np.floating):
        text = f"{value:.{digits}f}" if np.isfinite(value) else f"{value}"
    else:
        return str(value).translate(ESCAPED)
    return text.replace("-", "$-$")
