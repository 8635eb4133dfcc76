"""Answers on several skills, as people meet them: what is told, of whom, and what can be asked."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest
import torch

import kt_core as kt
from kt_core.base.errors import KTError
from kt_core.data import Dataset, ReadOptions, known_answers, read_dataset
from kt_core.learners.classroom.pages import classroom
from kt_core.learners.standing import standing
from kt_core.runs.combinations import knowing
from kt_core.runs.run import Run

SKILLS = ("s0", "s1", "s2")


def table(learners=60, steps=24, seed=0, sizes=(1, 2)):
    rng, rows = np.random.default_rng(seed), []
    for learner in range(learners):
        able = rng.random()
        for _ in range(steps):
            asked = sorted(rng.choice(SKILLS, rng.choice(sizes), replace=False))
            rows.append((f"u{learner}", ";".join(asked), int(rng.random() < able)))
    return pd.DataFrame(rows, columns=["user", "skill", "correct"])


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    kind = {"model.d_model": 16, "model.heads": 2, "train.epochs": 1}
    return kt.fit(table(), preset="smoke", out=tmp_path_factory.mktemp("several") / "run", **kind)


def test_mastery_is_told_of_each_skill_over_all_answers_that_involve_it(model):
    data = table(learners=3, seed=1)
    told = model.mastery(data)
    assert set(told["skill"]) == set(SKILLS)
    for row in told.itertuples():
        own = data[data["user"] == row.learner]["skill"].str.split(";")
        assert row.answers == own.map(lambda parts, skill=row.skill: skill in parts).sum()
        assert row.low <= row.mastery <= row.high
    one = pd.DataFrame({"user": ["x"], "skill": ["s0;s1"], "correct": [1]})
    assert model.mastery(one)["skill"].tolist() == ["s0", "s1"]
    assert model.mastery(one, every_skill=True)["skill"].tolist() == list(SKILLS)


def test_live_and_predict_agree(model):
    data, live = table(learners=1, seed=2), model.live()
    predicted = model.predict(data)["probability"].to_numpy()
    for number, row in enumerate(data.itertuples()):
        name = row.skill.replace(";", "+")
        if number:
            assert live.predict(name) == pytest.approx(predicted[number], abs=1e-5)
        live.answer(name, bool(row.correct))
    found = live.mastery()
    assert list(found.index) == list(SKILLS)
    assert found.to_numpy() == pytest.approx(model.mastery(data)["mastery"], abs=1e-5)


def test_a_new_combination_is_the_mean_of_its_parts(model):
    data = pd.DataFrame(
        {"user": "x", "skill": ["s0", "s0;s1;s2", "s1", "s0;s1;s2"], "correct": [1, 0, 1, 1]}
    )
    found = model.predict(data)
    assert found["skill"].tolist() == ["s0", "s0+s1+s2", "s1", "s0+s1+s2"]
    assert found["probability"].iloc[1:].between(0, 1, inclusive="neither").all()
    assert model.mastery(data).set_index("skill")["answers"].to_dict() == {
        "s0": 3,
        "s1": 3,
        "s2": 2,
    }
    run, dataset = model.run, read_dataset(data)
    grown = knowing(run, dataset)
    assert grown.vocabulary.skills == (*run.vocabulary.skills, "s0+s1+s2")
    old, new = run.model.heads.skeleton, grown.model.heads.skeleton
    at = [run.vocabulary.skills.index(s) for s in SKILLS]
    torch.testing.assert_close(new.offsets[-1], old.offsets[at].mean())
    torch.testing.assert_close(new.offsets[:-1], old.offsets)
    known = read_dataset(table(learners=2, seed=3))
    assert knowing(run, known) is run
    ids = torch.from_numpy(run.vocabulary.ids(known.table["skill"]))[None]
    right = torch.tensor(known.table["correct"].tolist())[None]
    torch.testing.assert_close(grown.model(ids, right), run.model(ids, right))


def test_what_is_not_known_is_left_out_and_told(model):
    data = read_dataset(
        pd.DataFrame({"user": "x", "skill": ["s0", "s0;s1;s2", "s0;new"], "correct": [1, 0, 1]})
    )
    vocabulary = model.run.vocabulary
    kept = known_answers(data, vocabulary, combine=True)
    assert kept.table["skill"].tolist() == ["s0", "s0+s1+s2"]
    assert "answers on 1 new combinations of skills: 's0+s1+s2'" in kept.note.counts
    fewer = known_answers(data, vocabulary)
    assert fewer.table["skill"].tolist() == ["s0"]
    assert any("new combinations of skills that it knows" in what for what in fewer.note.counts)


def test_pages_and_courses_are_about_single_skills(model, tmp_path):
    run, data = model.run, read_dataset(table(learners=6, seed=4))
    page = classroom(run, data, tmp_path / "class").read_text(encoding="utf-8")
    assert "s0" in page and "s0+s1" not in page
    assert "6 learners, 3 skills, 144 answers" in page
    from kt_core.learners.predict import believed

    beliefs = believed(run, data)
    rows = standing(beliefs, run.uncertainty)
    names = np.asarray(run.vocabulary.skills, object)[rows["skill"]]
    assert set(names) == set(SKILLS)
    assert (rows["growth_low"] <= rows["growth"] + 1e-9).all()
    assert (rows["right"] <= rows["answers"]).all()
    course = model.trajectory("u0", table(learners=1, seed=5))
    assert set(course["skill"]) == set(SKILLS) and course["response"].notna().sum() > 24


def test_without_parts_a_combination_is_a_skill_of_its_own(tmp_path):
    settings = {"model.parts": False, "model.d_model": 16, "model.heads": 2, "train.epochs": 1}
    plain = kt.fit(table(learners=40), preset="smoke", out=tmp_path / "plain", **settings)
    assert "s0+s1" in set(plain.mastery()["skill"]) and plain.run.vocabulary.parts == ()
    new = pd.DataFrame({"user": "x", "skill": ["s0", "s0;s1;s2"], "correct": [1, 0]})
    assert plain.predict(new)["skill"].tolist() == ["s0"]


def test_a_run_keeps_its_parts(model, tmp_path):
    saved = tmp_path / "run"
    shutil.copytree(model.run.path, saved)
    assert Run.load(saved).vocabulary == model.run.vocabulary
    data = table(learners=2, seed=6)
    pd.testing.assert_frame_equal(kt.load(saved).mastery(data), model.mastery(data))
    file = saved / "config.json"
    config = json.loads(file.read_text())
    for wrong in ({"s0+s1": ["s0"]}, {"s0+s1": ["s0", "no"]}, {"s0+s1": "s0"}, ["s0"]):
        file.write_text(json.dumps(config | {"parts": wrong}))
        with pytest.raises(KTError, match="parts = "):
            Run.load(saved)


def test_a_table_without_names_of_parts_has_none():
    data = Dataset("plain", table(learners=2, sizes=(1,)))
    assert data.note.several == {}
    read = read_dataset(table(learners=2), ReadOptions(skill_separator="none"))
    assert read.note.several == {}
