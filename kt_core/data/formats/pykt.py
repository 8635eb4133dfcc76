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
from kt_core.data.formats.columns import missing
from kt_core.data.formats.entries import check_entries, listed
from kt_core.data.formats.source import Source
from kt_core.data.formats.text import header_of, read_delimited
from kt_core.data.reading import Meaning, ReadOptions
from kt_core.data.reading.note import Use
from kt_core.data.reading.values import ALWAYS, Show, plain

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
PADDING, UNKNOWN = "-1", "NA"
ALIKE = 8  # answers; fewer can be alike by chance
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
    lists = [n for n in PER_ANSWER if n in raw and (raw[n] != UNKNOWN).any()]
    commas = sum(int(raw[name].str.count(",").sum()) + len(raw) for name in lists)
    check_entries(path, commas, len(lists))
    split = {name: [listed(text) for text in raw[name]] for name in lists}
    counts = [len(x) for x in split["skill"]]
    for name in set(lists) & {"item", "timestamp"}:
        known = zip(split[name], counts, strict=True)
        split[name] = [[""] * n if x == [UNKNOWN] and n != 1 else x for x, n in known]
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
    """Raise a KTError where most rows go on inside the learner's previous row: windows, or growing
    histories, all of whose answers would count."""
    masks = split.get("mask")
    told = [split[name] for name in ("skill", "correct", "timestamp") if name in split]
    last: dict[str, int] = {}
    pairs, again = 0, []
    for i, user in enumerate(raw["user"]):
        if masks is not None and masks[i].count("1") <= 1:
            continue
        if user in last:
            before, now = (_steps(told, j) for j in (last[user], i))
            pairs += 1
            if _overlap(before, now):
                again.append(i)
        last[user] = i
    if 2 * len(again) > pairs:
        raise KTError(
            f"{path}, line {raw['line'][again[0]]}: repeats answers of the learner's previous row, "
            "as windows do, and no selectmasks say which of them count. Read the file of sequences "
            "that it was made from"
        )


def _steps(told: list[list[list[str]]], row: int) -> list[tuple[str, ...]]:
    """What is known of each answer of a row, without padding."""
    return [step for step in zip(*(rows[row] for rows in told), strict=True) if step[1] != PADDING]


def _overlap(before: list[tuple[str, ...]], now: list[tuple[str, ...]]) -> bool:
    """Whether `now` begins with answers with which `before` ends, or with all of it."""
    for shift in range(len(before)):
        shared = before[shift : shift + len(now)]
        if len(shared) < ALIKE:
            return False
        if shared == now[: len(shared)] and len(set(shared)) > 1:
            return True
    return False
