"""Using a model: predictions for new learners, step by step, explained, with an interval."""

import copy

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.special import expit, logit

from kt_core.base.errors import KTError
from kt_core.base.files import write_table
from kt_core.cli.commands import main
from kt_core.data import Dataset, Simulation, known_answers, make_splits, simulate
from kt_core.data.reading.note import ReadingNote
from kt_core.learners.explain import explain
from kt_core.learners.predict import LiveLearner, predict
from kt_core.mastery import PathTerms
from kt_core.plots.explanation import _bars
from kt_core.training.train import train
from kt_core.uncertainty import Uncertainty, coverage, fit_uncertainty


@pytest.fixture(scope="module")
def histories():
    return simulate(Simulation(learners=5, seed=3), "new")


def test_predictions_are_the_filtered_state_of_each_learner(trained, histories):
    result = predict(trained, histories)
    assert list(result)[:5] == ["learner", "skill", "mastery", "low", "high"]
    table = histories.table
    assert len(result) == len(table.groupby(["user", "skill"]))
    learner = table["user"].iloc[0]
    live, own = LiveLearner(trained), table[table["user"] == learner]
    for row in own.itertuples():
        live.answer(row.skill, row.correct, row.item)
    for row in result[result["learner"] == learner].itertuples():
        assert live.mastery(row.skill) == pytest.approx(row.mastery, abs=1e-5)
        assert row.low <= row.mastery <= row.high
        assert row.opportunities == (own["skill"] == row.skill).sum() and row.steps == len(own)
    every = predict(trained, histories, every_skill=True)
    assert len(every) == 5 * 20 and set(every["opportunities"]) >= {0}
    assert live.mastery().to_numpy() == pytest.approx(
        every.loc[every["learner"] == learner, "mastery"], abs=1e-5
    )


def test_one_answer_is_enough_and_no_answer_is_not(trained):
    live = LiveLearner(trained)
    with pytest.raises(KTError, match="no answers yet"):
        live.mastery("skill 03")
    with pytest.raises(KTError, match="no answers yet"):
        live.predict("skill 03")
    live.answer("skill 03", True)
    assert 0 < live.mastery("skill 03") < 1
    k = torch.tensor([[trained.vocabulary.skills.index("skill 03")] * 2])
    with torch.no_grad():
        model = trained.model
        form = PathTerms(model.heads, model.encode(k, torch.tensor([[1, 0]]))).form().item()
    want = expit(logit(live.mastery("skill 03")) + form)
    assert live.predict("skill 03") == pytest.approx(want, abs=1e-6)
    one = pd.DataFrame({"user": ["a"], "skill": ["skill 03"], "correct": [1]})
    result = predict(trained, Dataset("one", one))
    assert result["mastery"].item() == pytest.approx(live.mastery("skill 03"), abs=1e-6)
    with pytest.raises(KTError, match="skill 'magic' is not one of the 20 skills"):
        live.answer("magic", True)


@pytest.mark.parametrize("name", ["m.csv", "m.parquet"])
def test_tables_are_written_whole(tmp_path, name):
    table = pd.DataFrame({"learner": ["ä"], "mastery": [0.5]})
    path = write_table(table, tmp_path / name)
    read = pd.read_csv if name.endswith("csv") else pd.read_parquet
    pd.testing.assert_frame_equal(read(path), table, check_dtype=False)
    assert [p.name for p in tmp_path.iterdir()] == [name]
    with pytest.raises(KTError, match=r"name it \.parquet or \.csv"):
        write_table(table, tmp_path / "m.xlsx")
    with pytest.raises(KTError, match="cannot be written"):
        write_table(table, tmp_path / "nowhere" / name)


