"""Tidy frames about practice: learning curves of skills, answers after breaks, mastery before and
after."""

from __future__ import annotations

import numpy as np
import pandas as pd

from kt_core.data import Splits
from kt_core.evaluation.beliefs import Beliefs
from kt_core.learners import cohort
from kt_core.learners.standing import standing
from kt_core.metrics.bootstrap import Bootstrap
from kt_core.model import GainAKT2
from kt_core.uncertainty import Uncertainty

FEW = 10  # answers; with fewer, a point of a curve says nothing
MOST_SKILLS = 500  # in an interactive figure
FEW_RETURNS = 10  # learners; with fewer, an interval after a break says nothing
STEPS = {"none": 0, "1 to 2": 2, "3 to 5": 5, "6 to 10": 10, "11 to 20": 20, "21 to 50": 50}
HOUR = 1 / 24
DAYS = {"under an hour": HOUR, "to a day": 1, "to 3 days": 3, "to a week": 7, "to a month": 30}
LONGER = {"steps": "over 50", "days": "over a month", "breaks": "over 30"}
USUAL = {"under 1": 1, "1 to 3": 3, "3 to 10": 10, "10 to 30": 30}  # where a day is not known


def skill_curves(
    beliefs: Beliefs,
    names: tuple[str, ...],
    most: int = 12,
    longest: int = 12,
    resamples: int = 200,
) -> pd.DataFrame:
    """Learning curves of the `most` practised skills: what was answered, and what the model fits.

    Learners leave a skill when they have mastered it or given up, so later points are only about
    those who are still practising. The fitted curve is about the same learners.

    Returns
    -------
    Columns `skill` (name, the most practised first), `opportunity` (from 1, at most `longest`),
    `observed` (share right) with `low` and `high` (95 % over learners), `predicted` (mean of the
    predicted probabilities of the same answers), `mastery` (mean before the answer), `answers`.
    Points with fewer than 10 answers are left out.
    """
    rows = beliefs.predicted
    rows = rows[rows["opportunity"] < longest]
    bootstrap, table = Bootstrap(len(beliefs.learners), resamples), []
    for skill in rows["skill"].value_counts().index[:most]:
        for opportunity, part in rows[rows["skill"] == skill].groupby("opportunity"):
            if len(part) < FEW:
                continue
            row = {"skill": names[skill], "opportunity": opportunity + 1}
            table.append(row | cohort.curve_point(part, bootstrap))
    columns = ["skill", "opportunity", "observed", "low", "high", "predicted", "mastery", "answers"]
    return pd.DataFrame(table, columns=columns)


