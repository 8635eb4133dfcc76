"""Learners and cohorts for the trajectory figures: whom to show, and their tidy frames."""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd
import torch

from kt_core.base.errors import KTError, brief
from kt_core.base.values import convert, names_of
from kt_core.data import Sequences, Splits
from kt_core.data.batches import days
from kt_core.data.sequences import SPLITS
from kt_core.evaluation.beliefs import Beliefs, believed_last
from kt_core.evaluation.collected import made_of
from kt_core.learners.standing import MINIMUM, STILL, WEAK, standing
from kt_core.metrics.bootstrap import Bootstrap
from kt_core.model import GainAKT2
from kt_core.uncertainty import Uncertainty

RULES = ("growth quartiles", "steepest", "flattest", "stuck", "most revised", "longest")


def rank_learners(
    beliefs: Beliefs, rule: str, minimum: int = 20, uncertainty: Uncertainty | None = None
) -> list[int]:
    """The first sequences of learners, ranked by a rule.

    Only sequences of at least `minimum` steps are ranked (all, if none is that long). ``steepest``
    and ``flattest`` rank by mean growth of mastery on the practised skills, ``stuck`` by the lowest
    mastery on a skill on which the learner is stuck (`standing.verdict`; others are left out),
    ``most revised`` by how far the belief at the time was from the belief at the end, and
    ``longest`` by steps. Ties keep the order of the data.

    Raises
    ------
    KTError
        For an unknown rule.
    """
    size = beliefs.frame[beliefs.frame["chunk"] == 0].groupby("sequence").size()
    frame = beliefs.told[beliefs.told["chunk"] == 0]
    long = size.index[size >= minimum] if (size >= minimum).any() else size.index
    frame = frame[frame["sequence"].isin(long)]
    last = believed_last(frame)
    pairs = frame.groupby(["sequence", "skill"])[last]
    by = "sequence"
    if rule in ("steepest", "flattest", "growth quartiles"):
        score = (pairs.last() - pairs.first()).groupby(by).mean()
    elif rule == "stuck":
        table = standing(beliefs, uncertainty)
        lowest = table[table["verdict"] == "stuck"].groupby("learner")["mastery"].min()
        own = frame.groupby(by)["learner"].first().map(lowest)
        score = -own.dropna()
    elif rule == "most revised":
        score = (frame["mastery_post"] - frame[last]).abs().groupby(frame[by]).mean()
    elif rule == "longest":
        score = size[long]
    else:
        raise KTError(f"rule {brief(rule)}: choose one of {', '.join(RULES)}")
    ascending = rule in ("flattest", "growth quartiles")
    return [int(i) for i in score.sort_values(ascending=ascending, kind="stable").index]


def choose_learners(
    beliefs: Beliefs,
    rule: str = "growth quartiles",
    minimum: int = 20,
    uncertainty: Uncertainty | None = None,
) -> list[int]:
    """Sequences of three learners to show: the first three of `rank_learners`, or, for ``growth
    quartiles``, those at 25, 50 and 75 % of mean growth."""
    ranked = rank_learners(beliefs, rule, minimum, uncertainty)
    if not ranked:
        raise KTError(
            f"rule {rule!r}: no learner is stuck (at least {MINIMUM} answers on a skill, mastery "
            f"surely below {WEAK}, growth below {STILL}); choose another rule"
        )
    if rule != "growth quartiles":
        return ranked[:3]
    chosen = [ranked[round(q * (len(ranked) - 1))] for q in (0.25, 0.5, 0.75)]
    return list(dict.fromkeys(chosen))


def sequences_of(splits: Splits, split: str, learners: list[str]) -> list[int]:
    """The first sequences of named learners.

    Raises
    ------
    KTError
        For a learner who is not in the split.
    """
    sequences = getattr(splits, split)
    number = {str(name): i for i, name in enumerate(sequences.learners)}
    found = []
    for name in names_of("learners", learners):
        at = np.flatnonzero(sequences.learner == number.get(name, -1))
        if len(at) == 0:
            raise KTError(f"learner {name!r} has no sequence in the {split} split")
        found.append(int(at[0]))
    return found


def only(splits: Splits, learners: list[str]) -> Splits:
    """Splits that hold these learners alone, all of them in each split, whichever split they are
    in.

    Raises
    ------
    KTError
        For a learner who is in none.
    """
    wanted, parts = names_of("learners", learners), []
    for split in SPLITS:
        part: Sequences = getattr(splits, split)
        parts.append(part.of_learners(np.flatnonzero(np.isin(part.learners.astype(str), wanted))))
    found = Sequences.joined(parts)
    for name in wanted:
        if name not in set(map(str, found.learners)):
            raise KTError(f"learner {name!r} has no sequence in the data of this run")
    return dataclasses.replace(splits, train=found, valid=found, test=found)


