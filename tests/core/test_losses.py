"""Losses against values worked out by hand, and blind to padding."""

import math

import pytest
import torch
from conftest import random_batch, states_of

from kt_core import losses
from kt_core.config import ENHANCED, LossConfig
from kt_core.model import GainAKT2


def t(*rows):
    return torch.tensor(rows, dtype=torch.float32)


# One learner, three steps, two skills; asked 0, 1, 0; answered right, wrong, right.
SKILLS = torch.tensor([[0, 1, 0]])
RESPONSES = torch.tensor([[1, 0, 1]])
VALID = torch.ones(1, 3, dtype=torch.bool)
M = t([[0.2, 0.5], [0.4, 0.3], [0.3, 0.3]])
G = t([[0.5, -0.1], [1.0, -0.2], [0.0, 0.4]])


def test_next_step():
    logits = t([0.0, 2.0])
    want = (math.log(2) + math.log1p(math.exp(-2))) / 2  # wrong at logit 0, right at logit 2
    assert losses.next_step(logits, RESPONSES, VALID).item() == pytest.approx(want)


@pytest.mark.parametrize(
    ("term", "args", "want"),
    [
        (losses.non_negative, (G, VALID), (0.1 + 0.2) / 6),
        (losses.monotonicity, (M, VALID), (0.2 + 0.1) / 4),
        (
            losses.mastery_performance,
            (M, SKILLS, RESPONSES, VALID),
            ((1 - 0.2) + (1 - 0.3)) / 2 + 0.3,
        ),
        (losses.gain_performance, (G, SKILLS, RESPONSES, VALID), 0.0),  # -0.2 - 0.25 + 0.1 < 0
        (losses.gain_performance, (-G, SKILLS, RESPONSES, VALID), 0.2 + 0.25 + 0.1),
        (losses.sparsity, (G, SKILLS, VALID), (0.1 + 1.0 + 0.4) / 3),
        (
            losses.consistency,
            (M, G, VALID),
            (abs(0.2 - 0.1) + abs(-0.2 + 0.02) + abs(-0.1 - 0.0) + abs(0.0 - 0.04)) / 4,
        ),
    ],
)
def test_auxiliary_terms_by_hand(term, args, want):
    assert term(*args).item() == pytest.approx(want, abs=1e-6)


def test_nothing_to_compare_is_zero():
    right = torch.ones_like(RESPONSES)
    assert losses.gain_performance(G, SKILLS, right, VALID) == 0
    nothing = torch.zeros_like(VALID)
    assert losses.non_negative(G, nothing) == 0
    assert losses.next_step(t([0.0, 2.0]), RESPONSES, nothing) == 0
    one_skill = losses.sparsity(G[..., :1], torch.zeros_like(SKILLS), VALID)
    assert one_skill == 0


def test_padding_never_contributes():
    q, r, valid = random_batch(B=6, T=15, C=5)
    g = torch.Generator().manual_seed(1)
    mastery = torch.rand(6, 15, 5, generator=g)
    gains = torch.randn(6, 15, 5, generator=g)
    logits = torch.randn(6, 14, generator=g)

    def total(scale):
        noise = torch.where(valid, 0.0, scale)
        m, v = mastery + noise[..., None], gains + noise[..., None]
        states = states_of(m, m, v, v[..., 0], logits + noise[:, 1:], q)
        everything = LossConfig(*[1.0] * 6)
        terms = losses.auxiliary(everything, states, q, r, valid)
        return terms | {"bce": losses.next_step(states.logits, r, valid)}

    clean, noisy = total(0.0), total(1e6)
    assert len(clean) == 7
    for name, value in clean.items():
        assert torch.equal(value, noisy[name]), name


def test_only_terms_with_a_weight_are_computed():
    assert set(ENHANCED.active) == {
        "monotonicity", "mastery_performance", "gain_performance", "sparsity", "consistency",
    }  # fmt: skip


def test_guaranteed_constraints_cost_nothing():
    from kt_core.config import ModelConfig

    model = GainAKT2(ModelConfig(mode="cumulative", d_model=16, heads=2, blocks=1, d_ff=16), 5)
    q, r, valid = random_batch(C=5)
    states = model.forward_with_states(q, r)
    assert losses.non_negative(states.gains, valid) == 0
    assert losses.monotonicity(states.trajectory, valid) == 0


def test_every_term_has_a_gradient():
    model_gains = G.clone().requires_grad_()
    model_mastery = M.clone().requires_grad_()
    terms = [
        losses.non_negative(model_gains, VALID),
        losses.monotonicity(model_mastery, VALID),
        losses.mastery_performance(model_mastery, SKILLS, RESPONSES, VALID),
        losses.gain_performance(-model_gains, SKILLS, RESPONSES, VALID),
        losses.sparsity(model_gains, SKILLS, VALID),
        losses.consistency(model_mastery, model_gains, VALID),
    ]
    for term in terms:
        grads = torch.autograd.grad(
            term, [model_gains, model_mastery], retain_graph=True, allow_unused=True
        )
        assert any(g is not None and g.abs().sum() > 0 for g in grads)


def test_gains_after_one_kind_of_answer_alone_are_not_compared():
    """The learner who was only wrong is no ground for it either."""
    for answers in (torch.ones_like(RESPONSES), torch.zeros_like(RESPONSES)):
        for gains in (G, -G):
            assert losses.gain_performance(gains, SKILLS, answers, VALID) == 0


def test_sparsity_is_a_mean_over_the_other_skills():
    gains = t([5.0, 0.3, 0.6], [0.0, 5.0, 0.3])
    want = ((0.3 + 0.6) / 2 + (0.0 + 0.3) / 2) / 2
    asked = torch.tensor([[0, 1]])
    got = losses.sparsity(gains[None], asked, asked >= 0)
    assert got.item() == pytest.approx(want)


def test_pairs_need_both_steps():
    mastery = t([0.9], [0.5], [0.1])
    valid = torch.tensor([[True, True, False]])
    assert losses.monotonicity(mastery[None], valid).item() == pytest.approx(0.4)
    with_hole = torch.tensor([[True, False, True]])
    assert losses.monotonicity(mastery[None], with_hole) == 0


def test_the_forecast_of_a_last_step_has_no_gradient_and_no_trouble():
    logits = torch.zeros(1, 3, 3, requires_grad=True)
    losses.forecast(logits, RESPONSES, VALID).backward()
    assert logits.grad.isfinite().all() and (logits.grad[0, 2] == 0).all()
    assert (logits.grad[0, 0, 1:] != 0).all()
