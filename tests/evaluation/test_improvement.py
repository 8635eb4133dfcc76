"""Held-out gain-performance: what is hidden, what is compared, and what nulls and ceiling say."""

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import stir
from scipy.special import expit

from kt_core.config import ModelConfig
from kt_core.data import Sequences, Vocabulary
from kt_core.evaluation.associations import gain_performance
from kt_core.evaluation.improvement import improvements, usual_improvement
from kt_core.evaluation.masked import hidden_answers
from kt_core.metrics.bootstrap import Bootstrap
from kt_core.model import GainAKT2


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


def test_usual_improvement_by_hand():
    s = sequences(
        [[0] * 6, [0] * 8, [1] * 5],
        [[0, 0, 0, 1, 1, 1], [0, 1, 1, 0, 0, 0, 1, 1], [0, 0, 1, 1, 1]],
    )
    np.testing.assert_allclose(usual_improvement(s, 3), [0.5, 0.5, 0.5])  # 1 and 0; few: the mean


def test_the_ceiling_is_what_true_probabilities_reach():
    rng = np.random.default_rng(1)
    p = rng.uniform(0.1, 0.9, (4000, 6))
    y = rng.random(p.shape) < p
    table = pd.DataFrame({"learner": np.arange(4000) // 2, "skill": np.arange(4000) % 2})
    table["predicted"] = p[:, 3:].mean(1) - p[:, :3].mean(1)
    table["observed"] = y[:, 3:].mean(1) - y[:, :3].mean(1)
    table["variance"] = (p * (1 - p)).sum(1) / 9
    result = gain_performance(table.assign(usual=0.1), Bootstrap(2000, 100))
    rows = result[result["variant"] == "pooled"].set_index("kind")["value"]
    assert rows["model"] == pytest.approx(rows["reference"], abs=0.04)
    assert np.isnan(rows["null"])  # a constant
    assert gain_performance(table[:0], Bootstrap(3, 20)).empty
