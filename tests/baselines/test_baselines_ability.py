"""Rasch and AFM against numerical integration, scikit-learn, girth and the parameters simulated."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from scipy.integrate import quad
from scipy.optimize import check_grad
from scipy.special import expit, log_expit
from scipy.stats import norm
from sklearn.linear_model import LogisticRegression
from test_baselines_classic import check_flips, cut, to_splits

from kt_core.base.errors import KTError
from kt_core.baselines.ability import SKILL_SD, Effects, Marginal, Prior, opportunities
from kt_core.baselines.counts import step_of
from kt_core.baselines.factors import AFM, Rasch, climb
from kt_core.data.sequences import Sequences, Vocabulary
from kt_core.data.simulate import Simulation, simulate
from kt_core.evaluation.beliefs import Beliefs
from kt_core.evaluation.measures import violation_table
from kt_core.metrics.bootstrap import Bootstrap

SLOPE = np.array([0.0, 0.1, 0.25])


def afm_table(learners, steps, seed=0, sd=1.2):
    """Learners who follow the AFM: three skills with four items each, in random order."""
    rng, rows = np.random.default_rng(seed), []
    item = np.array([-0.9, -0.3, 0.2, 1.0])
    for user in range(learners):
        ability, n = rng.normal(0, sd), np.zeros(3)
        for _ in range(rng.integers(3, steps)):
            k, i = rng.integers(3), rng.integers(4)
            p = expit(ability + 0.4 * (k - 1) + SLOPE[k] * n[k] - item[i])
            rows.append((f"{user:04d}", f"k{k}", int(rng.random() < p), f"k{k}i{i}"))
            n[k] += 1
    return pd.DataFrame(rows, columns=["user", "skill", "correct", "item"])


@pytest.fixture(scope="module")
def splits():
    return to_splits(afm_table(120, 30))


@pytest.fixture(scope="module")
def tracers(splits):
    fitted = {t.name: t for t in (Rasch(), AFM())}
    for tracer in fitted.values():
        tracer.fit(splits)
    return fitted


def marginal(splits, slopes=True, logs=False):
    v = splits.vocabulary
    return Marginal(splits.train, np.array(v.item_skill), len(v.skills), slopes, logs)


def parts(effects, s):
    """Levels at ability 0 before and after each row, and difficulties, counted in a loop."""
    before, after = np.empty((2, s.interactions))
    for start, length in zip(s.starts, s.lengths, strict=True):
        n = np.zeros(len(effects.skill))
        for t in range(start, start + length):
            k = s.skill[t]
            f = np.log1p if effects.logs else float
            before[t] = effects.skill[k] + effects.slope[k] * f(n[k])
            n[k] += 1
            after[t] = effects.skill[k] + effects.slope[k] * f(n[k])
    return before, after, effects.item[np.where(s.item < len(effects.item), s.item, 0)]


def integral(effects, s, rows, value):
    """Posterior mean of `value`(ability) given the answers `rows`, and their likelihood."""
    before, _, difficulty = parts(effects, s)
    z, sign = (before - difficulty)[rows], 2 * s.response[rows] - 1

    def density(a):
        return norm.pdf(a, 0, effects.sd) * np.exp(log_expit(sign * (a + z)).sum())

    width = 8 * effects.sd
    points = np.linspace(-width, width, 33)[1:-1]
    size, mean = (
        quad(f, -width, width, points=points, limit=200, epsrel=1e-10)[0]
        for f in (density, lambda a: density(a) * value(a))
    )
    return mean / size, size


@pytest.mark.parametrize("name", ["Rasch", "AFM"])
def test_beliefs_are_integrals_over_the_ability(tracers, splits, name):
    tracer, s = tracers[name], splits.valid
    e, trace = tracer.effects, tracer.trace(s)
    before, after, difficulty = parts(e, s)
    for start, length in list(zip(s.starts, s.lengths, strict=True))[:2]:
        rows = np.arange(start, start + length)
        for t in rows[:: max(1, length // 4)]:
            past, known = rows[rows < t], rows[rows <= t]
            want = {
                "mastery_post": (known, after[t]),
                "mastery_last": (rows, after[t]),
            }
            if t > start:
                want["mastery_pre"] = past, before[t]
                want["predicted"] = past, before[t] - difficulty[t]
                moved = [integral(e, s, seen, lambda a: a)[0] for seen in (past, known)]
                assert trace.revision[t] == pytest.approx(moved[1] - moved[0], abs=1e-4)
            for field, (seen, level) in want.items():
                mean, _ = integral(e, s, seen, lambda a, level=level: expit(a + level))
                assert getattr(trace, field)[t] == pytest.approx(mean, abs=1e-5), field


def test_the_objective_is_the_marginal_likelihood_and_its_gradient(splits):
    for slopes, logs in ((False, False), (True, False), (True, True)):
        m, prior = marginal(splits, slopes, logs), Prior(0.8, 0.6, 0.2)
        theta = m.start + np.random.default_rng(0).normal(0, 0.3, len(m.start))
        skill, slope, item = np.split(theta, [3, 6])
        e = Effects(skill, slope * slopes, np.append(0.0, item), prior.ability, logs)
        s = splits.train
        ends = zip(s.starts, s.lengths, strict=True)
        sizes = [integral(e, s, np.arange(a, a + n), np.ones_like)[1] for a, n in ends]
        penalty = ((skill - skill.mean()) ** 2).sum() / SKILL_SD**2
        penalty += ((slope - slope.mean()) ** 2).sum() / 0.2**2 + (item**2).sum() / 0.6**2
        want = penalty / 2 - np.log(sizes).sum()
        assert m.objective(theta, prior)[0] == pytest.approx(want, rel=1e-6)
        value, slope_of = (lambda x, n=n, m=m, p=prior: m.objective(x, p)[n] for n in (0, 1))
        assert check_grad(value, slope_of, theta) < 1e-3


def test_without_differences_between_learners_it_is_scikit_learns_regression(splits):
    one = splits.train
    one = replace(one, skill=np.zeros_like(one.skill))
    for logs in (False, True):
        m = Marginal(one, np.zeros(12, int), 1, True, logs)
        prior = Prior(ability=1e-4, item=0.5)
        effects, _ = m.fit(prior, tolerance=1e-14)
        features = -prior.item * (one.item[:, None] == np.arange(1, 13))
        f = np.log1p(step_of(one)) if logs else step_of(one)
        # scikit-learn would shrink the slope too; a large unit makes that negligible.
        features = np.column_stack([features, 1e3 * f])
        model = LogisticRegression(C=1, solver="newton-cholesky", tol=1e-12, max_iter=1000)
        model.fit(features, one.response)
        *item, slope = model.coef_[0] * np.append(np.full(12, prior.item), 1e3)
        assert effects.slope[0] == pytest.approx(slope, abs=1e-4)
        np.testing.assert_allclose(effects.item[1:], item - np.mean(item), atol=2e-4)
        want = model.intercept_[0] - np.mean(item)
        assert effects.skill[0] == pytest.approx(want, abs=2e-4)


# girth 0.8.0 (numpy 2.4.6): r = girth.onepl_mml(answers().T, options={"quadrature_n": 61}), then
# r["Discrimination"], the sd of abilities, and its product with r["Difficulty"]. girth takes the
# difficulties from the shares of right answers, which is not quite the maximum.
GIRTH_SD = 1.2742974
GIRTH = [-1.2158557, -1.0013918, -0.8838215, -0.1450670, 0.1582059, 0.7691449, 1.0765332, 1.5663883]


def answers(seed=0, learners=400, items=8):
    rng = np.random.default_rng(seed)
    ability, difficulty = rng.normal(0, 1.3, learners), np.linspace(-1.5, 1.5, items)
    p = 1 / (1 + np.exp(-(ability[:, None] - difficulty)))
    return (rng.random((learners, items)) < p).astype(int)


def test_agrees_with_girth():
    y = answers()
    user, item = (np.indices(y.shape).reshape(2, -1)).astype(str)
    table = pd.DataFrame({"user": user, "skill": "k", "item": item, "correct": y.ravel()})
    vocabulary = Vocabulary.of(table)
    m = Marginal(Sequences.of(table, vocabulary), np.zeros(8, int), 1, False, False)

    def likelihood(sd):
        prior = Prior(sd, item=1e3)
        return -m.objective(m.fit(prior, tolerance=1e-13)[1], prior)[0]

    effects, _ = m.fit(Prior(GIRTH_SD, item=1e3), tolerance=1e-13)
    np.testing.assert_allclose(effects.item[1:] - effects.skill[0], GIRTH, atol=4e-3)
    best = likelihood(GIRTH_SD)
    assert best > likelihood(GIRTH_SD - 0.02) and best > likelihood(GIRTH_SD + 0.02)


def test_parameters_are_found_again_and_better_than_with_abilities_as_parameters():
    s = to_splits(afm_table(2000, 40, seed=3), 0.6, 0.35)
    afm = AFM()
    afm.fit(s)
    e = afm.effects
    assert not e.logs and e.sd == pytest.approx(1.2, abs=0.25)
    np.testing.assert_allclose(e.slope, SLOPE, atol=0.03)
    np.testing.assert_allclose(e.skill - e.skill.mean(), [-0.4, 0, 0.4], atol=0.06)
    item = np.array([-0.9, -0.3, 0.2, 1.0])
    np.testing.assert_allclose(
        e.item[1:].reshape(3, 4), np.tile(item - item.mean(), (3, 1)), atol=0.15
    )
    # Penalised likelihood over abilities and slopes together, at the true sd of abilities.
    joint = joint_slopes(s.train)
    assert np.abs(e.slope - SLOPE).max() < np.abs(joint - SLOPE).max()


def joint_slopes(s, sd=1.2):
    """Slopes where each learner's ability is one more parameter with a normal prior."""
    row, ones = np.arange(s.interactions), np.ones(s.interactions)
    whose, n = np.repeat(np.arange(len(s)), s.lengths), opportunities(s, 3)
    columns = [(3 * ones, s.skill), (n, 3 + s.skill), (ones, 5 + s.item), (sd * ones, 18 + whose)]
    value, column = (np.concatenate(x) for x in zip(*columns, strict=True))
    x = sparse.csr_matrix((value, (np.tile(row, 4), column)))
    model = LogisticRegression(C=1, fit_intercept=False, solver="newton-cg", max_iter=500)
    return model.fit(x, s.response).coef_[0, 3:6]


