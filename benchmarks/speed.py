"""Speed of training and reading, in one table measured on one machine and data set.

python benchmarks/speed.py                  # the table; some ten minutes
python benchmarks/speed.py --linear         # cost from 10^4 to 10^7 interactions, with a figure
python benchmarks/speed.py --until 0.725    # wall time to a validation AUC, for our model and DKT
python benchmarks/speed.py --skills 100 1000 5000    # memory and time by number of skills

Each row trains two epochs through the Lightning loop of `kt_core train` (collation, optimiser,
averaging of weights, and the monitor if it is on) and times the second, without validation and
without the skeleton, which is fitted once and before. All networks have d_model 128 and, where they
have blocks, two; rows "as shipped" have the smaller network of `standard`. Rows run in separate
processes, so that peak memory is measured for each. The slow reference is `slow_reference.py`. Rows
of the published pyKT package appear where it is installed (`pykt_rates.py` says how).

The machine's rate of matrix multiplication is measured after each of our rows. The share of matrix
rate refers to the best of these rates and counts only the multiplications of the model (half of
those in attention, which is causal). The table shows the best of `--repeats` measurements of a
rate, and the largest of memory and of the monitor's share.
"""

from __future__ import annotations

import argparse
import dataclasses
import multiprocessing
import resource
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import lightning as L
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pykt_rates as pykt
import slow_reference as slow
import torch
from matplotlib.figure import Figure
from torch.utils.flop_counter import FlopCounterMode, sdpa_backward_flop_count, sdpa_flop_count

from kt_core import plots
from kt_core.base.devices import for_reading
from kt_core.baselines.akt import AKTNetwork
from kt_core.baselines.networks import SAKTNetwork, SimpleKTNetwork
from kt_core.config import RunConfig, TrainConfig, with_overrides
from kt_core.data import Splits, loader
from kt_core.data.batches import reading_tokens
from kt_core.data.registry import read_splits
from kt_core.data.sequences import Sequences, Vocabulary
from kt_core.evaluation.evaluate import evaluate
from kt_core.monitor import Monitor
from kt_core.plots.style import CYCLE
from kt_core.presets import preset
from kt_core.recurrent import DKTNetwork, Shape
from kt_core.studies.benchmark import markdown
from kt_core.training.fit import NextStep, fit
from kt_core.training.module import KTModule, new_model

OURS = ("retrospective", "cumulative", "projection")
BASELINES = {
    "DKT": DKTNetwork,
    "SAKT": SAKTNetwork,
    "simpleKT": SimpleKTNetwork,
    "AKT": AKTNetwork,
}
WIDE = {  # the network of the comparison
    "model.d_model": 128,
    "model.d_ff": 256,
    "model.heads": 8,
    "model.blocks": 2,
    "model.dropout": 0.3,
    "train.tokens_per_batch": 2048,
}
SHIPPED = " as shipped"  # ends the names of rows with the network of `standard`
PYKT = "pyKT "  # begins the names of rows of the package
SLOW_BATCHES = 30


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dataset", default="assist2015")
    parser.add_argument("--learners", type=int, default=4000, help="training learners, at most")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--only", default="", help="rows whose name contains this")
    parser.add_argument("--linear", action="store_true")
    parser.add_argument("--until", type=float, help="a validation AUC")
    parser.add_argument("--skills", type=int, nargs="+", help="numbers of skills")
    args = parser.parse_args()
    if args.linear:
        linear(args)
    elif args.skills:
        rows = [in_process(many_skills, args, m, C) for m in OURS[:2] for C in args.skills]
        print(markdown(pd.DataFrame(rows)))
    elif args.until:
        print(markdown(pd.DataFrame([until(args, name) for name in ("retrospective", "DKT")])))
    else:
        print(markdown(table(args)))


