"""Readers that turn each of the field's file formats into rows of text, and check them alike.

- long: a CSV, TSV or Parquet file with one row per interaction (ASSISTments, DataShop, pyBKT).
- pykt: ``fold,uid,concepts,responses``, one row per sequence, lists in quotes, padded with -1.
- akt: blocks of four lines (``index,learner``; items; skills; responses) or three (no items).
- triple: DKVMN's and EduData's blocks of three lines (length; skills; responses).

Text files may be compressed with gzip.
"""

from __future__ import annotations

import itertools
from functools import partial
from pathlib import Path
from sys import intern

import numpy as np
import pandas as pd

from kt_core.base.errors import KTError
from kt_core.data.formats import limits, parquet
from kt_core.data.formats.text import Lines, first_line, read_delimited, split_header
from kt_core.data.pseudonyms import Pseudonyms
from kt_core.data.table import Show, canonical, hidden

NAMES = {
    "user": "user user_id learner learner_id student student_id studentid uid anon_student_id",
    "skill": "skill skill_name skill_id kc kc(default) concept concepts knowledge_component "
    "sequence_id",
    "correct": "correct response responses is_correct answered_correctly correct_first_attempt "
    "outcome score",
    "item": "item item_id question question_id problem problem_id step_name problem_name",
    "timestamp": "timestamp time start_time order_id log_id first_transaction_time step_start_time",
    "fold": "fold",
}
REQUIRED = ("user", "skill", "correct")
PYKT = {"user": "uid", "skill": "concepts", "correct": "responses"}
PYKT_MORE = {"item": "questions", "timestamp": "timestamps", "fold": "fold"}
HIGHEST_FOLD = 10_000


def read_table(
    path: str | Path,
    format: str = "auto",
    columns: dict[str, str] | None = None,
    expand_skills: bool = False,
    pseudonyms: Pseudonyms | None = None,
) -> tuple[pd.DataFrame, dict[str, int]]:
    """Read one file into the canonical table.

    Parameters
    ----------
    format : ``long``, ``pykt``, ``akt``, ``triple``, or ``auto`` to recognise it.
    columns : for long tables, canonical name -> name in the file, where it is not recognised.
    expand_skills : keep an answer that the file repeats once per skill as several rows.
    pseudonyms : to replace the learners' ids; messages then show no values.

    Returns
    -------
    The table (see `kt_core.data.table`), and counts of what was dropped or combined.

    Raises
    ------
    KTError
        With the file, the line or column, the value and the way out.
    """
    path, show = Path(path), hidden if pseudonyms else repr
    check_file(path)
    raw = _read_raw(path, format, columns or {}, show)
    if pseudonyms:
        raw["user"] = pseudonyms.of(raw["user"])
    return canonical(raw, path.name, expand_skills, show)


def check_file(path: Path) -> None:
    """Raise a KTError for a path that is clearly not a file of answers."""
    if (path / "store.json").is_file():
        raise KTError(
            f"{path} is a stored data set, for training and its report; name a file of answers here"
        )
    if path.is_dir():
        raise KTError(f"{path}: this is a folder; name one of the files in it")
    if not path.is_file():
        raise KTError(f"{path}: no such file")
    if path.stat().st_size == 0:
        raise KTError(f"{path}: the file is empty")


def _read_raw(path: Path, format: str, columns: dict[str, str], show: Show) -> pd.DataFrame:
    long_table = partial(choose, columns=columns, path=path, show=show)
    if parquet.is_parquet(path):
        raw = _read_parquet(path, long_table)
    else:
        kind = _detect(path, columns, show) if format == "auto" else format
        if kind == "pykt":
            return _read_pykt(path, show)
        if kind != "long":
            return _read_blocks(path, kind, show)
        raw, line = read_delimited(path, long_table)
        raw["line"] = line
    if "fold" in raw:
        raw["fold"] = folds(raw, path, show)
    return raw


def _detect(path: Path, columns: dict[str, str], show: Show) -> str:
    first = first_line(path)
    names = split_header(first, path)
    if is_pykt(names):
        return "pykt"
    header = set(map(_plain, names))
    correct = [*NAMES["correct"].split(), _plain(columns.get("correct", ""))]
    if any(name in header for name in correct if name):
        return "long"
    numbers = first.strip().rstrip(",").split(",")
    if all(_is_number(x.strip()) for x in numbers):
        return "triple" if len(numbers) == 1 else "akt"
    raise KTError(
        f"{path}: unknown format; its first line is {show(first[:80])}. Long tables need a header "
        "with names such as user, skill, correct: map yours with --column (data.columns), "
        "or name the format with data.format"
    )


