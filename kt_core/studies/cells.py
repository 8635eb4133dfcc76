"""How cells are trained and measured: a study is a list of them.

Cells run in processes of their own, on this machine or on a Dask cluster whose workers share the
folders. A finished cell is never run again, and one that fails does not stop the others. A mode of
GainAKT2 leaves a run folder with its report. With a *store*, any model, also a baseline, is kept as
one small Parquet file: each measure with its values on the same resamples of the same learners, so
that any two models can be compared in pairs later.
"""

from __future__ import annotations

import shlex
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import Future, as_completed
from contextlib import ExitStack, contextmanager
from multiprocessing.util import Finalize
from pathlib import Path
from typing import Any

import torch
from tqdm.auto import tqdm

from kt_core.base import own, signals
from kt_core.base.errors import KTError, NotebookFailed
from kt_core.base.files import copy, make_folder, whole
from kt_core.base.locks import locked, wait_for
from kt_core.base.processes import check_jobs
from kt_core.base.state import unfinished
from kt_core.notebook.headless import OUTPUT
from kt_core.notebook.kernel import Kernel
from kt_core.notebook.reports import write_report
from kt_core.notebook.trainings import train_in_notebook
from kt_core.report.examine import examine
from kt_core.runs.provenance import git_commit
from kt_core.runs.resume import discard_unstarted
from kt_core.studies.cell import Cell, stored
from kt_core.studies.models import OURS
from kt_core.studies.results import of_baseline, of_run, read_cell

MODULES = ("kt_core.training.train", "kt_core.report.examine")  # of what a kernel runs
KERNEL: Kernel | None = None  # of a worker
PATIENCE = "20s"  # with a scheduler that does not answer


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
    check_jobs(jobs)
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
    if cell.model in OURS and (failed := _in_notebooks(cell, out, threads, report=store is None)):
        return failed
    if store is not None:
        keep(cell, out / cell.folder, store, started)
    return ""


def keep(cell: Cell, folder: Path, store: Path, started: float) -> None:
    """Measure a cell and write its results into a store. A baseline is trained first; other models
    are in a run folder.

    Parameters
    ----------
    started : when the cell was begun, by `time.perf_counter`.
    """
    ours = cell.model in OURS
    table = of_run(examine(folder)) if ours else of_baseline(cell.model, cell.config, cell.seed)
    axes = {key: getattr(cell, key) for key in ("dataset", "model", "seed", "fold")}
    seconds = time.perf_counter() - started
    table = table.assign(**axes, cell_seconds=seconds, commit=git_commit())
    table["fingerprint"] = cell.fingerprint
    with whole(stored(cell, make_folder(store))) as temporary:
        table.to_parquet(temporary, compression="zstd")


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
    KERNEL = Kernel(MODULES, {"OMP_NUM_THREADS": str(threads)})
    Finalize(None, KERNEL.close, exitpriority=0)


@contextmanager
def _executor(jobs: int, threads: int, scheduler: str) -> Iterator[tuple[Any, Any]]:
    """`submit` and `as_completed` of local processes, or of Dask."""
    if not scheduler:
        with signals.workers(jobs, _begin, threads) as submit:
            yield submit, as_completed
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
        most = max(client.nthreads().values(), default=0)
        if most > 1:
            raise KTError(
                f"--scheduler {scheduler}: a worker has {most} threads, and cells would share its "
                "random numbers; start the workers with --nthreads 1"
            )
        known = own.carried()

        def submit(*call: Any) -> Any:
            return client.submit(own.among, known, *call, pure=False, retries=2)

        yield submit, completed


def _reason(future: Future) -> str:
    """Why a cell failed; what a worker itself raises is a reason too."""
    error = future.exception()
    return future.result() if error is None else _why(error)


def _why(error: BaseException) -> str:
    told = isinstance(error, KTError | NotebookFailed)
    return str(error) if told else f"{type(error).__name__}: {error}"
