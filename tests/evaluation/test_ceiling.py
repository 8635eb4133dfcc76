"""The ceiling: quadrature against brute force, calibration against the truth, causality."""

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit, log_expit, logit

from kt_core.base.errors import KTError
from kt_core.data.simulate import ITEMS_PER_SKILL, Simulation, simulate, true_parameters
from kt_core.evaluation.ceiling import GRID, posterior_mastery

SPECS = (
    Simulation(learners=300),
    Simulation(learners=300, growth=0.0, seed=1),
    Simulation(learners=300, growth=2.0, forgetting=0.06, seed=2),
)
TRUE = {
    "filter_pre": "true_before",
    "filter_post": "true_mastery",
    "smooth_pre": "true_before",
    "smooth": "true_mastery",
    "predicted": "correct",
}


def brute_force(history, truth, draws, rng):
    """The same posterior means with their standard errors, by weighting draws from the prior.

    Returns
    -------
    Column -> [2, T], mean and standard error; `growth` -> [2, C], of the skills practised.
    """
    C = len(truth.gain)
    ability = rng.normal(0, truth.ability_sd, (draws, 1))
    start = ability + truth.easiness + rng.normal(0, truth.start_sd, (draws, C))
    speed = rng.lognormal(truth.speed_log_mean, truth.speed_log_sd, draws)
    theta, loglik = start.copy(), np.zeros(draws)
    found = {column: [] for column in TRUE}
    first, last, passed = {}, {}, []
    for skill, item, correct in history[["skill", "item", "correct"]].itertuples(index=False):
        k, i = int(skill.removeprefix("skill ")), int(item) % ITEMS_PER_SKILL
        before, chance = theta[:, k].copy(), theta[:, k] - truth.difficulty[k, i]
        found["filter_pre"].append(weighted(expit(before), loglik))
        found["predicted"].append(weighted(expit(chance), loglik))
        loglik = loglik + log_expit(chance if correct else -chance)
        theta -= truth.forgetting * (theta - start)
        theta[:, k] = before + truth.gain[k] * speed
        found["filter_post"].append(weighted(expit(theta[:, k]), loglik))
        passed.append((expit(before), expit(theta[:, k])))
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


@pytest.mark.parametrize("forgetting", [0.0, 0.1])
def test_quadrature_equals_weighted_draws(forgetting, rng):
    spec = Simulation(learners=4, skills=2, mean_steps=12, growth=2.0, forgetting=forgetting)
    table = simulate(spec).table
    table = table.join(posterior_mastery(table, spec))
    for _, history in table.groupby("user"):
        expected = brute_force(history, true_parameters(spec), 100_000, rng)
        smooth = history.groupby("skill")["smooth"]
        growth = (smooth.last() - smooth.first()).sort_index().to_numpy()
        for column, (mean, error) in expected.items():
            ours = growth if column == "growth" else history[column].to_numpy()
            assert error.max() < 0.01
            assert (np.abs(ours - mean) < 5 * error + 5e-4).all(), column


@pytest.mark.parametrize("spec", SPECS)
def test_calibrated_overall_and_within_bins(spec):
    """Where the posterior says p, the truth is p on average: errors are sums over learners."""
    table = simulate(spec).table
    table = table.join(posterior_mastery(table, spec))
    for column, truth in TRUE.items():
        bins = pd.qcut(table[column], 8, labels=False)
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
    assert abs(np.log(speed.first()).mean() - truth.speed_log_mean) < 0.1
    start = logit(table["true_before"]) - truth.easiness[skill]
    start = start[~table.duplicated(["user", "skill"])]
    assert abs(start.std() - np.hypot(truth.ability_sd, truth.start_sd)) < 0.05
    assert abs(start.groupby(skill).mean()).max() < 0.25
    np.testing.assert_allclose(truth.difficulty.mean(axis=1), 0, atol=1e-12)
