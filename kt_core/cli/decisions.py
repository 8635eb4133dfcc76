"""The command `decisions`: its arguments checked, its result printed and written."""

from __future__ import annotations

import argparse

from kt_core.base.errors import KTError
from kt_core.studies import decisions as made
from kt_core.studies.practising import Rules


def judge(args: argparse.Namespace) -> None:
    """Let a simulated class practise under the runs and all other policies."""
    rules = Rules(learners=args.learners, skills=args.skills, seed=args.seed)
    if len(args.runs) > 1 and not args.out:
        raise KTError("several runs: name the folder of the result with --out")
    table = made.decide(args.runs, rules)
    print(made.text(table), "", *made.notes(rules), sep="\n")
    folder = made.write(table, rules, args.out or args.runs[0], args.runs)
    print(f"\ntable:  {folder / 'decisions.csv'}\nfigure: {folder / 'figures' / 'decisions.png'}")
