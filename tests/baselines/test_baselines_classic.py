"""Compare PFA, Best-LR, BKT and the base rate with slow loops, re-tracing and pyBKT."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from kt_core.base.errors import KTError
from kt_core.baselines.bkt import BKT, CEILING, FLOOR, Strands, em_step, filtered, smoothed
from kt_core.baselines.counts import SkillBaseRate, item_of, step_of
from kt_core.baselines.logistic import PFA, BestLR
from kt_core.data.sequences import Sequences, Splits, Vocabulary
from kt_core.data.table import Dataset
from kt_core.evaluation.beliefs import Beliefs
from kt_core.evaluation.measures import violation_table
from kt_core.metrics.bootstrap import Bootstrap

TRACERS = ("PFA", "Best-LR", "BKT")


def to_splits(table, train=0.6, valid=0.3):
    """Split learners in order: the first for training, then validation, the rest for testing."""
    vocabulary = Vocabulary.of(table)
    at = table["user"].rank(method="dense") / table["user"].nunique()
    part = np.digitize(at, [train, train + valid], right=True)
    parts = [Sequences.of(table[part == p].reset_index(drop=True), vocabulary) for p in range(3)]
    return Splits(Dataset("test", table), vocabulary, *parts)


@pytest.fixture(scope="module")
def splits():
    """Learners differ in ability, items in difficulty; skill 4 occurs only in test data."""
    rng, rows = np.random.default_rng(1), []
    for user in range(80):
        ability, seen = rng.normal(), np.zeros(5)
        for _ in range(rng.integers(3, 30)):
            k, i = rng.integers(4), rng.integers(3)
            right = rng.random() < expit(ability + 0.2 * seen[k] - 0.8 * (i - 1) - 0.3 * k)
            seen[k] += 1
            rows.append((f"{user:03d}", f"k{k}", int(right), f"k{k}i{i}"))
    rows += [("080", f"k{k}", r, f"k{k}i{r}") for k, r in [(4, 1), (0, 0), (4, 0), (4, 1)]]
    return to_splits(pd.DataFrame(rows, columns=["user", "skill", "correct", "item"]))


@pytest.fixture(scope="module")
def tracers(splits):
    fitted = {t.name: t for t in (PFA(), BestLR(), BKT(), SkillBaseRate())}
    for tracer in fitted.values():
        tracer.fit(splits, seed=0)
    return fitted


def cut(sequences, steps):
    """Return the first `steps` [S] steps of each sequence."""
    keep = step_of(sequences) < np.repeat(steps, sequences.lengths)
    rows = {n: getattr(sequences, n)[keep] for n in ("skill", "item", "response")}
    return replace(sequences, **rows, starts=np.cumsum(steps) - steps, lengths=steps)


def slow_counts(sequences):
    """Count right and wrong answers, on the skill and on all skills, before each row."""
    for start, length in zip(sequences.starts, sequences.lengths, strict=True):
        for t in range(start, start + length):
            past = sequences.response[start:t]
            own = past[sequences.skill[start:t] == sequences.skill[t]]
            yield own.sum(), (1 - own).sum(), past.sum(), (1 - past).sum()


@pytest.mark.parametrize("name", ["PFA", "Best-LR"])
def test_features_and_predictions_row_by_row(tracers, splits, name):
    tracer, data, C = tracers[name], splits.valid, len(splits.vocabulary.skills)
    w, items = tracer.weights, len(tracers["Best-LR"].weights.item) - 1
    features = tracer.features(data, C, items).toarray()
    trace = tracer.trace(data)
    assert features.shape == (data.interactions, 3 * C + (2 + items if tracer.totals else 0))
    for n, counts in enumerate(slow_counts(data)):
        k, i = data.skill[n], item_of(data)[n]
        s, f, all_s, all_f = (np.log(1 + c) if tracer.totals else c for c in counts)
        want = np.zeros(features.shape[1])
        want[[k, C + k, 2 * C + k]] = 1, s, f
        own = w.easiness[k] + w.right[k] * s + w.wrong[k] * f
        if tracer.totals:
            want[3 * C : 3 * C + 2] = all_s, all_f
            want[3 * C + 1 + i] = 1 if i else want[3 * C + 1]
            own += w.totals @ [all_s, all_f]
        np.testing.assert_allclose(features[n], want)
        if n not in data.starts:
            assert trace.mastery_pre[n] == pytest.approx(expit(own))
            assert trace.predicted[n] == pytest.approx(expit(own + w.item[i * tracer.totals]))


@pytest.mark.parametrize("name", ["PFA", "Best-LR"])
def test_fit_is_the_logistic_regression_with_the_best_penalty(tracers, splits, name):
    tracer, scored = tracers[name], step_of(splits.valid) > 0
    C, items = len(splits.vocabulary.skills), item_of(splits.train).max()
    train, valid = (tracer.features(s, C, items) for s in (splits.train, splits.valid))
    losses = {}
    for strength in tracer.strengths:
        model = LogisticRegression(C=strength, tol=1e-8, max_iter=9000)
        p = model.fit(train, splits.train.response).predict_proba(valid)[scored, 1]
        y = splits.valid.response[scored]
        losses[strength] = -np.log(np.where(y == 1, p, 1 - p)).mean()
        if strength == tracer.strength:
            np.testing.assert_allclose(tracer.trace(splits.valid).predicted[scored], p, atol=1e-3)
    assert tracer.strength == min(losses, key=losses.get)


@pytest.mark.parametrize("name", TRACERS)
def test_nothing_depends_on_later_answers_or_other_learners(tracers, splits, name):
    tracer, data = tracers[name], splits.valid
    want, step = tracer.trace(data), step_of(data)
    for t in (1, 2, 5):
        later = (step >= t) & (np.repeat(np.arange(len(data)), data.lengths) > 0)
        got = tracer.trace(
            replace(data, response=np.where(later, 1 - data.response, data.response))
        )
        for field, until in [("predicted", t), ("mastery_pre", t), ("mastery_post", t - 1)]:
            kept = (step <= until) | ~later
            np.testing.assert_array_equal(getattr(got, field)[kept], getattr(want, field)[kept])
        assert not np.array_equal(got.mastery_post, want.mastery_post)
    for values in (want.predicted, want.mastery_pre):
        np.testing.assert_array_equal(np.isnan(values), step == 0)


def check_flips(tracer, data, trace, every):
    """Compare told flips with those found by turning one answer at a time."""
    for n in range(0, data.interactions, every):
        post = []
        for r in (0, 1):
            response = data.response.copy()
            response[n] = r
            post.append(tracer.trace(replace(data, response=response)).mastery_post[n])
        assert trace.flip[n] == pytest.approx(post[1] - post[0], abs=1e-12)


@pytest.mark.parametrize("name", TRACERS)
def test_flip_is_what_flipping_the_answer_does(tracers, splits, name):
    tracer, data = tracers[name], splits.valid
    trace = tracer.trace(data)
    check_flips(tracer, data, trace, every=7)
    assert name != "BKT" or (trace.flip >= 0).all()  # by the bounds on guess and slip


@pytest.mark.parametrize("name", TRACERS)
def test_middle_and_final_are_states_of_shorter_histories(tracers, splits, name):
    tracer, data = tracers[name], splits.valid
    trace = tracer.trace(data)
    np.testing.assert_allclose(trace.middle, tracer.trace(cut(data, data.lengths // 2)).final)
    last, rows = data.starts + data.lengths - 1, np.arange(len(data))
    np.testing.assert_allclose(trace.final[rows, data.skill[last]], trace.mastery_post[last])
    before = tracer.trace(cut(data, data.lengths - 1))
    np.testing.assert_allclose(before.final[rows, data.skill[last]], trace.mastery_pre[last])


def test_base_rate_unknown_skills_and_misuse(tracers, splits):
    train, trace = splits.train, tracers["skill base rate"].trace(splits.valid)
    for n in np.flatnonzero(step_of(splits.valid) > 0):
        asked = train.skill == splits.valid.skill[n]
        assert trace.predicted[n] == pytest.approx(train.response[asked].mean())
    assert trace.mastery_post is None
    bkt, answers = tracers["BKT"].parameters, np.bincount(train.skill, minlength=5)
    assert answers[4] == 0
    np.testing.assert_allclose(bkt[:, 4], np.average(bkt[:, :4], axis=1, weights=answers[:4]))
    for tracer in tracers.values():
        with pytest.raises(KTError, match="before fit"):
            type(tracer)().trace(splits.valid)
        with pytest.raises(KTError, match="skill id"):
            tracer.trace(replace(splits.valid, skill=splits.valid.skill + 5))
        unknown = tracer.trace(splits.test).predicted[splits.test.skill == 4]
        assert np.isnan(unknown).tolist() == [True, False, False]


def bkt_table(parameters, learners, length, seed):
    """Simulate learners who follow the BKT model, skill after skill."""
    rng, rows = np.random.default_rng(seed), []
    for k, (prior, learn, guess, slip) in enumerate(parameters):
        known = rng.random(learners) < prior
        for t in range(length):
            right = rng.random(learners) < np.where(known, 1 - slip, guess)
            rows += [(n, k, t, int(r)) for n, r in enumerate(right)]
            known |= rng.random(learners) < learn
    table = pd.DataFrame(sorted(rows), columns=["user", "skill", "t", "correct"])
    return table.assign(skill="k" + table["skill"].astype(str))


def test_filter_and_smoother_against_all_learning_times(splits):
    """Without forgetting, a strand of n answers has n + 1 histories: learned before answer m."""
    C = len(splits.vocabulary.skills)
    strands = Strands.of(cut(splits.valid, np.minimum(splits.valid.lengths, 20)), C)
    parameters = np.random.default_rng(0).uniform(0.1, 0.5, (4, 1, C))
    _, seen, after, likely = (x[0] for x in filtered(strands, parameters))
    smooth = smoothed(strands, seen[None], after[None])[0]
    for u, k in enumerate(strands.skill):
        at = [here.start + u for here, n in strands if u < n]
        r, (prior, learn, guess, slip) = strands.answer[at], parameters[:, 0, k]
        joint = np.full(len(r) + 1, 1 - prior)
        for m in range(len(r) + 1):
            knows = np.arange(len(r)) >= m
            start = prior if m == 0 else (1 - prior) * (1 - learn) ** (m - 1)
            start *= learn if 0 < m < len(r) else 1
            right = np.where(knows, 1 - slip, guess)
            joint[m] = start * np.where(r == 1, right, 1 - right).prod()
        assert likely[at].prod() == pytest.approx(joint.sum())
        np.testing.assert_allclose(smooth[at], np.cumsum(joint)[:-1] / joint.sum())


TRUE = [[0.2, 0.1, 0.15, 0.08], [0.55, 0.25, 0.25, 0.15], [0.05, 0.04, 0.1, 0.2]]

# hmmlearn 0.3.3: CategoricalHMM with startprob_ [.8, .2], transmat_ [[.9, .1], [0, 1]] and
# emissionprob_ [[.85, .15], [.08, .92]]; score_samples(answers): log-likelihood, P(known | all).
HMMLEARN = {
    (0, 1, 1, 0, 1): (-4.8161754040, [0.12308691, 0.64620625, 0.72296833, 0.73423233, 0.84194434]),
    (0, 0, 0): (-0.9096821170, [0.00025431, 0.00133515, 0.01167062]),
    (1,): (-1.1907275776, [0.60526316]),
}


def test_smoother_agrees_with_hmmlearn():
    rows = [(str(u), "k", r) for u, answers in enumerate(HMMLEARN) for r in answers]
    table = pd.DataFrame(rows, columns=["user", "skill", "correct"])
    data = Sequences.of(table, Vocabulary.of(table), min_length=1)
    strands, bkt = Strands.of(data, 1), BKT()
    bkt.parameters = np.array([TRUE[0]]).T
    _, seen, after, likely = filtered(strands, bkt.parameters[:, None])
    smooth = smoothed(strands, seen, after)[0, strands.place]
    likely, last = np.log(likely[0, strands.place]), bkt.trace(data).mastery_last
    for (likelihood, known), start in zip(HMMLEARN.values(), data.starts, strict=True):
        here = slice(start, start + len(known))
        assert likely[here].sum() == pytest.approx(likelihood)
        np.testing.assert_allclose(smooth[here], known, atol=1e-8)
        # Mastery after an answer includes the learning, and is what is known at the next answer.
        np.testing.assert_allclose(last[here][:-1], known[1:], atol=1e-8)
        learned = known[-1] + (1 - known[-1]) * TRUE[0][1]
        assert last[here][-1] == pytest.approx(learned)


def test_bkt_read_as_the_chance_of_a_right_answer(tracers, splits):
    known, correct, data = tracers["BKT"], BKT(read="correct"), splits.valid
    correct.parameters = known.parameters
    a, b = known.trace(data), correct.trace(data)
    _, _, guess, slip = known.parameters
    for field in ("mastery_pre", "mastery_post", "mastery_last", "middle", "final"):
        m, k = getattr(a, field), slice(None) if field in ("middle", "final") else data.skill
        np.testing.assert_allclose(getattr(b, field), (1 - slip[k]) * m + guess[k] * (1 - m))
    np.testing.assert_allclose(b.mastery_pre, b.predicted)
    k = data.skill
    np.testing.assert_allclose(b.flip, a.flip * (1 - slip[k] - guess[k]))
    np.testing.assert_array_equal(a.predicted, b.predicted)
    for trace in (a, b):
        beliefs = Beliefs.of(data, trace)
        table = violation_table(beliefs, Bootstrap(len(data.learners), 20))
        assert table.set_index("constraint").loc["monotonicity", "share"] == 0
    with pytest.raises(KTError, match="choose one of known, correct"):
        BKT(read="probability")


def test_em_never_falls_and_collapsing_changes_nothing(splits):
    bkt, again = (BKT(starts=4, tolerance=1e-6, max_iterations=400) for _ in range(2))
    bkt.fit(splits)
    again.fit(splits)
    assert np.array_equal(again.parameters, bkt.parameters)
    assert len(bkt.history) > 20 and (np.diff(bkt.history, axis=0) > -1e-9).all()
    assert (bkt.parameters >= FLOOR).all() and (bkt.parameters <= CEILING[:, None]).all()
    strands, small = Strands.of(splits.train, 5), Strands.of(splits.train, 5).collapsed()
    assert len(small.skill) < len(strands.skill) == small.weight.sum()
    total = np.log(filtered(strands, bkt.parameters[:, None])[3]).sum()
    assert total == pytest.approx(bkt.history[-1].max(axis=0).sum(), abs=1e-3)


def test_an_em_step_on_some_skills_is_that_of_all_on_these_skills(splits):
    strands = Strands.of(splits.train, 5).collapsed()
    parameters = np.random.default_rng(0).uniform(0.1, 0.4, (4, 3, 5))
    new, likelihood = em_step(strands, parameters)
    some = np.array([True, False, True, False, False])
    found, own = em_step(strands.on(some), parameters)
    assert np.allclose(found[..., some], new[..., some], atol=1e-12)
    assert np.allclose(own[..., some], likelihood[..., some], atol=1e-9)
    assert (found[..., ~some] == parameters[..., ~some]).all() and (own[..., ~some] == 0).all()


@pytest.mark.parametrize("tolerance", [0.0, 0.01])
def test_skills_that_have_settled_are_left_as_they_are(splits, tolerance):
    bkt = BKT(starts=3, tolerance=tolerance, max_iterations=200)
    bkt.fit(splits)
    strands = Strands.of(splits.train, 5).collapsed()
    known = np.unique(strands.skill)
    assert (bkt.history[-1][:, known] < 0).all()  # also of those that settled first
    total = np.log(filtered(strands, bkt.parameters[:, None])[3]) @ weights_of(strands)
    best = bkt.history[-1].max(axis=0).sum()
    assert total.sum() == pytest.approx(best, abs=5 * (tolerance or 1e-3))


def weights_of(strands):
    """How often each answer occurs in the data."""
    return np.concatenate([strands.weight[:n] for _, n in strands])


def test_parameters_of_simulated_learners_are_found_again():
    splits = to_splits(bkt_table(TRUE, learners=5000, length=12, seed=5), train=0.9, valid=0.05)
    bkt = BKT()
    bkt.fit(splits)
    assert (np.abs(bkt.parameters.T - TRUE) < [[0.02], [0.06], [0.02]]).all()  # 1: rare guesses


# pyBKT 1.4.3 (numpy 1.26.4, scikit-learn 1.5.2): pyBKT.fit.EM_fit.EM_fit replaced by itself with
# tol=1e-7 and maxiter=3000, then Model(seed=0, num_fits=5, parallel=False).fit(data=...) on
# bkt_table(TRUE, 300, 10, 0), with the columns named user_id and skill_name, and order_id added.
# Columns: prior, learns, guesses, slips, log-likelihood, AUC of predict(), each of all answers of
# the skill.
PYBKT = [
    [0.18449633, 0.11855141, 0.14577986, 0.07631607, -1472.121464, 0.8241511479],
    [0.61108834, 0.24324304, 0.33340648, 0.14836587, -1522.535932, 0.6466940289],
    [0.05142548, 0.03963599, 0.10857765, 0.19440741, -1394.102467, 0.7305849940],
]


def test_agrees_with_pybkt():
    splits = to_splits(bkt_table(TRUE, learners=300, length=10, seed=0), train=1.0, valid=0.0)
    bkt = BKT(tolerance=1e-7, max_iterations=3000)
    bkt.fit(splits)
    strands = Strands.of(splits.train, 3)
    before, *_, likely = (x[0, strands.place] for x in filtered(strands, bkt.parameters[:, None]))
    for k, (*parameters, likelihood, auc) in enumerate(PYBKT):
        np.testing.assert_allclose(bkt.parameters[:, k], parameters, atol=5e-4)
        rows = splits.train.skill == k
        assert np.log(likely[rows]).sum() == pytest.approx(likelihood, abs=1e-4)
        p = before[rows] * (1 - bkt.parameters[3, k] - bkt.parameters[2, k]) + bkt.parameters[2, k]
        # pyBKT rounds what it predicts to five digits, which makes ties.
        got = roc_auc_score(splits.train.response[rows], p.round(5))
        assert got == pytest.approx(auc, abs=1e-3)
