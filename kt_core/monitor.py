"""The monitor: interpretability of the current batch, every N training steps (design, section 5).

It reads the states of the forward pass that training has just made, under no_grad and without
drawing random numbers, so that weights after training are the same with and without it.
"""

from __future__ import annotations

from typing import Any

import lightning as L
import torch

from kt_core.metrics.batch import Glance, batch_metrics, glance
from kt_core.processes import gathered


class Monitor(L.Callback):
    """Lightning callback over `kt_core.metrics.batch`.

    Parameters
    ----------
    every : training steps between two looks.

    Attributes
    ----------
    rows : one flat dict of floats per look, with `step`, `epoch`, `learning_rate`, `loss` (of this
        batch) and `gradient_norm` (before clipping).
    """

    def __init__(self, every: int = 25):
        self.every = every
        self.rows: list[dict[str, float]] = []
        self._gradient_norm = torch.tensor(torch.nan)

    def state_dict(self) -> dict[str, Any]:
        """The rows so far."""
        return {"rows": self.rows}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on with them; the list stays the one that others look at."""
        self.rows[:] = state_dict["rows"]

    def on_before_optimizer_step(self, trainer: L.Trainer, module: Any, optimizer: Any) -> None:
        """Keep the gradients' norm of the steps that are looked at."""
        if trainer.global_step % self.every == 0:
            gradients = [p.grad for p in module.parameters() if p.grad is not None]
            self._gradient_norm = torch.nn.utils.get_total_norm(gradients)

    @torch.no_grad()
    def on_train_batch_end(
        self, trainer: L.Trainer, module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Look at every N-th step, the first included."""
        step = trainer.global_step - 1
        if step % self.every:
            return
        kept = module.kept
        states = kept.states
        if states is None:  # no loss needed the [B, T, C] states: read them from c and v
            states = module.model.read(kept.context, kept.value, batch.skills, batch.valid)
        seen = glance(*states, kept.logits, batch.skills, batch.responses, batch.valid)
        values = batch_metrics(Glance.together(gathered(seen)), states[0].shape[-1])
        floats = {f"monitor/{name}": float(value) for name, value in values.items()}
        pace = {
            "learning_rate": trainer.optimizers[0].param_groups[0]["lr"],
            "loss": float(outputs["loss"]),
            "gradient_norm": float(self._gradient_norm),
        }
        self.rows.append({"step": step, "epoch": trainer.current_epoch, **pace, **floats})
        for logger in trainer.loggers:
            logger.log_metrics(floats, step=step)
