"""The command line: thin launchers that run the notebooks with papermill.

Exit codes: 0 done, 1 a notebook or a check failed, 2 wrong input, 130 interrupted.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import shlex
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import papermill
from papermill.exceptions import PapermillExecutionError
from traitlets.config import Config

from kt_core import reporting, workflow
from kt_core.config import LOSS_WEIGHTINGS, options
from kt_core.data.registry import DATASETS, found
from kt_core.doctor import check
from kt_core.errors import KTError
from kt_core.presets import PRESETS
from kt_core.runs import Run, free_folder

NOTEBOOKS = Path(__file__).resolve().parents[1] / "notebooks"
TRAIN, REPORT, SHOW = "01_train", "02_consistency_report", "03_mastery_trajectories"


class NotebookFailed(RuntimeError):
    """A notebook stopped with an error that is not about the user's input."""


def main(argv: list[str] | None = None) -> int:
    """Parse, run, and turn what goes wrong into one message and an exit code."""
    argv = sys.argv[1:] if argv is None else argv
    args = _parser().parse_args(argv)
    os.environ["KT_COMMAND"] = "python -m kt_core " + shlex.join(argv)
    try:
        return args.action(args) or 0
    except KTError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except NotebookFailed as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted: a training that had not ended has left nothing", file=sys.stderr)
        return 130


def run(args: argparse.Namespace) -> None:
    """Train, validate and visualise."""
    folder = _train(args)
    _report([folder], args.split)
    _show(folder, args.split, {})
    summarise(folder)


def train(args: argparse.Namespace) -> None:
    """Train only."""
    print(f"run folder: {_train(args)}")


def validate(args: argparse.Namespace) -> None:
    """Report on saved runs."""
    folders = [Path(folder) for folder in args.runs]
    report = _report(folders, args.split)
    if len(folders) == 1:
        summarise(folders[0])
    else:
        print(f"comparison: {report}")


def visualise(args: argparse.Namespace) -> None:
    """Trajectory figures of a saved run."""
    _show(Path(args.run), args.split, {"learners": args.learner, "rule": args.rule})
    print(f"figures: {Path(args.run) / 'figures'}")


def datasets(args: argparse.Namespace) -> None:
    """List the data sets and where they would come from."""
    for name, spec in DATASETS.items():
        print(f"{name:24s}{found(name):24s}{getattr(spec, 'about', 'simulated learners')}")


def presets(args: argparse.Namespace) -> None:
    """List the presets, or every value of one."""
    if args.name:
        config = workflow.configure(args.name).to_dict()
        for name in options():
            section, key = name.split(".")
            print(f"{name:34s}{config[section][key]!r}")
    else:
        for name, (about, _) in PRESETS.items():
            print(f"{name:22s}{about}")


def doctor(args: argparse.Namespace) -> int:
    """Check the set-up."""
    return check(Path(args.out) if args.out else workflow.default_out())


def summarise(folder: Path) -> None:
    """Print where everything lies and the headline numbers."""
    metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    print(f"\n{reporting.headline(metrics)}\n")
    print(f"report:  {folder / 'report.html'}\nfigures: {folder / 'figures'}")


def _train(args: argparse.Namespace) -> Path:
    overrides = _overrides(args)
    config = workflow.configure(
        args.preset, args.dataset, args.data, args.mode, args.seed, args.fold, overrides
    )
    folder = workflow.run_folder(config, args.name, args.out).absolute()
    free_folder(folder)
    parameters = {
        "preset": args.preset,
        "dataset": args.dataset,
        "data_path": str(Path(args.data).absolute()) if args.data else "",
        "mode": args.mode,
        "seed": config.train.seed,
        "fold": config.data.fold,
        "name": folder.name,
        "out": str(folder.parent),
        "overrides": overrides,
    }
    try:
        with _executed(TRAIN, parameters) as notebook:
            _keep(notebook, folder)
    finally:
        _drop_partial(folder)
    return folder


def _drop_partial(folder: Path) -> None:
    """What a killed kernel has left of this run, and of no other run whose name begins alike."""
    if folder.parent.is_dir():
        for path in folder.parent.iterdir():
            if re.fullmatch(rf"\.partial-{re.escape(folder.name)}-\d+", path.name):
                shutil.rmtree(path, ignore_errors=True)


def _report(folders: list[Path], split: str) -> Path:
    _finished(folders)
    parameters = {"runs": [str(f.absolute()) for f in folders], "split": split}
    several = len(folders) > 1
    with _executed(REPORT, parameters) as notebook:
        title = "Runs compared" if several else f"Consistency report: {folders[0].name}"
        target = folders[0] / ("comparison.html" if several else "report.html")
        _keep(notebook, folders[0], "comparison" if several else REPORT)
        return reporting.export_html(notebook, target, title)


def _show(folder: Path, split: str, chosen: dict[str, Any]) -> None:
    _finished([folder])
    given = {name: value for name, value in chosen.items() if value}
    with _executed(SHOW, {"run": str(folder.absolute()), "split": split} | given) as notebook:
        _keep(notebook, folder)
        reporting.export_html(
            notebook, folder / "trajectories.html", f"Mastery trajectories: {folder.name}"
        )


