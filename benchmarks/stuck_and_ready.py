"""How often are "stuck" and "ready" right? The class pages cite the table that this makes.

python benchmarks/stuck_and_ready.py                    # about 25 minutes on one core
python benchmarks/stuck_and_ready.py --world simulated  # one world; the rows of others stay
python benchmarks/stuck_and_ready.py --print            # the finished table, for docs/evidence.md

In every world of simulated learners a model is trained (preset quick) and asked about all of them,
as the pages do. What it says is held against the truth (`kt_core.learners.held`).
"""

from __future__ import annotations

import argparse
import tempfile
import time
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd

from kt_core.base.files import write_table
from kt_core.data.registry import read_splits
from kt_core.learners.classroom.rates import TABLE
from kt_core.learners.held import held, shares
from kt_core.metrics.bootstrap import Bootstrap
from kt_core.presets import configure
from kt_core.report.text import interval
from kt_core.studies.benchmark import markdown
from kt_core.studies.worlds import SHOWN
from kt_core.tracing.training import trained

MODES = ("retrospective", "retentive")  # those that say how sure they are
LEARNERS = 1000
KEYS = ["world", "mode", "learners"]


def measure(world: str, mode: str, learners: int) -> pd.DataFrame:
    """Train in a world, and hold what the model says of everybody against the truth."""
    changed = {"data.learners": learners, "train.progress": False}
    config = configure("quick", world, mode=mode, overrides=changed)
    splits = read_splits(config)
    with tempfile.TemporaryDirectory() as folder:
        run = trained(config, splits, Path(folder) / "run", progress=False)
        said = shares(held(run, splits.dataset), Bootstrap(learners))
    for place, key in enumerate(KEYS):
        said.insert(place, key, (world, mode, learners)[place])
    return said


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--world", nargs="+", default=SHOWN, choices=SHOWN)
    parser.add_argument("--mode", nargs="+", default=MODES, choices=MODES)
    parser.add_argument("--learners", type=int, default=LEARNERS)
    parser.add_argument("--print", action="store_true", help="train nothing")
    args = parser.parse_args()
    done = [pd.read_csv(TABLE)] if TABLE.is_file() else []
    for mode, world in [] if args.print else product(args.mode, args.world):
        started, keys = time.perf_counter(), [world, mode, args.learners]
        others = [part[(part[KEYS] != keys).any(axis=1)] for part in done]
        done = [pd.concat([*others, measure(*keys)])]
        write_table(done[0].sort_values(KEYS, kind="stable").round(4), TABLE)
        print(*keys, f"{time.perf_counter() - started:.0f} s", flush=True)
    print(markdown(shown(pd.concat(done))))


def shown(table: pd.DataFrame) -> pd.DataFrame:
    """One row per world, mode and size of the class, with what matters of both words."""
    rows = []
    for keys, part in table.groupby(KEYS, sort=False):
        row = dict(zip(KEYS, keys, strict=True))
        for word in part.itertuples():
            ends = f" {interval(word.low, word.high, 0, percent=True)}".rstrip()
            told = f"{word.share:.0%}{ends} of {word.said:,}"
            row[f"{word.verdict}: right"] = told if word.said else "nobody"
            row[f"{word.verdict}: found"] = f"{word.found:.0%}" if np.isfinite(word.found) else ""
        rows.append(row)
    return pd.DataFrame(rows)


if __name__ == "__main__":
    main()
