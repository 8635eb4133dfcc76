"""Degree of agreement: do learners with higher mastery answer right more often?

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
    """Share of pairs, one right and one wrong answer in a group, that mastery orders correctly.

    Parameters
    ----------
    mastery : [N], before the answer. Pairs with equal mastery count one half.
    correct : [N], 0 or 1.
    group : [N], numbers; only rows of the same group are paired. For the degree of agreement each
        learner is at most once in a group. With all rows in one group, the share is the AUC.

    Returns
    -------
    The share on each row of the bootstrap's weights, [R+1], NaN without pairs; number of pairs.
    """
    order = np.lexsort((mastery, group))
    mastery, group = np.asarray(mastery, float)[order], np.asarray(group)[order]
    right, learner = np.asarray(correct)[order] == 1, np.asarray(learner)[order]
    new_group = np.diff(group, prepend=group[:1] - 1) != 0
    new_level = new_group | (np.diff(mastery, prepend=np.nan) != 0)  # equal group and mastery
    # For each answer of the rarer kind: the number of answers of the other kind before its level,
    # up to the level's end, and before and up to the end of its group. A resample is then a few
    # look-ups in one cumulative sum. Integers are summed three times faster than floats.
    rare = right if 2 * right.sum() <= len(right) else ~right
    before = np.append(0, np.cumsum(~rare))
    below, up_to = (before[ends][rare] for ends in spans(new_level))
    first, last = (before[ends][rare] for ends in spans(new_group))
    few, many, tied = learner[rare], learner[~rare], (below < up_to).any()
    values, pairs = np.full(len(bootstrap.weights), np.nan), 0
    sums = np.zeros(len(many) + 1, np.int64)
    for i, weights in enumerate(bootstrap.weights):
        np.cumsum(weights.astype(np.int64).take(many), out=sums[1:])
        w, start = weights.take(few), sums.take(first)
        total = w @ (sums.take(last) - start)
        pairs = int(total) if i == 0 else pairs
        if total:
            level = (sums.take(below) + sums.take(up_to)) / 2 if tied else sums.take(below)
            above = (w @ (level - start)) / total
            values[i] = above if rare is right else 1 - above
    return values, pairs


def spans(begins: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Begin and end of the run of each row, from marks at the first rows of the runs."""
    start = np.flatnonzero(begins)
    end = np.append(start[1:], len(begins))
    run = np.cumsum(begins) - 1
    return start[run], end[run]
