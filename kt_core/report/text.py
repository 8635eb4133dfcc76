"""Numbers as text: values, intervals and shares, in words where they are not defined."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

WITH_THE = (
    "time index",
    "opportunity count",
    "skill base rate",
    "success counter",
    "skill's usual improvement",
    "difficulty of the items",
)


def interval(low: float | None, high: float | None, digits: int = 3, percent: bool = False) -> str:
    """An interval as text; empty if it is not defined."""
    if low is None or high is None or not (np.isfinite(low) and np.isfinite(high)):
        return ""
    kind = f".{digits}{'%' if percent else 'f'}"
    return f"[{low:{kind}}, {high:{kind}}]"


def estimate(value: float, low: float, high: float, digits: int = 3, sign: str = "") -> str:
    """A value with its interval, where it has one; `sign` is + to show it always."""
    if not np.isfinite(value):
        return number(value)
    text = f"{value:{sign}.{digits}f}"
    if not (np.isfinite(low) and np.isfinite(high)):
        return text
    return f"{text} [{low:{sign}.{digits}f}, {high:{sign}.{digits}f}]"


def number(value: float | None, digits: int = 3) -> str:
    """A value as text, or "not defined"."""
    return "not defined" if value is None or not np.isfinite(value) else f"{value:.{digits}f}"


def percent(share: float, digits: int = 2) -> str:
    """A share as text in per cent, or "not defined"."""
    return f"{share:.{digits}%}" if np.isfinite(share) else number(share)


def with_interval(row: Any, digits: int = 3) -> str:
    """A row's `value`, `low` and `high` as text, in words where they are not defined."""
    value, ends = number(row["value"], digits), interval(row["low"], row["high"], digits)
    if value == number(None):
        return value
    return f"{value} {ends or '(interval not defined)'}"


def difference(row: Any, digits: int = 3) -> str:
    """A row's `gap` and its interval as text, with signs."""
    return estimate(row["gap"], row["gap_low"], row["gap_high"], digits, "+")


def best_rung(table: pd.DataFrame) -> pd.Series | None:
    """The strongest rung of a `paired_table`, or None where none is defined."""
    rungs = table[(table["kind"] == "rung") & table["value"].notna()]
    return None if rungs.empty else rungs.loc[rungs["value"].idxmax()]


def against_ladder(table: pd.DataFrame) -> str:
    """What a model tells next to the rungs of a `paired_table`, by the paired intervals: less than
    a simple model, as much, or more than the whole ladder; with the difference to the rung that is
    named, or to the best one. Empty where no interval is defined."""
    rungs = table[(table["kind"] == "rung") & table["gap_low"].notna()]
    if rungs.empty:
        return ""
    rungs = rungs.sort_values("value", ascending=False)
    above, level = rungs[rungs["gap_high"] < 0], rungs[rungs["gap_low"] <= 0]
    if len(above):
        return f"tells less than {called(above.iloc[0]['predictor'])} ({difference(above.iloc[0])})"
    if len(level):
        return f"{called(level.iloc[0]['predictor'])} tells as much ({difference(level.iloc[0])})"
    return f"tells more than the whole ladder ({difference(rungs.iloc[0])})"


def called(predictor: str) -> str:
    """A null or rung of the ladder with its article."""
    article = "a " if predictor.endswith("ability") else "the " if predictor in WITH_THE else ""
    return article + predictor
