"""The dual-stream causal encoder of GainAKT2 (docs/method.md, "The encoder").

(skill, response) pairs become context states c_t and value states v_t, both causal: the state at
step t has seen the answers 0..t and nothing later. B learners in a batch, T steps, S = T plus the
start token, D = d_model, H heads of width W.
"""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass, field

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from kt_core.config import ModelConfig
from kt_core.layers import Ids, Recent, SequenceDropout, Steps, Tail, Vectors

NOTHING = 25.0  # nats of decay beyond which a step is no longer attended to: a weight of 1e-11
MOST_KEYS = 16_384  # steps back that a head attends to at most, however slow its decay
ALIKE = 4  # heads that reach back up to so many times as far as others are read together
Features = Float[Tensor, "B T N"]  # N numbers known of each step besides the answer


@dataclass
class View:
    """Who attends to whom, where attention is not simply causal.

    Attributes
    ----------
    mask : [S, S], true where the place in the row sees the place in the column.
    steps : [S], the step number of each place.
    """

    mask: Bool[Tensor, "S S"]
    steps: Int[Tensor, "S"]

    @classmethod
    def counterfactual(cls, T: int, start: int, device: torch.device) -> View:
        """The start token, T steps, and the same T steps with the other answers: each of these
        sees the true history before it, and itself."""
        true = torch.arange(start + T, device=device)
        other = true[start:]
        causal = true[:, None] >= true
        before = other[:, None] > true
        itself = torch.eye(T, dtype=torch.bool, device=device)
        never = torch.zeros(start + T, T, dtype=torch.bool, device=device)
        mask = torch.cat([torch.cat([causal, never], 1), torch.cat([before, itself], 1)], 0)
        return cls(mask, torch.cat([true, other]))


class Seen:
    """The last keys and values of some heads, as they are added.

    Parameters
    ----------
    heads : which, next to each other.
    most : how many steps are kept, at least.
    """

    def __init__(self, heads: slice, most: int):
        self.heads, self.most, self.begin, self.end = heads, most, 0, 0
        self.keys = self.values = torch.zeros(0, 0, 0, 0)

    def add(
        self, keys: Float[Tensor, "B G T W"], values: Float[Tensor, "B G T W"]
    ) -> tuple[Float[Tensor, "B G K W"], Float[Tensor, "B G K W"]]:
        """At most `most` of those before, and the new ones."""
        T = keys.shape[2]
        self.begin = max(self.begin, self.end - self.most)
        if self.end + T > self.keys.shape[2]:
            kept = slice(self.begin, self.end)
            self.begin, self.end = 0, kept.stop - kept.start
            size = 2 * (self.end + T)  # so that it is seldom copied
            self.keys = self._longer(self.keys, kept, keys, size)
            self.values = self._longer(self.values, kept, values, size)
        self.keys[:, :, self.end : self.end + T] = keys
        self.values[:, :, self.end : self.end + T] = values
        self.end += T
        return self.keys[:, :, self.begin : self.end], self.values[:, :, self.begin : self.end]

    @staticmethod
    def _longer(old: Tensor, kept: slice, like: Tensor, size: int) -> Tensor:
        B, G, _, W = like.shape
        new = like.new_empty(B, G, size, W)
        if kept.stop > kept.start:
            new[:, :, : kept.stop - kept.start] = old[:, :, kept]
        return new


@dataclass
class Memory:
    """What the encoder keeps of a history that continues.

    Attributes
    ----------
    steps : read so far.
    tails : of the two streams.
    seen : of each block, by groups of heads.
    """

    steps: int = 0
    tails: list[Tail | None] = field(default_factory=lambda: [None, None])
    seen: list[list[Seen]] = field(default_factory=list)