def is_pykt(header: list[str]) -> bool:
    """Whether a header is that of pyKT's files, which have one row per sequence."""
    return {"concepts", "responses"} <= set(map(_plain, header))


def _read_parquet(path: Path, wanted: partial) -> pd.DataFrame:
    rows = parquet.rows_claimed(path)
    if rows > limits.MOST_ROWS:
        raise KTError(
            f"{path}: {rows:,} rows; more than {limits.MOST_ROWS:,} are not read into memory; "
            f"{limits.BY_CONVERT}"
        )
    blocks, size = [], 0
    for block in parquet.read_blocks(path, wanted, 100_000):
        blocks.append(as_texts(block))
        size += sum(int(column.str.len().sum()) for _, column in blocks[-1].items())
        if size > limits.TEXT_CHARS:
            raise KTError(
                f"{path}: more than {limits.TEXT_CHARS:,} characters of text are not read into "
                f"memory; {limits.BY_CONVERT}"
            )
    if not blocks:
        raise KTError(f"{path}: it has no interactions")
    raw = pd.concat(blocks, ignore_index=True)
    raw["line"] = np.arange(len(raw)) + 1
    return raw


def choose(header: list[str], columns: dict[str, str], path: Path, show: Show) -> dict[str, int]:
    """The known columns of a long table: canonical name -> position.

    Raises
    ------
    KTError
        When a required column is missing, or the name of a chosen column occurs twice.
    """
    unknown = set(columns) - set(NAMES)
    if unknown:
        raise KTError(f"data.columns: {sorted(unknown)} unknown; choose from {list(NAMES)}")
    plain = {_plain(name): name for name in reversed(header)}
    found = {}
    for name, usual in NAMES.items():
        if name in columns:
            if columns[name] not in header:
                raise KTError(_missing(path, columns[name], header, show))
            found[name] = columns[name]
        else:
            match = next((plain[u] for u in usual.split() if u in plain), None)
            if match is not None and match not in columns.values():
                found[name] = match
    for name in REQUIRED:
        if name not in found:
            raise KTError(_missing(path, name, header, show))
    for name, source in found.items():
        if header.count(source) > 1:
            raise KTError(
                f"{path}: {header.count(source)} columns are called {show(source)}; rename "
                f"those that are not the {name}"
            )
    return {name: header.index(source) for name, source in found.items()}


def as_texts(table: pd.DataFrame) -> pd.DataFrame:
    """Every column as text, each value as in a CSV file."""
    return pd.DataFrame({name: _as_text(column) for name, column in table.items()})


def _read_pykt(path: Path, show: Show) -> pd.DataFrame:
    raw, line = read_delimited(path, partial(_pykt_columns, path=path, show=show))
    if raw.empty:
        raise KTError(f"{path}: it has no interactions")
    raw["line"] = line
    lists = ["skill", "correct"]
    lists += [n for n in ("item", "timestamp") if n in raw and (raw[n] != "NA").all()]
    commas = sum(int(raw[name].str.count(",").sum()) + len(raw) for name in lists)
    _check_entries(path, commas, len(lists))
    split = {name: [_list(text) for text in raw[name]] for name in lists}
    counts = [len(x) for x in split["skill"]]
    for name, rows in split.items():
        for i, row in enumerate(rows):
            if len(row) != counts[i]:
                raise KTError(
                    f"{path}, line {line[i]}: {counts[i]} concepts but {len(row)} entries "
                    f"for {name}"
                )
    table = pd.DataFrame({n: list(itertools.chain(*rows)) for n, rows in split.items()})
    table.insert(0, "user", np.repeat(raw["user"].to_numpy(), counts))
    if "fold" in raw:
        table["fold"] = np.repeat(folds(raw, path, show).to_numpy(), counts)
    table["line"] = np.repeat(line, counts)
    # pyKT pads sequences with -1.
    return table[table["correct"] != "-1"].reset_index(drop=True)


def _pykt_columns(header: list[str], path: Path, show: Show) -> dict[str, int]:
    plain = [_plain(name) for name in header]
    for name in PYKT.values():
        if name not in plain:
            raise KTError(_missing(path, name, header, show))
    found = {new: name for new, name in (PYKT | PYKT_MORE).items() if name in plain}
    for name in found.values():
        if plain.count(name) > 1:
            raise KTError(f"{path}: {plain.count(name)} columns are called {name!r}; keep one")
    return {new: plain.index(name) for new, name in found.items()}


