"""Training: a Lightning module, what is written down while it trains, and one function, `train`."""

from __future__ import annotations

import logging
import math
import signal
import sys
import time
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import pandas as pd
import torch
from IPython import get_ipython
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint
from sklearn.metrics import roc_auc_score
from torch import Tensor

from kt_core import losses
from kt_core.config import RunConfig
from kt_core.data import Batch, Splits, loader
from kt_core.errors import KTError
from kt_core.model import GainAKT2
from kt_core.monitor import Monitor
from kt_core.runs import Run, new_run
from kt_core.tracking import tracker

EVAL_TOKENS = 32768  # padded steps in a batch without gradients


@dataclass
class Kept:
    """Detached states of the last training step, for the monitor; None where not computed."""

    logits: Tensor
    context: Tensor
    value: Tensor
    mastery: Tensor | None = None
    gains: Tensor | None = None


class KTModule(L.LightningModule):
    """Next-step BCE plus the weighted auxiliary losses, each logged under its own name."""

    def __init__(self, model: GainAKT2, config: RunConfig):
        super().__init__()
        self.model, self.config = model, config
        self.kept: Kept | None = None
        self._scores: list[tuple[Tensor, Tensor]] = []

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Loss of one batch; keeps the detached states for the monitor."""
        terms = self._terms(batch)
        weights = self.config.loss.active
        loss = terms["bce"] + sum(weights[name] * terms[name] for name in weights)
        size = int(batch.valid[:, 1:].sum())
        for name, value in {"total": loss, **terms}.items():
            self.log(f"loss/{name}", value.detach(), on_epoch=True, on_step=False, batch_size=size)
        return loss

    def _terms(self, batch: Batch) -> dict[str, Tensor]:
        weights, model = self.config.loss, self.model
        q, r, valid = batch.skills, batch.responses, batch.valid
        if not weights.active:
            context, value = model.encoder(q, r)
            logits = model.predict_next(context, value, q)
            self.kept = Kept(*(x.detach() for x in (logits, context, value)))
            return {"bce": losses.next_step(logits, r, valid)}
        s = model.forward_with_states(q, r)
        fields = (s.logits, s.context, s.value, s.filtered, s.gains)
        self.kept = Kept(*(x.detach() for x in fields))
        return {
            "bce": losses.next_step(s.logits, r, valid),
            **losses.auxiliary(weights, s, q, r, valid),
        }

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Keep scores and labels; AUC is of the whole split, not a mean over batches."""
        logits, keep = self.model(batch.skills, batch.responses), batch.valid[:, 1:]
        self._scores.append((logits[keep].float().cpu(), batch.responses[:, 1:][keep].cpu()))

    def on_validation_epoch_end(self) -> None:
        """Validation loss and AUC."""
        logits, labels = (torch.cat(x) for x in zip(*self._scores, strict=True))
        self._scores.clear()
        loss = torch.nn.functional.binary_cross_entropy_with_logits(logits, labels.float())
        self.log("valid/loss", loss, batch_size=1)
        self.log("valid/auc", _auc(logits.numpy(), labels.numpy()), batch_size=1)

    def configure_optimizers(self) -> Any:
        """Adam or AdamW, with the scheduler that the configuration names."""
        t = self.config.train
        kind = torch.optim.AdamW if t.optimizer == "adamw" else torch.optim.Adam
        optimizer = kind(self.parameters(), lr=t.learning_rate, weight_decay=t.weight_decay)
        if t.scheduler == "plateau":
            schedule = torch.optim.lr_scheduler.ReduceLROnPlateau(
                optimizer, mode="max", factor=t.scheduler_factor, patience=t.scheduler_patience
            )
        elif t.scheduler == "step":
            schedule = torch.optim.lr_scheduler.StepLR(
                optimizer, t.scheduler_step, gamma=t.scheduler_factor
            )
        elif t.scheduler == "onecycle":
            total = int(self.trainer.estimated_stepping_batches)
            schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda s: one_cycle(s, total))
            return [optimizer], [{"scheduler": schedule, "interval": "step"}]
        else:
            return optimizer
        return [optimizer], [{"scheduler": schedule, "monitor": "valid/auc"}]


def one_cycle(step: int, total: int, warm_up: float = 0.3, floor: float = 0.01) -> float:
    """Share of the peak learning rate: a linear rise, then a cosine down to `floor`."""
    progress = min(step / max(total, 1), 1.0)
    if progress < warm_up:
        return floor + (1 - floor) * progress / warm_up
    fall = (progress - warm_up) / (1 - warm_up)
    return floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * fall))


