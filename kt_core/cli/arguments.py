"""What the command line accepts, and what it makes of it."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

from kt_core.base.errors import KTError
from kt_core.config import LOSS_WEIGHTINGS
from kt_core.presets import PRESETS, USUAL

NEW = (  # arguments of a new training
    "preset",
    "dataset",
    "data",
    "column",
    "expand_skills",
    "pseudonymise",
    "mode",
    "loss",
    "seed",
    "fold",
    "name",
    "out",
    "set",
)


def parser(
    about: str, actions: dict[str, Callable[[argparse.Namespace], int | None]]
) -> argparse.ArgumentParser:
    """The parser of all commands; each name's action is `actions`'s, and its help the docstring."""
    top = argparse.ArgumentParser(prog="python -m kt_core", description=about)
    commands = top.add_subparsers(dest="command", required=True)

    def command(name: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=actions[name].__doc__)
        sub.set_defaults(action=actions[name])
        return sub

    _pdf_argument(_training_arguments(command("run")))
    _training_arguments(command("train"))
    sub = command("validate")
    sub.add_argument("runs", nargs="+", metavar="RUN", help="run folders; several are compared")
    _pdf_argument(sub)
    _split_argument(sub)
    sub = command("visualise")
    sub.add_argument("run", metavar="RUN")
    sub.add_argument("--learner", action="append", default=[], help="an id; may be repeated")
    sub.add_argument("--rule", default="", help="growth quartiles, steepest, flattest, longest")
    _split_argument(sub)
    sub = command("predict")
    sub.add_argument("run", metavar="RUN")
    sub.add_argument("--data", required=True, metavar="PATH", help="histories, in any known format")
    sub.add_argument("--out", required=True, metavar="PATH", help="a .parquet or .csv file")
    sub.add_argument("--every-skill", action="store_true", help="also skills not yet practised")
    _reading_arguments(sub)
    sub = command("classroom")
    sub.add_argument("run", metavar="RUN")
    sub.add_argument("--data", default="", metavar="PATH", help="default: the run's test learners")
    sub.add_argument("--out", required=True, help="folder of the pages")
    _reading_arguments(sub)
    sub = command("convert")
    sub.add_argument("--data", required=True, metavar="PATH", help="a CSV, TSV or Parquet file")
    sub.add_argument("--out", required=True, help="folder; then give it as --data")
    _column_argument(sub)
    sub.add_argument("--expand-skills", action="store_true", help="see `train`")
    _pseudonymise_argument(sub)
    sub = command("audit")
    sub.add_argument("--mastery", required=True, help="a table of learner, step, skill, mastery")
    sub.add_argument("--responses", required=True, help="the answers, in any known format")
    sub.add_argument("--sees", required=True, choices=("pre", "post", "retrospective"))
    sub.add_argument("--out", default="audit", help="folder of the report; default: audit")
    _reading_arguments(sub)
    sub = command("benchmark")
    sub.add_argument("--only", default="", help="cells whose name contains this")
    sub.add_argument("--jobs", type=int, default=1, help="cells at a time, one core each")
    sub.add_argument("--print", action="store_true", help="train nothing")
    sub.add_argument("--store", default="", help="of finished cells; default: benchmarks/store")
    sub.add_argument("--out", default="", help="of report and figures; default: runs/benchmark")
    sub = command("sweep")
    sub.add_argument("--grid", required=True, metavar="GRID.yaml", help="what to run, see README")
    sub.add_argument("--out", required=True, help="folder of the runs and of the results")
    sub.add_argument("--jobs", type=int, default=1, help="cells at a time on this machine")
    sub.add_argument("--scheduler", default="", metavar="ADDRESS", help="of a Dask cluster instead")
    command("datasets")
    sub = command("presets")
    sub.add_argument("name", nargs="?", default="")
    sub = command("doctor")
    sub.add_argument("--out", default="", help="folder for runs that should be writable")
    return top


def settings_given(args: argparse.Namespace) -> list[str]:
    """The arguments of a new training that were used, as they are written."""
    given = [name for name in NEW if getattr(args, name) not in ("", None, [], False)]
    return [f"--{name.replace('_', '-')}" for name in given]


def overrides_of(args: argparse.Namespace) -> dict[str, Any]:
    """Settings by dotted name that the arguments of a training ask for."""
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
    if args.pseudonymise:
        overrides["data.pseudonymise"] = True
    if args.column:
        overrides["data.columns"] = columns_of(args.column)
    return overrides


def columns_of(pairs: list[str]) -> dict[str, str]:
    """What ``--column`` says: canonical name -> the file's."""
    columns = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals:
            raise KTError(f"--column {pair}: write it as canonical=name, e.g. user=StudentID")
        columns[name] = value
    return columns


def _training_arguments(sub: argparse.ArgumentParser) -> argparse.ArgumentParser:
    sub.add_argument("--preset", default="", help=f"{', '.join(PRESETS)}; default: {USUAL}")
    sub.add_argument("--dataset", default="", help="a name from `datasets`; default: simulated")
    sub.add_argument("--data", default="", metavar="PATH", help="a file of your own")
    _column_argument(sub)
    sub.add_argument(
        "--expand-skills",
        action="store_true",
        help="keep answers that are repeated once per skill; numbers are inflated",
    )
    _pseudonymise_argument(sub)
    sub.add_argument("--mode", default="", help="retrospective, cumulative or projection")
    sub.add_argument("--loss", default="", help=f"weighting: {', '.join(LOSS_WEIGHTINGS)}")
    sub.add_argument("--seed", type=int, default=None)
    sub.add_argument("--fold", type=int, default=None, help="the validation fold")
    sub.add_argument("--name", default="", help="of the run folder; default: dated")
    sub.add_argument(
        "--resume",
        default="",
        metavar="RUN",
        help="go on with a training that was stopped or killed, with its own settings",
    )
    sub.add_argument(
        "--end", action="store_true", help="with --resume: end it with the best weights so far"
    )
    sub.add_argument("--out", default="", help="where run folders go; default: runs/")
    sub.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="any value, e.g. model.d_model=64; all names: presets NAME",
    )
    _split_argument(sub)
    return sub


def _reading_arguments(sub: argparse.ArgumentParser) -> None:
    kinds = ("auto", "long", "pykt", "akt", "triple")
    sub.add_argument("--format", default="auto", choices=kinds)
    _column_argument(sub)
    _pseudonymise_argument(sub)


def _column_argument(sub: argparse.ArgumentParser) -> None:
    sub.add_argument(
        "--column",
        action="append",
        default=[],
        metavar="user=NAME",
        help="the file's name for user, skill, correct, item or timestamp",
    )


def _pseudonymise_argument(sub: argparse.ArgumentParser) -> None:
    sub.add_argument(
        "--pseudonymise",
        action="store_true",
        help="learner ids as keyed hashes (KT_PSEUDONYM_KEY), in all that is written",
    )


def _pdf_argument(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("--pdf", action="store_true", help="the report as PDF too, by Chromium")


def _split_argument(sub: argparse.ArgumentParser) -> None:
    sub.add_argument(
        "--split",
        default="test",
        choices=("test", "valid"),
        help="whom the report is about; valid while choices are being made",
    )
