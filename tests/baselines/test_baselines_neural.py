"""DKT, SAKT, simpleKT and AKT are causal and agree with predictions from truncated histories."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import random_batch
from sklearn.metrics import roc_auc_score
from torch import nn

from kt_core.base.errors import KTError
from kt_core.baselines.akt import AKTNetwork
from kt_core.baselines.networks import SAKTNetwork, SimpleKTNetwork
from kt_core.baselines.neural import AKT, DKT, SAKT, TRAINING, SimpleKT
from kt_core.config import DataConfig
from kt_core.data import load_dataset, make_splits
from kt_core.data.sequences import Sequences
from kt_core.recurrent import DKTNetwork, Network, Shape

C, ITEMS = 7, 9
NETWORKS = (DKTNetwork, SAKTNetwork, SimpleKTNetwork, AKTNetwork)
TRACERS = (DKT, SAKT, SimpleKT, AKT)
SHAPE = Shape(width=16, heads=2, dropout=0.2)
QUICK = replace(TRAINING, epochs=3, learning_rate=0.02, tokens_per_batch=512, average=0.9)


def make(kind, items=ITEMS, seed=0):
    torch.manual_seed(seed)
    network = kind(SHAPE, C, items).eval()
    with torch.no_grad():
        for weight in network.parameters():  # as after training: no weight is small or zero
            weight.add_(0.3 * torch.randn_like(weight))
        for module in network.modules():  # an unknown item says nothing
            if isinstance(module, nn.Embedding) and module.padding_idx is not None:
                module.weight[module.padding_idx] = 0
    return network


def tracer_of(cls, **kwargs):
    """Return a tracer as after `fit`, but without training."""
    tracer = cls()
    tracer.network, tracer.skills = make(cls.kind, **kwargs), C
    return tracer


def sequences_of(lengths, seed=0, items=True):
    rng, lengths = np.random.default_rng(seed), np.asarray(lengths)
    n, s = lengths.sum(), len(lengths)
    item = rng.integers(0, ITEMS + 1, n) if items else np.zeros(n, np.int64)
    skill, response = rng.integers(0, C, n), rng.integers(0, 2, n)
    who, starts = np.arange(s), np.cumsum(lengths) - lengths
    return Sequences(skill, item, response, starts, lengths, who, 0 * who, who.astype(str), {})


def picked(sequences, rows, lengths=None):
    """Return the sequences `rows`, cut to their first `lengths` steps unless None."""
    rows = np.asarray(rows)
    lengths = sequences.lengths[rows] if lengths is None else np.asarray(lengths)
    at = np.concatenate(
        [np.arange(a, a + n) for a, n in zip(sequences.starts[rows], lengths, strict=True)]
    )
    steps = {name: getattr(sequences, name)[at] for name in ("skill", "item", "response")}
    who, starts = np.arange(len(rows)), np.cumsum(lengths) - lengths
    return replace(sequences, **steps, starts=starts, lengths=lengths, learner=who, chunk=0 * who)


def close(a, b):
    np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("kind", NETWORKS)
def test_later_answers_change_no_earlier_prediction(kind):
    network = make(kind)
    q, r, _ = random_batch(T=14, pad=False)
    items = torch.randint(0, ITEMS + 1, q.shape)
    before = network(q, r, items)
    assert before.shape == (5, 13)
    for t in (1, 6, 12):
        q2, r2, items2 = q.clone(), r.clone(), items.clone()
        r2[:, t:] = 1 - r2[:, t:]
        q2[:, t + 1 :] = (q2[:, t + 1 :] + 1) % C
        items2[:, t + 1 :] = (items2[:, t + 1 :] + 1) % ITEMS
        after = network(q2, r2, items2)
        assert torch.equal(before[:, :t], after[:, :t])
        r2 = r.clone()
        r2[:, t] = 1 - r2[:, t]
        assert (before[:, t] != network(q, r2, items)[:, t]).all()


@pytest.mark.parametrize("cls", TRACERS)
def test_padding_and_order_change_nothing(cls):
    tracer, data = tracer_of(cls), sequences_of([9, 2, 25, 14, 9, 1])
    together = tracer.trace(data)
    order = [3, 0, 5, 4, 2, 1]
    mixed = tracer.trace(picked(data, order))
    rows = np.concatenate([data.starts[i] + np.arange(data.lengths[i]) for i in order])
    for name, column in together.columns().items():
        close(getattr(mixed, name), column[rows])
        for i, (a, n) in enumerate(zip(data.starts, data.lengths, strict=True)):
            alone = tracer.trace(picked(data, [i]))
            close(getattr(alone, name), column[a : a + n])
    close(mixed.middle, together.middle[order])
    close(mixed.final, together.final[order])


@pytest.mark.parametrize("cls", TRACERS)
def test_flips_in_one_pass_are_flips_one_by_one(cls):
    tracer, data = tracer_of(cls), sequences_of([7, 4, 12])
    trace = tracer.trace(data)
    for n in range(data.interactions):
        post = []
        for answer in (1, 0):
            response = data.response.copy()
            response[n] = answer
            post.append(tracer.trace(replace(data, response=response)).mastery_post[n])
        close(trace.flip[n], post[0] - post[1])


@pytest.mark.parametrize("cls", TRACERS)
def test_states_are_those_of_histories_that_end_there(cls):
    tracer, data = tracer_of(cls), sequences_of([8, 13, 2, 5])
    trace = tracer.trace(data)
    half = tracer.trace(picked(data, range(4), data.lengths // 2))
    close(half.final, trace.middle)
    for s, (a, n) in enumerate(zip(data.starts, data.lengths, strict=True)):
        for t in range(n):
            final = tracer.trace(picked(data, [s], [t + 1])).final[0]
            close(final[data.skill[a + t]], trace.mastery_post[a + t])
            if t + 1 < n:
                close(final[data.skill[a + t + 1]], trace.mastery_pre[a + t + 1])
        close(final, trace.final[s])
    for name in ("predicted", "mastery_pre"):
        first = np.isin(np.arange(data.interactions), data.starts)
        np.testing.assert_array_equal(np.isnan(getattr(trace, name)), first)


@pytest.mark.parametrize("cls", TRACERS)
def test_predicted_is_what_the_network_was_trained_to_say(cls):
    tracer, data = tracer_of(cls), sequences_of([11])
    steps = (torch.from_numpy(x).unsqueeze(0) for x in (data.skill, data.response, data.item))
    with torch.no_grad():
        logits = tracer.network(*steps)
    close(tracer.trace(data).predicted[1:], logits[0].sigmoid().numpy())


@pytest.mark.parametrize("kind", [SimpleKTNetwork, AKTNetwork])
def test_the_steps_own_questions_are_questions(kind):
    """Computing them together with the memory changes nothing."""
    network = make(kind)
    q, r, _ = random_batch(T=12, pad=False)
    items = torch.randint(0, ITEMS + 1, q.shape)
    torch.testing.assert_close(network(q, r, items), Network.forward(network, q, r, items))


def test_nothing_seen_is_a_state_too():
    for cls in TRACERS:
        one = tracer_of(cls).trace(sequences_of([1, 1]))
        close(one.middle[0], one.middle[1])
        assert (np.abs(one.final[0] - one.middle[0]) > 0).all()


def test_lstm_step_by_step_is_the_lstm():
    network = make(DKTNetwork)
    q, r, _ = random_batch(T=15, pad=False)
    with torch.no_grad():
        hidden, cells = network.stepwise(q, r)
        torch.testing.assert_close(hidden, network.remember(q, r))
        _, (_, last) = network.lstm(network.embed(q + C * r))
    torch.testing.assert_close(cells[:, -1], last[0])


def test_attention_is_the_written_out_sum():
    network, seen = make(SAKTNetwork), torch.tensor([[4]])
    block, question = network.blocks[0], torch.randn(1, 1, 16)
    past, mixed = network.remember(*random_batch(B=1, T=6, pad=False)[:2]), []
    x = past.layers[0][0][:, :4]
    q, k, v = block.query(question), block.key(x), block.value(x)
    for h in (slice(0, 8), slice(8, 16)):
        weight = (q[..., h] @ k[..., h].mT / 8**0.5).softmax(-1)
        mixed.append(weight @ v[..., h])
    state = block.norm(question + block.out(torch.cat(mixed, dim=-1)))
    want = block.norm_out(state + block.feed_forward(state))
    torch.testing.assert_close(network.attend(question, past, seen), want)


def test_positions_say_how_far_apart_two_steps_are():
    code = make(SAKTNetwork).position(torch.arange(500))
    assert code.shape == (500, SHAPE.width) and len(code.unique(dim=0)) == 500
    products = code @ code.T
    for lag in (0, 1, 40):
        on_diagonal = products.diagonal(lag)
        torch.testing.assert_close(on_diagonal, on_diagonal[:1].expand_as(on_diagonal))
    assert products[0, 0] > products[0, 1] > products[0, 3]


@pytest.mark.parametrize("cls", [DKT, SimpleKT, AKT])
def test_items_enter_only_where_known(cls):
    data = sequences_of([9, 12])
    trace = tracer_of(cls).trace(data)
    known = (data.item > 0) & ~np.isnan(trace.predicted)
    assert (trace.predicted[known] != trace.mastery_pre[known]).all()
    unknown = (data.item == 0) & ~np.isnan(trace.predicted)
    close(trace.predicted[unknown], trace.mastery_pre[unknown])
    nobody = replace(data, item=0 * data.item)
    with_items, without = tracer_of(cls), tracer_of(cls, items=0)
    without.network.load_state_dict(with_items.network.state_dict(), strict=False)
    for name, column in with_items.trace(nobody).columns().items():
        close(getattr(without.trace(data), name), column)


def test_sakt_has_no_items():
    data = sequences_of([9, 12])
    a, b = (tracer_of(SAKT).trace(x) for x in (data, replace(data, item=0 * data.item)))
    np.testing.assert_array_equal(a.predicted, b.predicted)


def test_an_items_answer_says_something_to_dkt_about_later_answers():
    network = make(DKTNetwork)
    q, r, _ = random_batch(T=6, pad=False)
    items = torch.ones_like(q)
    other = items.clone()
    other[:, 2] = 2
    before, after = network(q, r, items), network(q, r, other)
    assert torch.equal(before[:, 0], after[:, 0])
    assert (before[:, 1:] != after[:, 1:]).all()  # the item asked, then the item answered
    own = network.read_item.weight[items[:, 1:]]
    state = network.remember(q, r, items)[:, 1:-1]
    skill = network.read_out.weight[q[:, 1:]], network.read_out.bias[q[:, 1:]]
    want = (state * (skill[0] + own[..., :-1])).sum(-1) + skill[1] + own[..., -1]
    torch.testing.assert_close(before, want)


@pytest.fixture(scope="module")
def splits():
    config = DataConfig(learners=200)
    return make_splits(load_dataset(config), config)


@pytest.mark.parametrize("cls", TRACERS)
def test_fit_keeps_the_best_epoch_and_repeats_itself(cls, splits, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    first, again = (cls(SHAPE, QUICK) for _ in range(2))
    with pytest.raises(KTError, match="before fit"):
        first.trace(splits.valid)
    for tracer in (first, again):
        tracer.fit(splits, seed=3)
    assert list(tmp_path.iterdir()) == [] and first.fit_seconds > 0
    assert list(first.history["epoch"]) == list(range(QUICK.epochs))
    best, weights = first.history["valid/auc"].max(), first.network.state_dict()
    assert best > 0.55
    state, trace, label = torch.get_rng_state(), first.trace(splits.valid), splits.valid.response
    assert torch.equal(state, torch.get_rng_state())
    for name, weight in again.network.state_dict().items():  # `again` has not traced anything
        assert torch.equal(weight, weights[name]), name
    scored = ~np.isnan(trace.predicted)
    assert roc_auc_score(label[scored], trace.predicted[scored]) == pytest.approx(
        best, abs=1e-5
    )  # a few pairs are tied except for rounding
    nn.init.constant_(next(first.network.parameters()), torch.nan)
    with pytest.raises(KTError, match="diverged"):
        first.trace(splits.valid)
