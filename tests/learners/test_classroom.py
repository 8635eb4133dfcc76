"""What a teacher reads: the rules, the tables, and pages that are safe and self-contained."""

from __future__ import annotations

import dataclasses
import re

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kt_core.base.errors import KTError
from kt_core.cli.commands import main
from kt_core.data import Dataset
from kt_core.learners import classroom, cohort
from kt_core.learners.classroom import pages, tables
from kt_core.learners.predict import believed, named, predict
from kt_core.learners.standing import standing, verdict
from kt_core.runs.find import open_run
from kt_core.uncertainty import Uncertainty

share = st.floats(0, 1)


@given(answers=st.integers(0, 7), low=share, high=share, growth=share)
def test_nothing_is_said_on_a_handful_of_answers(answers, low, high, growth):
    assert verdict(answers, low, high, growth) == "too few answers"


@given(answers=st.integers(8, 100), ends=st.tuples(share, share), growth=share, less=share)
def test_verdicts_follow_the_stated_rule(answers, ends, growth, less):
    low, high = sorted(ends)
    said = verdict(answers, low, high, growth)
    assert (said == "stuck") == (high < 0.5 and growth < 0.1)
    assert (said == "ready") == (low > 0.8)
    if said == "stuck":  # less mastery does not make anybody less stuck
        assert verdict(answers, low * less, high * less, growth) == "stuck"


def rows(**columns):
    table = pd.DataFrame(columns)
    return table.assign(learner="a", skill=[f"s{i}" for i in range(len(table))])


def test_next_practice_puts_help_first_and_leaves_out_what_is_ready():
    table = rows(
        verdict=["ready", "learning", "too few answers", "stuck", "learning"],
        mastery=[0.95, 0.7, 0.2, 0.3, 0.6],
    )
    assert tables.next_practice(table, 5)["skill"].tolist() == ["s3", "s4", "s1", "s2"]
    assert tables.next_practice(table[:1]).empty


def test_next_for_class_counts_learners_with_enough_answers_alone():
    table = pd.DataFrame(
        {
            "skill": ["a", "a", "b", "b", "c"],
            "answers": [9, 9, 9, 7, 9],
            "verdict": ["learning", "stuck", "learning", "too few answers", "ready"],
            "mastery": [0.6, 0.3, 0.5, 0.1, 0.9],
        }
    )
    found = tables.next_for_class(table).set_index("skill")
    assert found.index.tolist() == ["a", "b"]  # everybody on c is ready
    assert found["learners"].tolist() == [2, 1] and found["stuck"].tolist() == [1, 0]
    assert tables.next_for_class(table[:0]).empty


@pytest.fixture(scope="module")
def run_and_data(trained):
    run, splits = open_run(trained.path)
    return run, splits.dataset


def test_standing_is_what_predict_says_and_what_was_answered(run_and_data):
    run, data = run_and_data
    beliefs = believed(run, data)
    table = named(standing(beliefs, run.uncertainty), beliefs, run)
    now = predict(run, data)
    assert len(table) == len(now)
    both = table.merge(now, on=["learner", "skill"], suffixes=("", "_now"))
    np.testing.assert_allclose(both["mastery"], both["mastery_now"], atol=1e-6)
    np.testing.assert_array_equal(both["answers"], both["opportunities"])
    one = table.iloc[0]
    answered = data.table[(data.table["user"] == one["learner"])]
    answered = answered[answered["skill"].astype(str) == one["skill"]]
    assert one["answers"] == len(answered) and one["right"] == answered["correct"].sum()
    assert (table["growth"] >= -1e-6).all()


def test_a_teacher_and_a_researcher_see_the_same_learners_stuck(run_and_data):
    run, data = run_and_data
    beliefs = believed(run, data)
    sure = Uncertainty(0.05)  # so that somebody is
    table = standing(beliefs, sure)
    stuck = table[table["verdict"] == "stuck"]
    ranked = cohort.rank_learners(beliefs, "stuck", minimum=1, uncertainty=sure)
    assert len(stuck) and {*beliefs.frame.groupby("sequence")["learner"].first()[ranked]} == {
        *stuck["learner"]
    }
    names = run.vocabulary.skills
    growth = cohort.skill_growth(beliefs, names, len(names), 20, sure).set_index("skill")
    counts = (growth["stuck"] * growth["practised"]).dropna()
    for skill, count in counts.items():
        assert round(count) == (stuck["skill"] == names.index(skill)).sum(), skill


