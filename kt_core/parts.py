"""Answers that need several skills: what they say about each, and whom their gains reach.

An answer on several skills is asked on a *combination*, a skill of its own whose *parts* are single
skills (docs/method.md, "Several skills in one answer"). Its level is the mean of the levels of its
parts. C skills, combinations and single skills alike.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

Table = Float[Tensor, "C"]


class Parts(nn.Module):
    """Which single skills each skill is made of.

    Attributes
    ----------
    has : [C, C], 1 where the single skill of the column is a part of the skill of the row.
    share : [C, C], share of a gain on skill i that reaches skill j: the share of j's parts that i
        has.
    likeness : [C, C], correlation of the starts of two skills, where those of the single skills are
        independent: the number of common parts, by the root of the product of their numbers. An
        answer on a like skill is one on the start itself, times the likeness.
    mix : [C, C], from free numbers of each skill to those in use: of a combination, the mean of its
        parts' and a number of its own.
    single : [C], whether a skill is its own only part.
    slots : [C, K], the parts of each combination, then -1; of a single skill only -1.

    None of them is trained or stored: they follow from the names of the skills.
    """

    def __init__(self, parts: Sequence[Sequence[int]]):
        super().__init__()
        C = len(parts)
        has = torch.zeros(C, C)
        for skill, of in enumerate(parts):
            has[skill, list(of)] = 1
        size = has.sum(1)
        both = has @ has.T
        most = max(len(of) for of in parts)
        slots = [(list(of) if len(of) > 1 else []) + most * [-1] for of in parts]
        buffers = {
            "slots": torch.tensor([row[:most] for row in slots]),
            "has": has,
            "share": both / size,
            "likeness": both / (size.unsqueeze(1) * size).sqrt(),
            "mix": has / size.unsqueeze(1) + torch.diag(1 - has.diagonal()),
            "single": has.diagonal() > 0,
        }
        for name, x in buffers.items():
            self.register_buffer(name, x, persistent=False)

    def shares(self, passed: Float[Tensor, ""]) -> Float[Tensor, "C C"]:
        """Share of a gain on skill i that reaches skill j: of what i has of the parts of another
        skill, as much as is `passed` on."""
        own = torch.eye(len(self.share), device=self.share.device, dtype=passed.dtype)
        return torch.where(own > 0, own, passed * self.share.to(passed.dtype))

    def mixed(self, table: Table) -> Table:
        """Numbers in use, from the free ones."""
        return self.mix.to(table.dtype) @ table
