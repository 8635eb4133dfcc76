"""Compare every measure with a slow, trusted reference."""

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import random_batch, states_of
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import pearsonr
from sklearn.isotonic import IsotonicRegression
from sklearn.metrics import brier_score_loss, log_loss, roc_auc_score

from kt_core.metrics.agreement import degree_of_agreement
from kt_core.metrics.association import Association
from kt_core.metrics.bootstrap import Bootstrap, levels
from kt_core.metrics.invariants import saturation, shares, violations
from kt_core.metrics.nulls import base_rates, gain_nulls, running_counts, step_nulls
from kt_core.metrics.prediction import Prediction, calibration_curve
from kt_core.monitor import BatchSums, batch_metrics, batch_sums, pearson, skill_average_pearson


def rows(rng, n=400, learners=12, skills=4):
    learner, skill = rng.integers(learners, size=n), rng.integers(skills, size=n)
    x = rng.normal(size=n) + 0.4 * skill + 0.2 * learner
    y = (rng.random(n) < 1 / (1 + np.exp(-x + 1))).astype(float)
    return x, y, learner, skill


def resampled(bootstrap, i, *columns):
    """Rows of the i-th resample written out; a learner drawn twice occurs twice."""
    learner = columns[0]
    keep = np.concatenate(
        [np.flatnonzero(learner == who) for who in range(bootstrap.n)
         for _ in range(int(bootstrap.weights[i, who]))]
    )  # fmt: skip
    return [c[keep] for c in columns]


def slow_within(x, y, skill):
    frame = pd.DataFrame({"x": x, "y": y, "k": skill})
    centred = frame[["x", "y"]] - frame.groupby("k")[["x", "y"]].transform("mean")
    return pearsonr(centred["x"], centred["y"])[0]


def slow_average(x, y, group):
    values = [
        pearsonr(x[group == g], y[group == g])[0]
        for g in np.unique(group)
        if np.ptp(x[group == g]) > 0 and np.ptp(y[group == g]) > 0
    ]
    return np.mean(values)


@pytest.mark.parametrize("i", [0, 1, 7])
def test_association_on_data_and_on_resamples(rng, i):
    x, y, learner, skill = rows(rng)
    boot = Bootstrap(12, 10)
    a = Association(x, y, learner, skill, boot)
    _, X, Y, K = resampled(boot, i, learner, x, y, skill)
    assert a.pooled()[i] == pytest.approx(pearsonr(X, Y)[0])
    assert a.within_skill()[i] == pytest.approx(slow_within(X, Y, K))
    assert a.skill_average()[i] == pytest.approx(slow_average(X, Y, K))
    if i == 0:
        assert a.learner_average()[0] == pytest.approx(slow_average(x, y, learner))


@pytest.mark.parametrize("i", [0, 3])
def test_prediction_quality(rng, i):
    x, y, learner, _ = rows(rng)
    p = np.round(1 / (1 + np.exp(-x)), 2)  # rounded: ties count one half
    boot = Bootstrap(12, 10)
    prediction = Prediction(p, y, learner, boot)
    _, P, Y = resampled(boot, i, learner, p, y)
    assert prediction.auc()[i] == pytest.approx(roc_auc_score(Y, P))
    means = prediction.means()
    assert means["accuracy"].draws[i] == pytest.approx(((P >= 0.5) == Y).mean())
    assert means["log loss"].draws[i] == pytest.approx(log_loss(Y, P))
    assert means["Brier score"].draws[i] == pytest.approx(brier_score_loss(Y, P))


def test_undefined_is_not_a_number():
    boot = Bootstrap(3, 50)
    one, learner = np.ones(6), np.array([0, 0, 1, 1, 2, 2])
    estimate = Association(np.arange(6.0), one, learner, learner, boot).estimate("pooled")
    assert np.isnan([estimate.value, estimate.low, estimate.high]).all()
    assert np.isnan(Prediction(np.linspace(0, 1, 6), one, learner, boot).auc()).all()
    empty = np.array([])
    nothing = Association(empty, empty, empty.astype(int), empty.astype(int), boot)
    assert np.isnan(nothing.estimate("within_skill").value)
    constant = Association(one * 0.1, np.arange(6.0), learner, learner, boot)
    assert np.isnan(constant.pooled()).all()


def test_bootstrap_draws_learners_and_is_seeded():
    a, b = Bootstrap(20, 30, seed=1), Bootstrap(20, 30, seed=1)
    assert np.array_equal(a.weights, b.weights)
    assert (a.weights.sum(axis=1) == 20).all() and (a.weights[0] == 1).all()
    per_learner = np.full(20, np.nan)
    per_learner[:4] = [1, 2, 3, 4]
    e = a.mean(per_learner)
    assert e.value == 2.5 and e.learners == 4 and e.low < 2.5 < e.high


