"""Correlations of a score with an outcome: pooled, within skill, per learner, and of ranks.

The Pearson correlations are functions of sums over (learner, skill) cells, so resampling learners
costs one matrix product per sum.
"""

from __future__ import annotations

import numpy as np
from scipy import sparse

from kt_core.metrics.agreement import spans
from kt_core.metrics.bootstrap import TINY, Bootstrap, Estimate

VARIANTS = {
    "pooled": "pooled",
    "rank": "ranks (Spearman)",
    "within_skill": "within skill",
    "learner_average": "mean over learners",
    "skill_average": "mean over skills",
    "same opportunity": "same opportunity",
    "same opportunity and item": "same opportunity and item",
}


class Association:
    """Pearson correlation of `x` with `y` over rows that belong to learners and skills.

    Parameters
    ----------
    x, y : [N]; rows where either is not finite are left out. With fewer than three remaining rows,
        all correlations are NaN.
    learner, skill : [N], indices from 0.
    bootstrap : resamples of all learners, including those without a row.
    """

    def __init__(
        self,
        x: np.ndarray,
        y: np.ndarray,
        learner: np.ndarray,
        skill: np.ndarray,
        bootstrap: Bootstrap,
    ):
        keep = _known(x, y)
        x, y = np.asarray(x, float)[keep], np.asarray(y, float)[keep]
        learner, skill = learner[keep], skill[keep]
        self.bootstrap, self.entries = bootstrap, len(x)
        self.learners = len(np.unique(learner))
        x, y = _centred(x), _centred(y)
        shape = (bootstrap.n, int(skill.max()) + 1 if len(skill) else 1)
        terms = (np.ones_like(x), x, y, x * x, y * y, x * y)
        self.cells = [sparse.coo_array((t, (learner, skill)), shape=shape).tocsr() for t in terms]

    def pooled(self) -> np.ndarray:
        """r over all rows for each row of the bootstrap's weights, [R+1]."""
        return _pearson(*(self.bootstrap.weights @ c.sum(axis=1) for c in self.cells))

    def within_skill(self) -> np.ndarray:
        """r after subtracting each skill's means, [R+1]; removes differences between skills."""
        sums = self._by_skill()
        cov, var_x, var_y = (part.sum(axis=1) for part in _moments(*sums))
        squares = sums[3].sum(axis=1), sums[4].sum(axis=1)
        return _ratio(cov, var_x, var_y, *squares)

    def skill_average(self) -> np.ndarray:
        """Mean of r over the skills for which it is defined, [R+1]."""
        r = _pearson(*self._by_skill())
        defined = np.isfinite(r)
        count = defined.sum(axis=1)
        with np.errstate(invalid="ignore"):
            return np.where(defined, r, 0).sum(axis=1) / np.where(count, count, np.nan)

    def learner_average(self) -> np.ndarray:
        """Mean of r over the learners for whom it is defined, [R+1]."""
        r = _pearson(*(np.asarray(c.sum(axis=1)) for c in self.cells))
        defined = np.isfinite(r)
        weights = self.bootstrap.weights
        total = weights @ defined.astype(float)
        with np.errstate(invalid="ignore", divide="ignore"):
            return (weights @ np.where(defined, r, 0)) / np.where(total, total, np.nan)

    def estimate(self, variant: str) -> Estimate:
        """Estimate one of the four variants above, given by method name, with its interval."""
        values = getattr(self, variant)()
        return self.bootstrap.estimate(values, self.entries, self.learners)

    def _by_skill(self) -> list[np.ndarray]:
        return [np.asarray((c.T @ self.bootstrap.columns).T) for c in self.cells]


def rank_correlation(
    x: np.ndarray, y: np.ndarray, learner: np.ndarray, bootstrap: Bootstrap
) -> np.ndarray:
    """Spearman's correlation of `x` with `y`, [R+1]; ranks are recomputed for each resample.

    Parameters
    ----------
    x, y : [N]; rows where either is not finite are left out. With fewer than three remaining rows,
        the result is NaN.
    learner : [N], indices from 0.
    """
    keep = _known(x, y)
    x, y, learner = x[keep], y[keep], learner[keep]
    rank_x, rank_y = _Ranks(x), _Ranks(y)
    values = np.full(len(bootstrap.weights), np.nan)
    for i, weights in enumerate(bootstrap.weights):
        w = weights.take(learner)
        a, b = rank_x(w), rank_y(w)
        spread = np.sqrt((w @ (a * a)) * (w @ (b * b)))
        values[i] = (w @ (a * b)) / spread if spread else np.nan
    return values


class _Ranks:
    """Twice the centred ranks of weighted values, as integers; ties share their middle rank."""

    def __init__(self, values: np.ndarray):
        self.order = np.argsort(values)
        level = np.diff(values[self.order], prepend=np.nan) != 0
        place = np.argsort(self.order)
        self.below, self.up_to = (ends[place] for ends in spans(level))
        self.count = np.zeros(len(values) + 1)

    def __call__(self, weights: np.ndarray) -> np.ndarray:
        np.cumsum(weights.take(self.order), out=self.count[1:])
        return self.count.take(self.below) + self.count.take(self.up_to) - self.count[-1]


def _known(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Mask of the rows where both are finite; all False if there are fewer than three."""
    keep = np.isfinite(x) & np.isfinite(y)
    return keep & (keep.sum() > 2)  # the r of two rows is always 1 or -1


def _centred(values: np.ndarray) -> np.ndarray:
    """Values minus their mean, for accurate sums of squares; rounding errors are set to 0."""
    if len(values) == 0:
        return values
    apart = values - values.mean()
    return np.where(np.abs(apart) > TINY * np.abs(values).max(), apart, 0.0)


def _moments(n, x, y, xx, yy, xy):
    safe = np.where(n > 0, n, 1)
    return xy - x * y / safe, xx - x * x / safe, yy - y * y / safe


def _pearson(n, x, y, xx, yy, xy) -> np.ndarray:
    cov, var_x, var_y = _moments(n, x, y, xx, yy, xy)
    return _ratio(cov, var_x, var_y, xx, yy)


def _ratio(cov, var_x, var_y, xx, yy) -> np.ndarray:
    spread = (var_x > TINY * xx) & (var_y > TINY * yy)
    with np.errstate(invalid="ignore", divide="ignore"):
        r = cov / np.sqrt(np.where(spread, var_x * var_y, np.nan))
    return np.clip(r, -1.0, 1.0)
