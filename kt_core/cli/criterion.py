"""The command `criterion`: its arguments checked, its result printed and written."""

from __future__ import annotations

import argparse
import dataclasses

from kt_core.base.errors import KTError
from kt_core.cli import early
from kt_core.cli.arguments import columns_of, reading_of, reading_settings


def hold(args: argparse.Namespace) -> None:
    """Hold a run, or estimates of any tool, against scores."""
    reading, columns = reading_of(args), columns_of(args.mastery_column)
    if bool(args.run) == bool(args.mastery):
        raise KTError("name a run, or estimates with --mastery and their answers with --data")
    if args.run and (args.data or reading or columns):
        raise KTError("--data, --mastery-column and how a file is read go with --mastery")
    if args.mastery and not args.data:
        raise KTError("--mastery: name the answers that the estimates are about with --data")
    if args.mastery:
        answers = dataclasses.replace(reading_settings(args), path=args.data)
        early.check_estimates(args.mastery, columns, answers)
    early.check_scores(args.scores)
    from kt_core.studies import criterion as held  # it loads every baseline

    if args.run:
        result = held.of_run(args.run, args.scores, args.until_date)
    else:
        files = (args.mastery, args.data, args.scores)
        result = held.of_estimates(*files, reading, columns, args.until_date)
    print(held.text(result))
    folder = held.write(result, args.out or args.run or "criterion")
    print(f"\nresult: {folder / 'criterion.csv'}\nfigure: {folder / 'figures' / 'criterion.png'}")
