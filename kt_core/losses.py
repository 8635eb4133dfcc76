"""Losses: next-step BCE and the auxiliary terms of section 4, pure and masked.

Every function takes `valid` [B, T], true at real steps, and averages over valid entries alone, so
that padding never contributes. With nothing to average a term is 0. B learners, T steps, P = T-1
predictions, C skills.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional as F

from kt_core.config import LossConfig
from kt_core.model import GAIN_STEP, States

GAIN_MARGIN = 0.1  # by how much gains after correct answers should exceed the others


def masked_mean(values: Float[Tensor, "..."], keep: Bool[Tensor, "..."]) -> Float[Tensor, ""]:
    """Mean of `values` where `keep` (broadcast to their shape); 0 where nothing is kept."""
    keep = keep.expand(values.shape)
    total = torch.where(keep, values, torch.zeros_like(values)).sum()
    return total / keep.sum().clamp(min=1)


def own_skill(states: Float[Tensor, "B T C"], skills: Int[Tensor, "B T"]) -> Float[Tensor, "B T"]:
    """The entry of the skill asked at each step."""
    return states.gather(-1, skills.unsqueeze(-1)).squeeze(-1)


def next_step(
    logits: Float[Tensor, "B P"], responses: Int[Tensor, "B T"], valid: Bool[Tensor, "B T"]
) -> Float[Tensor, ""]:
    """Binary cross-entropy of the responses of steps 1..T-1."""
    target = responses[:, 1:].to(logits.dtype)
    terms = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
    return masked_mean(terms, valid[:, 1:])


def non_negative(gains: Float[Tensor, "B T C"], valid: Bool[Tensor, "B T"]) -> Float[Tensor, ""]:
    """How far gains lie below zero: mean relu(-g)."""
    return masked_mean(F.relu(-gains), valid.unsqueeze(-1))


def monotonicity(mastery: Float[Tensor, "B T C"], valid: Bool[Tensor, "B T"]) -> Float[Tensor, ""]:
    """How far mastery falls between steps: mean relu(m_t - m_{t+1}) over steps and skills."""
    return masked_mean(F.relu(mastery[:, :-1] - mastery[:, 1:]), _pairs(valid).unsqueeze(-1))


def mastery_performance(
    mastery: Float[Tensor, "B T C"],
    skills: Int[Tensor, "B T"],
    responses: Int[Tensor, "B T"],
    valid: Bool[Tensor, "B T"],
) -> Float[Tensor, ""]:
    """Mastery should be high where answers are right: mean (1 - m) there + mean m elsewhere."""
    own, right = own_skill(mastery, skills), responses == 1
    return masked_mean(1 - own, valid & right) + masked_mean(own, valid & ~right)


def gain_performance(
    gains: Float[Tensor, "B T C"],
    skills: Int[Tensor, "B T"],
    responses: Int[Tensor, "B T"],
    valid: Bool[Tensor, "B T"],
) -> Float[Tensor, ""]:
    """Own gains after right answers should exceed those after wrong ones by a margin of 0.1.

    0 where a batch holds only right or only wrong answers: there is nothing to compare.
    """
    own, right = own_skill(gains, skills), responses == 1
    after_right, after_wrong = valid & right, valid & ~right
    gap = masked_mean(own, after_wrong) - masked_mean(own, after_right) + GAIN_MARGIN
    return F.relu(gap) * (after_right.any() & after_wrong.any())


def sparsity(
    gains: Float[Tensor, "B T C"], skills: Int[Tensor, "B T"], valid: Bool[Tensor, "B T"]
) -> Float[Tensor, ""]:
    """Skills that are not asked should gain little: mean |g| over them; 0 with a single skill."""
    size = gains.abs()
    others = size.sum(-1) - own_skill(size, skills)
    return masked_mean(others / max(gains.shape[-1] - 1, 1), valid)


def consistency(
    mastery: Float[Tensor, "B T C"], gains: Float[Tensor, "B T C"], valid: Bool[Tensor, "B T"]
) -> Float[Tensor, ""]:
    """Mastery should move by its gains: mean |(m_{t+1} - m_t) - 0.1 g_{t+1}|."""
    moved = mastery[:, 1:] - mastery[:, :-1]
    return masked_mean((moved - GAIN_STEP * gains[:, 1:]).abs(), _pairs(valid).unsqueeze(-1))


def auxiliary(
    weights: LossConfig,
    states: States,
    skills: Int[Tensor, "B T"],
    responses: Int[Tensor, "B T"],
    valid: Bool[Tensor, "B T"],
) -> dict[str, Float[Tensor, ""]]:
    """Each auxiliary term with a weight above zero, by name and *unweighted*."""
    m, g = states.trajectory, states.gains
    terms = {
        "non_negative": lambda: non_negative(g, valid),
        "monotonicity": lambda: monotonicity(m, valid),
        "mastery_performance": lambda: mastery_performance(m, skills, responses, valid),
        "gain_performance": lambda: gain_performance(g, skills, responses, valid),
        "sparsity": lambda: sparsity(g, skills, valid),
        "consistency": lambda: consistency(m, g, valid),
    }
    return {name: terms[name]() for name in weights.active}


def _pairs(valid: Bool[Tensor, "B T"]) -> Bool[Tensor, "B T-1"]:
    return valid[:, :-1] & valid[:, 1:]
