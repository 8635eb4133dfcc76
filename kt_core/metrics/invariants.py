"""Counts of broken constraints and signs of collapse, on tensors, with no tolerance.

Counts are per sequence, [B], so that they can be summed over batches and resampled over learners.
A value that is not finite is a violation. Dimensions: B learners, T steps, C skills.
"""

from __future__ import annotations

from jaxtyping import Int
from torch import Tensor

from kt_core.layers import Ids, Skills, Start, Valid

Counts = dict[str, Int[Tensor, "..."]]  # [B], or summed


def violations(
    mastery: Skills,
    gains: Skills,
    skills: Ids,
    responses: Ids,
    valid: Valid,
    start: Start | None = None,
) -> Counts:
    """Count broken constraints and the places where they could break.

    Parameters
    ----------
    start : mastery at the end of each learner's previous chunk. If given, the step from there to
        the first one is counted too.

    Returns
    -------
    ``<name>`` and ``<name>_n`` for `monotonicity` (m_{t+1} < m_t), `negative_gains` (g < 0),
    `bounds` (m outside [0, 1]) and `fall_after_correct` (m falls at a right answer on that skill).
    """
    steps, C = valid.unsqueeze(-1), mastery.shape[-1]
    finite = mastery.isfinite()
    outside = ~((mastery >= 0) & (mastery <= 1)) & steps
    negative = ~((gains >= 0) & gains.isfinite()) & steps
    pairs = valid[:, 1:] & valid[:, :-1]
    holds = (mastery[:, 1:] >= mastery[:, :-1]) & finite[:, 1:] & finite[:, :-1]
    falls = ~holds & pairs.unsqueeze(-1)
    own_falls = falls.gather(-1, skills[:, 1:].unsqueeze(-1)).squeeze(-1)
    right = pairs & (responses[:, 1:] == 1)
    counts = {
        "monotonicity": falls.sum((1, 2)),
        "monotonicity_n": pairs.sum(1) * C,
        "negative_gains": negative.sum((1, 2)),
        "negative_gains_n": valid.sum(1) * C,
        "bounds": outside.sum((1, 2)),
        "bounds_n": valid.sum(1) * C,
        "fall_after_correct": (own_falls & right).sum(1),
        "fall_after_correct_n": right.sum(1),
    }
    if start is not None:
        counts["monotonicity"] += (~(mastery[:, 0] >= start)).sum(1)
        counts["monotonicity_n"] += C
    return counts


def saturation(mastery: Skills, gains: Skills, valid: Valid) -> Counts:
    """Count entries at the bounds (within 0.001 of 0 or 1, or beyond) and gains of exactly zero."""
    steps, C = valid.unsqueeze(-1), mastery.shape[-1]
    at_bounds = ((mastery <= 1e-3) | (mastery >= 1 - 1e-3)) & steps
    return {
        "at_bounds": at_bounds.sum((1, 2)),
        "zero_gains": ((gains == 0) & steps).sum((1, 2)),
        "entries": valid.sum(1) * C,
    }


def shares(counts: Counts) -> dict[str, float]:
    """Divide each count by its ``_n``, both summed over the batch; NaN where ``_n`` is 0."""
    names = [name for name in counts if f"{name}_n" in counts]
    return {n: float(counts[n].sum() / counts[f"{n}_n"].sum().double()) for n in names}
