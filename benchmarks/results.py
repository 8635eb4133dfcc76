"""Make docs/results.md's tables: train what is missing under runs/results/, then print them.

python benchmarks/results.py             # hours on two cores; finished runs are kept
python benchmarks/results.py --only assist2015
python benchmarks/results.py --print     # only the tables of what is there
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pandas as pd

ROOT = Path(__file__).resolve().parents[1]
OUT = ROOT / "runs" / "results"

FULL = {  # name -> arguments of `python -m kt_core run --preset standard`
    "assist2015-cumulative-s0": "--dataset assist2015 --mode cumulative --seed 0",
    "assist2015-cumulative-s1": "--dataset assist2015 --mode cumulative --seed 1",
    "assist2015-cumulative-s2": "--dataset assist2015 --mode cumulative --seed 2",
    "assist2015-cumulative-monitored": "--dataset assist2015 --mode cumulative --loss monitored",
    "assist2015-projection-bce": "--dataset assist2015 --mode projection --loss bce",
    "assist2015-projection-monitored": "--dataset assist2015 --mode projection --loss monitored",
    "assist2009-cumulative": "--dataset assist2009 --mode cumulative",
    "statics2011-cumulative": "--dataset statics2011 --mode cumulative",
    "simulated-cumulative": "--dataset simulated --mode cumulative",
}
# What closes the gap: one thing taken away at a time, judged on validation learners alone. With
# BCE alone the mode makes no difference to the predictions. Ten epochs are compared.
ABLATION_EPOCHS = 10
WHOLE = "assist2015-projection-bce"
ABLATIONS = {
    "original": "--set model.position=absolute --set model.start_token=false --set model.recent=0",
    "no-recent": "--set model.recent=0",
    "no-start-token": "--set model.start_token=false",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="names that contain this")
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time")
    parser.add_argument("--print", action="store_true", help="train nothing")
    args = parser.parse_args()
    calls = {name: ["run", *rest.split()] for name, rest in FULL.items()}
    for name, rest in ABLATIONS.items():
        calls[f"ablation-{name}"] = ["train", *FULL[WHOLE].split(), *rest.split()]
        calls[f"ablation-{name}"] += ["--set", f"train.epochs={ABLATION_EPOCHS}"]
    if not args.print:
        chosen = {n: c for n, c in calls.items() if args.only in n}
        with ThreadPoolExecutor(args.jobs) as pool:
            list(pool.map(lambda item: _run(*item, args.jobs), chosen.items()))
    print(_markdown(full_table()))
    print()
    print(_markdown(ablation_table()))


def _run(name: str, call: list[str], jobs: int) -> None:
    wanted = "metrics.json" if call[0] == "run" else "model.safetensors"
    if (OUT / name / wanted).exists():
        return
    OUT.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "kt_core"]
    if (OUT / name).exists():  # trained, but its report failed
        command += ["validate", str(OUT / name)]
    else:
        command += [*call, "--preset", "standard", "--name", name, "--out", str(OUT)]
    threads = {"OMP_NUM_THREADS": str(max(1, (os.cpu_count() or 1) // jobs))}
    with open(OUT / f"{name}.log", "w") as log:
        code = subprocess.run(command, stdout=log, stderr=log, env=os.environ | threads, cwd=ROOT)
    print(f"{name}: exit {code.returncode}", file=sys.stderr, flush=True)


def full_table() -> pd.DataFrame:
    """One row per finished run."""
    rows = []
    for name in FULL:
        path = OUT / name / "metrics.json"
        if not path.exists():
            continue
        m = json.loads(path.read_text())
        epochs = pd.read_csv(OUT / name / "history.csv")["seconds"]
        by_name = {v["constraint"]: v for v in m["violations"]}
        broken = [by_name[c] for c in ("monotonicity", "negative_gains", "bounds")]
        shares = [f"{v['share']:.2%}" if v["broken"] else "0" for v in broken]
        test = next(r for r in m["prediction"] if r["quality"] == "AUC")
        rows.append(
            {
                "run": name,
                "AUC valid": _estimate(m["valid_auc"], 4),
                "AUC test": _estimate(test, 4),
                "falls / negative / out of bounds": " / ".join(shares),
                "mastery-response (pre)": _association(m, "mastery-response"),
                "model's own r(p, r)": _association(
                    m, "mastery-response", predictor="model's own prediction"
                ),
                "prospective, learner x skill (pre)": _association(
                    m, "prospective validity, learner x skill"
                ),
                "prospective, counter null": _association(
                    m, "prospective validity, learner x skill", predictor="success counter"
                ),
                "gain-correctness (post)": _association(m, "gain-correctness"),
                "mastery-prediction (post)": _association(m, "mastery-prediction", "skill_average"),
                "epochs": f"{m['best_epoch']} of {len(epochs)}",
                "s per epoch": f"{epochs.median():.0f}",
            }
        )
    return pd.DataFrame(rows)


def ablation_table() -> pd.DataFrame:
    """Best validation AUC of ten epochs, of each ablation beside the whole model."""
    rows = []
    for name in (WHOLE, *(f"ablation-{n}" for n in ABLATIONS)):
        path = OUT / name / "history.csv"
        if path.exists():
            history = pd.read_csv(path)[:ABLATION_EPOCHS]
            best = history["valid/auc"].idxmax()
            auc = f"{history['valid/auc'][best]:.4f}"
            rows.append({"model": name, "AUC valid": auc, "epoch": best + 1})
    return pd.DataFrame(rows)


def _markdown(table: pd.DataFrame) -> str:
    lines = [list(table.columns), ["---"] * len(table.columns), *table.astype(str).to_numpy()]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _association(m: dict, measure: str, variant: str = "pooled", predictor: str = "model") -> str:
    for row in m["associations"]:
        if (row["measure"], row["variant"], row["predictor"]) == (measure, variant, predictor):
            return _estimate(row, 3)
    return ""


def _estimate(row: dict, digits: int) -> str:
    if row["value"] is None or row["low"] is None:
        return "not defined" if row["value"] is None else f"{row['value']:.{digits}f}"
    return f"{row['value']:.{digits}f} [{row['low']:.{digits}f}, {row['high']:.{digits}f}]"


if __name__ == "__main__":
    main()
