"""Bad configurations and bad calls: one message, exit code 2, nothing written."""

import logging
import os
import re

import pandas as pd
import pytest
from conftest import ROOT

from kt_core.base.errors import KTError
from kt_core.base.log import log_to_output
from kt_core.cli.commands import main
from kt_core.config import from_dict, with_overrides
from kt_core.notebook import headless
from kt_core.presets import preset
from kt_core.runs.find import NAME, run_folder
from kt_core.studies import grids, plan, sweeps
from kt_core.studies.cell import stored

HUGE = 10**5000  # Python itself does not write such numbers
TAG = "!!python/object/apply:os.mkdir ['{}']"
LAUGHS = "a0: &a0 [ha, ha]\n" + "".join(
    f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}, *a{i - 1}, *a{i - 1}]\n" for i in range(1, 40)
)


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["train.epochs", 3], "overrides = .*: expected a mapping"),
        ({3: 1}, "unknown parameter 3"),
        ({"": 1}, "unknown parameter ''"),
        (
            {"model.d_model": HUGE},
            "model.d_model = a whole number of 16,610 bits: must be",
        ),
        ({"train.learning_rate": HUGE}, "train.learning_rate = .*: expected float"),
        (
            {"train.learning_rate": float("inf")},
            "train.learning_rate = inf: must be a finite number, above 0 and below",
        ),
        (
            {"targets.auc": float("nan")},
            "targets.auc = nan: must be a finite number, at least -1 and at",
        ),
        ({"train.epochs": None}, "train.epochs = None: expected int"),
        ({"data.dataset": ["a", "b"]}, r"data.dataset = \['a', 'b'\]: expected str"),
        ({"model.mode": ["cumulative"]}, r"model.mode = \['cumulative'\]: choose one of"),
        ({"loss": {"sparsity": 1}}, "loss weighting {'sparsity': 1} does not exist"),
        ({"train.monitor": 2}, "train.monitor = 2: expected true or false"),
        ({"model.blocks": 10**9}, "model.blocks = 1000000000: must be at most 200"),
        ({"data.learners": 10**12}, "data.learners = 1000000000000: must be at most 10,000,000"),
        ({"report.bootstrap": 10**9}, "report.bootstrap = 1000000000: must be at most 100,000"),
        ({"train.seed": -1}, "train.seed = -1: must be at least 0"),
        ({"model.fading": 7}, "model.fading = 7: must be 0 or a divisor of model.d_model"),
        ({"data.chunk": 2, "data.min_length": 5}, "must be at least data.min_length"),
        ({"model.position": "absolute"}, "needs relative positions; choose decay"),
        ({"targets.auc": 0.5}, "targets.auc = 0.5: must be at least targets.auc_minimum"),
        ({"data.columns": {"user": ["a"]}}, "data.columns = .*: expected a mapping"),
        ({"data.columns": LAUGHS}, "data.columns = .*: expected a mapping"),
        ({"data.columns": "[" * 500}, "data.columns = .*: expected a mapping"),
        ({"data.format": "x" * 10**6}, "data.format = 'xxx.*: choose one of"),
    ],
    ids=lambda value: "" if isinstance(value, str) else next(iter(map(str, value)), "")[:30],
)
def test_settings_that_cannot_be(overrides, words):
    with pytest.raises(KTError, match=words) as error:
        with_overrides(preset("quick"), overrides)
    assert len(str(error.value)) < 2000


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"train": [1, 2]}, r"train = \[1, 2\]: expected a JSON object"),
        ({"preset": {"name": "x"}}, "preset = .*: expected str"),
        ({"model": {"d_model": "wide"}}, "model.d_model = 'wide': expected int"),
        ({"loss": {"sparsity": float("nan")}}, "loss.sparsity = nan: must be a finite number"),
    ],
)
def test_saved_configurations_that_cannot_be(change, words):
    with pytest.raises(KTError, match=words):
        from_dict(preset("smoke").to_dict() | change)


def test_a_yaml_tag_is_text_and_runs_nothing(tmp_path):
    with pytest.raises(KTError, match="expected a mapping"):
        with_overrides(preset("quick"), {"data.columns": TAG.format(tmp_path / "made")})
    (tmp_path / "grid.yaml").write_text("mode: " + TAG.format(tmp_path / "made"))
    with pytest.raises(KTError, match="cannot be read as YAML .*constructor for the tag"):
        grids.read_grid(tmp_path / "grid.yaml")
    assert not (tmp_path / "made").exists()


