"""Intervals from resampling learners instead of rows (docs/method.md, "The measures").

Rows of one learner are correlated, so a learner is drawn with all rows or not at all. A resample is
a vector of learner counts. Every measure is a function of weighted sums over learners, so one
matrix product computes all resamples. Two measures on the same `Bootstrap` are paired.
"""

from __future__ import annotations

import dataclasses
import functools
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from scipy.special import ndtr, stdtrit

TINY = 1e-12  # a variance or difference below this share of the whole counts as rounding error
UNBOUNDED = (-np.inf, np.inf)  # the measure may have any value


@dataclass(frozen=True)
class Estimate:
    """A measured value with its 95 % interval over learners (`Bootstrap.estimate`).

    `value` is NaN where the measure is not defined (one class, no variance, no qualifying learner).
    The interval is also NaN if the measure is defined in fewer than 95 % of the resamples, or with
    one learner. `draws`, [R+1], holds the measure for every row of the weights; the draws of two
    models on the same learners are paired.
    """

    value: float
    low: float = np.nan
    high: float = np.nan
    entries: int = 0
    learners: int = 0
    draws: np.ndarray | None = field(default=None, repr=False, compare=False)


def levels(learners: int) -> tuple[float, float]:
    """Quantiles of the resamples between which the 95 % interval lies.

    They are 0.025 and 0.975 for many learners, or if their number is not known (0). Resamples of
    few learners vary too little, so the interval is widened by the ratio of a t interval with the
    usual standard error to a normal interval with the bootstrap's (Hesterberg 2015, section 5.3).
    With 20 learners the quantiles are 0.016 and 0.984.
    """
    n = learners
    low = ndtr(-np.sqrt(n / (n - 1)) * stdtrit(n - 1, 0.975)) if n > 1 else 0.025
    return float(low), float(1 - low)


def _studentised(values: np.ndarray, errors: np.ndarray) -> tuple[float, float]:
    """Ends of the 95 % bootstrap-t interval; both are the value itself if more than 5 % of the
    resamples have no standard error."""
    known = errors[1:] > 0
    if known.mean() < 0.95:
        return values[0], values[0]
    apart = (values[1:][known] - values[0]) / errors[1:][known]
    return tuple(values[0] - errors[0] * np.quantile(apart, (0.975, 0.025)))


class Bootstrap:
    """Resamples of `n` learners.

    Attributes
    ----------
    weights : [R+1, n], how often each learner was drawn; row 0 is the data itself (all 1).
    """

    def __init__(self, n: int, resamples: int = 1000, seed: int = 0):
        rng = np.random.default_rng(seed)
        draws = rng.multinomial(n, np.full(n, 1 / n), size=resamples) if n else np.ones((0, 0))
        self.n, self.resamples = n, resamples
        self.weights = np.vstack([np.ones((1, n)), draws]).astype(np.float64)

    @functools.cached_property
    def columns(self) -> np.ndarray:
        """[n, R+1], the weights as products with sparse matrices take them without a copy."""
        return np.ascontiguousarray(self.weights.T)

    def estimate(
        self,
        values: np.ndarray,
        entries: int,
        learners: int,
        errors: np.ndarray | None = None,
        bounds: tuple[float, float] = UNBOUNDED,
    ) -> Estimate:
        """Make an `Estimate` from a measure's values for all rows of `weights`, [R+1].

        The interval lies between percentiles (`levels`). If the measure's standard error for each
        row is given, `errors` [R+1], the interval is extended to include the bootstrap-t interval
        (Efron and Tibshirani 1993, section 12.5), clipped to `bounds`. For skewed measures of few
        learners, percentiles alone do not reach far enough on the long side.
        """
        value, draws = float(values[0]), values[1:][np.isfinite(values[1:])]
        few = self.n == 1 or learners == 1  # resampling one learner always draws the same one
        few |= not len(draws) or len(draws) < 0.95 * self.resamples
        if few or not np.isfinite(value):
            return Estimate(value, entries=entries, learners=learners, draws=values)
        low, high = np.quantile(draws, levels(learners))
        if errors is not None:
            ends = np.clip(_studentised(values, errors), *bounds)
            low, high = min(low, ends[0]), max(high, ends[1])
        return Estimate(value, float(low), float(high), entries, learners, values)

    def errors(self, gradient: np.ndarray, parts: np.ndarray) -> np.ndarray:
        """Standard errors, [R+1], by the infinitesimal jackknife. The measure must be a function of
        J sums over learners that does not change with the scale of the weights.

        Parameters
        ----------
        gradient : [R+1, J], gradient of the measure in its sums, for each row of the weights.
        parts : [J, n], the contribution of each learner to the sums.
        """
        size, errors = np.abs(parts), np.empty(len(gradient))
        for i, (w, g) in enumerate(zip(self.weights, gradient, strict=True)):
            influence = g @ parts
            influence[np.abs(influence) <= TINY * (np.abs(g) @ size)] = 0  # rounding
            errors[i] = np.sqrt(w @ np.square(influence))
        return errors

    def ratio(
        self,
        numerator: np.ndarray,
        denominator: np.ndarray,
        bounds: tuple[float, float] = UNBOUNDED,
    ) -> Estimate:
        """Estimate the sum over learners of `numerator`, [n], divided by that of `denominator`."""
        a, b = np.asarray(numerator, float), np.asarray(denominator, float)
        total = self.weights @ b
        with np.errstate(invalid="ignore", divide="ignore"):
            values = np.where(total == 0, np.nan, (self.weights @ a) / total)
            gradient = np.column_stack([np.ones_like(values), -values]) / total[:, None]
            errors = self.errors(gradient, np.stack([a, b]))
        size = int(b.sum()), int((b > 0).sum())
        return self.estimate(values, *size, errors, bounds)

    def mean(self, per_learner: np.ndarray, bounds: tuple[float, float] = UNBOUNDED) -> Estimate:
        """Estimate the mean of `per_learner`, [n], over the learners for whom it is finite."""
        defined = np.isfinite(per_learner)
        return self.ratio(np.where(defined, per_learner, 0.0), defined.astype(float), bounds)

    def row_mean(
        self, values: np.ndarray, learner: np.ndarray, bounds: tuple[float, float] = UNBOUNDED
    ) -> Estimate:
        """Estimate the mean of `values`, [N], over rows; `learner`, [N], holds indices from 0."""
        rows = np.bincount(learner, minlength=self.n)
        return self.ratio(np.bincount(learner, values, self.n), rows, bounds)


def tidy(estimates: dict[str, Estimate], label: str) -> pd.DataFrame:
    """Table with one row per estimate; the column called `label` holds the names."""
    return pd.DataFrame([{label: k, **dataclasses.asdict(e)} for k, e in estimates.items()])
