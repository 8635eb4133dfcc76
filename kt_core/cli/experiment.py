"""`experiment`: which experiment the arguments name, models trained and compared, files written."""

from __future__ import annotations

import argparse
from pathlib import Path

from kt_core.base.errors import KTError
from kt_core.base.files import new_folder
from kt_core.base.state import free_folder
from kt_core.cli.arguments import columns_of, overrides_of, reading_words
from kt_core.config import RunConfig
from kt_core.data.pseudonyms import pseudonyms
from kt_core.data.reading import ReadOptions
from kt_core.data.registry import read_dataset
from kt_core.presets import USUAL, configure
from kt_core.studies.outcome import BUILT_IN, Experiment, read_experiment


def judge(args: argparse.Namespace) -> None:
    """Train the models, compare predicted with observed effects, and write and print the result.

    Raises
    ------
    KTError
        For arguments that do not fit together, files that cannot be read, or a folder that exists.
    """
    folder, preset = Path(args.out).absolute(), args.preset or USUAL
    free_folder(folder)
    models = list(dict.fromkeys([*filter(None, [args.mode]), *args.models]))
    models = models or [configure(preset).model.mode]
    _check(args)
    overrides = overrides_of(args)
    config = configure(preset, args.name, args.data, "", args.seed, None, overrides)
    experiment = _experiment(args, config)
    from kt_core.studies.experiment import (  # it loads every model
        compare,
        cross_fitted,
        effects_text,
        notes,
        write_experiment,
    )

    for line in (experiment.practice.note, *experiment.remarks):
        print(line, flush=True)
    predicted = cross_fitted(experiment, models, config, args.folds, _say)
    table = compare(experiment, predicted, config.report.bootstrap, config.report.seed)
    with new_folder(folder) as partial:
        write_experiment(experiment, predicted, table, config, args.folds, partial)
    print(effects_text(table), "", *notes(experiment, models), "", sep="\n")
    print(f"table:  {folder / 'experiment.csv'}")
    print(f"figure: {folder / 'figures' / 'experiment.png'}")


def _say(text: str) -> None:
    print(text, flush=True)


def _check(args: argparse.Namespace) -> None:
    """Refuse arguments that do not name one experiment."""
    own = [args.data, args.outcome, *args.condition, *args.outcome_column]
    if args.name and args.name not in BUILT_IN:
        raise KTError(
            f"experiment {args.name}: only {', '.join(BUILT_IN)} is built in; name files of your "
            "own with --data and --outcome"
        )
    if args.name and (any(own) or reading_words(args)):
        raise KTError(f"experiment {args.name}: leave out what is for files of your own")
    if not args.name and not (args.data and args.outcome and args.condition):
        raise KTError(
            "experiment: name a built-in one, or give the practice with --data, the post-test with "
            "--outcome, and what was assigned with --condition"
        )


def _experiment(args: argparse.Namespace, config: RunConfig) -> Experiment:
    """A built-in experiment, or that of two files."""
    if args.name:
        return BUILT_IN[args.name]()
    names = pseudonyms() if config.data.pseudonymise else None
    practice = read_dataset(Path(args.data), ReadOptions.of(config.data, names))
    columns = columns_of(args.outcome_column)
    return read_experiment(practice, args.outcome, conditions_of(args.condition), columns, names)


def conditions_of(pairs: list[str]) -> dict[str, tuple[str, ...]]:
    """The conditions that ``--condition`` names, with their levels; none where all count."""
    found: dict[str, tuple[str, ...]] = {}
    for pair in pairs:
        name, equals, text = (part.strip() for part in pair.partition("="))
        levels = tuple(level.strip() for level in text.split(",")) if equals else ()
        if not name or not all(levels):
            raise KTError(f"--condition {pair}: write it as NAME or NAME=LEVEL,LEVEL,...")
        if name in found:
            raise KTError(f"--condition {pair}: {name} is given twice")
        found[name] = levels
    return found
