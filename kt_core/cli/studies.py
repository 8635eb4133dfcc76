"""Commands that put many models, or other tools' estimates, side by side."""

from __future__ import annotations

import argparse
import dataclasses
import sys
from pathlib import Path

from kt_core.base.errors import KTError, NotebookFailed
from kt_core.base.places import default_out
from kt_core.base.values import whole_number
from kt_core.cli import early
from kt_core.cli.arguments import columns_of, reading_of, reading_settings
from kt_core.presets import USUAL

BENCHMARK, SWEEP, WORLDS = "04_benchmark", "06_sweep", "07_worlds"


def audit(args: argparse.Namespace) -> None:
    """Measure mastery estimates of any tool against responses."""
    early.check_new(args.out)
    folder, columns = Path(args.out).absolute(), columns_of(args.mastery_column)
    mastery, responses = (str(Path(file).absolute()) for file in (args.mastery, args.responses))
    answers = dataclasses.replace(reading_settings(args), path=responses)
    early.check_estimates(mastery, columns, answers)
    from kt_core.notebook.reports import write_audit_report  # it loads every model

    parameters = {
        "mastery": mastery,
        "responses": responses,
        "sees": args.sees,
        "reading": reading_of(args),
        "columns": columns,
    }
    page = write_audit_report(parameters, folder, f"Audit: {Path(args.mastery).name}")
    print(f"report: {page}")


def criterion(args: argparse.Namespace) -> None:
    """Hold mastery at the end of histories against a score from outside, such as of an exam."""
    from kt_core.cli.criterion import hold

    hold(args)


def experiment(args: argparse.Namespace) -> None:
    """Judge models by a randomised experiment: predicted effects against observed ones."""
    from kt_core.cli.experiment import judge  # it loads pandas

    judge(args)


def benchmark(args: argparse.Namespace) -> int:
    """Train the benchmark's missing cells, and make its tables and figures."""
    from kt_core.studies import plan

    store, out = _folders(args, plan.STORE, "benchmark")
    cells = plan.cells()
    chosen = [cell for cell in cells if args.only in cell.name]
    if not chosen:
        raise KTError(f"--only {args.only}: no cell's name contains it, such as {cells[0].name}")
    from kt_core.base.files import make_folder
    from kt_core.studies.cells import run_cells  # it loads every model

    failed = {}
    if not args.print:
        failed = run_cells(chosen, out, args.jobs, args.scheduler, make_folder(store))
    return _shown(BENCHMARK, store, out, failed)


def decisions(args: argparse.Namespace) -> None:
    """Let a simulated class practise under a run's decisions: tasks wasted, skills passed early."""
    from kt_core.cli.decisions import judge  # it loads every baseline

    judge(args)


def worlds(args: argparse.Namespace) -> int:
    """Judge models in simulated worlds, next to the best that anyone could do."""
    from kt_core.data.worlds import check_world

    for name in args.world:
        check_world(name)
    from kt_core.base.files import make_folder
    from kt_core.studies import worlds as judged  # it loads every model
    from kt_core.studies.cells import run_cells

    store, out = _folders(args, judged.STORE, "worlds")
    names = tuple(args.world) or judged.SHOWN
    shown = {"model": args.shown} if args.shown else {}
    models = (*(args.models or judged.MODELS_SHOWN), *shown.values())
    draws = whole_number("--draws", args.draws, 1)
    plan = judged.plan(names, models, draws, args.preset or USUAL)
    failed = {}
    if not args.print:
        failed = run_cells(plan, out, args.jobs, args.scheduler, make_folder(store))
        judged.thin(store)
    return _shown(WORLDS, store, out, failed, **shown)


def sweep(args: argparse.Namespace) -> int:
    """Run a grid of trainings, each in a folder of its own, and compare them."""
    from kt_core.studies.grids import read_grid

    points = read_grid(Path(args.grid))
    from kt_core.notebook.headless import executed
    from kt_core.notebook.page import export_html
    from kt_core.studies import sweeps  # it loads every model
    from kt_core.studies.cells import run_cells

    grid = sweeps.cells_of(points, Path(args.grid))
    out = Path(args.out).absolute()
    failed = run_cells(grid, out, args.jobs, args.scheduler)
    if sweeps.collect(grid, out).empty:
        raise NotebookFailed(f"none of the {len(grid)} cells has a result; see {out / 'failed'}")
    with executed(SWEEP, {"folder": str(out)}) as notebook:
        report = export_html(notebook, out / "sweep.html", f"Sweep: {out.name}")
    print(f"results: {out / 'results.parquet'}\nreport:  {report}")
    return told(failed)


def _folders(args: argparse.Namespace, usual: Path, name: str) -> tuple[Path, Path]:
    """The store of a study, and the folder of its report."""
    store = Path(args.store).absolute() if args.store else usual.absolute()
    if args.print and not any(store.glob("*.parquet")):
        raise KTError(f"{store}: no finished cell; without --print, they are trained")
    return store, Path(args.out).absolute() if args.out else default_out() / name


def _shown(notebook: str, store: Path, out: Path, failed: dict[str, str], **more: str) -> int:
    """Make the report of a store; return the exit code."""
    from kt_core.base.files import make_folder
    from kt_core.notebook.headless import executed
    from kt_core.notebook.page import export_html

    make_folder(out)
    name, parameters = notebook.partition("_")[2], {"store": str(store), "out": str(out)}
    with executed(notebook, parameters | more) as done:
        report = export_html(done, out / f"{name}.html", name.capitalize())
    print(f"report: {report}")
    return told(failed)


def told(failed: dict[str, str]) -> int:
    """Print the cells that failed; return the exit code."""
    for name, reason in failed.items():
        print(f"failed: {name}: {reason}", file=sys.stderr)
    return 1 if failed else 0


STUDIES = (audit, criterion, experiment, decisions, worlds, benchmark, sweep)
