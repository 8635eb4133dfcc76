"""Counts of a learner's earlier answers, for the simple tracers, and the skill base rate.

Dimensions: N interactions, S sequences, C skills. Each sequence is a separate history.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from kt_core.base.errors import KTError
from kt_core.data.sequences import Sequences, Splits
from kt_core.evaluation.tracer import Trace
from kt_core.metrics.nulls import base_rates


@dataclass(frozen=True)
class Counts:
    """Numbers of right and wrong answers so far.

    Attributes
    ----------
    right, wrong : on one skill, [N] (the asked skill) or [S, C] (each skill).
    all_right, all_wrong : on all skills together, [N] or [S, 1].
    """

    right: np.ndarray
    wrong: np.ndarray
    all_right: np.ndarray
    all_wrong: np.ndarray

    def plus(self, response: np.ndarray | int) -> Counts:
        """Return the counts after one more answer, 1 or 0, on that skill."""
        return Counts(
            self.right + response,
            self.wrong + (1 - response),
            self.all_right + response,
            self.all_wrong + (1 - response),
        )


def sequence_of(sequences: Sequences) -> np.ndarray:
    """Index of the sequence of each interaction, [N]."""
    return np.repeat(np.arange(len(sequences)), sequences.lengths)


def step_of(sequences: Sequences) -> np.ndarray:
    """Number of earlier steps in the same sequence, [N]; 0 at first steps."""
    return np.arange(sequences.interactions) - np.repeat(sequences.starts, sequences.lengths)


def item_of(sequences: Sequences) -> np.ndarray:
    """Item of each interaction, [N]; 0 (unknown) in data without items."""
    item = getattr(sequences, "item", None)
    return np.zeros(sequences.interactions, np.int64) if item is None else item


def earlier(group: np.ndarray, value: np.ndarray) -> np.ndarray:
    """Sum of `value` over the earlier rows of the same `group` (an integer >= 0), [N]."""
    order = np.argsort(group, kind="stable")
    sums = np.cumsum(value[order]) - value[order]
    first = np.flatnonzero(np.diff(group[order], prepend=-1))
    sums -= np.repeat(sums[first], np.diff(np.append(first, len(group))))
    out = np.empty_like(sums)
    out[order] = sums
    return out


def counts_before(sequences: Sequences, skills: int) -> Counts:
    """Counts before each interaction, on the asked skill, [N]."""
    sequence, right = sequence_of(sequences), sequences.response
    pair = sequence * skills + sequences.skill
    groups = (pair, sequence)
    on_skill, on_all = ((earlier(g, right), earlier(g, 1 - right)) for g in groups)
    return Counts(*on_skill, *on_all)


def counts_after(sequences: Sequences, steps: np.ndarray, skills: int) -> Counts:
    """Counts of every skill after the first `steps` [S] steps of each sequence, [S, C]."""
    sequence = sequence_of(sequences)
    done = step_of(sequences) < steps[sequence]
    pair, right = (sequence * skills + sequences.skill)[done], sequences.response[done]
    shape = (len(sequences), skills)
    counts = [
        np.bincount(pair, weights, minlength=shape[0] * skills).reshape(shape)
        for weights in (right, 1 - right)
    ]
    return Counts(*counts, *(c.sum(axis=1, keepdims=True) for c in counts))


def unless_first(sequences: Sequences, values: np.ndarray) -> np.ndarray:
    """Copy `values` [N] with NaN at first steps, which are not predicted."""
    out = np.array(values, float)
    out[sequences.starts] = np.nan
    return out


def check_fitted(name: str, skills: int | None, sequences: Sequences) -> None:
    """Check that the tracer is fitted and knows all skills of `sequences`.

    Raises
    ------
    KTError
        Before `fit` (`skills` is None), and for a skill id that `fit` did not know.
    """
    if skills is None:
        raise KTError(f"{name}: trace() was called before fit(); fit it on splits first")
    if sequences.interactions and (highest := sequences.skill.max()) >= skills:
        raise KTError(
            f"{name}: skill id {highest}, but it was fitted with {skills} skills; "
            "trace sequences that use the vocabulary it was fitted with"
        )


class SkillBaseRate:
    """Predicts the skill's share of right answers in training for every learner; no mastery."""

    name = "skill base rate"

    def __init__(self) -> None:
        self.rates: np.ndarray | None = None  # [C]

    def fit(self, splits: Splits, seed: int = 0) -> None:
        """Compute the training shares; a skill without answers gets the share over all skills."""
        train, skills = splits.train, len(splits.vocabulary.skills)
        self.rates = base_rates(train.skill, train.response, skills)

    def trace(self, sequences: Sequences) -> Trace:
        """Trace with predictions only."""
        check_fitted(self.name, None if self.rates is None else len(self.rates), sequences)
        return Trace(unless_first(sequences, self.rates[sequences.skill]))
