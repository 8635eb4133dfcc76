"""Models, losses and measures of one's own: known everywhere, and refused with a reason."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import ROOT

import kt_core as kt
from kt_core.base import own
from kt_core.base.digests import sha256
from kt_core.base.errors import KTError
from kt_core.cli.commands import main
from kt_core.config import with_overrides
from kt_core.data import Dataset, Simulation, load_dataset, simulate
from kt_core.data.registry import datasets
from kt_core.evaluation.tracer import Trace
from kt_core.notebook import reports
from kt_core.presets import configure, preset
from kt_core.studies import benchmark, cells, worlds
from kt_core.studies.cell import Cell
from kt_core.studies.cells import finished, run_cell, run_cells
from kt_core.studies.experiment import cross_fitted
from kt_core.studies.outcome import Experiment

SMALL = {"preset": "smoke", "report.bootstrap": 50}
PAGE = (ROOT / "docs" / "extend.md").read_text(encoding="utf-8")
MODULE, JUDGED, CELLS, LOSS, MEASURE, WORLD = re.findall(
    r"^```python\n(.*?)^```", PAGE, re.M | re.S
)
SHORTER = {  # of the page, so that its code runs in seconds
    'preset="smoke")': 'preset="smoke", overrides=SMALL)',
    '**{"loss.own"': 'preset="smoke", temporary=True, **{"train.skeleton_steps": 1, "loss.own"',
}


@pytest.fixture
def share(forgotten):
    """The page's model, as if a notebook had defined it; it registers itself."""
    names = {"__name__": "a notebook"}
    exec(MODULE, names)
    return names["Share"]


class Plain:
    def fit(self, splits, seed=0):
        pass


class Cheat(Plain):
    def trace(self, sequences):
        return Trace(predicted=0.1 + 0.8 * sequences.response)


class LooksAhead(Plain):
    def trace(self, sequences):
        return Trace(predicted=np.append(sequences.response[1:], 0) * 0.5)


class Short(Plain):
    def trace(self, sequences):
        return Trace(predicted=np.full(3, 0.5))


class Logits(Plain):
    def trace(self, sequences):
        return Trace(predicted=np.full(sequences.interactions, -1.5))


class Gaps(Plain):
    def trace(self, sequences):
        return Trace(predicted=np.full(sequences.interactions, np.nan))


class Nothing(Plain):
    def trace(self, sequences):
        return None


@pytest.fixture(autouse=True)
def forgotten(monkeypatch):
    """Nothing is registered before a test or after it."""
    monkeypatch.setattr(own, "_KNOWN", {})
    monkeypatch.setenv(own.VARIABLE, "[]")
    monkeypatch.setattr(sys, "path", list(sys.path))


@pytest.fixture(scope="module")
def answers():
    table = simulate(Simulation(learners=60)).table[["user", "skill", "correct", "item"]]
    return table.rename(columns={"user": "learner"})


def test_a_worker_knows_what_a_command_carries_and_nothing_else(tmp_path):
    homes = [tmp_path / name for name in ("one", "two")]
    for home in homes:
        home.mkdir()
        (home / f"models_{home.name}.py").write_text(MODULE, encoding="utf-8")
    own.load(homes[0] / "models_one.py")
    first = own.carried()
    own.load(homes[1] / "models_two.py")
    second = own.carried()
    own._KNOWN.clear()

    def module():
        return {o.what.__module__ for o in own.of(own.MODEL).values()}

    assert own.among(first, module) == {"models_one"}
    assert own.among(second, module) == {"models_two"}
    assert own.among(("[]", {}), module) == set()
    (homes[0] / "models_one.py").write_text(MODULE + "#", encoding="utf-8")
    with pytest.raises(KTError, match="changed since the command read it"):
        own.among(first, module)
    again = first[0], {file: sha256(file) for file in first[1]}
    with pytest.raises(KTError, match="changed since a worker read it; restart the workers"):
        own.among(again, module)
    (homes[1] / "models_one.py").write_text(MODULE, encoding="utf-8")
    elsewhere = first[0].replace(str(homes[0]), str(homes[1]))
    with pytest.raises(KTError, match="is also the name of .*one/models_one.py; rename the file"):
        own.among((elsewhere, {}), module)


