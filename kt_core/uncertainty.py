"""How sure is a mastery value? Intervals estimated from the correlation of consecutive answers.

Learners for whom the model believes the same mastery m differ in truth. If all of them were exactly
at m, an answer that follows a right one would again be right with probability m; the more they
differ, the higher that probability is. True mastery, given what is believed, is modelled as
Beta(m k, (1 - m) k) with concentration

    log k = a + b log(1 + opportunities on the skill) + c log(1 + steps),

where (a, b, c) maximise the likelihood of validation learners' next answers on a skill, given the
state before them. No true mastery is needed. If practice stops depending on the answers, the
likelihood stays the same (the stopping rule is ignorable). Growth during these few answers is
neglected. The coverage on simulated learners is in docs/results.md.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.optimize import minimize
from scipy.stats import beta

NEXT = 4  # answers on the skill, after a state, that enter the likelihood
FLOOR = 1e-4  # mastery is kept this far from 0 and 1
BOUND = 12.0  # |log k| at most


@dataclass(frozen=True)
class Uncertainty:
    """How closely true mastery lies around believed mastery; `weights` are (a, b, c)."""

    weights: tuple[float, float, float]

    def concentration(self, opportunities: np.ndarray, steps: np.ndarray) -> np.ndarray:
        """k, from the number of answers seen so far on the skill and in all."""
        a, b, c = self.weights
        return np.exp(np.clip(a + b * np.log1p(opportunities) + c * np.log1p(steps), -BOUND, BOUND))

    def interval(
        self, mastery: np.ndarray, opportunities: np.ndarray, steps: np.ndarray, level: float = 0.95
    ) -> tuple[np.ndarray, np.ndarray]:
        """Ends, in [0, 1], of the interval that holds the true value with probability `level`."""
        m = np.clip(mastery, FLOOR, 1 - FLOOR)
        k = self.concentration(np.asarray(opportunities), np.asarray(steps))
        tails = (0.5 - level / 2, 0.5 + level / 2)
        low, high = (beta.ppf(tail, m * k, (1 - m) * k) for tail in tails)
        return np.minimum(low, mastery), np.maximum(high, mastery)


def fit_uncertainty(frame: pd.DataFrame) -> Uncertainty | None:
    """Fit the concentration to learners who were not trained on.

    Parameters
    ----------
    frame : `Beliefs.frame` with `mastery_pre`, from which predictions are made.

    Returns
    -------
    None where no learner answers twice on any skill after a known state.
    """
    mastery, answers, state = _next_answers(frame)
    if len(mastery) == 0:
        return None
    features = np.column_stack([np.ones(len(state)), np.log1p(state)])

    def objective(w: np.ndarray) -> float:
        k = np.exp(np.clip(features @ w, -BOUND, BOUND))
        right = seen = np.zeros(len(mastery))
        total = 0.0
        for answer in answers.T:
            there = answer >= 0
            p = (mastery * k + right) / (k + seen)
            loss = -np.log(np.where(answer == 1, p, 1 - p))
            total += loss[there].sum()
            right, seen = right + (answer == 1), seen + there
        return total / len(mastery)

    found = minimize(objective, np.array([1.5, 0.5, 0.0]), method="Nelder-Mead")
    return Uncertainty(tuple(map(float, found.x)))


def coverage(frame: pd.DataFrame, uncertainty: Uncertainty, level: float = 0.95) -> np.ndarray:
    """[N], whether the interval around filtered mastery holds the truth of a simulated learner."""
    low, high = uncertainty.interval(
        frame["mastery_post"].to_numpy(float),
        frame["opportunity"].to_numpy() + 1,
        _answers_before(frame) + 1,
        level,
    )
    truth = frame["true_mastery"].to_numpy()
    return (truth >= low) & (truth <= high)


def _next_answers(frame: pd.DataFrame) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Per state: mastery [M], the next answers on the skill [M, NEXT] (-1 where there are none),
    and the opportunities and steps before it [M, 2]."""
    groups = frame.groupby(["sequence", "skill"], sort=False)["correct"]
    columns = [groups.shift(-lag).fillna(-1) for lag in range(NEXT)]
    answers = np.column_stack(columns).astype(int)
    known = frame["mastery_pre"].notna().to_numpy() & (answers[:, 1] >= 0)
    mastery = frame["mastery_pre"].to_numpy(float).clip(FLOOR, 1 - FLOOR)
    state = np.column_stack([frame["opportunity"], _answers_before(frame)])
    return mastery[known], answers[known], state[known]


def _answers_before(frame: pd.DataFrame) -> np.ndarray:
    """[N], answers of the learner before each step, over the whole history."""
    return frame.groupby("learner").cumcount().to_numpy()