def test_the_parts_sum_to_the_logit(trained, smoke):
    _, splits = smoke
    s, vocabulary = splits.test, splits.vocabulary
    learner = s.learners[0]
    steps = int(s.lengths[s.learner == 0].sum())
    for step in (2, steps // 2, steps):
        parts = explain(trained.model, s, vocabulary, learner, step)
        assert parts["logit"].sum() == pytest.approx(parts.attrs["logit"], abs=1e-5)
        gains = parts[parts["part"] == "gain"]
        assert (gains["logit"] > 0).all() and (gains["step"] < step).all()
        assert set(gains["skill"]) <= {parts.attrs["asked"]}
        kinds = ["skill", "ability", "start on the skill", "network", "form"]
        assert [(parts["part"] == kind).sum() for kind in kinds] == [1] * 5
        assert _bars(parts, 8)["logit"].sum() == pytest.approx(parts.attrs["logit"], abs=1e-5)
        belief = parts[parts["part"].isin(kinds[:4])]
        q, r, i = (torch.from_numpy(x[:steps])[None] for x in (s.skill, s.response, s.item))
        states = trained.model.forward_with_states(
            q[:, : step - 1], r[:, : step - 1], i[:, : step - 1]
        )
        want = states.belief[0, -1, q[0, step - 1]].item()
        assert belief["logit"].sum() == pytest.approx(want, abs=1e-5)
        on_skill = np.flatnonzero(s.skill[: step - 1] == s.skill[step - 1]) + 1
        assert gains["step"].tolist() == [*on_skill]
    with pytest.raises(KTError, match=f"has predicted answers 2 to {steps}"):
        explain(trained.model, s, vocabulary, learner, 1)
    with pytest.raises(KTError, match="learner 'nobody' is not in this split"):
        explain(trained.model, s, vocabulary, "nobody", 2)


def test_an_item_met_before_is_a_part_of_the_logit(trained, smoke):
    s, model = smoke[1].test, copy.deepcopy(trained.model)
    model.difficulty.repeat.copy_(torch.tensor([0.7, 0.2]))
    rows = s.starts[0] + np.arange(s.lengths[0])
    items = s.item[rows].tolist()
    met = [items[:t].count(item) if item else 0 for t, item in enumerate(items)]
    step = 1 + max(range(1, len(items)), key=lambda t: met[t])
    times = met[step - 1]
    assert times > 0
    parts = explain(model, s, smoke[1].vocabulary, s.learners[s.learner[0]], step)
    assert parts["logit"].sum() == pytest.approx(parts.attrs["logit"], abs=1e-5)
    by = parts.set_index("part")["logit"]
    worth = parts.attrs["shrink"] * (0.7 + 0.2 * np.log(times))
    assert by["item met before"] == pytest.approx(worth, abs=1e-5)
    before = explain(trained.model, s, smoke[1].vocabulary, s.learners[s.learner[0]], step)
    assert "item met before" not in set(before["part"])
    mastery = by.drop(["form", "item difficulty", "item met before"]).groupby(level=0).sum().sum()
    assert parts.attrs["mastery"] == pytest.approx(expit(mastery), abs=1e-5)
    bars = _bars(parts, 8)
    assert bars["label"].iloc[-1] == "met\nbefore"
    assert bars["logit"].sum() == pytest.approx(parts.attrs["logit"], abs=1e-5)


@pytest.mark.parametrize("after", [(0.0, 0.0), (0.5, 0.5), (1.5, 0.0)], ids=str)
def test_scale_and_doubt_that_fit_the_next_answers_are_found(after):
    """Of learners whose levels differ more than is believed, where little is known and where much
    is; also where errors alone teach, after which answers are less alike than they would be."""
    rng, n = np.random.default_rng(0), 60_000
    deviation = rng.choice([0.2, 1.0], n)
    level = 0.4 + np.hypot(1.4 * deviation, 0.8) * rng.normal(size=n)
    correct, practice = np.zeros((2, n, 3))  # a state, and two answers after it
    correct[:, 1] = rng.random(n) < expit(level)
    practice[:, 2] = np.where(correct[:, 1], after[1], after[0])
    correct[:, 2] = rng.random(n) < expit(level + practice[:, 2])
    number = np.repeat(np.arange(n), 3)
    frame = pd.DataFrame({"sequence": number, "skill": 0, "correct": correct.ravel()})
    believed = expit(0.4 / np.sqrt(1 + np.pi / 8 * deviation**2))
    states = {"deviation": deviation, "mastery_post": believed}
    states = {name: np.repeat(x, 3) for name, x in states.items()}
    frame = frame.assign(practice=practice.ravel(), speed=1.0, **states)
    uncertainty = fit_uncertainty(frame)
    assert uncertainty.scale == pytest.approx(1.4, rel=0.1)
    assert uncertainty.doubt == pytest.approx(0.8, rel=0.1)
    low, high = uncertainty.interval(believed, deviation)
    held = (expit(level) >= low) & (expit(level) <= high)
    for known in (0.2, 1.0):
        assert held[deviation == known].mean() == pytest.approx(0.95, abs=0.01)


def test_intervals_are_quantiles_that_hold_the_value():
    mastery, deviation = np.array([0.5, 0.0, 1.0, 0.8]), np.array([1.0, 1.0, 1.0, 0.0])
    low, high = Uncertainty(1.5).interval(mastery, deviation)
    assert (low[0], high[0]) == pytest.approx((expit(-1.96 * 1.5), expit(1.96 * 1.5)), abs=1e-4)
    assert low[1] == 0 and high[2] == 1 and (low <= high).all()
    assert low[3] == pytest.approx(0.8) == high[3]


def test_coverage_counts_what_intervals_hold():
    frame = pd.DataFrame({"mastery_post": 0.5, "deviation": 1.0, "true_mastery": [0.5, 0.2, 0.01]})
    assert coverage(frame, Uncertainty(1.0)).tolist() == [True, True, False]


def test_one_answer_per_skill_teaches_no_spread(smoke, tmp_path):
    config, splits = smoke
    once = splits.dataset.table.drop_duplicates(["user", "skill"]).reset_index(drop=True)
    exam = make_splits(Dataset("exam", once), config.data)
    run = train(config, exam, tmp_path / "exam")
    assert run.uncertainty is None and not (run.path / "uncertainty.json").exists()
    assert "low" not in predict(run, Dataset("exam", once))


def test_predict_from_the_command_line(trained, histories, tmp_path, capsys):
    table = histories.table[["user", "skill", "correct", "item"]]
    table.rename(columns={"user": "Student"}).to_csv(tmp_path / "a.csv", index=False)
    data, out = str(tmp_path / "a.csv"), str(tmp_path / "m.parquet")
    call = ["predict", str(trained.path), "--data", data, "--out", out]
    assert main([*call, "--column", "user=Student"]) == 0
    assert "5 learners" in capsys.readouterr().out
    pd.testing.assert_frame_equal(pd.read_parquet(out), predict(trained, histories), atol=1e-6)
    table.assign(skill="magic").to_csv(tmp_path / "a.csv", index=False)
    assert main(call) == 2
    assert "none of its skills ('magic') is one of the 20 skills" in capsys.readouterr().err


def test_what_the_model_does_not_know_is_left_out_and_counted(trained, histories):
    table = histories.table[["user", "skill", "correct", "item"]]
    strange = table.assign(skill=table["skill"].where(table.index % 5 > 0, "magic"))
    pair = "skill 00+skill 01"
    strange["skill"] = strange["skill"].where(table.index % 7 > 0, pair)
    strange.loc[table["user"] == table["user"].iloc[-1], "skill"] = "magic"
    known = strange["skill"].isin(trained.vocabulary.skills)
    want = predict(trained, Dataset("known", strange[known].reset_index(drop=True)))
    pd.testing.assert_frame_equal(predict(trained, Dataset("all", strange)), want)
    pd.testing.assert_frame_equal(predict(trained, table), predict(trained, histories))
    several = ReadingNote(several={pair: ("skill 00", "skill 01")})
    note = known_answers(Dataset("all", strange, several), trained.vocabulary).note
    counts = {what.split(",")[0]: count for what, count in note.counts.items()}
    assert (
        counts["answers on 1 skills that the model does not know"]
        == (strange["skill"] == "magic").sum()
    )
    new = counts["answers on 1 new combinations of skills that it knows"]
    assert new == (strange["skill"] == pair).sum() > 0
    assert counts["learners without an answer on a skill that the model knows"] == 1
    items = Dataset("items", table.assign(item="new"))
    (what,) = known_answers(items, trained.vocabulary).note.counts
    assert what == "answers on items that the model does not know, read without a difficulty"


@pytest.mark.parametrize("value", [2, -1, np.nan, None, "1", 1.0, 0.5])
def test_a_live_answer_is_right_or_wrong_and_nothing_else(trained, value):
    live = LiveLearner(trained)
    with pytest.raises(KTError, match="correct = .*: expected true or false, or 1 or 0"):
        live.answer("skill 03", value)
    assert live.history == []


def test_live_answers_of_any_kind_of_truth(trained):
    live = LiveLearner(trained)
    for value in (True, 0, np.int8(1), np.bool_(False)):
        live.answer("skill 03", value)
    assert [answer[1] for answer in live.history] == [1, 0, 1, 0]
    for wrong in (lambda: live.answer(3, True), lambda: live.answer("skill 03", True, item=7)):
        with pytest.raises(KTError, match="expected the name of"):
            wrong()
    with pytest.raises(KTError, match="expected the name of an item"):
        live.predict("skill 03", item=None)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda t: t.assign(correct=t["correct"].where(t.index != 1)), "row 2: response nan is"),
        (lambda t: t.assign(correct=t["correct"] * 2), "response 2 is not 0 or 1"),
        (lambda t: t.assign(skill=t["skill"].where(t.index != 2)), "row 3: skill is empty"),
        (lambda t: t.assign(user=t["user"].where(t.index != 0, " ")), "row 1: user is empty"),
        (lambda t: t.drop(columns="skill"), "no column skill"),
        (lambda t: t.iloc[::9], "rows of a learner are not one after the other"),
    ],
)
def test_a_table_handed_over_is_checked(histories, change, words):
    table = histories.table
    mixed = table.iloc[np.argsort(np.arange(len(table)) % 50, kind="stable")]
    table = change(mixed if "after" in words else table).reset_index(drop=True)
    with pytest.raises(KTError, match=words):
        Dataset("mine", table)


@pytest.mark.parametrize("when", ["03/04/2026", "soon", "", 20, True, None, 1.5, [1]])
def test_a_time_that_may_mean_two_things_is_refused(trained, monkeypatch, when):
    monkeypatch.setattr(type(trained.model), "timed", True)
    with pytest.raises(KTError, match="give a date and time, such as when='2026-03-01 14:30'"):
        LiveLearner(trained)._time(when)


def test_times_with_and_without_a_zone_are_one_clock(trained, monkeypatch):
    monkeypatch.setattr(type(trained.model), "timed", True)
    live, noon = LiveLearner(trained), pd.Timestamp("2026-03-01 12:00")
    for same in (
        "2026-03-01 12:00",
        "2026-03-01T13:00+01:00",
        noon,
        noon.tz_localize("UTC"),
        noon.to_pydatetime(),
        np.datetime64("2026-03-01T12:00"),
    ):
        live.history = [(0, 0, 1, live._time(same))]
        assert live._time("2026-03-01 12:00").timestamp() == noon.timestamp()
        with pytest.raises(KTError, match="the last answer was given at 2026-03-01 12:00"):
            live._time("2026-03-01T12:30+01:00")
