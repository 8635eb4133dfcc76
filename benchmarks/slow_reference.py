"""The slow reference: mode `cumulative` as a research script often implements it.

Batches have 32 sequences in random order, all padded to 200 steps. Mastery is accumulated in a loop
over steps, attention builds its matrix of weights, and a monitor loops over learners, steps and
skills after every 25 batches. Sizes and losses are those of docs/method.md, "The three modes" and
"The losses". `speed.py` compares with it, so do not optimise it.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kt_core.data.sequences import Sequences

STEPS, BATCH, MONITOR_EVERY = 200, 32, 25


@dataclass
class Padded:
    """One batch of [32, 200]."""

    skills: Tensor
    responses: Tensor
    valid: Tensor


class SlowBlock(nn.Module):
    def __init__(self, width: int, heads: int, d_ff: int, dropout: float):
        super().__init__()
        self.heads = heads
        self.query, self.key, self.values, self.out = (nn.Linear(width, width) for _ in range(4))
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(3))
        self.feed_forward = nn.Sequential(
            nn.Linear(width, d_ff), nn.GELU(), nn.Dropout(dropout), nn.Linear(d_ff, width)
        )
        self.dropout = nn.Dropout(dropout)

    def forward(self, context: Tensor, value: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        B, T, D = context.shape
        q, k = self.query(context), self.key(context)
        q, k, v = (
            x.view(B, T, self.heads, D // self.heads).transpose(1, 2)
            for x in (q, k, self.values(value))
        )
        scores = q @ k.transpose(-2, -1) / math.sqrt(D // self.heads)
        weights = self.dropout(scores.masked_fill(~mask, -1e9).softmax(-1))
        mixed = self.dropout(self.out((weights @ v).transpose(1, 2).reshape(B, T, D)))
        context, value = self.norms[0](context + mixed), self.norms[1](value + mixed)
        return self.norms[2](context + self.dropout(self.feed_forward(context))), value


class SlowModel(nn.Module):
    def __init__(self, skills: int, width=128, heads=8, blocks=2, d_ff=256, dropout=0.2):
        super().__init__()
        self.n_skills = skills
        self.context, self.value = (nn.Embedding(2 * skills, width) for _ in range(2))
        self.position, self.asked = nn.Embedding(STEPS, width), nn.Embedding(skills, width)
        self.blocks = nn.ModuleList(SlowBlock(width, heads, d_ff, dropout) for _ in range(blocks))
        self.head = nn.Sequential(
            nn.Linear(3 * width, d_ff), nn.ReLU(), nn.Dropout(dropout), nn.Linear(d_ff, 1)
        )
        self.mastery, self.gain = nn.Linear(width, skills), nn.Linear(width, skills)

    def forward(self, skills: Tensor, responses: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Logits [B, 199], mastery and gains [B, 200, C]."""
        B, T = skills.shape
        token = skills + self.n_skills * responses
        place = self.position(torch.arange(T).expand(B, T))
        context, value = self.context(token) + place, self.value(token) + place
        mask = torch.ones(T, T).tril().bool().expand(B, 1, T, T)
        for block in self.blocks:
            context, value = block(context, value, mask)
        gains = F.relu(self.gain(value))
        levels = [torch.sigmoid(self.mastery(context[:, 0]))]
        for t in range(1, T):
            levels.append(torch.clamp(levels[-1] + 0.1 * gains[:, t], 0.0, 1.0))
        seen = torch.cat([context[:, :-1], value[:, :-1], self.asked(skills[:, 1:])], -1)
        return self.head(seen).squeeze(-1), torch.stack(levels, 1), gains


