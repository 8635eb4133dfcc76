"""DKT's recurrence, and what all networks beside GainAKT2 have in common.

Dimensions: B sequences in a batch, T steps (numbered from 0), C skills, D = width, Q questions
about a memory. All networks have the same methods:

- ``forward(skills, responses, items)`` returns the logits of the next responses.
- ``remember(skills, responses, items)`` encodes the answers as a memory, whose form depends on the
  network.
- ``ask(memory, skills, items, seen)`` returns the logit of P(right) if these skills were asked
  after the first ``seen`` steps.
- ``flipped(skills, responses, items)`` returns a memory with the other answer at the last of the
  ``seen`` steps.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from kt_core.layers import outputs

Steps = Int[Tensor, "B T"]
Asked = Int[Tensor, "#B Q"]
Seen = Int[Tensor, "#B #Q"]
Logits = Float[Tensor, "B Q"]


@dataclass(frozen=True)
class Shape:
    """Size of a network; DKT has no `heads`, and only simpleKT has `blocks`. AKT's three parts are
    one block each."""

    width: int = 128
    heads: int = 8
    blocks: int = 2
    dropout: float = 0.3


class Network(nn.Module):
    """Base class: predicts each next response by asking the memory of the steps before it.

    Parameters
    ----------
    shape : size of the network.
    n_skills, n_items : C, and the number of known items; item 0 means an unknown item.
    """

    def forward(
        self, skills: Steps, responses: Steps, items: Steps | None = None
    ) -> Float[Tensor, "B T-1"]:
        """Logits of the next response; column t predicts step t+1 from steps 0..t."""
        memory = self.remember(skills, responses, items)
        seen = torch.arange(1, skills.shape[1], device=skills.device).unsqueeze(0)
        return self.ask(memory, skills[:, 1:], None if items is None else items[:, 1:], seen)

    def penalty(self, items: Steps) -> Float[Tensor, "B T"] | None:
        """What the loss adds for the item of each answer; None if nothing."""
        return None


class DKTNetwork(Network):
    """One LSTM over the interactions q + C r, and a linear read-out to every skill.

    With items, each answer also has an embedding by item and response, and the read-out of an item
    is added to that of its skill. Both are zero for unknown items and initially zero for the
    others. Without items nothing is added.
    """

    def __init__(self, shape: Shape, n_skills: int, n_items: int):
        super().__init__()
        D, self.n_skills, self.n_items = shape.width, n_skills, n_items
        self.embed = nn.Embedding(2 * n_skills, D)
        self.lstm = nn.LSTM(D, D, batch_first=True)
        self.dropout = nn.Dropout(shape.dropout)
        self.read_out = nn.Linear(D, n_skills)
        if n_items:
            self.embed_item = nn.Embedding(2 * n_items + 1, D, padding_idx=0)
            self.read_item = nn.Embedding(n_items + 1, D + 1, padding_idx=0)  # weights, bias
            nn.init.zeros_(self.embed_item.weight)
            nn.init.zeros_(self.read_item.weight)

    def interaction(
        self, skills: Steps, responses: Steps, items: Steps | None
    ) -> Float[Tensor, "B T D"]:
        """What the LSTM reads at each step."""
        x = self.embed(skills + self.n_skills * responses)
        if self.n_items and items is not None:
            x = x + self.embed_item((items + self.n_items * responses) * (items > 0))
        return x

    def remember(
        self, skills: Steps, responses: Steps, items: Steps | None = None
    ) -> Float[Tensor, "B T+1 D"]:
        """Hidden states before the first step and after each step."""
        states, _ = self.lstm(self.interaction(skills, responses, items))
        return self.dropout(F.pad(states, (0, 0, 1, 0)))

    def flipped(
        self, skills: Steps, responses: Steps, items: Steps | None = None
    ) -> Float[Tensor, "B T+1 D"]:
        """Hidden states where only the last step's answer is the other one."""
        other = self.interaction(skills, 1 - responses, items).flatten(0, 1).unsqueeze(1)
        hidden, cells = self.stepwise(skills, responses, items)
        before = [x[:, :-1].flatten(0, 1).unsqueeze(0).contiguous() for x in (hidden, cells)]
        after, _ = self.lstm(other, tuple(before))
        return torch.cat([hidden[:, :1], after.view_as(hidden[:, 1:])], dim=1)

    def stepwise(
        self, skills: Steps, responses: Steps, items: Steps | None = None
    ) -> tuple[Float[Tensor, "B T+1 D"], Float[Tensor, "B T+1 D"]]:
        """Hidden and cell states before the first step and after each step. The LSTM is run step by
        step, because `nn.LSTM` returns only the last cell state."""
        x = self.interaction(skills, responses, items)
        state = tuple(x.new_zeros(1, len(x), self.lstm.hidden_size) for _ in range(2))
        states = [state]
        for t in range(x.shape[1]):
            _, state = self.lstm(x[:, t : t + 1], state)
            states.append(state)
        hidden, cells = (torch.cat(s).transpose(0, 1) for s in zip(*states, strict=True))
        return hidden, cells

    def ask(
        self, memory: Float[Tensor, "B S D"], skills: Asked, items: Asked | None, seen: Seen
    ) -> Logits:
        row = torch.arange(len(memory), device=memory.device).unsqueeze(1)
        weight, bias = outputs(self.read_out, skills)
        if self.n_items and items is not None:
            own = self.read_item(items)
            weight, bias = weight + own[..., :-1], bias + own[..., -1]
        return (memory[row, seen] * weight).sum(-1) + bias
