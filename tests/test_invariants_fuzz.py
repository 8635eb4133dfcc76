"""Guarantees at weights that no training gives; the long run is benchmarks/invariants.py."""

import dataclasses

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from invariants import DTYPES, MODES, WEIGHTS, Case, checked, drawn, extreme_model

from kt_core.mastery import cumulative_mastery, retrospective_mastery


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
    assert broken(Case(mode, "every exponent", torch.float32, steps, skills, seed=6)) == {}


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


def _seeded(seed):
    return torch.Generator().manual_seed(seed)
