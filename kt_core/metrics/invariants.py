"""Counts of broken constraints and signs of collapse, on tensors, with no tolerance.

Counts are per sequence, [B], so that they can be summed over batches and resampled over learners.
A value that is not finite is a violation. Dimensions: B learners, T steps, C skills.
"""

from __future__ import annotations

from jaxtyping import Bool, Int
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
    rested: Skills | None = None,
    since: int = 0,
    lowest: Start | None = None,
) -> Counts:
    """Count broken constraints and the places where they could break.

    Parameters
    ----------
    start : mastery at the end of each learner's previous chunk. If given, the step from there to
        the first one is counted too.
    rested : mastery right before each step, where breaks may lower it.
    since : the first step that is counted; those before it only say where it came from.
    lowest : with `rested`: mastery before the first step of the history, if that is not here.

    Returns
    -------
    ``<name>`` and ``<name>_n`` for `monotonicity` (m_{t+1} < m_t), `negative_gains` (g < 0),
    `bounds` (m outside [0, 1]) and `fall_after_correct` (m falls at a right answer on that skill).
    With `rested`, falls are counted from right before a step to right after it, and there are
    `rise_in_break` (from after a step to before the next) and `below_start`.
    """
    pairs, counted_steps = valid[:, 1:] & valid[:, :-1], valid.clone()
    counted_steps[:, :since] = False
    pairs[:, : since - 1 if since else 0] = False
    steps, C = counted_steps.unsqueeze(-1), mastery.shape[-1]
    outside = ~((mastery >= 0) & (mastery <= 1)) & steps
    negative = ~((gains >= 0) & gains.isfinite()) & steps
    counted = pairs if rested is None else counted_steps
    earlier, later = (mastery[:, :-1], mastery[:, 1:]) if rested is None else (rested, mastery)
    if rested is None:
        skills, responses = skills[:, 1:], responses[:, 1:]
    falls = _breaks(later, earlier) & counted.unsqueeze(-1)
    own_falls = falls.gather(-1, skills.unsqueeze(-1)).squeeze(-1)
    right = counted & (responses == 1)
    counts = {
        "monotonicity": falls.sum((1, 2)),
        "monotonicity_n": counted.sum(1) * C,
        "negative_gains": negative.sum((1, 2)),
        "negative_gains_n": counted_steps.sum(1) * C,
        "bounds": outside.sum((1, 2)),
        "bounds_n": counted_steps.sum(1) * C,
        "fall_after_correct": (own_falls & right).sum(1),
        "fall_after_correct_n": right.sum(1),
    }
    if start is not None:
        counts["monotonicity"] += (~(mastery[:, 0] >= start)).sum(1)
        counts["monotonicity_n"] += C
    if rested is not None:
        rises = _breaks(mastery[:, :-1], rested[:, 1:]) & pairs.unsqueeze(-1)
        start = rested[:, :1] if lowest is None else lowest.unsqueeze(1)
        start = start.expand_as(rested)
        below = _breaks(rested, start) | _breaks(mastery, start)
        counts["rise_in_break"], counts["rise_in_break_n"] = rises.sum((1, 2)), pairs.sum(1) * C
        counts["below_start"] = (below & steps).sum((1, 2))
        counts["below_start_n"] = counted_steps.sum(1) * C
    return counts


def _breaks(upper: Skills, lower: Skills) -> Bool[Tensor, "B T C"]:
    """Where the first is not at least the second, or one of them is not finite."""
    return ~((upper >= lower) & upper.isfinite() & lower.isfinite())


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
