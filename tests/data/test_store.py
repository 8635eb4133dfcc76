"""Stored data sets: the same data as in memory for any block size, and conversions that resume."""

from __future__ import annotations

import dataclasses
import gzip
import json

import numpy as np
import pandas as pd
import pytest
from conftest import stir
from hypothesis import given, settings
from hypothesis import strategies as st

from kt_core.base.errors import KTError
from kt_core.cli.commands import main
from kt_core.config import DataConfig, ModelConfig, with_overrides
from kt_core.data import load_dataset, make_splits
from kt_core.data.formats import long
from kt_core.data.reading import ReadOptions
from kt_core.data.registry import read_splits, sha256
from kt_core.data.sequences import tally
from kt_core.data.store import convert as steps
from kt_core.data.store import read as store
from kt_core.data.store.columns import ColumnWriter, mapped
from kt_core.data.store.convert import convert
from kt_core.data.store.read import stored_splits
from kt_core.evaluation.evaluate import evaluate
from kt_core.learners.cohort import learner_frame
from kt_core.learners.explain import explain
from kt_core.model import GainAKT2
from kt_core.report.examine import examine
from kt_core.training.module import new_model
from kt_core.training.train import train


def answers(learners=40, seed=0, items=True, fold=False):
    """Interactions in order of time, not by learner, with some rows to drop."""
    rng = np.random.default_rng(seed)
    n = learners * 15
    table = pd.DataFrame(
        {
            "user_id": [f"0{u}" for u in rng.integers(0, learners, n)],
            "skill": rng.choice(
                ["add", "sub, tract", "10", "9", ""], n, p=[0.3, 0.3, 0.2, 0.1, 0.1]
            ),
            "correct": rng.choice(["0", "1", "0.5"], n, p=[0.4, 0.55, 0.05]),
            "timestamp": rng.integers(0, 50, n),
        }
    )
    if items:
        table["item"] = rng.choice(["a", "b", "c", ""], n)
    if fold:
        table["fold"] = table["user_id"].astype(int) % 4 - 1
    return table


def same(a, b):
    """Whether two splits have the same answers of the same learners, in any order."""
    assert a.vocabulary == b.vocabulary
    for name in ("train", "valid", "test"):
        x, y = getattr(a, name), getattr(b, name)
        assert len(x) == len(y) and x.interactions == y.interactions
        seen = {}
        for s in (x, y):
            for i in range(len(s)):
                rows = slice(s.starts[i], s.starts[i] + s.lengths[i])
                columns = (s.skill[rows], s.item[rows], s.response[rows])
                key = (s.learners[s.learner[i]], int(s.chunk[i]))
                seen.setdefault(key, []).append([c.tolist() for c in columns])
        assert all(len(two) == 2 and two[0] == two[1] for two in seen.values())


@settings(max_examples=12)
@given(
    seed=st.integers(0, 1000),
    items=st.booleans(),
    fold=st.booleans(),
    expand=st.booleans(),
    kind=st.sampled_from(["csv", "tsv", "parquet", "csv.gz"]),
)
def test_a_stored_data_set_is_the_table_read_whole(
    tmp_path_factory, seed, items, fold, expand, kind
):
    folder = tmp_path_factory.mktemp("store")
    table, source = answers(seed=seed, items=items, fold=fold), folder / f"answers.{kind}"
    whole = folder / "whole.csv"
    table.to_csv(whole, index=False)
    if kind == "parquet":
        table.to_parquet(source)
    elif kind == "csv.gz":
        source.write_bytes(gzip.compress(whole.read_bytes()))
    else:
        table.to_csv(source, index=False, sep="\t" if kind == "tsv" else ",")
    with pytest.MonkeyPatch.context() as patch:  # many small blocks and buckets
        patch.setattr(long, "BLOCK_BYTES", 2000)
        patch.setattr(long, "BLOCK_ROWS", 70)
        patch.setattr(steps, "BUCKET_BYTES", 3000)
        stored = convert(source, folder / "stored", ReadOptions(expand_skills=expand))
    config = DataConfig(path=str(whole), chunk=7, expand_skills=expand)
    dataset = load_dataset(config)
    splits = stored_splits(dataclasses.replace(config, path=str(stored)))
    same(make_splits(dataset, config), splits)
    assert splits.dataset.note.counts == make_splits(dataset, config).dataset.note.counts
    assert splits.dataset.inflated == dataset.inflated
    assert splits.dataset.sources[source.name] == sha256(source)
    assert [p.name for p in folder.iterdir() if p.name.startswith(".")] == []


