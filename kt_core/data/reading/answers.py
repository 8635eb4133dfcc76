"""The answers of some learners, from all of their rows: in order, one row an answer."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from kt_core.base.errors import KTError
from kt_core.data.reading.options import (
    AGAIN,
    ALIKE,
    FRACTIONS,
    FURTHER,
    LATE,
    NO_SKILL,
    ReadOptions,
    Rules,
)
from kt_core.data.reading.times import Clock
from kt_core.data.reading.values import AND, combined


def clean(
    rows: pd.DataFrame, rules: Rules, options: ReadOptions, source: str
) -> tuple[pd.DataFrame, dict[str, int], dict[str, tuple[str, ...]]]:
    """The canonical table of some learners, from all of their prepared rows.

    Rows are grouped by learner, in order of first appearance, and put in order of time; ties keep
    the file's order. Rows of a learner with the same item, time and response and with different
    skills are one answer, with a combined skill.

    Returns
    -------
    The table, which may be empty; counts of what was done; and `ReadingNote.several`.

    Raises
    ------
    KTError
        For a time that cannot be read.
    """
    counts: dict[str, int] = {}
    rows = _with_skills(rows, rules, counts)
    rows = _in_order(rows, rules, options, source, counts)
    rows = _each_once(rows, rules, counts)
    sets = {combined(skills): skills for skills in rules.names.values()}
    if not options.expand_skills:
        rows, merged = combine_skills(rows, sets)
        _count(counts, FURTHER, merged)
        if merged:
            _no_clash(rows, rules, source)
    columns = ("user", "skill", "correct", "item", "timestamp", "fold")
    kept = [c for c in columns if c in rows]
    kept += [c for c in rows if c.startswith("true_")]
    there = [name for name in rows["skill"].unique() if len(sets[name]) > 1]
    several = {name: tuple(sorted(sets[name])) for name in there}
    return rows[kept].reset_index(drop=True), counts, several


def _with_skills(rows: pd.DataFrame, rules: Rules, counts: dict[str, int]) -> pd.DataFrame:
    names = {value: combined(skills) for value, skills in rules.names.items()} | {"": ""}
    skill = rows[rules.skill].map(names)
    rows = rows.drop(columns=[c for c in ("skill_id",) if c in rows]).assign(skill=skill)
    no_skill = rows["skill"] == ""
    fraction = ~no_skill & ~rows["correct"].isin((0, 1))
    _count(counts, NO_SKILL, no_skill.sum())
    _count(counts, FRACTIONS, fraction.sum())
    rows = rows[~no_skill & ~fraction]
    return rows.assign(correct=rows["correct"].astype(np.int64))


def _in_order(
    rows: pd.DataFrame, rules: Rules, options: ReadOptions, source: str, counts: dict[str, int]
) -> pd.DataFrame:
    learner = pd.factorize(rows["user"])[0]
    if rules.clock is None:
        rows = rows.drop(columns=[c for c in ("timestamp", "clock") if c in rows])
        return rows.iloc[np.argsort(learner, kind="stable")].reset_index(drop=True)
    text = rows["clock"] if rules.late else rows["timestamp"]
    if rules.paired:  # days in spreadsheets are at midnight
        days = text.str.strip().str.replace(r"[T ]0?0:00(:00(\.0+)?)?$", "", regex=True)
        text = days + " " + rows["timestamp" if rules.late else "clock"].str.strip()
    time = rules.clock.numbers(text)
    if time.isna().any():
        at = time.isna().idxmax()
        raise KTError(
            f"{source}, line {rows['line'][at]}: timestamp {options.show(text[at])} cannot be "
            "read; correct it, or say that there is none: --column timestamp="
        )
    rows = rows.drop(columns="clock", errors="ignore").assign(timestamp=time)
    late = _late(rows["timestamp"], learner)
    if rules.clock.doubtful and late.any():
        at = int(np.argmax(late))
        raise KTError(
            f"{source}, line {rows['line'].iloc[at]}: the time {options.show(text.iloc[at])} is "
            "before the learner's previous one; the column may hold times, or seconds spent. Say "
            "which: --column timestamp=NAME reads it as times, --column timestamp= as none"
        )
    _count(counts, LATE, late.sum())
    fine = rules.clock.fine | _tells_apart(rows, learner, rules.clock)
    rows = rows.assign(fine=fine)
    keys = [_places(rows, learner), rows["timestamp"].to_numpy(), learner]
    return rows.iloc[np.lexsort(keys)].reset_index(drop=True)


def _late(time: pd.Series, learner: np.ndarray) -> np.ndarray:
    """Which rows come, in the file, after a later one of their learner."""
    highest = time.groupby(learner).cummax()
    return (time < highest).to_numpy()


def _tells_apart(rows: pd.DataFrame, learner: np.ndarray, clock: Clock) -> np.ndarray:
    """Whether the numbers of each learner tell answers apart: those of sessions or days do not, as
    many answers have the same."""
    if clock.kind != "number" or clock.coarse:
        return np.zeros(len(rows), bool)
    time = rows["timestamp"].to_numpy()
    frame = pd.DataFrame({"l": learner, "t": time, "s": rows["skill"].to_numpy()})
    frame["i"] = rows["item"].to_numpy() if "item" in rows else ""
    first = frame["s"] == frame.groupby(["l", "t", "i"])["s"].transform("first")
    answers = first.groupby(frame["l"]).sum()  # without the rows of an answer's further skills
    times = frame.drop_duplicates(["l", "t"]).groupby("l").size()
    return (2 * times >= answers).reindex(learner).to_numpy(bool)


def _places(rows: pd.DataFrame, learner: np.ndarray) -> np.ndarray:
    """The place of each row in the file; rows of one answer on several skills share the first."""
    place = np.arange(len(rows))
    if "item" not in rows:
        return place
    keys = [learner, *(rows[c].to_numpy() for c in ("timestamp", "item", "correct"))]
    frame = pd.DataFrame(dict(enumerate(keys))).assign(skill=rows["skill"].to_numpy())
    frame["again"] = frame.groupby(list(frame)).cumcount()  # the same skill again: another answer
    answer = frame.groupby([*range(len(keys)), "again"]).ngroup().to_numpy()
    shared = rows["fine"].to_numpy() & (rows["item"] != "").to_numpy()
    first = pd.Series(place).groupby(answer).transform("min").to_numpy()
    return np.where(shared, first, place)


def _each_once(rows: pd.DataFrame, rules: Rules, counts: dict[str, int]) -> pd.DataFrame:
    """Without rows that repeat an earlier one to the letter, where a time tells answers apart."""
    if "row" not in rows or rules.clock is None:
        return rows.drop(columns=["row", "fine"], errors="ignore")
    again = rows.duplicated(["user", "row"]).to_numpy()
    fine = rows["fine"].to_numpy()
    _count(counts, AGAIN, (again & fine).sum())
    _count(counts, ALIKE, (again & ~fine).sum())
    return rows[~(again & fine)].drop(columns=["row", "fine"]).reset_index(drop=True)


def combine_skills(
    table: pd.DataFrame, sets: dict[str, frozenset[str]] | None = None
) -> tuple[pd.DataFrame, int]:
    """One row per answer: adjacent rows with the same item and different skills become one.

    Rows are of one answer only if learner, item, response and, where there is one, time agree. In
    pyKT's files the column `repeat` says it.

    Parameters
    ----------
    sets : name -> the skills that it stands for; a name that is missing stands for itself. Those of
        combined skills are added.

    Returns
    -------
    The table with combined skills such as ``37+54``, and the number of rows that were merged.
    """
    marked = "repeat" in table
    if table.empty or not (marked or "item" in table):
        return table, 0
    skill = table["skill"].to_numpy()
    same = np.ones(len(table) - 1, bool)
    keys = ("user",) if marked else ("user", "item", "correct", "timestamp")
    for name in keys:
        if name in table:
            value = table[name].to_numpy()
            same &= value[1:] == value[:-1]
    same &= (
        (table["repeat"] == "1").to_numpy()[1:] if marked else table["item"].to_numpy()[1:] != ""
    )
    further = np.append(False, same)  # another skill of the previous answer
    seen: set[str] = set()
    for i in np.flatnonzero(further):
        seen = seen | {skill[i - 1]} if further[i - 1] else {skill[i - 1]}
        further[i] = skill[i] not in seen  # the same skill again: a real repeat
    answer = np.cumsum(~further)
    merged = len(table) - int(answer[-1])
    if merged == 0:
        return table, 0
    first = table.groupby(answer, sort=False).head(1).copy()
    groups = np.split(skill, np.flatnonzero(np.diff(answer)) + 1)
    sets = {} if sets is None else sets
    names = []
    for group in groups:
        skills = frozenset().union(*(sets.get(s, (s,)) for s in group))
        names.append(combined(skills) if len(group) > 1 else group[0])
        sets.setdefault(names[-1], skills)
    first["skill"] = names
    return first.reset_index(drop=True), merged


def repeated_answers(table: pd.DataFrame) -> int:
    """Number of rows that repeat the previous row's answer for a further skill."""
    return combine_skills(table)[1]


def _no_clash(rows: pd.DataFrame, rules: Rules, source: str) -> None:
    """Raise a KTError where a combined name is also the name of one skill."""
    single = {combined(skills) for skills in rules.names.values() if len(skills) == 1}
    parts = {part for skills in rules.names.values() for part in skills}
    for name in sorted(set(rows["skill"]) & {v for v in single if AND in v}):
        if set(name.split(AND)) <= parts:
            raise KTError(
                f"{source}: {name!r} is one skill, and also the name of an answer on several; "
                "rename the skill, or leave out --skill-separator none"
            )


def _count(counts: dict[str, int], what: str, number: Any) -> None:
    if number:
        counts[what] = counts.get(what, 0) + int(number)
