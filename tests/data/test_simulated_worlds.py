"""Worlds: each does what its name says, and one of one's own takes a few lines."""

import dataclasses

import numpy as np
import pandas as pd
import pytest

from kt_core.base.errors import KTError
from kt_core.config import DataConfig
from kt_core.data import load_dataset
from kt_core.data.practice import SESSION
from kt_core.data.simulate import (
    DAY,
    LEARNING,
    Hidden,
    Simulation,
    final_mastery,
    simulate,
    true_parameters,
)
from kt_core.data.worlds import WORLDS
from kt_core.evaluation.ceiling import posterior_mastery


def world(name, learners=300, **changed):
    return dataclasses.replace(WORLDS[name], learners=learners, **changed)


@pytest.mark.parametrize("name", WORLDS)
def test_every_world_is_a_data_set_whose_truth_is_probable(name):
    data = load_dataset(DataConfig(dataset=name, learners=60, draw=2))
    again = simulate(dataclasses.replace(WORLDS[name], learners=60, seed=2), name)
    pd.testing.assert_frame_equal(data.table, again.table)
    assert WORLDS[name].about
    table = simulate(world(name)).table
    for column in ("true_before", "true_mastery"):
        assert table[column].between(0, 1).all()
    assert abs(table["correct"].mean() - table["true_before"].mean()) < 0.02
    steps = table.groupby("user").size()
    assert steps.max() <= WORLDS[name].steps[1]
    if not WORLDS[name].dropout:
        assert steps.min() >= WORLDS[name].steps[0]


@pytest.mark.parametrize("name", WORLDS)
def test_the_truth_at_the_end_is_what_practice_and_time_left(name):
    spec = dataclasses.replace(WORLDS[name], learners=40)
    table = simulate(spec).table
    end = final_mastery(table, spec)
    last = table.groupby("user").tail(1)
    at_last = end.loc[pd.MultiIndex.from_frame(last[["user", "skill"]])]
    np.testing.assert_allclose(at_last, last["true_mastery"], atol=1e-9)
    own = table.groupby(["user", "skill"])["true_mastery"].last()
    moved = (end.sort_index() - own.sort_index()).to_numpy()
    if spec.decay or spec.forgetting:
        assert (moved < 1e-9).all() and moved.min() < -0.01
    elif spec.transfer:
        assert (moved > -1e-9).all() and moved.max() > 0.01
    else:
        np.testing.assert_allclose(moved, 0, atol=1e-9)


def test_draws_differ_in_parameters_and_answers():
    a, b = (load_dataset(DataConfig(learners=50, draw=d)).table for d in (0, 1))
    assert not a["correct"].head(500).equals(b["correct"].head(500))
    specs = (dataclasses.replace(WORLDS["simulated"], seed=d) for d in (0, 1))
    gains = [true_parameters(spec).gain for spec in specs]
    assert not np.allclose(*gains)


def test_what_is_learnt_when():
    one, errors = world("world-errors"), simulate(world("world-errors")).table
    assert (errors["true_gain"][errors["correct"] == 1] == 0).all()
    assert (errors["true_gain"][errors["correct"] == 0] > 0).all()
    logs = simulate(world("world-general")).table
    first, second = (logs[logs.groupby(["user", "skill"]).cumcount() == n] for n in (0, 1))
    both = first.merge(second, on=["user", "skill"])
    ratio = both["true_gain_y"] / both["true_gain_x"]
    np.testing.assert_allclose(ratio, np.log(3 / 2) / np.log(2))
    still = simulate(world("world-no-learning")).table
    assert (still["true_gain"] == 0).all() and (still["true_before"] == still["true_mastery"]).all()
    assert one.learns in LEARNING


def test_transfer_reaches_the_next_two_skills_and_no_others():
    table = simulate(world("world-transfer")).table
    table["number"] = table["skill"].str[-2:].astype(int)
    grew = {}
    for _, part in table.groupby("user"):
        for k, own in part.groupby("number"):
            rise = own["true_before"].shift(-1) - own["true_mastery"]
            for jump, a, b in zip(rise[:-1], own.index[:-1], own.index[1:], strict=True):
                near = part["number"].loc[a + 1 : b - 1].isin([k - 1, k - 2]).any()
                grew.setdefault(bool(near), []).append(jump)
    assert np.max(np.abs(grew[False])) < 1e-9 and np.mean(np.array(grew[True]) > 1e-6) > 0.99


