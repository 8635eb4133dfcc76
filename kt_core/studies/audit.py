"""Audit: the measures of the report, for mastery estimates exported from any tool.

A long table (learner, step, skill, mastery) is compared with the responses that it is about. Which
measures are possible depends on what the estimates have seen, so this has to be stated:

- *pre*: the mastery before the answer of that step. All *pre* measures, and no others.
- *post*: the mastery after the answer of that step, on the answers so far. Constraints, falls and
  what mastery does at an answer; nothing that predicts.
- *retrospective*: mastery at that step as believed after the whole history. Constraints and spread.

A tool that predicts by more than mastery has a second column for that, `predicted`, which is read
where it is named. Without it, *pre* mastery is also the prediction.

Estimates are held against the psychometric ladder as a run is. There are no training learners here,
so each half of the learners is compared with a ladder that was fitted on the other half.

Rows for the skill asked at each step are enough. If a learner's other skills are given too, they
are the state in the middle of the history; otherwise a skill's latest value is used there.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from kt_core.base.errors import KTError, brief
from kt_core.base.files import make_folder, plain, write_json
from kt_core.base.values import path_of, whole_number
from kt_core.baselines.ladder import Halves
from kt_core.config import RunConfig, with_overrides
from kt_core.data import Sequences, Vocabulary
from kt_core.data.pseudonyms import pseudonyms
from kt_core.data.reading import ReadOptions
from kt_core.data.reading.note import ReadingNote
from kt_core.data.registry import read_dataset
from kt_core.data.table import Dataset
from kt_core.evaluation.beliefs import Beliefs
from kt_core.evaluation.exam import hold_exam
from kt_core.evaluation.measures import Measures, measure
from kt_core.evaluation.tracer import Trace
from kt_core.metrics.bootstrap import Bootstrap
from kt_core.metrics.nulls import base_rates
from kt_core.studies.estimates import PREDICTED, checked_estimates, named, read_mastery

TABLES = (
    *("prediction", "simple", "violations", "associations", "conduct", "exam", "collapse"),
    "skills",
)

SEES = ("pre", "post", "retrospective")
FIELD = {"pre": "mastery_pre", "post": "mastery_post", "retrospective": "mastery_last"}


@dataclass(repr=False)
class Audited:
    """Estimates of a tool, and all measures that they allow, as tables in `measures`."""

    beliefs: Beliefs
    measures: Measures
    sees: str
    covered: float  # share of answers with an estimate for their skill at their step
    note: ReadingNote = field(default_factory=ReadingNote)  # how the responses were read
    steps: str = ""  # where the steps are from
    predictions: str = "mastery read as P(right), clipped to [0, 1]"

    def __repr__(self) -> str:
        tables = [name for name in TABLES if not getattr(self.measures, name).empty]
        return (
            f"Audited({self.sees} estimates of {len(self.beliefs.learners):,} learners, for "
            f"{self.covered:.1%} of {len(self.beliefs.frame):,} answers; measures: "
            f"{', '.join(tables)})"
        )


def audit(
    mastery: pd.DataFrame, responses: Dataset, sees: str, resamples: int = 1000, seed: int = 0
) -> Audited:
    """Measure estimates of mastery against responses.

    Parameters
    ----------
    mastery : of `read_mastery`; `step` counts a learner's answers from 1, in the order of the
        responses (by timestamp where there is one).
    sees : pre, post or retrospective: see above.

    Raises
    ------
    KTError
        When no estimate belongs to an answer, or one is at a step that does not exist.
    """
    if sees not in SEES:
        raise KTError(f"sees {brief(sees)}: choose {', '.join(SEES)}")
    mastery = checked_estimates(mastery, "mastery")
    table = responses.table.reset_index(drop=True)
    vocabulary = Vocabulary.of(table)
    sequences = Sequences.of(table, vocabulary, chunk=max(len(table), 1), min_length=1)
    step = table.groupby("user", sort=False).cumcount() + 1
    estimates = _checked(mastery, table, step)
    given = estimates["mastery"]
    key = pd.MultiIndex.from_arrays([table["user"].astype(str), step, table["skill"].astype(str)])
    own = given.reindex(key).to_numpy(float)
    if np.isnan(own).all():
        raise KTError(
            "no estimate belongs to an answer: learner, step (from 1) and skill must be those of "
            f"the responses, such as {key[0]}"
        )
    trace = Trace(predicted=np.full(len(table), np.nan), **{FIELD[sees]: own})
    told = Audited.predictions
    if PREDICTED in estimates:
        if sees != "pre":
            raise KTError(f"predicted: {sees} estimates have seen the answers; leave it out")
        trace.predicted = estimates[PREDICTED].reindex(key).to_numpy(float)
        told = "those of the tool"
    elif sees == "pre":
        inside = np.nanmin(own) >= 0 and np.nanmax(own) <= 1
        trace.predicted = own if inside else np.clip(own, 0, 1)
    if sees == "pre":
        trace.middle = last_known(given, sequences, vocabulary, sequences.lengths // 2 + 1)
    beliefs = Beliefs.of(sequences, trace)
    base = base_rates(sequences.skill, sequences.response, len(vocabulary.skills))
    bootstrap = Bootstrap(len(sequences), resamples, seed)
    tests = _ladder_tests(given, sequences, vocabulary, sees, bootstrap)
    measures = measure(beliefs, base, vocabulary.skills, resamples, seed, **tests)
    covered = float(np.isfinite(own).mean())
    return Audited(beliefs, measures, sees, covered, predictions=told)


def _checked(mastery: pd.DataFrame, table: pd.DataFrame, step: pd.Series) -> pd.DataFrame:
    """Estimates by (learner, step, skill), after a check that each step exists."""
    longest = step.groupby(table["user"].astype(str)).max()
    limit = mastery["learner"].map(longest)
    wrong = limit.isna() | (mastery["step"] < 1) | (mastery["step"] > limit)
    if wrong.any():
        learner, at = mastery.loc[wrong.idxmax(), ["learner", "step"]]
        has = f"{int(longest[learner])} answers" if learner in longest else "no answers"
        raise KTError(
            f"an estimate for learner {learner!r} at step {at}, but the responses have {has} of "
            "that learner; steps count answers from 1"
        )
    return mastery.set_index(["learner", "step", "skill"])


def _ladder_tests(
    given: pd.Series,
    sequences: Sequences,
    vocabulary: Vocabulary,
    sees: str,
    bootstrap: Bootstrap,
) -> dict[str, Any]:
    """Arguments of `measure`: the exam, and for *pre* estimates what simple models say, all by a
    ladder that was fitted on the other half of the learners. A *pre* value may be that of the
    exam's first step; estimates that have seen the exam cannot be judged by it. Empty where there
    is nothing to compare, or there are too few learners for halves."""
    exam = hold_exam(sequences)
    wanted = sees == "pre" or (sees == "post" and len(exam.asked) > 0)
    ladder = Halves.fit(sequences, vocabulary) if wanted else None
    if ladder is None:
        return {}
    tests: dict[str, Any] = ladder.compared(sequences) if sees == "pre" else {}
    if len(exam.asked):
        steps = np.zeros(len(sequences), int)
        steps[exam.asked.learner] = exam.chunks.whole().lengths + (sees == "pre")
        state = last_known(given, sequences, vocabulary, steps)
        tests["exam"] = ladder.judge(exam, state[exam.asked.learner], bootstrap)
    return tests


def last_known(
    given: pd.Series, sequences: Sequences, vocabulary: Vocabulary, steps: np.ndarray
) -> np.ndarray:
    """[S, C], each skill's latest value at the first `steps` [S] steps of each learner; NaN where
    the table has none. With *pre* estimates, the value of the next step is that before its answer.
    """
    frame = given.reset_index()
    number = {str(name): i for i, name in enumerate(sequences.learners)}
    frame["sequence"] = frame["learner"].map(number)
    skills = {str(name): i for i, name in enumerate(vocabulary.skills)}
    frame["skill"] = frame["skill"].map(skills)
    frame = frame[frame["skill"].notna()]
    frame = frame[frame["step"] <= steps[frame["sequence"]]].sort_values("step")
    latest = frame.groupby(["sequence", "skill"]).tail(1)
    state = np.full((len(sequences), len(vocabulary.skills)), np.nan, np.float32)
    state[latest["sequence"], latest["skill"].astype(int)] = latest["mastery"]
    return state


def audit_files(
    mastery: str | Path | pd.DataFrame,
    responses: str | Path | pd.DataFrame,
    sees: str,
    reading: dict[str, Any] | None = None,
    columns: dict[str, str] | None = None,
    resamples: int = 1000,
) -> Audited:
    """`audit` for estimates and responses in files, or in tables that are read as files would be.

    Parameters
    ----------
    reading : settings of how the responses are read, such as ``{"data.columns": {"user": "id"}}``;
        with ``data.pseudonymise`` the ids, which both files have, become keyed hashes.
    columns : of the estimates, as in `read_mastery`.

    Raises
    ------
    KTError
        For a file that cannot be read or estimates that do not fit the responses.
    """
    resamples = whole_number("resamples", resamples, 20, 10**5)
    data = with_overrides(RunConfig(), reading or {}).data  # checked as a run's would be
    names = pseudonyms() if data.pseudonymise else None
    path, estimates = named(mastery), read_mastery(mastery, columns, names)
    if not isinstance(responses, pd.DataFrame):
        responses = path_of("responses", responses)
    dataset = read_dataset(responses, ReadOptions.of(data, names), "responses")
    steps = estimates.attrs["steps"]
    if not steps.startswith("from"):
        _check_counts(path, estimates, dataset.table)
    audited = audit(estimates, dataset, sees, resamples)
    return dataclasses.replace(audited, note=dataset.note, steps=steps)


def _check_counts(path: Path, estimates: pd.DataFrame, table: pd.DataFrame) -> None:
    """Raise a KTError where counted rows cannot be the steps, as a learner has another number."""
    rows = estimates.groupby("learner", sort=False).size()
    answers = table.groupby(table["user"].astype(str), sort=False).size()
    wrong = rows.ne(answers.reindex(rows.index))
    if wrong.any():
        learner = wrong.idxmax()
        raise KTError(
            f"{path}: {rows[learner]} rows of learner {learner!r}, who has "
            f"{int(answers.get(learner, 0))} answers; without a column step there must be one row "
            "per answer"
        )


def trajectories(audited: Audited, most: int = 40, longest: int = 1000) -> pd.DataFrame:
    """Estimates of the asked skills, step by step, for an interactive figure.

    Parameters
    ----------
    most : learners, evenly from the longest to the shortest history.
    longest : steps of a learner; later ones are left out.

    Returns
    -------
    One row per answer with an estimate: `learner` and `skill` (names), `step` (from 1), `answer`
    (right or wrong), `mastery`; none where all estimates are of later steps.
    """
    frame = audited.beliefs.frame.rename(columns={FIELD[audited.sees]: "mastery"})
    size = frame["learner"].value_counts()
    frame = frame[frame["mastery"].notna() & (frame["step"] < longest)]
    size = size[size.index.isin(frame["learner"])]
    at = np.linspace(0, len(size) - 1, min(most, len(size))).round().astype(int)
    told = frame.set_index("learner", drop=False).loc[size.index[at]].reset_index(drop=True)
    names = audited.measures.skills.set_index("skill")["name"]
    return pd.DataFrame(
        {
            "learner": [str(audited.beliefs.learners[i]) for i in told["learner"]],
            "step": told["step"] + 1,
            "skill": told["skill"].map(names),
            "answer": np.where(told["correct"] == 1, "right", "wrong"),
            "mastery": told["mastery"],
        }
    )


def write_audit(audited: Audited, folder: str | Path) -> Path:
    """Write all numbers as `metrics.json`."""
    folder = make_folder(folder)
    content = {"sees": audited.sees, "covered": audited.covered, "steps": audited.steps}
    content["reading"] = audited.note.to_dict()
    content |= {name: getattr(audited.measures, name).to_dict("records") for name in TABLES}
    write_json(folder / "metrics.json", plain(content))
    return folder