def test_curves_end_where_few_are_left(run_and_data, monkeypatch):
    run, data = run_and_data
    skill = data.table["skill"].astype(str).value_counts().index[0]
    shown = believed(run, data), run.vocabulary.skills, [skill]
    every = tables.practice_curves(*shown)
    assert (every["learners"] >= tables.PRACTISING).all()
    monkeypatch.setattr(tables, "PRACTISING", 1)
    assert len(tables.practice_curves(*shown)) >= len(every)


@given(ids=st.lists(st.text(max_size=300), unique=True, max_size=20))
def test_file_names_are_safe_and_different(ids):
    names = [pages.file_name(i) for i in ids]
    assert len(set(names)) == len(ids)
    assert all(re.fullmatch(r"[A-Za-z0-9_-]{1,73}\.html", name) for name in names)


def two_learners(data, first, second):
    table = data.table.copy()
    ids = table["user"].unique()[:2]
    table = table[table["user"].isin(ids)].replace(
        {"user": dict(zip(ids, (first, second), strict=True))}
    )
    return Dataset(data.name, table.reset_index(drop=True), data.note)


def test_two_learners_never_share_a_page(run_and_data, tmp_path, monkeypatch):
    run, data = run_and_data
    alike = "且他", "丮俲"  # the SHA-256 of both begins with 07add142
    page = classroom.classroom(run, two_learners(data, *alike), tmp_path / "class")
    texts = [file.read_text(encoding="utf-8") for file in (page.parent / "learners").iterdir()]
    assert len(texts) == 2 and {who for who in alike for t in texts if who in t} == {*alike}
    monkeypatch.setattr(pages, "DIGITS", 8)
    with pytest.raises(
        KTError, match="learners '丮俲' and '且他' would share the page learner-07add"
    ):
        classroom.classroom(run, two_learners(data, *alike[::-1]), tmp_path / "other")
    assert not (tmp_path / "other").exists()


def hostile(data):
    """The same answers of a class whose names are markup and paths."""
    table = data.table.copy()
    table["user"] = "<script>alert('" + table["user"].astype(str) + "')</script>/../x"
    return Dataset("<b>4c</b>", table, data.note)


def test_pages_are_escaped_whole_and_need_no_network(run_and_data, tmp_path):
    run, data = run_and_data
    page = classroom.classroom(run, hostile(data), tmp_path / "class")
    files = [page, *(page.parent / "learners").iterdir()]
    assert len(files) == 1 + data.table["user"].nunique()
    for file in files:
        text = file.read_text(encoding="utf-8")
        assert "<script" not in text and "<b>4c" not in text
        assert "://" not in text and "Below\n8 answers" in text.replace("Below 8", "Below\n8")
    links = re.findall(r'href="(learners/[^"]+)"', page.read_text(encoding="utf-8"))
    assert links and all((page.parent / link).is_file() for link in links)
    with pytest.raises(KTError, match="exists already"):
        classroom.classroom(run, data, tmp_path / "class")


def test_a_large_class_says_what_it_leaves_out(run_and_data, tmp_path, monkeypatch):
    run, data = run_and_data
    monkeypatch.setattr(pages, "SHOWN_LEARNERS", 5)
    monkeypatch.setattr(pages, "SHOWN_SKILLS", 3)
    text = classroom.classroom(run, data, tmp_path / "class").read_text(encoding="utf-8")
    assert f"{data.table['user'].nunique() - 5} more have a page" in text
    assert "more are on the learners' pages" in text.replace("&#39;", "'")


def test_a_run_that_cannot_say_how_sure_it_is(run_and_data, tmp_path):
    run, data = run_and_data
    unsure = dataclasses.replace(run, uncertainty=None)
    with pytest.raises(KTError, match="does not say how sure it is"):
        classroom.classroom(unsure, data, tmp_path / "class")
    assert not (tmp_path / "class").exists()


def test_the_command(trained, tmp_path, capsys):
    answers = tmp_path / "answers.csv"
    answers.write_text("user,skill,correct\n" + "ada,skill 03,1\n" * 9, encoding="utf-8")
    call = ["classroom", str(trained.path), "--data", str(answers), "--out", str(tmp_path / "c")]
    assert main(call) == 0
    assert "ada" in (tmp_path / "c" / "class.html").read_text(encoding="utf-8")
    assert main(["classroom", str(trained.path), "--out", str(tmp_path / "own")]) == 0
    assert main(call) == 2  # the folder is there
    answers.write_text("user,skill\nada,1\n", encoding="utf-8")
    assert main([*call[:-1], str(tmp_path / "d")]) == 2
    assert "correct" in capsys.readouterr().err and not (tmp_path / "d").exists()
