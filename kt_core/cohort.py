"""Learners and cohorts for the trajectory figures: who is shown, and the tidy frames of them."""

from __future__ import annotations

import numpy as np
import pandas as pd
import torch

from kt_core.data import Splits
from kt_core.diagnostics import believed_last
from kt_core.errors import KTError
from kt_core.evaluate import Evidence
from kt_core.metrics.bootstrap import Bootstrap
from kt_core.model import GainAKT2


def choose_learners(evidence: Evidence, rule: str = "growth quartiles", minimum: int = 20):
    """Sequences of learners to show, by a rule and not by luck.

    Among first sequences of at least `minimum` steps (of at least 3 where none is that long),
    learners are sorted by mean growth of mastery on the skills they practised:
    ``growth quartiles`` takes those at 25, 50 and 75 %, ``steepest`` the top three, ``flattest``
    the last three, ``longest`` the three with most steps (ties: the first in the data).
    """
    frame = evidence.frame[evidence.frame["chunk"] == 0]
    size = frame.groupby("sequence").size()
    pairs = frame.groupby(["sequence", "skill"])[believed_last(frame)]
    growth = (pairs.last() - pairs.first()).groupby("sequence").mean()
    long = size.index[size >= minimum] if (size >= minimum).any() else size.index
    ranked = growth[long].sort_values(kind="stable").index
    if rule == "growth quartiles":
        chosen = [ranked[round(q * (len(ranked) - 1))] for q in (0.25, 0.5, 0.75)]
    elif rule in ("steepest", "flattest"):
        chosen = list(ranked[::-1][:3] if rule == "steepest" else ranked[:3])
    elif rule == "longest":
        chosen = list(size[long].sort_values(ascending=False, kind="stable").index[:3])
    else:
        raise KTError(f"rule {rule!r}: choose growth quartiles, steepest, flattest or longest")
    return list(dict.fromkeys(int(i) for i in chosen))


def sequences_of(splits: Splits, split: str, learners: list[str]) -> list[int]:
    """First sequences of named learners.

    Raises
    ------
    KTError
        For a learner who is not in the split.
    """
    sequences = getattr(splits, split)
    number = {str(name): i for i, name in enumerate(sequences.learners)}
    found = []
    for name in map(str, learners):
        at = np.flatnonzero(sequences.learner == number.get(name, -1))
        if len(at) == 0:
            raise KTError(f"learner {name!r} has no sequence in the {split} split")
        found.append(int(at[0]))
    return found


def learner_name(splits: Splits, split: str, sequence: int) -> str:
    """The learner's id as it stands in the data."""
    s = getattr(splits, split)
    return str(s.learners[s.learner[sequence]])


def learner_frame(model: GainAKT2, splits: Splits, split: str, sequence: int) -> pd.DataFrame:
    """Every practised skill at every step of one sequence, for the trajectory figures.

    Returns
    -------
    Columns `step` (from 1), `skill` (name), `mastery` (as believed at the last step), `filtered`
    (on the answers up to the step), `gain`, `asked`, `correct` (NaN where the skill was not asked).
    In `retrospective` all of the learner's history is shown, in the other modes the sequence.
    """
    s = getattr(splits, split)
    if model.on_path:
        whole = s.whole()
        sequence = int(np.searchsorted(whole.starts, s.starts[sequence], side="right")) - 1
        s = whole
    at = slice(s.starts[sequence], s.starts[sequence] + s.lengths[sequence])
    skills, responses, items = s.skill[at], s.response[at], s.item[at]
    with torch.no_grad():
        states = model.forward_with_states(
            *(torch.from_numpy(x)[None] for x in (skills, responses, items))
        )
    practised = np.unique(skills)
    T = len(skills)
    asked = skills[:, None] == practised
    return pd.DataFrame(
        {
            "step": np.repeat(np.arange(1, T + 1), len(practised)),
            "skill": np.tile([splits.vocabulary.skills[k] for k in practised], T),
            "mastery": states.trajectory[0][:, practised].numpy().ravel(),
            "filtered": states.filtered[0][:, practised].numpy().ravel(),
            "gain": states.gains[0][:, practised].numpy().ravel(),
            "asked": asked.ravel(),
            "correct": np.where(asked, responses[:, None], np.nan).ravel(),
        }
    )


def telling_step(learner: pd.DataFrame) -> int:
    """The last answer on the skill with most answers: a prediction with most gains in it."""
    asked = learner[learner["asked"]]
    most = asked["skill"].value_counts(sort=True).index[0]
    return max(int(asked.loc[asked["skill"] == most, "step"].max()), 2)


def learning_curves(evidence: Evidence, most: int = 15, resamples: int = 200) -> pd.DataFrame:
    """Observed and modelled by opportunity, over all skills, 95 % over learners.

    Learners leave a skill when they have mastered it or given up, so later points are about those
    who are still practising.
    """
    rows = evidence.predicted
    rows = rows[rows["opportunity"] < most]
    bootstrap = Bootstrap(len(evidence.learners), resamples)
    table = []
    for opportunity, part in rows.groupby("opportunity"):
        right = np.bincount(part["learner"], part["correct"], bootstrap.n)
        count = np.bincount(part["learner"], minlength=bootstrap.n).astype(float)
        e = bootstrap.ratio(right, count)
        table.append(
            {
                "opportunity": opportunity,
                "observed": e.value,
                "low": e.low,
                "high": e.high,
                "predicted": part["predicted"].mean(),
                "mastery": part["mastery_pre"].mean(),
                "answers": len(part),
            }
        )
    return pd.DataFrame(table)


def final_mastery(evidence: Evidence, names: tuple[str, ...], most: int = 20) -> pd.DataFrame:
    """Mastery at the end of each sequence, for the `most` practised skills."""
    frame = evidence.frame
    top = frame["skill"].value_counts().index[:most]
    pairs = frame[frame["skill"].isin(top)][["sequence", "skill"]].drop_duplicates()
    return pd.DataFrame(
        {
            "skill": [names[k] for k in pairs["skill"]],
            "mastery": evidence.final[pairs["sequence"], pairs["skill"]],
        }
    )
