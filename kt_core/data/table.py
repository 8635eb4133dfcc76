"""The canonical table: one row per interaction, in order within a learner.

Columns: `user`, `skill` (text), `correct` (0 or 1), and where known `item` (text), `timestamp`
(numbers that sort), `fold` (-1 is the test split, 0, 1, ... the validation folds) and, for
simulated learners, `true_mastery` (after the step), `true_before` and `true_gain`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from kt_core.base.errors import KTError
from kt_core.base.log import log

RIGHT = {"1", "1.0", "true", "correct", "right"}
WRONG = {"0", "0.0", "false", "incorrect", "wrong"}
DAY_MONTH = re.compile(r"^\s*(\d{1,2})([./-])(\d{1,2})\2(?:\d{4}|\d{2})(?!\d)")  # or month, day

Show = Callable[[object], str]  # how a value of the file appears in a message


def hidden(_: object) -> str:
    """What messages show instead of a value that might be a learner's id."""
    return "(not shown: data.pseudonymise)"


@dataclass(frozen=True)
class Dataset:
    """A canonical table and where it comes from.

    Attributes
    ----------
    notes : counts of what reading changed (rows dropped, rows combined).
    inflated : whether one answer is in several rows, which makes every result too good.
    sources : file name -> SHA-256.
    pseudonyms : fingerprint of the key if learners have pseudonyms (`kt_core.data.pseudonyms`).
    simulation : for simulated learners, their `Simulation`.
    """

    name: str
    table: pd.DataFrame
    notes: dict[str, int] = field(default_factory=dict)
    inflated: bool = False
    sources: dict[str, str] = field(default_factory=dict)
    simulation: Any = None
    pseudonyms: str = ""


def canonical(
    raw: pd.DataFrame, source: str, expand_skills: bool = False, show: Show = repr
) -> tuple[pd.DataFrame, dict[str, int]]:
    """Check and clean rows of text, and return the canonical table.

    Rows without a skill and responses strictly between 0 and 1 are dropped and counted. Rows are
    grouped by learner, in order of first appearance, and sorted by timestamp if there is one; ties
    keep the file's order. Adjacent rows of a learner with the same item, the same response and
    different skills are one answer: they become one row with a combined skill.

    Parameters
    ----------
    raw : columns `user`, `skill`, `correct` and optionally `item`, `timestamp`, as text, `fold`,
        and `line`, the line (or row) of the file, for messages.
    source : the file's name, for messages.
    show : how values appear in messages.

    Raises
    ------
    KTError
        For an empty learner id or response, or a response or timestamp that cannot be read.
    """
    if raw.empty:
        raise KTError(f"{source}: it has no interactions")
    table, notes = clean(raw, source, expand_skills, show)
    if table.empty:
        raise KTError(f"{source}: no row has both a skill and a response of 0 or 1")
    for what, count in notes.items():
        log.info("%s: %s %s", source, f"{count:,}", what)
    return table, notes


def clean(
    raw: pd.DataFrame, source: str, expand_skills: bool = False, show: Show = repr
) -> tuple[pd.DataFrame, dict[str, int]]:
    """`canonical` for all rows of some learners of a source; the result may be empty."""
    notes: dict[str, int] = {}
    line, raw = raw["line"], raw.drop(columns="line")
    blank = raw["user"].str.strip() == ""
    if blank.any():
        raise KTError(f"{source}, line {line[blank].iloc[0]}: the learner id is empty")
    correct = _responses(raw["correct"], line, source, show)
    no_skill = raw["skill"].str.strip() == ""
    keep = ~no_skill & correct.isin((0, 1))
    _note(notes, "rows without a skill, dropped", int(no_skill.sum()))
    _note(notes, "responses between 0 and 1, dropped", int((~no_skill & ~keep).sum()))
    table = raw.assign(correct=correct)[keep]
    table["correct"] = table["correct"].astype(np.int64)
    if "timestamp" in table:
        table["timestamp"] = _timestamps(table["timestamp"], line, source, show)
    table = _in_order(table)
    if "item" in table and not expand_skills:
        table, merged = combine_skills(table)
        _note(notes, "rows repeating an answer for a further skill, combined", merged)
    return table, notes


