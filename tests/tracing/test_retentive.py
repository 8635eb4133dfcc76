"""Mode `retentive` from a DataFrame with times to a live learner."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

import kt_core as kt
from kt_core.data.registry import read_splits
from kt_core.data.simulate import DAY

SMALL = {"train.epochs": 1, "train.skeleton_steps": 60}


@pytest.fixture(scope="module")
def answers():
    """Learners who forget between sessions, as a table of one's own."""
    config = kt.configure("smoke", "world-forgetting")
    table = read_splits(config).dataset.table
    when = pd.Timestamp("2026-03-01") + pd.to_timedelta(table["timestamp"] / DAY, unit="D")
    columns = {"user": "learner", "correct": "correct", "skill": "skill", "item": "item"}
    return table.rename(columns=columns)[list(columns.values())].assign(timestamp=when)


@pytest.fixture(scope="module")
def model(answers, tmp_path_factory):
    out = tmp_path_factory.mktemp("retentive") / "run"
    return kt.fit(answers, preset="smoke", mode="retentive", out=out, progress=False, **SMALL)


def test_gains_fade_by_the_day_where_times_are_known(model):
    assert model.run.model.timed
    tried = model.run.provenance["skeleton"]
    assert tried["without transfer"] < tried["without forgetting"] + 0.01
    frame = model.trajectory(model.splits.test.learners[0])
    assert frame["in_hindsight"].between(0, 1).all()


def test_by_steps_where_they_are_not(answers, tmp_path):
    without = answers.drop(columns="timestamp")
    settings = {"preset": "smoke", "mode": "retentive", "progress": False, **SMALL}
    by_steps = kt.fit(without, out=tmp_path / "none", **settings)
    told = kt.fit(answers, out=tmp_path / "told", **settings, **{"model.times": False})
    assert not by_steps.run.model.timed and not told.run.model.timed
    assert len(by_steps.mastery(answers)) == len(by_steps.mastery(without))


def test_a_model_of_days_needs_times(model, answers):
    with pytest.raises(kt.KTError, match="trained with the times of the answers"):
        model.mastery(answers.drop(columns="timestamp"))


def test_a_live_learner_is_the_table_answer_by_answer(model, answers):
    learner = model.splits.test.learners[0]
    own = answers[answers["learner"] == learner].reset_index(drop=True)
    said, live = model.predict(own)["probability"], model.live()
    for step, row in own.iterrows():
        if step:
            now = live.predict(row["skill"], row["item"], when=row["timestamp"])
            assert now == pytest.approx(said[step], abs=1e-5)
        live.answer(row["skill"], row["correct"], row["item"], when=str(row["timestamp"]))
    mastery = model.mastery(own).set_index("skill")["mastery"]
    for skill, value in mastery.items():
        assert live.mastery(skill) == pytest.approx(value, abs=1e-5)
    last = own["timestamp"].iloc[-1]
    for when, words in (
        (None, "give a date and time"),
        ("soon", "give a date and time"),
        (last - pd.Timedelta(days=1), "the last answer was given at"),
    ):
        with pytest.raises(kt.KTError, match=words):
            live.answer(own["skill"].iloc[0], 1, when=when)
    skill = own["skill"].mode()[0]
    later = [live.predict(skill, when=last + pd.Timedelta(days=n)) for n in (0, 10, 1000)]
    assert later[0] > later[1] > later[2] > 0  # a break only takes away


def test_the_parts_of_a_prediction_hold_what_was_forgotten(model, answers):
    learner = model.splits.test.learners[0]
    own = answers[answers["learner"] == learner]
    steps = len(own)
    said = model.predict(own)["probability"]
    parts = model.explain(learner, steps, own)
    assert parts["logit"].sum() == pytest.approx(parts.attrs["logit"], abs=1e-4)
    assert parts.attrs["probability"] == pytest.approx(said.iloc[-1], abs=1e-5)
    assert (parts["part"] == "forgotten").sum() == 1
    assert parts.loc[parts["part"] == "forgotten", "logit"].item() <= 0
    ax = kt.plots.plot_waterfall(parts, plt.subplots()[1])
    assert "forgotten" in [label.get_text() for label in ax.get_xticklabels()]
    heights = [bar.get_height() for bar in ax.patches]
    assert sum(heights[:-1]) == pytest.approx(heights[-1], abs=1e-4)


def test_the_report_judges_what_breaks_may_do(model):
    examined = kt.examine(model.run.path)
    found = examined.measures.violations.set_index("constraint")
    names = ["monotonicity", "negative_gains", "bounds", "rise_in_break", "below_start"]
    assert (found.loc[names, "broken"] == 0).all() and (found.loc[names, "places"] > 0).all()
    filtered = examined.beliefs.frame
    assert np.isfinite(filtered["mastery_last"]).all()