def learner_name(splits: Splits, split: str, sequence: int) -> str:
    """The learner's id, as in the data."""
    s = getattr(splits, split)
    return str(s.learners[s.learner[sequence]])


def learner_frame(
    model: GainAKT2,
    splits: Splits,
    split: str,
    sequence: int,
    horizon: int = 0,
    uncertainty: Uncertainty | None = None,
) -> pd.DataFrame:
    """Every practised skill at every step of one learner's history, for the trajectory figures.

    Parameters
    ----------
    sequence : any one of the learner's.
    horizon : step (from 1) at which the trajectory is believed; 0 for the last.
    uncertainty : of the run, for the intervals.

    Returns
    -------
    Columns `step` (from 1), `skill` (name; an answer on several has a row for each), `mastery` (as
    believed at the horizon, NaN after it), `filtered` (on the answers up to the step), `gain`,
    `asked`, `correct` (NaN where the skill was not asked), `low` and `high` (95 % around
    `filtered`; NaN without an uncertainty).

    Raises
    ------
    KTError
        For a horizon outside the history.
    """
    s = getattr(splits, split)
    own = np.flatnonzero(s.learner == s.learner[sequence])
    begin, lengths = s.starts[own[0]], s.lengths[own]
    T = int(lengths.sum())
    at = slice(begin, begin + T)
    skills, responses, items = s.skill[at], s.response[at], s.item[at]
    horizon = convert("horizon", horizon, int)
    if not 0 <= horizon <= T:
        raise KTError(f"horizon {horizon}: this history has steps 1 to {T}; 0 means the last")
    horizon = horizon or T
    columns = [torch.from_numpy(x.astype(np.int64))[None] for x in (skills, responses, items)]
    given, of = days(s, np.arange(at.start, at.stop)[None]), made_of(model)
    involved = np.eye(model.n_skills, dtype=bool) if of is None else of > 0
    practised = np.flatnonzero(involved[skills].any(0))
    parts = read_history(model, columns, int(lengths.max()), given, practised, horizon - 1)
    filtered, trajectory, gains, deviation = parts
    asked = involved[skills][:, practised]
    step = np.arange(1, T + 1)
    trajectory[step > horizon] = np.nan
    low = high = np.full(filtered.shape, np.nan)
    if uncertainty is not None:
        low, high = uncertainty.interval(filtered, deviation)
    return pd.DataFrame(
        {
            "step": np.repeat(step, len(practised)),
            "skill": np.tile([splits.vocabulary.skills[k] for k in practised], T),
            "mastery": trajectory.ravel(),
            "filtered": filtered.ravel(),
            "low": low.ravel(),
            "high": high.ravel(),
            "gain": gains.ravel(),
            "asked": asked.ravel(),
            "correct": np.where(asked, responses[:, None], np.nan).ravel(),
        }
    )


@torch.no_grad()
def read_history(
    model: GainAKT2,
    columns: list[torch.Tensor],
    chunk: int,
    days: torch.Tensor | None,
    skills: np.ndarray,
    horizon: int,
) -> tuple[np.ndarray, ...]:
    """Filtered mastery, the trajectory as believed at a horizon, gains as believed at the end, and
    the deviation (empty where it is not known): of one learner and some skills, [T, K] each.

    Parameters
    ----------
    columns : skills, responses and items, [1, T] each. They are read as `evaluate` reads them: as
        a whole, or chunk by chunk, each from where the previous one ended.
    """
    if not model.whole_histories:
        parts, start = [], None
        for part in zip(*(column.split(chunk, dim=1) for column in columns), strict=True):
            parts.append(model.forward_with_states(*part, start=start, days=days))
            start = parts[-1].filtered[:, -1]
        filtered, gains = (
            _of(skills, [getattr(x, n) for x in parts]) for n in ("filtered", "gains")
        )
        return filtered, filtered.copy(), gains, np.zeros(0)
    reading, last = model.read_skeleton(*columns, days), columns[0].shape[1] - 1
    filtered, deviation, begin, ends = [], [], 0, {}
    for states in model.windows(reading):
        filtered.append(states.filtered[..., skills])
        deviation.append(states.deviation[..., skills])
        T = states.filtered.shape[1]
        for step in {horizon, last} & set(range(begin, begin + T)):
            ends[step] = states.belief[:, step - begin], states.factor[:, step - begin]
        begin += T
    trajectory, gains = (
        _of(
            skills,
            [part[i] for part in model.heads.trajectories(reading, *ends[h], torch.tensor([h]))],
        )
        for i, h in ((0, horizon), (1, last))
    )
    every = slice(None)
    return _of(every, filtered), trajectory, gains, _of(every, deviation)


