"""Where nothing can be said, a report says so in words and gives no number."""

import dataclasses
import warnings
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import pearsonr

from kt_core.config import DataConfig, RunConfig
from kt_core.data import Dataset, Sequences, Vocabulary
from kt_core.evaluation.beliefs import Beliefs
from kt_core.evaluation.masked import gain_necessity
from kt_core.evaluation.measures import measure
from kt_core.evaluation.shape import forgetting
from kt_core.evaluation.tracer import Trace
from kt_core.metrics.association import Association
from kt_core.metrics.bootstrap import Bootstrap
from kt_core.metrics.invariants import shares
from kt_core.monitor import BatchSums, batch_metrics, pearson, skill_average_pearson
from kt_core.report.tables import (
    association_text,
    prediction_text,
    quantities_text,
    recovery_text,
    violation_text,
)
from kt_core.report.verdicts import (
    UNDEFINED,
    _auc,
    _correlation,
    _forgetting,
    _necessity,
    _violation,
)
from kt_core.studies.audit import audit

SKILLS = ("a", "b", "c")


def evidence_of(lengths, correct=None, constant=None, learners=None):
    """Learners with random beliefs, or the same belief everywhere."""
    rng = np.random.default_rng(0)
    user = np.repeat([f"u{i}" for i in range(len(lengths))], lengths)
    n, truth = len(user), rng.random(len(user))
    table = pd.DataFrame({"user": user, "skill": rng.choice(SKILLS, n)})
    table["correct"] = rng.integers(2, size=n) if correct is None else correct
    table = table.assign(true_mastery=truth, true_before=truth, true_gain=rng.random(n))
    s = Sequences.of(table, Vocabulary(SKILLS), 200, 1)

    def some(*shape):
        return rng.random(shape) if constant is None else np.full(shape, constant)

    before, states = some(n), some(len(s), 3)
    before[s.starts] = np.nan
    trace = Trace(before, before, some(n), some(n), some(n), some(n), middle=states, final=states)
    trace.revision, trace.flip = some(n), some(n) - (0.5 if constant is None else constant)
    return Beliefs.of(s, trace)


def empty():
    e = evidence_of([5, 5])
    states = {"middle": e.middle[:0], "final": e.final[:0]}
    return dataclasses.replace(e, frame=e.frame.iloc[:0], learners=e.learners[:0], **states)


def nobody_predicted():
    e = evidence_of([30] * 3)
    return dataclasses.replace(e, frame=e.frame.assign(predicted=np.nan))


CORRELATIONS = ("mastery-response", "gain-correctness", "prospective")
CASES = {  # evidence, and the measures that must not be defined
    "all right": (lambda: evidence_of([30] * 5, 1), ("AUC", "agreement", *CORRELATIONS)),
    "all wrong": (lambda: evidence_of([30] * 5, 0), ("AUC", "agreement", *CORRELATIONS)),
    "constant mastery": (
        lambda: evidence_of([30] * 5, constant=0.4),
        (*CORRELATIONS, "mastery-prediction", "rank correlation", "share of the logit"),
    ),
    "mastery 1": (
        lambda: evidence_of([30] * 5, constant=1.0),
        (*CORRELATIONS, "mastery-prediction", "rank correlation", "share of the logit"),
    ),
    "two steps each": (lambda: evidence_of([2, 2, 2]), ("prospective",)),
    "one step each": (lambda: evidence_of([1, 1]), CORRELATIONS),
    "one answer": (lambda: evidence_of([1]), CORRELATIONS),
    "two answers": (lambda: evidence_of([2]), ("AUC", "agreement", *CORRELATIONS)),
    "nobody predicted": (nobody_predicted, ()),
    "nobody": (empty, ("share", "prospective", "gain-correctness", "growth", "mastery")),
}


def every_row(m):
    """Rows of all tables with a value: name, value, low, high."""
    tables = (m.prediction, m.violations, m.associations, m.conduct, m.collapse, m.recovery)
    keys = ("quality", "constraint", "measure", "quantity")
    for table in tables:
        for row in table.to_dict("records"):
            if row.get("kind", "model") == "model" and row.get("predictor", "model") == "model":
                name = next(row[k] for k in keys if k in row)
                value = row["value"] if "value" in row else row["share"]
                yield name, value, row.get("low", np.nan), row.get("high", np.nan)


def texts(m):
    """What a report shows of it."""
    tables = (
        association_text(m),
        prediction_text(m),
        violation_text(m),
        quantities_text(m.conduct),
        recovery_text(m) if len(m.recovery) else pd.DataFrame(),
    )
    return [str(cell) for table in tables for row in table.to_numpy() for cell in row]


