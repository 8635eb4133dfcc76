"""A model in a few calls: as by the command line, kept whole, and refused with a way out."""

from __future__ import annotations

import html
import json
import re
import shutil

import numpy as np
import pandas as pd
import pytest
from conftest import ROOT, SECRET, module_of
from matplotlib.axes import Axes
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.utils import estimator_checks
from sklearn.utils.validation import check_is_fitted

import kt_core as kt
from kt_core.base.errors import KTError
from kt_core.cli.commands import main
from kt_core.data import Simulation, simulate
from kt_core.data.kept import IN_RUN, KEPT
from kt_core.data.pseudonyms import KEY, Pseudonyms
from kt_core.data.registry import read_splits
from kt_core.data.table import table_sha256
from kt_core.evaluation.evaluate import evaluate
from kt_core.learners.predict import LiveLearner, predict
from kt_core.model import HEADS
from kt_core.presets import PRESETS, configure
from kt_core.report.examine import examine
from kt_core.runs.find import open_run, run_folder
from kt_core.runs.resume import half_run
from kt_core.studies.audit import audit_files
from kt_core.tracing import card
from kt_core.tracing.demo import STORED
from kt_core.tracing.tracer import KnowledgeTracer
from kt_core.training.train import History, train

NAMES = {"learner": "Schüler Nr.", "skill": "Thema", "response": "richtig?", "item": "Aufgabe"}
CANONICAL = {"user": "Schüler Nr.", "skill": "Thema", "correct": "richtig?", "item": "Aufgabe"}


def answers_of(learners, seed=0):
    """Answers of simulated learners in columns that nobody could recognise."""
    table = simulate(Simulation(learners=learners, seed=seed)).table[[*CANONICAL]]
    return table.rename(columns=CANONICAL)


@pytest.fixture(scope="module")
def answers():
    return answers_of(60)


@pytest.fixture(scope="module")
def others():
    """New learners, under names of their own."""
    table = answers_of(6, seed=3)
    return table.assign(**{"Schüler Nr.": "new " + table["Schüler Nr."]})


