"""Where learners stand, as tables: no page, no wording beyond a verdict.

Mastery is what the model believes P(right) to be on a typical question of the skill. Every rule
that says something about a learner has its numbers here, and the pages print them.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from kt_core.data import Dataset, Sequences
from kt_core.evaluation.evaluate import evaluate
from kt_core.learners.predict import predict
from kt_core.runs.run import Run

MINIMUM = 8  # answers on a skill, before anything is said about a learner and this skill
WEAK = 0.5  # stuck: the upper end of the interval is below this ...
STILL = 0.1  # ... and mastery has grown by less than this
READY = 0.8  # ready to move on: the lower end of the interval is above this
SURE = 0.3  # an interval no wider than this is called fairly sure
PRACTISING = 10  # learners still practising, before a point of a learning curve is shown

VERDICTS = ("stuck", "ready", "learning", "too few answers")


def verdict(answers: int, low: float, high: float, growth: float) -> str:
    """What may be said about one learner and one skill.

    Parameters
    ----------
    answers : on the skill.
    low, high : ends of the 95 % interval of mastery now.
    growth : of mastery since the learner's first answer on it, as believed now.

    Returns
    -------
    ``too few answers`` below 8; ``stuck`` where even the upper end is below 0.5 and growth below
    0.1; ``ready`` where the lower end is above 0.8; else ``learning``.
    """
    if answers < MINIMUM:
        return "too few answers"
    if high < WEAK and growth < STILL:
        return "stuck"
    return "ready" if low > READY else "learning"


def standing(run: Run, dataset: Dataset) -> pd.DataFrame:
    """Every learner on every skill that they practised.

    Returns
    -------
    One row a learner and skill, most practised first within a learner: `learner`, `skill`,
    `answers`, `right`, `start` (mastery at the first answer, as believed now), `mastery`, `low`,
    `high`, `growth`, `verdict`, `sure` (whether the interval is narrow).

    Raises
    ------
    KTError
        For a skill that the run does not know.
    """
    now = predict(run, dataset).rename(columns={"opportunities": "answers"})
    names = run.vocabulary.skills
    sequences = Sequences.of(dataset.table, run.vocabulary, run.config.data.chunk, min_length=1)
    frame = evaluate(run.model, sequences, flips=False).frame
    last = "mastery_last" if "mastery_last" in frame else "mastery_post"
    groups = frame.groupby(["learner", "skill"])
    past = pd.DataFrame(
        {
            "right": groups["correct"].sum(),
            "start": groups[last].first(),
            "end": groups[last].last(),
        }
    ).reset_index()
    past["learner"] = sequences.learners[past["learner"]]
    past["skill"] = np.asarray(names, object)[past["skill"]]
    table = now.merge(past, on=["learner", "skill"], validate="one_to_one")
    table["growth"] = table["end"] - table["start"]
    table["verdict"] = [
        verdict(row.answers, row.low, row.high, row.growth) for row in table.itertuples()
    ]
    table["sure"] = table["high"] - table["low"] <= SURE
    table = table.drop(columns="end")
    order = {learner: i for i, learner in enumerate(now["learner"].unique())}
    return table.sort_values(
        ["learner", "answers", "skill"],
        key=lambda c: c.map(order) if c.name == "learner" else (-c if c.name == "answers" else c),
        ignore_index=True,
    )


def next_practice(learner: pd.DataFrame, most: int = 3) -> pd.DataFrame:
    """What one learner should practise next, with the reason.

    First what is stuck (a different kind of practice, or help), then skills with many answers and
    the lowest mastery, then skills with too few answers to say. What is ready is never listed.

    Parameters
    ----------
    learner : rows of `standing`.
    """
    reasons = {
        "stuck": "much practice and little growth: try it another way, or with help",
        "learning": "in the middle of learning it",
        "too few answers": "too few answers to say where it stands",
    }
    part = learner[learner["verdict"] != "ready"].copy()
    part["rank"] = part["verdict"].map(list(reasons).index)
    part = part.sort_values(["rank", "mastery", "skill"], kind="stable")[:most]
    return part.assign(reason=part["verdict"].map(reasons))[["skill", "mastery", "reason"]]


def next_for_class(table: pd.DataFrame, most: int = 5) -> pd.DataFrame:
    """Skills by how many learners are stuck on them, then by how many are not ready.

    Returns
    -------
    `skill`, `learners` (with at least 8 answers), `stuck`, `ready`, `mastery` (their mean).
    """
    known = table[table["answers"] >= MINIMUM]
    rows = [
        {
            "skill": skill,
            "learners": len(part),
            "stuck": int((part["verdict"] == "stuck").sum()),
            "ready": int((part["verdict"] == "ready").sum()),
            "mastery": part["mastery"].mean(),
        }
        for skill, part in known.groupby("skill")
    ]
    columns = ["skill", "learners", "stuck", "ready", "mastery"]
    result = pd.DataFrame(rows, columns=columns)
    open_ = result[result["ready"] < result["learners"]]
    return open_.sort_values(["stuck", "mastery"], ascending=[False, True])[:most]


def learning_curves(run: Run, dataset: Dataset, skills: list[str], most: int = 20) -> pd.DataFrame:
    """Right answers by opportunity, observed and expected by the model, of those still practising.

    Learners leave a skill once they have mastered it, or given up: later points are about others
    than earlier ones. Points with fewer than 10 learners are left out.

    Returns
    -------
    `skill`, `opportunity` (from 1), `observed`, `expected`, `learners`.
    """
    sequences = Sequences.of(dataset.table, run.vocabulary, run.config.data.chunk, min_length=1)
    frame = evaluate(run.model, sequences, flips=False).predicted
    frame = frame[frame["opportunity"] < most]
    number = {name: i for i, name in enumerate(run.vocabulary.skills)}
    parts = []
    for skill in skills:
        rows = frame[frame["skill"] == number[skill]].groupby("opportunity")
        part = pd.DataFrame(
            {
                "observed": rows["correct"].mean(),
                "expected": rows["predicted"].mean(),
                "learners": rows["learner"].nunique(),
            }
        ).reset_index()
        part["opportunity"] += 1
        part.insert(0, "skill", skill)
        parts.append(part[part["learners"] >= PRACTISING])
    columns = ["skill", "opportunity", "observed", "expected", "learners"]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=columns)