def test_a_log_level_that_does_not_exist(monkeypatch):
    monkeypatch.setenv("KT_LOG", "loud")
    monkeypatch.setattr(logging.getLogger("kt_core"), "handlers", [])
    with pytest.raises(KTError, match="KT_LOG=loud: choose DEBUG, INFO"):
        log_to_output()
    assert main(["datasets"]) == 2


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"mode: [retrospective\x00]", "cannot be read as YAML"),
        (b"\xff\xfemode", "cannot be read as YAML"),
        (b"[" * 500, "cannot be read as YAML"),
        (b"seed: " + b"1" * 5000, "cannot be read as YAML"),
        (b"? [a]\n: b\n", "cannot be read as YAML .*unhashable key"),
        (LAUGHS.encode(), "unknown key 'a0'"),
        (
            b"set:\n  train.epochs:\n" + b"   " + LAUGHS.replace("\n", "\n   ").encode(),
            "is not a single value",
        ),
        (b"seed: 2026-01-01", "is not a single value"),
        (b"dataset: mnist", "data set 'mnist' does not exist; choose one of: simulated"),
        (b"set: {model.mode: cumulative}", "set: model.mode is an axis of its own"),
        (b"set: {model.d_model: [64, '64']}", "two cells have the same settings"),
        (
            "\n".join([f"seed: {[*range(200)]}", f"fold: {[*range(200)]}"]).encode(),
            "40,000 cells; at most 10,000",
        ),
    ],
    ids=range(12),
)
def test_grids_that_cannot_be(tmp_path, text, words):
    file = tmp_path / "grid.yaml"
    file.write_bytes(text)
    with pytest.raises(KTError, match=words) as error:
        sweeps.cells_of(grids.read_grid(file), file)
    assert str(tmp_path / "grid.yaml") in str(error.value) and len(str(error.value)) < 2000


def kt(*args):
    try:
        return main([str(arg) for arg in args])
    except SystemExit as stop:  # argparse's own errors
        return stop.code


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["train", "--name", "/etc/run"], "run name '/etc/run': at most 150 letters"),
        (["train", "--name", "-x"], "expected one argument"),
        (["train", "--name", ".hidden"], "run name '.hidden'"),
        (["train", "--name", "a b\nc"], r"run name 'a b\nc'"),
        (["train", "--name", "x" * 151], "at most 150 letters"),
        (["train", "--name", "a\0b"], r"argument 'a\x00b': not UTF-8 text"),
        (["train", "--data", "\udcff.csv"], r"argument '\udcff.csv': not UTF-8 text"),
        (["train", "--dataset", "simulated", "--data", __file__], "give only one of them"),
        (["train", "--dataset", "mnist"], "data set 'mnist' does not exist; choose one of"),
        (["train", "--seed", "soon"], "invalid int value: 'soon'"),
        (["train", "--fold", "7"], "data.fold = 7: must be between 0 and 4"),
        (["train", "--set", "=5"], "unknown parameter ''"),
        (["train", "--set", "model.d_model="], "model.d_model = '': expected int"),
        (["train", "--column", "user"], "write it as canonical=name"),
        (["train", "--loss", "enhanced"], "is not a term of mode 'retrospective'"),
        (["sweep", "--grid", "."], "cannot be read as YAML ([Errno 21]"),
        (["benchmark", "--only", "GPT"], "--only GPT: no cell's name contains it"),
    ],
    ids=lambda value: (
        " ".join(value)[:40].encode("ascii", "ignore").decode().replace("\0", "0")
        if isinstance(value, list)
        else ""
    ),
)
def test_calls_that_cannot_be(args, words, tmp_path, capsys):
    assert kt(*args, "--out", tmp_path / "o") == 2
    errors = capsys.readouterr().err
    assert words in errors and "Traceback" not in errors and errors.count("error:") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_long_or_foreign_file_name_still_names_a_run():
    for stem in ("数据", "x" * 240, "..", "_"):
        config = with_overrides(preset("quick"), {"data.path": f"{stem}.csv"})
        assert NAME.fullmatch(run_folder(config).name)


