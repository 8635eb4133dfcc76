"""Guarantees at weights that no training gives; the long run is benchmarks/invariants.py."""

import dataclasses

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from invariants import DTYPES, MODES, WEIGHTS, Case, checked, drawn, extreme_model

from kt_core.mastery import retrospective_mastery
from kt_core.side_heads import cumulative_mastery
from kt_core.states import Encoded, credible


def broken(case):
    return {name: count for name, count in checked(case).items() if count[0]}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("weights", WEIGHTS)
def test_no_weights_break_a_guarantee(mode, weights):
    for seed, dtype in enumerate(DTYPES):
        assert broken(Case(mode, weights, dtype, steps=40, skills=7, seed=seed)) == {}


@given(seed=st.integers(0, 10**9))
@settings(max_examples=30)
def test_no_size_breaks_a_guarantee(seed):
    assert broken(drawn(seed, steps=120, skills=60)) == {}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(("steps", "skills"), [(1, 1), (2000, 20), (1, 2000)])
def test_the_ends_of_the_range(mode, steps, skills):
    assert broken(Case(mode, "large", torch.float32, steps, skills, seed=6)) == {}


def test_what_is_not_guaranteed_is_counted_as_broken():
    case = Case("projection", "ordinary", torch.float32, steps=40, skills=7, seed=0)
    names = set(broken(case))
    assert {f"{n}, trajectory" for n in ("monotonicity", "negative_gains", "bounds")} <= names
    lost = dataclasses.replace(case, weights="largest")  # no number is not in the bounds
    bad, places = checked(lost)["bounds, trajectory"]
    assert bad == places > 0


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("weights", WEIGHTS)
def test_extreme_weights_are_numbers_of_their_kind(weights, dtype):
    case = Case("retrospective", weights, dtype, steps=1, skills=5, seed=3)
    values = torch.cat([w.flatten() for w in extreme_model(case, _seeded(1)).parameters()]).abs()
    info = torch.finfo(dtype)
    assert values.dtype == dtype and values.isfinite().all()
    sizes = {"largest": (info.max, info.max), "denormal": (0, info.tiny), "zero": (0, 0)}
    low, high = sizes.get(weights, (0, info.max))
    assert low <= values.min() and values.max() <= high
    assert weights == "zero" or values.max() > 0


LOGITS = st.floats(width=32, allow_nan=False, allow_infinity=False)
SIZES = st.floats(0, width=32, allow_infinity=False)


@given(start=LOGITS, gains=st.lists(SIZES, min_size=1, max_size=30), kind=st.sampled_from(DTYPES))
def test_mastery_of_any_finite_start_and_gains(start, gains, kind):
    """Both formulas, fed with numbers that hypothesis picks: subnormal, huge, equal."""
    big = torch.finfo(kind).max
    column = torch.tensor(gains, dtype=torch.float64).clamp(max=big).to(kind).view(1, -1, 1)
    belief = torch.tensor([[start]], dtype=torch.float64).clamp(-big, big).to(kind)
    for mastery, first in (
        (retrospective_mastery(belief, column), None),
        (cumulative_mastery(belief.sigmoid(), column), belief.sigmoid()),
        (cumulative_mastery(belief.sigmoid(), column, carried=True), None),
    ):
        assert mastery.dtype == kind and mastery.shape == column.shape
        assert ((mastery >= 0) & (mastery <= 1)).all()
        assert (mastery[:, 1:] >= mastery[:, :-1]).all()
        assert first is None or torch.equal(mastery[:, 0], first)


@pytest.mark.parametrize("kind", DTYPES)
def test_half_precision_is_computed_in_single_and_double_stays_double(kind):
    belief, gains = torch.randn(3, 2, generator=_seeded(0)), torch.rand(3, 40, 2)
    belief, gains = belief.to(kind), gains.to(kind)
    wide = torch.promote_types(kind, torch.float32)
    gains_before = gains.to(wide).cumsum(1)
    want = (belief.to(wide).unsqueeze(1) + gains_before).sigmoid().to(kind)
    torch.testing.assert_close(retrospective_mastery(belief, gains), want, rtol=1e-12, atol=1e-12)
    start = belief.sigmoid()
    want = (start.to(wide).unsqueeze(1) + 0.1 * gains_before).clamp(max=1).to(kind)
    got = cumulative_mastery(start, gains, carried=True)
    torch.testing.assert_close(got, want, rtol=1e-12, atol=1e-12)


def test_a_sum_that_steps_down_by_a_rounding_unit_does_not_lower_mastery(monkeypatch):
    """As parallel sums on a GPU may; some units more here, so that a sigmoid shows them."""
    exact = torch.Tensor.cumsum

    def parallel(x, dim):
        total = exact(x, dim)
        total[:, 1::2] *= 1 - 8 * torch.finfo(x.dtype).eps
        return total

    monkeypatch.setattr(torch.Tensor, "cumsum", parallel)
    start, gains = torch.full((1, 1), 0.2), torch.zeros(1, 30, 1)
    gains[:, ::4] = 0.7
    for mastery in (cumulative_mastery(start, gains, True), retrospective_mastery(start, gains)):
        assert (mastery[:, 1:] >= mastery[:, :-1]).all() and mastery[0, -1] > mastery[0, 0]
        assert not (mastery[:, 1:] > mastery[:, :-1]).all()  # and nothing is put in order


def test_what_is_no_number_says_nothing():
    """States that overflowed count as no gain and no mastery, and infinite ones as the largest."""
    big = torch.finfo(torch.float32).max
    got = credible(torch.tensor([torch.nan, torch.inf, -torch.inf, 0.5]))
    assert got.tolist() == [0.0, big, -big, 0.5]
    case = Case("cumulative", "ordinary", torch.float32, steps=1, skills=5, seed=0)
    heads, lost = extreme_model(case, _seeded(0)).heads, torch.full((1, 3, 8), torch.nan)
    skills = torch.zeros(1, 3, dtype=torch.long)
    states = heads.states(Encoded(skills, skills, lost, lost), torch.tensor([2]))
    assert (states.filtered == 0).all() and (states.gains == 0).all()


def _seeded(seed):
    return torch.Generator().manual_seed(seed)
