"""Outside scores: plain tables, and the test score in the ASSISTments 2017 release."""

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kt_core.base.errors import KTError
from kt_core.data import read_dataset
from kt_core.data.pseudonyms import Pseudonyms
from kt_core.data.scores import read_scores, release_scores

RELEASE = "studentId,MCAS,skill,problemId,startTime,correct,attemptCount\n"


def written(folder, text, name="scores.csv"):
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def release(folder, rows):
    lines = [f"{who},{score},area,{i},{1000 - i},{i % 2},1" for i, (who, score) in enumerate(rows)]
    return written(folder, RELEASE + "\n".join(lines) + "\n", "release.csv")


def test_a_plain_table(tmp_path):
    text = "Student ID,score,group,date\n 7 ,12.5,A,2011-06-30\n8,-3,B,2011-07-01\n"
    table = read_scores(written(tmp_path, text))
    assert table["learner"].tolist() == ["7", "8"] and table["score"].tolist() == [12.5, -3]
    assert table["group"].tolist() == ["A", "B"] and (table["date"] / 86400).tolist() == [
        15155,
        15156,
    ]
    assert table.attrs == {"name": "score", "missing": 0}
    again = read_scores(written(tmp_path, "learner;score\n7;1\n8;2\n", "other.csv"))
    assert again["score"].tolist() == [1, 2] and list(again) == ["learner", "score"]
    text = "learner,age,score,class,date\na,9,,NA,\nb,9,2, x ,1309392000000\n"
    some = read_scores(written(tmp_path, text, "some.csv"))
    assert some["score"].isna().tolist() == [True, False] and some["group"].tolist() == ["", "x"]
    assert some["date"].isna().tolist() == [True, False] and some["date"][1] == 1309392000


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("learner,score\na,1\nb,inf\n", "scores.csv, line 3: score 'inf' is not a number"),
        ("learner,score\n,1\n", "line 2: the learner is empty"),
        ("learner,mark\na,1\n", "no column score; scores have the columns learner, score"),
        ("learner,score,date\na,1,30/6/2011\n", "line 2: date '30/6/2011' is not a date"),
        ("user,student,score\na,b,1\n", "user and student can both be the learner"),
        ("learner,score\n", "the table has no rows"),
    ],
)
def test_what_is_refused(tmp_path, text, message):
    with pytest.raises(KTError, match=message):
        read_scores(written(tmp_path, text))


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(KTError, match="no such file"):
        read_scores(tmp_path / "gone.csv")


def test_the_release_keeps_its_test_score_apart(tmp_path):
    path = release(tmp_path, [("8", 45), ("8", 45.0), ("9", -999), ("10", 20)])
    data = read_dataset(path)
    assert data.scores["learner"].tolist() == ["8", "10"]
    assert data.scores["score"].tolist() == [45, 20] and data.scores.attrs["name"] == "MCAS"
    assert "MCAS" not in data.table and "score" not in data.table
    assert "MCAS is a test score of 2 learners (1 without one)" in str(data.note)
    assert "criterion RUN --scores release.csv" in str(data.note)
    assert read_scores(path).equals(data.scores)
    key = Pseudonyms("x" * 32)
    hidden = read_scores(path, key)
    assert hidden["learner"].tolist() == key.of(pd.Series(["8", "10"])).tolist()
    assert hidden.attrs == {"name": "MCAS", "missing": 1}


def test_a_learner_with_two_scores_in_the_release(tmp_path):
    with pytest.raises(KTError, match="line 3: learner '8' has two scores in MCAS: 45 and 46"):
        read_dataset(release(tmp_path, [("8", 45), ("8", 46)]))
    with pytest.raises(KTError, match="line 2: score 'x' is not a number"):
        read_scores(release(tmp_path, [("8", "x")]))


def test_other_tables_have_no_scores(tmp_path):
    assert read_dataset(written(tmp_path, "user,skill,correct\na,b,1\n")).scores is None


@given(st.dictionaries(st.text("abc123", min_size=1), st.integers(-998, 99), min_size=1))
def test_one_score_per_learner_however_often_it_is_repeated(scores):
    rows = [(who, str(score)) for who, score in scores.items() for _ in range(3)]
    table = pd.DataFrame(rows, columns=["learner", "score"]).sample(frac=1, random_state=0)
    table = table.reset_index(drop=True).assign(line=range(len(rows)))
    found = release_scores(table, "release")
    assert dict(zip(found["learner"], found["score"], strict=True)) == scores
