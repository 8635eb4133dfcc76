"""Variants of the model, one change at a time, judged on ASSISTments 2015 validation learners.

python benchmarks/variants.py --jobs 2    # trains those missing in benchmarks/variants.csv
python benchmarks/variants.py --print     # the table for docs/results.md

Each trains twelve epochs of preset `quick` with seed 0; the table takes half an hour. Two held-out
losses decide: that of the next answer, and that of answers hidden from the belief in a history.
"""

from __future__ import annotations

import argparse
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pandas as pd
import torch

from kt_core.config import with_overrides
from kt_core.data.registry import read_splits
from kt_core.evaluation.evaluate import evaluate
from kt_core.evaluation.masked import gain_necessity, hidden_answers
from kt_core.evaluation.measures import association_table
from kt_core.metrics.bootstrap import Bootstrap
from kt_core.presets import preset
from kt_core.report.examine import training_rates
from kt_core.studies.benchmark import markdown
from kt_core.training.train import train

HERE = Path(__file__).resolve().parent
TABLE, RUNS = HERE / "variants.csv", HERE.parent / "runs" / "variants"
EPOCHS = 12
BASE = {"data.dataset": "assist2015", "train.epochs": EPOCHS, "train.progress": False}
VARIANTS = {
    "as shipped": {},
    "no forecast term": {"loss.forecast": 0},
    "forecast term 1": {"loss.forecast": 1},
    "nothing hidden": {"train.hide": 0},
    "hidden in half of the sequences": {"train.hide_in": 0.5},
    "no transfer between skills": {"model.transfer": False},
    "no fading sums": {"model.fading": 0},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--only", default="", help="variants whose name contains this")
    parser.add_argument("--print", action="store_true", help="train nothing")
    args = parser.parse_args()
    done = pd.read_csv(TABLE) if TABLE.is_file() else pd.DataFrame(columns=["variant"])
    names = [n for n in VARIANTS if n not in set(done["variant"]) and args.only in n]
    if not args.print and names:
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(args.jobs, context) as pool:
            for row in pool.map(tried, names):
                done = pd.concat([done, pd.DataFrame([row])], ignore_index=True)
                done.to_csv(TABLE, index=False)
    order = {name: i for i, name in enumerate(VARIANTS)}
    done = done.sort_values("variant", key=lambda names: names.map(order))
    print(markdown(done))


def tried(name: str) -> dict[str, float | str]:
    """Train one variant and measure it on validation learners."""
    torch.set_num_threads(1)
    config = with_overrides(preset("quick"), BASE | VARIANTS[name])
    splits = read_splits(config)
    run = train(config, splits, RUNS / name.replace(" ", "-").replace(",", ""))
    history = run.table("history.csv")
    best = history.loc[history["valid/auc"].idxmax()]
    bootstrap = Bootstrap(len(splits.valid.learners), 20)
    hidden = gain_necessity(hidden_answers(run.model, splits.valid), bootstrap)
    hidden = hidden.set_index("quantity")["value"]
    table = association_table(evaluate(run.model, splits.valid), training_rates(splits), bootstrap)
    own = table[(table["kind"] == "model") & (table["variant"] == "pooled")].set_index("measure")
    return {
        "variant": name,
        "valid AUC": best["valid/auc"],
        "epoch": int(best["epoch"]) + 1,
        "next-step loss": best["valid/loss"],
        "loss of hidden answers": hidden["log loss, gains as they are"],
        "a flat trajectory costs": hidden["flat at the same level, minus as they are"],
        "prospective validity": own.loc["prospective validity, learner x skill", "value"],
    }


if __name__ == "__main__":
    main()
