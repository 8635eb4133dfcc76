"""Histories of any length, window by window and step by step, against the plain form."""

import numpy as np
import pytest
import torch
from conftest import module_of, stir

from kt_core import model as model_module
from kt_core import reading as reading_module
from kt_core import skeleton as skeleton_module
from kt_core import sums
from kt_core.config import ModelConfig
from kt_core.data.sequences import Sequences
from kt_core.encoder import MOST_KEYS, NOTHING, DecayAttention
from kt_core.evaluation.evaluate import evaluate, read_ends
from kt_core.model import GainAKT2
from kt_core.retention import Retention
from kt_core.stepwise import PathSteps, SideSteps

C, T = 5, 60
PARTS = ((0,), (1,), (2,), (0, 1), (2, 1, 0))
KINDS = [  # mode, what gains reach other skills by, and whether they fade by the day
    ("retrospective", "", False),
    ("retrospective", "transfer", False),
    ("retrospective", "parts", False),
    ("retentive", "", True),
    ("retentive", "", False),
    ("retentive", "transfer", True),
    ("retentive", "parts", False),
]


def make(mode="retrospective", by="", timed=False, seed=0, scale=0.3):
    torch.manual_seed(seed)
    size = {"d_model": 16, "heads": 2, "blocks": 2, "d_ff": 24}
    config = ModelConfig(mode=mode, **size, transfer=by == "transfer")
    items = range(C) if mode in ("retrospective", "retentive") else ()
    parts = PARTS if by == "parts" else ()
    model = GainAKT2(config, C, tuple(items), parts).double()
    if mode == "retentive":
        model.heads.skeleton.retention.begin(timed)
    return stir(model, scale)


def answers(B=3, steps=T, seed=0):
    g = torch.Generator().manual_seed(seed)
    q = torch.randint(0, C, (B, steps), generator=g)
    r = torch.randint(0, 3, (B, steps), generator=g)
    days = (3 * torch.rand(B, steps, generator=g).double()).cumsum(1)
    return q, r, q + 1, days - days[:, :1]


@pytest.fixture
def short_windows(monkeypatch):
    """As if 60 steps were a long history."""

    def begin():
        monkeypatch.setattr(sums, "PLAIN", 8)
        monkeypatch.setattr(sums, "SHORT", 4)
        for module in (skeleton_module, reading_module, model_module, module_of(evaluate)):
            monkeypatch.setattr(module, "WINDOW", 13)

    return begin


