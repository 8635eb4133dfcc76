"""A randomised experiment: practice, the answers of a post-test, and what was assigned.

Memphis is built in. Any other is two files: the practice, in any format that is read, and a table
with one row per answer of the post-test.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from kt_core.base.errors import KTError, brief
from kt_core.base.values import path_of
from kt_core.config import DataConfig
from kt_core.data.formats.layouts import GENERAL
from kt_core.data.formats.memphis import posttest
from kt_core.data.formats.tables import names_in, read_columns, usual_columns
from kt_core.data.pseudonyms import Pseudonyms
from kt_core.data.reading.times import DAY
from kt_core.data.reading.values import MISSING, combined, each, parts_of, responses, written
from kt_core.data.registry import load_dataset, locate
from kt_core.data.scores import epoch_seconds, seconds_since_1970
from kt_core.data.table import Dataset

USUAL = {
    "learner": " ".join(GENERAL["user"]),
    "skill": GENERAL["skill"][0],
    "correct": GENERAL["correct"][0],
    "item": " ".join(GENERAL["item"]),
    "timestamp": " ".join(GENERAL["timestamp"][:2]),
}
MOST_LEVELS = 20
OPTION = "--outcome-column"


@dataclass(frozen=True)
class Experiment:
    """What a model is judged by.

    Attributes
    ----------
    practice : the answers that a model may see.
    outcome : one row per answer of the post-test: `learner`, `correct` (0 or 1, or a share right),
        `skill` and `item` where known, `timestamp` as in the practice where both have times, each
        condition, and `practised`: whether the learner had practised the skill. Without a column of
        skills, this one is absent too.
    conditions : name -> its levels; the first is what the others are compared with.
    remarks : what was read and what was left out.
    """

    name: str
    practice: Dataset
    outcome: pd.DataFrame
    conditions: dict[str, tuple[str, ...]]
    remarks: tuple[str, ...] = ()

    @property
    def by_skill(self) -> bool:
        """Whether an answer of the post-test is on one skill."""
        return "skill" in self.outcome


def memphis() -> Experiment:
    """The Memphis cloze experiment (`kt_core.data.formats.memphis`): dose and retention."""
    practice = load_dataset(DataConfig(dataset="memphis"))
    outcome = posttest(locate("memphis")[0]).astype({"dose": str, "retention": str})
    outcome["practised"] = outcome["dose"] != "0"  # STUDY trials are practice, too
    levels = {"dose": ("0", "2", "4", "8"), "retention": ("2 minutes", "1 day", "3 days")}
    remark = "post-test: a learner's first answer on each cluster; dose counts trials of practice"
    return _known(Experiment("memphis", practice, outcome, levels, (remark,)))


BUILT_IN = {"memphis": memphis}


def read_experiment(
    practice: Dataset,
    path: str | Path,
    conditions: dict[str, tuple[str, ...]],
    columns: dict[str, str] | None = None,
    pseudonyms: Pseudonyms | None = None,
) -> Experiment:
    """An experiment of one's own.

    Parameters
    ----------
    path : the post-test: CSV, Parquet or a spreadsheet with the columns `learner`, `correct` and,
        if known, `skill`, `item` and `timestamp` (dates as ISO 8601 writes them, or numbers of the
        epoch), under these or other usual names, and the conditions. Without skills, an answer
        counts as one on all skills together.
    conditions : column -> its levels, the first of which the others are compared with; without
        levels, those in the column, in the order of numbers or of the alphabet.
    columns : `learner`, `skill`, `correct`, `item` or `timestamp` -> name in the file, where it is
        not usual.
    pseudonyms : to replace the learners' ids, as in the practice.

    Raises
    ------
    KTError
        For a file that cannot be read, a column that is missing, a value that cannot be read, a
        condition with one level or with others than are named, a learner who practises after the
        post-test, or when no learner or no skill of the post-test is in the practice.
    """
    path = path_of("outcome", path)
    header = names_in(path)
    found = _columns(path, header, conditions, columns or {})
    rows = read_columns(path, found | {name: name for name in conditions})
    for part in (p for p in ("learner", "skill", "item") if p in rows):
        rows[part] = written(rows[part])[0]
        _refuse_missing(rows, part, path, ("learner", "skill"))
    if pseudonyms:
        rows["learner"] = pseudonyms.of(rows["learner"])
    if "skill" in rows:
        rows["skill"] = each(rows["skill"], lambda t: combined(frozenset(parts_of(t))))
    rows["correct"] = responses(rows["correct"], rows["line"], str(path), brief)
    remarks = [f"post-test: {', '.join(f'{p} from {n}' for p, n in found.items())}"]
    if "timestamp" in rows:
        remarks += _timed(rows, path, practice)
    levels = {}
    for name, named in conditions.items():
        rows[name] = written(rows[name])[0]
        _refuse_missing(rows, name, path, (name,))
        levels[name] = _levels(path, name, rows, named)
    used = {*found.values(), *conditions}
    others = [name for name in header if name not in used]
    if others:
        remarks.append(f"columns of the post-test that are not used: {', '.join(others)}")
    if "skill" not in found:
        remarks.append("no skill in the post-test: an answer counts as one on all skills together")
    outcome = rows.drop(columns="line")
    return _known(Experiment(path.stem, practice, outcome, levels, tuple(remarks)))


def _columns(
    path: Path, header: list[str], conditions: dict[str, tuple[str, ...]], given: dict[str, str]
) -> dict[str, str]:
    if not conditions:
        raise KTError("an experiment needs what was assigned: --condition COLUMN of the post-test")
    for name in conditions:
        if name not in header:
            raise KTError(f"{path}: no column {name!r}; it has: {', '.join(header)}")
        if name in (*USUAL, "practised", "line"):
            raise KTError(f"--condition {name}: this name has another meaning; rename the column")
    rest = [name for name in header if name not in conditions]
    found = usual_columns(path, rest, USUAL, given, OPTION)
    for part in ("learner", "correct"):
        if part not in found:
            raise KTError(
                f"{path}: no column for {part}; it has: {', '.join(header)}. Name it with "
                f"{OPTION} {part}=NAME"
            )
    return found


def _timed(rows: pd.DataFrame, path: Path, practice: Dataset) -> list[str]:
    """Give the post-test's times the unit of the practice, or drop them and say why."""
    seconds = seconds_since_1970(rows["timestamp"], rows["line"], str(path))
    rows["timestamp"] = seconds * practice.note.day / DAY
    times = practice.table.get("timestamp", pd.Series(dtype=float))
    if not practice.note.day or epoch_seconds(times).isna().any() or times.empty:
        del rows["timestamp"]
        return ["times of the post-test are not used: the practice has no times since 1970"]
    if seconds.isna().any():
        raise KTError(f"{path}, line {rows['line'][seconds.isna().idxmax()]}: timestamp is empty")
    last = times.groupby(practice.table["user"]).max()
    early = rows["timestamp"] < rows["learner"].map(last)
    if early.any():
        at = early.idxmax()
        raise KTError(
            f"{path}, line {rows['line'][at]}: learner {brief(rows['learner'][at])} practises "
            "after this answer; leave such practice out, or rename the column of times, so that no "
            "model reads them"
        )
    return []


