"""The tables of the pages: what to practise next, and how practice goes."""

from __future__ import annotations

import pandas as pd

from kt_core.evaluation.evaluate import Beliefs
from kt_core.learners.standing import MINIMUM

PRACTISING = 10  # learners needed for a point of a learning curve


def next_practice(learner: pd.DataFrame, most: int = 3) -> pd.DataFrame:
    """What one learner should practise next, and why.

    First skills on which the learner is stuck, then skills with enough answers by mastery, lowest
    first, then skills with too few answers to say. A skill that is ready is never listed.

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
    """Skills to practise with the class: by number of stuck learners, then by mean mastery.

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


def practice_curves(
    beliefs: Beliefs, names: tuple[str, ...], skills: list[str], most: int = 20
) -> pd.DataFrame:
    """Right answers by opportunity, observed and expected by the model, of those still practising.

    Learners leave a skill once they have mastered it or given up, so later points are about fewer
    and other learners. Points with fewer than 10 learners are left out.

    Parameters
    ----------
    names : of all skills, in the order of their numbers.
    skills : those shown.

    Returns
    -------
    `skill`, `opportunity` (from 1), `observed`, `expected`, `learners`.
    """
    frame = beliefs.predicted
    frame = frame[frame["opportunity"] < most]
    number = {name: i for i, name in enumerate(names)}
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
