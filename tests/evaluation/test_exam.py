"""The exam inside the data: what is cut, what enters the score, and who tells it best."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import stir
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar
from scipy.special import log_expit
from scipy.stats import pearsonr, spearmanr

import kt_core as kt
from kt_core.baselines import ladder as module
from kt_core.baselines.counts import SkillBaseRate
from kt_core.baselines.factors import AFM, Rasch
from kt_core.baselines.ladder import Halves, Ladder
from kt_core.baselines.ladder import mastery_after as of_tracer
from kt_core.baselines.logistic import PFA
from kt_core.config import DataConfig, ModelConfig
from kt_core.data import Sequences, Simulation, Vocabulary, make_splits, simulate
from kt_core.evaluation.evaluate import read_ends
from kt_core.evaluation.exam import (
    ABILITY,
    ASKED,
    BEFORE,
    BY_SKILL,
    FIRST,
    ON_ALL,
    ON_ASKED,
    ON_FIRST,
    PERCENT,
    PRIOR_SD,
    RASCH,
    ability_scores,
    ends_after,
    hold_exam,
    window,
)
from kt_core.evaluation.exam import AFM as AFM_RUNG
from kt_core.metrics.bootstrap import Bootstrap
from kt_core.model import GainAKT2
from kt_core.report.text import against_ladder, best_rung

C, CHUNK = 6, 16
SKILLS = tuple(f"k{i}" for i in range(C))


def histories(lengths, seed=0):
    """Random answers of learners with these numbers of them, in chunks of 16."""
    rng, n = np.random.default_rng(seed), int(sum(lengths))
    table = pd.DataFrame({"user": np.repeat([f"u{i}" for i in range(len(lengths))], lengths)})
    table = table.assign(skill=rng.choice(SKILLS, n), correct=rng.integers(2, size=n))
    return Sequences.of(table, Vocabulary(SKILLS), CHUNK, 1)


def model(mode):
    torch.manual_seed(0)
    return stir(GainAKT2(ModelConfig(mode=mode, d_model=16, heads=2, blocks=1, d_ff=16), C))


@pytest.fixture(scope="module")
def simulated():
    spec = Simulation(learners=400, skills=C, seed=3)
    config = DataConfig(folds=2, test_fraction=0.5)
    return make_splits(simulate(spec), config)


@pytest.fixture(scope="module")
def ladder(simulated):
    return Ladder.fit(simulated)


@given(st.lists(st.integers(1, 60), min_size=1, max_size=8))
def test_the_exam_is_the_last_quarter_and_the_rest_is_before_it(lengths):
    s = histories(lengths)
    exam, rows = hold_exam(s), s.whole()
    takers = [i for i, n in enumerate(lengths) if n // 4 >= ASKED and n - n // 4 >= BEFORE]
    assert exam.asked.learner.tolist() == takers == np.unique(exam.chunks.learner).tolist()
    for place, i in enumerate(takers):
        begin, n = rows.starts[i], lengths[i]
        for name in ("skill", "response"):
            want = getattr(s, name)[begin : begin + n]
            parts = [
                getattr(exam.chunks, name)[b : b + length]
                for b, length, who in zip(
                    exam.chunks.starts, exam.chunks.lengths, exam.chunks.learner, strict=True
                )
                if who == i
            ]
            assert [len(p) for p in parts[:-1]] == [CHUNK] * (len(parts) - 1)
            np.testing.assert_array_equal(np.concatenate(parts), want[: n - n // 4])
            own = slice(exam.asked.starts[place], exam.asked.starts[place] + n // 4)
            np.testing.assert_array_equal(getattr(exam.asked, name)[own], want[n - n // 4 :])
    short = window(exam.chunks, 7)
    assert (short.lengths == 7).all() and len(short) == len(takers)
    for place, i in enumerate(takers):
        end = rows.starts[i] + lengths[i] - lengths[i] // 4
        np.testing.assert_array_equal(
            short.skill[7 * place : 7 * place + 7], s.skill[end - 7 : end]
        )


@pytest.mark.parametrize("mode", ["retrospective", "cumulative", "projection"])
def test_answers_in_the_exam_never_change_the_mastery_before_it(mode):
    s = histories([60, 41, 20, 7, 44])  # the last has a chunk of one answer before the exam
    own = hold_exam(s)
    other = hold_exam(_with_other_answers(s, before=False))
    assert (own.asked.response != other.asked.response).any()
    reader = model(mode)
    states = [ends_after(reader, exam.chunks, CHUNK).mastery for exam in (own, other)]
    assert states[0].shape == (4, C)
    np.testing.assert_array_equal(*states)
    early = hold_exam(_with_other_answers(s, before=True))
    assert (ends_after(reader, early.chunks, CHUNK).mastery != states[0]).any()


@pytest.mark.parametrize("tracer", [Rasch, AFM, PFA])
def test_nor_that_of_a_baseline(tracer, simulated):
    fitted = tracer()
    fitted.fit(simulated)
    test = simulated.test
    exams = [hold_exam(s) for s in (test, _with_other_answers(test, before=False))]
    np.testing.assert_array_equal(*(of_tracer(fitted, exam.chunks, 200) for exam in exams))


def test_nothing_but_the_answers_in_the_exam_enters_the_score(simulated, ladder):
    test, scores = simulated.test, []
    for s in (test, _with_other_answers(test, before=True)):
        exam = hold_exam(s)
        level = ladder.difficulties(exam).level
        scores.append(ability_scores(level, exam.asked.response, exam.taker, len(exam.asked)))
    np.testing.assert_array_equal(*scores)


def _with_other_answers(s, before):
    """The sequences with every answer before the exam, or every one in it, turned round."""
    whole = s.whole()
    asked = np.repeat(whole.lengths // 4, whole.lengths)
    left = np.repeat(whole.starts + whole.lengths, whole.lengths) - np.arange(s.interactions)
    turned = (left > asked) == before
    return dataclasses.replace(s, response=np.where(turned, 1 - s.response, s.response))


@given(st.lists(st.tuples(st.floats(-4, 4), st.booleans()), min_size=1, max_size=12))
def test_the_score_is_the_mode_of_the_posterior(answers):
    level, right = (np.array(x, float) for x in zip(*answers, strict=True))

    def loss(ability):
        signs = np.where(right == 1, 1, -1)
        return -log_expit(signs * (ability + level)).sum() + ability**2 / (2 * PRIOR_SD**2)

    want = minimize_scalar(loss, bracket=(-1, 1), tol=1e-12).x
    group = np.zeros(len(level), int)
    assert ability_scores(level, right, group, 1)[0] == pytest.approx(want, abs=1e-5)


def test_a_harder_exam_with_the_same_answers_shows_more_ability():
    level, right = np.array([0.5, 0.5, -1.0, -1.0]), np.array([1, 0, 1, 0])
    easy, hard = ability_scores(level, right, np.array([0, 0, 1, 1]), 2)
    assert easy < 0 < hard


def judged(simulated, ladder, mastery):
    exam = hold_exam(simulated.test)
    return ladder.judge(exam, mastery, Bootstrap(len(simulated.test.learners), 200))


def value(table, measure, predictor="model", variant="pooled"):
    rows = table[(table["measure"] == measure) & (table["variant"] == variant)]
    return rows.set_index("predictor")["value"][predictor]


def true_state(simulated):
    """[E, C], true mastery before the exam: that at the first answer on the skill in it, and chance
    where it is not asked."""
    asked = hold_exam(simulated.test).asked
    state = np.full((len(asked), C), np.nan)
    taker = np.repeat(np.arange(len(asked)), asked.lengths)
    for row in reversed(range(asked.interactions)):
        state[taker[row], asked.skill[row]] = asked.truth["true_before"][row]
    return state


def test_the_true_mastery_tells_more_than_the_ladder_and_a_shuffled_one_nothing(simulated, ladder):
    truth = true_state(simulated)
    table = judged(simulated, ladder, truth)
    assert value(table, ON_ASKED) > value(table, ON_ASKED, PERCENT) + 0.05
    for name in BY_SKILL.values():
        rows = table[table["measure"] == name].set_index(["variant", "predictor"])["value"]
        for variant in ("pooled", "within_skill"):
            assert rows[variant, "model"] > rows[variant, PERCENT], (name, variant)
    rng = np.random.default_rng(0)
    mixed = np.tile(rng.permutation(np.nanmean(truth, 1))[:, None], C)
    row = judged(simulated, ladder, mixed).iloc[0]
    assert row["low"] < 0 < row["high"] and abs(row["value"]) < 0.2


def test_the_rows_are_what_scipy_computes(simulated, ladder):
    exam, state = hold_exam(simulated.test), None
    tracer = PFA()
    tracer.fit(simulated)
    state = of_tracer(tracer, exam.chunks, 200)
    table = judged(simulated, ladder, state)
    level = ladder.difficulties(exam).level
    score = ability_scores(level, exam.asked.response, exam.taker, len(exam.asked))
    apart = state - state.mean(0)
    asked = pd.Series(apart[exam.taker, exam.asked.skill]).groupby(exam.taker).mean()
    assert value(table, ON_ASKED) == pytest.approx(pearsonr(asked, score)[0])
    assert value(table, ON_ASKED, variant="rank") == pytest.approx(spearmanr(asked, score)[0])
    assert value(table, ON_ALL) == pytest.approx(pearsonr(state.mean(1), score)[0])
    rows = pd.DataFrame({"taker": exam.taker, "skill": exam.asked.skill, "level": level})
    rows = rows.assign(right=exam.asked.response, told=apart[exam.taker, exam.asked.skill])
    rows = rows.drop_duplicates(["taker", "skill"])
    rows = rows[rows.groupby("taker")["taker"].transform("size") >= FIRST]
    taker, score_first = np.unique(rows["taker"], return_inverse=True)
    score_first = ability_scores(*rows[["level", "right"]].to_numpy().T, score_first, len(taker))
    told = rows.groupby("taker")["told"].mean()
    assert value(table, ON_FIRST) == pytest.approx(pearsonr(told, score_first)[0])
    assert table.loc[table["measure"] == ON_FIRST, "learners"].eq(len(taker)).all()
    rungs = ladder.rungs(exam.chunks)
    whole = exam.chunks.whole()
    right = [whole.response[b : b + n] for b, n in zip(whole.starts, whole.lengths, strict=True)]
    np.testing.assert_allclose(rungs.percent, [r.mean() for r in right])
    np.testing.assert_allclose(rungs.recent, [r[-10:].mean() for r in right])
    assert value(table, ON_ASKED, PERCENT) == pytest.approx(pearsonr(rungs.percent, score)[0])


def test_a_models_own_rung_is_no_better_than_the_model(simulated, ladder):
    exam = hold_exam(simulated.test)
    table = judged(simulated, ladder, of_tracer(ladder.afm, exam.chunks, 200))
    gaps = table[table["predictor"] == AFM_RUNG]["gap"]
    assert len(gaps) == 12 and (gaps == 0).all()
    rasch = judged(simulated, ladder, of_tracer(ladder.rasch, exam.chunks, 200))
    rows = rasch[rasch["measure"] == ON_ASKED].set_index(["variant", "predictor"])
    assert abs(rows.loc[("pooled", RASCH), "gap"]) < 0.03  # not so without the adjustment


def test_a_models_own_ability_is_no_rung_and_never_the_best_one(simulated, ladder):
    exam = hold_exam(simulated.test)
    mastery = of_tracer(ladder.afm, exam.chunks, 200)
    score = ladder.rungs(exam.chunks).ability
    bootstrap = Bootstrap(len(simulated.test.learners), 50)
    before = ladder.judge(exam, mastery, bootstrap)
    table = ladder.judge(exam, mastery, bootstrap, ability=score + 0.0)
    own = table[table["kind"] == "own"]
    assert set(own["predictor"]) == {ABILITY} and len(own) == 8
    rest = table[table["kind"] != "own"].reset_index(drop=True)
    pd.testing.assert_frame_equal(rest.drop(columns="draws"), before.drop(columns="draws"))
    assert value(table, ON_ASKED, ABILITY) == value(table, ON_ASKED, RASCH)
    rows = table[(table["measure"] == ON_ASKED) & (table["variant"] == "pooled")]
    perfect = rows.assign(value=rows["value"].mask(rows["kind"] == "own", 1.0))
    assert best_rung(perfect)["predictor"] == best_rung(rows)["predictor"]
    assert against_ladder(perfect) == against_ladder(rows)


def test_abilities_are_calibrated_and_do_not_depend_on_who_else_is_read():
    run = kt.demo().run
    sequences = kt.demo().splits.test
    every = read_ends(run.model, sequences)
    one = sequences.of_learners(np.array([3]))
    alone = read_ends(run.model, one)
    for known in ("ability", "ability_deviation"):
        assert getattr(alone, known)[0] == pytest.approx(getattr(every, known)[3], abs=1e-5)
    table = kt.demo().ability()
    spread = ((table["high"] - table["low"]) / 3.92) ** 2
    assert table["ability"].var() + spread.mean() == pytest.approx(1, abs=0.2)  # the prior's
    assert abs(table["ability"].mean()) < 0.15
    right = kt.demo().splits.dataset.table.groupby("user")["correct"].mean()[table["learner"]]
    assert np.corrcoef(right, table["ability"])[0, 1] > 0.85


def test_a_model_without_mastery_and_short_histories_have_no_exam(simulated, ladder):
    tracer = SkillBaseRate()
    tracer.fit(simulated)
    exam = hold_exam(simulated.test)
    assert of_tracer(tracer, exam.chunks, 200) is None
    assert judged(simulated, ladder, None).empty
    nobody = hold_exam(histories([12, 19]))
    assert of_tracer(ladder.rasch, nobody.chunks, 200) is None
    assert ladder.judge(nobody, None, Bootstrap(2, 20)).empty


def test_halves_judge_learners_that_they_were_not_fitted_on(simulated):
    s, names = simulated.test, simulated.vocabulary
    halves, exam = Halves.fit(s, names), hold_exam(s)
    rungs = halves.rungs(exam.chunks)
    whose = halves.half[exam.asked.learner]
    assert 0.3 < whose.mean() < 0.7
    for half, own in enumerate(halves.ladders):
        chosen = whose == half
        np.testing.assert_array_equal(rungs.afm[chosen], own.rungs(exam.chunks).afm[chosen])
    traces = halves.traces(s)
    for half, own in enumerate(halves.ladders):
        chosen = halves.half[s.learner] == half
        each = np.repeat(chosen, s.lengths)
        for name, want in own.traces(s).items():
            np.testing.assert_array_equal(traces[name].predicted[each], want.predicted[each])
            np.testing.assert_array_equal(traces[name].middle[chosen], want.middle[chosen])
    flipped = np.where(
        np.repeat(halves.half[s.learner] == 0, s.lengths), 1 - s.response, s.response
    )
    other = Halves.fit(dataclasses.replace(s, response=flipped), names)
    kept = halves.ladders[0].rasch.effects.skill, other.ladders[0].rasch.effects.skill
    np.testing.assert_array_equal(*kept)  # the ladder for half 0 has not seen its answers
    assert (halves.ladders[1].rasch.effects.skill != other.ladders[1].rasch.effects.skill).any()
    assert Halves.fit(s.of_learners(np.arange(10)), names) is None
    assert Halves.fit(histories([1] * 30), names) is None  # nothing to predict


@pytest.mark.parametrize(
    ("gaps", "words"),
    [
        ({"AFM": (0.1, 0.2, 0.5), "Rasch ability": (0.1, 0.2, 0.4)}, "more than the whole ladder"),
        ({"AFM": (0.1, 0.2, 0.4), "Rasch ability": (-0.1, 0.1, 0.5)}, "a Rasch ability tells as"),
        ({"AFM": (-0.2, -0.1, 0.5), "Rasch ability": (-0.1, 0.1, 0.4)}, "tells less than AFM"),
        ({"AFM": (0.1, 0.2, 0.5), "percent correct": (-0.1, 0.3, 0.4)}, "percent correct tells as"),
        ({"AFM": (-0.2, -0.1, 0.4), "Rasch ability": (-0.4, 0.1, 0.5)}, "tells less than AFM"),
        ({"AFM": (np.nan, np.nan, np.nan)}, ""),
    ],
)
def test_verdicts_name_the_rung(gaps, words):
    rows = [{"kind": "model", "predictor": "model", "value": 0.6, "gap_low": 0.0, "gap_high": 0.0}]
    for name, (low, high, r) in gaps.items():
        rows.append({"kind": "rung", "predictor": name, "value": r, "gap_low": low})
        rows[-1] |= {"gap_high": high, "gap": (low + high) / 2}
    said = against_ladder(pd.DataFrame(rows))
    assert words in said and bool(words) == bool(said)


def test_a_ladder_of_large_data_is_fitted_on_some_learners(simulated, monkeypatch):
    monkeypatch.setattr(module, "MOST_ANSWERS", simulated.train.interactions // 2)
    some = simulated.train.some(module.MOST_ANSWERS)
    assert len(some.learners) == len(simulated.train.learners) // 2
    assert Ladder.fit(simulated).rates.shape == (C,)
