"""Time and memory on a data set larger than memory: simulated, converted, read in training, and
predicted.

python benchmarks/large.py --rows 1e8 --folder /somewhere/with/10GB

Each part runs in a separate process, whose peak resident memory is printed. The parts convert the
CSV file, then run some steps of training and the evaluation for a report. The latter part runs
twice, because the first time writes the splits. The last part is `predict` for all learners, by a
model that is trained for an epoch on some others. `--parts` chooses. Resident memory includes pages
of mapped files, which the system may reclaim at any time; `anonymous` is what the process itself
holds.
"""

from __future__ import annotations

import argparse
import dataclasses
import resource
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv as pacsv
import torch

from kt_core.cli.commands import main as main_of
from kt_core.config import with_overrides
from kt_core.data import loader
from kt_core.data.registry import read_splits
from kt_core.data.store.convert import convert
from kt_core.evaluation.evaluate import evaluate
from kt_core.presets import preset
from kt_core.studies.benchmark import markdown
from kt_core.training.module import KTModule, new_model

BLOCK = 1_000_000
STEPS, SKILLS = 100, 200  # mean steps per learner; number of skills
TRAINING_STEPS = 200
OTHERS, RUN = 200_000, "others"  # answers that the predicting model is trained on; its name
PARTS = (
    "simulate",
    "convert",
    "read for the first time",
    "read again",
    "train on others",
    "predict",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=float, default=1e8)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    args = parser.parse_args()
    args.folder.mkdir(parents=True, exist_ok=True)
    source, target = args.folder / "answers.csv", args.folder / "answers.stored"
    parts = {
        "simulate": (simulate, int(args.rows), source),
        "convert": (convert, source, target),
        "read for the first time": (read, target),
        "read again": (read, target),
        "train on others": (train_on_others, args.folder),
        "predict": (predict_all, args.folder, target),
    }
    rows = []
    for name in args.parts:
        call, *given = parts[name]
        with ProcessPoolExecutor(1, get_context("spawn")) as pool:
            rows.append({"part": name} | pool.submit(measured, call, *given).result())
        print(rows[-1], flush=True)
    print(markdown(pd.DataFrame(rows)))


def measured(call: Callable, *given: object) -> dict[str, float]:
    """Return seconds and memory of a call, imports included."""
    started = time.perf_counter()
    more = call(*given)
    return {
        "seconds": time.perf_counter() - started,
        "resident, MiB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "anonymous at the end, MiB": _anonymous(),
        **(more if isinstance(more, dict) else {}),
    }


def simulate(rows: int, target: Path) -> None:
    """Write simulated learners; answers depend on ability, skill and practice."""
    rng, learner = np.random.default_rng(0), 0
    hard = rng.normal(0, 1, SKILLS)
    types = pa.schema([("user", pa.int64()), ("skill", pa.int64()), ("correct", pa.int64())])
    with pacsv.CSVWriter(target, types) as writer:
        for begin in range(0, rows, BLOCK):
            n = min(BLOCK, rows - begin)
            user = learner + np.sort(rng.integers(0, max(1, n // STEPS), n))
            learner = user[-1] + 1
            step = np.arange(n) - np.searchsorted(user, user)
            skill = (step // 8 * 7 + user) % SKILLS
            logit = rng.normal(0, 1, user[-1] + 1 - user[0])[user - user[0]] - hard[skill]
            right = rng.random(n) < 1 / (1 + np.exp(-logit - 0.1 * (step % 8)))
            columns = [user, skill, right.astype(np.int64)]
            writer.write_table(pa.table([pa.array(c) for c in columns], types))


def read(target: Path) -> dict[str, float]:
    """Run part of a training epoch on all learners, and evaluate as many as a report does."""
    torch.set_num_threads(2)
    config = with_overrides(preset("quick"), {"data.path": str(target), "train.epochs": 1})
    splits = read_splits(config)
    opened = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    module = KTModule(new_model(config.model, splits), config)
    optimizer = torch.optim.AdamW(module.parameters(), lr=1e-3, fused=True)
    batches = loader(splits.train, config.train.tokens_per_batch, shuffle=True)
    batches.sampler.set_epoch(0)
    n, started = 0, time.perf_counter()
    for step, batch in enumerate(batches):
        if step == TRAINING_STEPS:
            break
        optimizer.zero_grad()
        module.total(module.terms(batch)).backward()
        optimizer.step()
        n += int(batch.valid.sum())
    seconds = time.perf_counter() - started
    few = dataclasses.replace(splits, test=splits.test.sample(2000))
    evaluate(module.model, few.test, flips=False)
    return {
        "interactions": splits.train.interactions + splits.valid.interactions,
        "steps of an epoch": len(batches),
        "training, 1/s": n / seconds,
        "resident when opened, MiB": opened,
    }


def train_on_others(folder: Path) -> None:
    """A run on learners who answer questions on the same skills."""
    simulate(OTHERS, folder / "others.csv")
    data = ["--data", str(folder / "others.csv"), "--preset", "quick"]
    command = ["train", *data, "--set", "train.epochs=1", "--name", RUN, "--out", str(folder)]
    if main_of(command):
        raise SystemExit("the training failed")


def predict_all(folder: Path, target: Path) -> None:
    """Mastery of every learner of the store, in a file, with one thread."""
    torch.set_num_threads(1)
    table = str(folder / "mastery.parquet")
    if main_of(["predict", str(folder / RUN), "--data", str(target), "--out", table]):
        raise SystemExit("the prediction failed")


def _anonymous() -> float:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon"):
            return int(line.split()[1]) / 1024
    return np.nan


if __name__ == "__main__":
    main()
