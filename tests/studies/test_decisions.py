"""A simulated class: hand-checked worlds, no policy sees what is not there yet, the same luck."""

import copy
import dataclasses
import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kt_core.base.errors import KTError
from kt_core.baselines.bkt import BKT
from kt_core.cli.commands import main
from kt_core.data.sequences import Sequences, Vocabulary
from kt_core.data.simulate import Hidden, Simulation, names_of
from kt_core.learners.predict import predict
from kt_core.metrics.bootstrap import Bootstrap
from kt_core.studies import decisions
from kt_core.studies.policies import (
    STREAK,
    TEN,
    OraclePolicy,
    RulePolicy,
    RunPolicy,
    TracerPolicy,
)
from kt_core.studies.practising import Log, Rules, SimulatedClass, practise

ZERO, TINY, ONE = (0.0, 0.0), (1e-9, 1e-9), (1.0, 1.0)
LEVELS = Simulation(skills=3, loading=(0.5, 1.2), guess=0.1, slip=0.1)
HIDDEN = Simulation(skills=3, hidden=Hidden())
FADING = Simulation(skills=3, growth=3.0, breaks=(1.0, 7.0), decay=0.5)
SMALL = Rules(learners=4, skills=3, most=8)


def at_once(learn):
    """Skills that nobody knows, learnt by the first practice or never; no guesses, no slips."""
    hidden = Hidden(prior=ZERO, learn=learn, guess=TINY, slip=TINY)
    return SimulatedClass(
        Simulation(skills=2, hidden=hidden), Rules(learners=5, skills=2, most=12, session=4)
    )


def bkt():
    tracer = BKT()
    tracer.parameters = np.array([[0.3, 0.4, 0.2], [0.2, 0.1, 0.3], [0.2] * 3, [0.1] * 3])
    return tracer


def names(skills):
    table = pd.DataFrame(names_of(np.arange(skills), np.zeros(skills, int)))
    return Vocabulary(tuple(table["skill"]))


POLICIES = {
    "ten": lambda room: RulePolicy(TEN, room),
    "streak": lambda room: RulePolicy(STREAK, room),
    "oracle": lambda room: OraclePolicy("oracle", room),
    "oracle, sure": lambda room: OraclePolicy("oracle, sure", room, 0.9),
    "BKT": lambda room: TracerPolicy("BKT", room, names(3), bkt(), np.full(3, 0.9)),
}


def test_three_in_a_row_where_the_first_practice_teaches():
    p = practise(at_once(ONE), RulePolicy(STREAK, at_once(ONE)))
    # Wrong, right, right; the same on the other skill; then the fourth on both.
    assert (p.tasks == 4).all() and (p.reached == 1).all() and (p.over == 3).all()
    assert p.passed.all() and not p.unmastered.any() and np.allclose(p.at_passing, 1 / 0.9)
    assert (p.passed_after == [7, 8]).all()
    first = p.log.skill[0, 0]
    assert p.log.skill[0, :8].tolist() == [first] * 3 + [1 - first] * 3 + [0, 1]
    assert p.log.right[0, :8].tolist() == [0, 1, 1, 0, 1, 1, 1, 1]


def test_nine_of_ten_and_the_oracle_in_that_world():
    p = practise(at_once(ONE), RulePolicy(TEN, at_once(ONE)))
    assert (p.tasks == 10).all() and (p.over == 9).all() and p.passed.all()
    p = practise(at_once(ONE), OraclePolicy("oracle", at_once(ONE)))
    assert (p.tasks == 1).all() and (p.over == 0).all() and not p.unmastered.any()


def test_hopeless_practice_is_given_up():
    p = practise(at_once(ZERO), OraclePolicy("oracle", at_once(ZERO)))
    assert (p.tasks == 12).all() and not p.passed.any() and (p.over == 0).all()
    assert np.isnan(p.reached).all() and np.isnan(p.passed_after).all()


