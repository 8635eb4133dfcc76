"""Tests of the trajectory's shape: they find what is there, with and without a stopping rule."""

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit, logit
from scipy.stats import norm
from sklearn.linear_model import LogisticRegression

from kt_core.evaluation.masked import gain_necessity
from kt_core.evaluation.schedule import schedule_evidence
from kt_core.evaluation.shape import (
    BELIEVED_GROWTH,
    BY_STEPS,
    BY_TIME,
    MISSING_GROWTH,
    forgetting,
    growth_calibration,
)
from kt_core.metrics.bootstrap import Bootstrap

NAMES = ("a", "b", "c")


def practice(
    rng, stops, learners=600, steps=40, growth=0.0, sinking=0.0, told=0.0, days=False, lost=0.0
):
    """Answers on three skills in turn. The belief knows each learner's level on each skill, tells
    growth of its own, and has not seen what breaks do.

    stops : whether a learner leaves a skill after two right answers in a row, or after 7 answers;
        otherwise after 4.
    growth, told : true and believed log-odds per unit of log(1 + opportunity).
    sinking : log-odds lost per unit of log(1 + break), in days or steps, on skill c, until the next
        answer.
    lost : the same on every skill, and for good.
    """
    rows = []
    for learner in range(learners):
        level, count, left = rng.normal(0, 1, 3), np.zeros(3, int), np.full(3, np.nan)
        gone = np.zeros(3)
        time = skill = streak = place = 0
        for step in range(steps):
            now = time if days else step
            away = max(now - left[skill] - (0 if days else 1), 0) if count[skill] else 0
            n = np.log1p(count[skill])
            gone[skill] += lost * np.log1p(away)
            truth = level[skill] + growth * n - gone[skill]
            truth -= sinking * np.log1p(away) * (skill == 2)
            right = rng.random() < expit(truth)
            believed = level[skill] + told * n
            rows.append((learner, step, skill, right, believed, told * n, time, truth))
            count[skill] += 1
            left[skill] = now
            streak, place = (streak + 1) * right, place + 1
            time += 0.001
            if (stops and (streak == 2 or place == 7)) or (not stops and place == 4):
                skill, streak, place = (skill + 1) % 3, 0, 0
                time += rng.choice([0.001, 1.0, 7.0])
    columns = ["learner", "step", "skill", "correct", "believed", "gains_before", "time", "truth"]
    frame = pd.DataFrame(rows, columns=columns).astype({"correct": int})
    return frame if days else frame.drop(columns="time")


@pytest.mark.parametrize("stops", [False, True])
def test_growth_that_is_missing_is_measured_with_and_without_a_stopping_rule(rng, stops):
    for growth, told in ((0.0, 0.0), (0.5, 0.5), (0.6, 0.2), (0.0, 0.4)):
        frame = practice(rng, stops, growth=growth, told=told)
        table = growth_calibration(frame, Bootstrap(600, 300)).set_index("quantity")
        missing = table.loc[MISSING_GROWTH]
        error = (missing["high"] - missing["low"]) / 4
        assert abs(missing["value"] - (growth - told)) < 3.5 * error < 0.3
        if told:
            assert table.loc[BELIEVED_GROWTH, "value"] == pytest.approx(told)


def test_without_the_order_of_practice_a_stopping_rule_passes_for_growth(rng, monkeypatch):
    frame = practice(rng, True)  # nobody learns
    monkeypatch.setattr("kt_core.evaluation.shape.schedule_evidence", lambda frame: 0.0)
    assert growth_calibration(frame, Bootstrap(600, 100))["low"][0] > 0.1


def test_gains_are_needed_where_there_is_growth_and_not_where_practice_stops(rng, monkeypatch):
    def lowest(growth):
        frame = practice(rng, True, growth=growth, told=growth or 0.1)
        pair = [frame["learner"], frame["skill"]]
        flat = frame.groupby(pair)["gains_before"].transform("mean")
        frame = frame.assign(flat=flat, shuffled=flat)
        found = gain_necessity(frame, Bootstrap(600, 200)).set_index("quantity")
        return found.loc["flat at the same level, minus as they are", "low"]

    assert lowest(0.5) > 0 > lowest(0.0)
    monkeypatch.setattr("kt_core.evaluation.masked.schedule_evidence", lambda frame: 0.0)
    assert lowest(0.0) > 0


def test_the_coefficient_is_that_of_a_logistic_regression(rng, monkeypatch):
    monkeypatch.setattr("kt_core.evaluation.shape.schedule_evidence", lambda frame: 0.0)
    frame = practice(rng, False, learners=80).assign(believed=0.0, gains_before=0.0)
    pair = [frame["learner"], frame["skill"]]
    count = np.log1p(frame.groupby(pair).cumcount())
    usual = count.groupby(pair).transform("mean")
    so_far = np.log1p(frame.groupby(pair)["step"].diff().fillna(1) - 1).groupby(pair).cumsum()
    so_far = so_far - so_far.groupby(pair).transform("mean")
    reference = LogisticRegression(C=np.inf, tol=1e-8).fit(
        np.column_stack([count - usual, usual, so_far]), frame["correct"]
    )
    ours = growth_calibration(frame, Bootstrap(80, 50))["value"][0]
    assert ours == pytest.approx(reference.coef_[0, 0], rel=1e-3)