def table(args: argparse.Namespace) -> pd.DataFrame:
    """Measure all rows; rates are in interactions per second."""
    names = [f"{mode}, {m}" for mode in OURS for m in ("monitor on", "monitor off")]
    names = ["slow reference, monitor on", "slow reference, monitor off", *names, *BASELINES]
    names += [f"{mode}{SHIPPED}, monitor on" for mode in OURS]
    if pykt.installed():
        names += [PYKT + model for model in pykt.BATCH]
    else:
        print(f"no rows of pyKT, which is not installed ({pykt.INSTALL})")
    names = [name for name in names if args.only in name]
    measured = [in_process(row, args, name) for _ in range(args.repeats) for name in names]
    best = pd.DataFrame(measured).groupby("model", sort=False).max().reset_index()
    flops, products = best.pop("flops"), best.pop("products, 1/s")
    best["share of matrix rate"] = best["training, 1/s"] * flops / products.max()
    print(f"products of matrices: {products.max() / 1e9:.0f} GFLOP/s")
    if (reference := best["model"] == "slow reference, monitor on").any():
        base = best.loc[reference, ["training, 1/s", "reading, 1/s"]].iloc[0]
        best["training, times slow"] = best["training, 1/s"] / base.iloc[0]
        best["reading, times slow"] = best["reading, 1/s"] / base.iloc[1]
    for model in pykt.BATCH:
        if (theirs := best["model"] == PYKT + model).any():
            rate = best.loc[theirs, "training, 1/s"].iloc[0]
            best[f"training, times {PYKT}{model}"] = best["training, 1/s"] / rate
    return best


def in_process(call: Any, *args: Any) -> Any:
    """Return the result of a call in a separate process."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, context) as pool:
        return pool.submit(call, *args).result()


def row(args: argparse.Namespace, name: str) -> dict[str, float | str]:
    """Measure training and reading of one model."""
    torch.set_num_threads(args.threads)
    model, _, monitored = name.partition(", monitor ")
    wide = {} if model.endswith(SHIPPED) else WIDE
    model = model.removesuffix(SHIPPED)
    config = with_overrides(
        preset("standard"),
        {"data.dataset": args.dataset, "train.epochs": 2, "train.progress": False}
        | {"train.skeleton_steps": 20}  # not timed
        | (wide | {"model.mode": model} if model in OURS else {}),
    )
    splits = sample(read_splits(config), args.learners)
    before = peak()
    if model == "slow reference":
        C = len(splits.vocabulary.skills)
        training = slow.train_rate(splits.train, C, SLOW_BATCHES, monitored == "on")
        after = peak()
        reading = slow.read_rate(splits.train, C, SLOW_BATCHES)
        flops = products = monitor = np.nan
    elif model.startswith(PYKT):
        training = pykt.train_rate(model.removeprefix(PYKT), splits)
        after, reading = peak(), np.nan
        flops = products = monitor = np.nan
    else:
        module = module_for(model, config, splits)
        flops = matrix_flops(module, splits, config.train) if model in OURS else np.nan
        training, monitor = train_rate(module, splits, config.train, monitored == "on")
        after = peak()
        reading = read_rate(module, splits)
        products = matmul_rate()
    return {
        "model": name,
        "training, 1/s": training,
        "reading, 1/s": reading,
        "memory of training, MiB": after - before,
        "flops": flops,
        "products, 1/s": products,
        "monitor, share of the epoch": monitor,
    }


def sample(splits: Splits, learners: int) -> Splits:
    """Keep `learners` training learners, and 50 for validation, which is not timed."""
    return dataclasses.replace(
        splits, train=splits.train.sample(learners), valid=splits.valid.sample(50)
    )


def module_for(model: str, config: RunConfig, splits: Splits) -> NextStep:
    """Make a model to train: one of ours, or a baseline of the same width."""
    L.seed_everything(0, verbose=False)
    if model in OURS:
        return KTModule(new_model(config.model, splits), config)
    v = splits.vocabulary
    network = BASELINES[model](Shape(), len(v.skills), len(v.items))
    return NextStep(network, config.train)


class Clock(L.Callback):
    """Measures the seconds of each epoch's training batches."""

    def __init__(self) -> None:
        self.epochs: list[float] = []

    def on_train_epoch_start(self, trainer: L.Trainer, module: Any) -> None:
        """Start the clock."""
        self._since = time.perf_counter()

    def on_validation_start(self, trainer: L.Trainer, module: Any) -> None:
        """Stop the clock, because the training part ends where validation begins."""
        self.epochs.append(time.perf_counter() - self._since)


