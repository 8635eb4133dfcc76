"""Readers on small files and on the real data; downloads."""

import functools
import http.server
import json
import threading

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import DATA, needs_data

from kt_core.base.errors import KTError
from kt_core.config import DataConfig
from kt_core.data import load_dataset, make_splits, registry
from kt_core.data.formats.names import with_names
from kt_core.data.formats.readers import read_table
from kt_core.data.reading import ReadOptions
from kt_core.data.reading.note import ReadingNote

LONG = "user_id,skill_name,correct,order_id\nb,add,1,5\na,add,0,2\nb,sub,0,3\na,add,1,1\n"


def write(folder, name, text):
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


@pytest.mark.parametrize("separator", [",", "\t", ";"])
def test_long_table_with_usual_names_sorted_in_time(tmp_path, separator):
    table, notes = read_table(write(tmp_path, "x.csv", LONG.replace(",", separator)))
    assert table[["user", "skill", "correct"]].values.tolist() == [
        ["b", "sub", 0],
        ["b", "add", 1],
        ["a", "add", 1],
        ["a", "add", 0],
    ]
    assert notes.counts == {"rows that stood after a later answer of the learner, put in order": 2}


def test_parquet_and_csv_read_alike(tmp_path):
    csv = write(tmp_path, "x.csv", LONG)
    pd.read_csv(csv).to_parquet(tmp_path / "x.parquet")
    pd.testing.assert_frame_equal(read_table(csv)[0], read_table(tmp_path / "x.parquet")[0])


def test_own_column_names(tmp_path):
    path = write(tmp_path, "x.csv", "Wer,Was,Richtig\nü,1+1,1\nü,1+1,0\n")
    with pytest.raises(KTError, match="no column for 'user'; it has: Wer, Was, Richtig"):
        read_table(path, ReadOptions("long"))
    names = {"user": "Wer", "skill": "Was", "correct": "Richtig"}
    assert read_table(path, ReadOptions("long", names))[0]["user"].tolist() == ["ü", "ü"]
    with pytest.raises(KTError, match="no column for 'Wo'"):
        read_table(path, ReadOptions("long", names | {"skill": "Wo"}))


def test_datashop_names_and_outcomes(tmp_path):
    text = (
        "Anon Student Id\tTime\tStep Name\tOutcome\tKC(Default)\n"
        "s1\t2011-01-01 10:00:02\tp2\tINCORRECT\tk\n"
        "s1\t2011-01-01 10:00:01\tp1\tCORRECT\tk\n"
    )
    table, _ = read_table(write(tmp_path, "x.txt", text))
    assert table["correct"].tolist() == [1, 0] and table["item"].tolist() == ["p1", "p2"]


def test_equal_timestamps_keep_the_order_of_the_file(tmp_path):
    text = "user,skill,correct,timestamp\n" + "".join(f"u,k{i},1,0\n" for i in range(50))
    table, _ = read_table(write(tmp_path, "x.csv", text))
    assert table["skill"].tolist() == [f"k{i}" for i in range(50)]


def test_fractions_and_missing_skills_are_dropped_and_counted(tmp_path):
    text = "user,skill,correct\nu,a,0.5\nu,,1\nu,a,1\nu,a,0\n"
    table, notes = read_table(write(tmp_path, "x.csv", text))
    assert len(table) == 2
    assert notes.counts == {
        "rows without a skill, dropped": 1,
        "responses between 0 and 1, dropped": 1,
    }


def test_pykt_sequences(tmp_path):
    text = 'fold,uid,concepts,responses\n0,7,"3,4_5,3","1,0,-1"\n-1,8,"3","1"\n'
    table, _ = read_table(write(tmp_path, "x.csv", text))
    assert table[["user", "skill", "correct", "fold"]].values.tolist() == [
        ["7", "3", 1, 0],
        ["7", "4+5", 0, 0],
        ["8", "3", 1, -1],
    ]


