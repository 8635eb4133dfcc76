"""Intervals cover the truth, and measures agree with reference implementations. The long run of the
intervals is benchmarks/intervals.py."""

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from intervals import KINDS, coverage, draw, measures
from scipy.stats import norm, pearsonr, spearmanr, t
from sklearn.metrics import (
    accuracy_score,
    brier_score_loss,
    log_loss,
    mean_squared_error,
    roc_auc_score,
)

from kt_core.evaluation.beliefs import Beliefs
from kt_core.evaluation.diagnostics import conduct_table, share_of_variance
from kt_core.evaluation.recovery import recovery_table
from kt_core.metrics.agreement import degree_of_agreement
from kt_core.metrics.association import Association, rank_correlation
from kt_core.metrics.bootstrap import Bootstrap, levels
from kt_core.metrics.nulls import base_rates
from kt_core.metrics.prediction import Prediction
from kt_core.monitor import pearson

# Intervals


def test_intervals_hold_the_truth_about_as_often_as_they_say():
    whole = measures(draw(5_000, seed=10**9), Bootstrap(5_000, 0))
    truth = {name: e.value for name, e in whole.items()}
    table = coverage(50, repeats=40, resamples=100, truth=truth)
    own = table[table["interval"] == KINDS[0]].set_index("measure")
    assert (own["defined"] == 1).all() and own["held"].min() >= 0.75
    assert 0.87 <= own["held"].mean() <= 0.99  # 16 measures, not independent
    narrow = table.groupby("interval")["held"].mean()
    assert narrow["t"] >= narrow["percentile"] - 0.02
    assert narrow[KINDS[0]] >= narrow["widened percentile"] >= narrow["percentile"]


def test_what_is_simulated_is_measured_as_in_the_report():
    s, bootstrap = draw(40, seed=1), Bootstrap(40, 5)
    got = measures(s, bootstrap)
    frame = pd.DataFrame(vars(s)).rename(columns={"mastery": "true_mastery"})
    frame = frame.assign(mastery_post=s.predicted, step=0, sequence=s.learner, revision=0.1)
    beliefs = Beliefs(frame, np.arange(40))
    recovery = recovery_table(beliefs, bootstrap)
    recovery = recovery[recovery["predictor"] == "model"].set_index(["sees", "quantity"])["draws"]
    error = got["root of a mean square"].draws
    np.testing.assert_allclose(error, recovery["post", "mastery, RMSE"])
    conduct = conduct_table(beliefs, bootstrap).set_index("quantity")["draws"]
    share = conduct["gains' share of the logit's variance"]
    np.testing.assert_allclose(got["share of a variance"].draws, share, rtol=1e-6)


def test_intervals_of_few_learners_are_wider_as_a_t_interval_is():
    for n in (2, 5, 20, 400):
        low, high = levels(n)
        assert norm.ppf(low) == pytest.approx(t.ppf(0.025, n - 1) * np.sqrt(n / (n - 1)))
        assert high == pytest.approx(1 - low)
    np.testing.assert_allclose(levels(10**6), [0.025, 0.975], atol=1e-6)
    np.testing.assert_allclose(levels(0), [0.025, 0.975])  # not known
    assert levels(20) == pytest.approx([0.016, 0.984], abs=5e-4)


def test_the_interval_is_the_middle_of_the_draws_and_never_of_few():
    bootstrap, values = Bootstrap(10, 100), np.arange(101.0)
    e = bootstrap.estimate(values, 7, 3)
    assert (e.value, e.entries, e.learners) == (0.0, 7, 3)
    np.testing.assert_allclose([e.low, e.high], np.quantile(values[1:], levels(3)))
    for undefined, known in ((5, True), (6, False)):
        some = values.copy()
        some[1 : undefined + 1] = np.nan
        assert np.isfinite(bootstrap.estimate(some, 7, 3).low) == known


