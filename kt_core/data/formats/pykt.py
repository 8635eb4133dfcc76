"""pyKT's CSV files: one row per sequence, lists in quotes, padded with -1.

Question level (``concepts`` such as ``3_12``) and concept level (``is_repeat`` marks a further
concept of an answer) give the same skills. Of window files, only the positions with ``selectmasks``
1 count, so that no history is read twice.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from kt_core.base.errors import KTError
from kt_core.data.formats.columns import missing, plain
from kt_core.data.formats.entries import check_entries, listed
from kt_core.data.formats.source import Source
from kt_core.data.formats.text import header_of, read_delimited
from kt_core.data.note import Use
from kt_core.data.rows import Meaning, ReadOptions
from kt_core.data.values import ALWAYS, Show

NEEDED = {"user": "uid", "skill": "concepts", "correct": "responses"}
MORE = {
    "item": "questions",
    "timestamp": "timestamps",
    "repeat": "isrepeat",
    "mask": "selectmasks",
    "fold": "fold",
}
PER_ANSWER = ("skill", "correct", "item", "timestamp", "repeat", "mask")
OF_QUESTIONS = {"qidxs", "orirow"}  # columns of pyKT's files for the question-level evaluation
PADDING = "-1"
WINDOW = 20  # answers; shorter rows can look alike by chance
AND_CONCEPT = "_"


def is_pykt(header: list[str]) -> bool:
    """Whether a header is that of pyKT's files."""
    return {"concepts", "responses"} <= set(map(plain, header))


def pykt_source(path: Path, options: ReadOptions) -> Source:
    """A file of pyKT's sequences.

    Raises
    ------
    KTError
        When a column is missing, or the file repeats histories in a way that cannot be undone.
    """
    header = header_of(path, options.encoding)
    columns = _columns(header, path, options.show)
    if set(map(plain, header)) & OF_QUESTIONS:
        raise KTError(
            f"{path}: pyKT's file for its question-level evaluation, which repeats histories; read "
            "the file of sequences that it was made from, such as test.csv or test_quelevel.csv"
        )
    uses = tuple(
        Use(part, header[place])
        for part, place in columns.items()
        if part not in ("repeat", "mask")
    )
    meaning = Meaning(separators=(*ALWAYS, AND_CONCEPT))
    names = {part: header[place] for part, place in columns.items()}
    blocks = partial(_blocks, path, columns, options)
    name = "pyKT, question level" if "quelevel" in path.name else "pyKT sequences"
    return Source(path.name, name, (path,), meaning, uses, names, blocks)


def _columns(header: list[str], path: Path, show: Show) -> dict[str, int]:
    names = [plain(name) for name in header]
    for name in NEEDED.values():
        if name not in names:
            raise KTError(missing(path, name, header, show))
    found = NEEDED | {part: name for part, name in MORE.items() if name in names}
    for name in found.values():
        if names.count(name) > 1:
            raise KTError(f"{path}: {names.count(name)} columns are called {show(name)}")
    return {part: names.index(name) for part, name in found.items()}


def _blocks(path: Path, columns: dict[str, int], options: ReadOptions) -> Iterator[pd.DataFrame]:
    raw = read_delimited(path, lambda _: columns, options.encoding)
    if raw.empty:
        raise KTError(f"{path}: it has no interactions")
    lists = [n for n in PER_ANSWER if n in raw and (raw[n] != "NA").all()]
    commas = sum(int(raw[name].str.count(",").sum()) + len(raw) for name in lists)
    check_entries(path, commas, len(lists))
    split = {name: [listed(text) for text in raw[name]] for name in lists}
    counts = [len(x) for x in split["skill"]]
    for name, rows in split.items():
        for i, row in enumerate(rows):
            if len(row) != counts[i]:
                raise KTError(
                    f"{path}, line {raw['line'][i]}: {counts[i]} concepts but {len(row)} entries "
                    f"for {name}"
                )
    _check_once(path, raw, split)
    table = pd.DataFrame({n: list(itertools.chain(*rows)) for n, rows in split.items()})
    for name in ("user", "fold", "line"):
        if name in raw:
            table[name] = np.repeat(raw[name].to_numpy(), counts)
    kept = table["correct"] != PADDING
    if "mask" in table:
        kept &= table.pop("mask") == "1"
    table = table[kept].reset_index(drop=True)
    if "repeat" in table and (table["repeat"] == "0").all() and "item" in table:
        table = table.drop(columns="repeat")
    yield table


def _check_once(path: Path, raw: pd.DataFrame, split: dict[str, list[list[str]]]) -> None:
    """Raise a KTError where a row goes on inside the learner's previous row: a sliding window, all
    of whose answers would count."""
    user, masks = raw["user"], split.get("mask")
    told = [split[name] for name in ("skill", "correct", "timestamp") if name in split]
    for i in range(1, len(raw)):
        if user[i] != user[i - 1] or (masks is not None and masks[i].count("1") <= 1):
            continue
        before, now = (list(zip(*(rows[j] for rows in told), strict=True)) for j in (i - 1, i))
        whole = len(now) >= WINDOW and now[-1][1] != PADDING
        if whole and len(set(now)) > 1 and before[1:] == now[:-1]:
            raise KTError(
                f"{path}, line {raw['line'][i]}: repeats the learner's previous row, moved by one "
                "answer: windows whose selectmasks do not say which answers count. Read the file "
                "of sequences that they were made from"
            )
