"""The ceiling in a hidden world: the forward-backward algorithm under the true parameters."""

from __future__ import annotations

import numpy as np
import pandas as pd

from kt_core.data.simulate import Truth


def forward_backward(table: pd.DataFrame, truth: Truth) -> np.ndarray:
    """Posterior means of mastery, P(correct), around each answer of learners of a hidden world.

    Skills are independent, so each learner x skill is a chain of its own. What is learnt is never
    lost: a chain has two states and an upper triangular transition.

    Returns
    -------
    [R, 5], in the order of `kt_core.evaluation.ceiling.COLUMNS`.
    """
    skill = table["skill"].str.split().str[-1].astype(int).to_numpy()
    correct = table["correct"].to_numpy() == 1
    chain = table.groupby(["user", "skill"], sort=False).ngroup().to_numpy()
    place = table.groupby(chain).cumcount().to_numpy()
    guess, slip, learn = truth.guess[skill], truth.slip[skill], truth.learn[skill]
    if_known = np.where(correct, 1 - slip, slip)
    if_not = np.where(correct, guess, 1 - guess)
    before, after, passed, last = np.empty((4, len(table)))
    turns = [np.flatnonzero(place == n) for n in range(place.max(initial=-1) + 1)]
    known = np.zeros(chain.max(initial=-1) + 1)
    for n, at in enumerate(turns):
        if n == 0:
            known[chain[at]] = truth.prior[skill[at]]
        before[at] = p = known[chain[at]]
        p = p * if_known[at] / (p * if_known[at] + (1 - p) * if_not[at])
        known[chain[at]] = after[at] = p + (1 - p) * learn[at]
    # Likelihood ratio of all later answers, known against unknown; 1 after the last.
    later = np.ones(len(known))
    for at in reversed(turns):
        ratio = later[chain[at]]
        last[at] = _updated(after[at], ratio)
        mixed = if_not[at] * (learn[at] * ratio + 1 - learn[at])
        ratio = if_known[at] * ratio / mixed
        passed[at] = _updated(before[at], ratio)
        later[chain[at]] = ratio
    before, after, passed, last = (
        guess + (1 - guess - slip) * p for p in (before, after, passed, last)
    )
    return np.column_stack([before, after, passed, last, before])


def _updated(p: np.ndarray, ratio: np.ndarray) -> np.ndarray:
    return p * ratio / (p * ratio + 1 - p)
