"""The ceiling: quadrature against brute force, calibration against the truth, causality."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit, logit

from kt_core.base.errors import KTError
from kt_core.data.simulate import (
    ITEMS_PER_SKILL,
    SPEED_LOG_MEAN,
    SPEED_LOG_SD,
    Hidden,
    Simulation,
    simulate,
    true_parameters,
)
from kt_core.data.worlds import WORLDS
from kt_core.evaluation.ceiling import GRID, posterior_mastery

SPECS = {
    "house": Simulation(learners=300),
    "no growth": Simulation(learners=300, growth=0.0, seed=1),
    "forgetting": Simulation(learners=300, growth=2.0, forgetting=0.06, seed=2),
    **{
        name: dataclasses.replace(spec, learners=300)
        for name, spec in WORLDS.items()
        if name.startswith("world-")
    },
}
SMALL = {"learners": 4, "skills": 3, "mean_steps": 12, "growth": 2.0, "steps": (5, 20)}
FEW_STEPS = {
    "house": Simulation(**SMALL),
    "forgetting": Simulation(**SMALL, forgetting=0.1),
    "log": Simulation(**SMALL, learns="log", order="random", loading=(0.5, 1.5)),
    "errors": Simulation(**SMALL, learns="errors", start_sd=(0.3, 0.6), order="blocks"),
    "transfer": Simulation(**SMALL, transfer=(0.6, 0.3)),
    "decay": Simulation(**SMALL, breaks=(1.0, 21.0), decay=0.35),
    "guessing": Simulation(**SMALL, guess=0.25, slip=0.1),
    "choice": Simulation(**SMALL, order="chosen", dropout=0.3),
    "hidden": Simulation(**(SMALL | {"growth": 1.0}), hidden=Hidden()),
}
TRUE = {
    "filter_pre": "true_before",
    "filter_post": "true_mastery",
    "smooth_pre": "true_before",
    "smooth": "true_mastery",
    "predicted": "correct",
}


def brute_force(history, spec, draws, rng):
    """The same posterior means with their standard errors, by weighting draws from the prior.

    Returns
    -------
    Column -> [2, T], mean and standard error; `growth` -> [2, C], of the skills practised.
    """
    truth, C = true_parameters(spec), spec.skills
    if spec.hidden:
        known = rng.random((draws, C)) < truth.prior
    else:
        ability = rng.normal(0, 1, (draws, 1))
        start = ability * truth.loading + truth.easiness
        start = start + rng.normal(0, 1, (draws, C)) * truth.start_sd
        speed = rng.lognormal(SPEED_LOG_MEAN, SPEED_LOG_SD, draws)
    gained, times, loglik = np.zeros((draws, C)), np.zeros(C, int), np.zeros(draws)

    def mastery(k, difficulty=0.0):
        g, s = truth.guess[k], truth.slip[k]
        if spec.hidden:
            return np.where(known[:, k], 1 - s, g)
        return g + (1 - g - s) * expit(start[:, k] + gained[:, k] - difficulty)

    found = {column: [] for column in TRUE}
    first, last, passed, before_time = {}, {}, [], history["timestamp"].iloc[0]
    items = history["item"] if "item" in history else ["0"] * len(history)
    columns = history["skill"], items, history["correct"], history["timestamp"]
    for skill, item, correct, time in zip(*columns, strict=True):
        k, i = int(skill.removeprefix("skill ")), int(item) % ITEMS_PER_SKILL
        if spec.breaks:
            gained *= (1 + (time - before_time) / 86400) ** -spec.decay
            before_time = time
        before, chance = mastery(k), mastery(k, truth.difficulty[k, i])
        found["filter_pre"].append(weighted(before, loglik))
        found["predicted"].append(weighted(chance, loglik))
        with np.errstate(divide="ignore"):  # a draw may be impossible
            loglik = loglik + np.log(chance if correct else 1 - chance)
        if spec.hidden:
            known[:, k] |= rng.random(draws) < truth.learn[k]
        else:
            gain = truth.gain[k] * speed
            if spec.learns == "log":
                gain = gain * 2.8 * (np.log(2 + times[k]) - np.log(1 + times[k]))
            if spec.learns == "errors":
                gain = gain * (0 if correct else 2.5)
            own = gained[:, k] + gain
            gained *= 1 - spec.forgetting
            gained[:, k] = own
            for j, share in zip(range(k + 1, C), spec.transfer, strict=False):
                gained[:, j] += share * gain
        times[k] += 1
        found["filter_post"].append(weighted(mastery(k), loglik))
        passed.append((before, mastery(k)))
        first.setdefault(k, passed[-1][1])
        last[k] = passed[-1][1]
    found["smooth_pre"] = [weighted(before, loglik) for before, _ in passed]
    found["smooth"] = [weighted(after, loglik) for _, after in passed]
    found["growth"] = [weighted(last[k] - first[k], loglik) for k in sorted(first)]
    return {column: np.transpose(values) for column, values in found.items()}


def weighted(value, loglik):
    weight = np.exp(loglik - loglik.max())
    weight /= weight.sum()
    mean = weight @ value
    return mean, np.sqrt(weight**2 @ (value - mean) ** 2)


@pytest.mark.parametrize("world", FEW_STEPS)
def test_the_ceiling_equals_weighted_draws(world, rng):
    spec = FEW_STEPS[world]
    table = simulate(spec).table
    table = table.join(posterior_mastery(table, spec))
    for _, history in table.groupby("user"):
        expected = brute_force(history, spec, 100_000, rng)
        smooth = history.groupby("skill")["smooth"]
        growth = (smooth.last() - smooth.first()).sort_index().to_numpy()
        for column, (mean, error) in expected.items():
            ours = growth if column == "growth" else history[column].to_numpy()
            assert error.max() < 0.01
            assert (np.abs(ours - mean) < 5 * error + 5e-4).all(), column


@pytest.mark.parametrize("world", SPECS)
def test_calibrated_overall_and_within_bins(world):
    """Where the posterior says p, the truth is p on average: errors are sums over learners."""
    spec = SPECS[world]
    table = simulate(spec).table
    table = table.join(posterior_mastery(table, spec))
    for column, truth in TRUE.items():
        bins = pd.qcut(table[column], 8, labels=False, duplicates="drop")
        for where in (bins, bins * 0):
            error = (table[truth] - table[column]).groupby([where, table["user"]]).sum()
            z = error.groupby(level=0).sum() / np.sqrt((error**2).groupby(level=0).sum())
            assert z.abs().max() < 4.5, (column, z)


def test_twice_the_nodes_change_little():
    spec = Simulation(learners=40, growth=2.0, forgetting=0.06)
    table = simulate(spec).table
    fine = posterior_mastery(table, spec, tuple(2 * n for n in GRID))
    assert (posterior_mastery(table, spec) - fine).abs().to_numpy().max() < 5e-4


def test_filter_sees_no_later_answer():
    spec = Simulation(learners=20, forgetting=0.02)
    table = simulate(spec).table
    step = table["timestamp"]
    changed = table.assign(correct=np.where(step >= 8, 1 - table["correct"], table["correct"]))
    a, b = posterior_mastery(table, spec), posterior_mastery(changed, spec)
    pd.testing.assert_frame_equal(a[step < 8].filter(like="filter"), b[step < 8].filter(like="fi"))
    before = ["filter_pre", "predicted"]
    np.testing.assert_array_equal(a.loc[step <= 8, before], b.loc[step <= 8, before])
    assert (a["filter_post"] != b["filter_post"])[step == 8].all()
    assert (a["smooth"] != b["smooth"])[step < 8].mean() > 0.9


def test_some_learners_in_any_order_keep_their_index():
    spec = Simulation(learners=90)
    table = simulate(spec).table
    whole = posterior_mastery(table, spec)
    some = table[table["user"].isin(["L00003", "L00070", "L00089"])]
    some = some.sort_values(["timestamp", "user"], ascending=[True, False])
    pd.testing.assert_frame_equal(posterior_mastery(some, spec), whole.loc[some.index], rtol=1e-9)
    assert posterior_mastery(table[:0], spec).shape == (0, 5)


def test_another_simulation_or_part_of_a_history_is_refused():
    spec = Simulation(learners=30)
    table = simulate(spec).table
    with pytest.raises(KTError, match="whole histories"):
        posterior_mastery(table, Simulation(learners=30, seed=1))
    with pytest.raises(KTError, match="whole histories"):
        posterior_mastery(table[table["timestamp"] != 3], spec)


def test_true_parameters_are_those_of_the_table():
    spec = Simulation(learners=800, growth=0.5)
    truth, table = true_parameters(spec), simulate(spec).table
    skill = table["skill"].str[-2:].astype(int)
    speed = (table["true_gain"] / truth.gain[skill]).groupby(table["user"])
    np.testing.assert_allclose(speed.min(), speed.max(), rtol=1e-12)
    assert abs(np.log(speed.first()).mean() - SPEED_LOG_MEAN) < 0.1
    start = logit(table["true_before"]) - truth.easiness[skill]
    start = start[~table.duplicated(["user", "skill"])]
    assert abs(start.std() - np.hypot(truth.loading[0], truth.start_sd[0])) < 0.05
    assert abs(start.groupby(skill).mean()).max() < 0.25
    np.testing.assert_allclose(truth.difficulty.mean(axis=1), 0, atol=1e-12)