def test_akt_with_and_without_items(tmp_path):
    four = "0,90\n5,5,6\n1,2,1\n1,1,0\n1,91\n5\n1\n0\n"
    table, notes = read_table(write(tmp_path, "four.csv", four))
    assert table["skill"].tolist() == ["1+2", "1", "1"]  # item 5 with skills 1 and 2: one answer
    assert table["user"].tolist() == ["90", "90", "91"]
    assert notes.counts == {"rows repeating an answer for a further skill, combined": 1}
    expanded, notes = read_table(tmp_path / "four.csv", ReadOptions(expand_skills=True))
    assert len(expanded) == 4 and notes.counts == {}
    three = "0,90\n1,2,1,\n1,1,0,\n1,91\n1\n0\n"
    table, _ = read_table(write(tmp_path, "three.csv", three))
    assert len(table) == 4 and "item" not in table


def test_triple_lines(tmp_path):
    table, _ = read_table(write(tmp_path, "x.txt", "3\n1,2,1\n1,0,1\n2\n4,4\n0,0\n"))
    assert table["user"].tolist() == ["0", "0", "0", "1", "1"]
    with pytest.raises(KTError, match=r"line 1: 4 steps announced, but 3 found"):
        read_table(write(tmp_path, "y.txt", "4\n1,2,1\n1,0,1\n"))


def test_the_same_skill_again_is_a_real_repeat(tmp_path):
    # item 9: skills 1, 2 (one answer), then 1, 2 again (another), then 2 (a third)
    text = "user,item,skill,correct\n" + "".join(f"u,9,{k},1\n" for k in (1, 2, 1, 2, 2))
    table, _ = read_table(write(tmp_path, "x.csv", text))
    assert table["skill"].tolist() == ["1+2", "1+2", "2"]
    other_answer = text.replace("u,9,2,1\n", "u,9,2,0\n", 1)
    table, _ = read_table(write(tmp_path, "y.csv", other_answer))
    assert table["skill"].tolist() == ["1", "2", "1+2", "2"]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty"),
        (b"\n\n  \n", "is empty"),
        (b"user,skill\nu,a\n", "no column for 'correct'; it has: user, skill"),
        (b"user,skill,correct\nu,a,maybe\n", "line 2: response 'maybe' is not 0 or 1"),
        (b"user,skill,correct\nu,a,1\nu,a,2\n", "line 3: response '2' is not 0 or 1"),
        (b"user,skill,correct\n", "no interactions"),
        (b"user,skill,correct\nu,,1\n", "no row has both a skill and a response"),
        ("user,skill,correct\nM\u00fcller,a,1\n".encode("latin1"), "line 2: not UTF-8 .byte 0xfc."),
        (b"user,skill,correct,time\nu,a,1,3\nu,a,1,then\n", "line 3: timestamp 'then'"),
        (b"user,skill,correct\nu,a,1\nu,a,1,9\n", "line 3: 4 fields, but the header has 3"),
        (b'fold,uid,concepts,responses\n0,7,"3,4","1"\n', "line 2: 2 concepts but 1 entries"),
        (b"0,90\n1,2\n1\n", "line 1: this learner's lists differ in length: 2 skills, 1 corrects"),
        (b"0,90\n1,2\n1,1\n9\n", "4 lines do not make whole blocks of 3"),
        (b"PK\x03\x04\xff\xfe", "a zip archive"),
        (b"user,skill,correct\nu1,1,1,0\nu2,1,1,0\n", "line 2: 4 fields, but the header has 3"),
        ("user,skill,correct\nu,a,1\n".encode("utf-16"), "UTF-16; read it with --encoding utf-16"),
        (b'fold,uid,concepts,responses\n0,7,"3","1"\n0,8,"3,4","1,5"\n', "line 3: response '5'"),
        (b"fold,uid,concepts,responses\n", "no interactions"),
        (b'fold,uid,concepts,responses\ninf,7,"3","1"\n', "column fold: 'inf' is not a whole"),
        (b"0,90\n5,5\n1,2\n1,1\n1,91\n5\n1\n7\n2,92\n5\n1\n0\n", "line 8: response '7'"),
        (b"0,90\n5,5\n1,2\n1,1\n1,91\n5,6\n1\n0\n", "line 5: .* lists .* 2 items, 1 skills"),
        (b"user,skill,correct\n\nu,a,1\n\nu,a,x\n\n", "line 5: response 'x'"),
    ],
)
def test_bad_files_get_one_clear_message(tmp_path, content, words):
    path = write(tmp_path, "bad.csv", content)
    with pytest.raises(KTError, match=words) as caught:
        read_table(path)
    assert "bad.csv" in str(caught.value)


