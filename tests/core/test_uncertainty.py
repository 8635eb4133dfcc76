"""Intervals of growth against plain Monte-Carlo."""

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit

from kt_core.posterior import shrinkage
from kt_core.uncertainty import Uncertainty

SCALE, START, END, DEVIATION, OF_SPEED, LOG_SPEED = 1.3, -0.4, 0.9, 0.7, 0.3, 0.5


def rows(level, n=3, deviation=DEVIATION):
    """Rows of a trajectory at a level; it is shrunk by the uncertainty at the end."""
    return pd.DataFrame(
        {
            "mastery_last": np.full(n, expit(shrinkage(DEVIATION**2) * level)),
            "deviation_last": deviation,
            "of_speed_last": OF_SPEED,
            "log_speed_last": LOG_SPEED,
        }
    )


@pytest.mark.parametrize("doubt", [0.0, 0.4])
def test_growth_is_as_uncertain_as_start_speed_and_doubt(doubt):
    low, high = Uncertainty(SCALE, doubt).growth(rows(START), rows(END))
    speed, other, wrong, wrong_start = np.random.default_rng(0).normal(size=(4, 400_000))
    start = START + SCALE * OF_SPEED * speed + doubt * wrong_start
    start = start + SCALE * np.sqrt(DEVIATION**2 - OF_SPEED**2) * other
    risen = np.exp(SCALE * LOG_SPEED * speed) * (END - START) + doubt * wrong
    grown = expit(start + np.maximum(risen, 0)) - expit(start)
    want = np.quantile(grown, [0.025, 0.975])
    assert np.ptp(low) == np.ptp(high) == 0
    assert (low[0], high[0]) == pytest.approx(tuple(want), abs=0.01)
    assert 0 < low[0] < 0.1 < 0.5 < high[0]


def test_what_is_told_is_in_the_interval_and_no_growth_is_certain_without_practice():
    sure = Uncertainty(0.5)
    low, high = Uncertainty(0.5, 0.3).growth(rows(START), rows(START))
    assert (low == 0).all() and (high == 0).all()
    told = rows(END)["mastery_last"] - rows(START)["mastery_last"]
    for scale in (0.5, 1.0, 4.0):
        low, high = Uncertainty(scale).growth(rows(START), rows(END))
        assert (low <= told).all() and (told <= high).all()
    wide = high - low
    low, high = sure.growth(rows(START), rows(END))
    assert (high - low < wide).all()


def test_many_pairs_are_as_few_and_forgetting_is_a_loss():
    unsure = Uncertainty(1.0)
    few, many = (unsure.growth(rows(START, n), rows(END, n)) for n in (1, 4500))
    assert np.array_equal(many[0], np.full(4500, few[0])) and len(many[1]) == 4500
    low, high = unsure.growth(rows(END), rows(START))
    assert (high < 0).all() and (low < high).all()
