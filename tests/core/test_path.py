"""The mastery path: the prediction is the mastery, part by part, against slow references."""

import dataclasses

import numpy as np
import pytest
import torch
from conftest import random_batch, stir
from hypothesis import given
from hypothesis import strategies as st

from kt_core import losses
from kt_core.config import PATH_TERMS, LossConfig, ModelConfig
from kt_core.data import Batch
from kt_core.layers import HIDDEN
from kt_core.mastery import PathTerms, level_logits, retrospective_mastery
from kt_core.metrics.invariants import violations
from kt_core.model import GainAKT2
from kt_core.states import at_skill
from kt_core.training.module import hide

C, ITEM_SKILL = 7, (0, 0, 0, 2, 2, 5, 6)
MODES = ("retrospective", "cumulative", "projection")


def make(seed=0, items=False, **kwargs):
    torch.manual_seed(seed)
    config = ModelConfig(d_model=16, heads=2, blocks=2, d_ff=24, dropout=0.0)
    model = GainAKT2(dataclasses.replace(config, **kwargs), C, ITEM_SKILL if items else ())
    return stir(model)


def items_for(skills, seed=0):
    g = torch.Generator().manual_seed(seed)
    known = torch.randint(0, len(ITEM_SKILL) + 1, skills.shape, generator=g)
    fits = torch.tensor((-1, *ITEM_SKILL))[known] == skills
    return torch.where(fits, known, 0)


def slow_correction(heads, context, value, q, s, k):
    """What the network adds after step s of one learner to the belief about skill k: a read-out,
    and the evidence of the steps on k, one step at a time. An answer on k itself counts later."""
    s = s - 1 if q[s] == k else s
    if s < 0:
        return torch.tensor(0.0)
    said = [heads.evidence(value[u])[k] for u in range(s + 1) if q[u] == k]
    strength = torch.nn.functional.softplus(heads.raw_prior_strength)
    return heads.correction(context[s])[k] + sum(said) / (len(said) + strength)


def slow_path(model, q, r, items):
    """One learner, step and earlier step at a time, on top of the skeleton's levels."""
    e = model.encode(q, r, items)
    heads, level, B, T = model.heads, e.reading.every_skill()[0], *q.shape
    unit = e.reading.all_gains
    logits, trajectory = torch.zeros(B, T - 1), torch.zeros(B, T, C)
    for b in range(B):
        for t in range(T - 1):
            k = q[b, t + 1]
            known = level.belief[b, t, k] + level.factor[b, t, k] * unit[b, : t + 1, k].sum()
            known = known + slow_correction(heads, e.context[b], e.value[b], q[b], t, k)
            d = 0 if e.difficulty is None else e.difficulty[b, t + 1]
            logits[b, t] = known + heads.form(e.context[b, t])[k] - level.shrink[b, t, k] * d
        for k in range(C):
            belief = level.belief[b, -1, k] + slow_correction(
                heads, e.context[b], e.value[b], q[b], T - 1, k
            )
            for t in range(T):
                grown = level.factor[b, -1, k] * unit[b, : t + 1, k].sum()
                trajectory[b, t, k] = (belief + grown).sigmoid()
    return logits, trajectory


@pytest.mark.parametrize(("items", "transfer"), [(False, False), (True, False), (True, True)])
def test_predictions_and_trajectory_are_the_equations(items, transfer):
    model = make(items=items, transfer=transfer)
    q, r, _ = random_batch(B=3, T=9, pad=False)
    asked = items_for(q) if items else None
    with torch.no_grad():
        states = model.forward_with_states(q, r, asked)
        logits, trajectory = slow_path(model, q, r, asked)
        torch.testing.assert_close(model(q, r, asked), logits)
    torch.testing.assert_close(states.logits, logits)
    torch.testing.assert_close(states.trajectory, trajectory)
    at_end = at_skill(states.filtered, q)[:, -1], at_skill(states.trajectory, q)[:, -1]
    torch.testing.assert_close(*at_end)  # at its own horizon the trajectory is the filtered state


def test_a_new_network_adds_nothing_to_the_skeleton():
    torch.manual_seed(0)
    model = GainAKT2(ModelConfig(d_model=16, heads=2, blocks=2, d_ff=24), C, ITEM_SKILL).eval()
    stir(model.heads.skeleton)
    q, r, _ = random_batch(B=3, T=9, pad=False)
    items = items_for(q)
    reading = model.heads.skeleton.read(q, r, model.difficulty(items))
    torch.testing.assert_close(model(q, r, items), reading.logits[:, 1:])


