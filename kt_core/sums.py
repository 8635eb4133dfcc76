"""Sums over the steps of a learner on each skill, in time and memory of the steps.

Where gradients are needed, and up to `PLAIN` steps, the sums over all earlier steps are products
with a [T, T] mask: training reads short pieces of histories. B learners, T steps, S steps of a
block, C skills, N numbers per step.
"""

from __future__ import annotations

from collections.abc import Callable

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
    """Sums over the earlier steps on the same skill, or on like ones, of a history that is read in
    blocks.

    Parameters
    ----------
    likeness : of two skills; None where only the same one counts.
    """

    def __init__(self, skills: Ids, n_skills: int, likeness: Float[Tensor, "C C"] | None = None):
        self.skills, self.n_skills, self.likeness = skills, n_skills, likeness
        self.mask: Tensor | None = None
        if plain(skills.shape[1]):
            near = same_skill(skills) if likeness is None else pairs(likeness, skills)
            self.mask = near.tril(-1)
        self.behind: Tensor | None = None  # without a mask: of the blocks before, [B, C, 4]

    def sums(self, now: slice, each: Float[Tensor, "B S 4"]) -> Float[Tensor, "B L 4"]:
        """At each step of a block `now`; `each` is what the steps of the block add and, with a
        mask, those of all blocks before."""
        if self.mask is not None:
            mask = self.mask[:, now, : now.stop].to(each.dtype)
            return mask @ each if self.likeness is None else weighted(mask, each)
        skills, wide, behind = self.skills[:, now], each.double(), self.behind
        if self.likeness is None:
            sums = earlier_on_skill(wide, skills)
        else:
            near = self.likeness.double()
            sums = earlier_like(wide, skills, near, sums=weighted)
            behind = None if behind is None else weighted(near, behind)
        if behind is not None:
            sums = sums + at_skills(behind, skills)
        return sums.to(each.dtype)

    def add(self, now: slice, each: Float[Tensor, "B S 4"]) -> None:
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


def pairs(
    table: Float[Tensor, "C C"], skills: Ids, about: Ids | None = None
) -> Float[Tensor, "B T T"]:
    """Entry [s, u]: table[i, skill of u], where i is the skill of step s or the one that it is
    `about`."""
    rows = F.embedding(skills if about is None else about, table)
    return rows.gather(2, skills.unsqueeze(1).expand(-1, skills.shape[1], -1))


def weighted(
    weight: Float[Tensor, "*B S U"], each: Float[Tensor, "B U 4"]
) -> Float[Tensor, "B S 4"]:
    """Sums of `Skeleton.terms` by likeness: the precision goes by its square."""
    return torch.cat([weight.square() @ each[..., :1], weight @ each[..., 1:]], -1)


def earlier_like(
    each: Float[Tensor, "B T N"],
    skills: Ids,
    table: Float[Tensor, "C C"],
    about: Ids | None = None,
    sums: Callable[[Tensor, Tensor], Tensor] = torch.matmul,
) -> Float[Tensor, "B T N"]:
    """Sums over the steps u before each step s, weighted as `pairs` says, in memory of the steps.

    Parameters
    ----------
    sums : of weights and what is weighted.
    """
    about = skills if about is None else about
    behind, found = each.new_zeros(len(each), len(table), each.shape[-1]), []
    table = table.to(each.dtype)
    for a in range(0, skills.shape[1], PLAIN):
        now = slice(a, a + PLAIN)
        q, i, x = skills[:, now], about[:, now], each[:, now]
        near = pairs(table, q, i).tril(-1)
        found.append(sums(near, x) + at_skills(sums(table, behind), i))
        behind = behind + by_skill(x, q, len(table))
    return torch.cat(found, 1)
