"""Spreadsheets, and tables in memory."""

from __future__ import annotations

import numpy as np
import openpyxl
import pandas as pd
import pytest
from reading import read, write
from test_formats import LATE, answers

from kt_core.base.errors import KTError
from kt_core.data import read_dataset
from kt_core.data.reading.options import NO_SKILL


def book(folder, rows, name="x.xlsx", more=()):
    workbook = openpyxl.Workbook()
    for row in rows:
        workbook.active.append(row)
    for title in more:
        workbook.create_sheet(title).append(["other"])
    path = folder / name
    workbook.save(path)
    return path


def test_a_spreadsheet(tmp_path):
    day = pd.Timestamp
    rows = [
        ["Student", "Skill", "Correct", "Time", None],
        [12, "s", True, day("2024-03-02 10:00").to_pydatetime(), None],
        [None, None, None, None, None],
        [12.0, "t", False, day("2024-03-01 10:00").to_pydatetime(), None],
    ]
    table, note = read(book(tmp_path, rows, more=("Notes",)))
    assert answers(table) == [("12", "t", 0, None), ("12", "s", 1, None)]
    assert "only the first sheet 'Sheet' is read, not 'Notes'" in str(note)
    at = pd.Timestamp("2024-03-02")
    days = [["user", "skill", "correct", "Date", "Time"]]
    days += [
        ["a", s, 1, at.to_pydatetime(), t.time()]
        for s, t in (("x", at + pd.Timedelta("10h")), ("y", at))
    ]
    table, note = read(book(tmp_path, days, "days.xlsx"))
    assert table["skill"].tolist() == ["y", "x"] and "by Date+Time" in str(note)
    rows[3][2] = "maybe"
    with pytest.raises(KTError, match="line 4: response 'maybe'"):
        read(book(tmp_path, rows))
    rows[3].append("more")
    with pytest.raises(KTError, match="row 4: more fields than the header"):
        read(book(tmp_path, rows))
    with pytest.raises(KTError, match="the sheet 'Sheet' is empty"):
        read(book(tmp_path, []))
    with pytest.raises(KTError, match="not a readable spreadsheet .*save it again, or as CSV"):
        read(write(tmp_path, "y.xlsx", b"PK\x03\x04 not really"))


def test_a_table_in_memory_is_read_as_a_file():
    lists = pd.DataFrame({"user": ["a"] * 4, "correct": 1})
    lists["skill"] = [np.array(["x", "y"]), ("y", "x"), {"x"}, [2, 1]]
    assert read_dataset(lists).table["skill"].tolist() == ["x+y", "x+y", "x", "1+2"]
    for wrong in ({"skill": [{}] * 4}, {"item": [["x"]] * 4}):
        with pytest.raises(KTError, match="holds values of type .*; write one row for each"):
            read_dataset(lists.assign(**wrong))
    frame = pd.DataFrame(
        {
            "user": pd.Categorical(["a", "a", "b"]),
            "skill": [2.0, 1.0, np.nan],
            "correct": [True, False, True],
            "time": pd.to_datetime(["2024-03-02", "2024-03-01", "2024-03-01"]),
        },
        index=[5, 5, 7],
    )
    dataset = read_dataset(frame, name="mine")
    assert answers(dataset.table) == [("a", "1", 0, None), ("a", "2", 1, None)]
    assert dataset.note.source == "mine" and dataset.note.counts == {LATE: 1, NO_SKILL: 1}
    for wrong in (np.nan, 2, "maybe"):
        with pytest.raises(KTError, match="mine, line 1: response"):
            read_dataset(frame.assign(correct=[wrong, 1, 1]), name="mine")
