"""The model: causal, indifferent to padding and order, and exact where it promises to be."""

import dataclasses

import pytest
import torch
from conftest import random_batch, stir
from hypothesis import given
from hypothesis import strategies as st
from invariants import CONSTRAINTS, OF_BREAKS

from kt_core.base.errors import KTError
from kt_core.config import ModelConfig
from kt_core.layers import HIDDEN, Lags, Recent
from kt_core.mastery import PathTerms
from kt_core.metrics.invariants import shares, violations
from kt_core.model import GainAKT2
from kt_core.presets import preset
from kt_core.side_heads import GAIN_STEP, cumulative_mastery
from kt_core.states import at_skill

C = 7


MODES = ("retrospective", "retentive", "cumulative", "projection")


def make(mode="cumulative", position="decay", seed=0, **kwargs):
    torch.manual_seed(seed)
    config = ModelConfig(mode=mode, d_model=16, heads=2, blocks=2, d_ff=24, **kwargs)
    return stir(GainAKT2(dataclasses.replace(config, position=position), C))


def loop(start, gains):
    """The published recursion, one step at a time."""
    mastery = [start]
    for t in range(1, gains.shape[1]):
        mastery.append((mastery[-1] + GAIN_STEP * gains[:, t]).clamp(0, 1))
    return torch.stack(mastery, dim=1)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("position", ["decay", "absolute"])
def test_later_answers_never_change_earlier_outputs(mode, position):
    model = make(mode, position)
    q, r, _ = random_batch(T=14, pad=False)
    before = model.forward_with_states(q, r)
    for t in (1, 6, 13):
        q2, r2 = q.clone(), r.clone()
        r2[:, t:] = 1 - r2[:, t:]
        q2[:, t + 1 :] = (q2[:, t + 1 :] + 1) % C
        after = model.forward_with_states(q2, r2)
        assert torch.equal(before.logits[:, :t], after.logits[:, :t])
        for name in ("context", "value"):
            a, b = getattr(before.encoded, name), getattr(after.encoded, name)
            assert torch.equal(a[:, :t], b[:, :t]), name
        assert not torch.equal(before.encoded.context[:, t], after.encoded.context[:, t])
        assert torch.equal(before.filtered[:, :t], after.filtered[:, :t])
        if model.on_path:
            a, b = (
                PathTerms(model.heads, s.encoded).forecasts()[:, :t, : t + 1]
                for s in (before, after)
            )
            assert torch.equal(a, b) and torch.equal(before.belief[:, :t], after.belief[:, :t])
        else:  # on the path gains are believed at the last step
            assert torch.equal(before.gains[:, :t], after.gains[:, :t])


@pytest.mark.parametrize("mode", MODES)
def test_padding_and_batch_order_change_nothing(mode):
    model = make(mode)
    q, r, _ = random_batch(B=4, T=9, pad=False)
    alone = model.forward_with_states(q, r)
    padded = torch.zeros(4, 30, dtype=torch.long)
    q2, r2 = padded.clone(), padded.clone()
    q2[:, :9], r2[:, :9] = q, r
    wide = model.forward_with_states(q2, r2)
    order = torch.tensor([2, 0, 3, 1])
    mixed = model.forward_with_states(q[order], r[order])
    names = ("filtered",) if model.on_path else ("filtered", "gains")
    for name in names:
        torch.testing.assert_close(getattr(wide, name)[:, :9], getattr(alone, name))
        torch.testing.assert_close(getattr(mixed, name), getattr(alone, name)[order])
    torch.testing.assert_close(wide.logits[:, :8], alone.logits)


@pytest.mark.parametrize("mode", MODES)
def test_forward_is_the_logits_of_forward_with_states(mode):
    model = make(mode)
    q, r, _ = random_batch()
    states = model.forward_with_states(q, r)
    torch.testing.assert_close(model(q, r), states.logits)
    if model.on_path:  # what is predicted is mastery, and form
        form = PathTerms(model.heads, states.encoded).form()
        torch.testing.assert_close((states.logits - form).sigmoid(), states.asked)
    if mode != "retentive":  # where nothing fades between a step and the next
        before = at_skill(states.filtered[:, :-1], q[:, 1:])
        torch.testing.assert_close(states.asked, before)


