"""How sure is a mastery value? The skeleton's posterior, made wider until it fits what comes next.

In modes `retrospective` and `retentive` a level is believed to be normal, with the skeleton's mean
(corrected by the network) and variance. Where the model is wrong about learners, that variance is
too small: the next answers on a skill are then more alike within a learner than they should be. One
number, the *scale* of all standard deviations, maximises the likelihood of validation learners'
next answers on a skill, given the state before them. The practice in between raises the level as
the model has it. No true mastery is needed. If practice stops depending on the answers, the
likelihood stays the same (the stopping rule is ignorable). The coverage on simulated learners is in
docs/results.md.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.optimize import minimize_scalar
from scipy.special import expit, log_expit, logit
from scipy.stats import norm

from kt_core.posterior import shrinkage

NEXT = 4  # answers on the skill, after a state, that enter the likelihood
FLOOR = 1e-6  # mastery is kept this far from 0 and 1
SCALES = 0.5, 4.0  # the smallest and the largest scale
MOST_STATES = 50_000  # that enter the likelihood
NODES, WEIGHTS = np.polynomial.hermite_e.hermegauss(15)


@dataclass(frozen=True)
class Uncertainty:
    """How much wider than the skeleton's posterior an interval has to be."""

    scale: float

    def interval(
        self, mastery: np.ndarray, deviation: np.ndarray, level: float = 0.95
    ) -> tuple[np.ndarray, np.ndarray]:
        """Ends, in [0, 1], of the interval that holds the true value with probability `level`.

        Parameters
        ----------
        mastery : as believed.
        deviation : standard deviation of its level, in logits.
        """
        reach = norm.ppf(0.5 + level / 2) * self.scale * deviation
        mean = mean_level(mastery, deviation)
        return np.minimum(expit(mean - reach), mastery), np.maximum(expit(mean + reach), mastery)


def mean_level(mastery: np.ndarray, deviation: np.ndarray) -> np.ndarray:
    """Mean of the level behind a mastery, which is shrunk by its uncertainty, in logits."""
    m = np.clip(np.asarray(mastery, float), FLOOR, 1 - FLOOR)
    return logit(m) / shrinkage(np.square(deviation))


def fit_uncertainty(frame: pd.DataFrame) -> Uncertainty | None:
    """Fit the scale to learners who were not trained on.

    Parameters
    ----------
    frame : `Beliefs.frame` of such a mode.

    Returns
    -------
    None where no learner answers twice on any skill after a known state.
    """
    mean, deviation, shift, answers = _next_answers(frame)
    if len(mean) == 0:
        return None
    there, sign = ~np.isnan(answers), np.where(answers == 1, 1.0, -1.0)

    def loss(log_scale: float) -> float:
        level = mean[:, None] + np.exp(log_scale) * deviation[:, None] * NODES
        total = np.zeros_like(level)
        for j in range(NEXT):
            said = log_expit(sign[:, j, None] * (level + shift[:, j, None]))
            total += np.where(there[:, j, None], said, 0.0)
        return -np.log(np.exp(total) @ WEIGHTS).mean()

    found = minimize_scalar(loss, bounds=np.log(SCALES), method="bounded")
    return Uncertainty(float(np.exp(found.x)))


def coverage(frame: pd.DataFrame, uncertainty: Uncertainty, level: float = 0.95) -> np.ndarray:
    """[N], whether the interval around filtered mastery holds the truth of a simulated learner."""
    mastery, deviation = (frame[c].to_numpy(float) for c in ("mastery_post", "deviation"))
    low, high = uncertainty.interval(mastery, deviation, level)
    truth = frame["true_mastery"].to_numpy()
    return (truth >= low) & (truth <= high)


def _next_answers(frame: pd.DataFrame) -> tuple[np.ndarray, ...]:
    """Per state [M]: mean and deviation of the level; [M, NEXT]: by how much the next answers on
    the skill are easier than at that level, and the answers; NaN where there are none."""
    difficulty = frame.get("difficulty", 0.0)
    table = frame[["sequence", "skill", "correct", "practice"]].assign(difficulty=difficulty)
    groups = table.groupby(["sequence", "skill"], sort=False)
    later = [groups.shift(-lag) for lag in range(1, NEXT + 1)]
    known = later[1]["correct"].notna().to_numpy(copy=True)
    if known.sum() > MOST_STATES:
        dropped = np.random.default_rng(0).permutation(np.flatnonzero(known))[MOST_STATES:]
        known[dropped] = False
    answers, practice, asked = (
        np.column_stack([x[name] for x in later])[known]
        for name in ("correct", "practice", "difficulty")
    )
    state = frame[known]
    deviation = state["deviation"].to_numpy(float)
    mean = mean_level(state["mastery_post"].to_numpy(), deviation)
    grown = state["speed"].to_numpy()[:, None] * (practice - practice[:, :1])
    return mean, deviation, np.nan_to_num(grown - asked), answers
