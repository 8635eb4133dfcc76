"""Sums over the steps of a learner on each skill, in time and memory of the steps.

Where gradients are needed, and up to `PLAIN` steps, the sums over all earlier steps are products
with a [T, T] mask: training reads short pieces of histories. B learners, T steps, S steps of a
block, C skills, N numbers per step.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F

from kt_core.layers import Ids

PLAIN = 256  # steps of a history up to which sums over earlier steps are products with a mask
SHORT = 64  # steps of a block up to which such a product is faster than sorting


def plain(steps: int) -> bool:
    """Whether sums over the earlier steps of such a history are products with a mask."""
    return steps <= PLAIN or torch.is_grad_enabled()


class Earlier:
    """Sums over the earlier steps on the same skill, of a history that is read in blocks."""

    def __init__(self, skills: Ids, n_skills: int):
        self.skills, self.n_skills = skills, n_skills
        self.mask = same_skill(skills).tril(-1) if plain(skills.shape[1]) else None
        self.behind: Tensor | None = None  # without a mask: of the blocks before, [B, C, N]

    def sums(self, now: slice, each: Float[Tensor, "B S N"]) -> Float[Tensor, "B L N"]:
        """At each step of a block `now`; `each` is what the steps of the block add and, with a
        mask, those of all blocks before."""
        if self.mask is not None:
            return self.mask[:, now, : now.stop].to(each.dtype) @ each
        skills = self.skills[:, now]
        sums = earlier_on_skill(each.double(), skills)
        if self.behind is not None:
            sums = sums + at_skills(self.behind, skills)
        return sums.to(each.dtype)

    def add(self, now: slice, each: Float[Tensor, "B S N"]) -> None:
        """The final values of a block."""
        if self.mask is None:
            sums = by_skill(each.double(), self.skills[:, now], self.n_skills)
            self.behind = sums if self.behind is None else self.behind + sums


def by_skill(each: Float[Tensor, "B T N"], skills: Ids, n_skills: int) -> Float[Tensor, "B C N"]:
    """Sums of the steps on each skill."""
    sums = each.new_zeros(len(each), n_skills, each.shape[-1])
    return sums.scatter_add(1, skills.unsqueeze(-1).expand_as(each), each)


def at_skills(table: Float[Tensor, "B C N"], skills: Ids) -> Float[Tensor, "B T N"]:
    """The row of the skill of each step."""
    return table.gather(1, skills.unsqueeze(-1).expand(-1, -1, table.shape[-1]))


def earlier_on_skill(each: Float[Tensor, "B T N"], skills: Ids) -> Float[Tensor, "B T N"]:
    """Sums of the earlier steps on the skill of each step, in time and memory of the steps."""
    if skills.shape[1] <= SHORT:
        return same_skill(skills).tril(-1).to(each.dtype) @ each
    order, first = grouped(skills)
    at = order.unsqueeze(-1).expand_as(each)
    sorted_ = each.gather(1, at)
    before = sorted_.cumsum(1) - sorted_
    before = before - before.gather(1, first.unsqueeze(-1).expand_as(each))
    return torch.zeros_like(each).scatter(1, at, before)


def opportunities(skills: Ids) -> Ids:
    """The number of earlier steps on the skill of each step."""
    order, first = grouped(skills)
    place = torch.arange(skills.shape[1], device=skills.device)
    return torch.zeros_like(skills).scatter(1, order, place - first)


def grouped(skills: Ids) -> tuple[Ids, Ids]:
    """The steps by skill, in order of time within each; and the place where its skill begins."""
    order = skills.argsort(stable=True, dim=1)
    now = skills.gather(1, order)
    begins = F.pad(now[:, 1:] != now[:, :-1], (1, 0), value=True)
    place = torch.arange(skills.shape[1], device=skills.device)
    return order, torch.where(begins, place, 0).cummax(1).values


def same_skill(skills: Ids) -> Bool[Tensor, "B T T"]:
    """Entry [s, u]: whether steps s and u are on the same skill."""
    return skills.unsqueeze(2) == skills.unsqueeze(1)
