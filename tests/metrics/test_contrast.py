"""Contrasts of shares: values by hand, intervals against a plain resampling of learners."""

import numpy as np
import pytest

from kt_core.metrics.bootstrap import Bootstrap, levels
from kt_core.metrics.contrast import contrast


def test_values_by_hand():
    values = np.array([1.0, 0.0, 1.0, 1.0, 0.0, 0.0])
    learner = np.array([0, 0, 1, 1, 2, 2])
    first, second = learner < 2, learner == 2
    bootstrap = Bootstrap(3, 50)
    assert contrast(bootstrap, values, learner, [(1, first)]).value == 0.75
    found = contrast(bootstrap, values, learner, [(1, first), (-1, second)])
    assert found.value == 0.75 and (found.entries, found.learners) == (6, 3)
    odd = np.arange(6) % 2 == 1
    net = [(1, first & odd), (-1, first & ~odd), (-1, second & odd), (1, second & ~odd)]
    assert contrast(bootstrap, values, learner, net).value == pytest.approx(0.5 - 1.0 - 0 + 0)
    none = contrast(bootstrap, values, learner, [(1, first), (-1, np.zeros(6, bool))])
    assert np.isnan(none.value) and np.isnan(none.low)


def test_the_interval_holds_whole_learners_and_is_not_narrower_than_percentiles(rng):
    n, each = 60, 5
    learner = np.repeat(np.arange(n), each)
    treated = np.repeat(rng.random(n) < 0.5, each)
    level = np.repeat(rng.normal(0, 0.25, n), each)  # rows of a learner are alike
    values = (rng.random(n * each) < 0.5 + level + 0.2 * treated).astype(float)
    bootstrap = Bootstrap(n, 400, seed=1)
    found = contrast(bootstrap, values, learner, [(1, treated), (-1, ~treated)])
    draws = []
    for weight in bootstrap.weights:
        rows = np.repeat(np.arange(n * each), weight[learner].astype(int))
        here = treated[rows]
        draws.append(values[rows][here].mean() - values[rows][~here].mean())
    assert np.allclose(found.draws, draws)
    low, high = np.quantile(draws[1:], levels(n))
    assert found.low <= low and found.high >= high and found.high - found.low < 1.5 * (high - low)
    by_row = np.sqrt(sum(values[m].var() / m.sum() for m in (treated, ~treated)))
    assert found.high - found.low > 2 * 1.96 * by_row  # rows as if independent would be narrower


def test_paired_differences_are_those_of_the_draws(rng):
    values, other = rng.random((2, 40))
    learner, mask = np.arange(40) // 2, np.arange(40) % 3 == 0
    bootstrap, terms = Bootstrap(20, 100), [(1, mask), (-1, ~mask)]
    one, two, apart = (
        contrast(bootstrap, v, learner, terms) for v in (values, other, values - other)
    )
    assert np.allclose(apart.draws, one.draws - two.draws, equal_nan=True)
