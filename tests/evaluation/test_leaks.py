"""No look ahead, no company: one list of models and baselines, one set of properties.

Networks have random weights and baselines random parameters, so that nothing is small or zero. The
counters and the base rate are asked like models. What is computed with NumPy agrees exactly; what
goes through float32 networks agrees exactly where shapes are the same, and to `NOISE` elsewhere.
"""

import dataclasses

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import module_of, stir
from hypothesis import example, given, settings
from hypothesis import strategies as st
from leaks import LIMIT, shuffled_within_skill, within_skill_auc

from kt_core.baselines.ability import Effects
from kt_core.baselines.bkt import BKT, CEILING, FLOOR
from kt_core.baselines.counts import SkillBaseRate
from kt_core.baselines.factors import AFM, Rasch
from kt_core.baselines.logistic import PFA, BestLR, Weights
from kt_core.baselines.neural import AKT, DKT, SAKT, SimpleKT
from kt_core.baselines.skeleton import IDLE, SkeletonTracer
from kt_core.config import DataConfig, ModelConfig
from kt_core.data import Sequences, Vocabulary, make_splits
from kt_core.data.simulate import Simulation, simulate
from kt_core.evaluation.beliefs import Beliefs
from kt_core.evaluation.evaluate import evaluate
from kt_core.evaluation.masked import hidden_answers
from kt_core.evaluation.measures import association_table, measure
from kt_core.evaluation.tracer import Trace
from kt_core.metrics.bootstrap import Bootstrap
from kt_core.metrics.nulls import gain_nulls, step_nulls
from kt_core.model import GainAKT2
from kt_core.recurrent import Shape
from kt_core.training.train import train

NOISE = 2e-5  # float32, another shape of the same batch
C, CHUNK = 5, 16
ITEM_SKILL = tuple(np.repeat(range(C), 3).tolist())
NAMES = tuple(map(str, range(C)))
VOCABULARY = Vocabulary(NAMES, tuple(map(str, range(15))), ITEM_SKILL)
PRE = ("predicted", "mastery_pre", "gains_before", "difficulty", "flip")  # may see the steps before
POST = ("mastery_post", "gain", "revision")  # may see the step's own answer too


@dataclasses.dataclass
class Ours:
    """`evaluate` behind the interface of the baselines."""

    model: GainAKT2

    def trace(self, sequences):
        beliefs = evaluate(self.model, sequences)
        known = {f.name for f in dataclasses.fields(Trace)} & set(beliefs.frame)
        columns = {name: beliefs.frame[name].to_numpy() for name in known}
        return Trace(**columns, middle=beliefs.middle, final=beliefs.final)


@dataclasses.dataclass
class Null:
    """A null of `kt_core.metrics.nulls` as if it were a tracer."""

    name: str

    def trace(self, sequences):
        frame = Beliefs.of(sequences, Trace(np.zeros(sequences.interactions))).frame
        base = np.linspace(0.3, 0.8, C)
        pre, post = (step_nulls(frame, base, post=p)[self.name] for p in (False, True))
        return Trace(pre, pre, post, gain=gain_nulls(frame, base)[self.name])


def ours(items=True, **kwargs):
    torch.manual_seed(0)
    shape = {"d_model": 16, "heads": 2, "blocks": 2, "d_ff": 16} | kwargs
    return Ours(stir(GainAKT2(ModelConfig(**shape), C, ITEM_SKILL if items else ())))


def neural(cls):
    torch.manual_seed(1)
    tracer = cls()
    tracer.skills, tracer.network = C, cls.kind(Shape(16, 2), C, len(ITEM_SKILL))
    stir(tracer.network)
    return tracer


def logistic(cls):
    rng, tracer = np.random.default_rng(2), cls()
    effects = (rng.normal(0, 0.3, n) for n in (C, C, C, 2, len(ITEM_SKILL) + 1))
    tracer.weights = Weights(*(x * (cls.totals or len(x) == C) for x in effects))
    return tracer


def ability(cls, **kwargs):
    rng, tracer = np.random.default_rng(4), cls(**kwargs)
    skill, item = rng.normal(0, 0.5, C), rng.normal(0, 0.5, len(ITEM_SKILL))
    slope = rng.uniform(0, 0.3, C) * cls.slopes
    tracer.effects = Effects(skill, slope, np.append(0.0, item), 1.2, cls.slopes)
    return tracer


def skeleton():
    torch.manual_seed(5)
    tracer = SkeletonTracer()
    tracer.model = GainAKT2(IDLE, C, ITEM_SKILL).eval()
    stir(tracer.model.heads.skeleton)
    return tracer


