"""Held-out gain-performance: what is hidden, what is compared, and what nulls and reference say."""

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import stir
from scipy.special import expit

from kt_core.config import ModelConfig
from kt_core.data import Sequences, Vocabulary
from kt_core.evaluation.associations import (
    GAIN_PERFORMANCE,
    IF_TRUE,
    ITEMS,
    USUAL,
    gain_performance,
)
from kt_core.evaluation.improvement import improvements, of_pairs, usual_improvement
from kt_core.evaluation.masked import hidden_answers
from kt_core.evaluation.measures import Measures
from kt_core.metrics.bootstrap import Bootstrap
from kt_core.model import GainAKT2
from kt_core.report.verdicts import _correlation


def model():
    torch.manual_seed(0)
    return stir(GainAKT2(ModelConfig(d_model=16, heads=2, blocks=1, d_ff=16), 3))


def sequences(skills, correct, chunk=50):
    user = np.repeat([f"u{i}" for i in range(len(skills))], [len(s) for s in skills])
    table = pd.DataFrame({"user": user, "skill": np.concatenate(skills).astype(str)})
    table["correct"] = np.concatenate(correct)
    return Sequences.of(table, Vocabulary(("0", "1", "2")), chunk)


def drawn(learners=6, steps=30):
    rng = np.random.default_rng(0)
    skills = [rng.integers(3, size=steps) for _ in range(learners)]
    return sequences(skills, [rng.integers(2, size=steps) for _ in range(learners)])


def test_predictions_never_depend_on_the_six_answers():
    net, s = model(), drawn()
    table = improvements(net, s)
    assert len(table) > 15 and (table["predicted"].abs() <= 1).all()
    learner = np.repeat(s.learner, s.lengths)
    rows = np.flatnonzero((learner == 2) & (s.skill == 1))
    other = s.response.copy()
    ends = np.r_[rows[:3], rows[-3:]]
    other[ends] = 1 - other[ends]
    changed = improvements(net, Sequences(**vars(s) | {"response": other}))
    own = (table["learner"] == 2) & (table["skill"] == 1)
    np.testing.assert_allclose(changed["predicted"][own], table["predicted"][own], atol=1e-6)
    np.testing.assert_allclose(changed["observed"][own], -table["observed"][own], atol=1e-12)
    assert (changed["predicted"] - table["predicted"]).abs().max() > 1e-6  # seen elsewhere