def test_decay_is_the_additive_bias_it_stands_for():
    model = make()
    attention = model.encoder.blocks[0].attention
    B, T, D, H = 3, 11, 16, 2
    c, v = torch.randn(B, T, D), torch.randn(B, T, D)
    q, k = (x.unflatten(-1, (H, -1)).transpose(1, 2) for x in attention.query_key(c).chunk(2, -1))
    value = attention.values(v).unflatten(-1, (H, -1)).transpose(1, 2)
    slopes = torch.nn.functional.softplus(attention.raw_slopes)
    distance = torch.arange(T)[:, None] - torch.arange(T)
    score = q @ k.transpose(-1, -2) / (D // H) ** 0.5 - slopes[:, None, None] * distance
    weight = score.masked_fill(distance < 0, -torch.inf).softmax(-1)
    want = attention.out((weight @ value).transpose(1, 2).flatten(2))
    torch.testing.assert_close(attention(c, v), want, rtol=1e-4, atol=1e-5)


def test_fading_sums_equal_the_recursion():
    torch.manual_seed(0)
    recent = Recent(16, steps=0, groups=4).double()
    x = torch.randn(2, 9, 16, dtype=torch.float64)
    rate = recent.log_rate.exp().repeat_interleave(4)
    state, want = torch.zeros(2, 16, dtype=torch.float64), []
    for t in range(9):
        want.append(rate.sqrt() * state)
        state = torch.exp(-rate) * state + x[:, t]
    torch.testing.assert_close(recent._faded(x), torch.stack(want, dim=1))
    assert torch.equal(recent(x), x)  # as it begins, it adds nothing


@pytest.mark.parametrize(("T", "lags"), [(1, 3), (2, 3), (9, 3), (9, 0)])
def test_what_came_just_before(T, lags):
    torch.manual_seed(1)
    x = torch.randn(4, T, 6, dtype=torch.double, requires_grad=True)
    weight = torch.randn(lags, 6, dtype=torch.double, requires_grad=True)
    want = x.clone()
    for lag in range(1, min(lags, T - 1) + 1):
        want = want + weight[lag - 1] * torch.nn.functional.pad(x, (0, 0, lag, 0))[:, :T]
    torch.testing.assert_close(Lags.apply(x, weight), want)
    assert torch.autograd.gradcheck(Lags.apply, (x, weight))


@given(seed=st.integers(0, 10_000), T=st.integers(1, 40), scale=st.floats(0, 30))
def test_cumulative_mastery_equals_the_loop(seed, T, scale):
    g = torch.Generator().manual_seed(seed)
    start = torch.rand(3, 4, generator=g, dtype=torch.float64)
    gains = torch.rand(3, T, 4, generator=g, dtype=torch.float64) * scale
    torch.testing.assert_close(cumulative_mastery(start, gains), loop(start, gains))
    ends = cumulative_mastery(start, gains)[:, -1]
    more = torch.rand(3, 5, 4, generator=g, dtype=torch.float64)
    carried = cumulative_mastery(ends, more, carried=True)
    whole = loop(start, torch.cat([gains, more], dim=1))
    torch.testing.assert_close(carried, whole[:, T:])


@given(
    mode=st.sampled_from(["retrospective", "retentive", "cumulative"]),
    seed=st.integers(0, 10_000),
    T=st.integers(1, 60),
    power=st.integers(-20, 20),
    dtype=st.sampled_from([torch.float32, torch.float64, torch.bfloat16, torch.float16]),
)
def test_guarantees_hold_exactly_for_any_weights(mode, seed, T, power, dtype):
    model = make(mode, seed=seed, transfer=seed % 2 == 0)
    with torch.no_grad():
        for weight in model.parameters():
            weight.normal_().mul_(2.0**power)
    q, r, _ = random_batch(B=3, T=T, seed=seed, pad=False)
    valid = torch.ones_like(q, dtype=torch.bool)
    with torch.no_grad():
        states = model.to(dtype).forward_with_states(q, r)
        found = states.trajectory, states.gains, q, r, valid
        counts = violations(*found, rested=states.rested)
    assert states.trajectory.dtype == dtype
    assert ("below_start" in counts) == (mode == "retentive")
    for name in set(counts) & {*CONSTRAINTS, *OF_BREAKS}:
        assert counts[name].sum() == 0, name


def test_mastery_continues_across_chunks():
    model = make()
    q, r, valid = random_batch(T=10, pad=False)
    first = model.forward_with_states(q, r)
    end = first.filtered[:, -1]
    second = model.forward_with_states(q, r, start=end)
    counts = violations(second.trajectory, second.gains, q, r, valid, start=end)
    assert shares(counts)["monotonicity"] == 0
    torch.testing.assert_close(
        second.filtered[:, 0], (end + GAIN_STEP * second.gains[:, 0]).clamp(max=1)
    )


def test_projection_breaks_every_constraint_somewhere():
    model = make("projection")
    q, r, valid = random_batch(B=20, T=30, pad=False)
    states = model.forward_with_states(q, r)
    counts = violations(states.trajectory, states.gains, q, r, valid)
    assert all(counts[name].sum() > 0 for name in ("monotonicity", "negative_gains", "bounds"))


@pytest.mark.parametrize(
    ("skill", "response", "words"),
    [(C, 0, f"skill id {C} is out of range"), (-1, 0, "skill id -1"), (0, 2, "response 2")],
)
def test_impossible_input_is_named(skill, response, words):
    q, r = torch.full((2, 5), skill), torch.full((2, 5), response)
    with pytest.raises(KTError, match=words):
        make()(q, r)


def test_hidden_answers_are_only_for_the_mastery_path():
    q, r = torch.zeros(2, 5, dtype=torch.long), torch.full((2, 5), HIDDEN)
    assert make("retrospective")(q, r).isfinite().all()
    with pytest.raises(KTError, match="response 3"):
        make("retrospective")(q, r + 1)


def test_too_many_steps_for_absolute_positions():
    model = make(position="absolute", max_steps=8)
    q, r, _ = random_batch(T=9)
    with pytest.raises(KTError, match="absolute positions end at 8"):
        model(q, r)
    make(max_steps=8)(q, r)  # distance decay has no such end


def test_presets_build_models_of_the_stated_size():
    config = preset("intensive").model
    assert (config.d_model, config.heads, config.blocks, config.d_ff) == (512, 8, 6, 1024)
    model = GainAKT2(preset("standard").model, 100)
    assert sum(p.numel() for p in model.parameters()) < 500_000


def test_nobody_to_read_and_no_skill_to_know():
    nobody = torch.zeros(0, 3, dtype=torch.long)
    with pytest.raises(KTError, match=r"nothing to read: skills has shape \(0, 3\)"):
        make().check(nobody, nobody)
    with pytest.raises(KTError, match="n_skills = 0: a model needs at least one skill"):
        GainAKT2(ModelConfig(d_model=16, heads=2), 0)