@pytest.mark.parametrize("mode", [*MODES, "retentive"])
def test_trajectory_at_a_horizon_is_that_of_a_history_that_ends_there(mode):
    model = make(mode=mode)
    q, r, _ = random_batch(B=4, T=11, pad=False)
    states = model.forward_with_states(q, r)
    horizon = torch.tensor([0, 3, 7, 10])
    at = model.heads.trajectory_at(states, horizon)
    for b, h in enumerate(horizon.tolist()):
        short = model.forward_with_states(q[b : b + 1, : h + 1], r[b : b + 1, : h + 1])
        torch.testing.assert_close(at[b, : h + 1], short.trajectory[0])
        assert torch.equal(at[b, h:], at[b, h].expand(11 - h, C))  # nothing is known after it


def test_the_horizon_is_the_last_real_step():
    model = make()
    q, r, valid = random_batch(B=5, T=12)
    states = model.forward_with_states(q, r, valid=valid)
    for b, n in enumerate(valid.sum(1).tolist()):
        short = model.forward_with_states(q[b : b + 1, :n], r[b : b + 1, :n])
        torch.testing.assert_close(states.trajectory[b, :n], short.trajectory[0])


@pytest.mark.parametrize("mode", [*MODES, "retentive"])
@pytest.mark.parametrize("items", [False, True])
@pytest.mark.parametrize("position", ["decay", "absolute"])
def test_flips_in_one_pass_are_flips_one_by_one(mode, items, position):
    model = make(items=items, mode=mode, position=position)
    q, r, _ = random_batch(B=3, T=8, pad=False)
    asked = items_for(q)
    flips = model.flips(model.forward_with_states(q, r, asked))
    for t in range(8):
        after = []
        for answer in (1, 0):
            other = r.clone()
            other[:, t] = answer
            states = model.forward_with_states(q, other, asked)
            after.append(at_skill(states.filtered, q)[:, t])
        torch.testing.assert_close(flips[:, t], after[0] - after[1], rtol=1e-3, atol=1e-4)


def test_difficulties_are_centred_within_skills_and_unknown_items_have_none():
    model = make(items=True)
    table = model.difficulty.table().detach()
    assert table[0] == 0 and len(table) == len(ITEM_SKILL) + 1
    for skill in set(ITEM_SKILL):
        own = [d for d, k in zip(table[1:], ITEM_SKILL, strict=True) if k == skill]
        assert sum(own).item() == pytest.approx(0, abs=1e-6)
    q, r, _ = random_batch(B=2, T=6, pad=False)
    nobody = torch.zeros_like(q)
    torch.testing.assert_close(model(q, r, nobody), model(q, r))


@given(
    items=st.lists(st.lists(st.integers(0, 7), min_size=9, max_size=9), min_size=1, max_size=3),
    repeat=st.tuples(st.floats(-2, 2, width=32), st.floats(-2, 2, width=32)),
)
def test_an_item_is_easier_by_how_often_it_was_met(items, repeat):
    model, items = make(items=True), torch.tensor(items)
    model.difficulty.repeat.copy_(torch.tensor(repeat))
    table = model.difficulty.table()
    found = model.difficulty(items)
    for row, told in zip(items.tolist(), found.tolist(), strict=True):
        for t, item in enumerate(row):
            n, want = row[:t].count(item), table[item].item()
            if n and item:
                want -= repeat[0] + repeat[1] * np.log(n)
            assert told[t] == pytest.approx(want, abs=1e-5)


def test_difficulties_begin_where_training_answers_put_them():
    model = make(items=True)
    g = torch.Generator().manual_seed(0)
    items = torch.randint(0, 8, (4000,), generator=g)
    true = torch.tensor([0.0, 1.0, 0.0, -1.0, 0.5, -0.5, 2.0, 0.0])
    p = torch.sigmoid(0.5 - true[items])
    responses = (torch.rand(4000, generator=g) < p).long()
    answers, right = (
        torch.bincount(items, minlength=8),
        torch.bincount(items[responses == 1], minlength=8),
    )
    model.difficulty.start_from(answers, right)
    table = model.difficulty.table().detach()
    assert table[1] > table[2] > table[3] and table[4] > table[5]  # within their skills
    assert table[0] == 0 and table[6] == table[7] == 0  # alone in a skill: nothing to compare
    assert torch.equal(model.difficulty.answers[1:], torch.bincount(items, minlength=8)[1:])