def test_the_page_runs_as_it_is_written(answers, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("my_models.py").write_text(MODULE, encoding="utf-8")
    own.load("my_models.py")
    here = lambda cells, out, store: [run_cell(cell, out, store=store) for cell in cells]  # noqa: E731
    monkeypatch.setattr(cells, "run_cells", here)  # in this process, which has loaded everything
    names = {"kt": kt, "answers": answers, "__name__": "__main__"}
    names["SMALL"] = (("data.learners", 60), ("report.bootstrap", 50))
    for block in (MEASURE, JUDGED, CELLS, LOSS):
        code = re.sub("|".join(map(re.escape, SHORTER)), lambda m: SHORTER[m.group()], block)
        exec(code, names)
    judged, m = names["judged"], names["judged"].measures
    assert repr(judged).startswith("Judged(share: AUC 0.") and "12 test learners" in repr(judged)
    assert len(m.simple) and len(m.exam) and len(m.associations)
    rows, surprise = judged.beliefs.predicted, names["surprise"]
    told = m.conduct.set_index("quantity").loc["surprise, in bits"]
    assert told["value"] == pytest.approx(surprise(rows["predicted"], rows["correct"]).mean())
    assert told["sees"] == "pre" and told["low"] < told["value"] < told["high"]
    named = {"predicted": "predicted"}
    again = kt.audit(judged.estimates(), judged.answers(), "pre", mastery_columns=named)
    for name in ("AUC", "log loss"):
        assert again.measures.quality(name)["value"] == pytest.approx(m.quality(name)["value"])
    page = Path("share-report/report.html").read_text(encoding="utf-8")
    assert "Predictions: those of the tool." in page and "An exam inside the data" in page
    with pytest.raises(KTError, match="share-report"):
        judged.report("share-report")
    table = benchmark.auc_table(benchmark.load("my-store"), "simulated", "share")
    assert list(table["model"]) == ["PFA", "Rasch", "share"]
    history = names["model"].run.table("history.csv")
    parts = {"bce": 1, **names["model"].run.config.loss.active}
    total = sum(weight * history[f"loss/{name}"] for name, weight in parts.items())
    assert np.allclose(history["loss/total"], total, rtol=1e-4) and parts["sure"] == 0.1
    assert kt.load(names["model"].run.path).get_params()["loss.own"] == {"sure": 0.1}


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (Cheat, r"predicted at step \d+ of learner .* but 0.\d+ when the learner's last answer is"),
        (LooksAhead, "It must be from the answers before that step alone"),
        (Short, r"predicted has shape \(3,\), expected \(\d+,\)"),
        (Logits, r"predicted has the value -1.5, expected shares in \[0, 1\]"),
        (Gaps, r"predicted\[1\] is not a number, and only first steps may lack a prediction"),
        (Nothing, "trace.. gave NoneType, expected kt_core.evaluation.tracer.Trace"),
        (lambda: 1, "it has no method fit"),
    ],
)
def test_a_model_that_is_wrong_is_told_so(answers, model, message):
    kt.register("mine", model)
    with pytest.raises(KTError, match=f"model 'mine': .*{message}"):
        kt.judge("mine", answers, **SMALL)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("DKT", Plain), "name 'DKT' is taken by the package itself"),
        (("retrospective", Plain), "taken"),
        (("forecast", abs, "loss"), "taken"),
        (("a/b", Plain), "expected up to 40 letters"),
        (("mine", 3), "expected a class or a function, not 3"),
        (("mine", str), r"model 'mine': it has no method fit\(\)"),
        (("mine", Plain, "modle"), "kind 'modle': choose one of model, loss, measure"),
        (("mine", abs, "measure"), "sees: a measure says which answers it may see"),
        (("mine", abs, "loss", "pre"), "nothing else has it"),
        (("mine", abs, "measure", "future"), "sees 'future': choose one of pre, post"),
        (("mine", lambda *columns: 0, "measure", "pre"), "takes columns of answers by their names"),
    ],
)
def test_what_cannot_be_registered(arguments, message):
    with pytest.raises(KTError, match=message):
        kt.register(*arguments)


def test_a_measure_gives_a_number_per_answer_or_is_refused(answers, share):
    kt.register("mine", share)
    kt.register("growth", lambda gains_before: gains_before, kind="measure", sees="post")
    assert "growth" not in set(kt.judge("mine", answers, **SMALL).measures.conduct["quantity"])
    kt.register("broken", lambda correct: correct.mean(), kind="measure", sees="pre")
    with pytest.raises(KTError, match=r"measure 'broken': .* expected one number for each of"):
        kt.judge("mine", answers, **SMALL)