def test_skills_passed_too_early_are_counted():
    class Eager:
        name = "eager"

        def believe(self, log, who):
            return np.zeros((len(who), 2)), np.ones((len(who), 2), bool)

    p = practise(at_once(ZERO), Eager())
    assert (p.tasks.sum(axis=1) == 1).all() and p.unmastered.all() and (p.at_passing < 1e-8).all()
    found = {("oracle", "oracle"): p, ("rule", "eager"): p}
    table = decisions.measures(found, Bootstrap(5, 50))
    table = table[table["policy"] == "eager"].set_index("measure")
    assert table.loc[decisions.TASKS, "value"] == 1 and (table["gap"].dropna() == 0).all()
    assert table.loc[decisions.EARLY, "value"] == 1 and table.loc[decisions.NEVER, "value"] == 0


def before(p, learner, steps):
    """The decisions about a learner in the first `steps` tasks: which tasks, what was passed."""
    early = np.where(p.passed_after[learner] <= steps, p.passed_after[learner], -1)
    return p.log.skill[learner, :steps].tolist(), p.log.right[learner, :steps].tolist(), *early


def peeks(room, make, learner, skill, n):
    """Whether another answer to a task changes what was decided before it was given."""
    other = copy.deepcopy(room)
    other.draw[learner, skill, n] = 1 - other.draw[learner, skill, n]
    a, b = practise(room, make(room)), practise(other, make(other))
    asked = np.flatnonzero(a.log.skill[learner, : a.log.done[learner]] == skill)
    steps = asked[n] if len(asked) > n else a.log.done[learner]
    everyone = range(room.rules.learners)
    whole = [a.log.done[x] if x != learner else steps for x in everyone]
    return any(before(a, x, whole[x]) != before(b, x, whole[x]) for x in everyone)


@pytest.mark.parametrize("name", POLICIES)
@pytest.mark.parametrize("spec", [LEVELS, HIDDEN, FADING], ids=["levels", "hidden", "fading"])
@settings(max_examples=6)
@given(st.integers(0, 3), st.integers(0, 2), st.integers(0, 7), st.integers(0, 99))
def test_no_policy_sees_an_answer_before_it_is_given(name, spec, learner, skill, n, seed):
    room = SimulatedClass(spec, dataclasses.replace(SMALL, seed=seed))
    assert not peeks(room, POLICIES[name], learner, skill, n)


def test_a_policy_that_sees_the_next_answer_is_found_out():
    class Peeker(RulePolicy):
        def __init__(self, room):
            super().__init__(STREAK, room)
            self.room = room

        def believe(self, log, who):
            strength, passed = super().believe(log, who)
            return strength, passed | (self.room.draw[who, :, -1] < 0.5)

    assert peeks(SimulatedClass(LEVELS, SMALL), Peeker, 0, 0, SMALL.most - 1)


def test_a_trained_model_sees_only_what_was_answered(trained, smoke):
    spec = smoke[1].dataset.simulation
    room = SimulatedClass(spec, dataclasses.replace(SMALL, learners=2, most=5))
    for lower in (False, True):
        assert not peeks(room, lambda r, lower=lower: RunPolicy("m", r, trained, lower), 1, 2, 1)


def test_a_trained_model_is_read_as_by_predict(trained, smoke):
    room = SimulatedClass(smoke[1].dataset.simulation, Rules(learners=3, skills=4))
    rng, who = np.random.default_rng(1), np.arange(3)
    rounds = [tuple(rng.integers(n, size=3) for n in (4, 10, 2)) for _ in range(12)]
    rows = [
        pd.DataFrame({"user": who.astype(str), **names_of(skill, item), "correct": right})
        for skill, item, right in rounds
    ]
    table = pd.concat(rows).sort_values("user", kind="stable", ignore_index=True)
    told = predict(trained, table, every_skill=True)
    told = told[told["skill"].isin([f"skill {k:02d}" for k in range(4)])]
    mastery, low = (told[name].to_numpy().reshape(3, 4) for name in ("mastery", "low"))
    for lower, line in ((False, mastery), (True, low)):
        policy, log = RunPolicy("m", room, trained, lower), Log(3, 60)
        policy.line = np.median(line, axis=0)
        for answer in rounds:
            log.add(who, *answer, np.zeros(3))
            strength, passed = policy.believe(log, who)
        np.testing.assert_allclose(strength, mastery, atol=1e-6)
        sure = np.abs(line - policy.line) > 1e-6
        np.testing.assert_array_equal(passed[sure], (line > policy.line)[sure])
        log.add(who[:1], *(x[:1] for x in rounds[0]), np.zeros(1))  # the others are done
        assert policy.believe(log, who[:1])[0].shape == (1, 4)


