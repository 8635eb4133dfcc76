"""Losses: next-step BCE and the auxiliary terms, pure and masked (docs/method.md, "The losses").

Every function takes `valid` [B, T], true at real steps, and averages over valid entries only, so
that padding never contributes. A term with nothing to average is 0. B learners, T steps, P = T-1
predictions, C skills.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F

from kt_core.base import own
from kt_core.base.errors import KTError, brief
from kt_core.config import LossConfig
from kt_core.data.batches import Batch
from kt_core.layers import Ids, Next, Scalar, Skills, Steps, Valid
from kt_core.mastery import PathTerms
from kt_core.model import GainAKT2
from kt_core.side_heads import GAIN_STEP
from kt_core.states import States, at_skill

GAIN_MARGIN = 0.1  # by which gains after right answers should exceed those after wrong ones


def masked_mean(values: Float[Tensor, "..."], keep: Bool[Tensor, "..."]) -> Scalar:
    """Mean of `values` where `keep` (broadcast to their shape); 0 where nothing is kept."""
    keep = keep.expand(values.shape)
    total = torch.where(keep, values, torch.zeros_like(values)).sum()
    return total / keep.sum().clamp(min=1)


def next_step(logits: Next, responses: Ids, valid: Valid) -> Scalar:
    """Binary cross-entropy of the responses of steps 1..T-1."""
    return teacher(logits, responses.to(logits.dtype), valid)


def teacher(logits: Next, likely: Steps, valid: Valid) -> Scalar:
    """Cross-entropy of a teacher's predictions of steps 1..T-1.

    Parameters
    ----------
    likely : what the teacher holds P(right) to be at each step, in [0, 1].
    """
    terms = F.binary_cross_entropy_with_logits(logits, likely[:, 1:], reduction="none")
    return masked_mean(terms, valid[:, 1:])


def non_negative(gains: Skills, valid: Valid) -> Scalar:
    """How far gains lie below zero: mean relu(-g)."""
    return masked_mean(F.relu(-gains), valid.unsqueeze(-1))


def monotonicity(mastery: Skills, valid: Valid) -> Scalar:
    """How far mastery falls between steps: mean relu(m_t - m_{t+1}) over steps and skills."""
    return masked_mean(F.relu(mastery[:, :-1] - mastery[:, 1:]), _pairs(valid).unsqueeze(-1))


def mastery_performance(mastery: Skills, skills: Ids, responses: Ids, valid: Valid) -> Scalar:
    """Mastery should be high at right answers and low at wrong ones: mean (1 - m) + mean m."""
    own, right = at_skill(mastery, skills), responses == 1
    return masked_mean(1 - own, valid & right) + masked_mean(own, valid & ~right)


def gain_performance(gains: Skills, skills: Ids, responses: Ids, valid: Valid) -> Scalar:
    """Own gains after right answers should exceed those after wrong ones by a margin of 0.1.

    0 where a batch has only right or only wrong answers, as there is nothing to compare.
    """
    own, right = at_skill(gains, skills), responses == 1
    after_right, after_wrong = valid & right, valid & ~right
    gap = masked_mean(own, after_wrong) - masked_mean(own, after_right) + GAIN_MARGIN
    return F.relu(gap) * (after_right.any() & after_wrong.any())


def sparsity(gains: Skills, skills: Ids, valid: Valid) -> Scalar:
    """Skills that are not asked should gain little: their mean |g|; 0 with a single skill."""
    size = gains.abs()
    others = size.sum(-1) - at_skill(size, skills)
    return masked_mean(others / max(gains.shape[-1] - 1, 1), valid)


def consistency(mastery: Skills, gains: Skills, valid: Valid) -> Scalar:
    """Mastery should move by its gains: mean |(m_{t+1} - m_t) - 0.1 g_{t+1}|."""
    moved = mastery[:, 1:] - mastery[:, :-1]
    return masked_mean((moved - GAIN_STEP * gains[:, 1:]).abs(), _pairs(valid).unsqueeze(-1))


def forecast(logits: Float[Tensor, "B T T"], responses: Ids, valid: Valid) -> Scalar:
    """Binary cross-entropy of every later answer, given the belief at each step.

    Parameters
    ----------
    logits : entry [s, t] is for the answer of step t > s, as believed at step s.
    """
    T = responses.shape[1]
    later = torch.ones(T, T, dtype=torch.bool, device=valid.device).triu(1)
    keep = later & valid.unsqueeze(1)
    target = responses.unsqueeze(1).expand_as(logits).to(logits.dtype)
    terms = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
    left = keep.sum(-1)
    each = torch.where(keep, terms, 0.0).sum(-1) / left.clamp(min=1)
    return masked_mean(each, left > 0)


def path_terms(
    weights: LossConfig, model: GainAKT2, path: PathTerms, batch: Batch
) -> dict[str, Scalar]:
    """Each term of the modes on the path with a weight above zero, by name and *unweighted*."""
    terms = {}
    if weights.forecast:
        terms["forecast"] = forecast(path.forecasts(), batch.responses, batch.valid)
    if weights.difficulty and model.difficulty is not None:
        terms["difficulty"] = masked_mean(model.difficulty.prior(batch.items), batch.valid)
    return terms


def auxiliary(
    weights: LossConfig, states: States, skills: Ids, responses: Ids, valid: Valid
) -> dict[str, Scalar]:
    """Each auxiliary term with a weight above zero, by name and *unweighted*."""
    m, g = states.trajectory, states.gains
    assert m is not None and g is not None  # as of every whole history
    terms = {
        "non_negative": lambda: non_negative(g, valid),
        "monotonicity": lambda: monotonicity(m, valid),
        "mastery_performance": lambda: mastery_performance(m, skills, responses, valid),
        "gain_performance": lambda: gain_performance(g, skills, responses, valid),
        "sparsity": lambda: sparsity(g, skills, valid),
        "consistency": lambda: consistency(m, g, valid),
    }
    return {name: terms[name]() for name in weights.active if name in terms}


def check_own(weights: LossConfig) -> None:
    """Check that the terms of a user's own are known in this process.

    Raises
    ------
    KTError
        When one is not.
    """
    known = own.of(own.LOSS)
    for name in weights.own:
        if name not in known:
            raise KTError(
                f"loss.own: no loss term {name!r} is registered here; call "
                f"kt_core.register({name!r}, FUNCTION, kind='loss') first, or name the file that "
                "does with --own"
            )


def own_terms(weights: LossConfig, beliefs: PathTerms | States, batch: Batch) -> dict[str, Scalar]:
    """Each term of a user's own with a weight above zero, by name and *unweighted*.

    Parameters
    ----------
    beliefs : `PathTerms` in `retrospective` and `retentive`, and `States` in the other modes.

    Raises
    ------
    KTError
        When a term is not a single number.
    """
    known, found = own.of(own.LOSS), {}
    for name in (name for name, weight in weights.own.items() if weight > 0):
        term = known[name].what(beliefs, batch)
        if not isinstance(term, Tensor) or term.ndim:
            shape = tuple(term.shape) if isinstance(term, Tensor) else brief(term)
            raise KTError(f"loss term {name!r}: it gave {shape}, expected a tensor with one number")
        found[name] = term
    return found


def _pairs(valid: Valid) -> Bool[Tensor, "B T-1"]:
    return valid[:, :-1] & valid[:, 1:]
