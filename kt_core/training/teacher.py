"""A teacher: the mean prediction of several trainings, from which another one learns, too.

(docs/method.md, "A teacher")
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from kt_core.data import Batch, Sequences, loader
from kt_core.data.batches import reading_tokens
from kt_core.training.fit import next_logits


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