def every_skill(
    beliefs: Beliefs, names: tuple[str, ...], uncertainty: Uncertainty | None = None
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Growth (`kt_core.learners.cohort.skill_growth`) and learning curves of up to 500 skills."""
    growth = cohort.skill_growth(beliefs, names, MOST_SKILLS, 200, uncertainty)
    return growth, skill_curves(beliefs, names, MOST_SKILLS)


def after_breaks(
    beliefs: Beliefs, time: np.ndarray | None = None, dated: bool = True, resamples: int = 500
) -> pd.DataFrame:
    """How answers turn out after a break from a skill, next to what the model predicted of them.

    Where the observed share falls below the predicted one as breaks grow, more is forgotten than
    the model tells.

    Parameters
    ----------
    time : [N], when each answer was given, in days, or in usual breaks if not `dated`
        (`kt_core.data.Sequences.time`).

    Returns
    -------
    Columns `by` (steps, and days or breaks where times are known), `gap` (in words, the shortest
    first), `observed` (share right), `predicted` (mean probability of the same answers),
    `difference` (observed minus predicted) with `low` and `high` (95 % over learners), `answers`.
    The first answers of learners on a skill have no break, and are left out as are gaps after which
    fewer than 10 learners returned.
    """
    frame = beliefs.frame
    frame = frame.assign(place=frame.groupby("learner").cumcount())
    known = [frame["learner"], frame["skill"]]
    gaps = {"steps": (frame["place"].groupby(known).diff() - 1, STEPS)}
    if time is not None:
        since = pd.Series(np.asarray(time), frame.index).groupby(known).diff()
        gaps["days" if dated else "breaks"] = (since, DAYS if dated else USUAL)
    bootstrap, table = Bootstrap(len(beliefs.learners), resamples), []
    for by, (gap, limits) in gaps.items():
        rows = frame.assign(gap=_named(gap, limits, LONGER[by]))
        rows = rows[rows["gap"].notna() & rows["predicted"].notna()]
        for name, part in rows.groupby("gap", observed=True):
            if part["learner"].nunique() < FEW_RETURNS:
                continue
            apart = part["correct"] - part["predicted"]
            e = bootstrap.row_mean(apart, part["learner"], (-1, 1))
            row = {"by": by, "gap": name, "observed": part["correct"].mean()}
            row |= {"predicted": part["predicted"].mean(), "difference": e.value}
            table.append(row | {"low": e.low, "high": e.high, "answers": len(part)})
    columns = ["by", "gap", "observed", "predicted", "difference", "low", "high", "answers"]
    return pd.DataFrame(table, columns=columns)


def _named(gap: pd.Series, limits: dict[str, float], longer: str) -> pd.Series:
    """Gaps by name; a limit belongs to the shorter gap."""
    return pd.cut(gap, [-np.inf, *limits.values(), np.inf], labels=[*limits, longer])


def before_and_after(beliefs: Beliefs, names: tuple[str, ...]) -> pd.DataFrame:
    """Mastery before and after practice, as believed at the end.

    It is a description of what the model believes, not of what the practice caused.

    Returns
    -------
    One row for each learner and skill with at least two answers: `learner` (number), `skill`
    (name), `before` (mastery at the first answer), `after` (at the last), `answers`, `start` (the
    third of all pairs by `before`: low, middle or high).
    """
    table = standing(beliefs)
    table = table[table["answers"] >= 2].reset_index(drop=True)
    place = table["start"].rank(method="first", pct=True)
    thirds = pd.cut(place, 3, labels=["low", "middle", "high"]) if len(table) else place
    return pd.DataFrame(
        {
            "learner": table["learner"],
            "skill": np.asarray(names, object)[table["skill"]],
            "before": table["start"],
            "after": table["start"] + table["growth"],
            "answers": table["answers"],
            "start": thirds.astype(str),
        }
    )


def trajectories(
    model: GainAKT2, splits: Splits, split: str, sequences: list[int], most: int = 40_000
) -> pd.DataFrame:
    """The mastery of learners at and around their answers, for an interactive figure.

    Between two practices of a skill a line through these rows is that of the static figure: level
    until the practice, or falling where a model forgets.

    Parameters
    ----------
    sequences : one of each learner, as `kt_core.learners.cohort.rank_learners` gives them.
    most : rows; learners beyond that are left out.

    Returns
    -------
    One row for each learner's skill at its answers, at the steps before them, and at the first and
    the last step: `learner` and `skill` (names), `step`, `answer` (right or wrong; empty where
    there is none), `mastery` (as believed at the end), `then` (as believed after the step), `gain`.
    """
    parts, rows = [], 0
    for sequence in sequences:
        frame = cohort.learner_frame(model, splits, split, sequence)
        frame = frame.sort_values(["step", "skill"], kind="stable")
        by_skill = frame.groupby("skill", sort=False)
        next_is = by_skill["asked"].shift(-1, fill_value=True)  # the last step is kept too
        told = frame[frame["asked"] | next_is | (by_skill.cumcount() == 0)]
        rows += len(told)
        if rows > most and parts:
            break
        answer = np.where(told["correct"] == 1, "right", "wrong")
        told = told.assign(answer=np.where(told["asked"], answer, ""))
        told = told.assign(learner=cohort.learner_name(splits, split, sequence))
        parts.append(told.rename(columns={"filtered": "then"}))
    columns = ["learner", "step", "skill", "answer", "mastery", "then", "gain"]
    return pd.concat(parts, ignore_index=True)[columns]


def spread_over(ranked: list[int], most: int, first: list[int]) -> list[int]:
    """`first`, and others evenly over a ranking, at most `most` in all."""
    at = np.linspace(0, len(ranked) - 1, min(most, len(ranked))).round().astype(int)
    return list(dict.fromkeys([*first, *(ranked[i] for i in at)]))[:most]
