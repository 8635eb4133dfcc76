"""What is refused before anything that takes seconds is loaded: what is plainly not there."""

from __future__ import annotations

import argparse
from pathlib import Path

from kt_core.base.errors import KTError
from kt_core.base.places import check_run

FILES = ("data", "answers", "mastery", "responses", "scores", "grid", "outcome")
RUNS = ("run", "runs")


def check(args: argparse.Namespace) -> None:
    """Refuse files and runs that do not exist.

    Raises
    ------
    KTError
        For the first of them.
    """
    given = {name: value for name, value in vars(args).items() if value}
    for name in (name for name in FILES if name in given):
        if not Path(given[name]).exists():
            raise KTError(f"{given[name]}: no such file")
    for name in (name for name in RUNS if name in given):
        for run in given[name] if isinstance(given[name], list) else [given[name]]:
            check_run(Path(run))
