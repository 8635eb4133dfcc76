"""Mode `retentive`: how gains fade, against slow references, and what holds for any weights."""

import dataclasses
import itertools

import pytest
import torch
from conftest import random_batch, stir
from hypothesis import given
from hypothesis import strategies as st

from kt_core.base.errors import KTError
from kt_core.config import ModelConfig
from kt_core.mastery import PathTerms, retrospective_mastery
from kt_core.metrics.invariants import violations
from kt_core.model import GainAKT2
from kt_core.retention import Retention, fading, other_steps, retentive_mastery
from kt_core.states import at_skill

C, ITEM_SKILL = 4, (0, 1, 2, 3)
STATES = ("logits", "asked", "filtered", "trajectory", "gains", "own_gains", "belief", "deviation")


def make(timed=True, seed=0, **kwargs):
    torch.manual_seed(seed)
    config = ModelConfig(mode="retentive", d_model=16, heads=2, blocks=1, d_ff=16)
    model = GainAKT2(dataclasses.replace(config, **kwargs), C, ITEM_SKILL).double()
    model.heads.skeleton.retention.begin(timed)
    return stir(model)


def answers(B=3, T=12, seed=0):
    q, r, _ = random_batch(B, T, C, seed, pad=False)
    g = torch.Generator().manual_seed(seed)
    days = (3 * torch.rand(B, T, generator=g, dtype=torch.float64)).cumsum(1)
    return q, r, q + 1, days


def slow_elapsed(retention, q, days, u, s):
    """From step u to step s of one learner."""
    if retention.timed:
        return days[s] - days[u]
    return sum(float(q[v] != q[u]) for v in range(u + 1, s + 1))


@pytest.mark.parametrize("timed", [True, False])
def test_what_is_left_is_the_power_law(timed):
    torch.manual_seed(1)
    retention = stir(Retention(C).double())
    retention.begin(timed)
    q, _, _, days = answers()
    kept = retention.kept(q, days)
    d, clock = retention.log_decay.exp(), retention.log_clock.exp()
    for b in range(3):
        for s in range(12):
            for u in range(12):
                x = slow_elapsed(retention, q[b], days[b], u, s) if u < s else 0.0
                want = (1 + torch.as_tensor(x) / clock) ** -d[q[b, u]]
                torch.testing.assert_close(kept[b, s, u], want.double())


def test_steps_in_between_are_those_on_other_skills():
    q = torch.tensor([[0, 1, 0, 2, 2, 0]])
    assert other_steps(q)[0, 5].tolist() == [3, 4, 2, 1, 1, 0]
    assert other_steps(q)[0, 4].tolist() == [3, 3, 2, 0, 0, 0]


@pytest.mark.parametrize("timed", [True, False])
@pytest.mark.parametrize("transfer", [True, False])
def test_predictions_and_trajectory_are_the_equations(timed, transfer):
    """One learner, step and earlier step at a time, on top of the skeleton's beliefs."""
    model = make(timed, transfer=transfer)
    q, r, i, days = answers()
    states = model.forward_with_states(q, r, i, days=days)
    e, path = states.encoded, PathTerms(model.heads, states.encoded)
    retention, level, unit = (
        model.heads.skeleton.retention,
        e.reading.every_skill()[0],
        e.reading.all_gains,
    )
    d, clock = retention.log_decay.exp(), retention.log_clock.exp()

    def grown(b, h, k, s, last):
        """What is left at step s of the gains of steps 0..last on skill k, as believed at h."""
        total = 0.0
        for u in range(last + 1):
            x = slow_elapsed(retention, q[b], days[b], u, s)
            total = total + unit[b, u, k] * (1 + x / clock) ** -d[q[b, u]]
        return level.factor[b, h, k] * total

    for b in range(3):
        for t in range(1, 12):
            k = q[b, t]
            known = states.belief[b, t - 1, k] + grown(b, t - 1, k, t, t - 1)
            torch.testing.assert_close(states.asked[b, t - 1], known.sigmoid())
            logit = known + path.form()[b, t - 1]
            logit = logit - level.shrink[b, t - 1, k] * e.difficulty[b, t]
            torch.testing.assert_close(states.logits[b, t - 1], logit)
            for j in range(C):
                after = (states.belief[b, -1, j] + grown(b, -1, j, t, t)).sigmoid()
                before = (states.belief[b, -1, j] + grown(b, -1, j, t, t - 1)).sigmoid()
                torch.testing.assert_close(states.trajectory[b, t, j], after)
                torch.testing.assert_close(states.rested[b, t, j], before)
    torch.testing.assert_close(model(q, r, i, days), states.logits)
    ends = states.filtered[:, -1], states.trajectory[:, -1]
    torch.testing.assert_close(*ends, rtol=1e-4, atol=1e-5)  # a round of the skeleton apart
    forecasts = path.forecasts().diagonal(1, 1, 2)
    torch.testing.assert_close(forecasts, path.next_step() - path.form())
    at_end = (
        path.at(torch.full((3,), 11)) + e.reading.at(torch.full((3,), 11)).shrink * e.difficulty
    )
    torch.testing.assert_close(at_end.sigmoid(), at_skill(states.rested, q))


