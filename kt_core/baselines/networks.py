"""The networks of the neural baselines: DKT's recurrence, SAKT's and simpleKT's attention.

B sequences in a batch, T steps, C skills, D = width, Q questions put to a memory. Steps count from
0. All three are used alike:

- ``forward(skills, responses, items)`` gives the logits of the next responses;
- ``remember(skills, responses, items)`` keeps what the answers say, in a form of the network's own;
- ``ask(memory, skills, items, seen)`` gives the logit of P(right), were these skills asked when the
  first ``seen`` steps are known and nothing later;
- ``flipped(skills, responses, items)`` is a memory to ask in the same way, in which the last of the
  ``seen`` answers is the other one, and those before it are the true ones.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional as F


@dataclass(frozen=True)
class Shape:
    """Size of a network; `heads` is for the two that attend."""

    width: int = 128
    heads: int = 8
    dropout: float = 0.3


class Network(nn.Module):
    """What the networks share: predictions are answers of the memory, one step ahead."""

    def remember(self, skills: Tensor, responses: Tensor, items: Tensor | None) -> Any:
        """What the answers say, step by step."""
        raise NotImplementedError

    def flipped(self, skills: Tensor, responses: Tensor, items: Tensor | None) -> Any:
        """The same, each answer in turn being the other one."""
        raise NotImplementedError

    def ask(self, memory: Any, skills: Tensor, items: Tensor | None, seen: Tensor) -> Tensor:
        """Logits of P(right)."""
        raise NotImplementedError

    def forward(
        self,
        skills: Int[Tensor, "B T"],
        responses: Int[Tensor, "B T"],
        items: Int[Tensor, "B T"] | None = None,
    ) -> Float[Tensor, "B T-1"]:
        """Logits of the next response; column t predicts step t+1 from steps 0..t."""
        memory = self.remember(skills, responses, items)
        seen = torch.arange(1, skills.shape[1], device=skills.device).unsqueeze(0)
        return self.ask(memory, skills[:, 1:], None if items is None else items[:, 1:], seen)


class DKTNetwork(Network):
    """One LSTM over the interactions q + C r, and a linear read-out to every skill.

    Parameters
    ----------
    n_skills : C.
    n_items, steps : not used; items are unknown to it, and histories may be of any length.
    """

    def __init__(self, shape: Shape, n_skills: int, n_items: int = 0, steps: int = 0):
        super().__init__()
        self.n_skills = n_skills
        self.embed = nn.Embedding(2 * n_skills, shape.width)
        self.lstm = nn.LSTM(shape.width, shape.width, batch_first=True)
        self.dropout = nn.Dropout(shape.dropout)
        self.read_out = nn.Linear(shape.width, n_skills)

    def remember(
        self,
        skills: Int[Tensor, "B T"],
        responses: Int[Tensor, "B T"],
        items: Int[Tensor, "B T"] | None = None,
    ) -> Float[Tensor, "B T+1 D"]:
        """The hidden state before the first step and after each."""
        states, _ = self.lstm(self.embed(skills + self.n_skills * responses))
        return self.dropout(F.pad(states, (0, 0, 1, 0)))

    def flipped(
        self,
        skills: Int[Tensor, "B T"],
        responses: Int[Tensor, "B T"],
        items: Int[Tensor, "B T"] | None = None,
    ) -> Float[Tensor, "B T+1 D"]:
        """The hidden state after each step with the other answer: one step from the true state."""
        other = self.embed(skills + self.n_skills * (1 - responses)).flatten(0, 1).unsqueeze(1)
        hidden, cells = self.stepwise(skills, responses)
        before = [x[:, :-1].flatten(0, 1).unsqueeze(0).contiguous() for x in (hidden, cells)]
        after, _ = self.lstm(other, tuple(before))
        return torch.cat([hidden[:, :1], after.view_as(hidden[:, 1:])], dim=1)

    def stepwise(
        self, skills: Int[Tensor, "B T"], responses: Int[Tensor, "B T"]
    ) -> tuple[Float[Tensor, "B T+1 D"], Float[Tensor, "B T+1 D"]]:
        """Hidden and cell states before the first step and after each: `nn.LSTM` keeps only the
        last of its cell states, so that it has to be run step by step."""
        x = self.embed(skills + self.n_skills * responses)
        state = tuple(x.new_zeros(1, len(x), self.lstm.hidden_size) for _ in range(2))
        states = [state]
        for t in range(x.shape[1]):
            _, state = self.lstm(x[:, t : t + 1], state)
            states.append(state)
        hidden, cells = (torch.cat(s).transpose(0, 1) for s in zip(*states, strict=True))
        return hidden, cells

    def ask(
        self,
        memory: Float[Tensor, "B S D"],
        skills: Int[Tensor, "#B Q"],
        items: Int[Tensor, "#B Q"] | None,
        seen: Int[Tensor, "#B #Q"],
    ) -> Float[Tensor, "B Q"]:
        row = torch.arange(len(memory), device=memory.device).unsqueeze(1)
        weight = F.embedding(skills, self.read_out.weight)
        return (memory[row, seen] * weight).sum(-1) + self.read_out.bias[skills]


@dataclass
class Past:
    """Past interactions to attend to, [B, T, D] each; `other` are those with the other answer."""

    keys: Tensor
    values: Tensor
    other: Past | None = None

    def places(self) -> tuple[Tensor, Tensor]:
        """Keys and values of all places: the true steps, then the other ones."""
        if self.other is None:
            return self.keys, self.values
        pairs = ((self.keys, self.other.keys), (self.values, self.other.values))
        return tuple(torch.cat(pair, dim=1) for pair in pairs)

    def visible(self, seen: Int[Tensor, "#B #Q"]) -> Bool[Tensor, "#B #Q S"]:
        """Which places a question sees."""
        step = torch.arange(self.keys.shape[1], device=seen.device)
        seen = seen.unsqueeze(-1)
        if self.other is None:
            return step < seen
        return torch.cat([step < seen - 1, step == seen - 1], dim=-1)


class Block(nn.Module):
    """Multi-head attention from questions to the past, then feed-forward; after each of them
    dropout, residual and norm."""

    def __init__(self, shape: Shape):
        super().__init__()
        D = shape.width
        self.heads = shape.heads
        self.query, self.key, self.value, self.out = (nn.Linear(D, D) for _ in range(4))
        self.feed_forward = nn.Sequential(
            nn.Linear(D, D), nn.ReLU(), nn.Dropout(shape.dropout), nn.Linear(D, D)
        )
        self.norm, self.norm_out = nn.LayerNorm(D), nn.LayerNorm(D)
        self.dropout = nn.Dropout(shape.dropout)

    def forward(
        self, question: Float[Tensor, "B Q D"], past: Past, seen: Int[Tensor, "#B #Q"]
    ) -> Float[Tensor, "B Q D"]:
        keys, values = past.places()
        mixed = F.scaled_dot_product_attention(
            self._split(self.query(question)),
            self._split(self.key(keys)),
            self._split(self.value(values)),
            attn_mask=past.visible(seen).unsqueeze(1),  # a question that sees nothing gets zeros
        )
        mixed = self.out(mixed.transpose(1, 2).flatten(2))
        x = self.norm(question + self.dropout(mixed))
        return self.norm_out(x + self.dropout(self.feed_forward(x)))

    def _split(self, x: Float[Tensor, "B S D"]) -> Float[Tensor, "B H S W"]:
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)


class AttentionNetwork(Network):
    """One block. A place of the past depends on its own step alone, so that the other answers are
    further places, each of them seen only by the questions put right after its step.

    Parameters
    ----------
    n_skills, n_items : C, and the number of known items; item 0 is an unknown one.
    steps : number of positions. Later steps share the last one: a position that training never
        met would be noise.
    """

    def __init__(self, shape: Shape, n_skills: int, n_items: int = 0, steps: int = 200):
        super().__init__()
        self.n_skills = n_skills
        self.positions = nn.Embedding(steps, shape.width)
        self.block = Block(shape)
        self.dropout = nn.Dropout(shape.dropout)

    def position(self, step: Int[Tensor, "..."]) -> Float[Tensor, "... D"]:
        """Embedding of the place of a step."""
        return self.positions(step.clamp(max=self.positions.num_embeddings - 1))

    def flipped(
        self,
        skills: Int[Tensor, "B T"],
        responses: Int[Tensor, "B T"],
        items: Int[Tensor, "B T"] | None = None,
    ) -> Past:
        """The true past, and beside it the same steps with the other answers."""
        true, other = (self.remember(skills, r, items) for r in (responses, 1 - responses))
        return Past(true.keys, true.values, other)


class SAKTNetwork(AttentionNetwork):
    """Questions are skills, keys and values are interactions at their positions."""

    def __init__(self, shape: Shape, n_skills: int, n_items: int = 0, steps: int = 200):
        super().__init__(shape, n_skills, n_items, steps)
        self.embed_skill = nn.Embedding(n_skills, shape.width)
        self.embed = nn.Embedding(2 * n_skills, shape.width)
        self.predict = nn.Linear(shape.width, 1)

    def remember(
        self,
        skills: Int[Tensor, "B T"],
        responses: Int[Tensor, "B T"],
        items: Int[Tensor, "B T"] | None = None,
    ) -> Past:
        step = torch.arange(skills.shape[1], device=skills.device)
        x = self.embed(skills + self.n_skills * responses) + self.position(step)
        x = self.dropout(x)
        return Past(x, x)

    def ask(
        self,
        memory: Past,
        skills: Int[Tensor, "#B Q"],
        items: Int[Tensor, "#B Q"] | None,
        seen: Int[Tensor, "#B #Q"],
    ) -> Float[Tensor, "B Q"]:
        question = self.dropout(self.embed_skill(skills)).expand(len(memory.keys), -1, -1)
        return self.predict(self.block(question, memory, seen)).squeeze(-1)


class SimpleKTNetwork(AttentionNetwork):
    """Questions and keys are x = z_k + m_i * v_k, skill k varied by item i, values y = z_k + r; all
    at their positions. Predictions come from the state and the question, [h, x].

    The variation m_i is zero for unknown items, and zero at first for the others.
    """

    def __init__(self, shape: Shape, n_skills: int, n_items: int = 0, steps: int = 200):
        super().__init__(shape, n_skills, n_items, steps)
        D = shape.width
        self.embed_skill = nn.Embedding(n_skills, D)
        self.embed_response = nn.Embedding(2, D)
        self.vary = nn.Embedding(n_skills, D) if n_items else None
        self.difficulty = nn.Embedding(n_items + 1, D, padding_idx=0) if n_items else None
        if n_items:
            nn.init.zeros_(self.difficulty.weight)
        self.predict = nn.Sequential(
            nn.Linear(2 * D, D), nn.ReLU(), nn.Dropout(shape.dropout), nn.Linear(D, 1)
        )

    def question(
        self,
        skills: Int[Tensor, "#B Q"],
        items: Int[Tensor, "#B Q"] | None,
        seen: Int[Tensor, "#B #Q"],
    ) -> Float[Tensor, "... Q D"]:
        """x of a question put after `seen` steps."""
        x = self.embed_skill(skills) + self.position(seen)
        if self.difficulty is not None and items is not None:
            x = x + self.difficulty(items) * self.vary(skills)
        return self.dropout(x)

    def remember(
        self,
        skills: Int[Tensor, "B T"],
        responses: Int[Tensor, "B T"],
        items: Int[Tensor, "B T"] | None = None,
    ) -> Past:
        step = torch.arange(skills.shape[1], device=skills.device).unsqueeze(0)
        y = self.embed_skill(skills) + self.embed_response(responses) + self.position(step)
        return Past(self.question(skills, items, step), self.dropout(y))

    def ask(
        self,
        memory: Past,
        skills: Int[Tensor, "#B Q"],
        items: Int[Tensor, "#B Q"] | None,
        seen: Int[Tensor, "#B #Q"],
    ) -> Float[Tensor, "B Q"]:
        question = self.question(skills, items, seen).expand(len(memory.keys), -1, -1)
        state = self.block(question, memory, seen)
        return self.predict(torch.cat([state, question], dim=-1)).squeeze(-1)
