"""What is refused before anything that takes seconds is loaded: what plainly cannot be."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

from kt_core.base.errors import KTError
from kt_core.base.processes import check_jobs
from kt_core.config import DataConfig
from kt_core.studies.models import check_model

FILES = ("data", "answers", "mastery", "responses", "scores", "grid", "outcome")
RUNS = ("run", "runs")
MODELS = ("models", "shown")
PLAIN = (".csv", ".tsv", ".txt")  # others are compressed, about ten times
SMALL = 1 << 20  # bytes of plain text that are read in a second


def check(args: argparse.Namespace) -> None:
    """Refuse files and models that do not exist, runs that are not finished or damaged, data that
    is named twice, and work without a process; models of one's own must be registered.

    Raises
    ------
    KTError
        For the first of them.
    """
    for file in _given(args, FILES):
        if not Path(file).exists():
            raise KTError(f"{file}: no such file")
    given = vars(args)
    if given.get("dataset") and given.get("data"):
        raise KTError(f"--dataset {args.dataset} and --data {args.data}: give only one of them")
    check_jobs(given.get("jobs", 1))
    for run in _given(args, RUNS):
        from kt_core.base.state import check_run  # it loads pandas

        check_run(Path(run))
    for model in _given(args, MODELS):
        check_model(model)


def _given(args: argparse.Namespace, names: tuple[str, ...]) -> Iterator[str]:
    """What was given for these arguments."""
    for value in (vars(args).get(name) for name in names):
        yield from value if isinstance(value, list) else [value] if value else []


def check_new(folder: str | Path) -> None:
    """Raise a KTError unless a folder for results can be made."""
    from kt_core.base.state import free_folder  # it loads pandas

    free_folder(Path(folder).absolute())


def check_answers(config: DataConfig) -> None:
    """Refuse a small file of answers that cannot be read. A large one is read once, later on, and
    so is one whose names must not be shown.

    Raises
    ------
    KTError
        As of `kt_core.data.registry.load_dataset`.
    """
    if config.pseudonymise or not _small(config.path):
        return
    from kt_core.data.registry import load_dataset  # it loads pandas

    load_dataset(config)


def check_estimates(file: str, columns: dict[str, str], answers: DataConfig) -> None:
    """Refuse a small table of mastery estimates, or small answers that they are about, that cannot
    be read.

    Parameters
    ----------
    columns : as of `kt_core.studies.estimates.read_mastery`.

    Raises
    ------
    KTError
        As of `read_mastery`, and of `check_answers`.
    """
    if _small(file) and not answers.pseudonymise:
        from kt_core.studies.estimates import read_mastery  # it loads pandas

        read_mastery(file, columns)
    check_answers(answers)


def check_scores(file: str) -> None:
    """Refuse a small file of scores that cannot be read.

    Raises
    ------
    KTError
        As of `kt_core.data.scores.read_scores`.
    """
    if _small(file):
        from kt_core.data.scores import read_scores  # it loads pandas

        read_scores(file, quiet=True)


def check_comparable(runs: list[Path], split: str) -> None:
    """Refuse runs that are not about the same answers of the same learners.

    Raises
    ------
    KTError
        As of `kt_core.data.same.check_saved`.
    """
    from kt_core.data.same import check_saved  # it loads pandas

    check_saved(runs, split)


def _small(file: str) -> bool:
    """Whether this is a file that is read in a second."""
    path = Path(file)
    most = SMALL if path.suffix in PLAIN else SMALL // 10
    return path.is_file() and path.stat().st_size <= most