def _refuse_missing(rows: pd.DataFrame, part: str, path: Path, needed: tuple[str, ...]) -> None:
    empty = rows[part].isin(MISSING)
    if part in needed and empty.any():
        raise KTError(f"{path}, line {rows['line'][empty.idxmax()]}: {part} is empty")


def _levels(path: Path, name: str, rows: pd.DataFrame, named: tuple[str, ...]) -> tuple[str, ...]:
    """The levels of a condition, in order."""
    there = list(rows[name].unique())
    if named:
        strange = ~rows[name].isin(named)
        if strange.any():
            at = strange.idxmax()
            raise KTError(
                f"{path}, line {rows['line'][at]}: {name} {brief(rows[name][at])} is not one of "
                f"the levels that you name: {', '.join(named)}"
            )
        if absent := [level for level in named if level not in there]:
            raise KTError(f"{path}: no row has {name} {brief(absent[0])}")
        if len(set(named)) < len(named):
            raise KTError(f"--condition {name}: a level is named twice")
    if len(there) < 2:
        raise KTError(f"{path}: {name} has one level, {brief(there[0])}; an effect needs two")
    if len(there) > MOST_LEVELS:
        raise KTError(
            f"{path}: {name} has {len(there):,} values; at most {MOST_LEVELS} levels are compared"
        )
    numbers = pd.to_numeric(pd.Series(there), errors="coerce")
    order = np.argsort(numbers.to_numpy()) if numbers.notna().all() else np.argsort(there)
    return named or tuple(there[i] for i in order)


def _known(experiment: Experiment) -> Experiment:
    """Only answers of learners and on skills that the practice has, with what was left out."""
    table, outcome, remarks = experiment.practice.table, experiment.outcome, []
    for part, column in (("learner", "user"), ("skill", "skill")):
        if part not in outcome:
            continue
        known = outcome[part].isin(set(table[column]))
        if not known.any():
            raise KTError(
                f"{experiment.name}: no {part} of the post-test is in the practice; there it is "
                f"such as {brief(table[column].iloc[0])}, here {brief(outcome[part].iloc[0])}"
            )
        strange = outcome.loc[~known, part]
        if len(strange):
            remarks.append(
                f"{len(strange):,} answers of the post-test left out: the practice has no "
                f"{part} {brief(strange.iloc[0])} ({strange.nunique():,} such {part}s)"
            )
        outcome = outcome[known]
    if "skill" in outcome and "practised" not in outcome:
        practised = pd.MultiIndex.from_frame(table[["user", "skill"]].drop_duplicates())
        asked = pd.MultiIndex.from_frame(outcome[["learner", "skill"]])
        outcome = outcome.assign(practised=asked.isin(practised))
    for name in experiment.conditions:
        several = outcome.groupby("learner")[name].nunique().gt(1).any()
        where = "within learners" if several else "between learners"
        remarks.append(f"{name}: assigned {where}")
    return dataclasses.replace(
        experiment,
        outcome=outcome.reset_index(drop=True),
        remarks=(*experiment.remarks, *remarks),
    )
