"""Fitting any next-step model: a Lightning module, weight averaging, schedules, and `fit`."""

from __future__ import annotations

import contextlib
import logging
import math
import signal
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch
from IPython import get_ipython
from lightning.pytorch.callbacks import Callback, Checkpoint, EarlyStopping, WeightAveraging
from lightning.pytorch.strategies import DDPStrategy
from sklearn.metrics import roc_auc_score
from torch import Tensor, nn

from kt_core import losses
from kt_core.base import processes
from kt_core.base.devices import accelerator, attention_of_any_length, memory_enough
from kt_core.base.errors import KTError, reason
from kt_core.config import TrainConfig
from kt_core.data import Batch, Splits, loader
from kt_core.data.batches import reading_tokens
from kt_core.model import GainAKT2
from kt_core.training.checkpoints import Checkpoints, WholeFiles

LESS = "choose fewer train.tokens_per_batch or a smaller model"  # where memory is too small
WARM_UP, FLOOR = 0.3, 0.01  # of one cycle: share of the steps, and of the rate
# Logged values are means over the epoch and over all processes.
OVER_ALL = {"on_step": False, "on_epoch": True, "sync_dist": True}


class NextStep(L.LightningModule):
    """Next-step BCE of any model with ``forward(skills, responses, items)``: ours and baselines.

    The random numbers of a step (dropout, hidden answers) depend only on the seed, the step and the
    process, so that a training resumed in mid-epoch draws the same numbers.

    Attributes
    ----------
    steps : number of steps in an epoch.
    idle_parameters : whether the loss leaves some parameters without a gradient.
    started : whether training has begun, after what was resumed had been restored.
    """

    steps, idle_parameters, started = 1, False, False

    def __init__(self, model: nn.Module, config: TrainConfig):
        super().__init__()
        self.model, self.settings = model, config
        self._scores: list[tuple[Tensor, Tensor]] = []
        self._sums: dict[
            str, Tensor
        ] = {}  # over this epoch: each term times the number of its responses

    def on_train_start(self) -> None:
        """Remember that whatever was resumed has been restored."""
        self.started = True

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Loss of one batch.

        Raises
        ------
        KTError
            When a term of the loss is not finite.
        """
        key = (self.settings.seed, self.global_step, processes.rank())
        seed = int(np.random.SeedSequence(key).generate_state(1)[0])
        if self.device.type == "cpu":  # `torch.manual_seed` takes a stack trace for other devices
            torch.default_generator.manual_seed(seed)
        else:
            torch.manual_seed(seed)
        terms = self.terms(batch)
        loss = self.total(terms)
        if not loss.isfinite():
            self._diverged(terms, batch, batch_idx)
        size = batch.valid[:, 1:].sum()
        for name, value in {"responses": torch.ones_like(loss), "total": loss, **terms}.items():
            self._sums[name] = self._sums.get(name, 0) + value.detach().double() * size
        return loss

    def _diverged(self, terms: dict[str, Tensor], batch: Batch, batch_idx: int) -> None:
        values = ", ".join(f"{name} {value.item():.4g}" for name, value in terms.items())
        some = ", ".join(map(str, batch.index[:5].tolist()))
        more = ", ..." if len(batch.index) > 5 else ""
        raise KTError(
            f"training has diverged: the loss is not finite in step {self.global_step + 1}, epoch "
            f"{self.current_epoch + 1}, batch {batch_idx + 1} ({values}; training sequences "
            f"{some}{more}); choose a smaller train.learning_rate"
        )

    def terms(self, batch: Batch) -> dict[str, Tensor]:
        """The terms of the loss, unweighted."""
        logits = next_logits(self.model, batch)
        return {"bce": losses.next_step(logits, batch.responses, batch.valid)}

    def total(self, terms: dict[str, Tensor]) -> Tensor:
        """The loss that is minimised."""
        return terms["bce"]

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Keep scores and labels, as AUC is computed over the whole split."""
        self._scores.append(scored(self.model, batch))

    def on_validation_epoch_end(self) -> None:
        """Log validation loss and AUC, and the means of the training terms."""
        everyone = [pair for part in processes.gathered(self._scores) for pair in part]
        logits, labels = (torch.cat(x) for x in zip(*everyone, strict=True))
        self._scores = []
        if not logits.isfinite().all():
            raise KTError(
                f"training has diverged: predictions of epoch {self.current_epoch + 1} are not "
                "finite; choose a smaller train.learning_rate"
            )
        loss = torch.nn.functional.binary_cross_entropy_with_logits(logits, labels.float())
        found = {"valid/loss": loss, "valid/auc": auc(logits.numpy(), labels.numpy())}
        for name, value in (found | self._means()).items():
            self.log(name, value, batch_size=1, **OVER_ALL)

    def _means(self) -> dict[str, Tensor]:
        """Mean per response of each term of the loss, over the epoch and all processes."""
        everyone = processes.gathered(self._sums)
        self._sums = {}
        sums = {name: sum(part[name].cpu() for part in everyone) for name in everyone[0]}
        responses = sums.pop("responses", None)
        return {f"loss/{name}": (value / responses).float() for name, value in sums.items()}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Save the epoch's sums so far."""
        checkpoint["loss_sums"] = dict(self._sums)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Continue from them."""
        self._sums = dict(checkpoint["loss_sums"])

    def configure_gradient_clipping(
        self, optimizer: Any, gradient_clip_val: float, gradient_clip_algorithm: Any = None
    ) -> None:
        """Clip by norm. Lightning's own clipping refuses a fused optimiser in mixed precision,
        which matters only for scaled gradients, and bfloat16 does not scale them."""
        weights = [w for group in optimizer.param_groups for w in group["params"]]
        torch.nn.utils.clip_grad_norm_(weights, gradient_clip_val)

    def configure_optimizers(self) -> Any:
        """Adam or AdamW, with the configured scheduler."""
        t = self.settings
        kind = torch.optim.AdamW if t.optimizer == "adamw" else torch.optim.Adam
        optimizer = kind(
            self.parameters(), lr=t.learning_rate, weight_decay=t.weight_decay, fused=True
        )
        if t.scheduler == "plateau":
            schedule = torch.optim.lr_scheduler.ReduceLROnPlateau(
                optimizer, mode="max", factor=t.scheduler_factor, patience=t.scheduler_patience
            )
        elif t.scheduler == "step":
            schedule = torch.optim.lr_scheduler.StepLR(
                optimizer, t.scheduler_step, gamma=t.scheduler_factor
            )
        elif t.scheduler == "onecycle":
            total = t.epochs * self.steps
            schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda s: one_cycle(s, total))
            return [optimizer], [{"scheduler": schedule, "interval": "step"}]
        else:
            return optimizer
        # Once per epoch, but before the checkpoint at its end: with interval "epoch", Lightning
        # steps a plateau scheduler only after the checkpoint.
        once = {"interval": "step", "frequency": self.steps}
        return [optimizer], [{"scheduler": schedule, "monitor": "valid/auc", **once}]


def fit(
    module: NextStep,
    splits: Splits,
    settings: TrainConfig,
    callbacks: list[Callback],
    logger: Any = False,
    checkpoint: Path | None = None,
) -> None:
    """Train on `splits.train`, validate on `splits.valid` after every epoch.

    If several processes were started (`kt_core.base.processes`), each takes its share of the
    batches, gradients are averaged, and the logged values are those of one process with all
    batches.

    Raises
    ------
    KTError
        When the requested accelerator is missing, or its memory is too small.
    """
    _quiet()
    t, world, rank = settings, processes.world(), processes.rank()
    local = processes.on_this_machine()
    trainer = L.Trainer(
        accelerator=accelerator(t.accelerator),
        devices=local,
        num_nodes=world // local,
        strategy=DDPStrategy(find_unused_parameters=module.idle_parameters)
        if world > 1
        else "auto",
        max_epochs=t.epochs,
        gradient_clip_val=t.clip,
        logger=logger,
        callbacks=[*callbacks, *([averaging(t.average)] if t.average else [])],
        plugins=[WholeFiles()],
        precision="bf16-mixed" if t.precision == "bfloat16" else "32-true",
        enable_progress_bar=t.progress and (sys.stderr.isatty() or get_ipython() is not None),
        enable_checkpointing=any(isinstance(c, Checkpoint) for c in callbacks),
        enable_model_summary=False,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
    )
    training = loader(splits.train, t.tokens_per_batch, True, t.seed, rank, world)
    module.steps = len(training)
    most = reading_tokens(trainer.strategy.root_device)
    validation = loader(splits.valid, most, rank=rank, world=world)
    with _restored(module, checkpoint):
        _run(trainer, module, training, validation, ckpt_path=checkpoint, weights_only=True)


def fit_best(
    module: NextStep, splits: Splits, settings: TrainConfig, *callbacks: Callback
) -> float:
    """`fit` until validation AUC no longer improves; the model then has the weights of its best
    epoch. Returns that AUC."""
    keep = Checkpoints(None)
    stop = EarlyStopping("valid/auc", mode="max", patience=settings.patience)
    fit(module, splits, settings, [keep, stop, *callbacks])
    module.model.load_state_dict(keep.weights)
    return keep.auc


@contextlib.contextmanager
def _restored(module: NextStep, checkpoint: Path | None) -> Iterator[None]:
    """Turn an error while a checkpoint is restored into a KTError: its values may be anything."""
    try:
        yield
    except (AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
        if checkpoint is None or module.started or isinstance(error, KTError):
            raise
        raise KTError(
            f"{checkpoint}: it cannot be resumed from this file ({type(error).__name__}: "
            f"{reason(error)}); train again"
        ) from None


def averaging(decay: float) -> WeightAveraging:
    """Exponential moving average of the weights, which validation and the saved model use.

    The decay starts low, (1 + n) / (10 + n) after n steps, so that the initial weights are
    forgotten.
    """

    def update(averaged: list[Tensor], current: list[Tensor], n: Tensor | int) -> None:
        count = float(n)  # waits for a GPU once, not once per weight
        new = 1 - min(decay, (1 + count) / (10 + count))
        torch._foreach_lerp_(averaged, current, new)

    return WeightAveraging(use_buffers=False, multi_avg_fn=update)


def one_cycle(step: int, total: int) -> float:
    """Share of the peak learning rate: a linear rise, then a cosine decay to `FLOOR`."""
    progress = min(step / max(total, 1), 1.0)
    if progress < WARM_UP:
        return FLOOR + (1 - FLOOR) * progress / WARM_UP
    fall = (progress - WARM_UP) / (1 - WARM_UP)
    return FLOOR + (1 - FLOOR) * 0.5 * (1 + math.cos(math.pi * fall))


def _run(trainer: L.Trainer, *args: Any, **more: Any) -> None:
    """`trainer.fit`, keeping interrupts: Lightning would turn one into an exit of the kernel, and
    switch off further ones."""
    try:
        with memory_enough(LESS), attention_of_any_length(trainer.strategy.root_device):
            trainer.fit(*args, **more)
    except SystemExit:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        raise KeyboardInterrupt from None


def next_logits(model: nn.Module, batch: Batch) -> Tensor:
    """Logits of the next answers; only GainAKT2 reads when they were given."""
    if not isinstance(model, GainAKT2):
        return model(batch.skills, batch.responses, batch.items)
    responses = model.unpadded(batch.responses, batch.valid)
    return model(batch.skills, responses, batch.items, batch.days)


def scored(model: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
    """Logits and answers of a batch, all but the first of each sequence, on the CPU."""
    logits, keep = next_logits(model, batch), batch.valid[:, 1:]
    return logits[keep].float().cpu(), batch.responses[:, 1:][keep].cpu()


def auc(score: np.ndarray, label: np.ndarray) -> float:
    """Area under the ROC curve; 0.5 where all answers are alike."""
    return float(roc_auc_score(label, score)) if 0 < label.sum() < len(label) else 0.5


def _quiet() -> None:
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", ".isinstance.treespec, LeafSpec.")  # Lightning's own
    warnings.filterwarnings("ignore", ".*does not have many workers.*")
    warnings.filterwarnings("ignore", ".*exists and is not empty.*")