def test_interval_covers_the_truth_about_as_often_as_it_says():
    rng, covered, runs = np.random.default_rng(3), 0, 200
    for seed in range(runs):
        level = rng.normal(size=60)
        learner = np.repeat(np.arange(60), 10)
        value = level[learner] + rng.normal(size=600)
        e = Bootstrap(60, 400, seed).ratio(np.bincount(learner, value), np.full(60, 10.0))
        covered += e.low <= 0 <= e.high
    assert 0.90 <= covered / runs <= 0.985  # nominal 0.95, Monte-Carlo error 0.015


def test_calibration_of_a_calibrated_and_of_an_overconfident_model():
    rng = np.random.default_rng(0)
    p = rng.random(8000)
    y = (rng.random(8000) < p).astype(float)
    learner = np.arange(8000) % 80
    boot = Bootstrap(80, 50)
    curve, excess = calibration_curve(Prediction(p, y, learner, boot))
    assert np.abs(curve["observed"] - curve["predicted"]).mean() < 0.03
    assert (np.diff(curve["observed"]) >= 0).all() and 0 <= excess < 0.005
    bold = np.clip((p - 0.5) * 3 + 0.5, 0, 1)
    assert calibration_curve(Prediction(bold, y, learner, boot))[1] > 0.02


def test_calibration_is_isotonic_regression_on_a_hundred_resamples():
    rng = np.random.default_rng(4)
    p, learner = rng.random(300).round(2), np.arange(300) % 12
    y = (rng.random(300) < p * 0.8 + 0.2).astype(float)
    boot = Bootstrap(12, 150)
    curve, excess = calibration_curve(Prediction(p, y, learner, boot))
    grid = np.linspace(*np.quantile(p, (0.005, 0.995)), 101)
    fit = IsotonicRegression(y_min=0, y_max=1, out_of_bounds="clip")
    curves = [fit.fit(p, y, w[learner]).predict(grid) for w in boot.weights[:101]]
    low, high = np.quantile(curves[1:], levels(12), axis=0)
    want = {"predicted": grid, "observed": curves[0], "low": low, "high": high}
    pd.testing.assert_frame_equal(curve, pd.DataFrame(want))
    gained = brier_score_loss(y, p) - brier_score_loss(y, fit.fit(p, y).predict(p))
    assert excess == pytest.approx(gained)


def test_calibration_without_resamples_and_with_absent_learners():
    p, y, who = np.linspace(0.1, 0.9, 9), np.array([0, 0, 1, 0, 1, 1, 0, 1, 1.0]), np.zeros(9, int)
    curve, _ = calibration_curve(Prediction(p, y, who, Bootstrap(1, 0)))
    assert curve["low"].equals(curve["observed"]) and curve["high"].equals(curve["observed"])
    boot = Bootstrap(2, 30)
    assert (boot.weights[:, 0] == 0).any()  # resamples without any row
    curve, _ = calibration_curve(Prediction(p, y, who, boot))
    assert curve.notna().all(axis=None) and curve["low"].equals(curve["high"])
    boot, two = Bootstrap(2, 1), np.arange(9) % 2
    boot.weights[1] = 2, 0  # one resample: the band is its curve, not that of the data
    curve, _ = calibration_curve(Prediction(p, y, two, boot))
    assert curve["low"].equals(curve["high"]) and not curve["low"].equals(curve["observed"])


def slow_violations(m, g, q, r, valid, start):
    found = dict.fromkeys(("monotonicity", "negative_gains", "bounds", "fall_after_correct"), 0)
    places = dict.fromkeys(found, 0)
    for b in range(len(q)):
        for t in range(int(valid[b].sum())):
            for k in range(m.shape[-1]):
                places["negative_gains"] += 1
                places["bounds"] += 1
                found["negative_gains"] += not g[b, t, k] >= 0
                found["bounds"] += not 0 <= m[b, t, k] <= 1
                before = m[b, t - 1, k] if t else (None if start is None else start[b, k])
                if before is None:
                    continue
                fell = not m[b, t, k] >= before
                places["monotonicity"] += 1
                found["monotonicity"] += fell
                if t and k == q[b, t] and r[b, t] == 1:
                    places["fall_after_correct"] += 1
                    found["fall_after_correct"] += fell
    return found, places


@pytest.mark.parametrize("seam", [False, True])
def test_violations_one_by_one(seam):
    q, r, valid = random_batch(B=4, T=8, C=3)
    g = torch.Generator().manual_seed(5)
    m, gains = torch.randn(4, 8, 3, generator=g), torch.randn(4, 8, 3, generator=g)
    m[0, 3, 1], gains[1, 0, 2] = torch.nan, torch.nan
    start = torch.rand(4, 3, generator=g) if seam else None
    counts = violations(m, gains, q, r, valid, start)
    found, places = slow_violations(m, gains, q, r, valid, start)
    for name in found:
        assert counts[name].sum() == found[name], name
        assert counts[f"{name}_n"].sum() == places[name], name