class DecayAttention(nn.Module):
    """Causal multi-head attention: queries and keys from context, values from the value stream.

    With `decay`, head h adds ``-slope_h * (t - s)`` to the score of step s seen from step t (ALiBi,
    Press et al. 2022, with learnable slopes). Softmax ignores what is constant over s, so only
    ``+ slope_h * s`` matters, and that is one more dimension of queries and keys. The score remains
    an inner product, for which there are fused kernels. Those of a GPU need widths that are
    multiples of 8, so zeros are added there.
    """

    def __init__(self, d_model: int, heads: int, decay: bool):
        super().__init__()
        self.heads = heads
        self.query_key = nn.Linear(d_model, 2 * d_model)
        self.values = nn.Linear(d_model, d_model)
        self.out = nn.Linear(d_model, d_model)
        slopes = 2.0 ** (-8.0 * (torch.arange(heads) + 1) / heads)
        self.raw_slopes = nn.Parameter(torch.log(torch.expm1(slopes))) if decay else None

    def forward(
        self,
        context: Float[Tensor, "B S D"],
        value: Float[Tensor, "B S D"],
        view: View | None = None,
        seen: list[Seen] | None = None,
    ) -> Float[Tensor, "B S D"]:
        q, k = (self._split(x) for x in self.query_key(context).chunk(2, dim=-1))
        v = self._split(self.values(value))
        if seen is not None:
            return self.out(self._onward(q, k, v, seen).transpose(1, 2).flatten(2))
        width = v.shape[-1]
        if self.raw_slopes is not None:
            steps = torch.arange(q.shape[2], device=q.device) if view is None else view.steps
            q, k, v = self._append_distance(q, k, v, steps.to(q.dtype))
        mixed = F.scaled_dot_product_attention(
            q,
            k,
            v,
            attn_mask=None if view is None else view.mask,
            is_causal=view is None,
            scale=width**-0.5,
        )
        return self.out(mixed[..., :width].transpose(1, 2).flatten(2))

    def reach(self) -> list[int]:
        """How many steps back each head attends to in a history that continues: as far as its decay
        leaves anything, and at most `MOST_KEYS`. Without decay, to all."""
        if self.raw_slopes is None:
            return self.heads * [sys.maxsize]
        slopes = F.softplus(self.raw_slopes.double()).tolist()
        return [math.ceil(NOTHING / max(slope, NOTHING / MOST_KEYS)) for slope in slopes]

    def nothing_seen(self) -> list[Seen]:
        """Of a history that has not begun; heads that reach about as far back go together."""
        reach, groups = self.reach(), [[0]]
        for h in range(1, self.heads):
            own = [reach[g] for g in groups[-1]] + [reach[h]]
            if max(own) <= ALIKE * min(own):
                groups[-1].append(h)
            else:
                groups.append([h])
        return [Seen(slice(g[0], g[-1] + 1), max(reach[h] for h in g)) for g in groups]

    def _onward(self, q: Tensor, k: Tensor, v: Tensor, seen: list[Seen]) -> Tensor:
        """[B, H, T, W], for T steps that follow on those seen."""
        T, mixed = q.shape[2], []
        step = torch.arange(T, device=q.device)
        later = torch.where(step > step.unsqueeze(1), -torch.inf, 0.0).to(q.dtype)
        for group in seen:
            keys, values = group.add(k[:, group.heads], v[:, group.heads])
            n = keys.shape[2]
            bias = F.pad(later, (n - T, 0)) if T > 1 else later  # one step sees all
            if self.raw_slopes is not None:  # from the last step, so that near ones lose no digits
                place = torch.arange(1 - n, 1, device=q.device).to(q.dtype)
                slopes = F.softplus(self.raw_slopes[group.heads]).to(q.dtype)
                bias = (bias + slopes.view(-1, 1, 1) * place).unsqueeze(0)
            mixed.append(
                F.scaled_dot_product_attention(q[:, group.heads], keys, values, attn_mask=bias)
            )
        return torch.cat(mixed, 1)

    def _split(self, x: Float[Tensor, "B S D"]) -> Float[Tensor, "B H S W"]:
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)

    def _append_distance(
        self, q: Tensor, k: Tensor, v: Tensor, steps: Float[Tensor, "S"]
    ) -> tuple[Tensor, Tensor, Tensor]:
        B, H, S, width = q.shape
        slopes = F.softplus(self.raw_slopes).to(q.dtype) * width**0.5
        q = torch.cat([q, slopes.view(1, H, 1, 1).expand(B, H, S, 1)], dim=-1)
        k = torch.cat([k, steps.view(1, 1, S, 1).expand(B, H, S, 1)], dim=-1)
        zeros = 0 if q.device.type == "cpu" else -(width + 1) % 8
        return F.pad(q, (0, zeros)), F.pad(k, (0, zeros)), F.pad(v, (0, 1 + zeros))