def test_training_and_report_from_disk(tmp_path, smoke, capsys):
    table = answers(learners=60)
    table.to_csv(tmp_path / "answers.csv", index=False)
    out = tmp_path / "stored"
    assert main(["convert", "--data", str(tmp_path / "answers.csv"), "--out", str(out)]) == 0
    config = with_overrides(smoke[0], {"data.path": str(out)})
    splits = read_splits(config)
    assert not splits.train.skill.flags.writeable  # mapped, not loaded
    capsys.readouterr()
    assert main(["look", str(out)]) == 0
    assert "answers.csv (long table)" in capsys.readouterr().out
    run = train(config, splits, tmp_path / "run")
    examined = examine(run.path)
    assert set(examined.splits.test.learners) == set(splits.test.learners)
    whole = read_splits(with_overrides(config, {"data.path": str(tmp_path / "answers.csv")}))
    a, b = (evaluate(run.model, s.test).frame for s in (splits, whole))
    columns = ["predicted", "mastery_post"]
    for x, y in zip(a[columns].to_numpy().T, b[columns].to_numpy().T, strict=True):
        np.testing.assert_allclose(np.sort(x), np.sort(y), atol=1e-5)
    tables = [new_model(config.model, s).difficulty.table() for s in (splits, whole)]
    assert (tables[0] == tables[1]).all()


@pytest.mark.parametrize("stopped", ["_deal", "clean", "_names"])
def test_a_stopped_conversion_goes_on(tmp_path, monkeypatch, stopped):
    source, target = tmp_path / "answers.csv", tmp_path / "stored"
    answers().to_csv(source, index=False)
    monkeypatch.setattr(long, "BLOCK_BYTES", 3000)
    monkeypatch.setattr(steps, "BUCKET_BYTES", 3000)
    calls, original = [], getattr(steps, stopped)

    def third_time(*args):
        calls.append(args)
        if len(calls) == (1 if stopped == "_names" else 3):
            raise KeyboardInterrupt
        return original(*args)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(steps, stopped, third_time)
        convert(source, target)
    assert not target.exists()
    work = tmp_path / ".stored.converting"
    kept = {p: p.stat().st_mtime_ns for p in work.rglob("*") if p.suffix in (".arrow", ".parquet")}
    assert kept
    found, remove = {}, steps.shutil.rmtree

    def look_first(path, **kwargs):
        if path == work:
            found.update({p: p.stat().st_mtime_ns for p in kept})
        remove(path, **kwargs)

    monkeypatch.setattr(steps.shutil, "rmtree", look_first)
    convert(source, target)
    assert found == kept  # no existing file was made again
    assert json.loads((target / "store.json").read_text())["rows"] > 0


def test_another_conversion_in_its_place_is_refused(tmp_path, monkeypatch):
    source, target = tmp_path / "answers.csv", tmp_path / "stored"
    answers().to_csv(source, index=False)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(steps, "_names", lambda work: (_ for _ in ()).throw(KeyboardInterrupt))
        convert(source, target)
    with pytest.raises(KTError, match="unfinished conversion of another file"):
        convert(source, target, ReadOptions(expand_skills=True))
    convert(source, target)
    with pytest.raises(KTError, match="exists already"):
        convert(source, target)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "the file is empty"),
        ("user,skill,correct\n", "it has no interactions"),
        ("user,skill\na,b\n", "no column for 'correct'"),
        ("user,skill,correct\na,b,1\na,b\n", "line 3: 2 fields, but the header has 3"),
        ("user,skill,correct\na,b,2\n", "line 2: response '2' is not 0 or 1"),
        ("user,skill,correct\n,b,1\n", "no row has both a skill and a response"),
        ("user,skill,correct\na,,1\n", "no row has both a skill and a response"),
        ("user,skill,correct,fold\na,s,1,0\na,s,1,1\n", "is in the folds"),
    ],
)
def test_a_bad_table_is_named(tmp_path, capsys, text, words):
    source = tmp_path / "answers.csv"
    source.write_text(text, encoding="utf-8")
    assert main(["convert", "--data", str(source), "--out", str(tmp_path / "out")]) == 2
    assert words in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_columns_that_are_cut_short_are_refused(tmp_path):
    due = pytest.raises(KTError, match="2 rows written, but 3 expected")
    with due, ColumnWriter(tmp_path / "x.arrow", 3, {"a": "int32"}) as writer:
        writer.append(a=np.arange(2))
    assert list(tmp_path.iterdir()) == []
    with ColumnWriter(tmp_path / "x.arrow", 3, {"a": "int32", "b": "int8"}) as writer:
        writer.append(a=np.arange(3), b=np.ones(3))
    assert mapped(tmp_path / "x.arrow")["a"].tolist() == [0, 1, 2]
    (tmp_path / "x.arrow").write_bytes((tmp_path / "x.arrow").read_bytes()[:100])
    with pytest.raises(KTError, match="not a readable Arrow file"):
        mapped(tmp_path / "x.arrow")


