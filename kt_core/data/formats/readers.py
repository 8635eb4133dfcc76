"""Read any of the field's formats into the canonical table, with a note of how it was read.

docs/formats.md lists the formats. Text files may be compressed with gzip.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pandas as pd

from kt_core.base.errors import KTError
from kt_core.data.formats import limits, parquet, sheet
from kt_core.data.formats.blocks import block_source
from kt_core.data.formats.ednet import answers_in, ednet_source
from kt_core.data.formats.long import frame_source, long_source
from kt_core.data.formats.pykt import is_pykt, pykt_source
from kt_core.data.formats.recognise import kind_of_text
from kt_core.data.formats.source import Source
from kt_core.data.formats.text import first_line, known_encoding, split_header
from kt_core.data.pseudonyms import shortened
from kt_core.data.reading import Evidence, ReadOptions, Rules, clean, decide, prepare
from kt_core.data.reading.note import ReadingNote, Use
from kt_core.data.sequences import fold_of_learners

NO_ANSWER = "no row has both a skill and a response of 0 or 1"


def read_table(
    source: str | Path | pd.DataFrame, options: ReadOptions | None = None, name: str = "table"
) -> tuple[pd.DataFrame, ReadingNote]:
    """Read a file, a folder or a table into the canonical table.

    Parameters
    ----------
    name : of a table in memory, for messages and the note.

    Returns
    -------
    The table (see `kt_core.data.table`), and how it was read.

    Raises
    ------
    KTError
        With the file, the line or column, the value and the way out.

    >>> table, note = read_table("answers.csv")
    >>> print(note)
    """
    options = options or ReadOptions()
    return read_source(open_source(source, options, name=name), options)


def read_source(found: Source, options: ReadOptions) -> tuple[pd.DataFrame, ReadingNote]:
    """`read_table` of a source that has been opened with the same options."""
    evidence, blocks = Evidence(), []
    for block in found.blocks():
        prepared, seen = prepare(block, found.meaning, options, found.name)
        evidence.merge(seen)
        if evidence.rows > limits.MOST_ROWS:  # of a folder; a file says so with its line
            raise KTError(
                f"{found.name}: more than {limits.MOST_ROWS:,} rows are not read into memory; "
                f"{limits.BY_CONVERT}"
            )
        blocks.append(prepared)
    if evidence.rows == 0:
        raise KTError(f"{found.name}: it has no interactions")
    rows = pd.concat(blocks, ignore_index=True)
    if options.pseudonyms:
        rows["user"] = shortened(rows["user"])
    rules = decide(evidence, found.meaning, options, found.name, found.columns)
    table, counts, several = clean(rows, rules, options, found.name)
    for what, count in counts.items():
        evidence.count(what, count)
    if table.empty:
        raise KTError(no_answer(found, evidence))
    if "fold" in table:
        fold_of_learners(table, found.name)
    note = note_of(found, evidence, rules, sizes_of(table))
    return table, dataclasses.replace(note, several=several)


def no_answer(source: Source, evidence: Evidence) -> str:
    """What to say where nothing is left."""
    why = "; ".join(f"{count:,} {what}" for what, count in evidence.counts.items())
    return f"{source.name}: {NO_ANSWER} ({why})"


def note_of(source: Source, evidence: Evidence, rules: Rules, sizes: dict[str, int]) -> ReadingNote:
    """How a source was read."""
    uses, names = list(source.uses), source.columns
    if "skill_id" in names:
        chosen, other = names[rules.skill], names[({"skill", "skill_id"} - {rules.skill}).pop()]
        uses.insert(1, Use("skill", chosen, others=(other,)))
    for i, use in enumerate(uses):
        if use.role == "timestamp" and rules.clock is None and use.column != "none":
            uses[i] = dataclasses.replace(use, column="none", why=f"{use.column}: nothing is known")
        if use.role == "item" and not sizes["items"] and use.column != "none":
            uses[i] = dataclasses.replace(use, column="none", why=f"{use.column}: nothing is known")
    remarks = (*source.remarks, *rules.remarks)
    counts = dict(evidence.counts)
    day = rules.clock.day if rules.clock else 0.0
    return ReadingNote(
        source.name, source.format, tuple(uses), rules.order, counts, remarks, sizes, day
    )


def sizes_of(table: pd.DataFrame) -> dict[str, int]:
    """Learners, answers, skills, items and right answers of a canonical table."""
    items = 0
    if "item" in table:
        known = table.loc[table["item"] != "", "item"]
        items = int(known.nunique())
    return {
        "learners": int(table["user"].nunique()),
        "answers": len(table),
        "skills": int(table["skill"].nunique()),
        "items": items,
        "right": int(table["correct"].sum()),
    }


def open_source(
    source: str | Path | pd.DataFrame,
    options: ReadOptions,
    piecewise: bool = False,
    name: str = "table",
) -> Source:
    """Recognise a source and its columns; the rows are not read yet.

    Parameters
    ----------
    piecewise : for sources larger than memory.

    Raises
    ------
    KTError
        When it cannot be opened or is in no format that is read.
    """
    options = dataclasses.replace(options, encoding=known_encoding(options.encoding))
    if isinstance(source, pd.DataFrame):
        return frame_source(source, name, options)
    path = Path(source)
    check_source(path)
    if path.is_dir():
        return ednet_source(path, options)
    kind = options.format
    if parquet.is_parquet(path) or sheet.is_sheet(path):
        kind = "long"
    elif kind == "auto":
        kind = kind_of_text(path, options)
    if kind == "long":
        return long_source(path, options, piecewise)
    source = _other_source(path, kind, options)
    named = [f"{role}={name}" for role, name in options.columns.items() if name]
    if named:
        told = f"--column {', '.join(named)} is for long tables, and was not used"
        source = dataclasses.replace(source, remarks=(*source.remarks, told))
    return source


def _other_source(path: Path, kind: str, options: ReadOptions) -> Source:
    """A source that is not a long table."""
    if kind == "pykt":
        header = split_header(first_line(path, options.encoding), path)
        kind = "pykt" if is_pykt(header) or len(header) > 2 else "pykt-data"
    if kind == "pykt":
        return pykt_source(path, options)
    return block_source(path, {"pykt-data": "pykt"}.get(kind, kind), options)


def check_source(path: Path) -> None:
    """Raise a KTError for a path that is clearly not a source of answers."""
    if (path / "store.json").is_file():
        raise KTError(
            f"{path} is a stored data set, for training and its report; name a file of answers here"
        )
    if path.is_dir():
        if answers_in(path) is None:
            raise KTError(
                f"{path}: this is a folder; name one of the files in it (only EdNet-KT1 is read as "
                "a folder, with its files u1.csv, u2.csv, ...)"
            )
        return
    if not path.is_file():
        raise KTError(f"{path}: no such file")
    if path.stat().st_size == 0:
        raise KTError(f"{path}: the file is empty")