def combine_skills(table: pd.DataFrame) -> tuple[pd.DataFrame, int]:
    """One row per answer: adjacent rows with the same item and different skills become one.

    Returns
    -------
    The table with combined skills such as ``37+54``, and the number of rows that were merged.
    """
    user, item = table["user"].to_numpy(), table["item"].to_numpy()
    skill, correct = table["skill"].to_numpy(), table["correct"].to_numpy()
    if table.empty:
        return table, 0
    same = (user[1:] == user[:-1]) & (item[1:] == item[:-1]) & (correct[1:] == correct[:-1])
    further = np.append(False, same & (item[1:] != ""))  # another skill of the previous answer
    seen: set[str] = set()
    for i in np.flatnonzero(further):
        seen = seen | {skill[i - 1]} if further[i - 1] else {skill[i - 1]}
        further[i] = skill[i] not in seen  # the same skill again: a real repeat
    answer = np.cumsum(~further)
    merged = len(table) - int(answer[-1])
    if merged == 0:
        return table, 0
    first = table.groupby(answer, sort=False).head(1).copy()
    first["skill"] = [_combined(s) for s in np.split(skill, np.flatnonzero(np.diff(answer)) + 1)]
    return first.reset_index(drop=True), merged


def repeated_answers(table: pd.DataFrame) -> int:
    """Number of rows that repeat the previous row's answer for a further skill."""
    return combine_skills(table)[1] if "item" in table else 0


def _combined(skills: np.ndarray) -> str:
    return "+".join(sorted(skills, key=lambda s: (len(s), s)))


def _responses(text: pd.Series, line: pd.Series, source: str, show: Show) -> pd.Series:
    lower = text.str.strip().str.lower()
    value = _numbers(lower).mask(lower.isin(RIGHT), 1.0).mask(lower.isin(WRONG), 0.0)
    bad = ~value.between(0, 1)
    if bad.any():
        at = bad.idxmax()
        raise KTError(
            f"{source}, line {line[at]}: response {show(text[at])} is not 0 or 1; "
            "name another column with --column (data.columns), or clean the file"
        )
    return value


def _numbers(text: pd.Series) -> pd.Series:
    """Finite numbers; NaN for anything else."""
    value = pd.to_numeric(text, errors="coerce").astype(float)
    return value.where(np.isfinite(value))


def _timestamps(text: pd.Series, line: pd.Series, source: str, show: Show) -> pd.Series:
    value = pd.to_numeric(text, errors="coerce")
    if value.isna().all():
        value = _dates(text, line, source)
    bad = value.isna() | ~np.isfinite(value.astype(float))
    if bad.any():
        at = bad.idxmax()
        raise KTError(
            f"{source}, line {line[at]}: timestamp {show(text[at])} cannot be read; use numbers or "
            "dates such as 2011-02-01 10:30:00 throughout, or drop the column"
        )
    return value


def _dates(text: pd.Series, line: pd.Series, source: str) -> pd.Series:
    """Dates as numbers; NaN for anything else.

    Whether 3/4/2011 is in March or in April is decided by another line with a number above 12.
    """
    parts = text.str.extract(DAY_MONTH)[[0, 2]].astype(float)
    day_first, month_first = (parts[i] > 12 for i in (0, 2))
    unclear = parts[0].notna()
    if unclear.any() and day_first.any() == month_first.any():
        at = unclear.idxmax()
        raise KTError(
            f"{source}, line {line[at]}: its dates may have the day first or the month "
            f"first; write them as 2011-02-01, or drop the time column"
        )
    dates = pd.to_datetime(
        text, errors="coerce", format="mixed", utc=True, dayfirst=bool(day_first.any())
    )
    return dates.astype("int64").where(dates.notna())


def _in_order(table: pd.DataFrame) -> pd.DataFrame:
    order = [pd.factorize(table["user"])[0]]
    if "timestamp" in table:
        order.insert(0, table["timestamp"].to_numpy())
    return table.iloc[np.lexsort(order)].reset_index(drop=True)


def _note(notes: dict[str, int], what: str, count: int) -> None:
    if count:
        notes[what] = count
