"""What the command line costs before it does or refuses anything, next to Python itself.

python benchmarks/start.py                 # a table; the best of five calls each

Processor seconds hardly change when something else runs on the machine; the wall clock does.
"""

from __future__ import annotations

import argparse
import resource
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd

from kt_core.data import Simulation, simulate
from kt_core.studies.benchmark import markdown
from kt_core.tracing.demo import STORED

PYTHON = "python -c pass"
REFUSED = 2  # the exit code


def calls(answers: Path, odd: Path, damaged: Path) -> dict[str, list[str]]:
    """The commands that are measured, by how they are shown; the last five refuse.

    Parameters
    ----------
    odd : a table without a column that is known.
    damaged : a run with a wrong bit in its weights.
    """
    kt = [sys.executable, "-m", "kt_core"]
    return {
        PYTHON: [sys.executable, "-c", "pass"],
        "--version": [*kt, "--version"],
        "--help": [*kt, "--help"],
        "presets standard": [*kt, "presets", "standard"],
        "look (2,400 answers)": [*kt, "look", str(answers)],
        "import pandas": [sys.executable, "-c", "import pandas"],
        "import torch": [sys.executable, "-c", "import torch"],
        "train --data ODD": [*kt, "train", "--data", str(odd)],
        "class ODD": [*kt, "class", str(odd)],
        "worlds --models GPT": [*kt, "worlds", "--models", "GPT"],
        "benchmark --only GPT": [*kt, "benchmark", "--only", "GPT"],
        "validate DAMAGED": [*kt, "validate", str(damaged)],
    }


def seconds(command: list[str]) -> tuple[float, float]:
    """Wall clock and processor time of one call."""
    begin, before = time.perf_counter(), _of_children()
    done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    if done.returncode not in (0, REFUSED):
        raise SystemExit(f"{shlex.join(command)}: exit code {done.returncode}")
    return time.perf_counter() - begin, _of_children() - before


def _of_children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def measured(repeats: int) -> pd.DataFrame:
    """The best of several calls, in turn; `ratio` is to Python itself, in processor time."""
    table = simulate(Simulation(learners=40)).table.head(2400)
    found: dict[str, list[tuple[float, float]]] = {}
    with tempfile.TemporaryDirectory() as scratch:
        answers = Path(scratch, "answers.csv")
        table[["user", "skill", "correct"]].to_csv(answers, index=False)
        odd, damaged = Path(scratch, "odd.csv"), Path(scratch, "damaged")
        odd.write_text("a,b\n1,2\n")
        shutil.copytree(STORED, damaged)
        with (damaged / "model.safetensors").open("r+b") as weights:
            weights.seek(-1, 2)
            weights.write(b"?")
        for _ in range(repeats):
            for name, command in calls(answers, odd, damaged).items():
                found.setdefault(name, []).append(seconds(command))
    best = pd.DataFrame({name: np.min(pairs, axis=0) for name, pairs in found.items()}).T
    best.columns = ["wall, s", "processor, s"]
    best["ratio"] = best["processor, s"] / best.loc[PYTHON, "processor, s"]
    return best.rename_axis("command").reset_index()


if __name__ == "__main__":
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--repeats", type=int, default=5)
    table = measured(arguments.parse_args().repeats)
    print(markdown(table.assign(ratio=table["ratio"].map("{:.0f}".format)), digits=2))