def loss(logits: Tensor, m: Tensor, g: Tensor, b: Padded) -> Tensor:
    """Next-step BCE and the *enhanced* terms (docs/method.md, "The losses")."""
    right, valid, pairs = b.responses.bool(), b.valid, b.valid[:, 1:]
    bce = F.binary_cross_entropy_with_logits(logits[pairs], b.responses[:, 1:][pairs].float())
    own_m, own_g = (x.gather(2, b.skills.unsqueeze(2)).squeeze(2) for x in (m, g))
    hit, miss = right & valid, ~right & valid
    falls = F.relu(m[:, :-1] - m[:, 1:])[pairs].mean()
    performance = (1 - own_m[hit]).mean() + own_m[miss].mean()
    gain = F.relu(own_g[miss].mean() - own_g[hit].mean() + 0.1)
    others = (g.sum(-1) - own_g)[valid].mean() / (g.shape[-1] - 1)
    moved = ((m[:, 1:] - m[:, :-1]) - 0.1 * g[:, 1:]).abs()[pairs].mean()
    return bce + 0.1 * falls + 0.8 * performance + 0.8 * gain + 0.2 * others + 0.3 * moved


def monitor(logits: Tensor, m: Tensor, g: Tensor, b: Padded) -> dict[str, float]:
    """Compute violations and correlations element by element."""
    falls = negative = outside = entries = 0
    masteries, gains, predicted, answers, asked = [], [], [], [], []
    for learner in range(len(b.skills)):
        for t in range(1, int(b.valid[learner].sum())):
            now, before = m[learner, t].tolist(), m[learner, t - 1].tolist()
            gain = g[learner, t].tolist()
            for skill in range(len(now)):
                falls += now[skill] < before[skill]
                negative += gain[skill] < 0
                outside += not 0 <= now[skill] <= 1
                entries += 1
            skill = b.skills[learner, t].item()
            masteries.append(m[learner, t, skill].item())
            gains.append(g[learner, t, skill].item())
            predicted.append(torch.sigmoid(logits[learner, t - 1]).item())
            answers.append(b.responses[learner, t].item())
            asked.append(skill)
    by_skill = []
    for skill in set(asked):
        at = [i for i, k in enumerate(asked) if k == skill]
        x, y = [masteries[i] for i in at], [predicted[i] for i in at]
        if len(at) > 1 and np.std(x) > 0 and np.std(y) > 0:
            by_skill.append(np.corrcoef(x, y)[0, 1])
    return {
        "falls": falls / entries,
        "negative": negative / entries,
        "outside": outside / entries,
        "mastery_prediction": float(np.mean(by_skill)) if by_skill else math.nan,
        "gain_correctness": float(np.corrcoef(gains, answers)[0, 1]),
    }


def batches(sequences: Sequences, n: int, seed: int = 0) -> list[Padded]:
    """`n` batches of 32 sequences drawn at random, padded to 200 steps."""
    order = np.random.default_rng(seed).permutation(len(sequences))[: n * BATCH]
    made = []
    for part in np.array_split(order, n):
        q, r = torch.zeros(2, len(part), STEPS, dtype=torch.long)
        valid = torch.zeros(len(part), STEPS, dtype=torch.bool)
        for row, i in enumerate(part):
            start, length = sequences.starts[i], sequences.lengths[i]
            for t in range(length):
                q[row, t] = int(sequences.skill[start + t])
                r[row, t] = int(sequences.response[start + t])
                valid[row, t] = True
        made.append(Padded(q, r, valid))
    return made


def train_rate(sequences: Sequences, skills: int, n: int, monitored: bool) -> float:
    """Interactions per second over `n` training steps."""
    torch.manual_seed(0)
    model = SlowModel(skills).train()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    interactions, started = 0, time.perf_counter()
    for step, batch in enumerate(batches(sequences, n)):
        optimizer.zero_grad()
        states = model(batch.skills, batch.responses)
        loss(*states, batch).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        if monitored and step % MONITOR_EVERY == 0:
            monitor(*(x.detach() for x in states), batch)
        interactions += int(batch.valid.sum())
    return interactions / (time.perf_counter() - started)


@torch.no_grad()
def read_rate(sequences: Sequences, skills: int, n: int) -> float:
    """Interactions per second over `n` batches without gradients."""
    torch.manual_seed(0)
    model = SlowModel(skills).eval()
    interactions, started = 0, time.perf_counter()
    for batch in batches(sequences, n):
        model(batch.skills, batch.responses)
        interactions += int(batch.valid.sum())
    return interactions / (time.perf_counter() - started)