def hull(bootstrap, measure, n):
    """Interval of a function of learners' weights; standard errors from finite differences."""
    values = np.array([measure(w) for w in bootstrap.weights])
    more = 1e-6 * np.eye(n)
    slopes = [
        [(measure(w + e) - value) / 1e-6 for e in more]
        for w, value in zip(bootstrap.weights, values, strict=True)
    ]
    errors = np.sqrt((bootstrap.weights * np.square(slopes)).sum(1))
    real = errors[1:] > 1e-9  # one learner drawn n times has no error
    apart = (values[1:][real] - values[0]) / errors[1:][real]
    low, high = np.quantile(values[1:], levels(n))
    up, down = np.quantile(apart, (0.975, 0.025)) * errors[0]
    return min(low, values[0] - up), max(high, values[0] - down), (low, high)


@pytest.mark.parametrize(("n", "seed"), [(4, 0), (12, 1), (30, 2)])
def test_ratios_reach_to_the_ends_of_the_bootstrap_t_interval(n, seed):
    rng, bootstrap = np.random.default_rng(seed), Bootstrap(n, 200, seed)
    a, b = rng.lognormal(0, 1.5, n), rng.integers(1, 9, n)
    low, high, percentiles = hull(bootstrap, lambda w: (w @ a) / (w @ b), n)
    e = bootstrap.ratio(a, b)
    assert (e.low, e.high) == pytest.approx((low, high), rel=1e-4) and high > percentiles[1]
    cut = bootstrap.ratio(a, b, bounds=(0, percentiles[1]))
    assert (cut.low, cut.high) == pytest.approx((max(low, 0), percentiles[1]), rel=1e-4)


def test_rounding_is_no_standard_error_at_any_scale():
    rng, bootstrap = np.random.default_rng(0), Bootstrap(30, 100)
    b, a = rng.integers(1, 90, 30).astype(float), rng.lognormal(0, 1.5, 30)
    for share in (0.1, -0.1, 7e-9, -3e9):
        gradient = np.tile([1.0, -share], (101, 1))
        assert (bootstrap.errors(gradient, np.stack([share * b, b])) == 0).all()
        assert (bootstrap.errors(-gradient, np.stack([share * b, b])) == 0).all()
    want = bootstrap.ratio(a, b)
    for scale in (1e-9, 1e9):
        e = bootstrap.ratio(scale * a, b)
        assert (e.low / scale, e.high / scale) == pytest.approx((want.low, want.high))
    assert want.high > np.quantile(want.draws[1:], levels(30))[1]


def test_means_do_on_both_sides():
    values, bootstrap = np.random.default_rng(3).lognormal(0, 1.5, 10), Bootstrap(10, 200)
    right, left = bootstrap.mean(values), bootstrap.mean(-values)
    assert (left.low, left.high) == pytest.approx((-right.high, -right.low))
    assert right.high > np.quantile(right.draws[1:], levels(10))[1]


@pytest.mark.parametrize("seed", range(24))
def test_prediction_quality_stays_within_its_bounds(seed):
    rng, n, answers = np.random.default_rng(seed), 8, np.full(8, 6)
    learner, bootstrap = np.repeat(np.arange(n), 6), Bootstrap(n, 200, seed)
    correct = rng.random(6 * n) < rng.beta(0.5, 0.3, n)[learner]
    predicted = 0.01 + 0.98 * rng.beta(0.3, 0.3, n)[learner]
    p = np.where(correct, predicted, 1 - predicted)
    means = Prediction(predicted, correct, learner, bootstrap).means()
    terms = {"accuracy": p >= 0.5, "log loss": -np.log(p), "Brier score": (1 - p) ** 2}
    for name, term in terms.items():
        free = bootstrap.ratio(np.bincount(learner, term), answers)
        most = np.inf if name == "log loss" else 1
        assert means[name].low == pytest.approx(max(free.low, 0), abs=1e-12)
        assert means[name].high == pytest.approx(min(free.high, most))


