"""Rows of a table by id, where a gradient is wanted.

``table[ids]`` says the same, but with several threads its gradient is summed in whatever order the
parts come: two trainings of one seed would differ. That of an embedding is summed in one order, on
any number of threads.
"""

from __future__ import annotations

from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F


def entries(table: Float[Tensor, "N"], ids: Int[Tensor, "*at"]) -> Float[Tensor, "*at"]:
    """The entry of each id."""
    return F.embedding(ids, table.unsqueeze(-1)).squeeze(-1)


def outputs(
    head: nn.Linear, ids: Int[Tensor, "*at"]
) -> tuple[Float[Tensor, "*at D"], Float[Tensor, "*at"]]:
    """Weights and bias of one output of a linear head for each id."""
    return F.embedding(ids, head.weight), entries(head.bias, ids)


def output(
    head: nn.Linear, states: Float[Tensor, "*at D"], ids: Int[Tensor, "*at"]
) -> Float[Tensor, "*at"]:
    """One output of a linear head at each place, without computing the others."""
    weight, bias = outputs(head, ids)
    return (states * weight).sum(-1) + bias