def test_places_that_cannot_be_written(tmp_path, capsys, monkeypatch):
    (tmp_path / "file").write_text("kept")
    (tmp_path / "grid.yaml").write_text("preset: smoke\nmode: cumulative\n")
    below, there = tmp_path / "file" / "below", tmp_path / "file"
    for call in (
        ["train", "--out", below],
        ["sweep", "--grid", tmp_path / "grid.yaml", "--out", tmp_path / "file"],
        ["benchmark", "--only", "simulated_BKT", "--store", below, "--out", tmp_path / "o"],
        ["benchmark", "--print", "--out", below],
        ["audit", "--mastery", there, "--responses", there, "--sees", "pre", "--out", below],
    ):
        assert kt(*call) == 2, call
        errors = capsys.readouterr().err
        assert "cannot be written" in errors and str(tmp_path / "file") in errors
    assert kt("doctor", "--out", below) == 1 and "FAILED  run folder" in capsys.readouterr().out
    with monkeypatch.context() as patch:
        patch.setattr(os, "access", lambda *_: False)  # as root, every folder can be written
        assert kt("train", "--out", tmp_path / "o") == 2
    assert "cannot be written; choose another --out" in capsys.readouterr().err
    assert (tmp_path / "file").read_text() == "kept" and not (tmp_path / "o").exists()


@pytest.mark.parametrize("command", ["sweep", "benchmark"])
def test_no_jobs_at_a_time(command, tmp_path, capsys):
    (tmp_path / "grid.yaml").write_text("preset: smoke\nmode: cumulative\n")
    extra = ["--grid", tmp_path / "grid.yaml"] if command == "sweep" else ["--store", tmp_path]
    assert kt(command, "--jobs", 0, "--out", tmp_path / "o", *extra) == 2
    assert "--jobs 0: at least 1" in capsys.readouterr().err
    assert not (tmp_path / "o").exists()


def test_predictions_do_not_overwrite_the_histories(trained, tmp_path, capsys):
    data = tmp_path / "mine.csv"
    data.write_text("user,skill,correct\na,skill 01,1\n")
    other = tmp_path / "x" / ".." / "mine.csv"
    (tmp_path / "x").mkdir()
    assert kt("predict", trained.path, "--data", data, "--out", other) == 2
    assert "that is the file of histories itself" in capsys.readouterr().err
    (tmp_path / "m.csv").mkdir()
    assert kt("predict", trained.path, "--data", data, "--out", tmp_path / "m.csv") == 2
    assert "m.csv: cannot be written (Is a directory)" in capsys.readouterr().err
    assert sorted(p.name for p in tmp_path.iterdir()) == ["m.csv", "mine.csv", "x"]


def test_a_run_compared_with_itself_and_a_file_as_a_run(trained, tmp_path, capsys):
    again = trained.path.parent / "x" / ".." / trained.name
    assert kt("validate", trained.path, trained.path) == 2
    assert "a run is named twice" in capsys.readouterr().err
    (tmp_path / "run").write_text("")
    assert kt("visualise", tmp_path / "run") == 2
    assert "is not a finished run" in capsys.readouterr().err
    assert again.name == trained.name


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"PAR1 and then nothing", "not a readable Parquet file"),
        (None, "not a cell of the benchmark (no dataset"),
    ],
)
def test_a_store_with_something_else_in_it(tmp_path, capsys, content, words):
    file = stored(plan.cells()[0], tmp_path)
    if content is None:
        pd.DataFrame({"fingerprint": ["x"]}).to_parquet(file)
    else:
        file.write_bytes(content)
    assert kt("benchmark", "--store", tmp_path, "--out", tmp_path / "o") == 2
    errors = capsys.readouterr().err
    assert words in errors and str(file) in errors
    assert not (tmp_path / "o").exists()


def test_a_full_disk_before_anything_runs(tmp_path, capsys, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device", "/tmp/kt_core-x")

    monkeypatch.setattr(headless.tempfile, "mkdtemp", full)
    assert kt("train", "--out", tmp_path / "o") == 2
    errors = capsys.readouterr().err
    assert errors == "error: [Errno 28] No space left on device: '/tmp/kt_core-x'\n"
    assert not (tmp_path / "o").exists()


def test_a_reader_that_has_seen_enough_is_no_error(monkeypatch):
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as out:
        monkeypatch.setattr("sys.stdout", out)
        assert main(["presets", "standard"]) == 0


def test_the_documentation_names_tests_that_exist():
    text = (ROOT / "docs" / "robustness.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`(test_\w+\.py)(?:::(test_\w+))?", text))
    assert len(named) > 20
    for file, test in named:
        (path,) = (ROOT / "tests").rglob(file)
        source = path.read_text(encoding="utf-8")
        assert not test or f"def {test}(" in source, f"{file}::{test}"
