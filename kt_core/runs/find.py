"""Where run folders are: a new one's place, the newest one, and one opened with its data."""

from __future__ import annotations

import dataclasses
import itertools
import os
import re
from datetime import datetime
from pathlib import Path

from kt_core.base.errors import KTError, brief
from kt_core.base.log import log
from kt_core.base.places import default_out
from kt_core.base.state import unfinished
from kt_core.base.values import names_of, path_of
from kt_core.config import RunConfig
from kt_core.data import Splits
from kt_core.data.registry import read_splits
from kt_core.data.saved import check_unchanged
from kt_core.data.sequences import MOST_LEARNERS
from kt_core.runs.run import Run

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,149}")  # room for what is put around it


def run_folder(config: RunConfig, name: str = "", out: str = "") -> Path:
    """The folder of a new run: ``out/name``, with a dated name if none is given.

    Raises
    ------
    KTError
        For a name that is not a plain file name.
    """
    data = Path(config.data.path).stem if config.data.path else config.data.dataset
    stamp = datetime.now().strftime("%Y%m%d-%H%M%S")
    place = path_of("out", out or default_out())
    auto = f"{data}-{config.model.mode}-{config.preset}-seed{config.train.seed}-{stamp}"
    auto = re.sub(r"[^A-Za-z0-9._-]", "_", auto)[-140:].lstrip("._-")
    more = (f"{auto}-{number}" for number in itertools.count(2))  # within one second
    name = name or next(n for n in itertools.chain([auto], more) if not os.path.lexists(place / n))
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise KTError(
            f"run name {brief(name)}: at most 150 letters, digits, '.', '_' and '-', a letter or "
            "digit first"
        )
    return place / name


def find_runs(runs: list[str]) -> list[Path]:
    """The named run folders, or the newest finished one under ``runs/`` if none is named."""
    if named := names_of("runs", [runs] if isinstance(runs, str) else runs):
        return [path_of("runs", run) for run in named]
    if not (finished := finished_runs()):
        raise KTError(f"no finished run in {default_out()}: train one with 01_train, or name one")
    return [finished[-1]]


def finished_runs() -> list[Path]:
    """The finished runs under ``runs/``, the newest last; what cannot be read is told."""
    found = []
    for weights in default_out().glob("[!.]*/model.safetensors"):
        try:
            if not unfinished(weights.parent):
                found.append((weights.stat().st_mtime, weights.parent))
        except KTError as error:
            log.warning("left out: %s", error)
    return [path for _, path in sorted(found)]


def check_split(split: str) -> None:
    """Raise a KTError for what is not a split that a report can be about."""
    if split not in ("valid", "test"):
        raise KTError(f"split {brief(split)}: choose valid or test")


def open_run(path: str | Path, split: str = "test") -> tuple[Run, Splits]:
    """A saved run with its data, split as it was; from a larger validation or test split, 20,000
    learners are drawn at random.

    Raises
    ------
    KTError
        When the folder is not a finished run, or the data is not what it was trained on.

    Examples
    --------
    >>> run, splits = open_run("runs/mine")
    >>> run.vocabulary
    <20 skills, 200 items>
    """
    check_split(split)
    run = Run.load(path)
    splits = read_splits(run.config)
    check_unchanged(run.path, splits, run.vocabulary, run.provenance)
    parts = {name: getattr(splits, name).sample(MOST_LEARNERS) for name in ("valid", "test")}
    for name, part in parts.items():
        if len(part.learners) < len(all_of := getattr(splits, name).learners):
            log.warning(
                "%s: %s of %s learners, drawn at random", name, len(part.learners), len(all_of)
            )
    return run, dataclasses.replace(splits, **parts)
