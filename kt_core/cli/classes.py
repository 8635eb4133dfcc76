"""The commands `class` and `classroom`: from answers, or from a run, to pages for a teacher."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from kt_core.base.errors import KTError
from kt_core.base.files import read_json
from kt_core.base.log import log
from kt_core.base.state import free_folder
from kt_core.cli.arguments import configured_class, reading_of
from kt_core.data import Dataset
from kt_core.data.registry import read_splits
from kt_core.learners.classroom import classroom as write_pages
from kt_core.learners.classroom import words
from kt_core.learners.classroom.trust import METRICS
from kt_core.runs.answers import answers_for
from kt_core.runs.find import open_run, run_folder
from kt_core.runs.run import Run


def from_answers(args: argparse.Namespace) -> None:
    """Make the pages of a file of answers, from a run that is named or from a new one."""
    if args.run:
        names = ("preset", "mode", "seed", "name")
        if given := [f"--{name}" for name in names if getattr(args, name) not in ("", None)]:
            raise KTError(f"--run {args.run} is trained already: leave out {', '.join(given)}")
        from_run(args, args.run, args.answers)
    elif args.answers:
        say, out = _prepared(args)
        _write(args, *_train(args), say, out)
    else:
        raise KTError("name a file of answers, or a trained model with --run RUN, or both")


def from_run(args: argparse.Namespace, path: str, answers: str) -> None:
    """Make the pages of a run, about the learners of a file or about all of its own."""
    say, out = _prepared(args)
    run = Run.load(path)
    if answers:
        dataset = answers_for(run, Path(answers), reading_of(args), combine=True)
        log.info("%s", dataset.note)
    else:
        dataset = open_run(path)[1].dataset
        if dataset.table.empty:
            raise KTError(f"{path}: its data is stored on disk; name the class's answers")
    _write(args, run, dataset, say, out)


def _prepared(args: argparse.Namespace) -> tuple[words.Words, Path]:
    """The words, and the folder to write; both are checked before anything is trained."""
    out = Path(args.out).absolute()
    free_folder(out)
    return words.read(args.language), out


def _write(
    args: argparse.Namespace, run: Run, dataset: Dataset, say: words.Words, out: Path
) -> None:
    page = write_pages(run, dataset, out, checked(run), args.title, say)
    print(f"class:    {page}\nlearners: {page.parent / 'learners'}")


def _train(args: argparse.Namespace) -> tuple[Run, Dataset]:
    """A new run on a file of answers, in a folder that the command line prints."""
    from kt_core.tracing.training import trained  # its room loads every model

    config = configured_class(args)
    folder = run_folder(config, args.name).absolute()
    free_folder(folder)
    splits = read_splits(config)
    run = trained(config, splits, folder, progress=True)
    print(f"run:      {run.path}")
    return run, splits.dataset


def checked(run: Run) -> dict[str, Any] | None:
    """The metrics of a run's report on test learners: from its folder, or measured now; None, with
    a warning, where they cannot be measured."""
    file = run.path / "metrics.json"
    if file.is_file():
        metrics = read_json(file)
        if metrics.get("split") == "test" and metrics.keys() >= METRICS:  # an old one may lack some
            return metrics
    from kt_core.report.examine import examine  # what measures takes seconds to load
    from kt_core.report.tables import metrics_dict

    log.info("checking the model on its test learners")
    try:
        return metrics_dict(examine(run.path))
    except KTError as error:
        log.warning("the model cannot be checked, and the pages say so: %s", error)
        return None