def test_what_was_gained_fades_with_the_days_and_the_start_does_not():
    table = simulate(world("world-forgetting")).table
    pairs = table.groupby(["user", "skill"])
    days = pairs["timestamp"].diff() / DAY
    fell = table["true_before"] < pairs["true_mastery"].shift() - 1e-9
    assert fell[days > 0.9].all() and days.max() >= 21
    assert table["timestamp"].diff()[table["user"] == table["user"].shift()].min() > 0
    start = pairs["true_before"].transform("first")
    assert (table["true_before"] >= start - 1e-12).all()  # gained: never below the start
    sessions = (table.groupby("user")["timestamp"].diff() > DAY / 2).groupby(table["user"]).cumsum()
    lengths = table.groupby(["user", sessions]).size()
    assert lengths.max() < SESSION[1]
    kept = simulate(world("world-breaks")).table
    same = kept.groupby(["user", "skill"])["true_mastery"].shift().fillna(kept["true_before"])
    np.testing.assert_allclose(kept["true_before"], same)


def test_guesses_and_slips_bound_mastery():
    table = simulate(world("world-guessing", learners=1000)).table
    assert table["true_before"].min() > 0.25 and table["true_mastery"].max() < 0.9
    hidden = simulate(world("world-hidden")).table
    truth = true_parameters(world("world-hidden"))
    k = hidden["skill"].str[-2:].astype(int)
    either = np.column_stack([truth.guess[k], 1 - truth.slip[k]])
    assert np.isclose(hidden[["true_before"]].to_numpy(), either).any(axis=1).all()
    assert (hidden["true_mastery"] >= hidden["true_before"]).all() and "item" not in hidden


def test_learners_choose_what_went_well_and_leave_after_errors():
    table = simulate(world("world-choice", learners=1500)).table
    pairs = table.groupby(["user", "skill"])["correct"].agg(["mean", "size"])
    usual = pairs["mean"].groupby("user").transform("mean")
    blocks = table["skill"].ne(table["skill"].shift()) | table["user"].ne(table["user"].shift())
    visits = blocks.groupby([table["user"], table["skill"]]).sum()
    well = pairs["mean"] > usual
    assert visits[well].mean() > 1.15 * visits[~well].mean()
    last = table.groupby("user").tail(3).groupby("user")["correct"].sum()
    assert (last == 0).mean() > 0.25  # after three errors in a row
    fixed = simulate(world("world-errors", learners=1500)).table
    assert (fixed.groupby("user").tail(3).groupby("user")["correct"].sum() == 0).mean() < 0.2


def test_a_world_of_ones_own():
    """Learners who hardly learn and guess a lot, with its ceiling."""
    LEARNING["first time only"] = lambda gain, earlier, right: np.where(earlier == 0, 5 * gain, 0.0)
    try:
        spec = Simulation(learners=80, learns="first time only", guess=0.3, order="random")
        table = simulate(spec).table
        again = table.groupby(["user", "skill"]).cumcount() > 0
        assert (table["true_gain"][again] == 0).all()
        best = posterior_mastery(table, spec)
        assert best["smooth"].corr(table["true_mastery"]) > 0.8
    finally:
        del LEARNING["first time only"]


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"learns": "never"}, "learns 'never' does not exist; choose: each, log, errors"),
        ({"order": "by age"}, "order 'by age' does not exist; choose: massed"),
        ({"decay": 0.3}, "decay without breaks"),
        ({"guess": 0.6, "slip": 0.5}, "leave nothing to mastery"),
        ({"breaks": (1.0,), "decay": -0.1}, "decay -0.1"),
        ({"hidden": Hidden(), "learns": "log"}, "a hidden world has no learns"),
    ],
)
def test_worlds_that_cannot_be(wrong, words):
    with pytest.raises(KTError, match=words):
        Simulation(**wrong)
