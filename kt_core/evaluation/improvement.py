"""Held-out gain-performance: do learners improve where the model says that they do?

A *pair* is a learner and a skill with at least six answers. Its first and last three answers are
hidden from the belief, which then predicts them: the predicted improvement is the mean probability
of the last three minus that of the first three, and the observed one the difference in the answers
(docs/method.md, "The measures"). Pairs are hidden in turns, so that what a learner did on other
skills is seen.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy.special import expit

from kt_core.data.sequences import Sequences
from kt_core.evaluation.masked import hidden_answers
from kt_core.model import GainAKT2

ENDS = 3  # answers at either end that are hidden
TURNS = 3


def improvements(model: GainAKT2, sequences: Sequences) -> pd.DataFrame:
    """Predicted and observed improvement of every pair.

    Returns
    -------
    `learner`, `skill`, `predicted` and `observed` in [-1, 1], and `variance`: of the observed one
    if the model's probabilities were true.

    Raises
    ------
    KTError
        For a mode from which no answer can be hidden.
    """
    whole = sequences.whole()
    place, last, pair = _ends(whole)
    ends = (last >= 2 * ENDS - 1) & ((place < ENDS) | (last - place < ENDS))
    frame = hidden_answers(model, sequences, passes=np.where(ends, pair % TURNS, -1))
    frame = frame.assign(p=expit(frame["believed"]), late=place >= ENDS)[ends]
    frame["doubt"] = frame["p"] * (1 - frame["p"])
    rows = frame.groupby(["learner", "skill", "late"])[["p", "correct", "doubt"]].mean().unstack()
    table = pd.DataFrame(
        {
            "predicted": rows["p"][True] - rows["p"][False],
            "observed": rows["correct"][True] - rows["correct"][False],
            "variance": rows["doubt"].sum(axis=1) / ENDS,
        }
    )
    return table.reset_index()


def usual_improvement(sequences: Sequences, skills: int) -> np.ndarray:
    """[C], mean observed improvement on each skill; the mean over skills where nobody shows one."""
    whole = sequences.whole()
    place, last, _ = _ends(whole)
    long = last >= 2 * ENDS - 1
    sign = np.where(place < ENDS, -1.0, np.where(last - place < ENDS, 1.0, 0.0)) / ENDS
    total = np.bincount(whole.skill[long], (sign * whole.response)[long], skills)
    pairs = np.bincount(whole.skill[long & (place == 0)], minlength=skills)
    overall = total.sum() / max(pairs.sum(), 1)
    return np.where(pairs > 0, total / np.maximum(pairs, 1), overall)


def _ends(whole: Sequences) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """[N] each: the place of an answer among the learner's on the skill, that of the last of them,
    and the number of the pair."""
    learner = np.repeat(whole.learner, whole.lengths)
    pairs = pd.Series(whole.skill).groupby([learner, whole.skill], sort=False)
    place = pairs.cumcount().to_numpy()
    return place, pairs.transform("size").to_numpy() - 1, pairs.ngroup().to_numpy()
