"""Readers: each of the field's file formats into rows of text, then one check for all.

- long: a CSV, TSV or Parquet file with one row an interaction (ASSISTments, DataShop, pyBKT).
- pykt: ``fold,uid,concepts,responses``, one row a sequence, lists in quotes; -1 pads.
- akt: blocks of four lines (``index,learner``; items; skills; responses) or three (no items).
- triple: DKVMN's and EduData's blocks of three lines (length; skills; responses).
"""

from __future__ import annotations

import csv
import io
import itertools
import re
from pathlib import Path

import numpy as np
import pandas as pd

from kt_core.data.table import canonical
from kt_core.errors import KTError

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


def read_table(
    path: str | Path,
    format: str = "auto",
    columns: dict[str, str] | None = None,
    expand_skills: bool = False,
) -> tuple[pd.DataFrame, dict[str, int]]:
    """Read one file into the canonical table.

    Parameters
    ----------
    format : ``auto`` looks at the file; or ``long``, ``pykt``, ``akt``, ``triple``.
    columns : for long tables, canonical name -> the file's name, where that is not recognised.
    expand_skills : keep an answer that the file repeats once per skill as several rows.

    Returns
    -------
    The table (see `kt_core.data.table`), and counts of what was dropped or combined.

    Raises
    ------
    KTError
        With the file, the line or column, the value and the way out.
    """
    path = Path(path)
    if (path / "store.json").is_file():
        raise KTError(
            f"{path} is a stored data set, for training and its report; name a file of answers here"
        )
    if not path.is_file():
        raise KTError(f"{path}: no such file")
    if path.stat().st_size == 0:
        raise KTError(f"{path}: the file is empty")
    if path.suffix.lower() in (".parquet", ".pq"):
        raw = _read_parquet(path)
        raw = rename(raw, columns, path).assign(line=np.arange(len(raw)) + 1)
        return canonical(raw, path.name, expand_skills)
    lines = _lines(path)
    kind = _detect(lines, path, columns or {}) if format == "auto" else format
    if kind == "long":
        table, line = _read_delimited(path, lines)
        raw = rename(table, columns, path).assign(line=line)
    elif kind == "pykt":
        raw = _read_pykt(*_read_delimited(path, lines), path)
    else:
        raw = _read_blocks(lines, kind, path)
    return canonical(raw, path.name, expand_skills)


Lines = list[tuple[int, str]]  # numbers in the file, from 1, and texts; blank ones left out


