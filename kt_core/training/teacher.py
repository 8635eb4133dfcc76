"""A teacher: the mean prediction of several recurrent networks, from which a model learns, too.

(docs/method.md, "A teacher")
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import lightning as L
import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from kt_core.base.log import log
from kt_core.config import TrainConfig
from kt_core.data import Batch, Sequences, Splits, loader
from kt_core.data.batches import reading_tokens
from kt_core.recurrent import DKTNetwork, Shape
from kt_core.training.fit import NextStep, fit_best, next_logits

SHAPE = Shape(width=128, dropout=0.3)


@dataclass(frozen=True)
class Teacher:
    """What others predict for the answers that a model is trained on.

    Attributes
    ----------
    predicted : [N], P(right) of each answer; 0.5 for the first of each sequence, which none reads.
    starts : [S], where each sequence begins among the answers.
    """

    predicted: Float[Tensor, "N"]
    starts: Int[Tensor, "S"]

    def of_batch(self, batch: Batch) -> Float[Tensor, "B T"]:
        """P(right) of each step; any value where padded."""
        at = steps(self.starts, batch).clamp(max=len(self.predicted) - 1)
        return self.predicted[at].to(batch.valid.device)


def steps(starts: Int[Tensor, "S"], batch: Batch) -> Int[Tensor, "B T"]:
    """Where the steps of a batch are among the answers; beyond a sequence's end where padded."""
    first = starts[batch.index.cpu()].unsqueeze(1)
    return first + torch.arange(batch.valid.shape[1])


def teacher(settings: TrainConfig, splits: Splits) -> Teacher:
    """Train `settings.teachers` networks, each with its own seed; average what they predict."""
    v, total = splits.vocabulary, torch.zeros(splits.train.interactions)
    for number in range(1, settings.teachers + 1):
        seed = int(np.random.SeedSequence((settings.seed, number)).generate_state(1)[0])
        L.seed_everything(seed, workers=True, verbose=False)
        network = DKTNetwork(SHAPE, len(v.skills), len(v.items))
        own = replace(settings, seed=seed, progress=False, precision="float32")
        auc = fit_best(NextStep(network, own), splits, own)
        log.info("teacher %d of %d: validation AUC %.4f", number, settings.teachers, auc)
        total += predictions(network, splits.train)
    return Teacher(total / settings.teachers, torch.from_numpy(splits.train.starts))


@torch.no_grad()
def predictions(model: nn.Module, train: Sequences) -> Float[Tensor, "N"]:
    """P(right) of each answer, as in training: sequence by sequence."""
    model.eval()
    result = torch.full((train.interactions,), 0.5)
    device = next(model.parameters()).device
    for batch in loader(train, reading_tokens(device)):
        likely = next_logits(model, batch.to(device)).float().sigmoid().cpu()
        at = steps(torch.from_numpy(train.starts), batch)[:, 1:]
        keep = batch.valid[:, 1:]
        result[at[keep]] = likely[keep]
    return result
