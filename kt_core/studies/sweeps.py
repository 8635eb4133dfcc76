"""Sweeps: a grid of trainings, each a papermill run in a folder of its own.

Cells run in processes of their own, on this machine or on a Dask cluster whose workers share the
folder. A cell that is finished is never run again; one that fails does not stop the others.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import math
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import yaml
from tqdm.auto import tqdm

from kt_core.base.errors import KTError, brief, reason
from kt_core.base.files import copy, make_folder, write_table, write_text
from kt_core.base.locks import wait_for
from kt_core.base.values import path_of
from kt_core.config import RunConfig
from kt_core.notebook.headless import KEEP_FAILED
from kt_core.presets import configure
from kt_core.runs.read import read_json
from kt_core.runs.resume import discard_unstarted
from kt_core.runs.run import unfinished

AXES = {"preset": "quick", "dataset": "simulated", "mode": "", "seed": 0, "fold": 0}
TABLES = ("prediction", "violations", "associations", "conduct", "necessity", "recovery")
HEADLINES = {
    "AUC, validation": ("prediction", "AUC, validation", ""),
    "AUC": ("prediction", "AUC", ""),
    "prospective validity (pre)": (
        "associations",
        "prospective validity, learner x skill",
        "pooled",
    ),
    "mastery falls": ("violations", "monotonicity", ""),
}
AXIS_OF = {
    "data.dataset": "dataset",
    "model.mode": "mode",
    "train.seed": "seed",
    "data.fold": "fold",
}
MOST_CELLS = 10_000
PATIENCE = "20s"  # with a scheduler that does not answer
COLUMNS = ("cell", "dataset", "mode", "table", "measure", "variant", "predictor", "value")
LABELS = ("quality", "constraint", "measure", "quantity")  # a table's column of measures


@dataclass(frozen=True)
class Cell:
    """One training: a value for each axis, and single parameters."""

    axes: tuple[tuple[str, Any], ...]
    overrides: tuple[tuple[str, Any], ...] = ()

    @property
    def config(self) -> RunConfig:
        """The whole configuration.

        Raises
        ------
        KTError
            For a value that cannot be.
        """
        a = dict(self.axes)
        return configure(
            a["preset"], a["dataset"], "", a["mode"], a["seed"], a["fold"], dict(self.overrides)
        )

    @property
    def name(self) -> str:
        """A file name: what can be read of the cell, and a fingerprint of all its settings."""
        a = dict(self.axes)
        words = [a["dataset"], self.config.model.mode, f"seed{a['seed']}", f"fold{a['fold']}"]
        words += [f"{key.rpartition('.')[2]}-{value}" for key, value in self.overrides]
        readable = re.sub(r"[^A-Za-z0-9_.-]+", "-", "_".join(words))[:100]
        return f"{readable}_{hashlib.sha256(self.settings.encode()).hexdigest()[:8]}"

    @property
    def settings(self) -> str:
        """All that decides the run, as JSON."""
        return json.dumps(self.config.to_dict(), sort_keys=True)

    @property
    def arguments(self) -> list[str]:
        """Of `python -m kt_core train`."""
        pairs = [(f"--{key}", str(value)) for key, value in self.axes if value != ""]
        pairs += [("--set", f"{key}={_written(value)}") for key, value in self.overrides]
        return [word for pair in pairs for word in pair]


def read_grid(path: Path) -> list[Cell]:
    """All cells of a YAML file, checked one by one before anything runs.

    Raises
    ------
    KTError
        For a file that cannot be read, unknown names, or values that cannot be.
    """
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        raise KTError(f"{path}: cannot be read as YAML ({reason(error, 300)})") from None
    if not isinstance(raw, dict):
        raise KTError(f"{path}: a mapping is wanted, such as 'mode: [retrospective, cumulative]'")
    known = [*AXES, "set"]
    for key in raw:
        if key not in known:
            raise KTError(f"{path}: unknown key {brief(key)}; known are {', '.join(known)}")
    single = raw.get("set") or {}
    if not isinstance(single, dict):
        raise KTError(f"{path}: set: a mapping is wanted, such as 'model.d_model: [32, 64]'")
    axes = [(key, _values(path, key, raw.get(key, default))) for key, default in AXES.items()]
    overrides = [(str(key), _values(path, f"set: {key}", value)) for key, value in single.items()]
    for key, name in AXIS_OF.items():
        if key in single:
            raise KTError(f"{path}: set: {key} is an axis of its own; write it as {name}")
    size = math.prod(len(values) for _, values in axes + overrides)
    if size > MOST_CELLS:
        raise KTError(f"{path}: {size:,} cells; at most {MOST_CELLS:,}, or split the grid")
    cells: dict[str, Cell] = {}
    for values in itertools.product(*(v for _, v in axes), *(v for _, v in overrides)):
        given = tuple(zip(AXES, values[: len(axes)], strict=True))
        extra = tuple(zip((k for k, _ in overrides), values[len(axes) :], strict=True))
        cell = Cell(given, extra)
        try:
            settings = cell.settings  # every cell is checked before the first one runs
        except KTError as error:
            raise KTError(f"{path}: {error}") from None
        if settings in cells:
            raise KTError(f"{path}: two cells have the same settings: {given + extra}")
        cells[settings] = cell
    return list(cells.values())


def _values(path: Path, key: str, value: Any) -> list[Any]:
    values = value if isinstance(value, list) else [value]
    if not values:
        raise KTError(f"{path}: {key}: the list is empty; leave the key out for its default")
    for v in values:
        if not isinstance(v, str | int | float | bool):
            raise KTError(f"{path}: {key}: {brief(v)} is no single value")
        if key in ("seed", "fold") and (isinstance(v, bool) or not isinstance(v, int)):
            raise KTError(f"{path}: {key}: {brief(v)} is no whole number")
    if len(set(map(repr, values))) < len(values):
        raise KTError(f"{path}: {key}: the same value stands there twice")
    return values


def run(cells: list[Cell], out: Path, jobs: int = 1, scheduler: str = "") -> dict[str, str]:
    """Run what is missing.

    Parameters
    ----------
    jobs : cells at a time on this machine, which share its cores.
    scheduler : address of a Dask scheduler, whose workers run the cells instead.

    Returns
    -------
    The cells that failed, by name, with the reason. Their notebooks are in ``failed/``.

    Raises
    ------
    KTError
        For a folder that cannot be written, or a scheduler that does not answer.
    """
    if jobs < 1:
        raise KTError(f"--jobs {jobs}: at least 1")
    make_folder(out / "failed")
    waiting = [cell for cell in cells if not finished(out / cell.name)]
    print(f"{len(cells)} cells, {len(cells) - len(waiting)} of them finished before", flush=True)
    threads = max((os.cpu_count() or 1) // jobs, 1)
    failed = {}
    with _executor(jobs, scheduler) as (submit, completed):
        futures = {submit(run_cell, cell, str(out), threads): cell for cell in waiting}
        shown = tqdm(completed(futures), total=len(futures), disable=not sys.stderr.isatty())
        for number, future in enumerate(shown, start=1):
            cell, reason = futures[future], _reason(future)
            if reason:
                failed[cell.name] = reason
            if shown.disable:
                state = f"failed: {reason}" if reason else "done"
                print(f"{number}/{len(futures)} {cell.name}: {state}", flush=True)
    return failed


def run_cell(cell: Cell, out: str, threads: int) -> str:
    """Train and validate one cell; gives the reason where it fails, else nothing."""
    folder, failed = Path(out) / cell.name, Path(out) / "failed" / cell.name
    shutil.rmtree(failed, ignore_errors=True)
    steps = [["validate", str(folder)]]
    if folder.is_dir():
        wait_for(folder)  # a worker may have been killed, and its training live on
    if not folder.is_dir() or discard_unstarted(folder):
        steps.insert(0, ["train", *cell.arguments, "--name", cell.name, "--out", out])
    elif unfinished(folder):
        steps.insert(0, ["train", "--resume", str(folder)])
    with tempfile.TemporaryDirectory() as scratch:
        environment = os.environ | {"OMP_NUM_THREADS": str(threads), KEEP_FAILED: scratch}
        for step in steps:
            command = [sys.executable, "-m", "kt_core", *step]
            done = subprocess.run(command, capture_output=True, text=True, env=environment)
            if done.returncode == 0 or finished(folder):  # another worker may have been first
                continue
            failed.mkdir(parents=True)
            for notebook in Path(scratch).glob("*.ipynb"):
                copy(notebook, failed / notebook.name)
            write_text(failed / "output.txt", done.stdout + done.stderr)
            lines = done.stderr.strip().splitlines()
            errors = [line for line in lines if line.startswith("error: ")]
            reason = (errors or lines or [f"exit code {done.returncode}"])[-1]
            return f"{reason.removeprefix('error: ')} (notebook and output: {failed})"
    return ""


def finished(folder: Path) -> bool:
    """Whether a cell has been trained and measured."""
    return (folder / "metrics.json").is_file() and not unfinished(folder)


def collect(cells: list[Cell], out: Path) -> pd.DataFrame:
    """All measures of all finished cells as one tidy table, also written to ``results.parquet``.

    Returns
    -------
    One row a cell and measure: `cell`, the axes, every parameter that was set, `table`, `measure`,
    `variant`, `predictor`, `sees`, `value`, `low`, `high`.
    """
    parts = []
    for cell in cells:
        folder = out / cell.name
        if not finished(folder):
            continue
        table = _measures(folder / "metrics.json")
        facts = dict(cell.axes) | dict(cell.overrides) | {"mode": cell.config.model.mode}
        for name, value in reversed({"cell": cell.name, **facts}.items()):
            table.insert(0, name, value)
        parts.append(table)
    results = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()
    if parts:
        write_table(results, out / "results.parquet")
    return results


def load(folder: str | Path) -> pd.DataFrame:
    """The ``results.parquet`` of a sweep.

    Raises
    ------
    KTError
        When it is not there, or is something else.
    """
    path = path_of("folder", folder) / "results.parquet"
    try:
        results = pd.read_parquet(path)
    except (OSError, ValueError) as error:  # pyarrow's errors are ValueErrors
        raise KTError(f"{path}: no results of a sweep ({reason(error)}); run one first") from None
    absent = [name for name in COLUMNS if name not in results]
    if absent:
        raise KTError(f"{path}: no results of a sweep: no column {', '.join(absent)}")
    return results


def _measures(path: Path) -> pd.DataFrame:
    metrics = read_json(path)
    try:
        return _tidy(metrics)
    except (KeyError, TypeError, ValueError, AttributeError, StopIteration) as error:
        raise KTError(
            f"{path}: not the measures of a run ({error!r}); validate the run again"
        ) from None


def _tidy(metrics: dict[str, Any]) -> pd.DataFrame:
    rows = [{"table": "prediction", "measure": "AUC, validation", **_bounds(metrics["valid_auc"])}]
    for name in TABLES:
        for row in metrics[name]:
            measure = next(row[label] for label in LABELS if label in row)
            kept = {key: row.get(key, "") for key in ("variant", "predictor", "sees")}
            rows.append({"table": name, "measure": measure, **kept, **_bounds(row)})
    return pd.DataFrame(rows).fillna({"variant": "", "predictor": "", "sees": ""})


def _bounds(row: dict[str, Any]) -> dict[str, float]:
    value = row["value"] if "value" in row else row["share"]
    numbers = {"value": value, "low": row.get("low"), "high": row.get("high")}
    return {key: float("nan") if x is None else float(x) for key, x in numbers.items()}


@contextmanager
def _executor(jobs: int, scheduler: str) -> Iterator[tuple[Any, Any]]:
    """`submit` and `as_completed` of local threads (each waits for a process), or of Dask."""
    if not scheduler:
        with ThreadPoolExecutor(jobs) as pool:
            yield pool.submit, as_completed
        return
    try:
        from distributed import Client
        from distributed import as_completed as completed
    except ImportError:
        raise KTError("--scheduler needs Dask: pip install 'kt-core[cluster]'") from None
    try:
        client = Client(scheduler, timeout=PATIENCE)
    except (OSError, ValueError) as error:
        raise KTError(f"--scheduler {scheduler}: no answer ({error})") from None
    with client:
        yield (lambda *call: client.submit(*call, pure=False, retries=2)), completed


def _reason(future: Future) -> str:
    """Why a cell failed; what a worker itself raises is a reason too."""
    error = future.exception()
    return future.result() if error is None else f"{type(error).__name__}: {error}"


def _written(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def headlines(results: pd.DataFrame) -> pd.DataFrame:
    """One row a cell: everything that varies in the sweep, and the measures of `HEADLINES`."""
    own = results[results["predictor"].isin(("", "model"))]
    own = own[~((own["table"] == "associations") & (own["predictor"] == ""))]
    columns = list(results.columns[: results.columns.get_loc("table")])
    wide = own[columns].drop_duplicates("cell").set_index("cell")
    for name, (table, measure, variant) in HEADLINES.items():
        rows = own[(own["table"] == table) & (own["measure"] == measure)]
        rows = rows[rows["variant"] == variant].drop_duplicates("cell").set_index("cell")
        wide[name] = rows["value"]
    return wide.reset_index()


def varied(table: pd.DataFrame) -> list[str]:
    """The axes and parameters of `headlines` that take more than one value."""
    settings = [c for c in table if c not in HEADLINES and c != "cell"]
    return [c for c in settings if table[c].nunique(dropna=False) > 1]


def over_seeds(table: pd.DataFrame) -> pd.DataFrame:
    """`headlines` by setting: mean over seeds, and the largest minus the smallest where there are
    several."""
    keys = [c for c in varied(table) if c != "seed"] or ["dataset"]
    rows = []
    for values, part in table.groupby(keys, sort=False, dropna=False):
        row = dict(zip(keys, values, strict=True)) | {"cells": len(part)}
        for name in HEADLINES:
            known = part[name].dropna()
            spread = f" ({known.max() - known.min():.4f})" if len(known) > 1 else ""
            row[name] = f"{known.mean():.4f}{spread}" if len(known) else "not defined"
        rows.append(row)
    return pd.DataFrame(rows)
