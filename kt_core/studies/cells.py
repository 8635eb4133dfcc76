"""Cells: one model on one data set, trained and measured. Studies are lists of cells.

Cells run in processes of their own, on this machine or on a Dask cluster whose workers share the
folders. A finished cell is never run again, and one that fails does not stop the others. A mode of
GainAKT2 leaves a run folder with its report. With a *store*, any model, also a baseline, is kept as
one small Parquet file: each measure with its values on the same resamples of the same learners, so
that any two models can be compared in pairs later.
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import re
import shlex
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from multiprocessing.util import Finalize
from pathlib import Path
from typing import Any

import torch
from tqdm.auto import tqdm

from kt_core.base import own, signals
from kt_core.base.errors import KTError, NotebookFailed, brief
from kt_core.base.files import copy, make_folder, whole
from kt_core.base.locks import locked, wait_for
from kt_core.baselines.registry import baselines, searched
from kt_core.config import FORMER, ON_PATH, RunConfig
from kt_core.losses import LOSS
from kt_core.model import HEADS
from kt_core.notebook.headless import OUTPUT
from kt_core.notebook.kernel import Kernel
from kt_core.notebook.reports import write_report
from kt_core.notebook.trainings import train_in_notebook
from kt_core.presets import TEACHERS, configure
from kt_core.report.examine import examine
from kt_core.runs.provenance import git_commit
from kt_core.runs.resume import discard_unstarted
from kt_core.runs.run import unfinished
from kt_core.studies.results import of_baseline, of_run, read_cell

OURS: dict[str, dict[str, Any]] = {  # GainAKT2 by name, and the settings that make it
    **{mode: {"model.mode": mode} for mode in HEADS},
    "taught": {"model.mode": "retrospective", "train.teachers": TEACHERS},
}
PATH_ONLY = {  # settings of `ON_PATH` alone
    "model": ("transfer", "parts"),
    "train": ("hide", "hide_in", "skeleton_steps"),
}
GONE = {"retrospective": 0.0, "transfer": 0.0}  # former terms of the loss, as the store has them
LATER: dict[tuple[str, str], Any] = {  # settings younger than the store, and what they stood for
    ("data", "encoding"): "utf-8",
    ("data", "kc_model"): "",
    ("data", "skill_separator"): "auto",
    ("data", "skill_level"): -1,
    ("data", "missing_as_text"): False,
    ("data", "draw"): 0,
    ("train", "skeleton_steps"): 400,
    ("train", "teachers"): 0,
    ("train", "taught"): 0.5,
    ("model", "times"): True,
    ("model", "parts"): True,
    ("loss", "own"): {},
}
MODULES = ("kt_core.training.train", "kt_core.report.examine")  # of what a kernel runs
KERNEL: Kernel | None = None  # of a worker
PATIENCE = "20s"  # with a scheduler that does not answer


def models() -> tuple[str, ...]:
    """Every model by name: GainAKT2, the baselines, and what a user registered."""
    return (*OURS, *baselines())


def check_model(name: str) -> None:
    """Raise a KTError unless a model exists."""
    if name not in models():
        raise KTError(f"model {brief(name)} does not exist; choose from: {', '.join(models())}")


@dataclass(frozen=True)
class Cell:
    """One training and its evaluation.

    Parameters
    ----------
    model : GainAKT2 by one of its names in `OURS`, or a baseline.
    overrides : single settings by dotted name, on top of the preset.
    """

    dataset: str
    model: str
    seed: int = 0
    fold: int = 0
    preset: str = "standard"
    overrides: tuple[tuple[str, Any], ...] = ()

    def __post_init__(self) -> None:
        check_model(self.model)

    @property
    def config(self) -> RunConfig:
        """The whole configuration.

        Raises
        ------
        KTError
            For an impossible value.
        """
        chosen = OURS.get(self.model, {}) | dict(self.overrides)
        return configure(self.preset, self.dataset, "", "", self.seed, self.fold, chosen)

    @property
    def fingerprint(self) -> str:
        """Hash of all settings that the result depends on."""
        settings = self.config.to_dict()
        for (part, name), default in LATER.items():
            if settings[part][name] == default:
                del settings[part][name]
        targets = settings["targets"].items()
        settings["targets"] = {FORMER.get(name, name): value for name, value in targets}
        if self.model not in OURS:
            settings = {key: settings[key] for key in ("data", "report")} | searched(self.model)
        elif self.config.model.mode not in ON_PATH:
            for part, names in PATH_ONLY.items():
                settings[part] = {k: v for k, v in settings[part].items() if k not in names}
            settings["loss"] |= GONE
        if self.model in OURS and self.config.loss.own:
            known = own.of(LOSS)
            settings["own"] = {name: known[name].source for name in self.config.loss.own}
        text = json.dumps(settings, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    @property
    def name(self) -> str:
        """A readable file name."""
        words = [self.dataset, self.model, f"seed{self.seed}", f"fold{self.fold}"]
        words += [f"{key.rpartition('.')[2]}-{value}" for key, value in self.overrides]
        return re.sub(r"[^A-Za-z0-9_.-]+", "-", "_".join(words))[:100]

    @property
    def folder(self) -> str:
        """The name of the run folder: other settings have another one."""
        return f"{self.name}_{self.fingerprint}"

    def parameters(self, out: Path) -> dict[str, Any]:
        """Of the notebook that trains it, into a run folder in `out`."""
        axes = {key: getattr(self, key) for key in ("preset", "dataset", "seed", "fold")}
        settings = {"train.progress": False} | OURS[self.model] | dict(self.overrides)
        return axes | {"mode": "", "name": self.folder, "out": str(out), "overrides": settings}

    @property
    def arguments(self) -> list[str]:
        """Of `python -m kt_core train`, which trains the same."""
        axes = {key: getattr(self, key) for key in ("preset", "dataset", "seed", "fold")}
        words = [word for key, value in axes.items() for word in (f"--{key}", str(value))]
        for key, value in (*OURS[self.model].items(), *self.overrides):
            text = str(value).lower() if isinstance(value, bool) else str(value)
            words += ["--set", f"{key}={text}"]
        return words


def stored(cell: Cell, store: Path) -> Path:
    """The file of a cell in a store."""
    fixed = f"{cell.dataset}_{cell.model}_seed{cell.seed}_fold{cell.fold}"
    return store / f"{fixed.replace(' ', '-')}.parquet"


def finished(cell: Cell, out: Path, store: Path | None = None) -> bool:
    """Whether a cell has been trained and measured, with these settings."""
    if store is None:
        folder = out / cell.folder
        return (folder / "metrics.json").is_file() and not unfinished(folder)
    file = stored(cell, store)
    return file.is_file() and cell.fingerprint == read_cell(file)["fingerprint"].iloc[0]


def run_cells(
    cells: list[Cell], out: Path, jobs: int = 1, scheduler: str = "", store: Path | None = None
) -> dict[str, str]:
    """Run the cells that are not finished.

    Parameters
    ----------
    out : folder of the run folders.
    jobs : cells at a time on this machine, which share its cores.
    scheduler : address of a Dask scheduler, whose workers run the cells instead.
    store : folder where results are kept; without, each run folder gets its report.

    Returns
    -------
    The cells that failed, by name, with the reason. Their notebooks are in ``failed/``.

    Raises
    ------
    KTError
        For a folder that cannot be written or is in use by another study, or a scheduler that does
        not answer.
    """
    if jobs < 1:
        raise KTError(f"--jobs {jobs}: at least 1")
    for cell in cells:  # a damaged cell, or a model without a module, is an error before the rest
        _ = cell.fingerprint, finished(cell, out, store)
    make_folder(out / "failed")
    with _alone(out, store):
        return _run_waiting(cells, out, jobs, scheduler, store)


@contextmanager
def _alone(out: Path, store: Path | None) -> Iterator[None]:
    """Refuse to run next to another study in one of these folders."""
    with ExitStack() as locks:
        for folder in dict.fromkeys(make_folder(p).resolve() for p in (out, store) if p):
            kind = "sweep or comparison" if store is None else "benchmark"
            busy = f"{folder} is in use by another {kind}; wait until it has ended"
            locks.enter_context(locked(folder, f"{busy}, or choose another folder"))
        yield


def _run_waiting(
    cells: list[Cell], out: Path, jobs: int, scheduler: str, store: Path | None
) -> dict[str, str]:
    waiting = [cell for cell in cells if not finished(cell, out, store)]
    print(f"{len(cells)} cells, {len(cells) - len(waiting)} of them finished before", flush=True)
    threads = max(torch.get_num_threads() // jobs, 1)  # as OMP_NUM_THREADS has it
    failed = {}
    with _executor(jobs, threads, scheduler) as (submit, completed):
        futures = {submit(run_cell, cell, out, threads, store): cell for cell in waiting}
        shown = tqdm(completed(futures), total=len(futures), disable=not sys.stderr.isatty())
        for number, future in enumerate(shown, start=1):
            cell, why = futures[future], _reason(future)
            if why:
                failed[cell.name] = why
            if shown.disable:
                state = f"failed: {why}" if why else "done"
                print(f"{number}/{len(futures)} {cell.name}: {state}", flush=True)
    return failed


def run_cell(cell: Cell, out: Path, threads: int = 1, store: Path | None = None) -> str:
    """Train and measure one cell; return the reason where a command fails, else nothing."""
    torch.set_num_threads(threads)
    started = time.perf_counter()
    if cell.model in OURS:
        if failed := _in_notebooks(cell, out, threads, report=store is None):
            return failed
        table = None if store is None else of_run(examine(out / cell.folder))
    else:
        table = of_baseline(cell.model, cell.config, cell.seed)
    if table is not None:
        axes = {key: getattr(cell, key) for key in ("dataset", "model", "seed", "fold")}
        seconds = time.perf_counter() - started
        table = table.assign(**axes, cell_seconds=seconds, commit=git_commit())
        table["fingerprint"] = cell.fingerprint
        with whole(stored(cell, make_folder(store))) as temporary:
            table.to_parquet(temporary, compression="zstd")
    return ""


def _in_notebooks(cell: Cell, out: Path, threads: int, report: bool) -> str:
    """Train or resume in a kernel, and make the report; return the reason where a notebook fails,
    which is kept with its output."""
    folder, failed = out / cell.folder, out / "failed" / cell.folder
    shutil.rmtree(failed, ignore_errors=True)
    if folder.is_dir():
        wait_for(folder)  # a worker may have been killed, and its training live on
    with _kernel(threads) as kernel, tempfile.TemporaryDirectory() as scratch:
        log = Path(scratch)
        place = ["--name", cell.folder, "--out", str(out)]
        command = ["python", "-m", "kt_core", "train", *cell.arguments, *place]
        kernel.environment["KT_COMMAND"] = shlex.join(command)
        try:
            if not folder.is_dir() or discard_unstarted(folder):
                train_in_notebook(folder, cell.parameters(out), kernel, log)
            elif unfinished(folder):
                train_in_notebook(folder, {"resume": str(folder)}, kernel, log)
            if report:
                write_report([folder], kernel=kernel, log=log)
        except Exception as error:  # whatever stops one cell stops no other
            if finished(cell, out):  # another worker may have been first
                return ""
            why = _why(error)
            with (log / OUTPUT).open("a", encoding="utf-8") as output:
                print(f"error: {why}", file=output)
            for file in log.iterdir():
                copy(file, make_folder(failed) / file.name)
            return f"{why.splitlines()[0]} (notebook and output: {failed})"
    return ""


@contextmanager
def _kernel(threads: int) -> Iterator[Kernel]:
    """The kernel of this worker, for all of its cells; elsewhere, such as on a cluster, a kernel
    for this cell."""
    if KERNEL is None:
        with Kernel(MODULES, {"OMP_NUM_THREADS": str(threads)}) as kernel:
            yield kernel
        return
    try:
        yield KERNEL
    except BaseException:
        KERNEL.close()  # the worker may be about to end without cleaning up
        raise


def _begin(threads: int) -> None:
    """Make this process a worker, with a kernel that ends with it."""
    global KERNEL
    signals.obey_parent()
    KERNEL = Kernel(MODULES, {"OMP_NUM_THREADS": str(threads)})
    Finalize(None, KERNEL.close, exitpriority=0)


@contextmanager
def _executor(jobs: int, threads: int, scheduler: str) -> Iterator[tuple[Any, Any]]:
    """`submit` and `as_completed` of local processes, or of Dask."""
    if not scheduler:
        spawn = multiprocessing.get_context("spawn")
        pool = ProcessPoolExecutor(jobs, spawn, initializer=_begin, initargs=(threads,))
        try:
            yield partial(pool.submit, signals.until_stopped), as_completed
        except BaseException:
            for worker in multiprocessing.active_children():
                worker.terminate()
            raise
        finally:
            pool.shutdown(cancel_futures=True)  # after an interrupt, no further cell begins
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
    return future.result() if error is None else _why(error)


def _why(error: BaseException) -> str:
    told = isinstance(error, KTError | NotebookFailed)
    return str(error) if told else f"{type(error).__name__}: {error}"