def test_a_pair_by_hand():
    net = model()
    s = sequences([[0, 1] * 7], [np.array([0, 1, 0, 1, 1, 1, 0, 0, 1, 0, 1, 1, 1, 1])])
    table = improvements(net, s).set_index("skill")
    passes = np.where((np.arange(14) // 2 < 3) | (np.arange(14) // 2 > 3), np.arange(14) % 2, -1)
    p = expit(hidden_answers(net, s, passes=passes)["believed"].to_numpy())
    for skill in (0, 1):
        own = p[skill::2]
        assert table.loc[skill, "predicted"] == pytest.approx(own[-3:].mean() - own[:3].mean())
        six = np.r_[own[:3], own[-3:]]
        assert table.loc[skill, "variance"] == pytest.approx((six * (1 - six)).sum() / 9)
    assert table["observed"].tolist() == pytest.approx([2 / 3, -1 / 3])
    assert table["items"].tolist() == [0, 0]  # there are none


def test_usual_improvement_by_hand():
    s = sequences(
        [[0] * 6, [0] * 8, [1] * 5],
        [[0, 0, 0, 1, 1, 1], [0, 1, 1, 0, 0, 0, 1, 1], [0, 0, 1, 1, 1]],
    )
    np.testing.assert_allclose(usual_improvement(s, 3), [0.5, 0.5, 0.5])  # 1 and 0; few: the mean


def test_nobody_with_six_answers_on_a_skill():
    table = improvements(model(), sequences([[0, 1] * 2, [0] * 5], [[0, 1, 1, 1], [0, 0, 1, 1, 0]]))
    usual = np.zeros(3)[table["skill"]]
    assert table.empty and gain_performance(table.assign(usual=usual), Bootstrap(2, 20)).empty


def test_items_alone_by_hand():
    """Two learners on one skill, with believed logits from levels, gains and difficulties."""
    gain, level = np.array([0.0, 0.2, 0.4, 1.0, 1.2, 1.4]), np.array([[-1.0], [0.5]])
    difficulty = np.array([1.0, 0.5, 0.0, 0.0, -0.5, -1.0])
    frame = pd.DataFrame({"learner": np.repeat([0, 1], 6), "skill": 0, "correct": 1})
    frame["late"] = np.tile(np.arange(6) >= 3, 2)
    frame["believed"] = (level + gain - difficulty).ravel()
    frame = frame.assign(gains_before=np.tile(gain, 2), flat=0.7)
    alone = expit(level + 0.7 - difficulty)
    want = alone[:, 3:].mean(1) - alone[:, :3].mean(1)
    np.testing.assert_allclose(of_pairs(frame)["items"], want, rtol=1e-12)
    without = frame.assign(believed=frame["believed"] + np.tile(difficulty, 2))
    assert (of_pairs(without)["items"] == 0).all() and (of_pairs(without)["predicted"] > 0.1).all()


def simulated(rise, items, learners=400, skills=4, seed=0):
    """What a model that knows the truth says of six answers of each learner on each skill, and the
    verdict: levels rise at the learner's own speed, by `rise` logits in the mean."""
    rng = np.random.default_rng(seed)
    shape = (learners, skills, 6)
    level = rng.normal(size=(learners, skills, 1)) + rng.normal(size=(1, skills, 1))
    speed = rise * rng.exponential(size=(learners, skills, 1))
    gains = np.broadcast_to(speed * np.arange(6) / 5, shape)
    logits = level + gains - items * rng.normal(size=shape)
    learner, skill, step = (at.ravel() for at in np.indices(shape))
    frame = pd.DataFrame({"learner": learner, "skill": skill, "late": step >= 3})
    frame = frame.assign(believed=logits.ravel(), gains_before=gains.ravel())
    frame["flat"] = np.repeat(gains.mean(-1), 6)
    frame["correct"] = (rng.random(len(frame)) < expit(frame["believed"])).astype(int)
    table = of_pairs(frame)
    table["usual"] = table.groupby("skill")["observed"].transform("mean")
    found = gain_performance(table, Bootstrap(learners, 200))
    nothing = pd.DataFrame()
    m = Measures(nothing, nothing, found, nothing, 0.0, *[nothing] * 3)
    values = found[found["variant"] == "pooled"].set_index("predictor")["value"]
    return values, _correlation(m, GAIN_PERFORMANCE, "pooled", 0.4, 0.3)


@pytest.mark.parametrize("seed", range(3))
def test_items_without_learning_are_no_evidence_and_learning_is(seed):
    values, row = simulated(0.0, 1.0, seed=seed)
    assert values["model"] > 0.2 and values["model"] == pytest.approx(values[ITEMS], abs=1e-12)
    assert values["model"] > values[USUAL] + 0.1  # alone, this null would let it pass
    assert row["verdict"].endswith("; the difficulty of the items tells as much") and row["warns"]
    values, row = simulated(2.0, 1.0, seed=seed)
    assert values["model"] > values[ITEMS] + 0.02 and values[ITEMS] > values[USUAL]
    assert row["verdict"].endswith("; tells more than the difficulty of the items")


def test_without_items_the_usual_improvement_is_the_null():
    values, row = simulated(3.0, 0.0)
    assert np.isnan(values[ITEMS]) and values[USUAL] > 0
    assert row["verdict"].endswith("; tells more than the skill's usual improvement")
    assert row["target"] == f"> 0.4; {values[IF_TRUE]:.3f} expected {IF_TRUE} (minimum 0.3)"
    values, row = simulated(0.0, 0.0)  # nothing is predicted: no correlation, and no word of it
    assert np.isnan(values["model"]) and row["target"] == "> 0.4 (minimum 0.3)"
    assert row["verdict"] == "not defined on this data"


def test_the_reference_is_what_true_probabilities_reach():
    rng = np.random.default_rng(1)
    p = rng.uniform(0.1, 0.9, (4000, 6))
    y = rng.random(p.shape) < p
    table = pd.DataFrame({"learner": np.arange(4000) // 2, "skill": np.arange(4000) % 2})
    table["predicted"] = p[:, 3:].mean(1) - p[:, :3].mean(1)
    table["observed"] = y[:, 3:].mean(1) - y[:, :3].mean(1)
    table["variance"] = (p * (1 - p)).sum(1) / 9
    result = gain_performance(table.assign(usual=0.1, items=0.0), Bootstrap(2000, 100))
    assert (result["entries"] == 4000).all() and (result["learners"] == 2000).all()
    rows = result[result["variant"] == "pooled"].set_index("predictor")["value"]
    assert rows["model"] == pytest.approx(rows[IF_TRUE], abs=0.04)
    assert rows[[USUAL, ITEMS]].isna().all()  # constants
    sd, noise = table["predicted"].std(ddof=0), table["variance"].mean()
    assert rows[IF_TRUE] == pytest.approx(sd / np.sqrt(sd**2 + noise))
    assert gain_performance(table[:0], Bootstrap(3, 20)).empty
