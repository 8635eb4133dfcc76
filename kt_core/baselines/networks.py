"""The networks of the neural baselines that attend: SAKT's and simpleKT's.

`kt_core.recurrent` has what all share, with the dimensions, and DKT's; `akt` has AKT's.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from kt_core.layers import SequenceDropout
from kt_core.recurrent import Asked, Logits, Network, Seen, Shape, Steps

POSITION = 0.3  # size of positions: less than that of the embeddings they are added to, 1
LONGEST = 10_000.0  # the slowest sine turns once in 2 pi times as many steps


@dataclass(frozen=True)
class Past:
    """Keys and values of past interactions for each block, [B, S, D]. The S places are the T steps;
    if `flipped`, they are followed by the same steps with the other answers."""

    layers: list[tuple[Tensor, Tensor]]
    flipped: bool = False

    def joined(self, other: Past) -> Past:
        """Append the places of `other`, the same steps with the other answers."""
        pairs = [
            zip(*layers, strict=True) for layers in zip(self.layers, other.layers, strict=True)
        ]
        return Past([tuple(torch.cat(p, dim=1) for p in pair) for pair in pairs], flipped=True)

    def visible(self, seen: Seen) -> Bool[Tensor, "#B #Q S"]:
        """Mask of the places that each question may attend to."""
        seen, places = seen.unsqueeze(-1), self.layers[0][0].shape[1]
        if not self.flipped:
            return torch.arange(places, device=seen.device) < seen
        step = torch.arange(places // 2, device=seen.device)
        return torch.cat([step < seen - 1, step == seen - 1], dim=-1)

    def since(self, seen: Seen) -> Int[Tensor, "#B #Q S"]:
        """Steps from each place to each question."""
        places = self.layers[0][0].shape[1]
        step = torch.arange(places, device=seen.device)
        return seen.unsqueeze(-1) - (step % (places // 2) if self.flipped else step)


class AttentionBlock(nn.Module):
    """What attention blocks share: projections into heads, then a feed-forward layer, each followed
    by dropout, residual connection and layer norm.

    Parameters
    ----------
    projections : names of the linear layers, in the order in which they are drawn.
    """

    def __init__(self, shape: Shape, projections: tuple[str, ...]):
        super().__init__()
        D = shape.width
        self.heads = shape.heads
        for name in projections:
            setattr(self, name, nn.Linear(D, D))
        self.feed_forward = nn.Sequential(
            nn.Linear(D, D), nn.ReLU(), SequenceDropout(shape.dropout), nn.Linear(D, D)
        )
        self.norm, self.norm_out = nn.LayerNorm(D), nn.LayerNorm(D)
        self.dropout = SequenceDropout(shape.dropout)

    def _split(self, x: Float[Tensor, "B S D"]) -> Float[Tensor, "B H S W"]:
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)

    def _leave(
        self,
        question: Float[Tensor, "B Q D"],
        mixed: Float[Tensor, "B H Q W"],
        nothing: Bool[Tensor, "#B #Q 1"],
    ) -> Float[Tensor, "B Q D"]:
        """The state after what was attended to; it was `nothing` where a question has no past."""
        mixed = self.out(mixed.transpose(1, 2).flatten(2)).masked_fill(nothing, 0.0)
        x = self.norm(question + self.dropout(mixed))
        return self.norm_out(x + self.dropout(self.feed_forward(x)))


class Block(AttentionBlock):
    """Multi-head attention from questions to the past."""

    def __init__(self, shape: Shape):
        super().__init__(shape, ("query", "key", "value", "out"))

    def forward(
        self,
        question: Float[Tensor, "B Q D"],
        keys: Float[Tensor, "B S D"],
        values: Float[Tensor, "B S D"],
        visible: Bool[Tensor, "#B #Q S"],
    ) -> Float[Tensor, "B Q D"]:
        nothing = ~visible.any(-1, keepdim=True)  # softmax over no place is NaN
        mixed = F.scaled_dot_product_attention(
            self._split(self.query(question)),
            self._split(self.key(keys)),
            self._split(self.value(values)),
            attn_mask=(visible | nothing).unsqueeze(1),
        )
        return self._leave(question, mixed, nothing)


class AttentionNetwork(Network):
    """Attention blocks whose keys and values do not look ahead. In a flipped memory, each flipped
    answer is an additional place, visible only to questions asked right after its step.

    Positions are sines and cosines (Vaswani et al. 2017), which also say how far apart two steps
    are, and exist for steps later than any in training.
    """

    def __init__(self, shape: Shape, n_skills: int):
        super().__init__()
        self.n_skills = n_skills
        self.embed_skill = nn.Embedding(n_skills, shape.width)
        self.blocks = nn.ModuleList(Block(shape) for _ in range(shape.blocks))
        self.dropout = SequenceDropout(shape.dropout)

    def position(self, step: Int[Tensor, "*S"]) -> Float[Tensor, "*S D"]:
        """Code of the position of each step."""
        D = self.embed_skill.embedding_dim
        rates = torch.exp(torch.arange(0, D, 2, device=step.device) * (-math.log(LONGEST) / D))
        angle = step.unsqueeze(-1) * rates
        return POSITION * torch.cat([angle.sin(), angle.cos()], dim=-1)[..., :D]

    def attend(
        self, question: Float[Tensor, "#B Q D"], past: Past, seen: Seen
    ) -> Float[Tensor, "B Q D"]:
        """State of each question after all blocks."""
        state, visible = question.expand(len(past.layers[0][0]), -1, -1), past.visible(seen)
        for block, (keys, values) in zip(self.blocks, past.layers, strict=True):
            state = block(state, keys, values, visible)
        return state


class SAKTNetwork(AttentionNetwork):
    """One block. Questions are skills; keys and values are interactions with their positions."""

    def __init__(self, shape: Shape, n_skills: int, n_items: int):
        super().__init__(replace(shape, blocks=1), n_skills)
        self.embed = nn.Embedding(2 * n_skills, shape.width)
        self.predict = nn.Linear(shape.width, 1)

    def remember(self, skills: Steps, responses: Steps, items: Steps | None = None) -> Past:
        step = torch.arange(skills.shape[1], device=skills.device)
        x = self.embed(skills + self.n_skills * responses) + self.position(step)
        x = self.dropout(x)
        return Past([(x, x)])

    def flipped(self, skills: Steps, responses: Steps, items: Steps | None = None) -> Past:
        return self.remember(skills, responses).joined(self.remember(skills, 1 - responses))

    def ask(self, memory: Past, skills: Asked, items: Asked | None, seen: Seen) -> Logits:
        question = self.dropout(self.embed_skill(skills))
        return self.predict(self.attend(question, memory, seen)).squeeze(-1)


class SimpleKTNetwork(AttentionNetwork):
    """Questions and keys are x = z_k + m_i * v_k (skill k varied by item i), values y = z_k + r,
    all with positions added. Predictions are computed from the state and the question, [h, x].

    The variation m_i is zero for unknown items and initially zero for the others. From the second
    block on, keys are the states of the earlier questions, which contain the answers before them.
    """

    def __init__(self, shape: Shape, n_skills: int, n_items: int):
        super().__init__(shape, n_skills)
        D = shape.width
        self.embed_response = nn.Embedding(2, D)
        self.vary = nn.Embedding(n_skills, D) if n_items else None
        self.difficulty = nn.Embedding(n_items + 1, D, padding_idx=0) if n_items else None
        if n_items:
            nn.init.zeros_(self.difficulty.weight)
        self.predict = nn.Sequential(
            nn.Linear(2 * D, D), nn.ReLU(), SequenceDropout(shape.dropout), nn.Linear(D, 1)
        )

    def question(self, skills: Asked, items: Asked | None, seen: Seen) -> Float[Tensor, "... Q D"]:
        """x of a question asked after `seen` steps."""
        x = self.embed_skill(skills) + self.position(seen)
        if self.difficulty is not None and items is not None:
            x = x + self.difficulty(items) * self.vary(skills)
        return self.dropout(x)

    def values(self, skills: Steps, responses: Steps) -> Float[Tensor, "B T D"]:
        """y of each interaction."""
        step = torch.arange(skills.shape[1], device=skills.device)
        y = self.embed_skill(skills) + self.embed_response(responses) + self.position(step)
        return self.dropout(y)

    def remember(self, skills: Steps, responses: Steps, items: Steps | None = None) -> Past:
        return self._run(skills, responses, items)[0]

    def flipped(self, skills: Steps, responses: Steps, items: Steps | None = None) -> Past:
        true, other = self.remember(skills, responses, items), self.values(skills, 1 - responses)
        return true.joined(Past([(keys, other) for keys, _ in true.layers]))

    def forward(
        self, skills: Steps, responses: Steps, items: Steps | None = None
    ) -> Float[Tensor, "B T-1"]:
        """As in `Network`; the questions of the steps are computed together with the memory."""
        past, state = self._run(skills, responses, items)
        return self._read(state, past.layers[0][0])[:, 1:]

    def ask(self, memory: Past, skills: Asked, items: Asked | None, seen: Seen) -> Logits:
        question = self.question(skills, items, seen)
        state = self.attend(question, memory, seen)
        return self._read(state, question.expand_as(state))

    def _run(
        self, skills: Steps, responses: Steps, items: Steps | None
    ) -> tuple[Past, Float[Tensor, "B T D"]]:
        """The keys and values of each block, and the states of the steps' own questions."""
        step = torch.arange(skills.shape[1], device=skills.device)
        x, y = self.question(skills, items, step.unsqueeze(0)), self.values(skills, responses)
        earlier, layers = (step < step.unsqueeze(1)).unsqueeze(0), []
        for block in self.blocks:
            layers.append((x, y))
            x = block(x, x, y, earlier)
        return Past(layers), x

    def _read(
        self, state: Float[Tensor, "B Q D"], question: Float[Tensor, "B Q D"]
    ) -> Float[Tensor, "B Q"]:
        return self.predict(torch.cat([state, question], dim=-1)).squeeze(-1)