def test_the_prior_sums_to_that_of_a_standard_normal():
    model = make(items=True)
    answered = torch.tensor([3, 1, 2, 4, 1, 1, 5])
    model.difficulty.answers[1:] = answered
    items = torch.repeat_interleave(torch.arange(1, 8), answered).unsqueeze(0)
    want = 0.5 * (model.difficulty.raw**2).sum()
    torch.testing.assert_close(model.difficulty.prior(items).sum(), want)


@given(
    seed=st.integers(0, 10_000),
    T=st.integers(1, 300),
    scale=st.sampled_from([1e-6, 1e-2, 1.0, 50.0, 1e30]),
    dtype=st.sampled_from([torch.float32, torch.float64, torch.bfloat16, torch.float16]),
)
def test_trajectories_never_fall(seed, T, scale, dtype):
    g = torch.Generator().manual_seed(seed)
    gains = (torch.rand(2, T, 3, generator=g) * scale).to(dtype)
    belief = (torch.randn(2, 3, generator=g) * 5).to(dtype)
    mastery = retrospective_mastery(belief, gains)
    q = torch.zeros(2, T, dtype=torch.long)
    counts = violations(mastery, gains.clamp(max=1e4), q, q, torch.ones(2, T, dtype=torch.bool))
    assert mastery.dtype == dtype
    assert counts["monotonicity"].sum() == counts["bounds"].sum() == 0


def batch_of(q, r, valid, items=None):
    items = torch.zeros_like(q) if items is None else items
    return Batch(q, items, r, valid, torch.arange(len(q)))


def path_of(model, batch, hidden):
    seen = torch.where(hidden, HIDDEN, batch.responses)
    return PathTerms(model.heads, model.encode(batch.skills, seen, batch.items))


@given(seed=st.integers(0, 200))
def test_single_readings_are_entries_of_all_beliefs(seed):
    model = make(seed % 3, items=True, transfer=True)
    q, r, valid = random_batch(B=4, T=9, seed=seed)
    path = path_of(model, batch_of(q, r, valid, items_for(q, seed)), torch.zeros_like(valid))
    ahead = path.forecasts()
    torch.testing.assert_close(path.next_step() - path.form(), ahead.diagonal(1, 1, 2))
    horizon = valid.sum(1) - 1
    level, e = path.encoded.reading.pairs()[0], path.encoded
    row = torch.arange(4)
    known = level_logits(e.reading.at(horizon), e.reading.practice, e.difficulty)
    own = known + model.heads.corrections(e)[row, horizon]
    torch.testing.assert_close(path.at(horizon), own)
    torch.testing.assert_close(e.reading.at(horizon).belief, level.belief[row, horizon])


def bce(level, response):
    return float(np.log1p(np.exp(float(level))) - float(response) * float(level))


@given(seed=st.integers(0, 200), which=st.sampled_from(["none", "some"]))
def test_the_forecast_against_a_loop(seed, which):
    model = make(seed % 3, items=True, transfer=True)
    q, r, valid = random_batch(B=4, T=9, seed=seed)
    batch = batch_of(q, r, valid, items_for(q, seed))
    torch.manual_seed(seed)
    hidden = hide(valid, 0.4, 0.9) if which == "some" else torch.zeros_like(valid)
    with torch.no_grad():
        path = path_of(model, batch, hidden)
        terms = losses.path_terms(LossConfig(forecast=1), model, path, batch)
    e, ahead = path.encoded.detach(), []
    (level, practice), d = e.reading.pairs(), e.difficulty
    for b in range(4):
        steps = int(valid[b].sum())
        for s in range(steps - 1):
            later = []
            for t in range(s + 1, steps):
                k = q[b, t]
                known = level.belief[b, s, t] + level.factor[b, s, t] * practice[b, s, t]
                known = (
                    known
                    + slow_correction(model.heads, e.context[b], e.value[b], q[b], s, k).detach()
                )
                later.append(bce(known - level.shrink[b, s, t] * d[b, t], r[b, t]))
            ahead.append(np.mean(later))
    assert float(terms["forecast"]) == pytest.approx(np.mean(ahead), rel=1e-3, abs=1e-6)


