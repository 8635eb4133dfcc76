"""Answers that a run keeps: what is read again is what was kept."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kt_core.base.errors import KTError
from kt_core.config import DataConfig
from kt_core.data import ReadOptions, Simulation, make_splits, read_dataset, simulate
from kt_core.data.kept import KEPT, is_kept, keep, read_kept
from kt_core.data.pseudonyms import Pseudonyms
from kt_core.data.table import Dataset, table_sha256
from tests.conftest import SECRET

TIMES = {
    "dates": pd.Timestamp("2024-01-01") + pd.to_timedelta(np.arange(360) ** 1.5, unit="min"),
    "seconds": 1.7e9 + np.arange(360) ** 1.5,
    "numbers": np.arange(360) ** 2,
    "none": None,
}


def frame(times):
    number = np.arange(360)
    table = pd.DataFrame({"user": number // 12 % 30, "skill": number % 5, "correct": number % 2})
    table["skill"] = table["skill"].map({0: "37+54", 1: "a,b", 2: "007", 3: "1e5", 4: "\u00e4 b"})
    table = table.assign(item=number % 40, fold=table["user"] % 3)
    return table if times is None else table.assign(timestamp=times)


@pytest.mark.parametrize("times", TIMES)
@pytest.mark.parametrize("hidden", [False, True])
def test_a_table_comes_back_as_it_was_read(times, hidden, tmp_path):
    options = ReadOptions(pseudonyms=Pseudonyms(SECRET) if hidden else None)
    dataset = read_dataset(frame(TIMES[times]), options)
    config = DataConfig(min_length=3)
    splits = make_splits(dataset, config)
    for kept in (dataset, splits.dataset):  # before and after it was split
        sources = keep(kept, tmp_path)
        assert is_kept(tmp_path / KEPT)
        again = read_kept(tmp_path / KEPT)
        assert table_sha256(again.table) == table_sha256(dataset.table)
        numbers = dataset.table.select_dtypes("number")
        pd.testing.assert_frame_equal(again.table[list(numbers)], numbers)
        assert (again.name, again.note, again.sources) == (kept.name, kept.note, sources)
        assert (again.inflated, again.pseudonyms) == (dataset.inflated, dataset.pseudonyms)
        second = make_splits(again, config)
        assert second.dataset.note == splits.dataset.note
        for part in ("train", "valid", "test"):
            for field in dataclasses.fields(splits.train):
                mine, other = (getattr(getattr(s, part), field.name) for s in (splits, second))
                np.testing.assert_equal(mine, other)


def test_true_values_of_simulated_learners_are_kept(tmp_path):
    dataset = simulate(Simulation(learners=5))
    keep(dataset, tmp_path)
    pd.testing.assert_frame_equal(read_kept(tmp_path / KEPT).table, dataset.table)


@given(st.lists(st.text(), min_size=2, max_size=2, unique=True))
def test_names_of_any_kind(tmp_path_factory, names):
    folder = tmp_path_factory.mktemp("kept")
    table = pd.DataFrame({"user": names, "skill": "s", "correct": 1})
    try:
        dataset = Dataset("x", table)
    except KTError:  # a blank name
        return
    keep(dataset, folder)
    assert read_kept(folder / KEPT).table["user"].tolist() == names


def test_other_files_are_not_taken_for_kept_ones(tmp_path):
    frame(None).to_parquet(tmp_path / "a.parquet")
    (tmp_path / "b.parquet").write_bytes(b"PAR1 no")
    (tmp_path / "c.csv").write_text("user,skill,correct")
    assert not any(is_kept(path) for path in tmp_path.iterdir())