@pytest.mark.parametrize("case", CASES)
def test_what_is_not_defined_is_no_number_and_says_so(case):
    build, undefined = CASES[case]
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # a mean of nothing would warn
        m = measure(build(), np.full(3, 0.5), SKILLS, 30)
        shown = texts(m)
    rows = list(every_row(m))
    for name, value, low, high in rows:
        assert not np.isinf([value, low, high]).any(), name
        assert np.isfinite(value) or np.isnan([low, high]).all(), name
        if any(name.startswith(u) or u in name for u in undefined):
            assert np.isnan(value), name
    found = [u for u in undefined if any(u in name for name, *_ in rows)]
    assert len(found) >= len(undefined) - 2 and not any("nan" in text for text in shown)
    if undefined and any(np.isnan(v) for n, v, *_ in rows if "r" in n):
        assert any(text.startswith("not defined") for text in shown)
    if case in ("nobody predicted", "nobody", "one step each", "one answer"):
        assert m.prediction.empty and m.calibration.empty and np.isnan(m.miscalibration)


def test_one_learner_has_values_and_no_interval():
    m = measure(evidence_of([60]), np.full(3, 0.5), SKILLS, 30)
    rows = list(every_row(m))
    assert np.isfinite([value for _, value, *_ in rows]).sum() > 20
    assert np.isnan([ends for _, _, *ends in rows]).all()
    shown = [t for t in texts(m) if t.startswith("0.")]
    assert shown and any(t.endswith("(interval not defined)") for t in shown)
    together = list(every_row(measure(evidence_of([60, 60]), np.full(3, 0.5), SKILLS, 30)))
    assert np.isfinite([ends for _, _, *ends in together]).any()


def test_verdicts_on_nothing_are_words():
    m = measure(evidence_of([1, 1]), np.full(3, 0.5), SKILLS, 30)
    hidden = pd.DataFrame({"learner": [0], "skill": [0], "step": [0], "correct": [1]})
    hidden = hidden.assign(believed=0.1, gains_before=0.0, flat=0.0, shuffled=0.0)
    m.necessity = gain_necessity(hidden, Bootstrap(1, 30))
    m.forgetting = forgetting(hidden, SKILLS)
    row = _violation(m, "monotonicity", 0.2, guaranteed=True)
    assert row["verdict"] == UNDEFINED and "nan" not in row["value"]
    (row,) = _necessity(m)
    assert (row["value"], row["verdict"]) == ("not defined", UNDEFINED)
    (row,) = _forgetting(m)
    assert row["verdict"].startswith(UNDEFINED)
    row = _correlation(m, "gain-correctness", "pooled", 0.4)
    assert (row["value"], row["verdict"]) == ("not defined", UNDEFINED)
    nan = SimpleNamespace(value=np.nan, low=np.nan, high=np.nan)
    m.prediction = pd.DataFrame({"quality": ["AUC"], "predictor": ["model"], "value": [np.nan]})
    run = SimpleNamespace(config=RunConfig(data=DataConfig(dataset="assist2015")))
    examined = SimpleNamespace(valid_auc=nan, valid_null_auc=nan, measures=m, run=run, split="test")
    row = _auc(examined, RunConfig().targets)
    assert (row["value"], row["verdict"]) == ("not defined", UNDEFINED)


def test_hidden_answers_of_nobody_and_of_one():
    columns = (
        "learner",
        "skill",
        "step",
        "correct",
        "believed",
        "gains_before",
        "flat",
        "shuffled",
    )
    nobody = pd.DataFrame({c: np.zeros(0, int if i < 4 else float) for i, c in enumerate(columns)})
    assert gain_necessity(nobody, Bootstrap(3, 30))["value"].isna().all()
    assert forgetting(nobody, SKILLS).empty
    one = pd.DataFrame(0, index=range(4), columns=list(columns))
    table = gain_necessity(one, Bootstrap(1, 30))
    assert table["value"].notna().all() and table[["low", "high"]].isna().all(axis=None)


