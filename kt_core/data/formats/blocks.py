"""Text files with a block of lines per learner, whose lists have one entry per answer.

- akt: ``index,learner``; items, where there are any; skills; responses.
- triple, of DKVMN and EduData: the number of answers; skills; responses. Learners have no ids.
- pyKT's data.txt: ``learner,number of answers``; questions; concepts (``3_12`` for two); responses;
  timestamps; durations. ``NA`` stands for a list that is not known.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pandas as pd

from kt_core.base.errors import KTError
from kt_core.data.formats.entries import check_entries, listed
from kt_core.data.formats.pykt import AND_CONCEPT
from kt_core.data.formats.source import Source
from kt_core.data.formats.text import Lines
from kt_core.data.reading import Meaning, ReadOptions
from kt_core.data.reading.note import Use
from kt_core.data.reading.values import ALWAYS, Show, hidden

UNKNOWN = ["NA"]  # a list of pyKT that is not known


@dataclass(frozen=True)
class Shape:
    """The lines of a block after its head.

    Attributes
    ----------
    learner : place of the learner's id in the head; -1 where there is none.
    number : place of the number of answers in the head; -1 where there is none.
    """

    name: str
    lists: tuple[str, ...]
    learner: int
    number: int
    separators: tuple[str, ...] = ALWAYS

    @property
    def size(self) -> int:
        """Lines in a block."""
        return len(self.lists) + 1


AKT = Shape("AKT, with items", ("item", "skill", "correct"), 1, -1)
AKT_SKILLS = Shape("AKT, without items", ("skill", "correct"), 1, -1)
TRIPLE = Shape("triples of lines (DKVMN, EduData)", ("skill", "correct"), -1, 0)
PYKT = Shape(
    "pyKT data.txt",
    ("item", "skill", "correct", "timestamp", "duration"),
    0,
    1,
    (*ALWAYS, AND_CONCEPT),
)


def block_source(path: Path, kind: str, options: ReadOptions) -> Source:
    """A file of blocks.

    Parameters
    ----------
    kind : akt, triple or pykt.

    Raises
    ------
    KTError
        When the file does not consist of such blocks.
    """
    rows, numbers = _lines(path, options)
    shape = {"triple": TRIPLE, "pykt": PYKT}.get(kind) or _akt(rows)
    if kind == "akt" and shape is AKT_SKILLS and _fits(rows, PYKT) == 1:
        shape = PYKT
    uses = tuple(Use(part, "its line") for part in ("skill", "correct"))
    uses += tuple(Use(part, "its line") for part in ("item", "timestamp") if part in shape.lists)
    learner = "second number of a block" if shape.learner == 1 else "first number of a block"
    uses = (Use("user", learner if shape.learner >= 0 else "number of the block, from 0"), *uses)
    blocks = partial(_blocks, path, rows, numbers, shape, options.show)
    columns = {"timestamp": "the line of times"}
    return Source(
        path.name, shape.name, (path,), Meaning(separators=shape.separators), uses, columns, blocks
    )


def _lines(path: Path, options: ReadOptions) -> tuple[list[list[str]], list[int]]:
    """The lines that are not blank, as lists, and their numbers."""
    rows, numbers, entries = [], [], 0
    with Lines(path, encoding=options.encoding) as lines:
        for text in lines:
            if text.strip():
                entries += text.count(",") + 1
                check_entries(path, entries, 2)
                rows.append(listed(text))
                numbers.append(lines.number)
    if not rows:
        raise KTError(f"{path}: the file is empty")
    return rows, numbers


def _akt(rows: list[list[str]]) -> Shape:
    return AKT if _fits(rows, AKT) > _fits(rows, AKT_SKILLS) else AKT_SKILLS


def _fits(rows: list[list[str]], shape: Shape) -> float:
    """Share of blocks with lists of equal length and responses of only 0 and 1."""
    good = [_is_block(rows[at : at + shape.size], shape) for at in range(0, len(rows), shape.size)]
    return sum(good) / len(good)


def _is_block(block: list[list[str]], shape: Shape) -> bool:
    if len(block) != shape.size or len(block[0]) != (1 if shape is TRIPLE else 2):
        return False
    lists = {n: x for n, x in zip(shape.lists, block[1:], strict=True) if x != UNKNOWN}
    if {"skill", "correct"} - set(lists) or len({len(x) for x in lists.values()}) > 1:
        return False
    counted = shape.number < 0 or block[0][shape.number] == str(len(lists["skill"]))
    return counted and set(lists["correct"]) <= {"0", "1"}


def _blocks(
    path: Path, rows: list[list[str]], numbers: list[int], shape: Shape, show: Show
) -> Iterator[pd.DataFrame]:
    if len(rows) % shape.size:
        raise KTError(
            f"{path}, line {numbers[-1]}: {len(rows)} lines do not make whole blocks of "
            f"{shape.size}; the file is cut short, or a line is missing"
        )
    kept = [name for name in shape.lists if name != "duration"]
    columns: dict[str, list] = {name: [] for name in ("user", *kept, "line")}
    unknown: set[str] = set()
    for at in range(0, len(rows), shape.size):
        head, *lists = rows[at : at + shape.size]
        found = dict(zip(shape.lists, lists, strict=True))
        length = _length(path, numbers[at], head, found, shape, show)
        user = head[shape.learner] if shape.learner >= 0 else str(at // shape.size)
        columns["user"] += [user] * length
        columns["line"] += [numbers[at + 1 + shape.lists.index("correct")]] * length
        for name in kept:
            if found[name] == UNKNOWN and name in ("item", "timestamp"):
                unknown.add(name)
                found[name] = [""] * length
            columns[name] += found[name]
    table = pd.DataFrame(columns)
    yield table.drop(columns=[n for n in unknown if (table[n] == "").all()])


def _length(
    path: Path,
    number: int,
    head: list[str],
    found: dict[str, list[str]],
    shape: Shape,
    show: Show,
) -> int:
    """The number of answers of a block, on which all of its lists agree."""
    known = {n: x for n, x in found.items() if x != UNKNOWN or n in ("skill", "correct")}
    if len({len(x) for x in known.values()}) > 1:
        lengths = ", ".join(f"{len(x)} {n}s" for n, x in known.items())
        raise KTError(f"{path}, line {number}: this learner's lists differ in length: {lengths}")
    length = len(found["skill"])
    if len(head) != (1 if shape is TRIPLE else 2):
        if shape is TRIPLE:
            announced = show(None) if show is hidden else head[0][:40]
            raise KTError(f"{path}, line {number}: {announced} steps announced, but {length} found")
        raise KTError(
            f"{path}, line {number}: {len(head)} fields at the start of a block; {shape.name}: "
            "blocks start with two"
        )
    if shape.number >= 0 and head[shape.number] != str(length):
        announced = show(None) if show is hidden else head[shape.number][:40]
        raise KTError(f"{path}, line {number}: {announced} steps announced, but {length} found")
    return length
