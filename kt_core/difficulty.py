"""Difficulty of the item asked, and what it is to have met that item before: apart from mastery,
the only things that a prediction may depend on."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from kt_core.layers import Ids, Steps, entries
from kt_core.sums import opportunities


class Difficulty(nn.Module):
    """Difficulty of each item on the logit scale, zero-mean within its skill, less what it is worth
    to have met the item before.

    Items are numbered from 1. Number 0 is an item that training never met; its difficulty is 0, and
    it is never known to have been met.

    Parameters
    ----------
    item_skill : the skill of each item 1..I.

    Attributes
    ----------
    answers : [I+1], number of training answers of each item; set by training, for the prior.
    repeat : [2], by how much an item is easier once it was met, and by how much more for each unit
        of the log of the times. It says what of a learner's practice stays with the item and is no
        mastery of the skill. 0 where it was not found (`kt_core.training.skeleton`).
    """

    def __init__(self, item_skill: Sequence[int], n_skills: int):
        super().__init__()
        skill = torch.as_tensor(item_skill, dtype=torch.long, device="cpu")
        self.register_buffer("skill", skill, persistent=False)
        count = torch.bincount(skill, minlength=n_skills).clamp(min=1)
        self.register_buffer("count", count, persistent=False)
        ones = torch.ones(len(skill) + 1, dtype=torch.long)
        self.register_buffer("answers", ones, persistent=False)
        self.raw = nn.Parameter(torch.zeros(len(skill)))
        self.repeat = nn.Parameter(torch.zeros(2), requires_grad=False)

    def start_from(self, answers: Int[Tensor, "I1"], right: Int[Tensor, "I1"]) -> None:
        """Start each difficulty from the training answers, and keep their number for the prior.

        The start is one Newton step from 0 on the posterior of the item's difficulty relative to
        its skill. Both arguments count answers by item; those of number 0 are not used.
        """
        answers, right = answers[1:], right[1:]
        n, r = (
            torch.zeros(len(self.count)).double().index_add(0, self.skill.cpu(), x.double())
            for x in (answers, right)
        )
        p = ((r + 1) / (n + 2))[self.skill.cpu()]
        surprise, information = answers * p - right, answers * p * (1 - p)
        with torch.no_grad():
            self.raw.copy_(surprise / (information + 1))
        self.answers.copy_(F.pad(answers.clamp(min=1), (1, 0), value=1))

    def table(self) -> Float[Tensor, "I1"]:
        """[I+1], all difficulties, starting with that of number 0."""
        total = self.raw.new_zeros(len(self.count)).index_add(0, self.skill, self.raw)
        centred = self.raw - entries(total / self.count, self.skill)
        return F.pad(centred, (1, 0))

    def forward(self, items: Ids) -> Steps:
        """[B, T], of the items of whole histories."""
        return self.of(items, opportunities(items))

    def of(self, items: Int[Tensor, "*at"], times: Int[Tensor, "*at"]) -> Float[Tensor, "*at"]:
        """Of items that their learners have met so many `times` before."""
        return entries(self.table(), items) - self.easier(items, times)

    def easier(self, items: Int[Tensor, "*at"], times: Int[Tensor, "*at"]) -> Float[Tensor, "*at"]:
        """By how much items are easier because they were met before."""
        once, more = self.repeat
        worth = once + more * times.clamp(min=1).to(once.dtype).log()
        return torch.where((times > 0) & (items > 0), worth, 0.0)

    @property
    def repeats(self) -> bool:
        """Whether it matters that an item was met before."""
        return bool(self.repeat.count_nonzero())

    def prior(self, items: Ids) -> Steps:
        """Each answer's share of its item's penalty: d^2 / 2, divided by the item's answers.

        Summed over the training data this is the negative log density of a standard normal prior,
        so that an item with few answers stays near its skill.
        """
        return 0.5 * entries(F.pad(self.raw, (1, 0)), items) ** 2 / self.answers[items]