@contextlib.contextmanager
def _executed(name: str, parameters: dict[str, Any]) -> Iterator[Path]:
    """Run a notebook in a scratch folder; gives the executed notebook's path."""
    source = NOTEBOOKS / f"{name}.ipynb"
    if not source.is_file():
        raise KTError(f"{source} is missing; run from a checkout installed with pip install -e")
    scratch = Path(tempfile.mkdtemp(prefix="kt_core-"))
    target, keep = scratch / source.name, False
    print(f"running {name} ...", flush=True)
    try:
        papermill.execute_notebook(
            source,
            target,
            parameters,
            progress_bar=sys.stderr.isatty(),
            stdout_file=sys.stdout,
            stderr_file=sys.stderr,
            config=_private_kernel(scratch),
        )
        yield target
    except PapermillExecutionError as error:
        if error.ename == "KTError":
            raise KTError(error.evalue) from None
        keep = True
        raise NotebookFailed(
            f"{name} stopped with {error.ename}: {error.evalue}\n"
            f"the notebook with the traceback: {target}"
        ) from None
    finally:
        if not keep:
            shutil.rmtree(scratch, ignore_errors=True)


def _private_kernel(scratch: Path) -> Config:
    """On Linux the kernel listens on sockets in the scratch folder, not on open TCP ports."""
    config = Config()
    if sys.platform == "linux":
        config.KernelManager.transport = "ipc"
        config.KernelManager.connection_file = str(scratch / "kernel.json")
    return config


def _keep(notebook: Path, folder: Path, name: str = "") -> None:
    (folder / "notebooks").mkdir(exist_ok=True)
    target = folder / "notebooks" / f"{name or notebook.stem}.ipynb"
    shutil.copyfile(notebook, target)


def _finished(folders: list[Path]) -> None:
    for folder in folders:
        Run.load(folder)
        if not os.access(folder, os.W_OK):
            raise KTError(f"{folder}: cannot be written")


def _overrides(args: argparse.Namespace) -> dict[str, Any]:
    # Headless: a line per epoch instead of Lightning's bar; papermill's bar counts the cells.
    overrides: dict[str, Any] = {"train.progress": False}
    if args.loss:
        overrides["loss"] = args.loss
    for pair in args.set:
        name, equals, value = pair.partition("=")
        if not equals:
            raise KTError(f"--set {pair}: write it as name=value")
        overrides[name.strip()] = value.strip()
    if args.expand_skills:
        overrides["data.expand_skills"] = True
    for pair in args.column:
        name, equals, value = pair.partition("=")
        if not equals:
            raise KTError(f"--column {pair}: write it as canonical=name, e.g. user=StudentID")
        overrides.setdefault("data.columns", {})[name] = value
    return overrides


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m kt_core", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    for name, action in (("run", run), ("train", train)):
        sub = commands.add_parser(name, help=action.__doc__)
        sub.set_defaults(action=action)
        _training_arguments(sub)
    sub = commands.add_parser("validate", help=validate.__doc__)
    sub.set_defaults(action=validate)
    sub.add_argument("runs", nargs="+", metavar="RUN", help="run folders; several are compared")
    _split_argument(sub)
    sub = commands.add_parser("visualise", help=visualise.__doc__)
    sub.set_defaults(action=visualise)
    sub.add_argument("run", metavar="RUN")
    sub.add_argument("--learner", action="append", default=[], help="an id; may be repeated")
    sub.add_argument("--rule", default="", help="growth quartiles, steepest, flattest, longest")
    _split_argument(sub)
    commands.add_parser("datasets", help=datasets.__doc__).set_defaults(action=datasets)
    sub = commands.add_parser("presets", help=presets.__doc__)
    sub.set_defaults(action=presets)
    sub.add_argument("name", nargs="?", default="")
    sub = commands.add_parser("doctor", help=doctor.__doc__)
    sub.set_defaults(action=doctor)
    sub.add_argument("--out", default="", help="folder for runs that should be writable")
    return parser


def _training_arguments(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("--preset", default="quick", help=", ".join(PRESETS))
    sub.add_argument("--dataset", default="", help="a name from `datasets`; default: simulated")
    sub.add_argument("--data", default="", metavar="PATH", help="a file of your own")
    sub.add_argument(
        "--column",
        action="append",
        default=[],
        metavar="user=NAME",
        help="the file's name for user, skill, correct, item or timestamp",
    )
    sub.add_argument(
        "--expand-skills",
        action="store_true",
        help="keep answers that are repeated once per skill; numbers are inflated",
    )
    sub.add_argument("--mode", default="", help="cumulative or projection")
    sub.add_argument("--loss", default="", help=f"weighting: {', '.join(LOSS_WEIGHTINGS)}")
    sub.add_argument("--seed", type=int, default=None)
    sub.add_argument("--fold", type=int, default=None, help="the validation fold")
    sub.add_argument("--name", default="", help="of the run folder; default: dated")
    sub.add_argument("--out", default="", help="where run folders go; default: runs/")
    sub.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="any value, e.g. model.d_model=64; all names: presets NAME",
    )
    _split_argument(sub)


def _split_argument(sub: argparse.ArgumentParser) -> None:
    sub.add_argument(
        "--split",
        default="test",
        choices=("test", "valid"),
        help="whom the report is about; valid while choices are being made",
    )