class History(L.Callback):
    """One row per epoch; printed as a line, except in a terminal that shows the bar."""

    def __init__(self, run: Run, monitor: Monitor | None, verbose: bool):
        self.run, self.monitor, self.verbose = run, monitor, verbose
        self.rows: list[dict[str, float]] = []
        self._since, self._rate = 0.0, 0.0

    def on_train_epoch_start(self, trainer: L.Trainer, module: Any) -> None:
        """Start the epoch's clock, and note the learning rate with which it starts."""
        self._since = time.perf_counter()
        self._rate = trainer.optimizers[0].param_groups[0]["lr"]

    def on_train_epoch_end(self, trainer: L.Trainer, module: Any) -> None:
        """Write the epoch down."""
        values = {k: float(v) for k, v in trainer.callback_metrics.items()}
        row = {
            "epoch": trainer.current_epoch,
            "learning_rate": self._rate,
            "seconds": time.perf_counter() - self._since,
            **values,
        }
        self.rows.append(row)
        self.run.write_table("history.csv", pd.DataFrame(self.rows))
        if self.monitor is not None:
            self.run.write_table("monitor.csv", pd.DataFrame(self.monitor.rows))
        for logger in trainer.loggers:
            logger.log_metrics(values, step=trainer.global_step)
        if self.verbose:
            print(
                f"epoch {row['epoch'] + 1:3d}/{trainer.max_epochs}  "
                f"loss {values['loss/total']:.4f}  bce {values['loss/bce']:.4f}  "
                f"valid AUC {values['valid/auc']:.4f}  lr {row['learning_rate']:.1e}  "
                f"{row['seconds']:.1f} s",
                flush=True,
            )


def train(config: RunConfig, splits: Splits, folder: str | Path) -> Run:
    """Train a model and write its run folder.

    The run appears under `folder` when it is complete; until then it lies beside it under a
    name that begins with ``.partial-``.

    Returns
    -------
    The finished run, holding the weights of the epoch with the best validation AUC.

    Raises
    ------
    KTError
        When the folder exists or cannot be written, or no accelerator of the wanted kind is there.
    """
    _quiet()
    accelerator = _accelerator(config.train.accelerator)
    track = tracker(config)  # a missing extra is an error now, not after an hour
    L.seed_everything(config.train.seed, workers=True, verbose=False)
    model = GainAKT2(config.model, len(splits.vocabulary.skills))
    with new_run(folder, config, splits) as run:
        monitor = Monitor(config.train.monitor_every) if config.train.monitor else None
        best = ModelCheckpoint(
            dirpath=run.path / "checkpoints",
            monitor="valid/auc",
            mode="max",
            save_weights_only=True,
        )
        bar = config.train.progress and (sys.stderr.isatty() or get_ipython() is not None)
        callbacks = [best, EarlyStopping("valid/auc", mode="max", patience=config.train.patience)]
        callbacks += [monitor] if monitor else []
        callbacks += [History(run, monitor, verbose=not sys.stderr.isatty())]
        trainer = L.Trainer(
            accelerator=accelerator,
            devices=1,
            max_epochs=config.train.epochs,
            gradient_clip_val=config.train.clip,
            logger=track,
            callbacks=callbacks,
            enable_progress_bar=bar,
            enable_model_summary=False,
            num_sanity_val_steps=0,
            use_distributed_sampler=False,
        )
        t = config.train
        started = time.perf_counter()
        _fit(
            trainer,
            KTModule(model, config),
            loader(splits.train, t.tokens_per_batch, shuffle=True, seed=t.seed),
            loader(splits.valid, EVAL_TOKENS),
        )
        run.finish(model, best.best_model_path, time.perf_counter() - started)
    return Run.load(folder)


def _fit(trainer: L.Trainer, *args: Any) -> None:
    """`trainer.fit`, where an interrupt stays one: Lightning turns it into an exit of the kernel
    and leaves further interrupts switched off."""
    try:
        trainer.fit(*args)
    except SystemExit:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        raise KeyboardInterrupt from None


def _auc(score: np.ndarray, label: np.ndarray) -> float:
    return float(roc_auc_score(label, score)) if 0 < label.sum() < len(label) else 0.5


def _accelerator(wanted: str) -> str:
    if wanted == "gpu" and not torch.cuda.is_available():
        raise KTError("train.accelerator = 'gpu', but torch finds no GPU; use auto or cpu")
    return ("gpu" if torch.cuda.is_available() else "cpu") if wanted == "auto" else wanted


def _quiet() -> None:
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", ".isinstance.treespec, LeafSpec.")  # Lightning's own
    warnings.filterwarnings("ignore", ".*does not have many workers.*")
    warnings.filterwarnings("ignore", ".*exists and is not empty.*")
