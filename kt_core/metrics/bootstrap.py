"""Intervals from resampling learners, never rows (design, section 6).

Rows of one learner hang together, so a learner is drawn with all rows or not at all. A resample is
a vector of learner counts; every measure is a function of weighted sums over learners, so that all
resamples are one matrix product, and two measures on the same `Bootstrap` are paired.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from scipy.special import ndtr, stdtrit


@dataclass(frozen=True)
class Estimate:
    """A measured value with its 95 % percentile interval over learners (`levels`).

    `value` is NaN where the measure is not defined (one class, no spread, nobody qualifies); the
    interval is NaN too where fewer than 95 % of the resamples define it, or with one learner.
    `draws`, [R+1], are the measure on every row of the weights: those of two models on the same
    learners are paired.
    """

    value: float
    low: float = np.nan
    high: float = np.nan
    entries: int = 0
    learners: int = 0
    draws: np.ndarray | None = field(default=None, repr=False, compare=False)


def levels(learners: int) -> tuple[float, float]:
    """Between which shares of the resamples the 95 % interval of a measure over learners lies.

    0.025 and 0.975 for many learners, and where 0 says that their number is not known. Resamples of
    few are too much alike, and the interval ends further out, by as much as a t interval with the
    usual standard error is wider than a normal one with the bootstrap's (Hesterberg 2015, section
    5.3): 0.016 and 0.984 with 20.
    """
    n = learners
    low = ndtr(-np.sqrt(n / (n - 1)) * stdtrit(n - 1, 0.975)) if n > 1 else 0.025
    return float(low), float(1 - low)


class Bootstrap:
    """Resamples of `n` learners.

    Attributes
    ----------
    weights : [R+1, n], how often each learner was drawn; row 0 is the data itself.
    """

    def __init__(self, n: int, resamples: int = 1000, seed: int = 0):
        rng = np.random.default_rng(seed)
        draws = rng.multinomial(n, np.full(n, 1 / n), size=resamples) if n else np.ones((0, 0))
        self.n, self.resamples = n, resamples
        self.weights = np.vstack([np.ones((1, n)), draws]).astype(np.float64)

    def estimate(self, values: np.ndarray, entries: int, learners: int) -> Estimate:
        """An `Estimate` from a measure's values on all rows of `weights`, [R+1]."""
        value, draws = float(values[0]), values[1:][np.isfinite(values[1:])]
        few = self.n == 1 or learners == 1  # resampling one learner draws the same one again
        if few or not np.isfinite(value) or len(draws) < 0.95 * self.resamples:
            return Estimate(value, entries=entries, learners=learners, draws=values)
        low, high = np.quantile(draws, levels(learners))
        return Estimate(value, float(low), float(high), entries, learners, values)

    def ratio(self, numerator: np.ndarray, denominator: np.ndarray) -> Estimate:
        """Sum over learners of `numerator` by that of `denominator`, each [n]."""
        total = self.weights @ denominator
        with np.errstate(invalid="ignore", divide="ignore"):
            values = np.where(total == 0, np.nan, (self.weights @ numerator) / total)
        return self.estimate(values, int(denominator.sum()), int((denominator > 0).sum()))

    def mean(self, per_learner: np.ndarray) -> Estimate:
        """Mean over the learners for whom the value, [n], is defined."""
        defined = np.isfinite(per_learner)
        return self.ratio(np.where(defined, per_learner, 0.0), defined.astype(float))


def tidy(estimates: dict[str, Estimate], label: str) -> pd.DataFrame:
    """One row an estimate; the column `label` holds the names."""
    return pd.DataFrame([{label: k, **dataclasses.asdict(e)} for k, e in estimates.items()])
