"""Run folders and notebooks' parameters that are not what they should be."""

import json
import os
import pickle
import re
import resource
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.figure import Figure
from safetensors.torch import load_file, save_file

from kt_core import plots
from kt_core.base.errors import KTError
from kt_core.cli.commands import main
from kt_core.config import with_overrides
from kt_core.data.saved import RETIRED
from kt_core.evaluation.evaluate import evaluate
from kt_core.learners import cohort
from kt_core.learners.explain import explain
from kt_core.presets import configure, preset
from kt_core.report.examine import examine
from kt_core.runs.find import find_runs, open_run, run_folder
from kt_core.runs.read import read_model
from kt_core.runs.run import Run
from kt_core.studies import benchmark, sweeps
from kt_core.studies.audit import audit_files
from kt_core.studies.grids import read_grid
from kt_core.tracing.examples import run_or_demo


class Trap:
    """Makes a folder when it is unpickled."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)


@pytest.fixture
def folder(trained, tmp_path):
    """A finished run to damage."""
    return Path(shutil.copytree(trained.path, tmp_path / "run"))


def config(change):
    """Damage to config.json, as JSON."""

    def damage(folder):
        saved = json.loads((folder / "config.json").read_text())
        change(saved)
        (folder / "config.json").write_text(json.dumps(saved))

    return damage


def setting(section, **values):
    return config(lambda saved: saved["config"][section].update(values))


def skills(names):
    return config(lambda saved: saved.update(skills=names))


def tensors(change):
    """Damage to the weights, as a valid file."""

    def damage(folder):
        weights = load_file(folder / "model.safetensors")
        change(weights, next(iter(weights)))
        save_file(weights, folder / "model.safetensors")

    return damage


def content(name, data):
    def damage(folder):
        (folder / name).write_bytes(data)

    return damage


def instead(name, make):
    def damage(folder):
        (folder / name).unlink()
        make(folder / name)

    return damage


def huge(file):
    with file.open("wb") as f:
        f.truncate(300 << 20)  # sparse: takes no room


def linked(name):
    """Make a file or folder a link to one outside the run."""

    def damage(folder):
        outside = folder.parent / "outside"
        outside.mkdir()
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.symlink_to(outside / "page" if "." in name else outside)

    return damage


def first_bit(file):
    """Flip the lowest bit of the last weight."""
    data = bytearray(file.read_bytes())
    data[-4] ^= 1
    file.write_bytes(data)


def trap(file):
    file.write_bytes(pickle.dumps(Trap(file.parent / "sprung")))


LYING = (2**62).to_bytes(8, "little") + b"{}"  # a header longer than any file
DEEP = b'{"config": ' + b"[" * 10**5
LONG = b'{"config": ' + b"1" * 5000 + b"}"
NUMBERS = b'{"scale": NaN}'

DAMAGED = {
    "config missing": (instead("config.json", lambda file: None), "it has no config.json"),
    "config emptied": (content("config.json", b""), "config.json: cannot be read as JSON"),
    "config cut short": (content("config.json", b'{"config": {"mo'), "cannot be read as JSON"),
    "config in UTF-16": (content("config.json", "{}".encode("utf-16")), "cannot be read as JSON"),
    "config nested without end": (content("config.json", DEEP), "cannot be read as JSON"),
    "config with an endless number": (content("config.json", LONG), "cannot be read as JSON"),
    "config is a list": (content("config.json", b"[1]"), "expected a JSON object, not list"),
    "config far too large": (instead("config.json", huge), "larger than any file of its name"),
    "config of another program": (content("config.json", b'{"layers": 3}'), "'config' is missing"),
    "config with a folder in its place": (instead("config.json", Path.mkdir), "no config.json"),
    "a section that is a list": (
        config(lambda saved: saved["config"].update(model=[1])),
        "config.json: model = .*expected a JSON object",
    ),
    "an unknown setting": (setting("model", colour=1), "unknown parameter 'model.colour'"),
    "a setting of the wrong type": (
        setting("train", epochs="many"),
        "train.epochs = 'many': expected int",
    ),
    "a setting that is not a number": (
        setting("model", dropout=float("nan")),
        "model.dropout = nan",
    ),
    "a model of absurd size": (setting("model", d_model=10**9), "must be at most 16,384"),
    "another model's configuration": (
        setting("model", d_model=32),
        r"not the weights of the model in config.json \(.* has shape .*16.*, expected .*32.*\)",
    ),
    "skills missing": (config(lambda saved: saved.pop("skills")), "'skills' is missing"),
    "skills as one text": (skills("algebra"), "skills = 'algebra': expected a list of names"),
    "skills that are no names": (skills([["a"]]), "expected a list of names"),
    "no skills": (skills([]), "at least one name, and each name once"),
    "a skill twice": (skills(["a", "a"]), "at least one name, and each name once"),
    "a skill that is no text": (skills(["\ud800"]), "not Unicode text"),
    "fewer skills than weights": (skills(["a", "b"]), "items.csv: skill must be numbers between 0"),
    "weights missing": (instead("model.safetensors", lambda file: None), "no model.safetensors"),
    "weights emptied": (content("model.safetensors", b""), "model.safetensors: damaged"),
    "weights with a lying header": (content("model.safetensors", LYING), "damaged"),
    "a pickle for weights": (instead("model.safetensors", trap), "model.safetensors: damaged"),
    "weights linked to themselves": (
        instead("model.safetensors", lambda file: file.symlink_to(file.name)),
        "no model.safetensors",
    ),
    "a tensor missing": (tensors(lambda w, name: w.pop(name)), "is missing"),
    "a tensor too many": (
        tensors(lambda w, name: w.update(extra=torch.zeros(1))),
        "'extra' does not belong to it",
    ),
    "a tensor of another shape": (
        tensors(lambda w, name: w.update({name: w[name][:1].clone()})),
        "has shape",
    ),
    "weights in half precision": (
        tensors(lambda w, name: w.update({name: w[name].half()})),
        "has kind F16, expected F32",
    ),
    "weights that are no numbers": (
        tensors(lambda w, name: w[name].fill_(float("nan"))),
        "holds values that are not finite",
    ),
    "items emptied": (content("items.csv", b""), "items.csv: cannot be read as a table"),
    "items of another table": (content("items.csv", b"a,b\n1,2\n"), "items.csv: no column 'skill'"),
    "items of no skill": (content("items.csv", b"skill,item\nx,1\n"), "must be numbers between 0"),
    "spread of words": (
        content("uncertainty.json", b'{"scale": "a"}'),
        "uncertainty.json: expected a positive number under scale",
    ),
    "doubt below nothing": (
        content("uncertainty.json", b'{"scale": 1.0, "doubt": -1.0}'),
        "uncertainty.json: expected a number of at least 0 under doubt",
    ),
    "spread not a number": (
        content("uncertainty.json", NUMBERS),
        "expected a positive number",
    ),
    "provenance missing": (
        instead("provenance.json", lambda file: None),
        "provenance.json: ",
    ),
    "provenance a pipe": (instead("provenance.json", os.mkfifo), "not a file but a folder, pipe"),
    "provenance a device": (
        instead("provenance.json", lambda file: file.symlink_to("/dev/zero")),
        "provenance.json: not a file but a folder, pipe, device",
    ),
    "provenance a folder": (instead("provenance.json", Path.mkdir), "not a file but a folder"),
    "items a pipe": (instead("items.csv", os.mkfifo), "items.csv: not a file but"),
    "uncertainty a pipe": (
        instead("uncertainty.json", os.mkfifo),
        "uncertainty.json: not a file but",
    ),
    "uncertainty a broken link": (
        instead("uncertainty.json", lambda file: file.symlink_to("nowhere")),
        "uncertainty.json: not a file but",
    ),
    "state a pipe": (instead("state.json", os.mkfifo), "it has no state.json"),
    "weights a pipe": (instead("model.safetensors", os.mkfifo), "it has no model.safetensors"),
    "one bit of the weights": (
        lambda folder: first_bit(folder / "model.safetensors"),
        "model.safetensors: damaged, or not the weights that training wrote",
    ),
    "figures elsewhere": (linked("figures"), "figures: a link to .*outside.*remove the link"),
    "notebooks elsewhere": (linked("notebooks"), "notebooks: a link to .*outside"),
    "a figure elsewhere": (linked("figures/associations.png"), "associations.png: a link to"),
    "a notebook elsewhere": (
        linked("notebooks/02_consistency_report.ipynb"),
        "02_consistency_report.ipynb: a link to .*outside",
    ),
    "a reason with commands for a terminal": (
        content("state.json", json.dumps({"state": "stopped", "why": "\x1b[2J" * 10**5}).encode()),
        r"was stopped \(\\x1b\[2J\\x1b.{200,400}\)\. Resume it with",
    ),
    "provenance is a list": (content("provenance.json", b"[]"), "expected a JSON object"),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_a_damaged_run_is_refused_with_one_message(folder, name, capsys):
    damage, words = DAMAGED[name]
    damage(folder)
    before = sorted(p.name for p in folder.rglob("*"))
    assert main(["validate", str(folder)]) == 2
    errors = capsys.readouterr().err
    if "SHA-256" in errors:  # the command has read no further; Python says more
        with pytest.raises(KTError) as told:
            Run.load(folder)
        errors = f"error: {told.value}\n"
    assert re.search(words, errors), errors
    assert errors.startswith("error: ") and str(folder) in errors and "Traceback" not in errors
    assert errors.count("\n") == 1 and len(errors) < 1000
    assert sorted(p.name for p in folder.rglob("*")) == before  # and no trap has sprung


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (content("history.csv", b"\n"), "history.csv is missing or has no epochs"),
        (content("history.csv", b""), "history.csv: cannot be read as a table"),
        (content("history.csv", b"epoch,loss\n1,2\n"), "history.csv: no column valid/auc"),
        (
            content("history.csv", b"epoch,valid/auc,valid/loss\n0,good,1\n"),
            "column 'valid/auc' holds something other than numbers",
        ),
        (instead("history.csv", trap), "history.csv: "),
        (instead("history.csv", os.mkfifo), "history.csv: not a file but a folder, pipe"),
    ],
    ids=["no epochs", "emptied", "other columns", "words", "a pickle", "a pipe"],
)
def test_a_run_without_its_history_is_not_reported_on(folder, damage, words):
    damage(folder)
    with pytest.raises(KTError, match=words):
        examine(folder)
    assert not (folder / "sprung").exists()


def test_skills_that_are_not_those_of_the_data(folder):
    config(lambda saved: saved["skills"].reverse())(folder)
    with pytest.raises(
        KTError, match=r"config\.json: its skills are not those of the data, in that"
    ):
        open_run(folder)


def test_a_monitor_that_never_looked_is_none(folder):
    (folder / "monitor.csv").write_bytes(b"\n")
    assert Run.load(folder).table("monitor.csv").empty
    (folder / "monitor.csv").write_text("loss\n1\n")
    with pytest.raises(KTError, match=r"monitor\.csv: no column step"):
        Run.load(folder).table("monitor.csv")


def test_an_absurd_model_is_refused_before_memory_is_taken(folder, trained):
    largest = with_overrides(
        preset("smoke"),
        {"model.d_model": 2**14, "model.d_ff": 2**16, "model.blocks": 20, "model.heads": 1},
    )
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(KTError, match="not the weights of the model in config.json"):
        read_model(folder / "model.safetensors", largest.model, trained.vocabulary)
    assert (
        resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100 << 10
    )  # KiB; not 300 GB


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"{", "metrics.json: cannot be read as JSON"),
        (b'{"valid_auc": {"value": 1}}', "metrics.json: not the measures of a run"),
        (b'{"valid_auc": 3}', "metrics.json: not the measures of a run"),
    ],
)
def test_a_cell_with_foreign_measures(tmp_path, data, words):
    (tmp_path / "grid.yaml").write_text("preset: smoke\n")
    file = tmp_path / "grid.yaml"
    cells = sweeps.cells_of(read_grid(file), file)
    (tmp_path / cells[0].folder).mkdir()
    for name, text in (
        ("model.safetensors", b""),
        ("state.json", b'{"state": "finished"}'),
        ("metrics.json", data),
    ):
        (tmp_path / cells[0].folder / name).write_bytes(text)
    with pytest.raises(KTError, match=words):
        sweeps.collect(cells, tmp_path)
    assert not (tmp_path / "results.parquet").exists()


@pytest.fixture(scope="module")
def shown(trained, smoke):
    """What 03_mastery_trajectories draws from."""
    splits = smoke[1]
    return trained.model, splits, cohort.learner_frame(trained.model, splits, "test", 0)


TRAJECTORIES = {
    "learners as one text": (
        lambda m, s, f: cohort.sequences_of(s, "test", "L00002"),
        "learners = 'L00002': expected a list of names",
    ),
    "a learner who is not there": (
        lambda m, s, f: cohort.sequences_of(s, "test", ["nobody"]),
        "learner 'nobody' has no sequence in the test split",
    ),
    "a rule that does not exist": (
        lambda m, s, f: cohort.choose_learners(evaluate(m, s.test), 3),
        "rule 3: choose one of growth quartiles",
    ),
    "a horizon in words": (
        lambda m, s, f: cohort.learner_frame(m, s, "test", 0, "end"),
        "horizon = 'end': expected int",
    ),
    "a horizon after the end": (
        lambda m, s, f: cohort.learner_frame(m, s, "test", 0, 10**6),
        "horizon 1000000: this history has steps 1 to",
    ),
    "an explained step in words": (
        lambda m, s, f: explain(m, s.test, s.vocabulary, s.test.learners[0], "last"),
        "step = 'last': expected int",
    ),
    "skills that were not practised": (
        lambda m, s, f: plots.plot_revision(f, Figure().subplots(), skills=["knitting"]),
        "skill 'knitting': this learner practised",
    ),
    "skills as one text": (
        lambda m, s, f: plots.plot_revision(f, Figure().subplots(), skills="algebra"),
        "skills = 'algebra': expected a list of names",
    ),
    "no skills shown": (
        lambda m, s, f: plots.plot_learner(f, Figure().subplots(), 0),
        "skills shown = 0: must be at least 1",
    ),
}


@pytest.mark.parametrize("name", TRAJECTORIES)
def test_parameters_of_the_trajectories(shown, name):
    call, words = TRAJECTORIES[name]
    with pytest.raises(KTError, match=words):
        call(*shown)


def test_nobody_is_stuck_where_nobody_has_answered_enough(trained, smoke):
    beliefs = evaluate(trained.model, smoke[1].test)
    beliefs.frame = beliefs.frame.groupby(["sequence", "skill"]).head(1)
    with pytest.raises(KTError, match="rule 'stuck': no learner is stuck .at least 8 answers"):
        cohort.choose_learners(beliefs, "stuck")
    growth = cohort.skill_growth(beliefs, smoke[1].vocabulary.skills)
    assert growth.empty
    plots.plot_skill_growth(growth, Figure().subplots(1, 2))


PARAMETERS = {
    "a seed in words": (lambda d: configure(seed="soon"), "train.seed = 'soon': expected int"),
    "a preset in a list": (
        lambda d: configure(["quick"]),
        r"preset \['quick'\] does not exist",
    ),
    "two files of data": (
        lambda d: configure(data_path=["a", "b"]),
        r"data.path = \['a', 'b'\]: expected str",
    ),
    "overrides as text": (
        lambda d: configure(overrides="train.epochs=3"),
        "overrides = 'train.epochs=3': expected a mapping",
    ),
    "a number for a name": (lambda d: run_folder(preset("quick"), 5), "run name 5: at"),
    "a number for a folder": (
        lambda d: run_folder(preset("quick"), "a", 5),
        "out = 5: expected str",
    ),
    "a number for runs": (lambda d: find_runs(5), "runs = 5: expected a list of names"),
    "runs that are no names": (lambda d: find_runs([None]), "runs = .*list of names"),
    "a run without a name": (lambda d: find_runs([""]), "runs = '': expected the name of a file"),
    "a split that does not exist": (lambda d: open_run(d, ["test"]), "split .*choose"),
    "a number for a store": (lambda d: benchmark.load(5), "store = 5: expected str"),
    "an empty store": (lambda d: benchmark.load(d), "no finished cell"),
    "a reference that is no model": (
        lambda d: benchmark.auc_table(pd.DataFrame(), "simulated", "GPT"),
        "reference 'GPT': choose one of retrospective",
    ),
    "no estimates named": (
        lambda d: audit_files("", "r", "pre"),
        "mastery = '': expected the name of a",
    ),
    "resamples in words": (
        lambda d: audit_files("m", "r", "pre", resamples="many"),
        "resamples = 'many': expected int",
    ),
    "too few resamples": (
        lambda d: audit_files("m", "r", "pre", resamples=1),
        "resamples = 1: must be between 20 and 100,000",
    ),
    "columns as text": (
        lambda d: audit_files(d / "m.csv", "r", "pre", {"data.columns": "user"}),
        "data.columns = 'user': expected a mapping",
    ),
    "a format that does not exist": (
        lambda d: audit_files(d / "m.csv", "r", "pre", {"data.format": "xlsx"}),
        "data.format = 'xlsx': choose one of: auto, long",
    ),
    "estimates at half a step": (
        lambda d: audit_files(d / "half.csv", "r", "pre"),
        "half.csv, row 1: step .*1.5.* is not a whole number",
    ),
    "estimates without bounds": (
        lambda d: audit_files(d / "inf.csv", "r", "pre"),
        "inf.csv, row 1: mastery .*inf.* is not a number",
    ),
    "no sweep there": (lambda d: sweeps.load(d), "results.parquet: not the results of a sweep"),
    "another table for results": (
        lambda d: sweeps.load(d / "other"),
        "not the results of a sweep: no column cell",
    ),
}


@pytest.mark.parametrize("name", PARAMETERS)
def test_parameters_of_the_other_notebooks(name, tmp_path):
    head = "learner,step,skill,mastery\n"
    for file, row in (("m", "a,1,x,0.5"), ("half", "a,1.5,x,0.5"), ("inf", "a,1,x,inf")):
        (tmp_path / f"{file}.csv").write_text(f"{head}{row}\n")
    (tmp_path / "other").mkdir()
    pd.DataFrame({"a": np.arange(3)}).to_parquet(tmp_path / "other" / "results.parquet")
    call, words = PARAMETERS[name]
    with pytest.raises(KTError, match=words):
        call(tmp_path)


def test_the_newest_finished_run_is_found(trained, tmp_path, monkeypatch):
    monkeypatch.setattr("kt_core.runs.find.default_out", lambda: tmp_path)
    with pytest.raises(KTError, match=f"no finished run in {tmp_path}"):
        find_runs([])
    for age, name in enumerate(("newest", "older", "half")):
        shutil.copytree(trained.path, tmp_path / name)
        weights = tmp_path / name / "model.safetensors"
        os.utime(weights, (10**9 - age, 10**9 - age))
    (tmp_path / "half" / "state.json").write_text('{"state": "training"}')
    os.utime(tmp_path / "half" / "model.safetensors")
    assert find_runs([]) == [tmp_path / "newest"]


def test_a_damaged_run_does_not_hide_the_others(trained, tmp_path, monkeypatch, caplog, capsys):
    monkeypatch.setattr("kt_core.runs.find.default_out", lambda: tmp_path)
    for name in ("good", "damaged"):
        shutil.copytree(trained.path, tmp_path / name)
    (tmp_path / "damaged" / "state.json").write_text('{"state": "tr')
    assert find_runs([]) == [tmp_path / "good"] == [run_or_demo("")]
    assert "left out: " in caplog.text and "damaged" in caplog.text
    assert "No run of your own" not in capsys.readouterr().out


def as_version_0_1(folder, **retired):
    """A run folder with the names and the settings of version 0.1."""
    (folder / "state.json").write_text('{"state": "finished"}')  # without a digest
    saved = json.loads((folder / "config.json").read_text())
    for name, neutral in (RETIRED | retired).items():
        section, key = name.split(".")
        saved["config"][section][key] = neutral
    (folder / "config.json").write_text(json.dumps(saved))


def test_runs_of_version_0_1_are_read(folder):
    now = Run.load(folder)
    as_version_0_1(folder)
    then = Run.load(folder)
    assert then.config == now.config and then.uncertainty == now.uncertainty
    for name, weight in now.model.state_dict().items():
        assert torch.equal(then.model.state_dict()[name], weight), name


def test_an_experiment_of_version_0_1_is_refused(folder):
    as_version_0_1(folder, **{"loss.drift": 0.1})
    with pytest.raises(KTError, match=r"config.json: loss.drift = 0.1: this setting is gone"):
        Run.load(folder)