class Watched(Monitor):
    """A monitor that measures the seconds it takes in each epoch."""

    seconds = 0.0

    def on_train_epoch_start(self, trainer: L.Trainer, module: Any) -> None:
        """Reset the seconds."""
        self.seconds = 0.0

    def on_before_optimizer_step(self, *args: Any) -> None:
        """Add the time for the norm of the gradients."""
        started = time.perf_counter()
        super().on_before_optimizer_step(*args)
        self.seconds += time.perf_counter() - started

    def on_train_batch_end(self, *args: Any) -> None:
        """Add the time for all measures of the states."""
        started = time.perf_counter()
        super().on_train_batch_end(*args)
        self.seconds += time.perf_counter() - started


def train_rate(
    module: NextStep, splits: Splits, t: TrainConfig, monitored: bool
) -> tuple[float, float]:
    """Interactions per second in the last epoch, and the monitor's share of its time."""
    clock, monitor = Clock(), Watched(t.monitor_every)
    fit(module, splits, t, [clock, *([monitor] if monitored else [])])
    seconds = clock.epochs[-1]
    return splits.train.interactions / seconds, monitor.seconds / seconds if monitored else np.nan


@torch.no_grad()
def read_rate(module: NextStep, splits: Splits) -> float:
    """Interactions per second without gradients, with the batches and device of evaluation; the
    second of two passes counts."""
    with for_reading(module.model) as device:
        for _ in range(2):
            started = time.perf_counter()
            for batch in loader(splits.train, reading_tokens(device)):
                batch = batch.to(device)
                module.model(batch.skills, batch.responses, batch.items)
            if device.type == "cuda":
                torch.cuda.synchronize()
            seconds = time.perf_counter() - started
    return splits.train.interactions / seconds


def matrix_flops(module: NextStep, splits: Splits, t: TrainConfig, most: int = 20) -> float:
    """Floating-point operations of matrix multiplications in training, per interaction, counted on
    the CPU in `most` batches."""
    ops = torch.ops.aten

    def forward(q: Any, k: Any, v: Any, *rest: Any, **more: Any) -> int:
        return sdpa_flop_count(q, k, v) // 2

    def backward(gradient: Any, q: Any, k: Any, v: Any, *rest: Any, **more: Any) -> int:
        return sdpa_backward_flop_count(gradient, q, k, v) // 2

    mine = {
        ops._scaled_dot_product_flash_attention_for_cpu: forward,
        ops._scaled_dot_product_flash_attention_for_cpu_backward: backward,
    }
    batches = list(loader(splits.train, t.tokens_per_batch, shuffle=True))[:most]
    module.train()
    with FlopCounterMode(display=False, custom_mapping=mine) as counter:
        for batch in batches:
            module.total(module.terms(batch)).backward()
    module.zero_grad()
    return counter.get_total_flops() / sum(int(b.valid.sum()) for b in batches)


def matmul_rate(n: int = 1024, times: int = 40) -> float:
    """Operations per second of a large matrix multiplication."""
    a, b = torch.randn(2, n, n).unbind()
    a @ b
    started = time.perf_counter()
    for _ in range(times):
        a @ b
    return 2 * n**3 * times / (time.perf_counter() - started)


