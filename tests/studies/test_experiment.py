"""Experiments: a synthetic one whose effects are known, and the built-in one as it was observed."""

import copy
import dataclasses
import json

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import needs_data

from kt_core.base.errors import KTError
from kt_core.baselines.counts import counts_before
from kt_core.baselines.logistic import PFA
from kt_core.baselines.registry import BASELINES
from kt_core.cli.commands import main
from kt_core.cli.experiment import conditions_of
from kt_core.config import ModelConfig, with_overrides
from kt_core.data import Dataset, ReadOptions, Vocabulary, read_dataset
from kt_core.data.folds import divided, groups
from kt_core.data.pseudonyms import Pseudonyms
from kt_core.data.sequences import make_splits
from kt_core.evaluation.evaluate import evaluate
from kt_core.evaluation.tracer import Trace
from kt_core.model import GainAKT2
from kt_core.presets import preset
from kt_core.studies import experiment as study
from kt_core.studies.outcome import Experiment, memphis, read_experiment

LEARNERS, SKILLS = 40, ("a", "b", "c", "d")
BREAKS = ("short", "long")


def practice():
    """Each learner practises one skill 4 times, one twice, one once, and one not at all."""
    rows = []
    for number in range(LEARNERS):
        for place, dose in enumerate((4, 2, 1, 0)):
            skill = SKILLS[(place + number // 2) % 4]
            for n in range(dose):
                item = f"{skill}{n % 2}"
                rows.append((f"u{number:02d}", skill, (number + n) % 2, item))
    return pd.DataFrame(rows, columns=["user", "skill", "correct", "item"])


def posttest():
    """Shares right by dose: 0.25 where there was none, else 0.75; after the long break 0.25 less
    on practised skills alone. Four learners in a row make one share exactly."""
    rows = []
    for number in range(LEARNERS):
        after = BREAKS[number % 2]
        for place, dose in enumerate((4, 2, 1, 0)):
            skill = SKILLS[(place + number // 2) % 4]
            share = 0.25 if dose == 0 else 0.75 - 0.25 * (after == "long")
            right = int((number // 2) % 4 < 4 * share)
            rows.append((f"u{number:02d}", skill, right, dose, after, f"{skill}1"))
    return pd.DataFrame(rows, columns=["student", "kc", "correct", "dose", "break", "item"])


def files(folder, outcome=None):
    practice().to_csv(folder / "practice.csv", index=False)
    (posttest() if outcome is None else outcome).to_csv(folder / "outcome.csv", index=False)
    return folder / "practice.csv", folder / "outcome.csv"


@pytest.fixture
def tiny(tmp_path):
    data, outcome = files(tmp_path)
    named = {"dose": (), "break": BREAKS}
    return read_experiment(read_dataset(data), outcome, named)


class Counter:
    """Predicts 0.2 and 0.15 more for each practice of the skill, and keeps whom it has seen."""

    name, seen = "counter", None

    def fit(self, splits, seed=0):
        self.seen = {*splits.train.learners, *splits.valid.learners}
        self.skills = len(splits.vocabulary.skills)
        asked = {*splits.test.learners}
        assert len(asked) == LEARNERS // 5 and not asked & self.seen

    def trace(self, sequences):
        counts = counts_before(sequences, self.skills)
        return Trace(0.2 + 0.15 * (counts.right + counts.wrong))


@pytest.fixture
def config():
    return with_overrides(preset("smoke"), {"train.progress": False})


def effect(table, condition, level, on="all"):
    rows = table[(table["kind"] == "effect") & (table["condition"] == condition)]
    return rows[(rows["level"] == level) & (rows["on"] == on)].iloc[0]


def test_known_effects(tiny, config, monkeypatch):
    monkeypatch.setitem(BASELINES, "counter", Counter)
    monkeypatch.setattr("kt_core.studies.models.BASELINES", tuple(BASELINES))
    predicted = study.cross_fitted(tiny, ["counter"], config, told=lambda text: None)
    dose = tiny.outcome["dose"].astype(int).to_numpy()
    assert np.allclose(predicted["counter"], 0.2 + 0.15 * dose)
    table = study.compare(tiny, predicted, resamples=200)
    for level, told in (("1", 0.15), ("2", 0.3), ("4", 0.6)):
        row = effect(table, "dose", level)
        assert row["observed"] == pytest.approx(0.625 - 0.25)
        assert row["predicted"] == pytest.approx(told)
        assert row["difference"] == pytest.approx(told - 0.375)
        assert row["inside"] == (row["observed_low"] <= told <= row["observed_high"])
    assert effect(table, "dose", "4")["against"] == "0"
    assert not effect(table, "dose", "4")["inside"]
    observed = {"all": -0.1875, "practised": -0.25, "unpractised": 0.0, "net": -0.25}
    for on, value in observed.items():
        row = effect(table, "break", "long", on)
        assert row["observed"] == pytest.approx(value)
        assert row["predicted"] == pytest.approx(0, abs=1e-12)  # a model without a clock
    assert set(table[table["condition"] == "dose"]["on"]) == {"all"}  # dose says what is practised
    cells = table[(table["kind"] == "cell") & (table["condition"] == "dose x break")]
    assert len(cells) == 8
    cell = cells[cells["level"] == "2 x long"].iloc[0]
    assert (cell["observed"], cell["predicted"]) == pytest.approx((0.5, 0.5))
    assert (cell["answers"], cell["learners"]) == (20, 20)


def test_a_model_that_knows_the_outcome_is_inside_everywhere(tiny):
    truth = {"oracle": tiny.outcome["correct"].to_numpy(float)}
    table = study.compare(tiny, truth, resamples=100)
    assert table["inside"].all() and np.allclose(table["difference"], 0)
    assert np.allclose(table["difference_low"], 0) and np.allclose(table["difference_high"], 0)
    text = study.effects_text(table)
    assert "break: long against short, net" in text and "outside" not in text


def test_the_question_comes_after_the_practice():
    table = practice()
    vocabulary = Vocabulary.of(table)
    asked = pd.DataFrame({"learner": ["u03", "u00"], "skill": ["d", "a"], "item": ["d9", "a1"]})
    sequences = study.with_question(table, asked, vocabulary, reach=200)
    assert sequences.lengths.tolist() == [8, 8] and sequences.starts.tolist() == [0, 8]
    own = table[table["user"] == "u03"]
    names = np.array(vocabulary.skills)[sequences.skill]
    assert names[:8].tolist() == [*own["skill"], "d"] and names[15] == "a"
    assert sequences.response[:7].tolist() == own["correct"].tolist()
    assert sequences.item[7] == 0  # never met
    assert vocabulary.items[sequences.item[15] - 1] == "a1"
    short = study.with_question(table, asked, vocabulary, reach=3)
    assert short.lengths.tolist() == [3, 3]
    assert short.response[:2].tolist() == own["correct"].tolist()[-2:]


def test_a_clock_tells_the_break_before_the_question():
    """In `retentive` with times, a later question finds less of what was gained."""
    table, day = practice(), 86_400
    table = table.assign(timestamp=60 * np.arange(len(table)))
    own = table[table["user"] == "u03"].iloc[-1]
    later = [own["timestamp"] + 60, own["timestamp"] + 30 * day]
    asked = pd.DataFrame({"learner": "u03", "skill": own["skill"], "timestamp": later})
    vocabulary = Vocabulary.of(table)
    sequences = study.with_question(table, asked, vocabulary, 200, day)
    assert sequences.dated and sequences.time[[7, 15]] * day == pytest.approx(asked["timestamp"])
    model = GainAKT2(ModelConfig(mode="retentive", d_model=16, heads=2), len(vocabulary.skills))
    model.heads.skeleton.retention.begin(True)

    def predict(s):
        return evaluate(model.eval(), s, flips=False).frame["predicted"].to_numpy()

    soon, late = study.answers(predict, table, asked, vocabulary, 200, day)
    assert late < soon


def test_without_times_of_the_questions_a_clock_is_refused(tiny, config):
    dated = dataclasses.replace(tiny.practice.note, day=1.0)
    timed = dataclasses.replace(tiny, practice=dataclasses.replace(tiny.practice, note=dated))
    with pytest.raises(KTError, match="model.times=false"):
        study.cross_fitted(timed, ["AFM", "retentive"], config)


def test_predictions_are_the_state_at_the_end_of_the_practice(trained, smoke):
    """Read in two ways: an unanswered step, or the final state and the item's difficulty."""
    model, splits = copy.deepcopy(trained.model), smoke[1]
    with torch.no_grad():  # what is not mastery says nothing
        for weight in (*model.heads.form.parameters(), model.difficulty.raw):
            weight.zero_()
    table = splits.dataset.table
    learners = [str(who) for who in splits.test.learners[:5]]
    skills = list(splits.vocabulary.skills[:3])
    pairs = [(who, skill) for who in learners for skill in skills]
    outcome = pd.DataFrame(pairs, columns=["learner", "skill"])
    items = table.drop_duplicates("skill").set_index("skill")["item"]
    outcome["item"] = outcome["skill"].map(items)

    def predict(sequences):
        return evaluate(model, sequences, flips=False).frame["predicted"].to_numpy()

    found = study.answers(predict, table, outcome, splits.vocabulary, 10**6)
    sequences = splits.test.whole()
    final = evaluate(model, splits.test).final
    last = np.flatnonzero(np.append(np.diff(splits.test.learner), 1))  # chunk of each learner
    rows = [list(sequences.learners).index(who) for who in outcome["learner"]]
    ids = splits.vocabulary.ids(outcome["skill"])
    mastery = final[last[rows], ids]
    assert np.allclose(found, mastery, atol=1e-5)


def test_what_is_answered_to_the_question_changes_nothing(tiny, config, monkeypatch):
    tracer = PFA()
    group = groups(tiny.practice, 5, 0)
    splits = make_splits(divided(tiny.practice, group, 0, 5), config.data)
    assert len(splits.test.learners) == 8 and len(splits.train.learners) == 24
    tracer.fit(splits)
    table, vocabulary = tiny.practice.table, splits.vocabulary

    def ask():
        def predict(sequences):
            last = sequences.starts + sequences.lengths - 1
            sequences.response[last] = response
            return tracer.trace(sequences).predicted

        return study.answers(predict, table, tiny.outcome, vocabulary, 200)

    response = 0
    first = ask()
    response = 1
    assert np.array_equal(first, ask())
    monkeypatch.setattr(study, "STEPS", 20)  # in many pieces
    assert np.array_equal(first, ask())


def test_without_skills_an_answer_counts_as_one_on_all_skills(tmp_path):
    exam = pd.DataFrame({"learner": ["u00", "u01"], "correct": [0.5, 1], "group": ["x", "y"]})
    data, outcome = files(tmp_path, exam)
    found = read_experiment(read_dataset(data), outcome, {"group": ()})
    assert not found.by_skill and any("no skill in the post-test" in r for r in found.remarks)
    vocabulary = Vocabulary.of(found.practice.table)

    def predict(sequences):
        return sequences.skill / 10

    told = study.answers(predict, found.practice.table, found.outcome, vocabulary, 200)
    assert np.allclose(told, np.mean([0, 0.1, 0.2, 0.3]))
    table = study.compare(found, {"m": told}, resamples=50)
    assert set(table["on"]) == {"all"}


def test_what_is_left_out_is_told(tmp_path):
    outcome = posttest()
    outcome.loc[0, "student"], outcome.loc[1, "kc"] = "stranger", "z"
    data, path = files(tmp_path, outcome.assign(age=9))
    found = read_experiment(read_dataset(data), path, {"dose": ("4", "0", "1", "2")})
    assert len(found.outcome) == len(outcome) - 2 and found.conditions["dose"][0] == "4"
    said = "; ".join(found.remarks)
    for part in (
        "no learner 'stranger'",
        "no skill 'z'",
        "not used: break, age",
        "within learners",
    ):
        assert part in said, part


@pytest.mark.parametrize(
    ("change", "conditions", "message"),
    [
        ({}, {"drug": ()}, "no column 'drug'; it has: student, kc, correct, dose, break, item"),
        ({}, {}, "an experiment needs what was assigned: --condition COLUMN"),
        ({}, {"item": ()}, "--condition item: this name has another meaning"),
        ({"correct": "maybe"}, {"dose": ()}, "outcome.csv, line 2: response 'maybe' is not 0 or 1"),
        ({"correct": 2}, {"dose": ()}, "line 2: response '2' is not 0 or 1"),
        ({"student": ""}, {"dose": ()}, "line 2: learner is empty"),
        ({"break": ""}, {"break": ()}, "line 2: break is empty"),
        ({"dose": 9}, {"dose": ("0", "1", "2", "4")}, "line 2: dose '9' is not one of the levels"),
        ({}, {"dose": ("0", "1", "2", "4", "8")}, "no row has dose '8'"),
    ],
)
def test_what_is_refused(tmp_path, change, conditions, message):
    outcome = posttest().astype(object)
    for name, value in change.items():
        outcome.loc[0, name] = value
    data, path = files(tmp_path, outcome)
    with pytest.raises(KTError, match=message):
        read_experiment(read_dataset(data), path, conditions)


def test_what_cannot_be_compared_is_refused(tmp_path):
    data, path = files(tmp_path, posttest().assign(dose=1))
    with pytest.raises(KTError, match="dose has one level, '1'; an effect needs two"):
        read_experiment(read_dataset(data), path, {"dose": ()})
    data, path = files(tmp_path, posttest().assign(dose=range(4 * LEARNERS)))
    with pytest.raises(KTError, match="dose has 160 values; at most 20 levels"):
        read_experiment(read_dataset(data), path, {"dose": ()})
    data, path = files(tmp_path, posttest().assign(student="x"))
    with pytest.raises(KTError, match="no learner of the post-test is in the practice"):
        read_experiment(read_dataset(data), path, {"dose": ()})
    with pytest.raises(KTError, match="no column for correct; it has"):
        read_experiment(read_dataset(data), files(tmp_path, posttest().rename(
            columns={"correct": "mark"}))[1], {"dose": ()})  # fmt: skip


@pytest.mark.parametrize("unit", ["dates", "seconds", "milliseconds"])
def test_times_of_the_post_test_are_read_as_those_of_the_practice(tmp_path, unit):
    start = pd.Timestamp("2017-05-01 09:00")
    answered = practice()
    place = answered.groupby("user").cumcount()
    times = start + pd.to_timedelta(place, "h")
    ways = {"dates": lambda t: t, "seconds": lambda t: t.astype("int64") // 10**9}
    ways["milliseconds"] = lambda t: t.astype("int64") // 10**6
    after = pd.Series(start + pd.Timedelta("10D"), posttest().index).astype("datetime64[ns]")
    practised = answered.assign(timestamp=ways[unit](times.astype("datetime64[ns]")))
    practised.to_csv(tmp_path / "practice.csv", index=False)
    dataset = read_dataset(tmp_path / "practice.csv")
    for told in ("dates", "seconds"):  # the units of the two files may differ
        outcome = posttest().assign(answered_at=ways[told](after))
        outcome.to_csv(tmp_path / "outcome.csv", index=False)
        found = read_experiment(dataset, tmp_path / "outcome.csv", {"dose": ()})
        vocabulary = Vocabulary.of(found.practice.table)
        asked = study.with_question(
            found.practice.table, found.outcome, vocabulary, 200, dataset.note.day
        )
        last = asked.starts + asked.lengths - 1
        days = asked.time[last] - asked.time[asked.starts]
        np.testing.assert_allclose(days, 10.0, atol=1e-6)
    outcome.loc[3, "answered_at"] = ways["seconds"](pd.Series([start]).astype("datetime64[ns]"))[0]
    outcome.to_csv(tmp_path / "outcome.csv", index=False)
    with pytest.raises(KTError, match="line 5: learner 'u00' practises after this answer"):
        read_experiment(dataset, tmp_path / "outcome.csv", {"dose": ()})


@pytest.mark.parametrize(
    ("time", "message"),
    [("maybe", "line 2: date 'maybe' is not a date"), ("", "line 2: timestamp is empty")],
)
def test_a_time_of_the_post_test_that_cannot_be_read(tmp_path, time, message):
    answered = practice().assign(timestamp="2017-05-01 09:00:00")
    answered.to_csv(tmp_path / "practice.csv", index=False)
    outcome = posttest().assign(timestamp="2017-05-31").astype(object)
    outcome.loc[0, "timestamp"] = time
    outcome.to_csv(tmp_path / "outcome.csv", index=False)
    dataset = read_dataset(tmp_path / "practice.csv")
    with pytest.raises(KTError, match=message):
        read_experiment(dataset, tmp_path / "outcome.csv", {"dose": ()})


def test_times_of_the_post_test_alone_are_not_used(tmp_path):
    data, path = files(tmp_path, posttest().assign(timestamp="2017-05-31"))
    found = read_experiment(read_dataset(data), path, {"dose": ()})
    assert "timestamp" not in found.outcome
    assert any("the practice has no times" in remark for remark in found.remarks)


def test_pseudonyms_of_practice_and_post_test_are_the_same(tmp_path):
    data, path = files(tmp_path)
    key = Pseudonyms("a key of sixteen or more characters")
    hidden = read_dataset(data, ReadOptions(pseudonyms=key))
    found = read_experiment(hidden, path, {"dose": ()}, pseudonyms=key)
    assert len(found.outcome) == 4 * LEARNERS and "u00" not in set(found.outcome["learner"])
    assert found.outcome["practised"].mean() == 0.75


def test_conditions_as_they_are_typed():
    assert conditions_of(["a", "b = x, y"]) == {"a": (), "b": ("x", "y")}
    for wrong in (["=x"], ["a=x,,y"], ["a", "a"]):
        with pytest.raises(KTError, match="--condition"):
            conditions_of(wrong)


def test_the_command_writes_tables_and_a_figure(tmp_path, capsys):
    data, outcome = files(tmp_path)
    out = tmp_path / "out"
    call = ["experiment", "--data", str(data), "--outcome", str(outcome), "--condition", "dose"]
    call += ["--condition", "break=short,long", "--preset", "smoke", "--folds", "3"]
    call += ["--set", "data.min_length=2", "--out", str(out)]
    assert main([*call, "--mode", "retrospective", "--models", "PFA", "projection"]) == 0
    said = capsys.readouterr().out
    assert "break: long against short, net" in said and "No model here reads a clock" in said
    content = json.loads((out / "experiment.json").read_text())
    assert content["folds"] == 3 and content["conditions"]["break"] == ["short", "long"]
    table = pd.read_csv(out / "experiment.csv")
    models = ["retrospective", "PFA", "projection"]
    assert set(table["model"]) == set(models) and len(content["table"]) == len(table)
    answers = pd.read_csv(out / "predictions.csv")
    assert len(answers) == 4 * LEARNERS and answers[models].notna().all(axis=None)
    assert (out / "figures" / "experiment.png").is_file()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out", "outcome.csv", "practice.csv"]
    assert main(call) == 2 and "exists already" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["chicago"], "only memphis is built in"),
        (["memphis", "--data", __file__], "leave out what is for files of your own"),
        (["--data", __file__], "name a built-in one, or give the practice"),
    ],
)
def test_calls_that_name_no_experiment(words, message, tmp_path, capsys):
    assert main(["experiment", *words, "--out", str(tmp_path / "out")]) == 2
    assert message in capsys.readouterr().err


def test_unknown_models_and_too_few_learners(tiny, config):
    with pytest.raises(KTError, match="model 'magic' does not exist"):
        study.cross_fitted(tiny, ["magic"], config)
    with pytest.raises(KTError, match="--folds = 2: must be between 3 and 40"):
        study.cross_fitted(tiny, ["PFA"], config, folds=2)


@needs_data
def test_memphis_as_it_was_run_and_observed():
    """The effects, computed independently from a learner's first answers on each cluster."""
    found = memphis()
    assert isinstance(found, Experiment) and isinstance(found.practice, Dataset)
    outcome = found.outcome
    assert len(outcome) == 478 * 18 and outcome["learner"].nunique() == 478
    doses = outcome.groupby("learner")["dose"].value_counts().unstack()
    assert (doses == {"0": 2, "2": 6, "4": 6, "8": 4}).all(axis=None)  # the same for everybody
    assert (outcome.groupby("learner")["retention"].nunique() == 1).all()
    arms = outcome.drop_duplicates("learner")["retention"].value_counts()
    assert arms.to_dict() == {"3 days": 164, "2 minutes": 160, "1 day": 154}
    table = study.compare(found, {"none": np.zeros(len(outcome))})
    known = {
        ("dose", "8", "all"): 0.263,
        ("retention", "1 day", "practised"): -0.039,
        ("retention", "1 day", "net"): 0.020,
        ("retention", "3 days", "practised"): -0.129,
        ("retention", "3 days", "net"): -0.072,
    }
    for (condition, level, on), value in known.items():
        assert effect(table, condition, level, on)["observed"] == pytest.approx(value, abs=6e-4)
    cells = table[table["condition"] == "dose x retention"].set_index("level")["observed"]
    arms = [cells[f"8 x {arm}"] - cells[f"0 x {arm}"] for arm in found.conditions["retention"]]
    assert np.mean(arms) == pytest.approx(0.264, abs=6e-4)  # every arm with the same weight