class Block(nn.Module):
    """Attention, residual and norm on both streams, then feed-forward on the context stream."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        D = config.d_model
        self.attention = DecayAttention(D, config.heads, decay=config.position == "decay")
        self.norm_context = nn.LayerNorm(D)
        self.norm_value = nn.LayerNorm(D)
        self.norm_out = nn.LayerNorm(D)
        self.feed_forward = nn.Sequential(
            nn.Linear(D, config.d_ff),
            nn.GELU(),
            SequenceDropout(config.dropout),
            nn.Linear(config.d_ff, D),
        )
        self.dropout = SequenceDropout(config.dropout)

    def forward(
        self,
        context: Float[Tensor, "B S D"],
        value: Float[Tensor, "B S D"],
        view: View | None = None,
        seen: list[Seen] | None = None,
    ) -> tuple[Float[Tensor, "B S D"], Float[Tensor, "B S D"]]:
        mixed = self.dropout(self.attention(context, value, view, seen))
        context = self.norm_context(context + mixed)
        value = self.norm_value(value + mixed)
        context = self.norm_out(context + self.dropout(self.feed_forward(context)))
        return context, value


class Stream(nn.Module):
    """What enters the blocks: a start token, then the embedded interactions x_t = q_t + C r_t.

    The start token takes the attention that finds nothing else. Softmax weights sum to 1, so its
    share tells how much evidence there was; without it attention cannot count. With items, an
    interaction is e(x_t) + d_t f(x_t): a right answer to a harder item says more (the Rasch
    embedding of Ghosh, Heffernan and Lan 2020). Features of a step enter by a linear map.
    """

    def __init__(self, config: ModelConfig, tokens: int, items: bool, features: int = 0):
        super().__init__()
        D = config.d_model
        self.embed = nn.Embedding(tokens, D)
        self.vary = nn.Embedding(tokens, D) if items else None
        self.known = nn.Linear(features, D, bias=False) if features else None
        self.recent = Recent(D, config.recent, config.fading)
        absolute = config.position == "absolute"
        self.positions = nn.Embedding(config.max_steps, D) if absolute else None
        self.start = nn.Parameter(0.1 * torch.randn(1, 1, D)) if config.start_token else None
        self.dropout = SequenceDropout(config.dropout)

    def forward(
        self,
        token: Ids,
        difficulty: Steps | None = None,
        features: Features | None = None,
        other: Ids | None = None,
    ) -> Float[Tensor, "B S D"]:
        """The embedded steps and, where `other` tokens are given, the same steps with those."""
        own = self._interaction(token, difficulty, features)
        x = self.recent(own)
        if self.positions is not None:
            x = x + self.positions.weight[: token.shape[1]]
        parts = [x]
        if other is not None:
            parts.append(x - own + self._interaction(other, None, None))
        if self.start is not None:
            parts.insert(0, self.start.expand(len(x), 1, -1))
        return self.dropout(torch.cat(parts, dim=1) if len(parts) > 1 else x)

    def onward(
        self,
        token: Ids,
        difficulty: Steps | None,
        features: Features | None,
        steps: int,
        tail: Tail | None,
    ) -> tuple[Float[Tensor, "B S D"], Tail]:
        """The embedded steps that follow on `steps` others, and what the next ones need."""
        x, tail = self.recent.onward(self._interaction(token, difficulty, features), tail)
        if self.positions is not None:
            x = x + self.positions.weight[steps : steps + token.shape[1]]
        if self.start is not None and steps == 0:
            x = torch.cat([self.start.expand(len(x), 1, -1), x], 1)
        return self.dropout(x), tail

    def _interaction(
        self, token: Ids, difficulty: Steps | None, features: Features | None
    ) -> Vectors:
        x = self.embed(token)
        if self.vary is not None and difficulty is not None:
            x = x + difficulty.unsqueeze(-1) * self.vary(token)
        return x if features is None else x + self.known(features.to(x.dtype))


class Encoder(nn.Module):
    """Two streams, context and value, each with its own embedding, through the blocks.

    Parameters
    ----------
    n_skills : C.
    answers : 2 for wrong and right; 3 where answers may also be hidden.
    items : whether item difficulties enter.
    features : how many numbers are known of each step besides.
    """

    def __init__(
        self,
        config: ModelConfig,
        n_skills: int,
        answers: int = 2,
        items: bool = False,
        features: int = 0,
    ):
        super().__init__()
        self.n_skills, self.start = n_skills, int(config.start_token)
        tokens = answers * n_skills
        self.context, self.value = (Stream(config, tokens, items, features) for _ in range(2))
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.blocks))

    def forward(
        self,
        skills: Ids,
        responses: Ids,
        difficulty: Steps | None = None,
        features: Features | None = None,
    ) -> tuple[Vectors, Vectors]:
        token = skills + self.n_skills * responses
        context, value = (stream(token, difficulty, features) for stream in self.streams)
        for block in self.blocks:
            context, value = block(context, value)
        return context[:, self.start :], value[:, self.start :]

    def memory(self) -> Memory:
        """Of a history that has not begun."""
        return Memory(seen=[block.attention.nothing_seen() for block in self.blocks])

    def onward(
        self,
        memory: Memory,
        skills: Ids,
        responses: Ids,
        difficulty: Steps | None = None,
        features: Features | None = None,
    ) -> tuple[Vectors, Vectors]:
        """As `forward`, for steps that follow on those in `memory`, to which they are added. To
        float tolerance the states are those of the whole history: what attention leaves out
        (`DecayAttention.reach`) weighs nothing."""
        token, streams = skills + self.n_skills * responses, []
        for i, stream in enumerate(self.streams):
            x, memory.tails[i] = stream.onward(
                token, difficulty, features, memory.steps, memory.tails[i]
            )
            streams.append(x)
        context, value = streams
        for block, seen in zip(self.blocks, memory.seen, strict=True):
            context, value = block(context, value, seen=seen)
        memory.steps += skills.shape[1]
        T = skills.shape[1]
        return context[:, -T:], value[:, -T:]

    @property
    def streams(self) -> tuple[Stream, Stream]:
        """Context and value."""
        return self.context, self.value

    def flipped(self, skills: Ids, responses: Ids) -> tuple[Vectors, Vectors]:
        """The states at each step if its own answer had been the other one, after the true
        history: all T counterfactuals in one pass, without items and features."""
        T = skills.shape[1]
        token = skills + self.n_skills * responses
        other = skills + self.n_skills * (1 - responses)
        context, value = (stream(token, other=other) for stream in self.streams)
        view = View.counterfactual(T, self.start, skills.device)
        for block in self.blocks:
            context, value = block(context, value, view)
        return context[:, -T:], value[:, -T:]
