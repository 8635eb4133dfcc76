"""Sweeps: every cell checked before the first runs, resumable, and nothing lost."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pandas as pd
import psutil
import pytest
from conftest import ROOT, sweep_table
from matplotlib.figure import Figure

from kt_core import plots
from kt_core.base import own
from kt_core.base.errors import KTError
from kt_core.base.locks import locked
from kt_core.cli.commands import main
from kt_core.notebook.kernel import Kernel
from kt_core.studies import cells, sweeps
from kt_core.studies.cell import Cell
from kt_core.studies.cells import finished, run_cell, run_cells
from kt_core.studies.grids import read_grid

MINE = """
import kt_core as kt
from kt_core.baselines.counts import SkillBaseRate

class Mine(SkillBaseRate):
    pass

kt.register("mine", Mine)
"""
TINY = {"data.learners": 30, "train.epochs": 1, "report.bootstrap": 20}


def grid(tmp_path, text):
    file = tmp_path / "grid.yaml"
    file.write_text(text, encoding="utf-8")
    return file


def cells_in(file):
    return sweeps.cells_of(read_grid(file), file)


def grid_cells(modes=("retrospective",), seeds=(0,), **overrides):
    extra = tuple((TINY | overrides).items())
    return [Cell("simulated", mode, seed, 0, "smoke", extra) for mode in modes for seed in seeds]


def test_a_grid_is_a_product(tmp_path):
    text = "preset: smoke\nmode: [retrospective, cumulative]\nseed: [0, 1, 2]\n"
    text += "set:\n  model.d_model: [16, 32]\n  train.monitor: false\n"
    found = cells_in(grid(tmp_path, text))
    assert len(found) == 12
    assert len({cell.folder for cell in found}) == 12
    assert found == cells_in(tmp_path / "grid.yaml")
    assert {cell.config.model.d_model for cell in found} == {16, 32}
    assert not any(cell.config.train.monitor for cell in found)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("- a\n- b\n", "expected a mapping"),
        ("mode: [", "cannot be read as YAML"),
        ("model: retrospective\n", "unknown key 'model'; known are"),
        ("mode: [retrospective, retrospective]\n", "mode: the same value is there twice"),
        ("mode: []\n", "mode: the list is empty"),
        ("mode: monotone\n", "model.mode = 'monotone'"),
        ("preset: enormous\n", "preset 'enormous' does not exist"),
        ("seed: one\n", "seed: 'one' is not a whole number"),
        ("seed: [{a: 1}]\n", "is not a single value"),
        ("set: 3\n", "set: expected a mapping"),
        ("set:\n  model.size: 3\n", "unknown parameter 'model.size'"),
        ("set:\n  model.d_model: [16, -1]\n", "d_model"),
        ("preset: smoke\ndataset: no\n", "line 2: 'no' is false in YAML; write it plainly, or in"),
        ("mode: [cumulative,\n  off]\n", "line 2: 'off' is false in YAML"),
        ("dataset: Yes\n", "line 1: 'Yes' is true in YAML"),
        ("preset: smoke\n\nmode: 0\n", "line 3: mode: '0' is not a text in YAML, and a name is"),
        ("dataset: 2015\n", "line 1: dataset: '2015' is not a text"),
        ("dataset: [simulated, true]\n", "line 1: dataset: 'true' is not a text"),
        ("dataset: ~\n", "line 1: dataset: '~' is not a text"),
        ("preset:\n", "line 1: preset: '' is not a text"),
        ("seed: 1\nset: {}\nseed: 2\n", "line 3: the key 'seed' is there twice"),
        (
            "set:\n  train.epochs: 1\n  'train.epochs': 2\n",
            "line 3: the key 'train.epochs' is there twice",
        ),
        ("seed: 010\n", "line 1: '010' is the number 8 in YAML"),
        ("seed: [1, 0x10]\n", "line 1: '0x10' is the number 16 in YAML"),
        ("seed: 0b11\n", "'0b11' is the number 3"),
        ("set:\n  train.epochs: 1_000\n", "line 2: '1_000' is the number 1000 in YAML"),
        ("set:\n  train.epochs: 1:30\n", "line 2: '1:30' is the number 90 in YAML"),
        ("set:\n  train.learning_rate: 1:30.5\n", "'1:30.5' is the number 90.5"),
        ("set:\n  train.learning_rate: 0_0.1\n", "'0_0.1' is the number 0.1"),
        ("set:\n  train.monitor: [yes, true]\n", "line 2: 'yes' is true in YAML"),
        ("a: &x [0o7, 010]\nb: *x\n", "line 1: '010' is the number 8"),
    ],
)
def test_a_bad_grid_is_refused_before_anything_runs(tmp_path, text, words, capsys):
    file = grid(tmp_path, text)
    assert main(["sweep", "--grid", str(file), "--out", str(tmp_path / "out")]) == 2
    said = capsys.readouterr().err
    assert words in said and str(file) in said
    assert not (tmp_path / "out").exists()


def test_numbers_and_names_that_look_like_themselves(tmp_path):
    text = "preset: 'smoke'\nseed: [0, 10]\nset:\n  train.learning_rate: [1.0e-3, 1e-4, .01, 0.5]\n"
    text += "  train.monitor: [true, False]\n  train.epochs: +2\n"
    found = cells_in(grid(tmp_path, text))
    rates = {cell.config.train.learning_rate for cell in found}
    assert len(found) == 16 and rates == {0.001, 0.0001, 0.01, 0.5}


def test_a_second_sweep_or_benchmark_in_a_folder_is_refused(tmp_path, capsys):
    file, out, store = grid(tmp_path, "preset: smoke\n"), tmp_path / "out", tmp_path / "store"
    out.mkdir()
    store.mkdir()
    benchmark = ["benchmark", "--only", "simulated_skill-base-rate", "--out", str(out), "--store"]
    for folder, call, kind in (
        (out, ["sweep", "--grid", str(file), "--out", str(out)], "sweep or comparison"),
        (store, [*benchmark, str(store)], "benchmark"),
        (out, [*benchmark, str(store)], "benchmark"),
        (out, [*benchmark, str(out)], "benchmark"),
    ):
        with locked(folder):
            assert main(call) == 2
        assert f"{folder} is in use by another {kind}; wait" in capsys.readouterr().err
    assert [*out.rglob("*")] == [out / "failed"] and not [*store.iterdir()]


def test_a_sweep_from_grid_to_report_and_again(tmp_path, capsys):
    text = "preset: smoke\nmode: [retrospective, cumulative]\nset:\n"
    text += "".join(f"  {key}: {value}\n" for key, value in TINY.items())
    call = ["sweep", "--grid", str(grid(tmp_path, text)), "--out", str(tmp_path / "out")]
    assert main([*call, "--jobs", "2"]) == 0
    out = tmp_path / "out"
    results = pd.read_parquet(out / "results.parquet")
    assert results["cell"].nunique() == 2
    assert set(results["mode"]) == {"retrospective", "cumulative"}
    assert {"AUC", "AUC, validation"} <= set(results["measure"])
    assert (out / "sweep.html").is_file() and (out / "figures" / "sweep.png").is_file()
    weights = sorted(out.glob("*/model.safetensors"))
    before = [file.stat().st_mtime_ns for file in weights]
    (weights[0].parent / "metrics.json").unlink()  # as if stopped between training and report
    capsys.readouterr()
    assert main(call) == 0
    assert "2 cells, 1 of them finished before" in capsys.readouterr().out
    assert [file.stat().st_mtime_ns for file in weights] == before
    assert (weights[0].parent / "metrics.json").is_file()


def test_a_cell_in_a_warm_kernel_gives_the_same_as_in_a_cold_one(tmp_path, monkeypatch):
    other, same = grid_cells(seeds=(0, 1))
    with Kernel(cells.MODULES, {"OMP_NUM_THREADS": "1"}) as kernel:
        monkeypatch.setattr(cells, "KERNEL", kernel)  # as in a worker
        assert run_cell(other, tmp_path / "warm") == run_cell(same, tmp_path / "warm") == ""
    monkeypatch.setattr(cells, "KERNEL", None)
    assert run_cell(same, tmp_path / "cold") == ""
    warm, cold = (tmp_path / name / same.folder for name in ("warm", "cold"))
    names = sorted(str(path.relative_to(cold)) for path in cold.rglob("*.*"))
    assert names == sorted(str(path.relative_to(warm)) for path in warm.rglob("*.*"))
    timed = "history.csv", "provenance.json", "report.html", "notebooks"
    for name in (name for name in names if not name.startswith(timed)):
        assert (warm / name).read_bytes() == (cold / name).read_bytes(), name
    told = [json.loads((path / "provenance.json").read_text()) for path in (warm, cold)]
    for provenance in told:
        assert provenance.pop("command").startswith("python -m kt_core train --preset smoke")
        del provenance["created"], provenance["training_seconds"]
    assert told[0] == told[1]
    tables = [pd.read_csv(path / "history.csv").drop(columns="seconds") for path in (warm, cold)]
    pd.testing.assert_frame_equal(*tables, check_exact=True)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_no_process_outlives_a_stopped_sweep(tmp_path, number):
    text = "preset: smoke\nseed: [0, 1]\nset:\n  train.epochs: 5000\n  train.patience: 5000\n"
    command = [sys.executable, "-m", "kt_core", "sweep", "--grid", str(grid(tmp_path, text))]
    process = subprocess.Popen(
        [*command, "--out", str(tmp_path / "out")],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    while not list(tmp_path.glob("out/*/checkpoints/resume.ckpt")) and process.poll() is None:
        time.sleep(0.1)
    others = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(number)
    process.wait(timeout=60)
    assert len(others) > 2 and not psutil.wait_procs(others, timeout=50)[1]
    errors = process.communicate()[1]
    if number == signal.SIGTERM:
        assert process.returncode == 143 and errors == "terminated: call it again to continue\n"
    (state,) = tmp_path.glob("out/*/state.json")  # the next cell, which waited, has not begun
    assert "interrupted" in state.read_text() and not list(tmp_path.glob("out/failed/*"))


def test_a_cell_that_fails_is_reported_and_stops_no_other(tmp_path):
    first, second = (
        dataclasses.replace(cell, overrides=(("data.path", str(tmp_path / name)),))
        for cell, name in zip(grid_cells(seeds=(0, 1)), ("gone.csv", "lost.csv"), strict=True)
    )
    failed = run_cells([first, second], tmp_path / "out")
    assert "gone.csv" in failed[first.name] and "lost.csv" in failed[second.name]
    kept = tmp_path / "out" / "failed" / first.folder
    assert (kept / "01_train.ipynb").is_file() and (kept / "output.txt").is_file()
    assert sweeps.collect([first, second], tmp_path / "out").empty


def test_headlines_are_the_models_own():
    table = sweeps.headlines(sweep_table())
    assert len(table) == 6 and sweeps.varied(table) == ["mode", "seed"]
    np.testing.assert_allclose(table["AUC"][:3], [0.73, 0.731, 0.732])
    wide = sweeps.over_seeds(table)
    assert wide["AUC"].tolist() == ["0.7310 (0.0020)", "0.7210 (0.0020)"]
    axes = Figure().subplots(2, 2)
    plots.plot_sweep(table, ["mode", "seed"], ["AUC", "AUC, validation"], axes)
    assert axes[0, 0].get_ylabel() == "AUC" and axes[1, 1].get_xlabel() == "seed"


def test_one_setting_alone_is_still_a_table():
    table = sweeps.headlines(sweep_table(seeds=1).query("mode == 'cumulative'"))
    assert sweeps.varied(table) == []
    assert sweeps.over_seeds(table)["AUC"].tolist() == ["0.7200"]


def test_no_scheduler_there(tmp_path, monkeypatch):
    pytest.importorskip("distributed")
    monkeypatch.setattr("kt_core.studies.cells.PATIENCE", "1s")
    with pytest.raises(KTError, match="no answer"):
        run_cells(grid_cells(), tmp_path / "out", scheduler="tcp://127.0.0.1:9")


@pytest.fixture
def cluster():
    """A scheduler and two workers, each a process of its own."""
    Client = pytest.importorskip("distributed").Client
    run = [sys.executable, "-m"]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "start_new_session": True}
    processes = [
        subprocess.Popen(
            [*run, "distributed.cli.dask_scheduler", "--port", "0", "--no-dashboard"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
    ]
    try:
        address = next(line.split()[-1] for line in processes[0].stderr if "Scheduler at:" in line)
        worker = [*run, "distributed.cli.dask_worker", address, "--nthreads", "1", "--no-nanny"]
        processes += [subprocess.Popen([*worker, "--no-dashboard"], **quiet) for _ in range(2)]
        with Client(address) as client:
            client.wait_for_workers(2, timeout=60)
        yield address, processes[1:]
    finally:
        for process in processes:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            process.communicate()  # waits, and closes the pipe


def test_a_cluster_fills_a_store_also_with_a_model_of_ones_own(cluster, tmp_path, monkeypatch):
    monkeypatch.setattr(own, "_KNOWN", {})
    monkeypatch.setenv(own.VARIABLE, "[]")
    (tmp_path / "my_rates.py").write_text(MINE)
    monkeypatch.syspath_prepend(tmp_path)
    own.load(tmp_path / "my_rates.py")
    extra = tuple(TINY.items())
    pair = [Cell("simulated", model, 0, 0, "smoke", extra) for model in ("mine", "Rasch")]
    store, (address, _) = tmp_path / "store", cluster
    assert run_cells(pair, tmp_path / "out", scheduler=address, store=store) == {}
    assert all(finished(cell, tmp_path / "out", store) for cell in pair)
    (tmp_path / "my_rates.py").write_text(MINE + "# changed\n")
    failed = run_cells(pair, tmp_path / "out", scheduler=address, store=store)
    assert list(failed) == [pair[0].name] and "restart the workers" in failed[pair[0].name]


def test_a_worker_killed_in_mid_run_loses_nothing(cluster, tmp_path):
    address, workers = cluster
    pair, out = grid_cells(seeds=(0, 1)), tmp_path / "out"

    def kill_once_busy():
        while not list(out.glob("*/state.json")):
            time.sleep(0.1)
        os.killpg(workers[0].pid, signal.SIGKILL)

    killer = threading.Thread(target=kill_once_busy, daemon=True)
    killer.start()
    failed = run_cells(pair, out, scheduler=address)
    killer.join(5)
    assert workers[0].poll() is not None and failed == {}
    assert sweeps.collect(pair, out)["cell"].nunique() == 2
    assert all(finished(cell, out) for cell in pair)
