"""Does any model predict unpredictable answers? Answers are shuffled within each skill.

python benchmarks/leaks.py                                     # 2,000 simulated learners
python benchmarks/leaks.py --dataset assist2015 --epochs 3     # public data, from KT_DATA_DIR
python benchmarks/leaks.py --print                             # the table for docs/robustness.md

When answers are shuffled among all learners who answered on the same skill, earlier answers carry
no information about an answer. Every model is trained on such data with the sizes of preset `quick`
and predicts test learners whose answers are shuffled too. Among answers on the same skill, the AUC
must then be 0.5 within sampling error. A higher value means that the model sees the answer.
"""

from __future__ import annotations

import argparse
import dataclasses
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from kt_core.baselines.neural import TRAINING, NeuralTracer, Shape
from kt_core.baselines.registry import baselines
from kt_core.config import RunConfig, with_overrides
from kt_core.data import Dataset, Splits, load_dataset, make_splits
from kt_core.evaluation.beliefs import Beliefs
from kt_core.evaluation.evaluate import evaluate
from kt_core.metrics.agreement import degree_of_agreement
from kt_core.metrics.bootstrap import Bootstrap
from kt_core.presets import preset
from kt_core.studies.benchmark import markdown
from kt_core.studies.models import OURS, models
from kt_core.training.train import train

TABLE = Path(__file__).resolve().with_suffix(".csv")
KEYS = ["data", "model", "seed"]
LIMIT = 3.3  # standard errors; chance exceeds this once in a thousand times


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dataset", default="simulated")
    parser.add_argument("--learners", type=int, default=2000, help="simulated ones")
    parser.add_argument("--epochs", type=int, default=10, help="at most")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--only", default="", help="models whose name contains this")
    parser.add_argument("--print", action="store_true", help="train nothing")
    args = parser.parse_args()
    torch.set_num_threads(1)
    done = pd.read_csv(TABLE) if TABLE.is_file() else pd.DataFrame(columns=KEYS)
    chosen = {"data.dataset": args.dataset, "data.learners": args.learners}
    chosen |= {"train.epochs": args.epochs, "train.progress": False}
    for seed in [] if args.print else range(args.seeds):
        config = with_overrides(preset("quick"), chosen | {"train.seed": seed})
        splits = make_splits(shuffled_within_skill(load_dataset(config.data), seed), config.data)
        for model in [m for m in models() if args.only in m]:
            row = {"data": args.dataset, "model": model, "seed": seed}
            done = done[(done[KEYS] != list(row.values())).any(axis=1)]
            done = pd.concat([done, pd.DataFrame([row | tried(model, config, splits)])])
            done.to_csv(TABLE, index=False)
    print(markdown(done))
    far = done[done["standard errors"].abs() > LIMIT]
    print("no leak found" if far.empty else f"beyond chance: {', '.join(far['model'])}")


def shuffled_within_skill(dataset: Dataset, seed: int) -> Dataset:
    """Return the data set with each skill's answers shuffled over all learners."""
    rng = np.random.default_rng(seed)
    table = dataset.table.drop(columns=[c for c in dataset.table if c.startswith("true_")])
    mixed = table.groupby("skill")["correct"].transform(rng.permutation)
    return dataclasses.replace(dataset, table=table.assign(correct=mixed), simulation=None)


def within_skill_auc(beliefs: Beliefs, bootstrap: Bootstrap) -> tuple[float, float]:
    """AUC of predictions among answers on the same skill, and its standard error over learners."""
    rows = beliefs.predicted
    columns = (rows[name].to_numpy() for name in ("predicted", "correct", "learner", "skill"))
    draws = degree_of_agreement(*columns, bootstrap)[0]
    return float(draws[0]), float(np.nanstd(draws[1:]))


def tried(model: str, config: RunConfig, splits: Splits) -> dict[str, float]:
    """Train one model and measure how it ranks the answers of test learners."""
    started = time.perf_counter()
    if model in OURS:
        with tempfile.TemporaryDirectory() as folder:
            own = with_overrides(config, {"model.mode": model})
            run = train(own, splits, Path(folder) / "run")
        beliefs = evaluate(run.model, splits.test, flips=False)
    else:
        tracer = baselines()[model]()
        if isinstance(tracer, NeuralTracer):
            shape = Shape(config.model.d_model, config.model.heads, config.model.blocks)
            fewer = dataclasses.replace(TRAINING, epochs=config.train.epochs)
            tracer = type(tracer)(shape, fewer)
        tracer.fit(splits, config.train.seed)
        beliefs = Beliefs.of(splits.test, tracer.trace(splits.test))
    learners = len(beliefs.learners)
    auc, error = within_skill_auc(beliefs, Bootstrap(learners, 200))
    return {
        "test learners": learners,
        "answers": len(beliefs.predicted),
        "AUC within skill": auc,
        "standard error": error,
        "standard errors": (auc - 0.5) / error if error else 0.0,
        "seconds": time.perf_counter() - started,
    }


if __name__ == "__main__":
    main()
