"""Predictions of many learners, some at a time: from a stored data set and in several processes."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kt_core.base.errors import KTError
from kt_core.base.files import write_table, write_tables
from kt_core.cli.commands import main
from kt_core.data import Dataset, ReadOptions, Simulation, simulate
from kt_core.data.store import pieces as stored_pieces
from kt_core.data.store.convert import convert
from kt_core.learners.pieces import pieces_of, write_each
from kt_core.learners.predict import predict
from kt_core.runs.answers import answers_for, stored_for


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Answers of 30 learners in a file, and stored: some on skills and items that no run knows, a
    learner with nothing else, and answers on several skills."""
    folder = tmp_path_factory.mktemp("answers")
    table = simulate(Simulation(learners=30, seed=5), "new").table
    table = table[["user", "skill", "item", "correct"]].astype({"correct": int})
    table.loc[3::50, ["skill", "item"]] = "strange", "own"
    table.loc[7::60, "item"] = "new"
    table.loc[table["user"] == table["user"].iloc[-1], "skill"] = "other"
    table.loc[table["skill"] == "skill 04", "skill"] = "skill 04,skill 05"
    table.to_csv(folder / "a.csv", index=False)
    convert(folder / "a.csv", folder / "a.stored", ReadOptions(skill_separator=","))
    return folder / "a.csv", folder / "a.stored"


def same(got, want):
    pd.testing.assert_frame_equal(
        *(x.sort_values(["learner", "skill"], ignore_index=True) for x in (got, want)), atol=1e-5
    )


@pytest.mark.parametrize("at_once", [1, 100, 10**6])
def test_stored_answers_are_those_of_the_file(trained, files, tmp_path, at_once, monkeypatch):
    file, folder = files
    whole = answers_for(trained, file, {"data.skill_separator": ","}, combine=True)
    monkeypatch.setattr(stored_pieces, "AT_ONCE", at_once)
    stored = stored_for(trained, folder, {})
    told = write_each(trained, stored, tmp_path / "m.parquet", False, 1)
    want = predict(trained, whole)
    same(pd.read_parquet(tmp_path / "m.parquet"), want)
    assert told.learners == want["learner"].nunique() == 29 and told.masteries == len(want)
    assert stored.note.counts == whole.note.counts
    assert any("does not know, left out: 'other', 'strange'" in what for what in whole.note.counts)
    assert any("new combinations of skills" in what for what in whole.note.counts)


def test_only_a_piece_is_in_memory(trained, files, monkeypatch):
    monkeypatch.setattr(stored_pieces, "AT_ONCE", 100)
    sizes = [piece.table.groupby("user").size() for piece in stored_for(trained, files[1], {})]
    assert len(sizes) > 5
    assert all(size[1:].sum() < 100 for size in sizes)


@pytest.mark.parametrize("source", [0, 1])
def test_several_processes_give_the_same_in_the_same_order(trained, files, tmp_path, source):
    words = ["predict", str(trained.path), "--data", str(files[source]), "--every-skill"]
    words += ["--skill-separator", ",", "--out"]
    for jobs in ("1", "2"):
        assert main([*words, str(tmp_path / f"{jobs}.csv"), "--jobs", jobs]) == 0
    one, two = (pd.read_csv(tmp_path / f"{jobs}.csv") for jobs in "12")
    pd.testing.assert_frame_equal(one, two, atol=1e-5)
    assert len(one) == 29 * 20


@settings(max_examples=30)
@given(st.lists(st.integers(1, 9), min_size=1, max_size=12), st.integers(1, 20))
def test_pieces_are_whole_learners_in_order(lengths, at_once):
    user = np.repeat([f"u{n}" for n in range(len(lengths))], lengths)
    table = pd.DataFrame({"user": user, "skill": "s", "correct": np.arange(len(user)) % 2})
    found = [piece.table for piece in pieces_of(Dataset("d", table), at_once)]
    pd.testing.assert_frame_equal(pd.concat(found, ignore_index=True), table)
    assert sum(part["user"].nunique() for part in found) == len(lengths)
    for part in found:  # without its first learner, a piece is not full
        assert (part["user"] != part["user"].iloc[0]).sum() < at_once


def test_a_run_of_known_times_needs_the_file(trained, files, monkeypatch):
    monkeypatch.setattr(type(trained.model), "timed", True)
    with pytest.raises(KTError, match="stored answers have no times"):
        stored_for(trained, files[1], {})


def test_a_run_of_pseudonyms_needs_them_in_the_store(trained, files):
    hidden = dataclasses.replace(trained, provenance={**trained.provenance, "pseudonyms": "abc"})
    with pytest.raises(KTError, match="convert the source with --pseudonymise"):
        stored_for(hidden, files[1], {})


@pytest.mark.parametrize(
    ("change", "words", "why"),
    [("", ["--jobs", "0"], "--jobs 0: at least 1"),
     ("", ["--expand-skills"], "was converted with expand_skills = False"),
     ("skill", [], "none of its skills"),
     ("interactions.arrow", [], "missing, damaged or changed by hand")],
)  # fmt: skip
def test_refused(trained, files, tmp_path, capsys, change, words, why):
    folder = files[1]
    if change == "skill":
        table = pd.read_csv(files[0]).assign(skill="elsewhere")
        table.to_csv(tmp_path / "b.csv", index=False)
        folder = convert(tmp_path / "b.csv", tmp_path / "b.stored")
    elif change:
        convert(files[0], folder := tmp_path / "c.stored")
        path = folder / change
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
    folder = tmp_path / "b.stored" if change == "skill" else folder
    target = tmp_path / "m.csv"
    words = ["predict", str(trained.path), "--data", str(folder), "--out", str(target), *words]
    assert main(words) == 2
    assert why in capsys.readouterr().err and not target.exists()


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_tables_in_pieces_are_one_table_or_none(tmp_path, suffix):
    table = pd.DataFrame({"learner": list("aabb"), "mastery": [0.1, 0.2, 0.3, 0.4]})
    read = pd.read_csv if suffix == "csv" else pd.read_parquet
    path = write_tables((table[:2], table[2:]), tmp_path / f"t.{suffix}")
    pd.testing.assert_frame_equal(read(path), table)
    again = write_table(table, tmp_path / f"u.{suffix}")
    assert suffix == "parquet" or path.read_bytes() == again.read_bytes()

    def fails():
        yield table
        raise KTError("no")

    with pytest.raises(KTError, match="no"):
        write_tables(fails(), path)
    pd.testing.assert_frame_equal(read(path), table)
    assert {p.name for p in tmp_path.iterdir()} == {f"t.{suffix}", f"u.{suffix}"}