def test_tally_piece_by_piece(monkeypatch, rng):
    monkeypatch.setattr("kt_core.data.sequences.PIECE", 7)
    keys, right = rng.integers(0, 5, 40), rng.integers(0, 2, 40)
    answers, correct = tally(keys, right, 6)
    assert answers.tolist() == np.bincount(keys, minlength=6).tolist()
    assert correct.tolist() == np.bincount(keys[right == 1], minlength=6).tolist()


def test_a_sample_keeps_whole_learners(smoke):
    test = smoke[1].train
    some = test.sample(7, seed=1)
    assert len(some.learners) == 7 and test.sample(10_000) is test
    for i in range(len(some)):
        name = some.learners[some.learner[i]]
        j = np.flatnonzero((test.learners[test.learner] == name) & (test.chunk == some.chunk[i]))[0]
        for column in ("skill", "response", "item"):
            rows, own = (
                slice(s.starts[k], s.starts[k] + s.lengths[k]) for s, k in ((test, j), (some, i))
            )
            assert (getattr(test, column)[rows] == getattr(some, column)[own]).all()
    kept = test.learners[test.learner]
    assert some.interactions == test.lengths[np.isin(kept, some.learners)].sum()


def blocks_of_three(monkeypatch):
    monkeypatch.setattr(long, "BLOCK_ROWS", 3)


@pytest.mark.parametrize(
    ("column", "want"),
    [
        ([1.0, 2.0, 3.0, 1.0, 2.5, 3.0], {"1", "2", "2.5", "3"}),
        (pd.Series([7, 7, None, 2**53 + 1, 7, 7], dtype="Int64"), {"7", str(2**53 + 1)}),
        (pd.Categorical([1, 2, 1, 2, 1, 2]), {"1", "2"}),
        ([True, False, True, True, False, True], {"True", "False"}),
    ],
)
def test_values_read_alike_whatever_the_block(tmp_path, monkeypatch, column, want):
    table = pd.DataFrame({"user": [*"abcdef"] * 3, "skill": [*column] * 3, "correct": 1})
    table["skill"] = pd.concat([pd.Series(column)] * 3, ignore_index=True)
    source = tmp_path / "answers.parquet"
    table.to_parquet(source)
    blocks_of_three(monkeypatch)
    config = DataConfig(path=str(source), min_length=2)
    stored = convert(source, tmp_path / "stored")
    assert set(make_splits(load_dataset(config), config).vocabulary.skills) == want
    splits = stored_splits(dataclasses.replace(config, path=str(stored)))
    assert set(splits.vocabulary.skills) == want


def test_lines_of_spaces_and_odd_headers_are_read(tmp_path):
    source = tmp_path / "answers.csv"
    text = "\ufeff\nuser;skill;re\u2028mark;correct;item\n" + "".join(
        f"0{u};007;x;{i % 2};005\n" for u in range(9) for i in range(4)
    )
    source.write_text(text + "  \n", encoding="utf-8")
    splits = stored_splits(DataConfig(path=str(convert(source, tmp_path / "stored"))))
    assert splits.vocabulary.skills == ("007",) and splits.vocabulary.items == ("005",)
    assert set(splits.train.learners) <= {f"0{u}" for u in range(9)}


def test_a_source_that_is_cut_short_is_not_called_a_full_disk(tmp_path):
    source = tmp_path / "answers.csv.gz"
    source.write_bytes(gzip.compress(answers().to_csv(index=False).encode())[:-200])
    with pytest.raises(KTError, match="cannot be read") as error:
        convert(source, tmp_path / "stored")
    assert "make room" not in str(error.value)