def test_a_file_that_is_no_parquet(tmp_path):
    with pytest.raises(KTError, match="not a readable Parquet file"):
        read_table(write(tmp_path, "x.parquet", b"PAR1 not really"))
    with pytest.raises(KTError, match="no such file"):
        read_table(tmp_path / "nowhere.csv")


def serve(folder):
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(folder))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


def test_download_with_checksum_into_the_cache(tmp_path, monkeypatch):
    rows = "".join(f'{i % 5 - (i > 20) * 9},{i},"1,2,1","1,0,1"\n' for i in range(20))
    home = tmp_path / "home"
    home.mkdir()
    good = write(home, "train_valid.csv", "fold,uid,concepts,responses\n" + rows)
    test = write(home, "test.csv", 'fold,uid,concepts,responses\n-1,t1,"1,2,2","1,0,0"\n')
    server = serve(home)
    address = f"http://127.0.0.1:{server.server_address[1]}"
    digests = {p.name: registry.sha256(p) for p in (good, test)}
    public = registry.Public("toy", address, "pykt", digests, ("test.csv",))
    monkeypatch.setitem(registry.DATASETS, "toy", public)
    monkeypatch.setattr(registry, "cache", lambda name: tmp_path / "cache" / name)
    monkeypatch.delenv("KT_DATA_DIR", raising=False)
    try:
        assert registry.found("toy") == "to be downloaded"
        splits = make_splits(load_dataset(DataConfig(dataset="toy")), DataConfig())
        assert list(splits.test.learners) == ["t1"] and len(splits.train) == 16
        assert registry.found("toy") == str(tmp_path / "cache" / "toy")
        assert splits.dataset.sources == digests
        wrong = registry.Public("toy", address, "pykt", {"test.csv": "0" * 64})
        monkeypatch.setitem(registry.DATASETS, "wrong", wrong)
        with pytest.raises(KTError, match="wrong: test.csv could not be downloaded"):
            load_dataset(DataConfig(dataset="wrong"))
        assert not (tmp_path / "cache" / "wrong" / "test.csv").exists()
    finally:
        server.shutdown()
        server.server_close()
    gone = registry.Public("toy", address, "pykt", {"other.csv": "0" * 64})
    monkeypatch.setitem(registry.DATASETS, "gone", gone)
    with pytest.raises(KTError, match="set KT_DATA_DIR to the folder above it"):
        load_dataset(DataConfig(dataset="gone"))


def test_a_learner_in_two_files(tmp_path, monkeypatch):
    folder = tmp_path / "twice"
    folder.mkdir()
    line = '0,7,"1,2,1","1,0,1"\n'
    paths = [write(folder, n, "fold,uid,concepts,responses\n" + line) for n in ("a.csv", "b.csv")]
    public = registry.Public("x", "", "pykt", {p.name: registry.sha256(p) for p in paths})
    monkeypatch.setitem(registry.DATASETS, "twice", public)
    monkeypatch.setenv("KT_DATA_DIR", str(tmp_path))
    with pytest.raises(KTError, match="learner '7' is in two files"):
        load_dataset(DataConfig(dataset="twice"))


def test_unknown_data_set():
    with pytest.raises(KTError, match="data set 'assist2016' does not exist; choose one of"):
        load_dataset(DataConfig(dataset="assist2016"))


