"""The Memphis experiment's R file: practice for training, the post-test apart."""

import pandas as pd
import pytest
import rdata

from kt_core.base.errors import KTError
from kt_core.config import DataConfig
from kt_core.data import registry
from kt_core.data.formats.memphis import posttest, read_frame
from kt_core.data.public import Public
from kt_core.data.registry import load_dataset


def trial(learner, cluster, outcome, phase="Statistics Practice", second=0, retention=0):
    return {
        "Anon.Student.Id": learner,
        "KC..Cluster.": cluster,
        "Outcome": outcome,
        "KC..Default.": f"{cluster}-{second % 4}",
        "Time": f"2015-11-02 10:00:{second:02d}",
        "Level..Unitname.": phase,
        "Condition.Name.3": retention,
    }


def small():
    rows = [trial("a", "0 sum", "INCORRECT", second=1), trial("a", "0 sum", "STUDY", second=2)]
    rows += [trial("a", "1 mean", "CORRECT", second=s) for s in (3, 4)]
    rows += [trial("a", "0 sum", "CORRECT", "Posttest", 22)]  # not in the order of time
    rows += [trial("a", "0 sum", "INCORRECT", "Posttest", 21)]
    rows += [trial("a", "2 range", "INCORRECT", "Posttest", 23)]
    rows += [trial("b", "2 range", "CORRECT", second=s, retention=2) for s in (1, 2, 3)]
    rows += [trial("b", "2 range", "CORRECT", "Posttest", 9, retention=2)]
    return pd.DataFrame(rows)


def in_r(frame):
    """With the only kind of texts that rdata writes."""
    texts = frame.select_dtypes(exclude="number").columns
    return frame.astype(dict.fromkeys(texts, pd.StringDtype("python")))


def write(frame, path):
    rdata.write_rda(path, {"largerawsample": in_r(frame)})
    return path


def test_dose_counts_all_trials_of_practice_and_the_first_answer_counts(tmp_path):
    table = posttest(write(small(), tmp_path / "small.rda"))
    assert table["learner"].tolist() == ["a", "a", "b"]
    assert table["skill"].tolist() == ["0 sum", "2 range", "2 range"]
    assert table["correct"].tolist() == [0, 0, 1]  # the answer at second 21, not the one at 22
    assert table["dose"].tolist() == [2, 0, 3]  # with the STUDY trial
    assert table["retention"].tolist() == ["2 minutes", "2 minutes", "3 days"]
    assert list(table["retention"].cat.categories) == ["2 minutes", "1 day", "3 days"]


def test_training_sees_the_answers_of_the_practice_alone(tmp_path, monkeypatch):
    path = write(small(), tmp_path / "small.rda")
    public = Public("small", "", "memphis", {path.name: registry.sha256(path)})
    monkeypatch.setitem(registry.DATASETS, "small", public)
    monkeypatch.setenv("KT_DATA_DIR", str(tmp_path))
    data = load_dataset(DataConfig(dataset="small"))
    assert data.table["user"].tolist() == list("aaabbb")
    assert data.table["skill"].tolist() == ["0 sum", "1 mean", "1 mean", *["2 range"] * 3]
    assert data.table["correct"].tolist() == [0, 1, 1, 1, 1, 1]
    assert data.table["item"].nunique() == 6 and (data.table["timestamp"] > 1e18).all()
    assert "1 of the 7 trials of the practice are STUDY trials" in str(data.note)
    assert "4 trials of the post-test" in str(data.note)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"Outcome": "GUESS"}, "row 1, column Outcome: 'GUESS' is not one of CORRECT, INCORRECT"),
        ({"Level..Unitname.": "Pretest"}, "row 1, column Level..Unitname.: 'Pretest'"),
        ({"Condition.Name.3": 7}, "row 1, column Condition.Name.3: '7' is not one of 0, 1, 2"),
    ],
)
def test_values_that_the_experiment_does_not_have(tmp_path, change, message):
    frame = small()
    for name, value in change.items():
        frame.loc[0, name] = value
    with pytest.raises(KTError, match=message):
        posttest(write(frame, tmp_path / "other.rda"))


def test_other_files(tmp_path):
    with pytest.raises(KTError, match="no column Outcome; this is not the Memphis experiment"):
        posttest(write(small().drop(columns="Outcome"), tmp_path / "no.rda"))
    broken = tmp_path / "broken.rda"
    content = write(small(), tmp_path / "whole.rda").read_bytes()
    broken.write_bytes(content[: len(content) // 2])
    with pytest.raises(KTError, match="broken.rda: not a readable R file"):
        read_frame(broken)
    rdata.write_rda(tmp_path / "two.rda", {"a": in_r(small()), "b": in_r(small())})
    with pytest.raises(KTError, match="2 data frames, and one is expected: a, b"):
        read_frame(tmp_path / "two.rda")