def test_parts_of_a_half_removed_conversion_are_not_used(tmp_path, monkeypatch):
    source, target = tmp_path / "answers.csv", tmp_path / "stored"
    answers(seed=1).to_csv(source, index=False)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(steps, "_names", lambda work: (_ for _ in ()).throw(KeyboardInterrupt))
        convert(source, target)
    (tmp_path / ".stored.converting" / "plan.json").unlink()
    answers(seed=2).to_csv(source, index=False)
    config = DataConfig(path=str(source))
    stored = stored_splits(dataclasses.replace(config, path=str(convert(source, target))))
    same(make_splits(load_dataset(config), config), stored)


def test_one_conversion_at_a_time(tmp_path, monkeypatch):
    source, target = tmp_path / "answers.csv", tmp_path / "stored"
    answers().to_csv(source, index=False)
    spread = steps._spread

    def meanwhile(*args):
        with pytest.raises(KTError, match="another conversion into it is running"):
            convert(source, target)
        return spread(*args)

    monkeypatch.setattr(steps, "_spread", meanwhile)
    convert(source, target)


def test_of_two_that_divide_at_once_the_first_is_taken(tmp_path, monkeypatch):
    source = tmp_path / "answers.csv"
    answers().to_csv(source, index=False)
    config = DataConfig(path=str(convert(source, tmp_path / "stored")))
    write = store._write_splits
    first = []

    def later(*args):
        if not first:
            first.append(True)
            first.append(stored_splits(config))
        write(*args)

    monkeypatch.setattr(store, "_write_splits", later)
    same(stored_splits(config), first[1])
    assert len(list((tmp_path / "stored" / "splits").iterdir())) == 1


def test_how_the_source_was_read_stays_said(tmp_path):
    source = tmp_path / "answers.csv"
    answers().to_csv(source, index=False)
    plain, expanded = (
        DataConfig(
            path=str(convert(source, tmp_path / str(expand), ReadOptions(expand_skills=expand)))
        )
        for expand in (False, True)
    )
    a, b = (stored_splits(config) for config in (plain, expanded))
    assert b.train.interactions > a.train.interactions
    assert a.dataset.sources != b.dataset.sources  # runs on them are told apart
    with pytest.raises(KTError, match="was converted with expand_skills = False, not True"):
        stored_splits(dataclasses.replace(plain, expand_skills=True))


@pytest.mark.parametrize(
    "broken", ["store.json", "learners.parquet", "names.parquet", "items.parquet", "train.arrow"]
)
def test_a_damaged_store_says_so(tmp_path, broken):
    source = tmp_path / "answers.csv"
    answers().to_csv(source, index=False)
    config = DataConfig(path=str(convert(source, tmp_path / "stored")))
    stored_splits(config)
    (file,) = (tmp_path / "stored").rglob(broken)
    file.write_bytes(file.read_bytes()[:50])
    with pytest.raises(KTError, match="convert the data again"):
        stored_splits(config)


def test_a_store_is_no_table_of_answers(tmp_path):
    source = tmp_path / "answers.csv"
    answers().to_csv(source, index=False)
    with pytest.raises(KTError, match="is a stored data set, for training"):
        load_dataset(DataConfig(path=str(convert(source, tmp_path / "stored"))))


def test_learners_from_disk_are_looked_at_and_explained(tmp_path):
    table = answers(learners=60)
    rng = np.random.default_rng(0)
    table["skill"] = rng.integers(0, 300, len(table)).astype(str)  # more than fit into a byte
    table.to_csv(tmp_path / "answers.csv", index=False)
    config = DataConfig(path=str(convert(tmp_path / "answers.csv", tmp_path / "stored")))
    splits = stored_splits(config)
    model = stir(GainAKT2(ModelConfig(d_model=16, heads=2, blocks=1, d_ff=16), 300))
    learner = splits.test.learners[0]
    parts = explain(model, splits.test, splits.vocabulary, learner, 4)
    frame = learner_frame(model, splits, "test", 0)
    asked = frame[(frame["step"] == 3) & (frame["skill"] == parts.attrs["asked"])]
    assert asked["filtered"].item() == pytest.approx(parts.attrs["mastery"], abs=1e-5)
