"""The tables of the pages: groups, the map of the class, what to practise, and how it goes."""

from __future__ import annotations

import pandas as pd

from kt_core.evaluation.beliefs import Beliefs
from kt_core.learners.standing import GROUPS, MINIMUM, WEAK, group
from kt_core.uncertainty import Uncertainty

PRACTISING = 10  # learners needed for a point of a learning curve
FEW = "too few answers"  # the verdict
NEED = ("stuck", "learning", FEW)  # verdicts by need; a skill that is ready needs nothing


def next_practice(learner: pd.DataFrame, most: int = 3) -> pd.DataFrame:
    """What one learner should practise next.

    First skills on which the learner is stuck, then skills with enough answers by mastery, lowest
    first, then skills with too few answers to say. A skill that is ready is never listed.

    Parameters
    ----------
    learner : rows of `standing`.

    Returns
    -------
    `skill`, `mastery`, `verdict`.
    """
    part = learner[learner["verdict"] != "ready"].copy()
    part["rank"] = part["verdict"].map(NEED.index)
    part = part.sort_values(["rank", "mastery", "skill"], kind="stable")[:most]
    return part[["skill", "mastery", "verdict"]]


def skills_of_class(table: pd.DataFrame) -> pd.DataFrame:
    """Every skill by the need of the class: where more are stuck, then where mastery is lower.

    Returns
    -------
    `skill`, `answers` (of all), and of learners with at least 8 answers: `learners` (how many),
    `stuck`, `below` (mastery below 0.5), `ready`, `mastery` (their mean; NaN without any, last).
    """
    known = table[table["answers"] >= MINIMUM]
    columns = {
        "learners": True,
        "stuck": known["verdict"] == "stuck",
        "below": known["mastery"] < WEAK,
        "ready": known["verdict"] == "ready",
    }
    groups = known.assign(**columns).groupby("skill")
    counts = groups[list(columns)].sum()
    answers = table.groupby("skill")["answers"].sum()
    result = counts.reindex(answers.index, fill_value=0).astype(int)
    result = result.assign(answers=answers, mastery=groups["mastery"].mean()).reset_index()
    keys = ["stuck", "mastery", "skill"]
    return result.sort_values(keys, ascending=[False, True, True], ignore_index=True)


def learners_of_class(table: pd.DataFrame) -> pd.DataFrame:
    """Every learner with a group, by need: group by group, who is stuck on more skills first, then
    who has the lowest mastery.

    Returns
    -------
    `learner`, `group`, `answers`, `right`, `stuck` and `ready` (numbers of skills), `weakest` (of
    the skills with at least 8 answers, one on which the learner is stuck, or else the one with the
    lowest mastery; empty without any), `mastery` (on it), `is_stuck` (whether on it).
    """
    groups = table.groupby("learner", sort=False)
    result = groups[["steps", "all_right"]].first().set_axis(["answers", "right"], axis=1)
    for word in ("stuck", "ready"):
        result[word] = (table["verdict"] == word).groupby(table["learner"]).sum()
    worst = pairs_of_class(table).drop_duplicates("learner").set_index("learner")
    worst = worst.reindex(result.index)
    result["weakest"], result["mastery"] = worst["skill"].fillna(""), worst["mastery"]
    result["is_stuck"] = worst["verdict"] == "stuck"
    lowest = table[table["answers"] >= MINIMUM].groupby("learner")["mastery"].min()
    result["group"] = [group(value) for value in lowest.reindex(result.index)]
    place = result["group"].map(GROUPS.index)
    keys = ["place", "stuck", "mastery"]
    result = result.assign(place=place).sort_values(
        keys, ascending=[True, False, True], kind="stable"
    )
    return result.drop(columns="place").reset_index()


def pairs_of_class(table: pd.DataFrame) -> pd.DataFrame:
    """Rows of `standing` with at least 8 answers, by need: who is stuck first, then by mastery."""
    known = table[table["answers"] >= MINIMUM]
    known = known.assign(first=known["verdict"] != "stuck")
    known = known.sort_values(["first", "mastery"], kind="stable")
    return known.drop(columns="first").reset_index(drop=True)


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


def courses(beliefs: Beliefs, uncertainty: Uncertainty) -> pd.DataFrame:
    """Mastery of the skills of every answer after it, as believed then, with its interval.

    Returns
    -------
    `learner` and `skill` (numbers), `right`, `mastery`, `low`, `high`; in order of time.
    """
    frame = beliefs.told
    mastery = frame["mastery_post"].to_numpy(float)
    low, high = uncertainty.interval(mastery, frame["deviation"].to_numpy(float))
    columns = {"mastery": mastery, "low": low, "high": high, "right": frame["correct"] == 1}
    return frame[["learner", "skill"]].assign(**columns)