def test_so_does_the_gains_share_of_the_variance():
    rng, n, bootstrap = np.random.default_rng(0), 15, Bootstrap(15, 200)
    rows = pd.DataFrame({"learner": rng.integers(n, size=90), "predicted": rng.random(90)})
    rows["gains_before"] = rng.lognormal(0, 1, 90) * rows["predicted"]
    level = np.log(rows["predicted"] / (1 - rows["predicted"])).to_numpy()

    def share(w):
        cov = np.cov(rows["gains_before"], level, aweights=w[rows["learner"]])
        return cov[0, 1] / cov[1, 1]

    low, high, percentiles = hull(bootstrap, share, n)
    e = share_of_variance(rows, "gains_before", bootstrap)
    assert (e.low, e.high) == pytest.approx((low, high), rel=1e-4)
    assert (low, high) != percentiles


def test_ratios_without_a_standard_error_have_percentiles_alone():
    bootstrap, one = Bootstrap(20, 300), np.ones(20)
    same = bootstrap.ratio(0.1 * one, 3 * one)
    assert same.low == pytest.approx(same.value) and same.high == pytest.approx(same.value)
    once = np.where(np.arange(20) == 7, 1, 0)  # not drawn in a third of the resamples
    e = bootstrap.ratio(once, one)
    np.testing.assert_allclose([e.low, e.high], np.quantile(e.draws[1:], levels(20)))
    never = bootstrap.ratio(0 * one, one)
    assert (never.low, never.value, never.high) == (0, 0, 0)
    single = Bootstrap(20, 1).estimate(np.array([1.0, 2.0]), 1, 20)
    assert (single.low, single.high) == (2, 2)


def test_standard_errors_count_where_all_but_a_twentieth_of_the_resamples_have_one():
    bootstrap, values = Bootstrap(20, 100), np.append(50.0, np.arange(100.0))
    for errors in (np.zeros(101), np.append(2.0, np.arange(100) > 5)):
        for first in (values, np.append(50.0, values[:0:-1])):  # the first resample at an end
            few, plain = bootstrap.estimate(first, 1, 20, errors), bootstrap.estimate(first, 1, 20)
            assert (few.low, few.high) == (plain.low, plain.high)
    enough = bootstrap.estimate(values, 1, 20, np.append(2.0, np.arange(100) > 4))
    assert enough.high > few.high


# References


P = st.floats(0, 1, width=32)


@st.composite
def rated(draw):
    """Predictions with ties, right and wrong answers, learners, and how often each is drawn."""
    n = draw(st.integers(2, 25))
    p = draw(st.lists(P | st.sampled_from([0.0, 0.5, 1.0]), min_size=n, max_size=n))
    y = draw(st.lists(st.integers(0, 1), min_size=n, max_size=n).filter(lambda v: len({*v}) == 2))
    learner = draw(st.lists(st.integers(0, 3), min_size=n, max_size=n))
    weights = draw(st.lists(st.integers(0, 3), min_size=4, max_size=4))
    return np.array(p), np.array(y), np.array(learner), np.array(weights, float)


def weighted(weights):
    bootstrap = Bootstrap(len(weights), 1)
    bootstrap.weights[1] = weights
    return bootstrap


@settings(max_examples=30)
@given(rated())
def test_prediction_quality_against_scikit_learn(data):
    p, y, learner, weights = data
    prediction, w = Prediction(p, y, learner, weighted(weights)), weights[learner]
    auc, means = prediction.auc(), prediction.means()
    assert auc[0] == pytest.approx(roc_auc_score(y, p))
    if not (w[y == 1].any() and w[y == 0].any()):
        assert np.isnan(auc[1])
    else:
        assert auc[1] == pytest.approx(roc_auc_score(y, p, sample_weight=w))
    clipped = np.clip(p, 1e-7, 1 - 1e-7)
    for i, v in enumerate((np.ones(len(y)), w)):
        if v.any():
            want = {
                "accuracy": accuracy_score(y, p >= 0.5, sample_weight=v),
                "log loss": log_loss(y, clipped, sample_weight=v, labels=[0, 1]),
                "Brier score": brier_score_loss(y, p, sample_weight=v),
            }
            assert {k: m.draws[i] for k, m in means.items()} == pytest.approx(want)
        else:
            assert all(np.isnan(m.draws[i]) for m in means.values())


