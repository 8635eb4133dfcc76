"""The arguments of the command line, and the settings that they stand for."""

from __future__ import annotations

import argparse
import typing
from collections.abc import Callable
from pathlib import Path
from typing import Any

from kt_core import __version__
from kt_core.base.errors import KTError
from kt_core.config import LOSS_WEIGHTINGS, ON_PATH, DataConfig, Mode, RunConfig, with_overrides
from kt_core.presets import PRESETS, USUAL, configure

READING = (  # arguments that say how a source is read, as they are named in `DataConfig`
    *("format", "encoding", "kc_model", "skill_separator", "skill_level", "missing_as_text"),
    *("expand_skills", "pseudonymise"),
)
NEW = (  # arguments of a new training
    *("preset", "dataset", "data", "column", *READING, "mode", "loss", "seed", "fold", "name"),
    *("out", "set"),
)
COMPARISONS = ("constraints",)
FORMATS = ("auto", "long", "pykt", "akt", "triple")


def parser(
    about: str,
    actions: dict[str, Callable[[argparse.Namespace], int | None]],
    name: str = "python -m kt_core",
) -> argparse.ArgumentParser:
    """The parser of all commands; `actions` has their functions, whose docstrings are the help."""
    top = argparse.ArgumentParser(prog=name, description=about)
    top.add_argument("-V", "--version", action="version", version=f"kt-core {__version__}")
    top.add_argument(
        "--own",
        action="append",
        default=[],
        metavar="FILE.py",
        help="a Python file that registers models, loss terms, measures or worlds of your own",
    )
    commands = top.add_subparsers(dest="command", metavar="COMMAND", required=True)

    def command(name: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=actions[name].__doc__)
        sub.set_defaults(action=actions[name])
        return sub

    sub = _pdf_argument(_training_arguments(command("run")))
    sub.add_argument(
        "--compare",
        default="",
        choices=COMPARISONS,
        help="train several modes with the same settings, and compare them: by their constraints",
    )
    _training_arguments(command("train"))
    sub = command("validate")
    sub.add_argument("runs", nargs="+", metavar="RUN", help="run folders; several are compared")
    sub.add_argument(
        "--data", default="", metavar="PATH", help="report on the learners of a file of your own"
    )
    sub.add_argument("--out", default="", help="with --data: folder of the report, a new one")
    sub.add_argument(
        "--seen-learners",
        action="store_true",
        help="with --data: also learners on whom the run was trained or chosen",
    )
    _reading_arguments(sub)
    _pdf_argument(sub)
    _split_argument(sub)
    sub = command("visualise")
    sub.add_argument("run", metavar="RUN")
    sub.add_argument("--learner", action="append", default=[], help="any id; may be repeated")
    sub.add_argument(
        "--rule",
        default="",
        help="growth quartiles, steepest, flattest, stuck, most revised or longest",
    )
    _split_argument(sub)
    sub = command("predict")
    sub.add_argument("run", metavar="RUN")
    sub.add_argument(
        "--data", required=True, metavar="PATH", help="answers, in any known format, or stored"
    )
    sub.add_argument("--out", required=True, metavar="PATH", help="a .parquet or .csv file")
    sub.add_argument("--every-skill", action="store_true", help="also skills not yet practised")
    sub.add_argument("--jobs", type=int, default=1, help="processes that share the learners")
    _reading_arguments(sub)
    sub = command("class")
    sub.add_argument("answers", nargs="?", default="", metavar="PATH", help="in any known format")
    sub.add_argument("--run", default="", help="a run folder; without it, a model is trained")
    sub.add_argument("--preset", default="", help=f"of the training; default: {USUAL}")
    sub.add_argument("--mode", default="", help="of the training: retrospective or retentive")
    sub.add_argument("--seed", type=int, default=None, help="of the training")
    sub.add_argument("--name", default="", help="of the new run folder; default: a dated one")
    _page_arguments(sub, "class")
    sub = command("classroom")
    sub.add_argument("run", metavar="RUN")
    sub.add_argument("--data", default="", metavar="PATH", help="default: the run's learners")
    _page_arguments(sub)
    sub = command("look")
    sub.add_argument("path", metavar="PATH", help="a file or folder of answers")
    sub.add_argument("--rows", type=int, default=5, help="answers to show; default: 5")
    _reading_arguments(sub)
    sub = command("convert")
    sub.add_argument("--data", required=True, metavar="PATH", help="answers, in any known format")
    sub.add_argument("--out", required=True, help="a new folder, which --data then accepts")
    _reading_arguments(sub)
    sub = command("audit")
    sub.add_argument("--mastery", required=True, help="a table of learner, step, skill, mastery")
    _mastery_columns(sub)
    sub.add_argument("--responses", required=True, help="the answers, in any known format")
    sub.add_argument("--sees", required=True, choices=("pre", "post", "retrospective"))
    sub.add_argument("--out", default="audit", help="folder of the report; default: audit")
    _reading_arguments(sub)
    sub = command("criterion")
    sub.add_argument("run", nargs="?", default="", metavar="RUN", help="its mastery; or --mastery")
    sub.add_argument("--scores", required=True, metavar="CSV", help="learner, score, group, date")
    sub.add_argument("--mastery", default="", help="estimates of any tool, as of audit")
    _mastery_columns(sub)
    sub.add_argument(
        "--data", default="", metavar="PATH", help="with --mastery: the answers, in any format"
    )
    sub.add_argument(
        "--until-date", action="store_true", help="leave out answers later than the score's date"
    )
    sub.add_argument("--out", default="", help="folder of the result; default: RUN, or criterion")
    _reading_arguments(sub)
    _experiment_arguments(command("experiment"))
    sub = command("worlds")
    sub.add_argument("--world", action="append", default=[], help="a world; may be repeated")
    sub.add_argument("--models", nargs="+", default=[], help="modes and baselines")
    sub.add_argument("--shown", default="", metavar="MODEL", help="whose tables are shown")
    sub.add_argument("--draws", type=int, default=3, help="of each world; default: 3")
    sub.add_argument("--preset", default="", choices=["", *PRESETS], help=f"default: {USUAL}")
    _study_arguments(sub, "worlds", "worlds")
    sub = command("decisions")
    sub.add_argument("runs", nargs="+", metavar="RUN", help="run folders, on simulated learners")
    sub.add_argument("--learners", type=int, default=100, help="of the class; default: 100")
    sub.add_argument("--skills", type=int, default=10, help="of the class; default: 10")
    sub.add_argument("--seed", type=int, default=0, help="of the class and its luck")
    sub.add_argument("--out", default="", help="folder of the result; default: RUN")
    sub = command("benchmark")
    sub.add_argument("--only", default="", help="cells whose name contains this")
    _study_arguments(sub, "benchmark", "store")
    sub = command("sweep")
    sub.add_argument(
        "--grid", required=True, metavar="GRID.yaml", help="what to run; see docs/guide.md"
    )
    sub.add_argument("--out", required=True, help="folder of the runs and of the results")
    _cell_arguments(sub)
    command("datasets")
    sub = command("presets")
    sub.add_argument("name", nargs="?", default="")
    sub = command("notebooks")
    sub.add_argument("folder", metavar="DIR", help="a new folder for the copies")
    sub = command("doctor")
    sub.add_argument("--out", default="", help="folder for runs, checked for being writable")
    return top