@pytest.mark.parametrize("name", ["Rasch", "AFM"])
def test_the_prior_is_chosen_on_validation_learners_only(tracers, splits, name):
    tracer, kind = tracers[name], type(tracers[name])
    scored = step_of(splits.valid) > 0
    p, y = tracer.trace(splits.valid).predicted[scored], splits.valid.response[scored]
    chosen = tracer.losses[tracer.effects.logs, tracer.prior]
    assert chosen == min(tracer.losses.values())
    assert -np.log(np.where(y == 1, p, 1 - p)).mean() == pytest.approx(chosen, abs=1e-4)
    assert len(tracer.losses) > 4
    again = kind()
    again.fit(replace(splits, test=splits.train))
    assert all(
        np.array_equal(a, b)
        for a, b in zip(*(vars(t.effects).values() for t in (again, tracer)), strict=True)
    )


def test_climbing_finds_the_smallest_loss_and_asks_once():
    asked = []

    def loss(prior):
        asked.append(prior)
        return (np.log(prior.ability) - 1) ** 2 + (np.log(prior.item) - np.log(prior.ability)) ** 2

    ladders = {"ability": (0.5, 1.0, 2.0, 4.0), "item": (0.5, 1.0, 2.0, 4.0)}
    best, value = climb(loss, Prior(item=0.4), ladders)
    every = [Prior(a, i) for a in ladders["ability"] for i in ladders["item"]]
    assert loss(best) == value == min(map(loss, every))
    assert len(set(asked[: -len(every) - 1])) == len(asked) - len(every) - 1


