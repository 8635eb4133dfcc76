"""The command line: thin launchers that run the notebooks with papermill.

What a command works with is imported in its function: torch alone takes seconds to load, and
`--help`, `presets` and `look` do without.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kt_core.base import own, processes
from kt_core.base.errors import KTError, NotebookFailed
from kt_core.base.log import log, log_to_output
from kt_core.base.places import NOTEBOOKS, default_out
from kt_core.base.signals import TERMINATED, Sigterm
from kt_core.base.values import counted, is_text, whole_number
from kt_core.cli import early
from kt_core.cli.arguments import (
    configured,
    configured_class,
    parser,
    reading_of,
    reading_settings,
    reading_words,
)
from kt_core.cli.studies import STUDIES
from kt_core.config import options
from kt_core.presets import PRESETS, preset

if TYPE_CHECKING:
    from kt_core.data.reading import ReadOptions
    from kt_core.data.table import Dataset
    from kt_core.notebook.kernel import Kernel
    from kt_core.runs.run import Run

MODULE = "python -m kt_core"
ABOUT = """Train models for knowledge tracing, report on them, and use them.

Exit codes: 0 done, 1 a notebook or a check failed, 2 wrong input, 130 interrupted (Ctrl-C), 143
terminated (SIGTERM)."""
CONTINUED = ("convert", "benchmark", "sweep", "worlds")  # called again, they resume
INTERRUPTED = 130
SHOW = "03_mastery_trajectories"
TRAINING, REPORTING = "kt_core.training.train", "kt_core.report.examine"  # of notebooks


def entry(name: str = "kt-core") -> int:
    """The console script: `main` in this terminal, under the `name` by which it was called."""
    sys.stdout.reconfigure(errors="backslashreplace")  # names that this terminal cannot show
    code = main(name=name)
    if code in (INTERRUPTED, TERMINATED):
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)  # Python would wait for what is read side by side
    return code


def main(argv: list[str] | None = None, name: str = MODULE) -> int:
    """Parse the arguments and run the command until it ends or is stopped."""
    argv = sys.argv[1:] if argv is None else argv
    args = parser(ABOUT, ACTIONS, name).parse_args(argv)
    with Sigterm() as sigterm:
        try:
            return _called(args, argv, name)
        except KeyboardInterrupt as stop:
            left = "call it again to continue" if args.command in CONTINUED else str(stop)
            word = "terminated" if sigterm.came else "interrupted"
            print(f"{word}: {left or 'nothing is left of it'}", file=sys.stderr)
            return TERMINATED if sigterm.came else INTERRUPTED


def _called(args: argparse.Namespace, argv: list[str], name: str) -> int:
    """Run the command; an error becomes one message and an exit code."""
    try:
        _check_text(argv)
        log_to_output()
        os.environ["KT_COMMAND"] = f"{name} {shlex.join(argv)}"
        for file in args.own:
            own.load(file)
        early.check(args)
        code = args.action(args) or 0
        sys.stdout.flush()
        return code
    except KTError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # the reader, such as `head`, has closed the pipe
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:  # such as a full disk under a temporary folder
        print(f"error: {error}", file=sys.stderr)
        return 2
    except NotebookFailed as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except ImportError as error:  # such as a build of torch that this machine cannot load
        print(f"error: {error}; {name} doctor says what is missing", file=sys.stderr)
        return 1


def _check_text(argv: list[str]) -> None:
    """Refuse arguments that are not text, as they go into notebooks and JSON."""
    for word in argv:
        if "\0" in word or not is_text(word):
            raise KTError(
                f"argument {word!a}: not UTF-8 text; rename the file, or correct the call"
            )


def run(args: argparse.Namespace) -> int | None:
    """Train a model, and make its report and figures."""
    if processes.world() > 1:
        raise KTError("reports are made by one process: start train with torchrun, then validate")
    if args.compare:
        from kt_core.cli.compare import compare  # it loads every model

        return compare(args)
    from kt_core.notebook import pdf

    if args.pdf:
        pdf.browser()  # if it is missing, say so before training
    _check_settings(args)
    with _kernel(TRAINING, REPORTING) as kernel:
        from kt_core.cli import launch  # takes seconds to load, in which the kernel starts

        folder = launch.train(args, kernel)
        try:
            _report([folder], args.split, args.pdf, kernel)
            _show(folder, args.split, {}, kernel)
        except KeyboardInterrupt:
            again = f"python -m kt_core validate {shlex.quote(str(folder))}"
            why = f"the training has ended; make its report with: {again}"
            raise KeyboardInterrupt(why) from None
    summarise(folder)
    return None


def train(args: argparse.Namespace) -> None:
    """Train a model, without a report."""
    _check_settings(args)
    alone = processes.world() == 1  # the others train without a notebook
    with _kernel(TRAINING) if alone else contextlib.nullcontext() as kernel:
        from kt_core.cli import launch  # takes seconds to load, in which the kernel starts

        folder = launch.train(args, kernel)
    if not processes.rank():
        print(f"run folder: {folder}")


def validate(args: argparse.Namespace) -> None:
    """Make the report on a saved run, or compare several."""
    folders = [Path(folder) for folder in args.runs]
    if args.data:
        _report_on_own(args, folders)
        return
    if args.out or args.seen_learners or reading_of(args):
        raise KTError("--out, --seen-learners and how a file is read go with --data")
    if len(folders) > 1:
        early.check_comparable(folders, args.split)
    with _kernel(REPORTING) as kernel:
        report = _report(folders, args.split, args.pdf, kernel)
    if len(folders) == 1:
        summarise(folders[0])
    else:
        print(f"comparison: {report}")


def visualise(args: argparse.Namespace) -> None:
    """Make the trajectory figures of a saved run."""
    with _kernel(REPORTING) as kernel:
        _show(Path(args.run), args.split, {"learners": args.learner, "rule": args.rule}, kernel)
    print(f"figures: {Path(args.run) / 'figures'}\npage: {Path(args.run) / 'trajectories.html'}")


def predict(args: argparse.Namespace) -> None:
    """Write the mastery of each learner and skill after the answers in a table."""
    from kt_core.base.files import check_target

    target = check_target(args.out)
    from kt_core.data.store.read import is_stored
    from kt_core.learners.pieces import pieces_of, write_each
    from kt_core.runs.answers import stored_for
    from kt_core.runs.run import Run

    run = Run.load(args.run)
    if target.resolve() == Path(args.data).resolve():
        raise KTError(
            f"--out {args.out}: that is the file of histories itself; choose another name"
        )
    stored = stored_for(run, Path(args.data), reading_of(args)) if is_stored(args.data) else None
    pieces = pieces_of(_histories(args, run)) if stored is None else stored
    told = write_each(run, pieces, target, args.every_skill, args.jobs)
    if stored is not None:
        log.info("%s", stored.note)
    print(f"{told.learners:,} learners, {told.masteries:,} masteries: {told.path}")
    if told.path.suffix == ".csv" and told.formulas:
        print(
            f"note: {len(told.formulas):,} names begin with = + - or @, as formulas do; open the "
            "file in a spreadsheet as text only (docs/robustness.md)"
        )


def class_(args: argparse.Namespace) -> None:
    """From a file of answers to pages for a teacher: train a model, check it, write the pages."""
    if args.answers or args.run:
        early.check_new(args.out)
    if args.answers and not args.run:
        early.check_answers(configured_class(args).data)
    from kt_core.cli.classes import from_answers  # it loads every model

    from_answers(args)


def classroom(args: argparse.Namespace) -> None:
    """Write pages for a teacher from a run: the class, and each learner."""
    early.check_new(args.out)
    from kt_core.cli.classes import from_run  # it loads every model

    from_run(args, args.run, args.data)


def look(args: argparse.Namespace) -> None:
    """Show how a file would be read: columns, order, counts and the first answers."""
    from kt_core.data.registry import read_dataset
    from kt_core.data.store.read import is_stored, stored_note

    if is_stored(args.path):
        print(stored_note(Path(args.path)))
        return
    dataset = read_dataset(Path(args.path), _options(args))
    table = dataset.table
    print(dataset.note)
    rows = whole_number("--rows", args.rows, 0)
    first = counted("answer", min(rows, len(table)))
    print(f"\nThe first {first}, as they would be read:\n")
    print(table.head(rows).drop(columns="timestamp", errors="ignore").to_string(index=False))
    words, path = ["python", "-m", "kt_core"], [args.path, *reading_words(args)]
    print(f"\nTo train on it: {shlex.join([*words, 'run', '--data', *path])}")
    print(f"To make pages for a teacher: {shlex.join([*words, 'class', *path])}")


def convert(args: argparse.Namespace) -> None:
    """Store a source on disk, for data larger than memory."""
    from kt_core.data.store.convert import convert as write_store
    from kt_core.data.store.read import stored_note

    store = write_store(args.data, Path(args.out), _options(args))
    print(f"{stored_note(store)}\nstored: {store}")


def datasets(args: argparse.Namespace) -> None:
    """List the data sets and where each would be read from."""
    from kt_core.data.registry import datasets, found

    known = datasets()
    where = {name: found(name) for name in known}
    wide = max(map(len, where.values()))
    for name, spec in known.items():
        print(f"{name:24s}{where[name]:{wide}s}  {spec.about}")


def presets(args: argparse.Namespace) -> None:
    """List the presets, or all values of one."""
    if args.name:
        config = preset(args.name).to_dict()
        for name in options():
            section, key = name.split(".")
            print(f"{name:34s}{config[section][key]!r}")
    else:
        for name, (about, _) in PRESETS.items():
            print(f"{name:22s}{about}")


def notebooks(args: argparse.Namespace) -> None:
    """Copy the notebooks into a new folder, to be changed and run there."""
    from kt_core.base.files import copy, new_folder

    folder = Path(args.folder).absolute()
    if os.path.lexists(folder):
        raise KTError(f"{folder} exists already, and nothing was copied; name a new folder")
    with new_folder(folder) as partial:
        for notebook in NOTEBOOKS.glob("*.ipynb"):
            copy(notebook, partial / notebook.name)
    print(f"notebooks: {folder}\nto open them: jupyter lab {shlex.quote(args.folder)}")
    print(f"their runs: {default_out(folder)}")


def doctor(args: argparse.Namespace) -> int:
    """Check the installation."""
    from kt_core.cli.doctor import check

    return check(Path(args.out) if args.out else default_out())


def summarise(folder: Path) -> None:
    """Print the headline numbers, and where the report and the figures are."""
    from kt_core.report.tables import headline

    metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    print(f"\n{headline(metrics)}\n")
    print(f"report:  {folder / 'report.html'}\nfigures: {folder / 'figures'}")


def _histories(args: argparse.Namespace, run: Run) -> Dataset:
    from kt_core.runs.answers import answers_for

    data = answers_for(run, Path(args.data), reading_of(args), combine=True)
    log.info("%s", data.note)
    return data


def _options(args: argparse.Namespace) -> ReadOptions:
    """How a source is read that no run belongs to."""
    from kt_core.data.pseudonyms import pseudonyms
    from kt_core.data.reading import ReadOptions

    config = reading_settings(args)
    return ReadOptions.of(config, pseudonyms() if config.pseudonymise else None)


def _check_settings(args: argparse.Namespace) -> None:
    """Refuse impossible settings of a new training before anything slow is loaded."""
    if not args.resume:
        early.check_answers(configured(args).data)


@contextlib.contextmanager
def _kernel(*modules: str) -> Iterator[Kernel]:
    """A kernel that starts at once."""
    from kt_core.notebook.kernel import Kernel

    with Kernel(modules) as kernel:
        kernel.start()
        yield kernel


def _report(folders: list[Path], split: str, as_pdf: bool, kernel: Kernel) -> Path:
    from kt_core.notebook import pdf
    from kt_core.notebook.reports import write_report

    if as_pdf:
        pdf.browser()
    target = write_report(folders, split, kernel=kernel)
    if as_pdf:
        print(f"PDF: {pdf.export_pdf(target, target.with_suffix('.pdf'))}")
    return target


def _report_on_own(args: argparse.Namespace, folders: list[Path]) -> None:
    """The report of one run on the learners of a file, in a folder of its own."""
    if len(folders) > 1:
        raise KTError("--data: name one run")
    if args.split != "test":
        raise KTError(f"--split {args.split}: the learners of --data are the test split")
    run, data = folders[0], Path(args.data).absolute()
    folder = Path(args.out or f"{run.name}-on-{data.stem}").absolute()
    early.check_new(folder)
    from kt_core.base.files import new_folder
    from kt_core.notebook import pdf
    from kt_core.notebook.headless import executed
    from kt_core.notebook.page import export_html
    from kt_core.notebook.reports import REPORT  # it loads every model
    from kt_core.runs.run import Run

    Run.load(run)
    if args.pdf:
        pdf.browser()
    parameters = {"run": str(run.absolute()), "data": str(data), "reading": reading_of(args)}
    parameters |= {"seen_learners": args.seen_learners}
    with (
        new_folder(folder) as partial,
        executed(REPORT, parameters | {"out": str(partial)}) as notebook,
    ):
        title = f"Consistency report: {run.name} on {data.name}"
        target = export_html(notebook, partial / "report.html", title)
        if args.pdf:
            pdf.export_pdf(target, target.with_suffix(".pdf"))
    summarise(folder)


def _show(folder: Path, split: str, chosen: dict[str, Any], kernel: Kernel) -> None:
    from kt_core.base.locks import locked
    from kt_core.notebook.headless import executed, keep
    from kt_core.notebook.page import export_html
    from kt_core.notebook.reports import check_writable

    check_writable(folder)
    given = {name: value for name, value in chosen.items() if value}
    parameters = {"run": str(folder.absolute()), "split": split} | given
    with locked(folder), executed(SHOW, parameters, kernel=kernel) as notebook:
        keep(notebook, folder)
        export_html(notebook, folder / "trajectories.html", f"Mastery trajectories: {folder.name}")


COMMANDS = (run, train, validate, visualise, predict, class_, classroom, look, convert)
LISTS = (datasets, presets, notebooks, doctor)
ACTIONS = {action.__name__.rstrip("_"): action for action in (*COMMANDS, *STUDIES, *LISTS)}