@pytest.fixture(scope="module")
def model(answers, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "mine"
    return kt.fit(answers, preset="smoke", columns=NAMES, out=folder, progress=False)


@pytest.fixture(scope="module")
def chunked(answers):
    """A model of another mode, which reads histories in short chunks."""
    settings = {"data.chunk": 20, "train.epochs": 1}
    settings |= {"preset": "smoke", "mode": "cumulative", "columns": NAMES, "temporary": True}
    return kt.fit(answers, progress=False, **settings)


@pytest.fixture
def copied(model, tmp_path):
    """The same model in a folder to damage."""
    return kt.load(model.save(tmp_path / "copy"))


def test_answers_in_and_a_table_of_mastery_out(model, answers):
    table = model.mastery(answers)
    assert list(table) == ["learner", "skill", "mastery", "low", "high", "answers"]
    practised = answers.groupby(["Schüler Nr.", "Thema"], sort=False).size()
    found = table.set_index(["learner", "skill"])["answers"]
    assert found.to_dict() == practised.to_dict()
    assert table["mastery"].between(table["low"], table["high"]).all()
    pd.testing.assert_frame_equal(model.mastery(), table)
    every = model.mastery(answers, every_skill=True)
    assert len(every) == 60 * 20 and (every["answers"] == 0).any()


def test_a_table_is_fitted_as_a_file_is_by_the_command_line(model, answers, tmp_path):
    file = tmp_path / "a.csv"
    answers.to_csv(file, index=False)
    overrides = {"data.columns": CANONICAL, "train.progress": False}
    config = configure("smoke", data_path=str(file), overrides=overrides)  # as 01_train does
    theirs = kt.load(train(config, read_splits(config), tmp_path / "theirs").path)
    for name in ("history.csv", "monitor.csv"):
        mine, other = (
            m.run.table(name).drop(columns="seconds", errors="ignore") for m in (model, theirs)
        )
        pd.testing.assert_frame_equal(mine, other)
    pd.testing.assert_frame_equal(model.mastery(), theirs.mastery())
    pd.testing.assert_frame_equal(model.evaluate(), theirs.evaluate())
    out = tmp_path / "m.parquet"
    data = ["--data", str(file), "--out", str(out)]
    assert main(["predict", str(model.run.path), *data]) == 0
    told = pd.read_parquet(out).rename(columns={"opportunities": "answers"}).drop(columns="steps")
    pd.testing.assert_frame_equal(told, model.mastery(), check_dtype=False)
    clone(model).set_params(out=tmp_path / "of a file").fit(file, progress=False)
    mine = kt.load(tmp_path / "of a file")
    pd.testing.assert_frame_equal(mine.mastery(), theirs.mastery())
    assert mine.run.config.data == config.data and not (mine.run.path / KEPT).exists()


def test_evaluation_is_that_of_the_report(model, others):
    found = model.evaluate().set_index("measure")
    report = examine(model.run.path).measures.prediction
    own = report[report["predictor"] == "model"].set_index("quality")
    assert list(found.index) == ["AUC", "accuracy", "log loss", "Brier score"]
    for name in ("value", "low", "high"):
        np.testing.assert_array_equal(found[name], own.loc[found.index, name])
    theirs = examine(model.run.path, data=others).measures.quality("AUC")
    assert model.evaluate(others)["value"].iloc[0] == theirs["value"]
    assert model.evaluate(others)["learners"].iloc[0] == 6


def test_the_training_leaves_the_callers_random_numbers(answers):
    np.random.seed(5)  # noqa: NPY002
    want = np.random.random()  # noqa: NPY002
    np.random.seed(5)  # noqa: NPY002
    settings = {"train.epochs": 1, "train.skeleton_steps": 1, "preset": "smoke"}
    kt.fit(answers, columns=NAMES, temporary=True, progress=False, **settings)
    assert np.random.random() == want  # noqa: NPY002


def test_new_learners_are_predicted_answer_by_answer(model, others):
    table = model.predict(others)
    assert list(table) == ["learner", "step", "skill", "item", "response", "probability"]
    assert table["response"].tolist() == others["richtig?"].tolist()
    assert (table["probability"].isna() == (table["step"] == 1)).all()
    own = table[table["learner"] == table["learner"].iloc[-1]]
    live = model.live()
    assert isinstance(live, LiveLearner)
    for row in own.head(8).itertuples():
        if row.step > 1:
            assert live.predict(row.skill, row.item) == pytest.approx(row.probability, abs=1e-5)
        live.answer(row.skill, row.response, row.item)
    renamed = others.rename(columns={"Thema": "Stoff"})
    want = predict(model.run, model._answers(others, None))["mastery"]
    found = model.mastery(renamed, columns={"skill": "Stoff"})["mastery"]
    pd.testing.assert_series_equal(found, want)


def test_long_histories_are_read_in_chunks_where_the_mode_does(chunked, others):
    table = chunked.predict(others)
    assert (table["probability"].isna() == (table["step"] % 20 == 1)).all()
    last = chunked.mastery(others)
    assert last["low"].isna().all()
    for learner in last["learner"].unique():
        path = chunked.trajectory(learner, others)
        assert path["step"].max() == (others["Schüler Nr."] == learner).sum()
        now = path[path["step"] == path["step"].max()].set_index("skill")
        own = last[last["learner"] == learner].set_index("skill")["mastery"]
        np.testing.assert_allclose(now.loc[own.index, "mastery"], own, atol=1e-6)
        assert path["in_hindsight"].equals(path["mastery"].rename("in_hindsight"))


def test_a_trajectory_ends_in_the_mastery_and_never_falls_in_hindsight(model, others):
    learner = others["Schüler Nr."].iloc[-1]
    path = model.trajectory(learner, others)
    wanted = ["step", "skill", "mastery", "low", "high", "in_hindsight", "response"]
    assert list(path) == wanted
    own = others[others["Schüler Nr."] == learner]
    asked = path[path["response"].notna()]
    assert asked["skill"].tolist() == own["Thema"].tolist()
    assert asked["response"].tolist() == own["richtig?"].tolist()
    assert path.groupby("skill")["in_hindsight"].is_monotonic_increasing.all()
    now = path[path["step"] == len(own)].set_index("skill")[["mastery", "low", "high"]]
    table = model.mastery(others)
    table = table[table["learner"] == learner].set_index("skill")[["mastery", "low", "high"]]
    np.testing.assert_allclose(now.loc[table.index], table, atol=1e-5)
    parts = model.explain(learner, 5, others)
    assert parts["logit"].sum() == pytest.approx(parts.attrs["logit"], abs=1e-5)
    ax = model.plot(learner, others)
    assert isinstance(ax, Axes) and learner in ax.get_title(loc="left") + ax.get_title()
    assert model.plot(learner, others, skills=[own["Thema"].iloc[0]], ax=ax) is ax
    assert model.plot(learner, others, skills=own["Thema"].iloc[0], ax=ax) is ax


def test_a_run_is_whole_wherever_it_is(model, copied, answers, tmp_path):
    saved = json.loads((copied.run.path / "config.json").read_text())
    assert saved["config"]["data"]["path"] == IN_RUN
    folder = shutil.move(copied.run.path, tmp_path / "moved")
    moved = kt.load(folder)
    pd.testing.assert_frame_equal(moved.mastery(), model.mastery())
    pd.testing.assert_frame_equal(moved.evaluate(), model.evaluate())
    assert table_sha256(moved.splits.dataset.table) == table_sha256(model.splits.dataset.table)
    assert str(moved.note) == str(model.note) == str(moved.splits.dataset.note)
    assert "Schüler Nr. (named by you)" in str(model.note)
    run, splits = open_run(folder)
    assert run.config.data.path == str(tmp_path / "moved" / KEPT)
    assert len(splits.test) == len(model.splits.test)


def test_without_its_answers_a_run_still_reads_others(copied, answers, others):
    want = copied.mastery(others)
    (copied.run.path / KEPT).unlink()
    model = kt.load(copied.run.path)
    calls = (model.report, model.mastery, model.evaluate, lambda: model.trajectory("L00001"))
    for call in calls:
        with pytest.raises(
            KTError, match=r"(?s)answers\.parquet: no such file.*This needs the ans"
        ):
            call()
    pd.testing.assert_frame_equal(model.mastery(others), want)


@pytest.mark.parametrize("damage", ["bit", "cut", "columns", "facts"])
def test_damaged_answers_are_refused(copied, damage):
    file = copied.run.path / KEPT
    if damage == "bit":
        data = bytearray(file.read_bytes())
        data[len(data) // 3] ^= 1
        file.write_bytes(data)
    elif damage == "cut":
        file.write_bytes(file.read_bytes()[:-40])
    else:
        import pyarrow.parquet as pq

        table = pq.read_table(file)
        if damage == "columns":
            table = table.set_column(2, "correct", table["correct"].cast("string"))
        else:
            facts = json.loads(table.schema.metadata[b"kt_core.dataset"])
            facts["note"]["uses"] = 3
            table = table.replace_schema_metadata({b"kt_core.dataset": json.dumps(facts)})
        pq.write_table(table, file)
    words = "answers.parquet: (damaged|not|its header)|is not what this run was trained on"
    with pytest.raises(KTError, match=words):
        kt.load(copied.run.path).evaluate()


def test_answers_are_kept_under_pseudonyms(answers, tmp_path, monkeypatch):
    monkeypatch.setenv(KEY, SECRET)
    settings = {"data.pseudonymise": True, "train.epochs": 1, "preset": "smoke", "columns": NAMES}
    model = kt.fit(answers, out=tmp_path / "hidden", progress=False, **settings)
    learner = answers["Schüler Nr."].iloc[0]
    kept = pd.read_parquet(model.run.path / KEPT)
    assert set(kept["user"]) == set(Pseudonyms(SECRET).of(answers["Schüler Nr."]))
    for file in model.run.path.rglob("*.*"):
        assert learner.encode() not in file.read_bytes(), file
    loaded = kt.load(model.run.path)
    pd.testing.assert_frame_equal(loaded.mastery(), loaded.mastery(answers))
    assert len(loaded.trajectory(learner)) == len(loaded.trajectory(kept["user"].iloc[0]))


def test_a_half_run_on_a_table_goes_on(answers, tmp_path, monkeypatch):
    tracer = KnowledgeTracer("smoke", columns=NAMES, out=tmp_path / "half")
    tracer.set_params(**{"train.epochs": 3})
    with monkeypatch.context() as patch:
        epochs = []

        def interrupt(history, trainer, module):
            epochs.append(1)
            if len(epochs) > 1:
                raise KeyboardInterrupt

        patch.setattr(History, "on_train_epoch_start", interrupt)
        with pytest.raises(KeyboardInterrupt, match="Resume it with: python -m kt_core train"):
            tracer.fit(answers, progress=False)
    with pytest.raises(KTError, match="not fitted yet"):
        tracer.mastery()
    folder = tmp_path / "half"
    config = half_run(folder)
    run = train(config, read_splits(config), folder, resume=True)
    assert len(run.table("history.csv")) == 3
    whole = clone(tracer).set_params(out=tmp_path / "whole").fit(answers, progress=False)
    pd.testing.assert_frame_equal(kt.load(folder).mastery(), whole.mastery())


def test_what_cannot_be_fitted_is_refused(answers, tmp_path, monkeypatch):
    named = {"preset": "smoke", "columns": NAMES, "out": tmp_path / "new"}
    few = answers[answers["Schüler Nr."].isin(answers["Schüler Nr."].unique()[:2])]
    monkeypatch.chdir(tmp_path)
    (tmp_path / "simulated").write_text("user,skill,correct\n")
    refused = [
        (answers, {"preset": "smoke"}, r"(?s)no column for 'user'; it has: Schüler.*columns=\{"),
        (few, named, "no sequence of at least 3 steps for the .* split; it needs more learners"),
        (answers, named | {"epochs": 3}, "unknown parameter 'epochs'; did you mean 'train.epochs'"),
        (answers, named | {"train.epochs": 0}, "train.epochs = 0: must be at least 1"),
        (answers, named | {"data.fold": 1}, "data.fold: is given as fold="),
        (answers, named | {"columns": {"user": "a", "learner": "b"}}, "mean the same"),
        (answers, named | {"columns": "Thema"}, "expected a mapping of meanings to names"),
        (answers, named | {"columns": {"pupil": "Thema"}}, "'pupil'. unknown; choose from"),
        (answers, named | {"temporary": True}, "leave it out, or temporary"),
        (answers, named | {"out": tmp_path}, r"(?s)exists already; .*another folder for --name"),
        (answers, named | {"preset": "huge"}, "preset 'huge' does not exist"),
        (answers, named | {"mode": "magic"}, "model.mode = 'magic'"),
        ("nothing.csv", named, "nothing.csv: no such file; data sets by name: simulated"),
        ("simulated", named, "a data set and also a file here"),
        (answers.iloc[:0], named, "it has no interactions"),
        ([1, 2], named, "expected a pandas DataFrame, the name of a file"),
    ]
    for data, settings, words in refused:
        with pytest.raises(KTError, match=words):
            kt.fit(data, progress=False, **settings)
    assert [path.name for path in tmp_path.iterdir()] == ["simulated"]


def test_what_a_model_cannot_be_asked_is_refused(model, chunked, answers, others, tmp_path, caplog):
    with pytest.raises(KTError, match="mode cumulative has no ability; train mode retrospective"):
        chunked.ability(others)
    learner = answers["Schüler Nr."].iloc[0]
    strange = others.assign(Thema="magic")
    refused = [
        (lambda: model.mastery(strange), r"(?s)of its skills \('magic'\).*in Python: columns="),
        (lambda: model.predict(strange), "none of its skills"),
        (lambda: model.evaluate(answers), "60 of its 60 learners are among|among those that"),
        (lambda: model.trajectory(f"{learner}x"), f"did you mean '{learner}' or"),
        (lambda: model.plot("nobody at all"), "learner 'nobody at all': not one of 60 learners$"),
        (lambda: model.explain(learner, 1), "has predicted answers 2 to"),
        (lambda: model.explain(learner, 10**6), "has predicted answers 2 to"),
        (lambda: chunked.explain(learner, 2), "its predictions do not decompose"),
        (lambda: model.plot(learner, skills=["magic"]), "this learner practised"),
        (lambda: model.plot(learner, skills="magic"), "skill 'magic': this learner practised"),
        (lambda: model.plot(learner, skills=3), "skills = 3: expected a list of names"),
        (lambda: model.mastery([1, 2]), "expected a pandas DataFrame or the name of a file"),
        (lambda: model.report("train"), "split 'train': choose valid or test"),
        (lambda: model.save(model.run.path / "copy"), "is inside the run's own folder"),
        (lambda: model.save(model.run.path), "is inside the run's own folder"),
        (lambda: kt.load(tmp_path), "is not a finished run: it has no config.json"),
        (lambda: KnowledgeTracer().mastery(), "not fitted yet"),
        (lambda: KnowledgeTracer().save(tmp_path / "x"), "not fitted yet"),
    ]
    for call, words in refused:
        with pytest.raises(KTError, match=words):
            call()
    seen = model.evaluate(answers, seen=True)
    assert seen["learners"].iloc[0] == 60
    caplog.clear()
    some = pd.concat([others, strange.tail(3)], ignore_index=True)
    pd.testing.assert_frame_equal(model.mastery(some), model.mastery(others))
    (told,) = [r.message for r in caplog.records if r.levelname == "WARNING"]
    assert told == "table: 3 answers on 1 skills that the model does not know, left out: 'magic'"


@pytest.mark.parametrize(
    "check",
    [
        "check_do_not_raise_errors_in_init_or_set_params",
        "check_estimator_cloneable",
        "check_estimator_repr",
        "check_estimators_unfitted",
        "check_get_params_invariance",
        "check_mixin_order",
        "check_parameters_default_constructible",
        "check_set_params",
        "check_valid_tag_types",
    ],
)
def test_the_checks_of_scikit_learn_that_apply(check):
    if not hasattr(estimator_checks, check):
        pytest.skip("a younger check than this scikit-learn")
    getattr(estimator_checks, check)("KnowledgeTracer", KnowledgeTracer())


def test_scikit_learn_knows_whether_it_is_fitted(model):
    check_is_fitted(model)
    with pytest.raises(NotFittedError):
        check_is_fitted(clone(model))
    for method in ("mastery", "ability", "predict", "evaluate", "report", "live"):
        with pytest.raises(NotFittedError):
            getattr(clone(model), method)()


def test_habits_of_scikit_learn(model, chunked, trained):
    tracer = KnowledgeTracer("smoke", seed=3, columns=NAMES, **{"train.epochs": 5})
    twin = clone(tracer)
    assert twin is not tracer and twin.get_params() == tracer.get_params()
    assert repr(tracer) == (
        f"KnowledgeTracer(preset='smoke', seed=3, columns={NAMES!r}, train.epochs=5)"
    )
    assert twin.set_params(seed=4, **{"model.d_model": 32}) is twin
    assert twin.get_params()["seed"] == 4 and twin.get_params()["model.d_model"] == 32
    assert tracer.get_params()["seed"] == 3 and "model.d_model" not in tracer.get_params()
    assert clone(model).get_params() == model.get_params()
    again = clone(kt.load(trained.path))
    assert again.get_params()["preset"] == "smoke" and again.mode == "retrospective"
    assert set(again.overrides) == set()
    short = kt.load(chunked.run.path)
    assert (short.mode, short.columns) == ("cumulative", CANONICAL)
    assert short.overrides == {"data.chunk": 20, "train.epochs": 1}


def test_the_card_claims_nothing_that_was_not_measured(copied):
    text = repr(copied)
    assert "\n" not in text and text.startswith("<KnowledgeTracer retrospective: table, ")
    assert card.UNMEASURED in copied._repr_html_()
    value = copied.evaluate()["value"].iloc[0]
    assert f"{value:.3f} [" in copied._repr_html_()
    fresh = kt.load(copied.run.path)
    row = {"quality": "AUC", "predictor": "model", "value": 0.5, "low": 0.25, "high": 0.75}
    for split, shown in (("valid", False), ("test", True)):
        metrics = json.dumps({"split": split, "prediction": [row]})
        (copied.run.path / "metrics.json").write_text(metrics)
        assert ("0.500 [0.250, 0.750]" in fresh._repr_html_()) == shown
    copied.run.provenance["data"] = "<script>"
    assert "<script>" not in copied._repr_html_()
    assert set(card.GUARANTEES) == set(HEADS)  # of each mode it is said what is guaranteed
    assert html.escape(card.NEVER_FALLS) in copied._repr_html_()


def test_two_models_are_compared_on_the_same_answers(
    model, chunked, answers, monkeypatch, tmp_path
):
    settings = {"preset": "smoke", "columns": NAMES, "temporary": True, "progress": False}
    other = kt.fit(answers, mode="projection", **settings, **{"train.epochs": 1})
    table = kt.compare(model, other)
    np.testing.assert_allclose(table["difference"], table["a"] - table["b"])
    known = table.dropna()
    assert (known["low"] <= known["difference"]).all() and len(known) > 6
    one, two = (m.evaluate().set_index("measure")["value"] for m in (model, other))
    first = table[table["variant"] == ""].set_index("measure")
    np.testing.assert_array_equal(first["a"], one[first.index])
    np.testing.assert_array_equal(first["b"], two[first.index])
    back = kt.compare(other, model)
    np.testing.assert_allclose(back["difference"], -table["difference"])
    monkeypatch.setattr(module_of(kt.compare), "evaluate", None)  # nothing is measured before
    with pytest.raises(KTError, match=r"other answers \(data, fold, chunks\)"):
        kt.compare(model, chunked)
    with pytest.raises(KTError, match="this is one model"):
        kt.compare(model, kt.load(model.run.path))
    with pytest.raises(KTError, match="other test learners"):
        kt.compare(model, kt.demo())
    with pytest.raises(KTError, match="expected two fitted models"):
        kt.compare(model, model.run.path)


def test_every_learner_is_tested_once(answers, tmp_path):
    settings = {"preset": "smoke", "mode": "cumulative", "columns": NAMES, "progress": False}
    table = kt.cross_validate(answers, 3, out=tmp_path / "cv", **settings)
    assert list(table["fold"].unique()) == ["1", "2", "3", "all"]
    whole = table[table["fold"] == "all"].set_index("measure")
    assert (whole["learners"] == 60).all() and len(whole) == 4
    parts = table[table["fold"] != "all"]
    assert (parts.groupby("measure")["learners"].sum() == 60).all()
    weighted = parts["value"] * parts["answers"]
    means = weighted.groupby(parts["measure"]).sum() / parts.groupby("measure")["answers"].sum()
    for name in ("accuracy", "log loss", "Brier score"):
        assert whole.loc[name, "value"] == pytest.approx(means[name])
    runs = [kt.load(tmp_path / "cv" / f"fold{i}") for i in (1, 2, 3)]
    tested = [set(run.splits.test.learners) for run in runs]
    assert len(set.union(*tested)) == 60 and not set.intersection(*tested)
    first = evaluate(runs[0].run.model, runs[0].splits.test, flips=False).predicted
    accuracy = ((first["predicted"] >= 0.5) == first["correct"]).mean()
    own = parts[(parts["fold"] == "1") & (parts["measure"] == "accuracy")]
    assert own["value"].item() == pytest.approx(accuracy)
    folds = answers.assign(fold=0)
    for data, more, words in (
        (folds, {}, "it has folds of its own; .*columns=.'fold': ''"),
        (answers, {"folds": 2}, "folds = 2: must be between 3 and 60"),
        (answers.head(1), {}, "1 learner is too few; cross-validation needs at least 3"),
        (answers, {"fold": 1}, "fold has no meaning here"),
    ):
        with pytest.raises(KTError, match=words):
            kt.cross_validate(data, **settings | more)


def test_an_audit_of_tables_is_that_of_files(model, others, tmp_path):
    predicted = model.predict(others).dropna()
    mastery = predicted.rename(columns={"probability": "P", "skill": "Thema"})
    table = kt.audit(mastery, others, "pre", NAMES, {"mastery": "P", "skill": "Thema"}, 30)
    mastery.to_csv(tmp_path / "m.csv", index=False)
    others.to_csv(tmp_path / "a.csv", index=False)
    files = tmp_path / "m.csv", tmp_path / "a.csv"
    columns = {"mastery": "P", "skill": "Thema"}
    want = audit_files(*files, "pre", {"data.columns": CANONICAL}, columns, 30)
    for name in ("prediction", "associations", "violations"):
        found, wanted = (getattr(a.measures, name).drop(columns="draws") for a in (table, want))
        pd.testing.assert_frame_equal(found, wanted)
    assert re.match(r"Audited\(pre estimates of 6 learners, for 9\d\.\d% of", repr(table))
    with pytest.raises(KTError, match=r"(?s)no column skill, mastery.*mastery_columns=\{'mastery'"):
        kt.audit(mastery, others, "pre", NAMES)
    with pytest.raises(KTError, match="2 columns are called 'P'; rename one"):
        twice = mastery.assign(x=1.0).rename(columns={"x": "P"})
        kt.audit(twice, others, "pre", NAMES, columns)


def test_the_demo_loads_and_predicts():
    assert sum(file.stat().st_size for file in STORED.iterdir()) < 1_000_000
    model = kt.demo()
    assert model.run.path != STORED
    auc = model.evaluate().set_index("measure").loc["AUC"]
    assert auc["low"] > 0.6 and auc["learners"] == 40
    table = model.mastery()
    truth = model.splits.dataset.table.groupby(["user", "skill"], sort=False)["true_mastery"].last()
    found = table.set_index(["learner", "skill"])["mastery"]
    assert found.corr(truth.rename_axis(["learner", "skill"]).reindex(found.index)) > 0.6
    live = model.live()
    live.answer("skill 03", True)
    assert repr(live) == f"<LiveLearner after 1 answer, of {model.run.path.name}>"
    assert 0 < live.predict("skill 04") < 1
    assert isinstance(model.plot(table["learner"].iloc[0]), Axes)


def test_the_report_is_a_page_in_the_run(copied, capsys, monkeypatch):
    shown = []
    monkeypatch.setattr("kt_core.tracing.tracer.get_ipython", lambda: type("K", (), {"kernel": 1}))
    monkeypatch.setattr("IPython.display.display", shown.append)
    page = copied.report()
    assert page == copied.run.path / "report.html" and "Consistency" in page.read_text()
    assert re.fullmatch(r"making the report: .*\n", capsys.readouterr().out)
    assert html.escape(page.read_text().split("</body>")[0][-2000:]) in shown[0].data
    assert re.search(r"0\.\d{3} \[", copied._repr_html_())


def test_the_lines_of_the_readme(answers, tmp_path, monkeypatch):
    section = (ROOT / "README.md").read_text().split("## In Python")[1].split("\n## ")[0]
    (code,) = re.findall(r"```python\n(.*?)```", section, re.DOTALL)
    monkeypatch.setitem(PRESETS, "quick", PRESETS["smoke"])
    monkeypatch.setattr(module_of(run_folder), "default_out", lambda: tmp_path)
    table = answers.rename(columns={name: role for role, name in CANONICAL.items()})
    names = {"answers": table, "new_answers": table.head(40)}
    exec(compile(code, "README.md", "exec"), names)
    assert isinstance(names["model"], KnowledgeTracer)
    assert len(list(tmp_path.iterdir())) == 1
    methods = set(re.findall(r"`model\.(\w+)", section))
    assert methods and all(hasattr(names["model"], name) for name in methods)
    functions = set(re.findall(r"`kt\.(\w+)", section))
    assert functions and functions <= set(kt.__all__)