@pytest.mark.parametrize("days", [False, True])
def test_growth_that_fades_again_is_missing_too(rng, days):
    """A belief that is right on average tells only what is left of growth after breaks."""
    frame = practice(rng, False, growth=0.8, lost=0.15, days=days)
    count = np.log1p(frame.groupby(["learner", "skill"]).cumcount())
    told = np.polyfit(count, frame["truth"], 1)[0]
    level = (frame["truth"] - told * count).groupby([frame["learner"], frame["skill"]])
    gains = told * count
    frame = frame.assign(gains_before=gains, believed=level.transform("mean") + gains)
    missing = growth_calibration(frame, Bootstrap(600, 300)).iloc[0]
    assert told < 0.7
    assert missing["low"] > 0 and missing["low"] < 0.8 - told < missing["high"]


def test_the_slope_on_breaks_is_tested_as_refitted_resamples_of_learners_say(rng, monkeypatch):
    monkeypatch.setattr("kt_core.evaluation.shape.schedule_evidence", lambda frame: 0.0)
    frame = practice(rng, False, learners=120, sinking=0.9).assign(believed=0.0, gains_before=0.0)
    pair = [frame["learner"], frame["skill"]]
    count = np.log1p(frame.groupby(pair).cumcount())
    usual = count.groupby(pair).transform("mean")
    away = np.log1p(frame.groupby(pair)["step"].diff().fillna(1) - 1)
    design, right = np.column_stack([away, count - usual, usual]), frame["correct"].to_numpy()

    def slope(weights):
        fit = LogisticRegression(C=np.inf, tol=1e-8).fit(design, right, sample_weight=weights)
        return fit.coef_[0, 0]

    weights = rng.multinomial(120, np.full(120, 1 / 120), 300)[:, frame["learner"]]
    z = slope(np.ones(len(frame))) / np.std([slope(w) for w in weights])
    p = forgetting(frame, NAMES).set_index("name").loc[BY_STEPS, "p"]
    assert norm.ppf(p) == pytest.approx(z, rel=0.15)
    assert z < -1


@pytest.mark.parametrize("stops", [False, True])
@pytest.mark.parametrize("days", [False, True])
def test_forgetting_is_found_where_it_is_and_only_there(rng, stops, days):
    frame = practice(rng, stops, sinking=0.7, growth=0.3, told=0.3, days=days)
    result = forgetting(frame, NAMES).set_index("name")
    assert list(result.index[: 1 + days]) == ([BY_TIME, BY_STEPS] if days else [BY_STEPS])
    assert result["contradicted"][["a", "b", "c"]].tolist() == [False, False, True]
    assert result.loc[BY_TIME if days else BY_STEPS, "contradicted"]
    assert result.loc["c", "effect"] < result.loc["a", "effect"] - 0.1 < 0
    assert result.loc["c", "saved"] > 0
    for growth, told in ((0.3, 0.3), (0.5, 0.1), (0.0, 0.0)):
        still = practice(rng, stops, growth=growth, told=told, days=days)
        assert not forgetting(still, NAMES)["contradicted"].any()


def test_forgetting_hidden_behind_missing_growth_is_found(rng):
    """A flat belief, right on average: what breaks take away, untold growth gives back."""
    frame = practice(rng, False, sinking=0.5, growth=0.7, days=True)
    frame["believed"] = frame.groupby(["learner", "skill"])["truth"].transform("mean")
    assert forgetting(frame, NAMES).set_index("name").loc["c", "contradicted"]


def test_too_few_returns_are_not_judged(rng):
    assert forgetting(practice(rng, False, learners=15), NAMES).empty
    once = practice(rng, False, learners=300, steps=4)  # nobody returns
    assert forgetting(once, NAMES).empty


def test_schedule_evidence_is_what_bayes_says(rng):
    """Right answers end a run of two; hidden answers are predicted as well as they can be."""
    frame = practice(rng, True, learners=2000)
    evidence = schedule_evidence(frame)
    known = frame["believed"] + evidence
    observed = frame["correct"].to_numpy()
    for low, high in ((0.02, 0.2), (0.2, 0.5), (0.5, 0.8), (0.8, 0.98)):
        here = expit(known).between(low, high)
        error = observed[here].mean() - expit(known)[here].mean()
        assert abs(error) < 4 * np.sqrt(0.25 / here.sum()) + 0.005
    last_of_two = frame.groupby("learner")["skill"].transform(lambda s: s != s.shift(-1))
    early = last_of_two & (frame["step"] == 1)
    assert (evidence[early] > 5).all() and frame["correct"][early].all()


def test_schedule_evidence_of_a_rule_by_hand():
    """A learner leaves after a right answer and stays after a wrong one, nine times in ten."""
    rng = np.random.default_rng(0)
    rows = []
    for learner in range(3000):
        skill = 0
        for step in range(10):
            right = rng.random() < 0.5
            rows.append((learner, step, skill, int(right)))
            if (rng.random() < 0.9) == right:
                skill += 1
    frame = pd.DataFrame(rows, columns=["learner", "step", "skill", "correct"])
    evidence = schedule_evidence(frame)
    follows = frame.groupby("learner")["skill"].shift(-1)
    left = (follows != frame["skill"]) & follows.notna()
    stayed = (follows == frame["skill"]) & follows.notna()
    assert np.median(evidence[left]) == pytest.approx(logit(0.9), abs=0.2)
    assert np.median(evidence[stayed]) == pytest.approx(logit(0.1), abs=0.2)
    assert np.median(np.abs(evidence[follows.isna()])) < 0.1  # ends have nothing to do with answers


def test_schedule_evidence_of_little():
    nobody = pd.DataFrame({"learner": [], "skill": [], "correct": []}).astype(int)
    assert schedule_evidence(nobody).shape == (0,)
    one = pd.DataFrame({"learner": [0], "skill": [0], "correct": [1]})
    assert np.isfinite(schedule_evidence(one)).all()