@pytest.mark.parametrize(("mode", "by", "timed"), KINDS)
def test_windows_together_are_the_whole(mode, by, timed, short_windows):
    model, (q, r, i, days) = make(mode, by, timed), answers()
    valid = torch.arange(T) < torch.tensor([[T], [30], [1]])
    last = valid.sum(1) - 1
    with torch.no_grad():
        want = model.forward_with_states(q, r, i, valid, days=days)
        at_end = model.heads.trajectory_at(want, last)
        short_windows()
        reading = model.read_skeleton(q, r, i, days)
        parts = list(model.windows(reading, 13))
        assert len(parts) == 5
        row, found = torch.arange(3), {}
        for name in ("logits", "asked", "network", "form", "filtered", "own_gains", "deviation"):
            found[name] = torch.cat([getattr(part, name) for part in parts], 1)
            torch.testing.assert_close(found[name], getattr(want, name), rtol=1e-7, atol=1e-7)
        ends = (
            torch.cat([getattr(p, n) for p in parts], 1)[row, last] for n in ("belief", "factor")
        )
        seen = list(model.heads.trajectories(reading, *ends, last, 13))
        trajectory = torch.cat([part[0] for part in seen], 1)
        torch.testing.assert_close(trajectory, at_end, rtol=1e-7, atol=1e-7)
        assert (trajectory[2] == trajectory[2, :1]).all()  # nothing is known after the last step
        end = model.last_states(reading, last)
        torch.testing.assert_close(
            end.filtered[:, 0], want.filtered[row, last], rtol=1e-7, atol=1e-7
        )
        network = model.last_network(reading, last)
        known = model.heads.corrections_at(want.encoded, last)
        torch.testing.assert_close(network.gather(1, q), known, rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize(("mode", "by", "timed"), KINDS)
@pytest.mark.parametrize("runs_of_one_answer", [False, True])
def test_a_step_at_a_time_is_the_whole(mode, by, timed, runs_of_one_answer):
    model, (q, r, i, days) = make(mode, by, timed), answers(B=3, steps=40)
    r = r.clamp(max=1)
    if runs_of_one_answer:  # so that the estimates of the first learner do not settle
        q[0], i[0], r[0] = 0, 1, 0
        with torch.no_grad():
            model.heads.skeleton.raw_decay.fill_(-1.0)
            model.heads.skeleton.log_gain.fill_(0.5)
    live, turned = PathSteps(model, 3), torch.zeros(3, dtype=torch.bool)
    for t in range(40):
        so_far = (x[:, : t + 1] for x in (q, r, i))
        with torch.no_grad():
            want = model.forward_with_states(*so_far, days=days[:, : t + 1])
        logits = live.logit(q[:, t], i[:, t], days[:, t]) if t else None
        live.add(q[:, t], r[:, t], i[:, t], days[:, t])
        if t:  # where the way of reading turns, the past is read otherwise from here on
            same = live.skeleton.moving == turned
            torch.testing.assert_close(logits[same], want.logits[same, -1], rtol=0, atol=1e-6)
        turned = live.skeleton.moving.clone()
        torch.testing.assert_close(live.mastery(), want.filtered[:, -1], rtol=1e-7, atol=1e-7)
        torch.testing.assert_close(live.deviation(), want.deviation[:, -1], rtol=1e-7, atol=1e-7)
    assert turned[0] == runs_of_one_answer


@pytest.mark.parametrize("mode", ["cumulative", "projection"])
def test_a_step_at_a_time_in_chunks(mode):
    model, (q, r, i, _) = make(mode), answers(B=3, steps=25)
    r, live, start, states = r.clamp(max=1), SideSteps(model, 10), None, None
    for t in range(25):
        begin = t // 10 * 10
        start = states.filtered[:, -1] if t and t == begin else start
        with torch.no_grad():
            states = model.forward_with_states(
                q[:, begin : t + 1], r[:, begin : t + 1], start=start
            )
        if t > begin:
            logits = live.logit(q[:, t], i[:, t], None)
            torch.testing.assert_close(logits, states.logits[:, -1], rtol=0, atol=1e-9)
        live.add(q[:, t], r[:, t], i[:, t], None)
        torch.testing.assert_close(live.mastery(), states.filtered[:, -1], rtol=1e-9, atol=1e-9)


def sequences(lengths, chunk=10, seed=0):
    rng = np.random.default_rng(seed)
    chunks = [-(-n // chunk) for n in lengths]
    learner = np.repeat(np.arange(len(lengths)), chunks)
    number = np.concatenate([np.arange(n) for n in chunks])
    sizes = np.minimum(chunk, np.repeat(lengths, chunks) - chunk * number)
    n = sum(lengths)
    names = np.array([str(i) for i in range(len(lengths))])
    skill = rng.integers(C, size=n)
    parts = skill, skill + 1, rng.integers(2, size=n), np.cumsum(sizes) - sizes, sizes
    return Sequences(*parts, learner, number, names, {}, np.sort(rng.random(n)), True)


@pytest.mark.parametrize(("mode", "by", "timed"), [*KINDS, ("cumulative", "", False)])
def test_reports_and_predictions_of_long_histories(mode, by, timed, short_windows, monkeypatch):
    """Every number and every count is that of histories read at once, also next to short ones."""
    model, s = make(mode, by, timed).float(), sequences((45, 1, 7, 60, 33))
    want = evaluate(model, s)
    short_windows()
    got = evaluate(model, s)
    numbers = list(want.frame)
    np.testing.assert_allclose(got.frame[numbers], want.frame[numbers], rtol=2e-4, atol=2e-4)
    if by == "parts":
        numbers = list(want.parts)
        np.testing.assert_allclose(got.parts[numbers], want.parts[numbers], rtol=2e-4, atol=2e-4)
    for name in ("middle", "final"):
        np.testing.assert_allclose(getattr(got, name), getattr(want, name), atol=1e-4)
    ordered = [x.counts.sort_values("learner", ignore_index=True) for x in (got, want)]
    exact = [c for c in want.counts if "filtered" not in c]  # those depend on rounding
    assert ordered[0][exact].equals(ordered[1][exact])
    ends = read_ends(model, s)
    last = want.frame.groupby("learner")["sequence"].last()
    np.testing.assert_allclose(ends.mastery, want.final[last], atol=1e-4)
    if ends.deviation is not None:
        np.testing.assert_allclose(ends.deviation, want.final_deviation[last], atol=1e-4)


@pytest.mark.parametrize("log_decay", [-1e4, -6.0, -2.0, 0.5, 4.0])
def test_a_power_law_is_a_mixture_of_exponentials(log_decay):
    retention = Retention(1).double()
    with torch.no_grad():
        retention.log_decay.fill_(log_decay)
    rates, weights = retention.mixture()
    assert (weights >= 0).all() and weights.sum().item() == pytest.approx(1, abs=1e-12)
    x = torch.cat([torch.zeros(1), torch.logspace(-6, 5, 300)]).double()
    left = (torch.exp(-rates * x.unsqueeze(1)) * weights).sum(1)
    want = (1 + x / retention.log_clock.exp()) ** -retention.log_decay.exp()
    torch.testing.assert_close(left, want, rtol=0, atol=1e-7)
    assert (left.diff() <= 1e-12).all()


def test_what_attention_leaves_out_weighs_nothing():
    """All steps beyond the reach of a head together, if they fit up to 5 nats better."""
    attention = DecayAttention(16, 4, decay=True)
    slopes = torch.nn.functional.softplus(attention.raw_slopes).tolist()
    for slope, reach in zip(slopes, attention.reach(), strict=True):
        assert reach >= NOTHING / slope
        assert np.exp(5 - slope * reach) / np.expm1(slope) < 1e-6
    with torch.no_grad():
        attention.raw_slopes.fill_(-20.0)  # hardly any decay: then this is where attention ends
    assert attention.reach() == [MOST_KEYS] * 4


def test_memory_of_the_encoder_does_not_grow_beyond_its_reach():
    model = make()
    with torch.no_grad():
        for block in model.encoder.blocks:
            block.attention.raw_slopes.fill_(2.0)
        q, r, _, _ = answers(B=1, steps=200)
        memory = model.encoder.memory()
        for _ in range(200):
            known = torch.zeros(1, 1, 3, dtype=torch.float64)
            model.encoder.onward(memory, q[:, :1], r[:, :1], None, known)
    assert max(group.keys.shape[2] for block in memory.seen for group in block) < 60
    assert memory.steps == 200
