"""Unusual but valid input is read correctly, in memory and on disk."""

from __future__ import annotations

import dataclasses

import pandas as pd
import pyarrow as pa
import pytest
from reading import histories, stored_histories
from test_robustness_readers import GOOD, HEAD, PYKT, both, parquet, zipped

from kt_core.config import DataConfig
from kt_core.data.formats.frames import as_texts
from kt_core.data.formats.readers import read_table
from kt_core.data.store.convert import convert
from kt_core.data.store.read import stored_splits


def at_times(*times):
    rows = "".join(f'a,s{i},1,"{time}"\n' for i, time in enumerate(times))
    return "user,skill,correct,timestamp\n" + rows


IN_TURN = {"a": [("s1", 1), ("s2", 1), ("s0", 1)]}


@pytest.mark.parametrize(
    ("content", "want"),
    [
        ("\ufeffuser,skill,correct\r\na,s,1\r\na,t,0\r\n", {"a": [("s", 1), ("t", 0)]}),
        ("user,skill,correct\ra,s,1\ra,t,0", {"a": [("s", 1), ("t", 0)]}),
        (zipped(f"{HEAD}a,s,1\n".encode()), {"a": [("s", 1)]}),
        (zipped(HEAD.encode()) + zipped(b"a,s,1\n"), {"a": [("s", 1)]}),
        (f'{HEAD}a,"x, y\n\n z ""q""",1\n', {"a": [('x, y\n\n z "q"', 1)]}),
        (f'{HEAD}a,"x\r\ny",1\n"b\n",t,0\n', {"a": [("x\r\ny", 1)], "b": [("t", 0)]}),
        (f'{HEAD}a,5" pipe,1\n', {"a": [('5" pipe', 1)]}),
        ('"user";"skill";"correct"\na;"1;5";1\n', {"a": [("1+5", 1)]}),
        (f"{HEAD}007,1.10,1\n7,1.1,0\n", {"007": [("1.10", 1)], "7": [("1.1", 0)]}),
        (
            f"{HEAD}1e5,0x1,1\nNA,a,0\nNa,null,0\nnone,a,1\n",
            {"1e5": [("0x1", 1)], "none": [("a", 1)]},
        ),
        (f"{HEAD}张伟,分数 ½,1\n🧮,ñ,0\n", {"张伟": [("分数 ½", 1)], "🧮": [("ñ", 0)]}),
        (f"\n{HEAD}\n\na,s,TRUE\n\n  \na,t, False\n\n", {"a": [("s", 1), ("t", 0)]}),
        (at_times(30, 10, 20), IN_TURN),
        (at_times(1.5e12, 9, "1e3"), IN_TURN),
        (at_times("2011-01-02 00:30:00", "2011-01-01T10:00:00", "2011-01-02 00:29:59.5"), IN_TURN),
        (at_times("2011-01-02T00:30+02:00", "2011-01-01T22:00Z", "2011-01-01 22:29 UTC"), IN_TURN),
        (at_times("1/2/2012", "13/1/2011", "1/2/2011"), IN_TURN),
        (at_times("2/1/2012", "1/13/2011", "2/1/2011"), IN_TURN),
        (at_times("Mar 1, 2012", "February 1, 2012", "2012/2/15"), IN_TURN),
    ],
)
def test_odd_text_is_read_right_in_memory_and_on_disk(tmp_path, content, want):
    path = tmp_path / "odd.csv"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    assert histories(read_table(path)[0]) == want
    assert stored_histories(convert(path, tmp_path / "stored")) == want


@pytest.mark.parametrize(
    ("columns", "want"),
    [
        ({"user": ["007", "7"]}, ["007", "7"]),
        ({"user": pa.array([b"007", "é".encode()], pa.binary())}, ["007", "é"]),
        ({"user": pa.array(["007", "7"], pa.large_string())}, ["007", "7"]),
        ({"user": pa.array(["007", "7"]).dictionary_encode()}, ["007", "7"]),
        ({"user": pa.array([2**60 + 1, -3], pa.int64())}, [str(2**60 + 1), "-3"]),
        ({"user": pa.array([1e18, 2.5])}, ["1000000000000000000", "2.5"]),
        ({"user": ["b", "a"], "time": pd.to_datetime(["2011-01-01", "2010-01-01"])}, ["b", "a"]),
    ],
)
def test_odd_parquet_is_read_right_in_memory_and_on_disk(tmp_path, columns, want):
    path = parquet(tmp_path, **columns)
    assert read_table(path)[0]["user"].tolist() == want
    assert sorted(stored_histories(convert(path, tmp_path / "stored"))) == sorted(want)


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(
    ("text", "users", "skills"),
    [
        ('fold,uid,concepts,responses\r\n0,007,"01,1","1,0"\r\n', ["007", "007"], ["01", "1"]),
        ("0,007\r\n01,1,\r\n1,0,\r\n", ["007", "007"], ["01", "1"]),
        ("\ufeff2\r01,1\r1,0\r", ["0", "0"], ["01", "1"]),
    ],
)
def test_odd_sequences_are_read_right(tmp_path, text, users, skills, packed):
    path, content = tmp_path / "odd.csv", text.encode()
    path.write_bytes(zipped(content) if packed else content)
    table, _ = read_table(path)
    assert table["user"].tolist() == users and table["skill"].tolist() == skills


def test_a_list_longer_than_a_csv_field_usually_is(tmp_path):
    n = 100_000
    path = tmp_path / "long.csv"
    path.write_text(PYKT + f'0,7,"{"1," * (n - 1)}1","{"1," * (n - 1)}0"\n')
    assert len(read_table(path)[0]) == n


def test_a_conversion_of_a_mended_file_begins_again(tmp_path):
    path = tmp_path / "answers.csv"
    path.write_text(GOOD + "u1,s,maybe\n")
    both(path, tmp_path)
    path.write_text(GOOD)
    config = DataConfig(path=str(convert(path, tmp_path / "stored")))
    assert stored_splits(dataclasses.replace(config)).train.interactions > 0


def test_bytes_are_the_text_that_they_hold_and_stay_apart():
    ids = [b"ada", b"\xff", b"\xfe", "ben"]
    texts = as_texts(pd.DataFrame({"user": ids, "kind": pd.Categorical([1, 0, None, 1])}))
    assert texts["user"].tolist() == ["ada", "\\xff", "\\xfe", "ben"]
    assert texts["kind"].tolist() == ["1", "0", "", "1"]
