"""Learners and cohorts: who is shown, what the frames hold, and the explorer over them."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from kt_core import plots
from kt_core.base.errors import KTError
from kt_core.config import ModelConfig
from kt_core.evaluation.beliefs import Beliefs
from kt_core.learners import cohort
from kt_core.model import GainAKT2
from kt_core.notebook.explorer import Explorer
from kt_core.report.examine import examine


@pytest.fixture(scope="module")
def examined(trained):
    return examine(trained.path)


@pytest.fixture
def explorer(examined):
    return Explorer(examined.run, examined.splits, "test", examined.beliefs)


def test_learners_are_chosen_by_rule(examined):
    beliefs = examined.beliefs
    frame = beliefs.frame[beliefs.frame["chunk"] == 0]
    longest = cohort.choose_learners(beliefs, "longest")
    sizes = frame.groupby("sequence").size()
    assert sizes[longest[0]] == sizes.max()
    steep, flat = (cohort.choose_learners(beliefs, r) for r in ("steepest", "flattest"))
    pairs = frame.groupby(["sequence", "skill"])["mastery_last"]
    growth = (pairs.last() - pairs.first()).groupby("sequence").mean()
    assert growth[steep].min() >= growth[flat].max()
    with pytest.raises(KTError, match="rule 'luck'"):
        cohort.choose_learners(beliefs, "luck")


def test_named_learners(examined):
    splits = examined.splits
    name = str(splits.test.learners[2])
    i = cohort.sequences_of(splits, "test", [name])[0]
    assert cohort.learner_name(splits, "test", i) == name
    with pytest.raises(KTError, match="learner 'nobody' has no sequence in the test split"):
        cohort.sequences_of(splits, "test", ["nobody"])


def test_any_learner_can_be_shown_whichever_split_they_are_in(examined, explorer):
    run, splits = examined.run, examined.splits
    names = [str(part.learners[1]) for part in (splits.train, splits.valid, splits.test)]
    own = cohort.only(splits, names)
    found = [cohort.learner_name(own, "valid", i) for i in cohort.sequences_of(own, "valid", names)]
    assert found == names
    i = cohort.sequences_of(splits, "test", [names[2]])[0]
    j = cohort.sequences_of(own, "test", [names[2]])[0]
    frames = [cohort.learner_frame(run.model, s, "test", k) for s, k in ((splits, i), (own, j))]
    pd.testing.assert_frame_equal(*frames)
    with pytest.raises(KTError, match="learner 'nobody' has no sequence in the data"):
        cohort.only(splits, [names[0], "nobody"])
    explorer.search.value = names[0]  # of the training split
    assert explorer.learner.options[-1] == (names[0], names[0])
    explorer.learner.value = names[0]
    assert explorer.frame["step"].max() == splits.train.lengths[splits.train.learner == 1].sum()
    explorer.step.value = 2
    assert bytes(explorer.waterfall.value).startswith(b"\x89PNG")


def test_learner_frame_agrees_with_the_evidence(examined):
    i = cohort.choose_learners(examined.beliefs)[0]
    frame = cohort.learner_frame(examined.run.model, examined.splits, "test", i)
    asked = frame[frame["asked"]].sort_values("step")
    rows = examined.beliefs.frame[examined.beliefs.frame["sequence"] == i]
    np.testing.assert_allclose(asked["mastery"], rows["mastery_last"], atol=1e-5)
    np.testing.assert_allclose(asked["filtered"], rows["mastery_post"], atol=1e-5)
    assert asked["correct"].tolist() == rows["correct"].tolist()
    assert frame["correct"].notna().sum() == len(rows)


def test_the_most_revised_are_those_whose_past_looks_different_now(examined):
    beliefs = examined.beliefs
    frame = beliefs.frame[beliefs.frame["chunk"] == 0]
    moved = (frame["mastery_post"] - frame["mastery_last"]).abs().groupby(frame["sequence"]).mean()
    ranked = cohort.rank_learners(beliefs, "most revised", minimum=3)
    assert moved[ranked].is_monotonic_decreasing and len(ranked) == len(moved)


def synthetic(answers, end, growth, learners=12):
    """Learners with so many answers on skill 0, who end there after that growth."""
    T = max(answers, 2)
    rows = [
        {"learner": i, "sequence": i, "chunk": 0, "step": t, "skill": 0, "correct": t % 2}
        for i in range(learners)
        for t in range(T)
    ]
    frame = pd.DataFrame(rows)
    frame["mastery_post"] = end - growth * (1 - frame["step"] / (T - 1))
    return Beliefs(frame, np.arange(learners), final=np.full((learners, 1), end))


@pytest.mark.parametrize(
    ("answers", "end", "growth", "stuck"),
    [(8, 0.3, 0.05, 1.0), (8, 0.6, 0.05, 0.0), (8, 0.3, 0.2, 0.0), (7, 0.3, 0.05, np.nan)],
)
def test_nobody_is_stuck_on_a_handful_of_answers(answers, end, growth, stuck):
    beliefs = synthetic(answers, end, growth)
    table = cohort.skill_growth(beliefs, ("algebra",), resamples=50)
    np.testing.assert_equal(table["stuck"].to_numpy(), [stuck])
    assert table["growth"].iloc[0] == pytest.approx(growth)
    ranked = cohort.rank_learners(beliefs, "stuck", minimum=3)
    assert len(ranked) == (12 if stuck == 1 else 0)
    axes = Figure().subplots(1, 2)
    plots.plot_skill_growth(table, axes)
    words = [text.get_text() for text in axes[1].texts]
    assert words == ["too few (n=0)" if answers < 8 else f"{stuck:.0%} of 12"]


def test_a_frame_at_a_horizon_holds_what_was_believed_then(examined):
    run, splits = examined.run, examined.splits
    i = cohort.choose_learners(examined.beliefs, "longest")[0]
    whole = cohort.learner_frame(run.model, splits, "test", i, 0, run.uncertainty)
    at = cohort.learner_frame(run.model, splits, "test", i, 5, run.uncertainty)
    assert at["mastery"].notna().tolist() == (at["step"] <= 5).tolist()
    now = at[at["step"] == 5]
    np.testing.assert_allclose(now["mastery"], now["filtered"], atol=1e-6)
    np.testing.assert_array_equal(at["filtered"], whole["filtered"])
    assert (at["low"] <= at["filtered"]).all() and (at["filtered"] <= at["high"]).all()
    steps = int(whole["step"].max())
    with pytest.raises(KTError, match=f"this history has steps 1 to {steps}"):
        cohort.learner_frame(run.model, splits, "test", i, steps + 1)


def test_transfer_is_shown_where_the_model_has_it(examined):
    names = examined.splits.vocabulary.skills
    assert cohort.transfer_shares(examined.run.model, examined.beliefs, names) is None
    model = GainAKT2(ModelConfig(d_model=16, heads=2, d_ff=16), len(names))
    model.heads.skeleton.raw_transfer.fill_(0.2)
    shares = cohort.transfer_shares(model, examined.beliefs, names)
    assert (np.diag(shares) == 1).all() and shares.shape[0] == shares.shape[1]
    ax = plots.plot_transfer(shares, Figure().subplots())
    assert ax.get_xlabel() == "reaches"


def test_the_explorer_follows_its_controls(explorer):
    pictures = [bytes(explorer.trajectory.value)]

    def changed():
        pictures.append(bytes(explorer.trajectory.value))
        return pictures[-1] != pictures[-2]

    assert pictures[0].startswith(b"\x89PNG")
    other = explorer.learner.options[1]
    explorer.learner.value = other[1]
    assert changed() and explorer.horizon.value == explorer.frame["step"].max()
    explorer.horizon.value = 3
    assert changed() and explorer.frame["mastery"].notna().sum() < len(explorer.frame)
    explorer.skills.value = explorer.skills.value[:1]
    assert changed()
    waterfall = bytes(explorer.waterfall.value)
    explorer.step.value = 2 if explorer.step.value != 2 else 3
    assert bytes(explorer.waterfall.value) != waterfall


def test_the_explorer_searches_and_ranks(explorer):
    name = explorer.learner.options[-1][0]
    explorer.search.value = name
    listed = [n for n, _ in explorer.learner.options]
    assert name in listed and all(name in n for n in listed)
    explorer.search.value = "no such learner"
    assert explorer.learner.options == () and explorer.note.value == "0 learners"
    explorer.search.value = ""
    for rule in cohort.RULES:
        explorer.rule.value = rule
        ranked = cohort.rank_learners(explorer.beliefs, rule, uncertainty=explorer.run.uncertainty)
        assert [i for _, i in explorer.learner.options] == ranked[:200]