@pytest.mark.parametrize("name", ["Rasch", "AFM"])
def test_flip_is_what_flipping_the_answer_does(tracers, splits, name):
    tracer, data = tracers[name], splits.valid
    trace = tracer.trace(data)
    assert (trace.flip > 0).all()
    check_flips(tracer, data, trace, every=37)


@pytest.mark.parametrize("name", ["Rasch", "AFM"])
def test_states_are_those_of_shorter_histories_and_meet_at_the_end(tracers, splits, name):
    tracer, data = tracers[name], splits.valid
    trace = tracer.trace(data)
    np.testing.assert_allclose(trace.middle, tracer.trace(cut(data, data.lengths // 2)).final)
    last, rows = data.starts + data.lengths - 1, np.arange(len(data))
    np.testing.assert_allclose(trace.final[rows, data.skill[last]], trace.mastery_post[last])
    np.testing.assert_allclose(trace.mastery_last[last], trace.mastery_post[last])
    beliefs = Beliefs.of(data, trace)
    falls = violation_table(beliefs, Bootstrap(len(data.learners), 20)).set_index("constraint")
    assert falls.loc["monotonicity", "share"] == 0
    if name == "AFM":
        e, (before, after, _) = tracer.effects, parts(tracer.effects, data)
        np.testing.assert_allclose(trace.gain, after - before, atol=1e-12)
        np.testing.assert_allclose(trace.gains_before, before - e.skill[data.skill], atol=1e-12)
        assert (e.slope >= 0).all() and (trace.gain >= 0).all()
    else:
        assert trace.gain is None and not tracer.effects.slope.any()


def test_chunks_are_one_history_unless_told_otherwise(tracers):
    table = afm_table(6, 60, seed=9)
    v = Vocabulary.of(table)
    short, long = Sequences.of(table, v, chunk=7), Sequences.of(table, v, chunk=7).whole()
    afm = tracers["AFM"]
    a, b = afm.trace(short), afm.trace(long)
    later = step_of(short) > 0
    assert len(short) > 2 * len(long)
    for field in ("predicted", "mastery_pre"):
        np.testing.assert_array_equal(getattr(a, field)[later], getattr(b, field)[later])
    for field in ("mastery_post", "mastery_last", "gain", "flip"):
        np.testing.assert_array_equal(getattr(a, field), getattr(b, field))
    last = np.flatnonzero(np.diff(short.learner, append=-1))
    np.testing.assert_allclose(a.final[last], b.final)
    seen = 7 * short.chunk + short.lengths // 2
    for i in np.flatnonzero(short.chunk == 1):
        whose = np.flatnonzero(long.learner == short.learner[i])
        steps = long.lengths.copy()
        steps[whose] = seen[i]
        np.testing.assert_allclose(a.middle[i], afm.trace(cut(long, steps)).final[whose[0]])
    cold = AFM(whole=False)
    cold.effects = afm.effects
    got = cold.trace(short)
    want = afm.trace(replace(short, learner=np.arange(len(short)), chunk=0 * short.chunk))
    for field, column in got.columns().items():
        np.testing.assert_array_equal(column, getattr(want, field), err_msg=field)


def test_chances_of_one_stay_at_most_one(tracers, splits):
    """On a skill so easy that rounding makes its chance 1, the weights' sum could pass it."""
    tracer = type(tracers["Rasch"])()
    tracer.effects = replace(tracers["Rasch"].effects, skill=np.array([45.0, 45.0, 45.0]))
    trace = tracer.trace(splits.valid)
    for field in ("predicted", "mastery_pre", "mastery_post", "mastery_last", "middle", "final"):
        assert np.nanmax(getattr(trace, field)) == 1.0, field


def test_unknown_items_and_skills_and_misuse(tracers, splits):
    for tracer in tracers.values():
        s = splits.valid
        plain = tracer.trace(replace(s, item=0 * s.item))
        assert plain.difficulty is None
        pre = ~np.isnan(plain.predicted)
        np.testing.assert_allclose(plain.predicted[pre], plain.mastery_pre[pre])
        high = tracer.trace(replace(s, item=s.item + 100))
        np.testing.assert_array_equal(high.predicted, plain.predicted)
        with pytest.raises(KTError, match="before fit"):
            type(tracer)().trace(s)
        with pytest.raises(KTError, match="skill id"):
            tracer.trace(replace(s, skill=s.skill + 5))


def test_a_skill_without_training_answers_is_a_mean_skill():
    table = afm_table(200, 30)
    training = table["user"] < "0130"
    table = table[~training | (table["skill"] != "k2")]
    table = table.groupby("user").filter(lambda rows: len(rows) > 2).reset_index(drop=True)
    afm = AFM()
    afm.fit(to_splits(table))
    fitted = afm.effects
    assert fitted.skill[2] == pytest.approx(fitted.skill[:2].mean(), abs=0.02)
    assert fitted.slope[2] == pytest.approx(fitted.slope[:2].mean(), abs=0.02)


def test_recovers_the_default_learners_as_well_as_first_measured():
    """First measured with another implementation: trajectory r .868, RMSE .113, growth r .81."""
    data = simulate(Simulation(learners=400))
    table = data.table
    s = to_splits(table, 0.6, 0.2)
    afm = AFM()
    afm.fit(s)
    trace, truth = afm.trace(s.test), s.test.truth["true_mastery"]
    error = {
        f: np.sqrt(((getattr(trace, f) - truth) ** 2).mean())
        for f in ("mastery_last", "mastery_post")
    }
    assert error["mastery_last"] < 0.125 and error["mastery_last"] < error["mastery_post"] < 0.145
