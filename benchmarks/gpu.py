"""A GPU compared with the CPU: agreement of numbers, speed, memory and utilisation.

python benchmarks/gpu.py agreement     # the same weights and data on both, in each precision
python benchmarks/gpu.py speed         # training and reading, presets `standard` and `intensive`
python benchmarks/gpu.py attention     # cost of the kernels by width of a head

`python benchmarks/invariants.py --device cuda` checks the guarantees. The data is ASSISTments 2015.

The reference of `agreement` is the CPU in double precision. It first compares one batch, with 1.5
times the initial weights, then two epochs of training from one seed. Dropout and hidden answers are
off, because their masks differ between devices.

`speed` trains two epochs through the Lightning loop of `kt_core train` and times the second,
without validation. Utilisation is the share of that epoch in which the GPU was computing, sampled
by its driver. The matrix rate is that of an 8192 x 8192 product in the same precision.
"""

from __future__ import annotations

import argparse
import copy
import dataclasses
import gc
import threading
import time
from contextlib import nullcontext
from typing import Any

import lightning as L
import numpy as np
import pandas as pd
import torch
from speed import Clock, Watched, matrix_flops, module_for, read_rate, sample
from torch.nn import functional as F

from kt_core.config import RunConfig, with_overrides
from kt_core.data import Batch, Splits, loader
from kt_core.data.registry import read_splits
from kt_core.presets import preset
from kt_core.studies.benchmark import markdown
from kt_core.training.fit import fit
from kt_core.training.module import KTModule, new_model

SETTING = {"float32": "float32", "TF32": "float32", "bfloat16": "bfloat16"}  # train.precision
PLAIN = {"train.hide": 0.0, "model.dropout": 0.0, "train.epochs": 2}
ROWS = [  # preset, device, precision, padded steps per batch
    ("standard", "cpu", "float32", 2048),
    ("standard", "gpu", "float32", 2048),
    ("standard", "gpu", "float32", 16384),
    ("standard", "gpu", "TF32", 16384),
    ("standard", "gpu", "bfloat16", 16384),
    ("standard", "gpu", "bfloat16", 65536),
    ("intensive", "cpu", "float32", 16384),
    ("intensive", "gpu", "float32", 16384),
    ("intensive", "gpu", "TF32", 16384),
    ("intensive", "gpu", "bfloat16", 16384),
    ("intensive", "gpu", "bfloat16", 65536),
]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("part", choices=("agreement", "speed", "attention"))
    parser.add_argument("--dataset", default="assist2015")
    parser.add_argument("--rows", default="", help="of speed: those whose name contains this")
    args = parser.parse_args()
    print(torch.cuda.get_device_name(), "torch", torch.__version__, flush=True)
    if args.part == "attention":
        print(markdown(attention()))
        return
    splits = read_splits(settings("standard", args.dataset))
    if args.part == "agreement":
        for name in ("standard", "intensive"):
            print(markdown(agreement(settings(name, args.dataset, **PLAIN), splits)), flush=True)
        print(markdown(trainings(settings("standard", args.dataset, **PLAIN), splits)))
        return
    rows = []
    for name, *row in ROWS:
        if args.rows in " ".join(map(str, (name, *row))):
            rows.append(speed(splits, settings(name, args.dataset), *row))
            print(rows[-1], flush=True)
    print(markdown(pd.DataFrame(rows)))


def settings(name: str, dataset: str, **more: Any) -> RunConfig:
    """Return a preset for the data set with two epochs of training."""
    usual = {"data.dataset": dataset, "train.progress": False, "train.epochs": 2}
    return with_overrides(preset(name), usual | more)


def products(precision: str) -> Any:
    """Set the precision of float32 products; return the context for the forward pass."""
    torch.set_float32_matmul_precision("high" if precision == "TF32" else "highest")
    low = precision == "bfloat16"
    return torch.autocast("cuda", torch.bfloat16) if low else nullcontext()


def agreement(config: RunConfig, splits: Splits) -> pd.DataFrame:
    """Distance of predictions, states and gradients from those in double precision."""
    L.seed_everything(0, verbose=False)
    model = new_model(config.model, splits)
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(1.5)
    longest = np.argsort(splits.train.lengths)[-40:]
    batch = loader(splits.train, 2**30).dataset[longest]
    truth = both(KTModule(copy.deepcopy(model).double(), config), batch)
    rows = []
    for device, precision in [("cpu", "float32"), *(("cuda", p) for p in SETTING)]:
        with products(precision):
            module = KTModule(copy.deepcopy(model), config).to(device)
            mine = both(module, batch.to(device))
        row = {"preset": config.preset, "device": device, "precision": precision}
        rows.append(row | far_from(mine, truth))
    return pd.DataFrame(rows)


def both(module: KTModule, batch: Batch) -> dict[str, np.ndarray]:
    """Return probabilities and states of one batch, and the gradient of its loss."""
    module.train()  # same as eval() without dropout and hidden answers
    module.total(module.terms(batch)).backward()
    gradient = torch.cat([w.grad.flatten() for w in module.parameters() if w.grad is not None])
    with torch.no_grad():
        s = module.model.forward_with_states(batch.skills, batch.responses, None, batch.valid)
    values = {
        "probability": s.logits.sigmoid()[batch.valid[:, 1:]],
        "trajectory": s.trajectory[batch.valid],
        "gains, relative": s.gains[batch.valid],
        "gradient, relative": gradient,
    }
    return {name: value.double().cpu().numpy() for name, value in values.items()}