def bkt(**kwargs):
    tracer = BKT(**kwargs)
    tracer.parameters = np.random.default_rng(3).uniform(FLOOR, CEILING[:, None], (4, C))
    return tracer


def base_rate():
    tracer = SkillBaseRate()
    tracer.rates = np.linspace(0.3, 0.8, C)
    return tracer


MODELS = {
    "retrospective": lambda: ours(items=False),
    "retrospective, items": ours,
    "retrospective, no transfer": lambda: ours(transfer=False),
    "retrospective, plain": lambda: ours(transfer=False, fading=0, recent=0, start_token=False),
    "cumulative": lambda: ours(mode="cumulative"),
    "cumulative, absolute positions": lambda: ours(mode="cumulative", position="absolute"),
    "projection": lambda: ours(mode="projection"),
    "DKT": lambda: neural(DKT),
    "SAKT": lambda: neural(SAKT),
    "simpleKT": lambda: neural(SimpleKT),
    "AKT": lambda: neural(AKT),
    "PFA": lambda: logistic(PFA),
    "Best-LR": lambda: logistic(BestLR),
    "skeleton": skeleton,
    "BKT": bkt,
    "BKT-correct": lambda: bkt(read="correct"),
    "Rasch": lambda: ability(Rasch),
    "AFM": lambda: ability(AFM),
    "AFM, chunks cold": lambda: ability(AFM, whole=False),
    "skill base rate": base_rate,
    "time index": lambda: Null("time index"),
    "opportunity count": lambda: Null("opportunity count"),
    "success counter": lambda: Null("success counter"),
}
BLIND = ("skill base rate", "time index", "opportunity count")  # see no answer at all


WHOLE = ("retrospective", "cumulative", "Rasch", "AFM")  # carry a belief into the next chunk


def is_exact(tracer):
    return not isinstance(tracer, (Ours, SkeletonTracer, AKT, DKT, SAKT, SimpleKT))


@pytest.fixture(scope="module", params=MODELS)
def tracer(request):
    return MODELS[request.param]()


def histories(seed=0, lengths=(37, 9, 24, 16, 17, 3)):
    """Learners with random skills, items and answers; the first has three chunks."""
    rng, user = (
        np.random.default_rng(seed),
        np.repeat([f"u{i}" for i in range(len(lengths))], lengths),
    )
    item = rng.integers(len(ITEM_SKILL), size=len(user))
    table = pd.DataFrame({"user": user, "item": item.astype(str)})
    table["skill"] = np.array(ITEM_SKILL)[item].astype(str)
    return table.assign(correct=rng.integers(2, size=len(user)))


def read(table):
    return Sequences.of(table, VOCABULARY, CHUNK, min_length=1)


def step_of(table):
    return table.groupby("user", sort=False).cumcount().to_numpy()


def same(got, want, exact, message=""):
    if exact:
        np.testing.assert_array_equal(got, want, err_msg=message)
    else:
        np.testing.assert_allclose(got, want, atol=NOISE, rtol=NOISE, err_msg=message)


def ends(sequences, seen):
    """How many steps of the learner's whole history a state after `seen` steps has seen."""
    return CHUNK * sequences.chunk + seen