@given(rated(), st.lists(st.integers(0, 2), min_size=25, max_size=25))
def test_agreement_is_the_auc_of_each_group_by_its_pairs(data, groups):
    p, y, learner, weights = data
    group = np.array(groups[: len(p)]) * 5
    values, pairs = degree_of_agreement(p, y, learner, group, weighted(weights))
    for value, v in zip(values, (np.ones(len(p)), weights[learner]), strict=True):
        good = total = 0.0
        for g in set(group):
            here = group == g
            n = v[here & (y == 1)].sum() * v[here & (y == 0)].sum()
            total += n
            if n:
                good += n * roc_auc_score(y[here], p[here], sample_weight=v[here])
        want = good / total if total else np.nan
        assert value == pytest.approx(want, nan_ok=True)
    right, wrong = (np.bincount(group[y == k], minlength=11) for k in (1, 0))
    assert pairs == (right * wrong).sum()


@settings(max_examples=20)
@given(
    seed=st.integers(0, 10**6),
    n=st.integers(3, 60),
    shift=st.sampled_from([0.0, -3.0, 1e6]),
    scale=st.sampled_from([1e-5, 1.0, 1e6]),
)
def test_correlations_against_scipy_at_any_scale(seed, n, shift, scale):
    rng = np.random.default_rng(seed)
    skill, learner = rng.integers(0, 3, n), rng.integers(0, 4, n)
    x, y = rng.normal(size=n), rng.normal(size=n)
    a = Association(scale * (x + shift), y / scale, learner, skill, Bootstrap(4, 0))
    assert a.pooled()[0] == pytest.approx(pearsonr(x, y)[0], abs=1e-6)
    frame = pd.DataFrame({"x": x, "y": y, "skill": skill, "learner": learner})
    for group, got in (("skill", a.skill_average()), ("learner", a.learner_average())):
        parts = [part for _, part in frame.groupby(group) if len(part) > 1]
        own = [pearsonr(part["x"], part["y"])[0] for part in parts]
        want = np.mean(own) if own else np.nan
        assert got[0] == pytest.approx(want, abs=1e-5, nan_ok=True)
    apart = frame[["x", "y"]] - frame.groupby("skill")[["x", "y"]].transform("mean")
    want = apart.corr().iloc[0, 1] if frame["skill"].duplicated().any() else np.nan
    assert a.within_skill()[0] == pytest.approx(want, abs=1e-5, nan_ok=True)
    central = np.array([-1.0, 0.0, 1.0, 0.0]) * scale, np.array([1.0, 3.0, 2.0, 5.0])
    got = Association(*central, np.arange(4), np.zeros(4, int), Bootstrap(4, 0)).pooled()[0]
    assert got == pytest.approx(pearsonr(*central)[0])
    tensors = [torch.tensor(v) for v in (x, y, skill)]
    assert pearson(*tensors[:2]).item() == pytest.approx(pearsonr(x, y)[0])


@given(rated(), st.lists(st.integers(-2, 2), min_size=25, max_size=25))
def test_rank_correlation_is_scipys_on_the_rows_as_often_as_drawn(data, others):
    x, _, learner, weights = data
    y = np.array(others[: len(x)], float)
    values = rank_correlation(x, y, learner, weighted(weights))
    for value, v in zip(values, (np.ones(4, int), weights.astype(int)), strict=True):
        X, Y = np.repeat(x, v[learner]), np.repeat(y, v[learner])
        defined = len(x) > 2 and len({*X}) > 1 and len({*Y}) > 1
        want = spearmanr(X, Y)[0] if defined else np.nan
        assert value == pytest.approx(want, nan_ok=True)
    more = np.append(x, [np.nan, 0.5]), np.append(y, [1.0, np.inf]), np.append(learner, [0, 0])
    np.testing.assert_array_equal(rank_correlation(*more, weighted(weights)), values)