def test_infinities_are_violations():
    q, r, valid = random_batch(B=1, T=4, C=2, pad=False)
    m, g = torch.full((1, 4, 2), 0.5), torch.zeros(1, 4, 2)
    assert all(v == 0 for v in shares(violations(m, g, q, r, valid)).values() if v == v)
    m[0, 1:, 0], g[0, 2, 1] = torch.inf, torch.inf
    counts = violations(m, g, q, r, valid)
    assert counts["bounds"].sum() == 3 and counts["negative_gains"].sum() == 1
    assert counts["monotonicity"].sum() == 3


def test_saturation_counts_valid_entries_only():
    valid = torch.tensor([[True, True, False]])
    m = torch.tensor([[[0.0], [0.5], [1.0]]])
    g = torch.tensor([[[0.0], [1.0], [0.0]]])
    counts = saturation(m, g, valid)
    assert (counts["at_bounds"], counts["zero_gains"], counts["entries"]) == (1, 1, 2)


def test_saturation_counts_the_bounds_to_a_thousandth():
    values = [0.0, 1e-3, 1.5e-3, 0.5, 0.9985, 1 - 1e-3, 1.0, -1.0, 2.0, 0.9]
    m = torch.tensor(values, dtype=torch.float64)
    g = torch.tensor([0.0, 0.0, 1.0, 1.0, -0.1, 2.0, 1.0, 1.0, 0.0, 5.0])
    valid = torch.ones(1, 5, dtype=torch.bool)
    counts = saturation(m.view(1, 5, 2), g.view(1, 5, 2), valid)
    assert (counts["at_bounds"], counts["zero_gains"], counts["entries"]) == (6, 3, 10)


def test_falls_are_counted_between_neighbours_that_are_both_there():
    q, r = torch.zeros(1, 3, dtype=torch.long), torch.ones(1, 3, dtype=torch.long)
    g, valid = torch.zeros(1, 3, 1), torch.ones(1, 3, dtype=torch.bool)
    m = torch.tensor([0.5, -torch.inf, 0.5]).view(1, 3, 1)  # a step up from -inf is not a rise
    counts = violations(m, g, q, r, valid)
    assert counts["monotonicity"] == counts["monotonicity_n"] == 2
    assert shares(counts) == {
        "monotonicity": 1.0, "negative_gains": 0.0, "bounds": 1 / 3, "fall_after_correct": 1.0
    }  # fmt: skip
    valid[0, 1] = False
    assert violations(m, g, q, r, valid)["monotonicity_n"] == 0


@given(seed=st.integers(0, 1000))
def test_batch_correlations_against_scipy(seed):
    rng = np.random.default_rng(seed)
    x, y, _, skill = rows(rng, n=80)
    tensors = [torch.tensor(v) for v in (x, y, skill)]
    assert pearson(*tensors[:2]).item() == pytest.approx(pearsonr(x, y)[0])
    want = slow_average(x, y, skill)
    assert skill_average_pearson(*tensors, 9).item() == pytest.approx(want)


def test_a_ratio_to_nothing_is_not_defined():
    e = Bootstrap(3, 20).ratio(np.ones(3), np.zeros(3))
    assert np.isnan([e.value, e.low, e.high]).all()


def test_one_learner_has_no_interval():
    e = Bootstrap(1, 50).ratio(np.array([1.0]), np.array([2.0]))
    assert e.value == 0.5 and np.isnan([e.low, e.high]).all()


def test_agreement_is_the_share_of_pairs_by_hand():
    rng = np.random.default_rng(0)
    n = 120
    mastery, correct = rng.integers(0, 5, n) / 4, rng.integers(0, 2, n)
    group, learner = rng.integers(0, 12, n) * 3, np.arange(n) % 30
    bootstrap = Bootstrap(30, 10)
    values, pairs = degree_of_agreement(mastery, correct, learner, group, bootstrap)
    same = group[:, None] == group
    both = same & (correct[:, None] == 1) & (correct == 0)
    higher = (mastery[:, None] > mastery) + 0.5 * (mastery[:, None] == mastery)
    for weights, value in zip(bootstrap.weights, values, strict=True):
        w = both * weights[learner][:, None] * weights[learner]
        assert value == pytest.approx((w * higher).sum() / w.sum())
    assert pairs == both.sum()
    nobody = degree_of_agreement(mastery, np.ones(n), learner, group, bootstrap)
    assert np.isnan(nobody[0]).all() and nobody[1] == 0