def _of(skills: np.ndarray | slice, parts: list[torch.Tensor]) -> np.ndarray:
    return torch.cat([part[0][:, skills] for part in parts]).numpy().copy()


def telling_step(learner: pd.DataFrame) -> int:
    """The last answer on the most practised skill, whose prediction holds the most gains; of a
    learner with two answers or more, as the first is not predicted."""
    asked = learner[learner["asked"]]
    most = asked["skill"].value_counts(sort=True).index[0]
    return max(int(asked.loc[asked["skill"] == most, "step"].max()), 2)


def learning_curves(beliefs: Beliefs, most: int = 15, resamples: int = 200) -> pd.DataFrame:
    """Observed and modelled right answers by opportunity, over all skills, 95 % over learners.

    Learners leave a skill when they have mastered it or given up, so later points are only about
    those who are still practising.
    """
    rows = beliefs.predicted
    rows = rows[rows["opportunity"] < most]
    bootstrap = Bootstrap(len(beliefs.learners), resamples)
    table = []
    for opportunity, part in rows.groupby("opportunity"):
        table.append({"opportunity": opportunity, **curve_point(part, bootstrap)})
    return pd.DataFrame(table, columns=["opportunity", *POINT])


POINT = ("observed", "low", "high", "predicted", "mastery", "answers")


def curve_point(answers: pd.DataFrame, bootstrap: Bootstrap) -> dict[str, float]:
    """What a learning curve shows of some answers: the share right with its interval, what was
    predicted of them, mastery before them, and their number."""
    e = bootstrap.row_mean(answers["correct"], answers["learner"], (0, 1))
    means = {"predicted": answers["predicted"].mean(), "mastery": answers["mastery_pre"].mean()}
    return {"observed": e.value, "low": e.low, "high": e.high, **means, "answers": len(answers)}


def final_mastery(beliefs: Beliefs, names: tuple[str, ...], most: int = 20) -> pd.DataFrame:
    """Mastery at the end of each sequence, for the `most` practised skills."""
    frame = beliefs.told
    top = frame["skill"].value_counts().index[:most]
    pairs = frame[frame["skill"].isin(top)][["sequence", "skill"]].drop_duplicates()
    return pd.DataFrame(
        {
            "skill": [names[k] for k in pairs["skill"]],
            "mastery": beliefs.final[pairs["sequence"], pairs["skill"]],
        }
    )


def skill_growth(
    beliefs: Beliefs,
    names: tuple[str, ...],
    most: int = 20,
    resamples: int = 500,
    uncertainty: Uncertainty | None = None,
) -> pd.DataFrame:
    """How far learners came on each of the `most` practised skills, 95 % over learners.

    Growth is along the trajectory, from the first to the last answer on the skill, for learners
    with at least two. `kt_core.learners.standing.verdict` says who is stuck: a description of what
    the model believes, not a diagnosis.

    Returns
    -------
    Columns `skill`, `growth`, `low`, `high`, `learners`, `stuck` (share of those with at least 8
    answers; NaN where there are fewer than 10), `practised` (how many these are).
    """
    top = beliefs.told["skill"].value_counts().index[:most]
    table = standing(beliefs, uncertainty)
    table = table[table["skill"].isin(top) & (table["answers"] >= 2)]
    rows = []
    for skill, part in table.groupby("skill"):
        e = Bootstrap(len(part), resamples).mean(part["growth"].to_numpy(), bounds=(-1, 1))
        judged = part[part["answers"] >= MINIMUM]
        rows.append(
            {
                "skill": names[skill],
                "growth": e.value,
                "low": e.low,
                "high": e.high,
                "learners": len(part),
                "stuck": (judged["verdict"] == "stuck").mean() if len(judged) >= 10 else np.nan,
                "practised": len(judged),
            }
        )
    columns = ["skill", "growth", "low", "high", "learners", "stuck", "practised"]
    table = pd.DataFrame(rows, columns=columns)
    return table.sort_values("growth", ascending=False, ignore_index=True)


def transfer_shares(
    model: GainAKT2, beliefs: Beliefs, names: tuple[str, ...], most: int = 25
) -> pd.DataFrame | None:
    """Share of a gain on one skill (row) that reaches another (column), for the `most` practised
    skills; None for a model without transfer."""
    shares = model.heads.skeleton.shares().numpy() if model.on_path else np.eye(model.n_skills)
    if (shares == np.eye(len(shares))).all():
        return None
    top = beliefs.frame["skill"].value_counts().index[:most]
    shares = shares[np.ix_(top, top)]
    labels = [names[k] for k in top]
    return pd.DataFrame(shares, index=labels, columns=labels)