@pytest.mark.parametrize("seed", range(3))
def test_recovery_and_conduct_against_scipy_and_numpy(seed):
    rng, n, L = np.random.default_rng(seed), 200, 8
    learner = np.sort(rng.integers(L, size=n))
    frame = pd.DataFrame({"learner": learner, "sequence": learner})
    frame["skill"] = rng.integers(3, size=n)
    frame["step"] = frame.groupby("learner").cumcount()
    columns = ("predicted", "mastery_pre", "mastery_post", "true_mastery", "gains_before")
    frame[list(columns)] = rng.random((n, 5)).round(2).clip(0.01, 0.99)
    frame = frame.assign(correct=rng.integers(2, size=n), revision=rng.normal(size=n))
    beliefs, bootstrap = Beliefs(frame, np.arange(L)), Bootstrap(L, 30)
    table = recovery_table(beliefs, bootstrap)
    own = (table["sees"] == "retrospective") & (table["predictor"] == "model")
    got = table[own].set_index("quantity")["value"]
    own, truth = frame["mastery_post"], frame["true_mastery"]
    pairs = frame.groupby(["learner", "skill"])
    ends = (pairs.last() - pairs.first()).assign(practices=pairs.size())[pairs.size() > 1]

    def ratio(part):
        total = part["true_mastery"].sum()
        return part["mastery_post"].sum() / total if total else np.nan

    often, some = ends[ends["practices"] >= 8], ends[ends["practices"].between(4, 7)]
    groups = [ends.index.get_level_values("skill"), np.digitize(ends["practices"], (4, 8))]
    ranks = ends[["mastery_post", "true_mastery"]].groupby(groups).rank(pct=True)
    told, grew = (ranks - ranks.groupby(groups).transform("mean")).to_numpy().T
    want = {
        "mastery, mean error": (own - truth).mean(),
        "growth, rank correlation, same skill and practices": np.corrcoef(told, grew)[0, 1],
        "growth, mean by the truth's, 2 or 3 practices": ratio(ends[ends["practices"] <= 3]),
        "growth, mean by the truth's, 4 to 7": ratio(some),
        "growth, mean by the truth's, 8 or more": ratio(often),
        "growth, share off by more than 0.1, 8 or more practices": (
            (often["mastery_post"] - often["true_mastery"]).abs() > 0.1
        ).mean(),
        "mastery, rank correlation": spearmanr(own, truth)[0],
        "mastery, RMSE": mean_squared_error(own, truth) ** 0.5,
        "growth, rank correlation": spearmanr(ends["mastery_post"], ends["true_mastery"])[0],
        "growth, mean": ends["mastery_post"].mean(),
        "growth, mean of the truth": ends["true_mastery"].mean(),
        "growth, mean by the truth's": ratio(ends),
    }
    assert got.to_dict() == pytest.approx(want, nan_ok=True)
    (null,) = table[table["predictor"] == "number of practices"]["value"]
    assert null == pytest.approx(spearmanr(ends["practices"], ends["true_mastery"])[0])
    got = conduct_table(beliefs, bootstrap).set_index("quantity")["value"]
    level = np.log(frame["predicted"] / (1 - frame["predicted"]))
    share = np.cov(frame["gains_before"], level)[0, 1] / level.var()
    assert got["gains' share of the logit's variance"] == pytest.approx(share)
    auc = roc_auc_score(frame["correct"], frame["predicted"])
    path = roc_auc_score(frame["correct"], frame["mastery_pre"])
    assert got["what that costs in AUC"] == pytest.approx(auc - path)


def test_base_rates_of_nothing():
    nothing = np.zeros(0, int)
    assert base_rates(nothing, nothing, 2).tolist() == [0.5, 0.5]
