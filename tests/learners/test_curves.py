"""Frames about practice, on a few answers that are counted by hand."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from kt_core import plots
from kt_core.evaluation.beliefs import Beliefs
from kt_core.learners import cohort
from kt_core.learners.curves import after_breaks, before_and_after, skill_curves, trajectories

LEARNERS, NAMES = 30, ("adding", "taking away")


@pytest.fixture(scope="module")
def beliefs():
    """Thirty learners: adding twice, taking away three times, adding again; mastery rises by a
    tenth each time, and only the answer after the break is always wrong."""
    skills = [0, 0, 1, 1, 1, 0]
    one = pd.DataFrame({"step": range(6), "skill": skills, "correct": [1, 1, 1, 0, 1, 0]})
    one["opportunity"] = one.groupby("skill").cumcount()
    one["mastery_pre"] = 0.4 + 0.1 * one["opportunity"]
    one["mastery_post"] = one["mastery_last"] = one["mastery_pre"] + 0.1
    one["predicted"] = one["mastery_pre"].where(one["step"] > 0)
    frame = pd.concat([one.assign(learner=i, sequence=i) for i in range(LEARNERS)])
    final = np.tile([0.7, 0.7], (LEARNERS, 1))
    return Beliefs(frame.reset_index(drop=True), np.arange(LEARNERS).astype(str), final=final)


def test_skill_curves_are_shares_by_opportunity(beliefs):
    curves = skill_curves(beliefs, NAMES)
    assert list(curves.columns)[:2] == ["skill", "opportunity"]
    taken = curves[curves["skill"] == "taking away"]
    assert taken["opportunity"].tolist() == [1, 2, 3] and taken["observed"].tolist() == [1, 0, 1]
    assert taken["predicted"].to_numpy() == pytest.approx([0.4, 0.5, 0.6])
    assert (curves["answers"] == LEARNERS).all()
    added = curves[curves["skill"] == "adding"]
    assert added["opportunity"].tolist() == [2, 3]  # a first answer is not predicted
    few = Beliefs(beliefs.frame[beliefs.frame["learner"] < 9], beliefs.learners[:9])
    assert skill_curves(few, NAMES).empty


def test_after_a_break_observed_falls_below_predicted(beliefs):
    table = after_breaks(beliefs).set_index("gap")
    assert table.index.tolist() == ["none", "3 to 5"] and (table["by"] == "steps").all()
    assert table.loc["3 to 5", "difference"] == pytest.approx(-0.6)
    assert table.loc["none", "answers"] == 3 * LEARNERS
    assert table.loc["none", "observed"] == pytest.approx(2 / 3)


def test_breaks_by_time(beliefs):
    time = np.tile([0, 0.01, 0.02, 0.03, 0.04, 5.0], LEARNERS)
    table = after_breaks(beliefs, time)
    days = table[table["by"] == "days"].set_index("gap")
    assert days.index.tolist() == ["under an hour", "to a week"]
    assert days.loc["to a week", "difference"] == pytest.approx(-0.6)
    usual = after_breaks(beliefs, time, dated=False)
    assert usual["by"].unique().tolist() == ["steps", "breaks"]


def test_mastery_before_and_after(beliefs):
    pairs = before_and_after(beliefs, NAMES)
    assert len(pairs) == 2 * LEARNERS and set(pairs["skill"]) == set(NAMES)
    assert pairs["before"].to_numpy() == pytest.approx(0.5)
    assert pairs["after"].to_numpy() == pytest.approx(0.7)
    assert pairs["start"].value_counts().to_dict() == {"low": 20, "middle": 20, "high": 20}


def test_nobody_practises_twice(beliefs):
    once = dataclasses.replace(beliefs, frame=beliefs.frame.groupby(["learner", "skill"]).head(1))
    pairs = before_and_after(once, NAMES)
    assert pairs.empty and list(pairs) == list(before_and_after(beliefs, NAMES))


def test_the_figures_of_practice(beliefs):
    figure = plots.draw_skill_curves(skill_curves(beliefs, NAMES))
    titles = [ax.get_title(loc="left") or ax.get_title() for ax in figure.axes]
    assert titles == ["taking away", "adding"]
    ax = plots.plot_after_breaks(after_breaks(beliefs), Figure().subplots())
    assert [t.get_text() for t in ax.get_xticklabels()] == ["none\n90", "3 to 5\n30"]
    left, right = plots.plot_before_after(before_and_after(beliefs, NAMES), Figure().subplots(1, 2))
    assert left.get_xlabel() == "mastery before the first answer"
    assert {t.get_text() for t in right.get_yticklabels()} == set(NAMES)


def test_the_interactive_line_is_that_of_the_static_figure(smoke, trained):
    _, splits = smoke
    table = trajectories(trained.model, splits, "test", [0])
    whole = cohort.learner_frame(trained.model, splits, "test", 0)
    assert len(table) < len(whole)
    assert (table["answer"] != "").sum() == whole["asked"].sum()
    for skill, line in whole.groupby("skill"):
        drawn = table[table["skill"] == skill]
        between = np.interp(line["step"], drawn["step"], drawn["mastery"])
        assert between == pytest.approx(line["mastery"].to_numpy(), abs=1e-6)
