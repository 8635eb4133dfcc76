"""The ceiling answer by answer: the same numbers as that of whole histories."""

import dataclasses

import numpy as np
import pytest
from test_ceiling import FEW_STEPS

from kt_core.data.simulate import ITEMS_PER_SKILL, simulate, true_parameters
from kt_core.evaluation.ceiling import posterior_mastery
from kt_core.evaluation.ceiling_live import Oracle

DAY = 86_400


@pytest.mark.parametrize("name", FEW_STEPS)
def test_answer_by_answer_as_in_whole_histories(name):
    spec = dataclasses.replace(FEW_STEPS[name], learners=6)
    table = simulate(spec).table
    expected = posterior_mastery(table, spec)
    users = table["user"].unique()
    oracle, everything = Oracle(spec, len(users)), np.arange(spec.skills)
    histories = dict(list(table.groupby("user")))
    for step in range(max(map(len, histories.values()))):
        who = np.array([i for i, user in enumerate(users) if len(histories[user]) > step])
        rows = [histories[users[i]].iloc[step] for i in who]
        skill = np.array([int(row["skill"].split()[-1]) for row in rows])
        item = np.array([int(row.get("item", 0)) % ITEMS_PER_SKILL for row in rows])
        right = np.array([row["correct"] for row in rows])
        if spec.breaks and step:
            passed = [r["timestamp"] - histories[users[i]].iloc[step - 1]["timestamp"]
                      for i, r in zip(who, rows, strict=True)]  # fmt: skip
            oracle.wait(who, np.array(passed) / DAY)
        before = oracle.mastery(who, everything)[np.arange(len(who)), skill]
        oracle.answer(who, skill, item, right)
        after = oracle.mastery(who, everything)[np.arange(len(who)), skill]
        at = [row.name for row in rows]
        np.testing.assert_allclose(before, expected.loc[at, "filter_pre"], atol=1e-6, rtol=0)
        np.testing.assert_allclose(after, expected.loc[at, "filter_post"], atol=1e-6, rtol=0)


@pytest.mark.parametrize("name", ["house", "guessing", "hidden"])
def test_how_sure_is_a_probability_that_falls_with_the_line(name):
    spec = FEW_STEPS[name]
    oracle, who, skills = Oracle(spec, 3), np.arange(3), np.array([0, 2])
    oracle.answer(who, np.array([0, 0, 2]), np.array([1, 1, 4]), np.array([1, 0, 1]))
    lines = [np.full(2, line) for line in (0.0, 0.3, 0.6, 0.9, 1.01)]
    sure = np.stack([oracle.sure(who, skills, line) for line in lines])
    assert np.allclose(sure[0], 1) and (sure[-1] == 0).all() and (np.diff(sure, axis=0) <= 0).all()
    assert (sure[2, 0] > sure[2, 1])[0]  # right, against wrong, on skill 0


def test_nothing_answered_is_the_prior():
    spec = FEW_STEPS["hidden"]
    truth = true_parameters(spec)
    prior = truth.guess + (1 - truth.guess - truth.slip) * truth.prior
    found = Oracle(spec, 2).mastery(np.array([1]), np.arange(3))
    np.testing.assert_allclose(found[0], prior)