def test_loss_terms_that_cannot_be_used(answers):
    settings = SMALL | {"temporary": True, "progress": False, "train.skeleton_steps": 1}
    with pytest.raises(KTError, match="no loss term 'calm' is registered here; call kt_core.regis"):
        kt.fit(answers, **settings, **{"loss.own": {"calm": 1}})
    with pytest.raises(KTError, match=r"loss.own\['calm'\] = 'much': expected float"):
        kt.fit(answers, **settings, **{"loss.own": {"calm": "much"}})
    with pytest.raises(KTError, match="loss.own = .* at least 0"):
        kt.fit(answers, **settings, **{"loss.own": {"calm": -1}})
    kt.register("calm", lambda beliefs, batch: torch.zeros(3), kind="loss")
    with pytest.raises(KTError, match=r"loss term 'calm': it gave \(3,\), expected a tensor with"):
        kt.fit(answers, **settings, **{"loss.own": {"calm": 1}})


def test_an_experiment_judges_it(answers, share):
    kt.register("share", share)
    table = answers.rename(columns={"learner": "user"})
    outcome = table.groupby("user", as_index=False).last().rename(columns={"user": "learner"})
    outcome = outcome.assign(dose="a")
    study = Experiment("e", Dataset("p", table), outcome, {"dose": ("a",)}, ())
    predicted = cross_fitted(study, ["share"], with_overrides(preset("smoke"), {}), told=str)
    assert np.isfinite(predicted["share"]).all() and predicted["share"].std() > 0.05


def test_a_module_is_known_to_the_command_line_and_to_its_processes(tmp_path, monkeypatch, capsys):
    file, store = tmp_path / "my_share.py", tmp_path / "store"
    file.write_text(MODULE, encoding="utf-8")
    assert main(["--own", str(file), "datasets"]) == 0
    ask = "from kt_core.base import own; print(*own.of('model'))"
    done = subprocess.run([sys.executable, "-c", ask], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout == "share\n", done.stderr
    monkeypatch.setattr(own, "_KNOWN", {})  # as in a new process
    small = ("report.bootstrap", 50), ("data.learners", 60)
    cell = Cell("simulated", "share", preset="smoke", overrides=small)
    assert run_cell(cell, tmp_path, store=store) == "" and finished(cell, tmp_path, store)
    shown = worlds.tables(worlds.results(store), "share")
    assert len(shown["Mastery"]) == 1 and "0." in shown["Calibration and conduct"]["AUC"][0]
    file.write_text(MODULE + "\n# another version\n", encoding="utf-8")
    assert not finished(cell, tmp_path, store)


def test_files_that_register_nothing(tmp_path, capsys):
    (tmp_path / "empty_own.py").write_text("")
    (tmp_path / "false_own.py").write_text("import nothing_like_it")
    for name, message in (
        ("none.py", "no such Python file"),
        ("empty_own.py", "it registers nothing; call kt_core.register"),
        ("false_own.py", "it cannot be imported (ModuleNotFoundError: No module named"),
    ):
        assert main(["--own", str(tmp_path / name), "datasets"]) == 2
        assert message in capsys.readouterr().err


def test_a_cell_needs_a_module(share, tmp_path):
    kt.register("hidden", share)
    with pytest.raises(KTError, match="model 'hidden': this runs in processes of its own.* module"):
        run_cells([Cell("simulated", "hidden", preset="smoke")], tmp_path, store=tmp_path / "s")
    assert not (tmp_path / "s").exists()


def test_a_world_is_a_data_set_and_a_place_to_judge_models_in(tmp_path, monkeypatch, forgotten):
    file = tmp_path / "my_worlds.py"
    file.write_text(WORLD, encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    own.load(file)
    spec = datasets()["cramming"]
    assert spec.decay == 0.8 and spec.growth == 2.0
    table = load_dataset(configure("smoke", "cramming").data).table
    assert {"timestamp", "true_mastery"} <= set(table)
    (planned,) = worlds.plan(("cramming",), ("AFM",), 1, "smoke")
    assert run_cells([planned], tmp_path / "runs", store=tmp_path / "store") == {}
    found = worlds.results(tmp_path / "store")
    assert "cramming" in worlds.mastery_table(found, "AFM")["world"].tolist()
    with pytest.raises(KTError, match="choose from.*cramming"):
        worlds.plan(("cramped",))


def test_what_is_no_world_is_refused(forgotten):
    with pytest.raises(KTError, match="taken by the package"):
        kt.register("world-hidden", Simulation, kind="world")
    with pytest.raises(KTError, match="not a kt_core.data.Simulation"):
        kt.register("nothing", dict, kind="world")


def test_a_report_says_which_measures_it_cannot_know(forgotten, caplog):
    names = {"__name__": "a notebook", "kt": kt}
    exec(MEASURE, names)
    reports._warn_of_own_measures()
    assert "not in the report: measure 'surprise, in bits'" in caplog.text