@given(seed=st.integers(0, 10**6), t=st.integers(0, 36))
@example(seed=0, t=16)  # a chunk of one step begins there
@settings(max_examples=4)
def test_nothing_from_step_t_on_changes_anything_dated_before(tracer, seed, t):
    table, rng = histories(seed), np.random.default_rng(seed)
    step, item = step_of(table), rng.integers(len(ITEM_SKILL), size=len(table))
    other = table.copy()
    other.loc[step >= t, "correct"] ^= 1
    later = step > t
    other.loc[later, "item"] = item[later].astype(str)
    other.loc[later, "skill"] = np.array(ITEM_SKILL)[item[later]].astype(str)
    s = read(table)
    want, got = tracer.trace(s), tracer.trace(read(other))
    for name, column in want.columns().items():
        new = getattr(got, name)
        if name == "flip":  # at t itself the true answer and the other one change places
            at = step == t
            np.testing.assert_allclose(new[at], column[at], atol=NOISE, rtol=NOISE)
        until = t - (name in POST or name == "flip")
        if name in PRE + POST:
            same(new[step <= until], column[step <= until], True, name)
    for name, seen in (("middle", s.lengths // 2), ("final", s.lengths)):
        if getattr(want, name) is not None:
            before = ends(s, seen) <= t
            same(getattr(got, name)[before], getattr(want, name)[before], True, name)


def test_answers_do_change_what_comes_after(tracer, request):
    """Otherwise the property above would hold of a model that reads nothing."""
    table = histories()
    step, t = step_of(table), 4
    other = table.assign(correct=table["correct"] ^ (step == t))
    want, got = tracer.trace(read(table)), tracer.trace(read(other))
    blind = request.node.callspec.params["tracer"] in BLIND
    after = ~np.isnan(want.predicted) & (step > t) & (step < CHUNK)
    changed = got.predicted[after] != want.predicted[after]
    assert not changed.any() if blind else changed.mean() > 0.15
    if got.mastery_last is not None:  # as believed at the end: may look ahead, and does
        moved = (got.mastery_last != want.mastery_last)[step < t].mean()
        assert moved > (0.15 if isinstance(tracer, BKT) else 0.5)  # BKT's skills are independent


@pytest.mark.parametrize("t", [1, 16, 30])
def test_a_history_that_ends_is_the_beginning_of_a_longer_one(tracer, t):
    table = histories()
    step = step_of(table)
    short = table[step <= t].reset_index(drop=True)
    want, got = tracer.trace(read(table)), tracer.trace(read(short))
    for name in PRE + POST:
        if getattr(want, name) is not None:
            whole = getattr(want, name)[step <= t]
            same(getattr(got, name), whole, is_exact(tracer), name)


def blocks(table, order):
    """The table with its learners in another order, and where each row went."""
    rows = [np.flatnonzero(table["user"] == user) for user in table["user"].unique()[list(order)]]
    rows = np.concatenate(rows)
    return table.iloc[rows].reset_index(drop=True), rows


def budget(monkeypatch, tokens):
    monkeypatch.setattr(module_of(evaluate), "reading_tokens", lambda device: tokens)
    monkeypatch.setattr("kt_core.baselines.neural.READING", tokens)


@pytest.mark.parametrize("tokens", [40, 10**6])  # one or a few at a time; all padded to 90
def test_company_order_batches_and_padding_change_no_belief(tracer, tokens, monkeypatch):
    table = histories()
    want = tracer.trace(read(table))
    longer = pd.concat([table, histories(1, (90,)).assign(user="long")], ignore_index=True)
    mixed, rows = blocks(longer, [3, 6, 0, 5, 2, 1, 4])
    budget(monkeypatch, tokens)
    got, kept = tracer.trace(read(mixed)), rows < len(table)
    for name, column in want.columns().items():
        new = getattr(got, name)[kept]
        same(new, column[rows[kept]], is_exact(tracer), name)


@pytest.mark.parametrize("name", [n for n in MODELS if n not in WHOLE])
def test_chunks_in_any_order(name):
    """Where each chunk is its own history; our models read a learner's chunks one after another."""
    tracer, s = MODELS[name](), read(histories())
    if isinstance(tracer, (Ours, SkeletonTracer, Null)):
        s = read(histories(lengths=(16, 9, 12, 3, 7)))
    order = np.random.default_rng(0).permutation(len(s))
    rows = np.concatenate([s.starts[i] + np.arange(s.lengths[i]) for i in order])
    steps = {n: getattr(s, n)[rows] for n in ("skill", "item", "response")}
    lengths = s.lengths[order]
    other = dataclasses.replace(
        s,
        **steps,
        starts=np.cumsum(lengths) - lengths,
        lengths=lengths,
        learner=s.learner[order],
        chunk=s.chunk[order],
    )
    want, got = tracer.trace(s), tracer.trace(other)
    for field, column in want.columns().items():
        same(getattr(got, field), column[rows], is_exact(tracer), field)
    for field in ("middle", "final"):
        if getattr(want, field) is not None:
            new, old = getattr(got, field), getattr(want, field)[order]
            same(new, old, is_exact(tracer), field)


def values_of(m):
    """Every measured value by name, without intervals: resamples go by number of learner."""
    found = {"miscalibration": m.miscalibration}
    for name in ("prediction", "violations", "associations", "conduct", "collapse", "skills"):
        table = getattr(m, name)
        drawn = ("draws", "low", "high", "gap_low", "gap_high")
        kinds = {c: pd.api.types.is_numeric_dtype(table[c]) for c in table if c not in drawn}
        words, numbers = ([c for c in kinds if kinds[c] == kind] for kind in (False, True))
        for row in table.to_dict("records"):
            key = (name, *(row[w] for w in words))
            found |= {(*key, n): row[n] for n in numbers}
    return found


@pytest.mark.parametrize("name", ["retrospective, items", "cumulative", "DKT", "PFA", "AFM"])
def test_no_measure_depends_on_company_order_or_batches(name, monkeypatch):
    """One of each kind of evidence: measures know nothing of the model behind it."""
    tracer, base = MODELS[name](), np.linspace(0.3, 0.8, C)
    table = histories(5, (60, 37, 9, 44, 25, 16, 17, 50))
    mixed, _ = blocks(table, [4, 2, 7, 0, 1, 6, 5, 3])
    results = []
    for tokens, rows in ((4096, table), (100, mixed)):
        budget(monkeypatch, tokens)
        s = read(rows)
        if isinstance(tracer, Ours):
            beliefs = evaluate(tracer.model, s)
        else:
            beliefs = Beliefs.of(s, tracer.trace(s))
        results.append(values_of(measure(beliefs, base, NAMES, 20)))
    assert len(results[0]) > 150
    assert results[1].keys() == results[0].keys()
    for key, value in results[0].items():
        assert results[1][key] == pytest.approx(value, rel=1e-4, abs=NOISE, nan_ok=True), key


@pytest.mark.parametrize("name", [n for n in MODELS if n not in (*BLIND, "success counter")])
def test_later_answers_enter_prospective_validity_as_outcomes_only(name):
    """All answers of the second halves flipped: states and nulls stay, and r changes its sign."""
    tracer, table = MODELS[name](), histories(7, (16, 16, 14, 12, 16, 15, 16, 13))
    size = table.groupby("user")["user"].transform("size")
    later = step_of(table) >= size // 2
    values = []
    for rows in (table, table.assign(correct=table["correct"] ^ later)):
        s = read(rows)
        beliefs, base = Beliefs.of(s, tracer.trace(s)), np.linspace(0.3, 0.8, C)
        m = association_table(beliefs, base, Bootstrap(len(s.learners), 20))
        m = m[m["measure"].str.contains("prospective")]
        values.append(m.set_index(["measure", "variant", "predictor"])["value"])
    assert values[0].notna().sum() > 5
    np.testing.assert_allclose(values[1], -values[0], atol=1e-9)


def test_hidden_answers_do_not_depend_on_batches(monkeypatch):
    model, s = ours().model, read(histories())
    want = hidden_answers(model, s)
    monkeypatch.setattr("kt_core.evaluation.masked.reading_tokens", lambda device: 1)
    pd.testing.assert_frame_equal(hidden_answers(model, s), want, atol=NOISE, rtol=NOISE)


@pytest.fixture(scope="module")
def noise():
    """Simulated learners whose answers are shuffled within each skill, as splits by seed."""
    data = simulate(Simulation(learners=150))
    config = DataConfig(learners=150, test_fraction=0.4)
    return lambda seed: make_splits(shuffled_within_skill(data, seed), config)


def far(tracer, splits, seeing=False):
    """Standard errors between the AUC within skill and one half."""
    trace = tracer.trace(splits.test)
    if seeing:
        trace.predicted = trace.predicted + 0.05 * splits.test.response
    beliefs = Beliefs.of(splits.test, trace)
    auc, error = within_skill_auc(beliefs, Bootstrap(len(beliefs.learners), 100))
    return (auc - 0.5) / error


def test_shuffling_keeps_each_skill_and_nothing_else():
    data = simulate(Simulation(learners=40))
    mixed = shuffled_within_skill(data, 0)
    a, b = (d.table.groupby("skill")["correct"].agg(["sum", "size"]) for d in (data, mixed))
    pd.testing.assert_frame_equal(a, b)
    assert (data.table["correct"] != mixed.table["correct"]).mean() > 0.3
    assert not any(c.startswith("true") for c in mixed.table)


CHEAP = [PFA((1.0,)), BestLR((1.0,)), BKT(starts=2, max_iterations=20)]
CHEAP += [Rasch(ladders={}), AFM(ladders={})]


@pytest.mark.parametrize("tracer", CHEAP, ids=lambda t: t.name)
def test_shuffled_answers_cannot_be_predicted(tracer, noise):
    z = []
    for seed in range(8):
        splits = noise(seed)
        tracer.fit(splits)
        z.append(far(tracer, splits))
    assert abs(np.mean(z)) < LIMIT / 8**0.5 and max(map(abs, z)) < LIMIT
    assert 0.35 < np.std(z, ddof=1) < 2  # the noise is of the size that the interval says
    assert far(tracer, splits, seeing=True) > LIMIT


def test_our_default_cannot_predict_shuffled_answers(noise, smoke, tmp_path):
    splits = noise(0)
    model = Ours(train(smoke[0], splits, tmp_path / "run").model)
    assert abs(far(model, splits)) < LIMIT < far(model, splits, seeing=True)
