"""Degree of agreement: do learners with higher mastery answer correctly more often?

Pairs are formed among learners at the same opportunity of the same skill (and of the same item, if
requested), so neither easier skills nor more practice can produce agreement. The measure is the
area under the ROC curve within such groups, pooled over pairs (Fouss et al. 2007; Liu et al. 2018).
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
    """Share of pairs (a right and a wrong answer in one group) that mastery orders correctly.

    Parameters
    ----------
    mastery : [N], mastery before the answer. Pairs with equal mastery count one half.
    correct : [N], 0 or 1.
    group : [N], integers; only rows of the same group are paired. For the degree of agreement, a
        learner occurs at most once per group. With all rows in one group, the share is the AUC.

    Returns
    -------
    values : [R+1], the share for each row of the bootstrap's weights; NaN without pairs.
    pairs : number of pairs in the data.
    """
    order = np.lexsort((mastery, group))
    mastery, group = np.asarray(mastery, float)[order], np.asarray(group)[order]
    right, learner = np.asarray(correct)[order] == 1, np.asarray(learner)[order]
    new_group = np.diff(group, prepend=group[:1] - 1) != 0
    new_level = new_group | (np.diff(mastery, prepend=np.nan) != 0)  # equal group and mastery
    # For each answer of the rarer kind, count the answers of the other kind before and up to the
    # end of its level, and before and up to the end of its group. A resample then needs a few
    # look-ups in one cumulative sum. Integers are summed three times faster than floats.
    rare = right if 2 * right.sum() <= len(right) else ~right
    before = np.append(0, np.cumsum(~rare))
    below, up_to = (before[ends][rare] for ends in spans(new_level))
    first, last = (before[ends][rare] for ends in spans(new_group))
    few, many, tied = learner[rare], learner[~rare], (below < up_to).any()
    groups = new_group.sum() > 1
    values, pairs = np.full(len(bootstrap.weights), np.nan), 0
    sums = np.zeros(len(many) + 1, np.int64)
    for i, weights in enumerate(bootstrap.weights):
        np.cumsum(weights.astype(np.int64).take(many), out=sums[1:])
        w, start = weights.take(few), sums.take(first) if groups else 0
        total = w @ (sums.take(last) - start) if groups else w.sum() * sums[-1]
        pairs = int(total) if i == 0 else pairs
        if total:
            level = (sums.take(below) + sums.take(up_to)) / 2 if tied else sums.take(below)
            above = (w @ (level - start)) / total
            values[i] = above if rare is right else 1 - above
    return values, pairs


def spans(begins: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Begin and end of the run that each row belongs to; `begins` marks the first row of a run."""
    start = np.flatnonzero(begins)
    end = np.append(start[1:], len(begins))
    run = np.cumsum(begins) - 1
    return start[run], end[run]
