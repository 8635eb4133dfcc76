"""What a notebook shows where it is given nothing and finds nothing: the demo, or an example that
is trained in seconds. A printed sentence says so.
"""

from __future__ import annotations

import time
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np

from kt_core.base.files import make_folder, write_json, write_table
from kt_core.base.places import default_out
from kt_core.config import RunConfig
from kt_core.data.registry import splits_of
from kt_core.evaluation.evaluate import evaluate
from kt_core.presets import configure
from kt_core.report.examine import examine
from kt_core.report.tables import metrics_dict
from kt_core.runs.find import find_runs, finished_runs
from kt_core.runs.run import Run
from kt_core.tracing.demo import demo
from kt_core.tracing.training import scratch, trained

if TYPE_CHECKING:
    from kt_core.studies.cell import Cell

DEMO = "the built-in demo, on simulated learners"
PRESET, MODES = "smoke", ("cumulative", "retrospective")
MODELS = ("retrospective", "Rasch", "AFM", "BKT-correct")  # of small studies
DATASETS, SMALL_WORLDS = ("simulated",), ("simulated", "world-hidden")
SMALL = "trained just now in seconds on 60 simulated learners, too few for conclusions"


def run_or_demo(run: str) -> Path:
    """The named run folder; the newest finished run if none is named, and the demo without one."""
    if run:
        return find_runs([run])[0]
    if own := finished_runs():
        return own[-1]
    print(f"No run of your own in {default_out()}: shown is {DEMO}.")
    return demo().run.path


def runs_or_example(runs: list[str]) -> list[Path]:
    """The named run folders; if none is named, the demo and another mode on the same answers."""
    if runs:
        return find_runs(runs)
    print(
        f"No runs are named: compared are {DEMO}, and mode {MODES[0]}, trained just now on the "
        "same answers for two epochs, too few for conclusions. Name two of your own in runs."
    )
    first = demo().run
    data, resamples = first.config.data.path, {"report.bootstrap": first.config.report.bootstrap}
    config = configure(PRESET, "", data, MODES[0], overrides=resamples)
    return [first.path, _train(config, first.path.with_name(MODES[0])).path]


def estimates_or_demo(mastery: str, responses: str, sees: str) -> tuple[str, str, str]:
    """What an audit is given; if it is given nothing, files of what the demo believed before each
    answer of its test learners, and of these answers.
    """
    if mastery or responses or sees:
        return mastery, responses, sees
    print(f"No estimates are named: audited are those of {DEMO}. Name yours in mastery.")
    model, folder = demo(), scratch()
    beliefs = evaluate(model.run.model, model.splits.test)
    names = {"mastery_pre": "mastery"}
    table = beliefs.frame[["learner", "skill", "correct", "mastery_pre"]].rename(columns=names)
    table["learner"] = beliefs.learners[table["learner"]]
    table["skill"] = np.asarray(model.splits.vocabulary.skills)[table["skill"]]
    table.insert(1, "step", table.groupby("learner", sort=False).cumcount() + 1)
    files = [folder / "demo-mastery.csv", folder / "demo-answers.csv"]
    write_table(table[["learner", "step", "skill", "mastery"]].dropna(), files[0])
    write_table(table[["learner", "skill", "correct"]], files[1])
    return str(files[0]), str(files[1]), "pre"


def sweep_or_example(folder: str) -> str:
    """The named folder of a sweep, or ``sweep/``; a sweep of two cells without either."""
    if own := _own(folder, "sweep"):
        return own
    from kt_core.studies import sweeps  # it loads every model
    from kt_core.studies.cell import Cell

    print(f"No sweep in sweep/: shown are two cells, {SMALL}.")
    return _example("sweep", sweeps, [Cell("simulated", mode, preset=PRESET) for mode in MODES])


def constraints_or_example(folder: str) -> str:
    """The named folder of a comparison of modes, or ``constraints/``; else a small one."""
    if own := _own(folder, "constraints"):
        return own
    from kt_core.studies import constraints

    print(f"No comparison in constraints/: shown are the modes {SMALL}.")
    return _example("constraints", constraints, constraints.plan(PRESET))


def benchmark_or_example(store: str) -> Path:
    """The named folder of finished cells, or the usual one; a few small ones without either."""
    from kt_core.studies import plan

    return _store_or_example(store, plan.STORE, "benchmark", DATASETS)


def worlds_or_example(store: str) -> Path:
    """The same of worlds."""
    from kt_core.studies import worlds

    return _store_or_example(store, worlds.STORE, "worlds", SMALL_WORLDS)


def _store_or_example(store: str, usual: Path, name: str, datasets: tuple[str, ...]) -> Path:
    if store or any(usual.glob("*.parquet")):
        return Path(store or usual)
    from kt_core.studies.cell import Cell  # these load every model
    from kt_core.studies.cells import keep
    from kt_core.studies.models import OURS

    models = ", ".join(MODELS)
    print(f"No finished cells in {usual}: shown are {models}, {SMALL}. Name your folder in store.")
    folder = make_folder(scratch() / name)
    for cell in (Cell(d, model, preset=PRESET) for d in datasets for model in MODELS):
        started, run = time.perf_counter(), folder / "runs" / cell.folder
        if cell.model in OURS:
            _train(cell.config, run)
        keep(cell, run, folder / "store", started)
    return folder / "store"


def _own(folder: str, usual: str) -> str:
    """The named folder, or the `usual` one if it is there."""
    return folder or (usual if Path(usual).exists() else "")


def _example(name: str, study: ModuleType, cells: list[Cell]) -> str:
    """A folder of results, of cells that are trained and measured here, one after the other."""
    out = make_folder(scratch() / name)
    for cell in cells:
        run = _train(cell.config, out / cell.folder)
        write_json(run.path / "metrics.json", metrics_dict(examine(run.path)))
    study.collect(cells, out)
    return str(out)


def _train(config: RunConfig, folder: Path) -> Run:
    return trained(config, splits_of(config), folder, progress=False)
