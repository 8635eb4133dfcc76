"""Held-out gain-performance: do learners improve where the model says that they do?

A *pair* is a learner and a skill with at least six answers. Its first and last three answers are
hidden from the belief, which then predicts them: the predicted improvement is the mean probability
of the last three minus that of the first three, and the observed one the difference in the answers
(docs/method.md, "The measures"). Pairs are hidden in turns, so that what a learner did on other
skills is seen.

Learners also "improve" where the last three items are easier than the first three. What the model
says of that alone, with its own difficulties and the learner at one level throughout, is a null.
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
ROUNDING = 1e-5  # predictions that nowhere change by more are constant


def improvements(model: GainAKT2, sequences: Sequences) -> pd.DataFrame:
    """Predicted and observed improvement of every pair.

    Returns
    -------
    The table of `of_pairs`.

    Raises
    ------
    KTError
        For a mode from which no answer can be hidden.
    """
    whole = sequences.whole()
    place, last, pair = _ends(whole)
    ends = (last >= 2 * ENDS - 1) & ((place < ENDS) | (last - place < ENDS))
    frame = hidden_answers(model, sequences, passes=np.where(ends, pair % TURNS, -1))
    return of_pairs(frame.assign(late=place >= ENDS)[ends])


def of_pairs(frame: pd.DataFrame) -> pd.DataFrame:
    """Predicted and observed improvement, from what is believed of the hidden answers.

    Parameters
    ----------
    frame : of `hidden_answers`, the six answers of every pair; `late` says which are the last.

    Returns
    -------
    One row per pair: `learner`, `skill`; in [-1, 1] `predicted`, `observed`, and `items`: what
    would be predicted from the difficulty of the items alone, had the learner been at the mean
    level of the trajectory throughout (the same for all without items); `variance`, >= 0, of the
    observed one if the model's probabilities were true.
    """
    p = expit(frame["believed"])
    flat = expit(frame["believed"] - frame["gains_before"] + frame["flat"])
    frame = frame.assign(p=p, doubt=p * (1 - p), level=flat)
    values, late = ["p", "correct", "doubt", "level"], frame["late"]
    first, last = (
        frame[part].groupby(["learner", "skill"])[values].mean() for part in (~late, late)
    )
    change = last - first
    table = pd.DataFrame(
        {
            "predicted": change["p"],
            "observed": change["correct"],
            "items": change["level"] if change["level"].abs().max() > ROUNDING else 0.0,
            "variance": (first["doubt"] + last["doubt"]) / ENDS,
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