def _read_blocks(path: Path, kind: str, show: Show) -> pd.DataFrame:
    rows, numbers, entries = [], [], 0
    with Lines(path) as lines:
        for text in lines:
            if text.strip():
                entries += text.count(",") + 1
                _check_entries(path, entries, 2)
                rows.append(_list(text))
                numbers.append(lines.number)
    if not rows:
        raise KTError(f"{path}: the file is empty")
    size = 4 if kind == "akt" and _fits(rows, 4) > _fits(rows, 3) else 3
    if len(rows) % size:
        raise KTError(
            f"{path}, line {numbers[-1]}: {len(rows)} lines do not make whole blocks of {size}; "
            "the file is cut short, or a line is missing"
        )
    names = ("item", "skill", "correct") if size == 4 else ("skill", "correct")
    columns: dict[str, list] = {name: [] for name in ("user", *names, "line")}
    for at in range(0, len(rows), size):
        head, *lists = rows[at : at + size]
        number = numbers[at]
        if len({len(x) for x in lists}) > 1:
            found = ", ".join(f"{len(x)} {n}s" for x, n in zip(lists, names, strict=True))
            raise KTError(f"{path}, line {number}: this learner's lists differ in length: {found}")
        if kind == "triple" and head != [str(len(lists[0]))]:
            announced = show(None) if show is hidden else head[0][:40]
            raise KTError(
                f"{path}, line {number}: {announced} steps announced, but {len(lists[0])} found"
            )
        if kind == "akt" and len(head) != 2:
            raise KTError(
                f"{path}, line {number}: {len(head)} fields at the start of a block; AKT's blocks "
                "start with a number and the learner"
            )
        user = head[-1] if kind == "akt" else str(at // size)
        columns["user"] += [user] * len(lists[0])
        columns["line"] += [numbers[at + size - 1]] * len(lists[0])
        for name, values in zip(names, lists, strict=True):
            columns[name] += values
    return pd.DataFrame(columns)


def _fits(rows: list[list[str]], size: int) -> float:
    """Share of blocks with lists of equal length, the last of which holds only 0 and 1."""
    blocks = [rows[at : at + size] for at in range(0, len(rows), size)]
    good = [
        len(b) == size and len({len(x) for x in b[1:]}) == 1 and set(b[-1]) <= {"0", "1"}
        for b in blocks
    ]
    return sum(good) / len(good)


def _check_entries(path: Path, entries: int, lists: int) -> None:
    if entries > limits.MOST_ROWS * lists:
        raise KTError(
            f"{path}: more than {limits.MOST_ROWS:,} interactions are not read into memory; split "
            f"the file, or {limits.BY_CONVERT}"
        )


def folds(raw: pd.DataFrame, path: Path, show: Show = repr) -> pd.Series:
    """The column `fold` as whole numbers, at least -1.

    Raises
    ------
    KTError
        For anything else, with the line from `raw`.
    """
    value = pd.to_numeric(raw["fold"], errors="coerce").astype(float)
    bad = ~(value.between(-1, HIGHEST_FOLD) & (value % 1 == 0))
    if bad.any():
        at = bad.idxmax()
        raise KTError(
            f"{path}, line {raw['line'][at]}, column fold: {show(raw['fold'][at])} is not a whole "
            f"number from -1 (the test split) to {HIGHEST_FOLD:,}; correct the column or drop it"
        )
    return value.astype(int)


def _missing(path: Path, name: str, header: list[str], show: Show) -> str:
    found = show(None) if show is hidden else ", ".join(n[:40] for n in header[:30])
    return f"{path}: no column for {name!r}; it has: {found}. Name it with --column (data.columns)"


def _as_text(column: pd.Series) -> pd.Series:
    if isinstance(column.dtype, pd.CategoricalDtype):
        column = column.astype(column.cat.categories.dtype)
    text = column.astype("string")
    if pd.api.types.is_float_dtype(column):  # value by value: parts read like the whole table
        whole = (column % 1 == 0).fillna(False).astype(bool)
        text[whole] = (column[whole] + 0.0).map("{:.0f}".format)  # no -0
    return text.fillna("").astype(object).astype(str)


def _plain(name: str) -> str:
    return str(name).strip().lower().replace(" (", "(").replace(" ", "_")


def _list(text: str) -> list[str]:
    return [intern(part.strip()) for part in text.strip().rstrip(",").split(",")]


def _is_number(text: str) -> bool:
    return text.lstrip("-").isdigit()