def _page_arguments(sub: argparse.ArgumentParser, out: str = "") -> None:
    """Of the pages for teachers."""
    more = f", a new one; default: {out}" if out else ""
    sub.add_argument("--out", default=out, required=not out, help=f"folder of the pages{more}")
    sub.add_argument("--title", default="", help="of the class page; default: the data's name")
    sub.add_argument("--language", default="en", help="de, or a .toml file of words; default: en")
    _reading_arguments(sub)


def _study_arguments(sub: argparse.ArgumentParser, name: str, store: str) -> None:
    """Of a study whose finished cells are kept in a store."""
    _cell_arguments(sub)
    sub.add_argument(
        "--print", action="store_true", help="only print what is finished; train nothing"
    )
    sub.add_argument(
        "--store", default="", help=f"folder of finished cells; default: benchmarks/{store}"
    )
    sub.add_argument(
        "--out", default="", help=f"folder of report and figures; default: runs/{name}"
    )


def _cell_arguments(sub: argparse.ArgumentParser) -> None:
    """Where the cells of a study run."""
    sub.add_argument("--jobs", type=int, default=1, help="cells at a time on this machine")
    sub.add_argument(
        "--scheduler", default="", metavar="ADDRESS", help="run on a Dask cluster instead"
    )


def _experiment_arguments(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("name", nargs="?", default="", help="a built-in one: memphis")
    sub.add_argument("--data", default="", metavar="PATH", help="answers of the practice")
    sub.add_argument("--outcome", default="", metavar="PATH", help="answers of the post-test")
    sub.add_argument(
        "--condition",
        action="append",
        default=[],
        metavar="NAME[=A,B,...]",
        help="a column of --outcome that was assigned, and its levels; the others are compared "
        "with the first",
    )
    sub.add_argument(
        "--outcome-column",
        action="append",
        default=[],
        metavar="correct=NAME",
        help="the column of --outcome for learner, skill, correct or item",
    )
    sub.add_argument(
        "--models", nargs="+", default=[], metavar="MODEL", help="modes and baselines to judge"
    )
    sub.add_argument("--mode", default="", help="one of the modes; default: retrospective")
    sub.add_argument("--preset", default="", help=f"{', '.join(PRESETS)}; default: {USUAL}")
    sub.add_argument("--seed", type=int, default=None)
    sub.add_argument("--folds", type=int, default=5, help="of learners; default: 5")
    sub.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE", help="any setting, as of `run`"
    )
    sub.add_argument("--out", default="experiment", help="a new folder; default: experiment")
    _reading_arguments(sub)


