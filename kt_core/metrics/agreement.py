"""Degree of agreement: do learners with higher mastery answer right more often? (section 6)

Pairs are formed among learners at the same opportunity number of the same skill (and item, where
asked for), so that neither easier skills nor more practice can make them agree. It is the area
under the ROC curve within such groups, pooled over pairs (Fouss et al. 2007; Liu et al. 2018).
"""

from __future__ import annotations

import numpy as np

from kt_core.metrics.bootstrap import Bootstrap


def degree_of_agreement(
    mastery: np.ndarray,
    correct: np.ndarray,
    learner: np.ndarray,
    group: np.ndarray,
    bootstrap: Bootstrap,
) -> tuple[np.ndarray, int]:
    """Share of pairs, one right and one wrong in the same group, ordered as mastery says.

    Parameters
    ----------
    mastery : [N], before the answer. A pair with the same mastery counts one half.
    correct : [N], 0 or 1.
    group : [N], numbers; only rows of one group are paired. A learner stands at most once in each.

    Returns
    -------
    The share on each row of the bootstrap's weights, [R+1], NaN without pairs; and the pairs.
    """
    order = np.lexsort((mastery, group))
    mastery, group = np.asarray(mastery, float)[order], np.asarray(group)[order]
    right, learner = np.asarray(correct)[order] == 1, np.asarray(learner)[order]
    new_group = np.flatnonzero(np.diff(group, prepend=group[:1] - 1)) if len(group) else group
    step = (np.diff(group, prepend=0) != 0) | (np.diff(mastery, prepend=np.nan) != 0)
    level = np.cumsum(step) - 1  # rows of equal group and mastery share a level
    levels = int(level[-1]) + 1 if len(level) else 0
    first_level = level[new_group]
    group_of_level = np.repeat(first_level, np.diff(np.append(first_level, levels)))
    values, pairs = np.full(len(bootstrap.weights), np.nan), 0
    for i, weights in enumerate(bootstrap.weights):
        w = weights[learner]
        good = np.bincount(level[right], w[right], levels)
        bad = np.bincount(level[~right], w[~right], levels)
        below = np.append(0.0, bad.cumsum())
        lower = below[:-1] - below[group_of_level]  # wrong answers of the group at lower levels
        size = np.append(first_level[1:], levels)
        in_group = np.repeat(below[size] - below[first_level], size - first_level)
        total = (good * in_group).sum()
        pairs = int(total) if i == 0 else pairs
        if total:
            values[i] = (good * (lower + bad / 2)).sum() / total
    return values, pairs
