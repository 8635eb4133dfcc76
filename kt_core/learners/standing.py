"""The state of learners on each skill, and the one rule that says who is stuck.

Mastery is the believed P(right) on a typical question of the skill. The numbers of every rule about
learners are here; pages and figures print them.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from kt_core.evaluation.beliefs import Beliefs, believed_last, ends
from kt_core.uncertainty import Uncertainty

MINIMUM = 8  # answers on a skill, before anything is said about a learner and this skill
WEAK = 0.5  # stuck: the upper end of the interval is below this ...
STILL = 0.1  # ... and mastery has grown by less than this
READY = 0.8  # ready to move on: the lower end of the interval is above this
SURE = 0.3  # an interval of at most this width is called fairly sure
GROWN = 0.05  # growth is told to a teacher where the lower end of its interval is at least this
HELP, PRACTISE, MORE, UNKNOWN = GROUPS = ("help", "practise", "ready", "unknown")


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


def group(weakest: float) -> str:
    """The group of a class to which a learner belongs.

    Parameters
    ----------
    weakest : the lowest mastery of the learner on a skill with at least 8 answers; NaN where there
        is none.

    Returns
    -------
    ``help`` below 0.5 (whoever is stuck on a skill is among these), ``practise`` below 0.8, else
    ``ready``; ``unknown`` without such a skill.
    """
    if np.isnan(weakest):
        return UNKNOWN
    return HELP if weakest < WEAK else PRACTISE if weakest < READY else MORE


def mastery_table(
    learner: np.ndarray,
    skill: np.ndarray,
    mastery: np.ndarray,
    deviation: np.ndarray | None,
    uncertainty: Uncertainty | None = None,
    every_skill: bool = False,
    made_of: np.ndarray | None = None,
) -> pd.DataFrame:
    """The table of `kt_core.predict`, with numbers of learners and skills instead of names.

    Parameters
    ----------
    learner, skill : [N], of each answer.
    mastery, deviation : [L, C], after all answers of a learner.
    made_of : of `kt_core.evaluation.tracer.Trace`. Then only single skills are told, and each
        answer counts for all of its own.
    """
    L, C = mastery.shape
    opportunities = np.bincount(learner * C + skill, minlength=L * C).reshape(L, C)
    steps, single = opportunities.sum(axis=1), np.ones(C, bool)
    if made_of is not None:
        opportunities, single = opportunities @ made_of.astype(int), made_of.diagonal() > 0
    learner, skill = np.nonzero((opportunities >= (0 if every_skill else 1)) & single)
    now = mastery[learner, skill].astype(float)
    columns = {"learner": learner, "skill": skill, "mastery": now}
    if uncertainty is not None:
        sure = deviation[learner, skill].astype(float)
        columns["low"], columns["high"] = uncertainty.interval(now, sure)
    counts = {"opportunities": opportunities[learner, skill], "steps": steps[learner]}
    return pd.DataFrame(columns | counts)


def current(
    beliefs: Beliefs, uncertainty: Uncertainty | None = None, every_skill: bool = False
) -> pd.DataFrame:
    """`mastery_table` of beliefs."""
    frame = beliefs.frame
    last = frame.groupby("learner")["sequence"].last().to_numpy()
    answers = frame["learner"].to_numpy(), frame["skill"].to_numpy()
    deviation = None if beliefs.final_deviation is None else beliefs.final_deviation[last]
    states = beliefs.final[last], deviation
    return mastery_table(*answers, *states, uncertainty, every_skill, beliefs.made_of)


def standing(beliefs: Beliefs, uncertainty: Uncertainty | None = None) -> pd.DataFrame:
    """Every learner on every skill that they practised, with the verdict.

    Returns
    -------
    One row per learner and skill, by their numbers: `learner`, `skill`, `answers`, `right`, `start`
    (mastery at the first answer, as believed now), `mastery`, `low`, `high` (mastery itself without
    `uncertainty`), `growth` (along the trajectory), `growth_low`, `growth_high` (growth itself
    without `uncertainty`), `verdict`, `sure` (whether the interval of mastery is narrow); `steps`
    and `all_right` (the learner's answers, and right ones, on all skills: not the sums of `answers`
    and `right` where an answer needs several skills).
    """
    table = current(beliefs, uncertainty).rename(columns={"opportunities": "answers"})
    if uncertainty is None:
        table = table.assign(low=table["mastery"], high=table["mastery"])
    told = beliefs.told
    first, last = ends(told)
    believed = believed_last(told)
    past = pd.DataFrame({"start": first[believed], "growth": last[believed] - first[believed]})
    past["growth_low"] = past["growth_high"] = past["growth"]
    if uncertainty is not None:
        past["growth_low"], past["growth_high"] = uncertainty.growth(first, last)
    past["right"] = told.groupby(["learner", "skill"])["correct"].sum()
    table = table.merge(past.reset_index(), on=["learner", "skill"], validate="one_to_one")
    all_right = beliefs.frame.groupby("learner")["correct"].sum()
    table["all_right"] = table["learner"].map(all_right)
    table["verdict"] = [
        verdict(row.answers, row.low, row.high, row.growth) for row in table.itertuples()
    ]
    return table.assign(sure=table["high"] - table["low"] <= SURE)