def far_from(mine: dict[str, np.ndarray], truth: dict[str, np.ndarray]) -> dict[str, str]:
    """Largest difference; for "relative", norm of the difference divided by that of `truth`."""
    far = {}
    for name, value in mine.items():
        apart = value - truth[name]
        relative = np.linalg.norm(apart) / np.linalg.norm(truth[name])
        far[name] = f"{relative if 'relative' in name else np.abs(apart).max():.1e}"
    return far


def trainings(config: RunConfig, splits: Splits) -> pd.DataFrame:
    """Train two epochs from one seed on each device."""
    some, rows = sample(splits, 1000), []
    some = dataclasses.replace(some, valid=splits.valid)
    for device, precision in [("cpu", "float32"), *(("gpu", p) for p in SETTING)]:
        products(precision)
        wanted = {"train.accelerator": device, "train.precision": SETTING[precision]}
        module = module_for("retrospective", with_overrides(config, wanted), splits)
        last = Last()
        fit(module, some, module.settings, [last])
        rows.append({"device": device, "precision": precision, **last.values})
    return pd.DataFrame(rows)


class Last(L.Callback):
    """Keeps the losses and the AUC of the last epoch."""

    values: dict[str, str]

    def on_train_epoch_end(self, trainer: L.Trainer, module: Any) -> None:
        """Keep loss and AUC."""
        names = ("loss/total", "valid/loss", "valid/auc")
        self.values = {name: f"{float(trainer.callback_metrics[name]):.6f}" for name in names}


def speed(
    splits: Splits, config: RunConfig, device: str, precision: str, tokens: int
) -> dict[str, Any]:
    """Measure one row: rates in interactions per second, memory in MiB."""
    products(precision)
    t = dataclasses.replace(
        config.train,
        accelerator=device,
        precision=SETTING[precision],
        tokens_per_batch=tokens,
    )
    module = module_for("retrospective", dataclasses.replace(config, train=t), splits)
    some = sample(splits, 1000 if device == "cpu" else 10**6)
    gc.collect()
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    clock, monitor, busy = Clock(), Watched(t.monitor_every), Busy()
    fit(module, some, t, [clock, monitor, *([busy] if device == "gpu" else [])])
    seconds = clock.epochs[-1]
    training = some.train.interactions / seconds
    memory = torch.cuda.max_memory_allocated() / 2**20
    row = {
        "preset": config.preset,
        "device": device,
        "precision": precision,
        "padded steps a batch": tokens,
        "training, 1/s": training,
    }
    if device == "gpu":
        fresh = module_for("retrospective", settings(config.preset, config.data.dataset), splits)
        flops = matrix_flops(fresh, sample(splits, 300), t, 2)
        with products(precision):
            reading = read_rate(module, some)
        row |= {
            "reading, 1/s": reading,
            "memory, MiB": memory,
            "utilisation": busy.share,
            "share of matrix rate": training * flops / matmul_rate(precision),
            "monitor, share of the epoch": monitor.seconds / seconds,
        }
    return row


class Busy(L.Callback):
    """Measures the share of an epoch in which the GPU was computing, sampled from its driver."""

    share = np.nan

    def on_train_epoch_start(self, trainer: L.Trainer, module: Any) -> None:
        """Start sampling."""
        self._samples: list[float] = []
        self._end = threading.Event()
        self._looking = threading.Thread(target=self._look)
        self._looking.start()

    def _look(self) -> None:
        while not self._end.wait(0.1):
            self._samples.append(torch.cuda.utilization() / 100)

    def on_validation_start(self, trainer: L.Trainer, module: Any) -> None:
        """Stop sampling, because the training part ends where validation begins."""
        self._end.set()
        self._looking.join()
        self.share = float(np.mean(self._samples)) if self._samples else np.nan


def matmul_rate(precision: str, n: int = 8192, times: int = 10) -> float:
    """Operations per second of a large matrix product on the GPU."""
    products(precision)
    kind = torch.bfloat16 if precision == "bfloat16" else torch.float32
    a, b = torch.randn(2, n, n, device="cuda", dtype=kind).unbind()
    return 2 * n**3 / seconds_of(lambda: a @ b, times)


def attention(B: int = 80, H: int = 8, S: int = 201) -> pd.DataFrame:
    """Time attention forward and backward: plain, with the distance as an additional dimension, and
    padded with zeros to a multiple of 8."""
    rows = []
    for width in (16, 64):
        for kind in (torch.float32, torch.bfloat16):
            row = {"width of a head": width, "numbers": str(kind).removeprefix("torch.")}
            for name, wide in (("plain", width), ("+ 1", width + 1), ("+ 8", width + 8)):
                row[f"{name}, ms"] = 1000 * seconds_of(one_attention(B, H, S, wide, kind), 20)
            rows.append(row)
    return pd.DataFrame(rows)


def one_attention(B: int, H: int, S: int, width: int, kind: torch.dtype) -> Any:
    """Return a function that computes attention once, forward and backward."""
    shape = (3, B, H, S, width)
    q, k, v = torch.randn(shape, device="cuda", dtype=kind, requires_grad=True).unbind()

    def once() -> None:
        out = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        out.sum().backward(retain_graph=True)

    return once


def seconds_of(call: Any, times: int) -> float:
    """Mean seconds per call on the GPU, after three calls to warm up."""
    for _ in range(3):
        call()
    torch.cuda.synchronize()
    started = time.perf_counter()
    for _ in range(times):
        call()
    torch.cuda.synchronize()
    return (time.perf_counter() - started) / times


if __name__ == "__main__":
    main()