def test_batch_metrics_read_each_field_at_the_right_step():
    q, r, valid = random_batch(B=6, T=10, C=4)
    g = torch.Generator().manual_seed(2)
    m, gains = torch.rand(6, 10, 4, generator=g), torch.rand(6, 10, 4, generator=g)
    logits = torch.randn(6, 9, generator=g)
    own = gains.gather(-1, q.unsqueeze(-1)).squeeze(-1)
    seen = batch_sums(states_of(m, m, gains, own, logits, q), r, valid)
    steps = {len(x.shape) for x in (seen.pre, seen.post, seen.predicted, seen.own_gain)}
    assert steps == {1} and len(seen.post) == valid[:, 1:].sum()
    values = batch_metrics(seen, m.shape[-1])
    pre, post, y, own, ry = [], [], [], [], []
    for b in range(6):
        for t in range(int(valid[b].sum())):
            own.append(gains[b, t, q[b, t]].item())
            ry.append(r[b, t].item())
            if t:
                pre.append(m[b, t - 1, q[b, t]].item())
                post.append(m[b, t, q[b, t]].item())
                y.append(r[b, t].item())
    got = {name: float(v) for name, v in values.items()}
    assert got["correlation/mastery_response_pre"] == pytest.approx(pearsonr(pre, y)[0], abs=1e-5)
    assert got["correlation/gain_correctness_post"] == pytest.approx(pearsonr(own, ry)[0], abs=1e-5)
    assert got["mean/own_mastery"] == pytest.approx(np.mean(post), abs=1e-6)
    assert got["mean/own_gain"] == pytest.approx(np.mean(own), abs=1e-6)


def test_two_halves_of_a_batch_together_are_the_batch():
    q, r, valid = random_batch(B=6, T=8, C=3, pad=False)
    g = torch.Generator().manual_seed(3)
    m, gains, logits = (torch.randn(6, *n, generator=g) for n in ((8, 3), (8, 3), (7,)))
    tensors = (m, m, gains, gains[..., 0], logits, q)

    def sums(half):
        return batch_sums(states_of(*(x[half] for x in tensors)), r[half], valid[half])

    parts = [sums(half) for half in (slice(0, 2), slice(2, 6))]
    whole = batch_metrics(sums(slice(None)), 3)
    for name, value in batch_metrics(BatchSums.together(parts), 3).items():
        assert float(value) == pytest.approx(float(whole[name])), name
    assert whole["violations/bounds"] > 0


def test_nulls_see_only_what_they_may():
    frame = pd.DataFrame(
        {
            "learner": [0, 0, 0, 0, 1],
            "skill": [0, 1, 0, 0, 0],
            "correct": [1, 0, 0, 1, 1],
            "step": [0, 1, 2, 3, 0],
        }
    )
    frame = pd.concat([frame, running_counts(frame)], axis=1)
    assert frame["opportunity"].tolist() == [0, 0, 1, 2, 0]
    assert frame["successes"].tolist() == [0, 0, 1, 1, 0]
    base = np.array([0.5, 0.2])
    pre, post = (step_nulls(frame, base, post=p)["success counter"] for p in (False, True))
    assert pre.tolist() == pytest.approx([0.5, 0.2, 0.6, 0.6, 0.5])
    assert post.tolist() == pytest.approx([0.6, 0.2, 0.6, 0.68, 0.6])
    counted = [step_nulls(frame, base, post=p)["opportunity count"] for p in (False, True)]
    assert counted[1].tolist() == [1, 1, 2, 3, 1] == (counted[0] + 1).tolist()
    gained = gain_nulls(frame, base)["success counter"]
    assert gained.tolist() == pytest.approx([0.1, 0, 0, 0.08, 0.1])
    flipped = frame.assign(correct=1 - frame["correct"])
    for name, values in step_nulls(flipped, base, post=False).items():
        assert np.array_equal(values, step_nulls(frame, base, post=False)[name]), name


def test_base_rates_fall_back_to_the_overall_share():
    rates = base_rates(np.array([0, 0, 2]), np.array([1, 0, 1]), 4)
    assert rates.tolist() == pytest.approx([0.5, 2 / 3, 1.0, 2 / 3])


def test_intervals_need_two_learners():
    values = np.linspace(0, 1, 21)
    for n, learners, wanted in ((1, 2, False), (3, 1, False), (2, 2, True), (3, 2, True)):
        e = Bootstrap(n, 20).estimate(values, 9, learners)
        assert np.isfinite(e.low) == wanted and e.value == 0
    assert np.array_equal(Bootstrap(4).weights, Bootstrap(4, 1000, seed=0).weights)
    assert Bootstrap(0, 20).weights.shape == (1, 0)  # no learners: only the data itself, no draws