@pytest.mark.parametrize("timed", [True, False])
def test_forecasts_count_what_will_be_left(timed):
    """Later answers being hidden, a forecast is what is believed once they have come."""
    model = make(timed)
    q, r, i, days = answers(B=1)
    reading = model.encode(q, r, i, days).reading
    _, practice = reading.pairs()
    for step in range(12):
        unseen = torch.where(torch.arange(12) > step, 2, r)
        want = model.encode(q, unseen, i, days).reading.practice
        torch.testing.assert_close(practice[0, step, step + 1 :], want[0, step + 1 :])


@pytest.mark.parametrize("timed", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_without_decay_it_is_retrospective_bit_for_bit(timed, dtype):
    model = make(timed).to(dtype)
    q, r, i, days = answers(T=40)
    with torch.no_grad():
        model.heads.skeleton.retention.log_decay.fill_(-1e4)
        other = GainAKT2(dataclasses.replace(model.config, mode="retrospective"), C, ITEM_SKILL)
        weights = {k: v for k, v in model.state_dict().items() if "retention" not in k}
        other.to(dtype).eval().load_state_dict(weights)
        a = model.forward_with_states(q, r, i, days=days)
        b = other.forward_with_states(q, r, i)
        for name in STATES:
            assert torch.equal(getattr(a, name), getattr(b, name)), name
        assert torch.equal(a.rested[:, 1:], a.trajectory[:, :-1])
        assert torch.equal(model.flips(a), other.flips(b))
        paths = [PathTerms(m.heads, s.encoded) for m, s in ((model, a), (other, b))]
        for read in ("next_step", "forecasts"):
            assert torch.equal(*(getattr(p, read)() for p in paths)), read
        assert torch.equal(*(p.at(torch.tensor([3, 20, 39])) for p in paths))


def test_faster_decay_leaves_less_and_never_less_than_the_start():
    q, r, i, days = answers(T=30)
    model, levels = make(), []
    for log_decay in (-1e4, -2.0, 0.0, 20.0):
        with torch.no_grad():
            model.heads.skeleton.retention.log_decay.fill_(log_decay)
        states = model.forward_with_states(q, r, i, days=days)
        reading = states.encoded.reading
        levels.append(reading.every_skill()[1])
    for more, less in itertools.pairwise(levels):
        assert (less <= more + 1e-12).all() and less.sum() < more.sum()
    assert (levels[-1] >= 0).all()
    start = states.belief[:, -1:].sigmoid()
    assert (states.trajectory >= start).all() and (states.rested >= start).all()


NUMBERS = st.floats(0, width=32, allow_infinity=False)


@given(
    start=st.floats(width=32, allow_nan=False, allow_infinity=False),
    steps=st.lists(st.tuples(NUMBERS, NUMBERS), min_size=1, max_size=25),
    dtype=st.sampled_from([torch.float32, torch.float64, torch.bfloat16, torch.float16]),
)
def test_orders_hold_for_any_finite_numbers(start, steps, dtype):
    big = torch.finfo(dtype).max
    gains, lost = torch.tensor(steps, dtype=torch.float64).clamp(max=big).to(dtype).T
    gains, lost = gains.view(1, -1, 1), lost.cummax(0).values.view(1, -1, 1)
    lost = lost - lost[:, :1]
    belief = torch.tensor([[start]], dtype=torch.float64).clamp(-big, big).to(dtype)
    after, before = retentive_mastery(belief, gains, lost)
    assert after.dtype == before.dtype == dtype
    q = torch.zeros(1, len(steps), dtype=torch.long)
    counts = violations(after, gains, q, q, q == 0, rested=before)
    for name in ("monotonicity", "bounds", "rise_in_break", "below_start"):
        assert counts[name].sum() == 0, name
    nothing = retentive_mastery(belief, gains, torch.zeros_like(lost))[0]
    assert torch.equal(nothing, retrospective_mastery(belief, gains))


def test_nothing_is_lost_twice_or_before_it_is_gained():
    q, _, _, days = answers(T=20)
    retention = stir(Retention(C).double())
    retention.begin(True)
    unit = torch.rand(3, 20, C, dtype=torch.float64)
    lost = fading(unit, retention.kept(q, days))
    assert (lost[:, 0] == 0).all() and (lost.diff(dim=1) >= 0).all()
    assert (lost[:, 1:] <= unit.cumsum(1)[:, :-1]).all() and (lost[:, -1] > 0).all()


def test_a_broken_order_is_counted_where_it_is_broken():
    q = torch.zeros(1, 4, dtype=torch.long)
    before = torch.tensor([0.2, 0.4, 0.3, 0.1]).view(1, 4, 1)
    after = torch.tensor([0.3, 0.35, 0.5, 0.6]).view(1, 4, 1)
    valid = torch.tensor([[True, True, True, False]])
    counts = violations(after, after, q, q + 1, valid, rested=before)
    found = {name: int(value) for name, value in counts.items()}
    assert (found["monotonicity"], found["monotonicity_n"]) == (1, 3)  # 0.4 to 0.35
    assert (found["fall_after_correct"], found["fall_after_correct_n"]) == (1, 3)
    assert (found["rise_in_break"], found["rise_in_break_n"]) == (1, 2)  # 0.3 to 0.4
    assert (found["below_start"], found["below_start_n"]) == (0, 3)
    assert violations(after, after, q, q, valid | True, rested=before)["below_start"] == 1


def test_times_that_are_needed_are_asked_for():
    q, r, i, days = answers()
    with pytest.raises(KTError, match="trained with the times of the answers"):
        make(timed=True)(q, r, i)
    model = make(timed=False)
    assert torch.equal(model(q, r, i), model(q, r, i, days)) and not model.timed