def _lines(path: Path) -> Lines:
    content = path.read_bytes()
    if content[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise KTError(f"{path}: UTF-16; save it as UTF-8, or use: iconv -f utf-16 -t utf-8")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise KTError(
            f"{path}: not UTF-8 (byte {error.start}); save it as UTF-8, "
            "for instance with: iconv -f latin1 -t utf-8"
        ) from None
    lines = [
        (i, line) for i, line in enumerate(re.split("\r\n|\r|\n", text), start=1) if line.strip()
    ]
    if not lines:
        raise KTError(f"{path}: the file is empty")
    return lines


def _detect(lines: Lines, path: Path, columns: dict[str, str]) -> str:
    first = lines[0][1]
    header = {_plain(name) for name in _split(first, delimiter(first))}
    if {"concepts", "responses"} <= header:
        return "pykt"
    correct = [*NAMES["correct"].split(), _plain(columns.get("correct", ""))]
    if any(name in header for name in correct if name):
        return "long"
    if all(_is_number(x) for x in _split(first, ",")):
        return "triple" if len(_split(first, ",")) == 1 else "akt"
    raise KTError(
        f"{path}: unknown format; its first line is {first[:80]!r}. Long tables need a header "
        "with names such as user, skill, correct: map yours with --column (data.columns), "
        "or name the format with data.format"
    )


def _read_parquet(path: Path) -> pd.DataFrame:
    import pyarrow.parquet

    try:
        # Whole numbers with gaps stay whole numbers: as floats, long ids would be rounded.
        return pyarrow.parquet.read_table(path).to_pandas(integer_object_nulls=True)
    except (pyarrow.ArrowException, OSError) as error:
        raise KTError(f"{path}: not a readable Parquet file ({error})") from None


def _read_delimited(path: Path, lines: Lines) -> tuple[pd.DataFrame, np.ndarray]:
    """All cells as text, and the line of each row; every row must have as many as the header."""
    text = "\n".join(text for _, text in lines)
    rows = csv.reader(io.StringIO(text), delimiter=delimiter(lines[0][1]))
    try:
        header = next(rows)
        table, at = [], []
        for row in rows:
            number = lines[rows.line_num - 1][0]
            if len(row) != len(header):
                raise KTError(
                    f"{path}, line {number}: {len(row)} fields, but the header has {len(header)}"
                )
            table.append(row)
            at.append(number)
    except csv.Error as error:
        raise KTError(f"{path}, line {lines[rows.line_num - 1][0]}: {error}") from None
    return pd.DataFrame(table, columns=header, dtype=object), np.array(at, int)


def rename(raw: pd.DataFrame, columns: dict[str, str] | None, path: Path) -> pd.DataFrame:
    """The columns that are known, as text, under their canonical names."""
    columns = columns or {}
    unknown = set(columns) - set(NAMES)
    if unknown:
        raise KTError(f"data.columns: {sorted(unknown)} unknown; choose from {list(NAMES)}")
    plain = {_plain(name): name for name in reversed(raw.columns.astype(str))}
    found = {}
    for name, usual in NAMES.items():
        if name in columns:
            if columns[name] not in raw.columns:
                raise KTError(_missing(path, columns[name], raw))
            found[name] = columns[name]
        else:
            match = next((plain[u] for u in usual.split() if u in plain), None)
            if match is not None and match not in columns.values():
                found[name] = match
    for name in REQUIRED:
        if name not in found:
            raise KTError(_missing(path, name, raw))
    table = pd.DataFrame({name: _as_text(raw[source]) for name, source in found.items()})
    if "fold" in table:
        table["fold"] = _folds(table["fold"], path)
    return table


def _read_pykt(raw: pd.DataFrame, line: np.ndarray, path: Path) -> pd.DataFrame:
    raw.columns = [_plain(name) for name in raw.columns]
    for name in ("uid", "concepts", "responses"):
        if name not in raw:
            raise KTError(_missing(path, name, raw))
    if raw.empty:
        raise KTError(f"{path}: no interactions in it")
    lists = {"skill": raw["concepts"], "correct": raw["responses"]}
    if "questions" in raw and (raw["questions"] != "NA").all():
        lists["item"] = raw["questions"]
    if "timestamps" in raw and (raw["timestamps"] != "NA").all():
        lists["timestamp"] = raw["timestamps"]
    split = {name: [_list(text) for text in column] for name, column in lists.items()}
    counts = [len(x) for x in split["skill"]]
    for name, rows in split.items():
        for i, row in enumerate(rows):
            if len(row) != counts[i]:
                raise KTError(
                    f"{path}, line {line[i]}: {counts[i]} concepts but {len(row)} entries "
                    f"for {name}"
                )
    table = pd.DataFrame({n: list(itertools.chain(*rows)) for n, rows in split.items()})
    table.insert(0, "user", np.repeat(raw["uid"].to_numpy(), counts))
    if "fold" in raw:
        table["fold"] = np.repeat(_folds(raw["fold"], path).to_numpy(), counts)
    table["line"] = np.repeat(line, counts)
    # pyKT pads its cut sequences with -1.
    return table[table["correct"] != "-1"].reset_index(drop=True)


def _read_blocks(lines: Lines, kind: str, path: Path) -> pd.DataFrame:
    rows = [_list(text) for _, text in lines]
    size = 4 if kind == "akt" and _fits(rows, 4) > _fits(rows, 3) else 3
    if len(rows) % size:
        raise KTError(f"{path}: {len(rows)} lines do not make whole blocks of {size}")
    names = ("item", "skill", "correct") if size == 4 else ("skill", "correct")
    columns: dict[str, list] = {name: [] for name in ("user", *names, "line")}
    for at in range(0, len(rows), size):
        head, *lists = rows[at : at + size]
        number = lines[at][0]
        if len({len(x) for x in lists}) > 1:
            found = ", ".join(f"{len(x)} {n}s" for x, n in zip(lists, names, strict=True))
            raise KTError(f"{path}, line {number}: the lists of this learner have {found}")
        if kind == "triple" and head != [str(len(lists[0]))]:
            raise KTError(
                f"{path}, line {number}: {head[0]} steps announced, {len(lists[0])} found"
            )
        user = head[-1] if kind == "akt" else str(at // size)
        columns["user"] += [user] * len(lists[0])
        columns["line"] += [lines[at + size - 1][0]] * len(lists[0])
        for name, values in zip(names, lists, strict=True):
            columns[name] += values
    return pd.DataFrame(columns)


def _fits(rows: list[list[str]], size: int) -> float:
    """Share of blocks whose lists are equally long and whose last holds nothing but 0 and 1."""
    blocks = [rows[at : at + size] for at in range(0, len(rows), size)]
    good = [
        len(b) == size and len({len(x) for x in b[1:]}) == 1 and set(b[-1]) <= {"0", "1"}
        for b in blocks
    ]
    return sum(good) / len(good)


def _folds(text: pd.Series, path: Path) -> pd.Series:
    value = pd.to_numeric(text, errors="coerce")
    bad = ~(np.isfinite(value) & (value % 1 == 0))
    if bad.any():
        raise KTError(f"{path}, column fold: {text[bad.idxmax()]!r} is not a whole number")
    return value.astype(int)


def _missing(path: Path, name: str, raw: pd.DataFrame) -> str:
    found = ", ".join(map(str, list(raw.columns)[:30]))
    return f"{path}: no column for {name!r}; it has: {found}. Name it with --column (data.columns)"


def _as_text(column: pd.Series) -> pd.Series:
    if isinstance(column.dtype, pd.CategoricalDtype):
        column = column.astype(column.cat.categories.dtype)
    text = column.astype("string")
    if pd.api.types.is_float_dtype(column):  # value by value: a part of a table reads as the whole
        whole = (column % 1 == 0).fillna(False).astype(bool)
        text[whole] = column[whole].astype("Int64").astype("string")
    return text.fillna("").astype(object).astype(str)


def _plain(name: str) -> str:
    return str(name).strip().lower().replace(" (", "(").replace(" ", "_")


def delimiter(line: str) -> str:
    """What separates the fields of a header."""
    return max("\t,;", key=line.count)


def _split(line: str, delimiter: str) -> list[str]:
    return [part.strip().strip('"') for part in line.split(delimiter)]


def _list(text: str) -> list[str]:
    return [part.strip() for part in text.strip().rstrip(",").split(",")]


def _is_number(text: str) -> bool:
    return text.lstrip("-").isdigit()
