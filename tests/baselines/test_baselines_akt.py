"""AKT's attention is the paper's formula, written out as loops, and so is the whole network."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import random_batch
from torch import nn

from kt_core.baselines.akt import PENALTY, AKTNetwork, MonotonicAttention, MonotonicBlock
from kt_core.baselines.neural import TRAINING, _Penalised
from kt_core.data.batches import SequenceDataset
from kt_core.data.sequences import Sequences
from kt_core.recurrent import Shape

C, ITEMS = 5, 6
SHAPE = Shape(width=8, heads=2, dropout=0.0)


def slow_weights(scores, places, since, rate):
    """Weights of one question and head over `places`, which stand in the order of time."""
    total = sum(math.exp(scores[p]) for p in places)
    share = {p: math.exp(scores[p]) / total for p in places}
    faded = {}
    for i, p in enumerate(places):
        distance = since[p] * sum(share[later] for later in places[i + 1 :])
        faded[p] = scores[p] * math.exp(-rate * distance)
    total = sum(math.exp(s) for s in faded.values())
    return {p: math.exp(s) / total for p, s in faded.items()}


def drawn(B=2, H=3, Q=5, S=7, seed=0):
    g = torch.Generator().manual_seed(seed)
    scores = 2 * torch.randn(B, H, Q, S, generator=g, dtype=torch.float64)
    visible = torch.rand(B, 1, Q, S, generator=g) < 0.6
    visible[..., 0] = True
    since = torch.arange(9, 9 + Q).view(1, 1, Q, 1) - torch.arange(S)
    rate = torch.tensor([0.05, 0.7, 3.0], dtype=torch.float64).view(-1, 1, 1)
    return scores, visible, since, rate


def test_weights_are_the_loops():
    scores, visible, since, rate = drawn()
    weight = MonotonicAttention.apply(scores, visible, since, rate)
    for b, h, q in np.ndindex(*scores.shape[:3]):
        places = visible[b, 0, q].nonzero()[:, 0].tolist()
        want = slow_weights(
            scores[b, h, q].tolist(), places, since[0, 0, q].tolist(), rate[h].item()
        )
        row = weight[b, h, q]
        torch.testing.assert_close(row[places], torch.tensor(list(want.values())).double())
        assert (row[~visible[b, 0, q]] == 0).all()  # exactly


def test_gradients_are_those_of_the_plain_formula():
    scores, visible, since, rate = drawn()
    scores, rate = scores.requires_grad_(), rate.requires_grad_()
    with torch.no_grad():
        share = scores.masked_fill(~visible, -torch.inf).softmax(-1)
        distance = since * (1 - share.cumsum(-1)).masked_fill(~visible, 0)
    plain = (scores * torch.exp(-rate * distance)).masked_fill(~visible, -torch.inf).softmax(-1)
    upstream = torch.randn_like(plain)
    want = torch.autograd.grad((plain * upstream).sum(), (scores, rate))
    weight = MonotonicAttention.apply(scores, visible, since, rate)
    got = torch.autograd.grad((weight * upstream).sum(), (scores, rate))
    for a, b in zip(got, want, strict=True):
        torch.testing.assert_close(a, b)


def test_far_and_unrelated_places_matter_less():
    """Of equal positive scores, the nearer gets more; without decay all get the same."""
    scores = torch.ones(1, 1, 1, 6)
    visible, since = scores > 0, torch.arange(6, 0, -1).view(1, 1, 1, 6)
    weight = MonotonicAttention.apply(scores, visible, since, torch.tensor([[[0.3]]]))[0, 0, 0]
    assert (weight.diff() > 0).all()
    even = MonotonicAttention.apply(scores, visible, since, torch.tensor([[[0.0]]]))[0, 0, 0]
    torch.testing.assert_close(even, torch.full((6,), 1 / 6))


def slow_block(block, question, keys, values, since, itself):
    """One question [D] after keys and values [S, D]; `since` has their distances in steps."""
    if itself:
        keys, values = torch.vstack([keys, question]), torch.vstack([values, question])
        since = [*since, 0]
    D, width = len(question), len(question) // block.heads
    mixed, q, k, v = torch.zeros(D), block.key(question), block.key(keys), block.value(values)
    for h in range(block.heads if len(keys) else 0):
        own = slice(h * width, (h + 1) * width)
        scores = (k[:, own] @ q[own] / math.sqrt(width)).tolist()
        rate = nn.functional.softplus(block.rate[h]).item()
        weight = slow_weights(scores, list(range(len(keys))), since, rate)
        mixed[own] = sum(w * v[p, own] for p, w in weight.items())
    x = block.norm(question + (block.out(mixed) if len(keys) else 0))
    return block.norm_out(x + alone(block.feed_forward, x))


def alone(module, x):
    """The module's value for one vector."""
    return module(x.view(1, 1, -1)).flatten()