def settings_given(args: argparse.Namespace) -> list[str]:
    """The arguments of a new training that were given, as they are typed."""
    given = [name for name in NEW if getattr(args, name) not in ("", None, [], False)]
    return [f"--{name.replace('_', '-')}" for name in given]


def configured(args: argparse.Namespace) -> RunConfig:
    """The settings of a new training.

    Raises
    ------
    KTError
        For an impossible one.
    """
    axes = args.preset or USUAL, args.dataset, args.data, args.mode, args.seed, args.fold
    return configure(*axes, overrides_of(args))


def configured_class(args: argparse.Namespace) -> RunConfig:
    """The settings of a model that is trained for the pages of a class.

    Raises
    ------
    KTError
        For an impossible one, or a mode that does not say how sure it is.
    """
    path = str(Path(args.answers).absolute())
    overrides = {"train.progress": False} | reading_of(args)
    config = configure(args.preset or USUAL, "", path, args.mode, args.seed, None, overrides)
    if config.model.mode not in ON_PATH:
        raise KTError(
            f"mode {config.model.mode} does not say how sure it is, and these pages need that; "
            f"choose --mode {' or '.join(ON_PATH)}"
        )
    return config


def overrides_of(args: argparse.Namespace) -> dict[str, Any]:
    """The settings, by dotted name, that the arguments of a training stand for."""
    # One line per epoch instead of Lightning's bar; papermill has a bar of its own.
    overrides: dict[str, Any] = {"train.progress": False}
    if getattr(args, "loss", ""):
        overrides["loss"] = args.loss
    for pair in args.set:
        name, equals, value = pair.partition("=")
        if not equals:
            raise KTError(f"--set {pair}: write it as name=value")
        overrides[name.strip()] = value.strip()
    return overrides | reading_of(args)


def reading_of(args: argparse.Namespace) -> dict[str, Any]:
    """The settings, by dotted name, that say how a source is read, where they were given."""
    given = {f"data.{name}": getattr(args, name) for name in READING}
    overrides = {name: value for name, value in given.items() if value not in (None, False)}
    if args.column:
        overrides["data.columns"] = columns_of(args.column)
    return overrides


def reading_settings(args: argparse.Namespace) -> DataConfig:
    """How a source is read that no run belongs to.

    Raises
    ------
    KTError
        For an impossible setting.
    """
    return with_overrides(RunConfig(), reading_of(args)).data


