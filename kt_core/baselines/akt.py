"""The network of AKT (Ghosh, Heffernan and Lan 2020): monotonic attention over Rasch embeddings.

Dimensions as in `networks`, and H heads.
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from kt_core.baselines.networks import AttentionBlock, Past
from kt_core.layers import SequenceDropout
from kt_core.recurrent import Asked, Logits, Network, Seen, Shape, Steps

PENALTY = 1e-5  # on squared difficulties
HIDDEN = -1e9  # score of a place that must not be seen: its weight is exactly 0, its gradient too
Scores = Float[Tensor, "B H Q S"]


class MonotonicAttention(torch.autograd.Function):
    """Attention weights: the softmax of scores that fade with the context-aware distance,
    s * exp(-rate * d).

    The distance d of a place is the number of steps since then, times the attention that the scores
    alone would give to the places after it. Unrelated steps in between therefore count little. No
    gradient flows through the distance, as in the authors' own program.

    A function of its own because in long sequences most of the time is spent on tensors of this
    size, and the plain formula makes more of them.
    """

    @staticmethod
    def forward(
        ctx: Any,
        scores: Scores,
        visible: Bool[Tensor, "#B 1 #Q S"],
        since: Int[Tensor, "#B 1 #Q S"],
        rate: Float[Tensor, "H 1 1"],
    ) -> Scores:
        """Attention weights.

        Parameters
        ----------
        scores : products of queries and keys.
        visible : places that each question may attend to, at least one; in the order of time.
        since : steps from each place to the question.
        rate : decay per step of each head, positive.
        """
        scores = scores.to(rate.dtype).masked_fill(~visible, HIDDEN)  # wide enough for a sum
        before = scores.softmax(-1)
        before = torch.cumsum(before, -1, out=before)  # and at the place itself
        fading = -rate * (since * visible)  # hidden places stay hidden only if they do not fade
        exponent = torch.addcmul(fading, fading, before, value=-1)
        decay = torch.exp(exponent, out=before)
        weight = (scores * decay).softmax(-1)
        ctx.save_for_backward(scores, exponent, decay, weight, rate)
        return weight

    @staticmethod
    def backward(ctx: Any, gradient: Scores) -> tuple[Scores, None, None, Float[Tensor, "H 1 1"]]:
        """Gradients of `scores` and `rate`."""
        scores, exponent, decay, weight, rate = ctx.saved_tensors
        inner = (gradient * weight).sum(-1, keepdim=True)
        of_scores = (gradient - inner).mul_(weight).mul_(decay)
        of_rate = (scores * exponent).mul_(of_scores).sum((0, 2, 3)).view_as(rate)
        return of_scores, None, None, of_rate / rate.clamp(min=torch.finfo(rate.dtype).tiny)


class MonotonicBlock(AttentionBlock):
    """Attention that decays with distance. Queries and keys share one projection, since both are of
    the same kind."""

    def __init__(self, shape: Shape):
        super().__init__(shape, ("key", "value", "out"))
        self.rate = nn.Parameter(torch.zeros(shape.heads))  # before the softplus

    def forward(
        self,
        question: Float[Tensor, "B Q D"],
        keys: Float[Tensor, "B S D"],
        values: Float[Tensor, "B S D"],
        visible: Bool[Tensor, "#B #Q S"],
        since: Int[Tensor, "#B #Q S"],
        itself: bool = False,
    ) -> Float[Tensor, "B Q D"]:
        """State of each question. With `itself`, a question also attends to itself, as one more
        place at distance 0."""
        q, v = self._split(self.key(question)), self._split(self.value(values))
        k = q if keys is question else self._split(self.key(keys))
        scaled = q * q.shape[-1] ** -0.5
        scores = scaled @ k.mT
        if itself:
            scores = torch.cat([scores, (scaled * q).sum(-1, keepdim=True)], dim=-1)
            visible, since = F.pad(visible, (0, 1), value=True), F.pad(since, (0, 1))
        nothing = ~visible.any(-1, keepdim=True)  # softmax over no place is NaN
        # Later places have negative distances, which would let the scores of such a row explode.
        visible, since = (visible | nothing).unsqueeze(1), since.clamp(min=0).unsqueeze(1)
        rate = F.softplus(self.rate).view(-1, 1, 1)
        weight = MonotonicAttention.apply(scores, visible, since, rate)
        mixed = weight[..., : v.shape[-2]] @ v
        if itself:
            mixed = mixed + weight[..., -1:] * self._split(self.value(question))
        return self._leave(question, mixed, nothing)


class AKTNetwork(Network):
    """A question encoder and a knowledge encoder attend to questions and interactions up to the
    present; a retriever attends from the encoded question to the encoded interactions before it.

    The Rasch embedding of a question on skill k with item i is c_k + m_i d_k, that of an
    interaction (c_k + g_r) + m_i f_{k,r}; m_i is one number, the item's difficulty, zero for
    unknown items. There are no positions. A prediction is computed from what was retrieved and from
    the question. Without items this is AKT-NR.
    """

    def __init__(self, shape: Shape, n_skills: int, n_items: int):
        super().__init__()
        D = shape.width
        self.n_skills = n_skills
        self.embed_skill, self.embed_response = nn.Embedding(n_skills, D), nn.Embedding(2, D)
        if n_items:
            self.difficulty = nn.Embedding(n_items + 1, 1, padding_idx=0)
            self.vary = nn.Embedding(n_skills, D)
            self.vary_interaction = nn.Embedding(2 * n_skills, D)
            nn.init.zeros_(self.difficulty.weight)
        else:
            self.difficulty = None
        self.questions, self.knowledge, self.retriever = (MonotonicBlock(shape) for _ in range(3))
        self.dropout = SequenceDropout(shape.dropout)
        self.predict = nn.Sequential(
            nn.Linear(2 * D, D), nn.ReLU(), SequenceDropout(shape.dropout), nn.Linear(D, 1)
        )

    def question(self, skills: Asked, items: Asked | None) -> Float[Tensor, "#B Q D"]:
        """x of a question."""
        x = self.embed_skill(skills)
        if self.difficulty is not None and items is not None:
            x = x + self.difficulty(items) * self.vary(skills)
        return self.dropout(x)

    def interaction(
        self, skills: Steps, responses: Steps, items: Steps | None
    ) -> Float[Tensor, "B T D"]:
        """y of an interaction."""
        y = self.embed_skill(skills) + self.embed_response(responses)
        if self.difficulty is not None and items is not None:
            variation = self.vary_interaction(skills + self.n_skills * responses)
            y = y + self.difficulty(items) * variation
        return self.dropout(y)

    def penalty(self, items: Steps) -> Float[Tensor, "B T"] | None:
        """What the squared difficulty of each answer's item costs."""
        if self.difficulty is None:
            return None
        return PENALTY * self.difficulty(items).squeeze(-1).square()

    def remember(self, skills: Steps, responses: Steps, items: Steps | None = None) -> Past:
        return self._encode(skills, responses, items)[0]

    def flipped(self, skills: Steps, responses: Steps, items: Steps | None = None) -> Past:
        true, y = self._encode(skills, responses, items)
        other = self.interaction(skills, 1 - responses, items)
        since = _since(skills)
        other = self.knowledge(other, y, y, since > 0, since, itself=True)
        (x, _), (encoded, _) = true.layers
        return true.joined(Past([(x, x), (encoded, other)]))

    def forward(
        self, skills: Steps, responses: Steps, items: Steps | None = None
    ) -> Float[Tensor, "B T-1"]:
        """As in `Network`; the questions of the steps are encoded once."""
        ((x, _), (encoded, knowledge)) = self.remember(skills, responses, items).layers
        since = _since(skills)
        state = self.retriever(encoded, encoded, knowledge, since > 0, since)
        return self._read(state, x)[:, 1:]

    def ask(self, memory: Past, skills: Asked, items: Asked | None, seen: Seen) -> Logits:
        (x, _), (encoded, knowledge) = memory.layers
        question = self.question(skills, items).expand(len(x), -1, -1)
        visible, since = memory.visible(seen), memory.since(seen)
        query = self.questions(question, x, x, visible, since, itself=True)
        return self._read(self.retriever(query, encoded, knowledge, visible, since), question)

    def _encode(
        self, skills: Steps, responses: Steps, items: Steps | None
    ) -> tuple[Past, Float[Tensor, "B T D"]]:
        """The questions, the encoded questions and the encoded interactions; and y."""
        x, y = self.question(skills, items), self.interaction(skills, responses, items)
        since = _since(skills)
        encoded, knowledge = (
            block(z, z, z, since >= 0, since)
            for block, z in ((self.questions, x), (self.knowledge, y))
        )
        return Past([(x, x), (encoded, knowledge)]), y

    def _read(
        self, state: Float[Tensor, "B Q D"], question: Float[Tensor, "B Q D"]
    ) -> Float[Tensor, "B Q"]:
        return self.predict(torch.cat([state, question], dim=-1)).squeeze(-1)


def _since(skills: Steps) -> Int[Tensor, "1 T T"]:
    """Steps from each step (column) to each other (row)."""
    step = torch.arange(skills.shape[1], device=skills.device)
    return (step.unsqueeze(1) - step).unsqueeze(0)
