"""The Memphis statistics cloze experiment: an R data frame of a practice phase and a post-test.

Each of 478 learners practises 16 of 18 sentences (clusters; a sentence with a gap in one of four
places is an item) and is then tested on all 18, three times each. What was assigned:

- *dose*, within a learner: 2, 4 or 8 trials of practice on a cluster (6, 6 and 4 of the 18
  clusters), or none (2 clusters);
- *retention*, between learners: the break before the post-test. ``Condition.Name.3`` holds 0, 1 or
  2; the medians of the breaks, from the times of the trials, are 2 minutes, 26 and 77 hours.

A trial of practice is a question or, at random, a STUDY trial, which shows the sentence and has no
response. Both count in the dose.
"""

from __future__ import annotations

import dataclasses
import functools
from pathlib import Path

import numpy as np
import pandas as pd

from kt_core.base.errors import KTError, brief, reason
from kt_core.data.formats.frames import as_texts
from kt_core.data.formats.long import frame_source
from kt_core.data.formats.source import Source
from kt_core.data.reading import ReadOptions
from kt_core.data.reading.note import Use
from kt_core.data.reading.values import written

COLUMNS = {
    "user": "Anon.Student.Id",
    "skill": "KC..Cluster.",
    "correct": "Outcome",
    "item": "KC..Default.",
    "timestamp": "Time",
}
PHASE, BREAK = "Level..Unitname.", "Condition.Name.3"
PRACTICE, POSTTEST = "Statistics Practice", "Posttest"
RETENTION = {"0": "2 minutes", "1": "1 day", "2": "3 days"}
STUDY = "STUDY"
ANSWERS = {"CORRECT": 1, "INCORRECT": 0}


def read_frame(path: Path) -> pd.DataFrame:
    """The only data frame of an R file (.rda).

    Raises
    ------
    KTError
        When it cannot be read, or does not hold one data frame.
    """
    return _frame(path, path.stat().st_mtime_ns if path.is_file() else 0).copy()


@functools.lru_cache(maxsize=1)  # it takes many seconds, and an experiment needs both phases
def _frame(path: Path, _: int) -> pd.DataFrame:
    import rdata  # takes a while to load, and few need it

    try:
        found = rdata.read_rda(path)
    except Exception as error:  # the parser lets through whatever a damaged file leads to
        raise KTError(
            f"{path}: not a readable R file ({type(error).__name__}: {reason(error)}); fetch it "
            "again"
        ) from None
    frames = [value for value in found.values() if isinstance(value, pd.DataFrame)]
    if len(frames) != 1:
        raise KTError(f"{path}: {len(frames)} data frames, and one is expected: {', '.join(found)}")
    return frames[0].reset_index(drop=True)


def practice_source(path: Path, options: ReadOptions) -> Source:
    """The answers of the practice phase, for training; the post-test is kept apart."""
    frame = _checked(read_frame(path), path)
    practice = frame[PHASE] == PRACTICE
    study = practice & (frame["Outcome"] == STUDY)
    rows = frame[practice & ~study].reset_index(drop=True)
    source = frame_source(rows, path.name, dataclasses.replace(options, columns=COLUMNS))
    remarks = (
        f"{int(study.sum()):,} of the {int(practice.sum()):,} trials of the practice are STUDY "
        "trials: they show the sentence and have no response, so they are not in the data",
        f"{int((~practice).sum()):,} trials of the post-test, and the conditions, are kept apart "
        "from training: python -m kt_core experiment memphis",
    )
    return dataclasses.replace(
        source,
        format="Memphis cloze experiment, an R data frame",
        files=(path,),
        uses=tuple(Use(role, column) for role, column in COLUMNS.items()),
        remarks=remarks,
    )


def posttest(path: Path) -> pd.DataFrame:
    """The first answer of every learner on every cluster of the post-test.

    Returns
    -------
    `learner`, `skill`, `item`, `correct` (0 or 1), `timestamp` (nanoseconds, as in the practice
    data), and the conditions: `dose` (trials of practice: 0, 2, 4 or 8) and `retention` (ordered: 2
    minutes, 1 day, 3 days). Ids and names are written as in the practice data.

    Raises
    ------
    KTError
        When the file cannot be read or is not this experiment.
    """
    frame = _checked(read_frame(path), path).sort_values("Time", kind="stable")
    pair = [COLUMNS["user"], COLUMNS["skill"]]
    dose = frame[frame[PHASE] == PRACTICE].groupby(pair).size()
    tested = (frame[PHASE] == POSTTEST) & (frame["Outcome"] != STUDY)
    first = frame[tested].groupby(pair, sort=False).head(1).sort_index()
    table = pd.DataFrame({part: first[name] for part, name in COLUMNS.items()})
    table = table.rename(columns={"user": "learner"}).reset_index(drop=True)
    for part in ("learner", "skill", "item"):
        table[part] = written(table[part])[0]
    table["correct"] = table["correct"].map(ANSWERS).astype(int)
    table["timestamp"] = pd.to_datetime(table["timestamp"]).astype("datetime64[ns]").astype("int64")
    asked = pd.MultiIndex.from_frame(first[pair])
    table["dose"] = dose.reindex(asked, fill_value=0).to_numpy()
    names = first[BREAK].map(RETENTION).to_numpy()
    table["retention"] = pd.Categorical(names, list(RETENTION.values()), ordered=True)
    return table


def _checked(frame: pd.DataFrame, path: Path) -> pd.DataFrame:
    """The frame as text, with the columns and values that this experiment has."""
    needed = [*COLUMNS.values(), PHASE, BREAK]
    absent = [name for name in needed if name not in frame]
    if absent:
        raise KTError(
            f"{path}: no column {', '.join(absent)}; this is not the Memphis experiment's data "
            "frame, which `python -m kt_core datasets` names"
        )
    frame = as_texts(frame)
    known = {PHASE: {PRACTICE, POSTTEST}, BREAK: set(RETENTION)}
    known["Outcome"] = {*ANSWERS, STUDY}
    for name, values in known.items():
        wrong = ~frame[name].isin(values)
        if wrong.any():
            at = int(np.argmax(wrong.to_numpy()))
            raise KTError(
                f"{path}, row {at + 1}, column {name}: {brief(frame[name][at])} is not one of "
                f"{', '.join(sorted(values))}"
            )
    return frame