def slow_akt(network, skills, responses, items):
    """Logits of one learner's next answers, as the paper writes them."""
    x, y, encoded, knowledge, logits = [], [], [], [], []
    for t, (k, r, i) in enumerate(zip(skills, responses, items, strict=True)):
        m, concept = network.difficulty.weight[i], network.embed_skill.weight[k]
        x.append(concept + m * network.vary.weight[k])
        of_answer = network.vary_interaction.weight[k + C * r]
        y.append(concept + network.embed_response.weight[r] + m * of_answer)
        since = [t - u for u in range(t)]
        stacked = [torch.stack(z[:-1]) if t else torch.zeros(0, 8) for z in (x, y)]
        encoded.append(slow_block(network.questions, x[t], stacked[0], stacked[0], since, True))
        knowledge.append(slow_block(network.knowledge, y[t], stacked[1], stacked[1], since, True))
        if t:
            keys, values = torch.stack(encoded[:-1]), torch.stack(knowledge[:-1])
            h = slow_block(network.retriever, encoded[t], keys, values, since, False)
            logits.append(alone(network.predict, torch.cat([h, x[t]])))
    return torch.cat(logits)


@torch.no_grad()
def test_the_network_is_the_paper_step_by_step():
    torch.manual_seed(1)
    network = AKTNetwork(SHAPE, C, ITEMS).eval()
    for weight in network.parameters():
        weight.add_(0.4 * torch.randn_like(weight))
    q, r, _ = random_batch(B=3, T=9, C=C, pad=False)
    items = torch.randint(1, ITEMS + 1, q.shape)
    got = network(q, r, items)
    for b in range(3):
        want = slow_akt(network, q[b].tolist(), r[b].tolist(), items[b].tolist())
        torch.testing.assert_close(got[b], want, rtol=1e-4, atol=1e-5)


def test_nothing_to_attend_to_is_not_a_number_gone_wrong():
    block = MonotonicBlock(SHAPE)
    nn.init.constant_(block.rate, 9.0)
    question = torch.randn(1, 2, 8)
    visible = torch.tensor([[[False] * 3, [True, True, False]]])
    since = torch.tensor([[[0, -100, -200], [2, 1, 0]]])
    state = block(question, torch.randn(1, 3, 8), torch.randn(1, 3, 8), visible, since)
    assert state.isfinite().all()
    own = block.norm(question[:, :1])
    torch.testing.assert_close(state[:, :1], block.norm_out(own + block.feed_forward(own)))
    state.sum().backward()
    assert all(w.grad.isfinite().all() for w in block.parameters() if w.grad is not None)


def test_difficulties_are_penalised_and_nothing_else_is():
    network = AKTNetwork(SHAPE, C, ITEMS)
    nn.init.constant_(network.difficulty.weight, 2.0)
    nn.init.zeros_(network.difficulty.weight[0])
    learner = np.zeros(1, np.int64)
    skill, item = np.array([0, 1, 2, 3]), np.array([1, 2, 0, 4])
    data = Sequences(skill, item, skill % 2, learner, learner + 4, learner, learner, ["a"], {})
    batch = SequenceDataset(data)[[0]]
    terms = _Penalised(network, TRAINING).terms(batch)
    assert terms["penalty"].item() == pytest.approx(PENALTY * 4 * 3 / 4)
    without = _Penalised(AKTNetwork(SHAPE, C, 0), TRAINING).terms(batch)
    assert set(without) == {"bce"}
    plain = replace(batch, items=0 * batch.items)
    assert set(_Penalised(network, TRAINING).terms(plain)) == {"bce"}