def reading_words(args: argparse.Namespace) -> list[str]:
    """The arguments that say how a source is read, as they are typed."""
    words = [word for pair in args.column for word in ("--column", pair)]
    for name in READING:
        value = getattr(args, name)
        if value not in (None, False):
            words.append(f"--{name.replace('_', '-')}")
            words += [] if value is True else [str(value)]
    return words


def columns_of(pairs: list[str]) -> dict[str, str]:
    """The columns that ``--column`` names: canonical name -> name in the file."""
    columns = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals:
            raise KTError(f"--column {pair}: write it as canonical=name, e.g. user=StudentID")
        if name in columns:
            raise KTError(f"--column {pair}: {name} is given twice")
        columns[name] = value
    return columns


def _training_arguments(sub: argparse.ArgumentParser) -> argparse.ArgumentParser:
    sub.add_argument("--preset", default="", help=f"{', '.join(PRESETS)}; default: {USUAL}")
    sub.add_argument("--dataset", default="", help="a name from `datasets`; default: simulated")
    sub.add_argument("--data", default="", metavar="PATH", help="a file of your own")
    _reading_arguments(sub)
    modes = ", ".join(typing.get_args(Mode))
    sub.add_argument("--mode", default="", help=f"{modes}; default: the preset's")
    sub.add_argument("--loss", default="", help=f"weighting: {', '.join(LOSS_WEIGHTINGS)}")
    sub.add_argument("--seed", type=int, default=None)
    sub.add_argument("--fold", type=int, default=None, help="the fold used for validation")
    sub.add_argument("--name", default="", help="name of the run folder; default: a dated one")
    sub.add_argument(
        "--resume",
        default="",
        metavar="RUN",
        help="resume a training that was stopped or killed, with its own settings",
    )
    sub.add_argument(
        "--end",
        action="store_true",
        help="with --resume: end the training with the best weights so far",
    )
    sub.add_argument("--out", default="", help="folder for run folders; default: runs/")
    sub.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="any setting, such as model.d_model=64; `presets NAME` lists them",
    )
    _split_argument(sub)
    return sub


def _reading_arguments(sub: argparse.ArgumentParser) -> None:
    """How a source is read; without a default, so that what was given is known."""
    sub.add_argument("--format", choices=FORMATS, help="default: recognised (auto)")
    sub.add_argument(
        "--column",
        action="append",
        default=[],
        metavar="user=NAME",
        help="the file's column for user, skill, correct, item, timestamp or fold; "
        "timestamp= says that there is none, timestamp=Date+Time that there are two",
    )
    sub.add_argument("--encoding", metavar="NAME", help="of text files, such as latin1")
    sub.add_argument(
        "--kc-model", metavar="NAME", help="of a DataShop file with several models of skills"
    )
    sub.add_argument(
        "--skill-separator",
        metavar="TEXT",
        help="between several skills in one value; none: every value is one skill",
    )
    sub.add_argument(
        "--skill-level", type=int, metavar="N", help="of Eedi's subjects; default: the leaves"
    )
    sub.add_argument(
        "--missing-as-text",
        action="store_true",
        help="read NA, NULL, None and NaN as names, not as missing",
    )
    sub.add_argument(
        "--expand-skills",
        action="store_true",
        help="keep answers that are repeated once per skill; numbers are inflated",
    )
    sub.add_argument(
        "--pseudonymise",
        action="store_true",
        help="replace learner ids by keyed hashes (KT_PSEUDONYM_KEY) in everything that is written",
    )


def _mastery_columns(sub: argparse.ArgumentParser) -> None:
    sub.add_argument(
        "--mastery-column",
        action="append",
        default=[],
        metavar="mastery=NAME",
        help="the column of --mastery for learner, step, skill or mastery",
    )


def _pdf_argument(sub: argparse.ArgumentParser) -> argparse.ArgumentParser:
    sub.add_argument(
        "--pdf", action="store_true", help="also make the report as PDF, with Chromium"
    )
    return sub


def _split_argument(sub: argparse.ArgumentParser) -> None:
    sub.add_argument(
        "--split",
        default="test",
        choices=("test", "valid"),
        help="learners of the report; use valid while you are still making choices",
    )
