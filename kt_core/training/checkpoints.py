"""Checkpoints from which a killed training resumes, to the bit.

One file, replaced as a whole: weights, their average, optimiser, schedule, the place in the epoch,
the weights of the best epoch so far, and the state of the other callbacks. The random numbers of a
step depend only on seed and step (`kt_core.training.fit.NextStep`), and the order of batches only
on seed and epoch, so that neither has a state.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.fabric.plugins.io import TorchCheckpointIO
from lightning.pytorch.callbacks import Checkpoint
from torch import Tensor

from kt_core.base.digests import seal
from kt_core.base.errors import KTError
from kt_core.base.files import whole

LOOK = 50  # steps between two checks of the clock, on which all processes have to agree


class WholeFiles(TorchCheckpointIO):
    """Writes a checkpoint with its digest under another name, then renames it."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None):
        """Raises a KTError if it cannot be written; the previous file then stays."""
        with whole(path) as temporary:
            try:
                torch.save(checkpoint, temporary)
            except RuntimeError as error:  # this is how torch reports a full disk
                raise OSError(str(error)) from None
            seal(temporary)


class Checkpoints(Checkpoint):
    """Saves after every epoch and, where epochs are long, every `minutes` within one.

    As a checkpoint callback it runs after all others: the weights are then the averaged ones, the
    row of history is written, and it is decided whether there is another epoch.

    Parameters
    ----------
    path : of the file; None only keeps the best weights.
    end : do not train beyond the checkpoint that is resumed.

    Attributes
    ----------
    auc : best validation AUC so far, that before training included where it is known (`begin`).
    weights : of the model then, by name; None before the first validation.
    settings : digest of the run's configuration, kept so that a change is noticed on resuming.
    """

    def __init__(self, path: Path | None, minutes: float = 0.0, end: bool = False):
        self.path, self.seconds, self.ending = path, 60 * minutes, end
        self.auc, self.settings = float("-inf"), ""
        self.weights: dict[str, Tensor] | None = None
        self._validated: dict[str, Tensor] = {}
        self._saved = time.monotonic()

    def begin(self, model: torch.nn.Module, auc: float) -> None:
        """Keep weights from before the first epoch."""
        self.auc, self.weights = auc, _copied(model)

    def on_train_start(self, trainer: L.Trainer, module: Any) -> None:
        """Start the clock, and stop at once if training is to end here."""
        self._saved = time.monotonic()
        trainer.should_stop |= self.ending

    def on_train_batch_end(
        self, trainer: L.Trainer, module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save within an epoch if the last checkpoint is too long ago.

        Not after its last batch: on resuming, Lightning would take the epoch as validated.
        """
        if trainer.is_last_batch:
            return
        late = time.monotonic() - self._saved >= self.seconds
        if trainer.global_step % LOOK == 0 and trainer.strategy.broadcast(late):
            self._save(trainer, module)

    def on_validation_epoch_start(self, trainer: L.Trainer, module: Any) -> None:
        """Copy the weights that are about to be validated."""
        self._validated = _copied(module.model)

    def on_train_epoch_end(self, trainer: L.Trainer, module: Any) -> None:
        """Keep the weights of a better epoch, and save."""
        auc = float(trainer.callback_metrics["valid/auc"])
        if auc > self.auc:
            self.auc, self.weights = auc, self._validated
        self.ending = bool(trainer.should_stop)
        self._save(trainer, module)

    def state_dict(self) -> dict[str, Any]:
        """For the checkpoint."""
        return {"auc": self.auc, "weights": self.weights, "ending": self.ending}

    def on_save_checkpoint(
        self, trainer: L.Trainer, module: Any, checkpoint: dict[str, Any]
    ) -> None:
        """Add the digest of the configuration."""
        checkpoint["config_sha256"] = self.settings

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """From the checkpoint."""
        self.auc, self.weights = state_dict["auc"], state_dict["weights"]
        self.ending |= state_dict["ending"]

    def _save(self, trainer: L.Trainer, module: Any) -> None:
        if self.path is None:
            return
        for name, weight in module.named_parameters():
            if not weight.isfinite().all():
                raise KTError(
                    f"training has diverged: weights {name} are not finite after step "
                    f"{trainer.global_step}; choose a smaller train.learning_rate"
                )
        trainer.save_checkpoint(self.path)
        self._saved = time.monotonic()


def _copied(model: torch.nn.Module) -> dict[str, Tensor]:
    """A model's weights as they are now, on the CPU."""
    return {n: w.detach().to("cpu", copy=True) for n, w in model.state_dict().items()}