@pytest.mark.parametrize(("correct", "mastery"), [([1, 1, 1, 1], None), ([1, 0, 1, 0], 0.5)])
@pytest.mark.parametrize("sees", ["pre", "post", "retrospective"])
def test_an_audit_of_one_class_or_of_a_constant(correct, mastery, sees):
    table = pd.DataFrame({"user": list("aabb"), "skill": ["x"] * 4, "correct": correct})
    given = pd.DataFrame({"learner": list("aabb"), "step": [1, 2, 1, 2], "skill": "x"})
    given["mastery"] = [0.2, 0.4, 0.6, 0.9] if mastery is None else mastery
    m = audit(given, Dataset("r", table), sees, 30).measures
    for name, value, *_ in every_row(m):
        if name == "mastery-response" or (name in ("AUC", "degree of agreement") and not mastery):
            assert np.isnan(value), name
    assert not any("nan" in text for text in texts(m))


def test_the_monitor_says_nothing_of_a_batch_without_spread_or_entries():
    one, nothing = torch.ones(7), torch.zeros(0)
    for x in (one, one * 0.1, one.double() * 0.1, one.double() * -0.1, nothing):
        assert pearson(x, x).isnan() and pearson(torch.arange(len(x)).float(), x).isnan()
        skill = torch.zeros(len(x), dtype=torch.long)
        assert skill_average_pearson(x, x, skill, 3).isnan()
    x, y, skill = torch.rand(3), torch.tensor([0.0, 1.0, 1.0]), torch.tensor([0, 0, 1])
    alone = skill_average_pearson(x, y, skill, 3)  # skill 1 has one row: no r of its own
    assert alone.item() == pytest.approx(pearson(x[:2], y[:2]).item())
    names = ("monotonicity", "monotonicity_n", "entries", "at_bounds", "zero_gains")
    counts = dict.fromkeys(names, torch.tensor(0))
    assert np.isnan(shares(counts)["monotonicity"])
    long = nothing.long()
    seen = BatchSums(counts, nothing, nothing, nothing, nothing, long, nothing, nothing)
    assert all(torch.as_tensor(v).isnan() for v in batch_metrics(seen, 3).values())


def test_fewer_than_three_rows_have_no_correlation():
    x, who = np.array([0.1, 0.2, np.nan]), np.zeros(3, int)
    a = Association(x, np.array([0.0, 1.0, 1.0]), who, who, Bootstrap(1, 20))
    variants = ("pooled", "within_skill", "skill_average", "learner_average")
    assert all(np.isnan(a.estimate(v).value) for v in variants) and a.entries == 0
    x[2] = 0.4
    b = Association(x, np.array([0.0, 1.0, 1.0]), who, who, Bootstrap(1, 20))
    assert b.estimate("pooled").value == pytest.approx(pearsonr(x, [0, 1, 1])[0])


@pytest.mark.parametrize("constant", [0.1, -0.1])
def test_rounding_is_no_spread(constant):
    """Sums of shares of a constant, as in prospective validity per learner, differ by rounding."""
    rng = np.random.default_rng(0)
    shares = rng.dirichlet(np.ones(6), size=50)
    x, who = (shares * constant).sum(axis=1), np.arange(50) % 5
    assert np.ptp(x) > 0
    a = Association(x, rng.random(50), who, who, Bootstrap(5, 20))
    assert np.isnan(a.pooled()).all() and np.isnan(a.within_skill()).all()


def test_a_skill_without_spread_has_no_part_in_the_mean_over_skills():
    rng, parts = np.random.default_rng(1), []
    for skill in range(40):  # skills of 3 to 42 rows, all but the last with one outcome
        n = skill + 3
        y = rng.random(n) if skill == 39 else np.full(n, rng.random())
        parts.append(np.column_stack([rng.random(n), y, np.full(n, skill)]))
    x, y, skill = np.concatenate(parts).T
    for a, b in ((x, y), (y, x)):
        got = Association(a, b, np.arange(len(a)) % 3, skill.astype(int), Bootstrap(3, 0))
        want = pearsonr(x[skill == 39], y[skill == 39])[0]
        assert got.skill_average()[0] == pytest.approx(want)
    flat, one = skill < 39, np.zeros(len(x), int)
    for a, b in ((x, y), (y, x), (x, -y)):
        rows = (v[flat] for v in (a, b, one, skill.astype(int)))
        assert np.isnan(Association(*rows, Bootstrap(1, 0)).within_skill()[0])


def test_no_correlation_is_beyond_one():
    rng, who = np.random.default_rng(2), np.zeros(5, int)
    for _ in range(100):
        x = rng.normal(size=5)
        for sign in (1, -1):
            r = Association(x, sign * 3 * x, who, who, Bootstrap(1, 0)).pooled()[0]
            assert abs(r) <= 1 and r == pytest.approx(sign)
