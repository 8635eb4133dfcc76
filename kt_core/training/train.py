"""Training of GainAKT2: its history, and one function, `train`."""

from __future__ import annotations

import dataclasses
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning as L
import pandas as pd
import torch
from lightning.pytorch.callbacks import EarlyStopping

from kt_core.base import processes
from kt_core.base.devices import memory_enough
from kt_core.base.errors import KTError
from kt_core.config import RunConfig
from kt_core.data import Sequences, Splits, loader
from kt_core.data.batches import reading_tokens
from kt_core.data.sequences import MOST_LEARNERS
from kt_core.evaluation.evaluate import evaluate
from kt_core.model import GainAKT2
from kt_core.monitor import Monitor
from kt_core.runs.read import settings_sha256
from kt_core.runs.resume import RESUME, training_run
from kt_core.runs.run import Run
from kt_core.training.checkpoints import Checkpoints
from kt_core.training.fit import LESS, auc, fit, scored
from kt_core.training.module import KTModule, new_model
from kt_core.training.skeleton import fit_skeleton
from kt_core.training.teacher import teacher
from kt_core.training.tracking import tracker
from kt_core.uncertainty import fit_uncertainty


class History(L.Callback):
    """One row per epoch, also printed as a line if `verbose`."""

    def __init__(self, run: Run, monitor: Monitor | None, verbose: bool):
        self.run, self.monitor, self.verbose = run, monitor, verbose
        self.rows: list[dict[str, float]] = []
        self._since, self._before, self._rate = 0.0, 0.0, 0.0

    def state_dict(self) -> dict[str, Any]:
        """The rows, and the seconds and learning rate of the current epoch."""
        return {"rows": self.rows, "seconds": self._seconds(), "rate": self._rate}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue from these rows, in the same list: the dashboard holds a reference to it."""
        self.rows[:] = state_dict["rows"]
        self._before, self._rate = state_dict["seconds"], state_dict["rate"]

    def on_train_start(self, trainer: L.Trainer, module: Any) -> None:
        """Start the clock of an epoch that is resumed in its middle."""
        self._since = time.perf_counter()

    def on_train_epoch_start(self, trainer: L.Trainer, module: Any) -> None:
        """Start the epoch's clock, and keep its initial learning rate."""
        self._since, self._before = time.perf_counter(), 0.0
        self._rate = trainer.optimizers[0].param_groups[0]["lr"]

    def on_train_epoch_end(self, trainer: L.Trainer, module: Any) -> None:
        """Add the epoch's row."""
        values = {k: float(v) for k, v in trainer.callback_metrics.items()}
        row = {
            "epoch": trainer.current_epoch,
            "learning_rate": self._rate,
            "seconds": self._seconds(),
            **values,
        }
        self.rows.append(row)
        self.write()
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

    def write(self) -> None:
        """Write both tables as they are now."""
        self.run.write_table("history.csv", pd.DataFrame(self.rows))
        if self.monitor is not None:
            self.run.write_table("monitor.csv", pd.DataFrame(self.monitor.rows))

    def _seconds(self) -> float:
        return self._before + time.perf_counter() - self._since


def train(
    config: RunConfig,
    splits: Splits,
    folder: str | Path,
    callbacks: Sequence[L.Callback] = (),
    resume: bool = False,
    end: bool = False,
) -> Run | None:
    """Train a model and write its run folder; ``state.json`` there holds the state of the training.

    Where several processes train together (`kt_core.base.processes`), each calls this; only the
    first writes, and the others return None.

    Parameters
    ----------
    callbacks : of Lightning, in addition to the training's own. One whose attribute
        ``shows_training`` is true takes the place of the progress bar and the printed lines.
    resume : continue the half-run in `folder`. On the same machine and with the same number of
        threads, weights and metrics are to the bit those of a training that was never stopped.
    end : resume, but train no more: the run ends with the best weights so far.

    Returns
    -------
    The finished run, holding the weights of the epoch with the best validation AUC.

    Raises
    ------
    KTError
        When the folder exists, cannot be written or (`resume`) holds no half-run; when the
        requested accelerator is missing; when training diverges.

    Examples
    --------
    >>> config = kt.configure("smoke", overrides={"train.progress": False})
    >>> kt.train(config, kt.read_splits(config), "runs/trained")
    epoch 1/2  loss ...
    epoch 2/2  loss ...
    <run of retrospective: runs/trained>
    """
    t, resume, first = config.train, resume or end, not processes.rank()
    track = tracker(config) if first else False  # a missing extra is an error before training
    L.seed_everything(t.seed, workers=True, verbose=False)
    module = KTModule(new_model(config.model, splits), config)
    fitted = {}
    if module.model.on_path and not resume:
        fitted = fit_skeleton(module.model, splits, t.seed, t.skeleton_steps)
        with memory_enough(LESS):
            fitted["validation AUC"] = validation_auc(module.model, splits.valid)
    if t.teachers and not resume:
        module.teacher = teacher(t, splits)
    checkpoint = Path(folder) / "checkpoints" / RESUME
    keep = Checkpoints(checkpoint, t.checkpoint_minutes, end)  # all take part, the first writes
    early = EarlyStopping("valid/auc", mode="max", patience=t.patience)
    monitor = Monitor(t.monitor_every) if t.monitor else None
    shown = any(getattr(callback, "shows_training", False) for callback in callbacks)
    settings = dataclasses.replace(t, progress=t.progress and first and not shown)
    everyone = [c for c in (keep, early, monitor) if c is not None]
    start = checkpoint if resume else None
    if fitted:  # the skeleton alone is what an epoch has to be better than
        keep.begin(module.model, fitted["validation AUC"])
    if not first:
        fit(module, splits, settings, everyone, checkpoint=start)
        return None
    with training_run(folder, config, splits, resume) as run:
        keep.settings = settings_sha256(run.path)
        if fitted:
            run.provenance["skeleton"] = fitted
            run.write_json("provenance.json", run.provenance)
        history = History(run, monitor, verbose=not shown and not sys.stderr.isatty())
        fit(module, splits, settings, [*everyone, history, *callbacks], track, start)
        if not history.rows:
            raise KTError(f"{folder}: no epoch has been validated yet, so training cannot end here")
        history.write()  # without rows of an epoch that was not finished
        module.model.load_state_dict(keep.weights)
        run.provenance["ended"] = _why(end, early, len(history.rows), t.epochs)
        run.provenance["processes"] = processes.world()
        seconds = sum(row["seconds"] for row in history.rows)
        run.provenance["training_seconds"] = round(seconds, 1)
        if module.model.on_path:
            some = splits.valid.sample(MOST_LEARNERS)
            uncertainty = fit_uncertainty(evaluate(module.model, some, flips=False).frame)
            if uncertainty is not None:
                run.write_uncertainty(uncertainty)
        run.finish(module.model)
    return Run.load(folder)


@torch.no_grad()
def validation_auc(model: GainAKT2, valid: Sequences) -> float:
    """AUC as after each epoch: chunk by chunk."""
    model.eval()
    batches = loader(valid, reading_tokens(torch.device("cpu")))
    logits, answers = zip(*(scored(model, batch) for batch in batches), strict=True)
    model.train()
    return auc(torch.cat(logits).numpy(), torch.cat(answers).numpy())


def _why(end: bool, early: EarlyStopping, epochs: int, most: int) -> str:
    if early.stopped_epoch and not end:
        return f"early stopping after epoch {epochs}"
    return "all epochs" if epochs == most and not end else f"stopped by hand in epoch {epochs}"
