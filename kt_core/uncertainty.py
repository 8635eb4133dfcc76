"""How sure is a mastery value? The skeleton's posterior, made wider until it fits what comes next.

In modes `retrospective` and `retentive` a level is believed to be normal, with the skeleton's mean
(corrected by the network) and variance. Where the model is wrong about learners, that variance is
too small: the next answers on a skill are then more alike within a learner than they should be. Two
numbers maximise the likelihood of validation learners' next answers on a skill, given the state
before them: the *scale* of all standard deviations, and a *doubt* that no answer takes away. The
practice in between raises the level as the model has it. No true mastery is needed. If practice
stops depending on the answers, the likelihood stays the same (the stopping rule is ignorable). The
coverage on simulated learners is in docs/evidence.md.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.optimize import minimize
from scipy.special import expit, log_expit, logit, ndtri

from kt_core.posterior import shrinkage

NEXT = 4  # answers on the skill, after a state, that enter the likelihood
FLOOR = 1e-6  # mastery is kept this far from 0 and 1
SCALES, DOUBTS = (0.5, 4.0), (0.01, 2.0)  # the smallest and the largest
# Of the priors: log scale is normal; doubt is Rayleigh, with 0 at 0, as the likelihood of a small
# variance is so flat that its maximum is often 0 by chance (Chung et al. 2013).
SPREADS = 0.3, 0.5
MOST_STATES = 50_000  # that enter the likelihood
DRAWS, BLOCK = 512, 2000  # of what is uncertain about growth; rows at a time
NODES, WEIGHTS = np.polynomial.hermite_e.hermegauss(15)


@dataclass(frozen=True)
class Uncertainty:
    """How much wider than the skeleton's posterior an interval has to be.

    Attributes
    ----------
    scale : of the posterior's standard deviations.
    doubt : standard deviation, in logits, of what the model is wrong about however many answers it
        has seen: about a level, and about how far a level has risen.
    """

    scale: float
    doubt: float = 0.0

    def growth(
        self, first: pd.DataFrame, last: pd.DataFrame, level: float = 0.95
    ) -> tuple[np.ndarray, np.ndarray]:
        """Ends of the interval of the growth from one step to a later one on the same skill, both
        as believed at the end. Start, speed and what the model is wrong about are drawn `DRAWS`
        times. Growth that is told is not drawn below 0. From a step to itself it is certain.

        Parameters
        ----------
        first, last : [N] rows with `mastery_last`, `deviation_last`, `of_speed_last` and
            `log_speed_last`, as in `Beliefs.frame`.
        """
        low, high = np.zeros(len(first)), np.zeros(len(first))
        for begin in range(0, len(first), BLOCK):
            rows = slice(begin, begin + BLOCK)
            drawn = self._grown(first[rows], last[rows])
            low[rows], high[rows] = np.quantile(drawn, [0.5 - level / 2, 0.5 + level / 2], axis=1)
        told = last["mastery_last"].to_numpy() - first["mastery_last"].to_numpy()
        return np.minimum(low, told), np.maximum(high, told)

    def _grown(self, first: pd.DataFrame, last: pd.DataFrame) -> np.ndarray:
        """[N, DRAWS]"""
        deviation = last["deviation_last"].to_numpy()
        start, end = (mean_level(x["mastery_last"].to_numpy(), deviation) for x in (first, last))
        speed, scale = first["of_speed_last"].to_numpy(), self.scale
        rest = np.sqrt(np.maximum(first["deviation_last"].to_numpy() ** 2 - speed**2, 0.0))
        by_speed, by_rest, by_doubt = _normal()[:, :, None]
        begun = start + scale * speed * by_speed + np.hypot(scale * rest, self.doubt) * by_rest
        factor = np.exp(scale * first["log_speed_last"].to_numpy() * by_speed)
        risen = factor * (end - start) + self.doubt * by_doubt * (end != start)
        risen = np.where(end >= start, np.maximum(risen, 0.0), risen)
        return (expit(begun + risen) - expit(begun)).T

    def interval(
        self, mastery: np.ndarray, deviation: np.ndarray, level: float = 0.95
    ) -> tuple[np.ndarray, np.ndarray]:
        """Ends, in [0, 1], of the interval that holds the true value with probability `level`.

        Parameters
        ----------
        mastery : as believed.
        deviation : standard deviation of its level, in logits.
        """
        reach = ndtri(0.5 + level / 2) * np.hypot(self.scale * deviation, self.doubt)
        mean = mean_level(mastery, deviation)
        return np.minimum(expit(mean - reach), mastery), np.maximum(expit(mean + reach), mastery)


@functools.cache
def _normal() -> np.ndarray:
    """[3, DRAWS], points that are spread as three independent standard normal numbers are."""
    from scipy.stats import qmc  # takes a second to load, and only growth needs it

    return ndtri(qmc.Sobol(3, seed=0).random(DRAWS)).T


def mean_level(mastery: np.ndarray, deviation: np.ndarray) -> np.ndarray:
    """Mean of the level behind a mastery, which is shrunk by its uncertainty, in logits."""
    m = np.clip(np.asarray(mastery, float), FLOOR, 1 - FLOOR)
    return logit(m) / shrinkage(np.square(deviation))


def fit_uncertainty(frame: pd.DataFrame) -> Uncertainty | None:
    """Fit scale and doubt to learners who were not trained on.

    Parameters
    ----------
    frame : `Beliefs.frame` of such a mode.

    Returns
    -------
    None where no learner answers twice on any skill after a known state.
    """
    mean, deviation, shift, answers, pairs = _next_answers(frame)
    if len(mean) == 0:
        return None
    there, sign = ~np.isnan(answers), np.where(answers == 1, 1.0, -1.0)

    def loss(x: np.ndarray) -> float:
        log_scale, variance = x
        wide = np.sqrt((np.exp(log_scale) * deviation) ** 2 + variance)
        level = mean[:, None] + wide[:, None] * NODES
        total = np.zeros_like(level)
        for j in range(NEXT):
            said = log_expit(sign[:, j, None] * (level + shift[:, j, None]))
            total += np.where(there[:, j, None], said, 0.0)
        prior = (log_scale / SPREADS[0]) ** 2 + variance / SPREADS[1] ** 2 - np.log(variance)
        return -np.log(np.exp(total) @ WEIGHTS).mean() + 0.5 * prior / pairs

    bounds = np.log(SCALES), np.square(DOUBTS)
    found = minimize(loss, (0.0, 0.1), method="L-BFGS-B", bounds=bounds)
    return Uncertainty(float(np.exp(found.x[0])), float(np.sqrt(found.x[1])))


def coverage(
    frame: pd.DataFrame, uncertainty: Uncertainty, level: float = 0.95, at: str = "post"
) -> np.ndarray:
    """[N], whether the interval holds the truth of a simulated learner: around filtered mastery, or
    with `at` = last around the trajectory."""
    names = {"post": ("mastery_post", "deviation"), "last": ("mastery_last", "deviation_last")}
    mastery, deviation = (frame[c].to_numpy(float) for c in names[at])
    low, high = uncertainty.interval(mastery, deviation, level)
    truth = frame["true_mastery"].to_numpy()
    return (truth >= low) & (truth <= high)


def _next_answers(
    frame: pd.DataFrame,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, int]:
    """Per state [M]: mean and deviation of the level; [M, NEXT]: by how much the next answers on
    the skill are easier than at that level, and the answers; NaN where there are none; and the
    number of sequences x skills, as states of the same one share answers."""
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
    pairs = len(state[["sequence", "skill"]].drop_duplicates())
    return mean, deviation, np.nan_to_num(grown - asked), answers, pairs
