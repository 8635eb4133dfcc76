"""GainAKT2 in training: the terms of its loss, and a new model for some data."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from kt_core import losses
from kt_core.base.errors import KTError
from kt_core.config import ModelConfig, RunConfig
from kt_core.data import Batch, Splits
from kt_core.data.sequences import tally
from kt_core.layers import HIDDEN
from kt_core.mastery import PathTerms
from kt_core.model import GainAKT2
from kt_core.runs.shapes import shapes
from kt_core.states import Encoded, States
from kt_core.training.fit import NextStep
from kt_core.training.teacher import Teacher

COPIES = 5  # of the weights in memory: themselves, gradients, Adam's two moments, their average


@dataclass
class LastStep:
    """Detached states of the last training step, for the monitor.

    Attributes
    ----------
    states : None where no loss needed them.
    """

    logits: Tensor
    encoded: Encoded
    states: States | None = None


class KTModule(NextStep):
    """GainAKT2: next-step BCE plus the weighted auxiliary losses.

    Attributes
    ----------
    last_step : for the monitor.
    teacher : whose predictions are a target beside the answers; None without one.
    """

    def __init__(self, model: GainAKT2, config: RunConfig):
        super().__init__(model, config.train)
        losses.check_own(config.loss)
        self.config = config
        self.idle_parameters = not model.on_path  # heads next to the prediction that no loss reads
        self.last_step: LastStep | None = None
        self.teacher: Teacher | None = None

    def terms(self, batch: Batch) -> dict[str, Tensor]:
        """All terms, unweighted; keeps the detached states for the monitor."""
        read = self._path_terms if self.model.on_path else self._side_terms
        logits, terms = read(batch)
        terms = {"bce": losses.next_step(logits, batch.responses, batch.valid), **terms}
        if self.teacher is not None:
            terms["teacher"] = losses.teacher(logits, self.teacher.of_batch(batch), batch.valid)
        return terms

    def total(self, terms: dict[str, Tensor]) -> Tensor:
        """BCE, shared with a teacher's if there is one, plus each auxiliary term by its weight."""
        weights, main = self.config.loss.active, terms["bce"]
        if "teacher" in terms:
            main = torch.lerp(main, terms["teacher"], self.settings.taught)
        return main + sum(w * terms[name] for name, w in weights.items() if name in terms)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Save the epoch's sums so far, and what the teacher predicts."""
        super().on_save_checkpoint(checkpoint)
        if self.teacher is not None:
            checkpoint["teacher"] = vars(self.teacher)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Continue from them."""
        super().on_load_checkpoint(checkpoint)
        if self.settings.teachers:
            self.teacher = Teacher(**checkpoint["teacher"])

    def _path_terms(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """Logits of the next answers, and the terms beside their BCE."""
        model, t = self.model, self.config.train
        q, r, valid = batch.skills, batch.responses, batch.valid
        hidden = hide(valid, t.hide, t.hide_in) | ~valid
        encoded = model.encode(q, torch.where(hidden, HIDDEN, r), batch.items, batch.days)
        path = PathTerms(model.heads, encoded)
        logits = path.next_step()
        self.last_step = LastStep(logits.detach(), encoded.detach())
        terms = losses.path_terms(self.config.loss, model, path, batch)
        return logits, terms | losses.own_terms(self.config.loss, path, batch)

    def _side_terms(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        weights, model = self.config.loss, self.model
        q, r, valid = batch.skills, batch.responses, batch.valid
        encoded = model.encode(q, r)
        logits = model.heads.next_logits(encoded)
        self.last_step = LastStep(logits.detach(), encoded.detach())
        if not weights.active:
            return logits, {}
        s = model.read(encoded, logits=logits)
        self.last_step.states = s.detach()
        return logits, losses.auxiliary(weights, s, q, r, valid) | losses.own_terms(
            weights, s, batch
        )


def hide(valid: Tensor, share: float, sequences: float) -> Tensor:
    """[B, T], the answers that the encoder may not see: a random `share` of the answers in a random
    share of the `sequences`."""
    if share == 0 or sequences == 0:
        return torch.zeros_like(valid)
    chosen = torch.rand(len(valid), 1, device=valid.device) < sequences
    return valid & chosen & (torch.rand(valid.shape, device=valid.device) < share)


def new_model(config: ModelConfig, splits: Splits) -> GainAKT2:
    """A model for the skills and items of `splits`.

    Raises
    ------
    KTError
        When this machine's memory is too small to train it.
    """
    v = splits.vocabulary
    shape = len(v.skills), v.item_skill, v.parts
    weights = sum(w.numel() for w in shapes(config, *shape).values())
    needed, there = COPIES * 4 * weights, os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if needed > there:
        raise KTError(
            f"a model of {weights:,} weights: training takes {needed / 2**30:,.0f} GiB for them "
            f"alone, and this machine has {there / 2**30:,.0f}; choose a smaller model.d_model, "
            "model.d_ff or model.blocks"
        )
    model = GainAKT2(config, *shape)
    if model.difficulty is not None:
        counts = tally(splits.train.item, splits.train.response, len(v.items) + 1)
        model.difficulty.start_from(*map(torch.from_numpy, counts))
    return model
