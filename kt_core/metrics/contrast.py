"""Differences between shares of groups of rows, with intervals over learners.

A contrast is a sum of means with signs, such as (treated - control) among practised items minus the
same among others. A learner may have rows in several groups; learners are drawn with all rows.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from kt_core.metrics.bootstrap import Bootstrap, Estimate

Terms = Sequence[tuple[float, np.ndarray]]  # sign, and which rows, [N]


def contrast(
    bootstrap: Bootstrap, values: np.ndarray, learner: np.ndarray, terms: Terms
) -> Estimate:
    """Estimate a contrast of means over rows.

    Parameters
    ----------
    values : [N].
    learner : [N], indices from 0 below `bootstrap.n`.
    terms : signs and masks of rows, [N] each. One term with the sign 1 is a plain mean.

    Returns
    -------
    The estimate, whose interval includes the bootstrap-t interval (docs/method.md, "The measures");
    `entries` is the number of rows in any term, `learners` that of the learners with one.
    """
    n, used = bootstrap.n, np.logical_or.reduce([mask for _, mask in terms])
    parts, gradient, total = [], [], np.zeros(len(bootstrap.weights))
    for sign, mask in terms:
        above = np.bincount(learner[mask], values[mask], n)
        below = np.bincount(learner[mask], minlength=n).astype(float)
        a, b = bootstrap.weights @ above, bootstrap.weights @ below
        with np.errstate(invalid="ignore", divide="ignore"):
            mean = np.where(b == 0, np.nan, a / b)
            gradient += [sign / b, -sign * mean / b]
        parts += [above, below]
        total += sign * mean
    with np.errstate(invalid="ignore"):
        errors = bootstrap.errors(np.column_stack(gradient), np.stack(parts))
    low, high = float(values.min()), float(values.max())
    reach = sum(abs(sign) for sign, _ in terms) * (high - low)
    bounds = (low, high) if len(terms) == 1 else (-reach, reach)
    return bootstrap.estimate(total, int(used.sum()), len(np.unique(learner[used])), errors, bounds)