def peak() -> float:
    """Peak resident memory of this process so far, MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


class Until(L.Callback):
    """Ends training at a validation AUC and records the wall time."""

    def __init__(self, auc: float):
        self.auc, self.started, self.seconds = auc, time.perf_counter(), np.nan

    def on_validation_end(self, trainer: L.Trainer, module: Any) -> None:
        """Compare the AUC; the wall time includes validation."""
        if float(trainer.callback_metrics["valid/auc"]) >= self.auc:
            self.seconds = time.perf_counter() - self.started
            trainer.should_stop = True


def until(args: argparse.Namespace, model: str) -> dict[str, Any]:
    """Measure wall time and epochs to a validation AUC, with the monitor on for our model."""
    torch.set_num_threads(args.threads)
    config = with_overrides(
        preset("standard"), {"data.dataset": args.dataset, "train.progress": False}
    )
    splits = read_splits(config)
    module, clock = module_for(model, config, splits), Clock()
    stop = Until(args.until)
    watch = [Monitor(config.train.monitor_every)] if model in OURS else []
    fit(module, splits, config.train, [clock, stop, *watch])
    return {
        "model": model,
        f"seconds to validation AUC {args.until}": stop.seconds,
        "epochs": len(clock.epochs),
    }


def many_skills(args: argparse.Namespace, mode: str, C: int) -> dict[str, Any]:
    """Measure an epoch of training with the monitor on, and the evaluation for a report, on 1,600
    simulated learners whose answers are assigned to C skills at random."""
    torch.set_num_threads(args.threads)
    config = with_overrides(
        preset("standard"),
        {"data.learners": 1600, "model.mode": mode, "train.epochs": 1, "train.progress": False},
    )
    splits, rng = read_splits(config), np.random.default_rng(0)

    def spread(part: Sequences) -> Sequences:
        skill = rng.integers(C, size=part.interactions)
        return dataclasses.replace(part, skill=skill, item=np.zeros_like(skill), truth={})

    names = Vocabulary(tuple(f"skill {i}" for i in range(C)))
    parts = {name: spread(getattr(splits, name)) for name in ("train", "valid", "test")}
    splits = dataclasses.replace(splits, vocabulary=names, **parts)
    module, clock = module_for(mode, config, splits), Clock()
    before = peak()
    fit(module, splits, config.train, [clock, Monitor(config.train.monitor_every)])
    trained, started = peak(), time.perf_counter()
    beliefs = evaluate(module.model, splits.test)
    return {
        "model": mode,
        "skills": C,
        "training, 1/s": splits.train.interactions / clock.epochs[-1],
        "memory of training, MiB": trained - before,
        "reading for a report, 1/s": len(beliefs.frame) / (time.perf_counter() - started),
        "memory of it beyond that, MiB": peak() - trained,
    }


def linear(args: argparse.Namespace) -> None:
    """Time a training epoch (monitor on) and a reading of 10^4 to 10^7 simulated interactions."""
    torch.set_num_threads(args.threads)
    config = with_overrides(
        preset("standard"),
        {"data.learners": 4000, "train.epochs": 2, "train.progress": False},
    )
    splits = read_splits(config)
    rows = []
    for n in np.logspace(4, 7, 7).astype(int).tolist():
        part = dataclasses.replace(
            splits, train=repeated(splits.train, n), valid=splits.valid.sample(50)
        )
        module, clock = module_for("retrospective", config, part), Clock()
        epochs = 2 if n < 10**5 else 1  # a short first epoch is mostly warm-up
        settings = dataclasses.replace(config.train, epochs=epochs)
        fit(module, part, settings, [clock, Monitor(settings.monitor_every)])
        read = part.train.interactions / read_rate(module, part)
        rows.append((part.train.interactions, clock.epochs[-1], read))
        print("{:>10,} interactions: {:8.2f} s per epoch, {:7.2f} s reading".format(*rows[-1]))
    times = pd.DataFrame(rows, columns=["interactions", "training", "reading"])
    folder = Path(tempfile.gettempdir()) / "kt_core-speed"
    print(*plots.save(drawn(times), folder, "linear"), sep="\n")


def drawn(times: pd.DataFrame) -> Figure:
    """Draw seconds over interactions, with lines of equal cost per interaction."""
    plots.use_style()
    fig, ax = plt.subplots(figsize=(plots.COLUMN, 2.8))
    n = times["interactions"]
    for name, color in (("training", CYCLE[0]), ("reading", CYCLE[1])):
        ax.loglog(n, times[name], marker="o", color=color, label=f"{name}, one pass")
        ax.loglog(n, n * times[name].iloc[-1] / n.iloc[-1], color=color, lw=0.8, ls=":")
    ax.plot([], [], color="black", lw=0.8, ls=":", label="in proportion")
    ax.set(xlabel="interactions", ylabel="seconds")
    ax.legend()
    return fig


def repeated(sequences: Sequences, n: int) -> Sequences:
    """Repeat learners until there are about `n` interactions."""
    some = sequences.sample(max(10, min(len(sequences.learners), n // 50)))
    times = max(1, round(n / some.interactions))
    starts = np.tile(some.starts, times) + np.repeat(
        np.arange(times) * some.interactions, len(some.starts)
    )
    return dataclasses.replace(
        some,
        **{k: np.tile(getattr(some, k), times) for k in ("skill", "item", "response")},
        **{k: np.tile(getattr(some, k), times) for k in ("lengths", "chunk")},
        starts=starts,
        learner=np.concatenate([some.learner + i * len(some.learners) for i in range(times)]),
        learners=np.concatenate([some.learners] * times),
        truth={},
    )


if __name__ == "__main__":
    main()
