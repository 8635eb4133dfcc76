"""What the command line costs before it does or refuses anything, next to Python itself.

python benchmarks/start.py                 # a table; the best of five calls each

Processor seconds hardly change when something else runs on the machine; the wall clock does.
"""

from __future__ import annotations

import argparse
import json
import re
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


def calls(
    answers: Path, odd: Path, oops: Path, damaged: Path, other: Path, judged: Path
) -> dict[str, list[str]]:
    """The commands that are measured, by how they are shown; those after `classroom` refuse.

    Parameters
    ----------
    odd : a table without a column that is known.
    oops : estimates of mastery, one of which is not a number.
    damaged : a run with a wrong bit in its weights.
    other : the demo's run with other test learners.
    judged : the demo's run with its report.
    """
    experiment = ["--data", str(answers), "--outcome", str(answers), "--condition", "dose"]
    kt = [sys.executable, "-m", "kt_core"]
    return {
        PYTHON: [sys.executable, "-c", "pass"],
        "--version": [*kt, "--version"],
        "--help": [*kt, "--help"],
        "presets standard": [*kt, "presets", "standard"],
        "look (2,400 answers)": [*kt, "look", str(answers)],
        "import pandas": [sys.executable, "-c", "import pandas"],
        "import torch": [sys.executable, "-c", "import torch"],
        "predict (2,400 answers)": [
            *(*kt, "predict", str(STORED), "--data", str(answers)),
            *("--out", str(answers.with_name("predicted.csv"))),
        ],
        "classroom (2,400 answers)": [
            *(*kt, "classroom", str(judged), "--data", str(answers)),
            *("--out", str(answers.with_name("class"))),
        ],
        "train --data ODD": [*kt, "train", "--data", str(odd)],
        "class ODD": [*kt, "class", str(odd)],
        "worlds --models GPT": [*kt, "worlds", "--models", "GPT"],
        "benchmark --only GPT": [*kt, "benchmark", "--only", "GPT"],
        "validate DAMAGED": [*kt, "validate", str(damaged)],
        "validate RUN OTHER": [*kt, "validate", str(STORED), str(other)],
        "audit OOPS": [
            *(*kt, "audit", "--sees", "pre", "--mastery", str(oops), "--responses", str(answers)),
            *("--out", str(oops.with_name("audit"))),
        ],
        "experiment --condition ABSENT": [
            *(*kt, "experiment", *experiment, "--out", str(oops.with_name("experiment"))),
        ],
        "worlds --jobs 0": [*kt, "worlds", "--jobs", "0"],
        "criterion ODD": [*kt, "criterion", str(STORED), "--scores", str(odd)],
        "classroom --out THERE": [*kt, "classroom", str(STORED), "--out", str(damaged)],
        "predict --out TXT": [
            *(*kt, "predict", str(STORED), "--data", str(answers), "--out", "predicted.txt"),
        ],
    }


def seconds(command: list[str]) -> tuple[float, float]:
    """Wall clock and processor time of one call."""
    written = Path(command[-1])
    if written.name == "class":  # of the call before
        shutil.rmtree(written, ignore_errors=True)
    begin, before = time.perf_counter(), _of_children()
    done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    if done.returncode not in (0, REFUSED):
        raise SystemExit(f"{shlex.join(command)}: exit code {done.returncode}")
    return time.perf_counter() - begin, _of_children() - before


def _of_children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def measured(repeats: int, only: str = "") -> pd.DataFrame:
    """The best of several calls, in turn; `ratio` is to Python itself, in processor time.

    Parameters
    ----------
    only : which commands besides Python itself, as a regular expression.
    """
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
        oops, other = Path(scratch, "oops.csv"), Path(scratch, "other")
        oops.write_text("learner,step,skill,mastery\nu,1,s,oops\n")
        shutil.copytree(STORED, other)
        saved = json.loads((other / "config.json").read_text(encoding="utf-8"))
        saved["config"]["data"]["split_seed"] += 1
        (other / "config.json").write_text(json.dumps(saved), encoding="utf-8")
        judged = Path(scratch, "judged")
        shutil.copytree(STORED, judged)
        seconds([sys.executable, "-m", "kt_core", "validate", str(judged)])
        for _ in range(repeats):
            for name, command in calls(answers, odd, oops, damaged, other, judged).items():
                if name != PYTHON and not re.search(only, name):
                    continue
                found.setdefault(name, []).append(seconds(command))
    best = pd.DataFrame({name: np.min(pairs, axis=0) for name, pairs in found.items()}).T
    best.columns = ["wall, s", "processor, s"]
    best["ratio"] = best["processor, s"] / best.loc[PYTHON, "processor, s"]
    return best.rename_axis("command").reset_index()


if __name__ == "__main__":
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--repeats", type=int, default=5)
    arguments.add_argument("--only", default="", help="commands, as a regular expression")
    given = arguments.parse_args()
    table = measured(given.repeats, given.only)
    print(markdown(table.assign(ratio=table["ratio"].map("{:.0f}".format)), digits=2))