@needs_data
@pytest.mark.parametrize(
    ("name", "learners", "interactions", "skills", "right"),
    [
        ("assist2015", 19_093, 682_797, 100, 500_126),
        ("assist2009", 4_150, 274_561, 136, None),
        ("statics2011", 282, 189_297, 98, 144_883),
        ("algebra2005", 114, 129_998, 258, None),
        ("assist2017", 1_705, 941_498, 105, None),
        ("memphis", 478, 29_310, 36, 15_863),
    ],
)
def test_real_data(name, learners, interactions, skills, right):
    data = load_dataset(DataConfig(dataset=name))
    table = data.table
    assert len(table) == interactions and table["skill"].nunique() == skills
    assert table["user"].nunique() == learners
    assert right is None or table["correct"].sum() == right
    assert set(table["correct"]) == {0, 1} and not data.inflated
    published = registry.DATASETS[name].files
    assert data.sources == published


@needs_data
def test_assist2017_has_names_and_original_learners():
    """Two facts of the release that the mapping must give: its most frequent skills, in order."""
    table = load_dataset(DataConfig(dataset="assist2017")).table
    frequent = table["skill"].value_counts().index[:5].tolist()
    assert frequent == ["noskill", "probability", "pattern-finding", "area", "equation-solving"]
    first = table[table["user"] == "8"]["skill"]
    assert first.iloc[0] == "properties-of-geometric-figures"
    assert not first.str.isdecimal().any()


def test_names_of_skills_from_a_file(tmp_path):
    table = pd.DataFrame({"user": "a", "skill": ["1", "1+2"], "correct": [0, 1]})
    names = write(tmp_path, "skill.json", '{"noskill": 1, "area": 2}')
    note = ReadingNote(several={"1+2": ("1", "2")})
    named, read = with_names(table, note, names)
    remarks = read.remarks
    assert read.several == {"area+noskill": ("area", "noskill")}
    assert named["skill"].tolist() == ["noskill", "area+noskill"]
    assert remarks[0] == "names of the skills: skill.json" and "1 answers are on" in remarks[1]
    for text, message in (
        ('{"area": 2}', "no name for skill 1"),
        ('{"area": 2, "perimeter": 2}', "two names have the same number"),
        ("[1, 2]", "expected a JSON object"),
        ("{", "cannot be read as JSON"),
    ):
        with pytest.raises(KTError, match=message):
            with_names(table, note, write(tmp_path, "skill.json", text))


def test_which_names_are_several_skills(tmp_path):
    """Also merged rows; a name with a + that is one skill is not divided."""
    text = "user,skill,item,correct\na,x;y,1,1\na,c+,2,0\na,y,3,1\na,z,3,1\na,x;y,4,0\na,c+;x,5,1\n"
    table, note = read_table(write(tmp_path, "several.csv", text))
    assert table["skill"].tolist() == ["x+y", "c+", "y+z", "x+y", "x+c+"]
    assert note.several == {"x+y": ("x", "y"), "y+z": ("y", "z"), "x+c+": ("c+", "x")}
    assert ReadingNote.from_dict(json.loads(json.dumps(note.to_dict()))) == note
    whole, note = read_table(tmp_path / "several.csv", ReadOptions(skill_separator="none"))
    assert "x;y" in set(whole["skill"]) and note.several == {"y+z": ("y", "z")}


@needs_data
def test_assist2009_repeats_one_answer_per_skill():
    path = DATA / "assist2009" / "assist2009_pid_test1.csv"
    combined, notes = read_table(path)
    expanded, _ = read_table(path, ReadOptions(expand_skills=True))
    assert combined.loc[0, "skill"] == "37+54" and expanded["skill"].tolist()[:2] == ["37", "54"]
    merged = notes.counts["rows repeating an answer for a further skill, combined"]
    assert merged == len(expanded) - len(combined) == 8_912
    assert load_dataset(DataConfig(dataset="assist2009", expand_skills=True)).inflated


@needs_data
def test_assist2015_has_pykts_split():
    config = DataConfig(dataset="assist2015")
    splits = make_splits(load_dataset(config), config)
    assert [len(np.unique(p.learner)) for p in (splits.train, splits.valid, splits.test)] == [
        12_220,
        3_055,
        3_818,
    ]
    assert splits.valid.interactions == 105_831 and splits.test.interactions == 138_458
    assert torch.tensor(splits.train.lengths).max() == 200
