"""What is refused before anything that takes seconds is loaded: what plainly cannot be."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

from kt_core.base.errors import KTError
from kt_core.config import DataConfig
from kt_core.studies.models import check_model

FILES = ("data", "answers", "mastery", "responses", "scores", "grid", "outcome")
RUNS = ("run", "runs")
MODELS = ("models", "shown")
PLAIN = (".csv", ".tsv", ".txt")  # others are compressed, about ten times
SMALL = 1 << 20  # bytes of plain text that are read in a second


def check(args: argparse.Namespace) -> None:
    """Refuse files and models that do not exist, runs that are not finished or damaged, and data
    that is named twice; models of one's own must be registered.

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
    for run in _given(args, RUNS):
        from kt_core.base.state import check_run  # it loads pandas

        check_run(Path(run))
    for model in _given(args, MODELS):
        check_model(model)


def _given(args: argparse.Namespace, names: tuple[str, ...]) -> Iterator[str]:
    """What was given for these arguments."""
    for value in (vars(args).get(name) for name in names):
        yield from value if isinstance(value, list) else [value] if value else []


def check_answers(config: DataConfig) -> None:
    """Refuse a small file of answers that cannot be read. A large one is read once, later on, and
    so is one whose names must not be shown.

    Raises
    ------
    KTError
        As of `kt_core.data.registry.load_dataset`.
    """
    path = Path(config.path)
    small = SMALL if path.suffix in PLAIN else SMALL // 10
    if config.pseudonymise or not path.is_file() or path.stat().st_size > small:
        return
    from kt_core.data.registry import load_dataset  # it loads pandas

    load_dataset(config)