@pytest.mark.parametrize("name", PATH_TERMS)
def test_each_path_term_is_there_alone(name):
    model = make(items=True, transfer=True)
    q, r, valid = random_batch(B=4, T=9)
    batch, none = batch_of(q, r, valid, items_for(q)), torch.zeros_like(valid)
    path = path_of(model, batch, none)
    assert {*losses.path_terms(LossConfig(**{name: 1}), model, path, batch)} == {name}


def test_padding_enters_no_path_term():
    model = make(items=True)
    q, r, valid = random_batch(B=4, T=9)
    none, weights = torch.zeros_like(valid), LossConfig(forecast=1, difficulty=1)
    batch = batch_of(q, r, valid, items_for(q))
    noise = torch.where(valid, q, (q + 3) % C), torch.where(valid, r, 1 - r)
    other = batch_of(*noise, valid, torch.where(valid, batch.items, 1))
    results = []
    for b in (batch, other):
        path = path_of(model, b, none)
        results.append(losses.path_terms(weights, model, path, b))
    for name, value in results[0].items():
        torch.testing.assert_close(value, results[1][name], msg=name)


def test_forecasts_teach_mastery_and_not_form():
    model = make(items=True)
    q, r, valid = random_batch(B=4, T=9)
    batch, none = batch_of(q, r, valid, items_for(q)), torch.zeros_like(valid)
    terms = losses.path_terms(LossConfig(forecast=1), model, path_of(model, batch, none), batch)
    model.zero_grad()
    terms["forecast"].backward()
    assert model.heads.correction.weight.grad.abs().sum() > 0
    assert model.difficulty.raw.grad.abs().sum() > 0
    assert model.heads.form.weight.grad is None
    assert all(p.grad is None for p in model.heads.skeleton.parameters())


def test_hiding_hides_the_share_asked_for_and_no_padding():
    torch.manual_seed(0)
    valid = torch.arange(100) < torch.randint(20, 100, (400, 1))
    hidden = hide(valid, 0.25, 0.5)
    assert not (hidden & ~valid).any()
    touched = hidden.any(1)
    assert touched.float().mean() == pytest.approx(0.5, abs=0.08)
    share = hidden[touched].sum() / valid[touched].sum()
    assert float(share) == pytest.approx(0.25, abs=0.03)
    assert not hide(valid, 0.0, 0.5).any()


def test_without_items_there_is_no_term_for_their_difficulty():
    q, r, valid = random_batch(B=2, T=5)
    model, batch = make(), batch_of(q, r, valid)
    path = path_of(model, batch, torch.zeros_like(valid))
    assert not losses.path_terms(LossConfig(difficulty=1.0), model, path, batch)


@given(
    seed=st.integers(0, 10_000),
    mode=st.sampled_from(["retrospective", "retentive"]),
    power=st.integers(-3, 6),
    dtype=st.sampled_from([torch.float32, torch.float64, torch.bfloat16]),
)
def test_a_right_answer_never_lowers_mastery_of_its_skill(seed, mode, power, dtype):
    model = make(seed, mode=mode)
    with torch.no_grad():
        for weight in model.parameters():
            weight.normal_().mul_(2.0**power)
        model.to(dtype)
        q, r, _ = random_batch(B=3, T=12, C=3, seed=seed, pad=False)
        states = model.forward_with_states(q, r)
        flips = model.flips(states)
        assert (flips >= 0).all()
        other = model.flips(model.forward_with_states(q, 1 - r))
        if power <= 0:  # far from overflow
            torch.testing.assert_close(other[:, 0], flips[:, 0])  # whatever was answered


def test_an_answer_moves_the_network_only_with_the_next_step():
    model = make()
    q, r, _ = random_batch(B=2, T=9, pad=False)
    states = model.forward_with_states(q, r)
    own = at_skill(states.belief, q)
    model.heads.evidence.weight.data.add_(1.0)  # what step u leaves on its skill
    later = at_skill(model.forward_with_states(q, r).belief, q)
    for b in range(2):
        for t in range(9):
            seen = (q[b, :t] == q[b, t]).any()
            assert seen or torch.equal(own[b, t], later[b, t])
    assert not torch.equal(own, later)
