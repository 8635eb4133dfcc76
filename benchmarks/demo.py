"""The small finished run behind `kt_core.demo()`, made again: a minute on one core.

make demo    # or: python benchmarks/demo.py
"""

from __future__ import annotations

import dataclasses
import os
import shutil

from kt_core.data import load_dataset, make_splits
from kt_core.data.kept import IN_RUN
from kt_core.presets import configure
from kt_core.runs.run import Run
from kt_core.tracing.demo import STORED
from kt_core.tracing.training import trained

OVERRIDES = {"data.learners": 200, "model.d_model": 32, "model.heads": 2, "model.d_ff": 64}


def make() -> Run:
    """Train on simulated learners, whose answers are kept in the run with their true mastery."""
    config = configure("quick", "simulated", overrides=OVERRIDES)
    dataset = load_dataset(config.data)
    config = dataclasses.replace(config, data=dataclasses.replace(config.data, path=IN_RUN))
    shutil.rmtree(STORED, ignore_errors=True)
    return trained(config, make_splits(dataset, config.data), STORED, progress=True)


if __name__ == "__main__":
    os.environ["KT_COMMAND"] = "make demo"  # in its provenance
    run = make()
    size = sum(file.stat().st_size for file in run.path.iterdir())
    print(f"{run.path}: {size / 1000:.0f} kB")