def test_all_policies_meet_the_same_luck():
    room = SimulatedClass(Simulation(skills=3), SMALL)
    answers = []
    for name in ("ten", "streak"):
        p, found = practise(room, POLICIES[name](room)), {}
        for learner in range(4):
            for k, right in zip(p.log.skill[learner], p.log.right[learner], strict=True):
                found.setdefault((learner, k), []).append(right)
        answers.append((p, found))
    (a, one), (b, two) = answers
    for learner, k in one:
        n = min(a.tasks[learner, k], b.tasks[learner, k])
        assert one[learner, k][:n] == two[learner, k][:n]


def test_sessions_have_breaks_and_mastery_fades_in_them():
    room = SimulatedClass(FADING, dataclasses.replace(SMALL, session=5, pause=2.0))
    p = practise(room, POLICIES["ten"](room))
    for learner, done in enumerate(p.log.done):
        assert (p.log.day[learner, :done] == 2.0 * (np.arange(done) // 5)).all()
    kept = dataclasses.replace(FADING, decay=0.0)
    steady = practise(SimulatedClass(kept, room.rules), POLICIES["ten"](room))
    assert steady.log.right.sum() >= p.log.right.sum() and steady.over.sum() > p.over.sum()


def test_histories_are_those_of_tables():
    rng, log, rows = np.random.default_rng(0), Log(3, 9), []
    for who in ([0, 1, 2], [0, 2], [0, 2], [2], [2]):
        who = np.array(who)
        skill, item, right = (rng.integers(n, size=len(who)) for n in (3, 10, 2))
        log.add(who, skill, item, right, np.zeros(len(who)))
        named = names_of(skill, item)
        rows.append(pd.DataFrame({"user": who, "correct": right, **named}))
    table = pd.concat(rows).sort_values("user", kind="stable", ignore_index=True)
    skill, item = (x.ravel() for x in np.mgrid[:3, :10])
    named = pd.DataFrame(names_of(skill, item))
    vocabulary = Vocabulary.of(named)
    ids = vocabulary.ids(named["skill"])[::10], vocabulary.item_ids(named).reshape(3, 10)
    found = log.sequences(np.arange(3), *ids)
    expected = Sequences.of(table, vocabulary, 100, min_length=1)
    for name in ("skill", "item", "response", "starts", "lengths", "learner", "chunk"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name), name)
    some = log.sequences(np.array([1, 2]), *ids)
    assert some.lengths.tolist() == [1, 5] and some.learner.tolist() == [0, 1]


def test_the_command_writes_table_and_figure(trained, tmp_path, capsys):
    words = ["decisions", str(trained.path), "--learners", "6", "--skills", "2"]
    assert main([*words, "--out", str(tmp_path / "out")]) == 0
    table = pd.read_csv(tmp_path / "out" / "decisions.csv")
    kept = json.loads((tmp_path / "out" / "decisions.json").read_text())
    assert len(table) == len(kept["measures"]) and kept["rules"]["learners"] == 6
    assert (tmp_path / "out" / "figures" / "decisions.png").stat().st_size > 10_000
    shares = table.pivot(index="policy", columns="measure", values="value")
    assert (shares[decisions.EARLY] + shares[decisions.NEVER] <= 1).all()
    assert (shares[decisions.OVER] <= shares[decisions.TASKS]).all()
    said = capsys.readouterr().out
    assert "retrospective, lower end" in said and "9 of the last 10 right" in said


@pytest.mark.parametrize(
    ("words", "why"),
    [(["--skills", "21"], "the world has 20"), (["--learners", "0"], "at least 1"),
     (["--seed", "-1"], "at least 0")],
)  # fmt: skip
def test_classes_that_cannot_be(words, why, trained, capsys):
    assert main(["decisions", str(trained.path), *words]) == 2
    assert why in capsys.readouterr().err


def test_real_learners_have_no_known_truth(trained, smoke, monkeypatch):
    splits = smoke[1]
    real = dataclasses.replace(splits, dataset=dataclasses.replace(splits.dataset, simulation=None))
    monkeypatch.setattr(decisions, "open_run", lambda path: (trained, real))
    with pytest.raises(KTError, match="not simulated learners"):
        decisions.decide([trained.path])
