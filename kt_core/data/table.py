"""The canonical table: one row per answer, in order within a learner.

Columns: `user`, `skill` (text), `correct` (0 or 1), and where known `item` (text), `timestamp`
(numbers that sort), `fold` (-1 is the test split, 0, 1, ... the validation folds) and, for
simulated learners, `true_mastery` (after the step), `true_before` and `true_gain`.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from kt_core.base.errors import KTError, brief
from kt_core.base.values import counted
from kt_core.data.reading.note import ReadingNote

NEEDED = ("user", "skill", "correct")


@dataclass(frozen=True, repr=False)
class Dataset:
    """A canonical table and where it comes from.

    Attributes
    ----------
    note : how it was read.
    inflated : whether one answer is in several rows, which makes every result too good.
    sources : file name -> SHA-256.
    pseudonyms : fingerprint of the key if learners have pseudonyms (`kt_core.data.pseudonyms`).
    simulation : for simulated learners, their `Simulation`.
    scores : outside scores, which no model sees: `learner`, `score` (`kt_core.data.scores`), and in
        `attrs["name"]` what they are; None where the source has none.
    """

    name: str
    table: pd.DataFrame
    note: ReadingNote = field(default_factory=ReadingNote)
    inflated: bool = False
    sources: dict[str, str] = field(default_factory=dict)
    simulation: Any = None
    pseudonyms: str = ""
    scores: pd.DataFrame | None = None

    def __post_init__(self) -> None:
        if not self.table.empty:
            check(self.table, self.name)

    def __repr__(self) -> str:
        return f"<{self.name}: {counted('answer', len(self.table))}>"


def check(table: pd.DataFrame, name: str) -> None:
    """Raise a KTError unless a table is canonical; `kt_core.data.read_dataset` makes it so."""
    way = "kt_core.data.read_dataset puts any table in order"
    absent = [column for column in NEEDED if column not in table]
    if absent:
        raise KTError(f"{name}: no column {', '.join(absent)}; {way}")
    wrong = ~table["correct"].isin((0, 1)).to_numpy()
    if wrong.any():
        at = int(wrong.argmax())
        value = table["correct"].iloc[at]
        raise KTError(f"{name}, row {at + 1}: response {brief(value)} is not 0 or 1; {way}")
    for column in ("user", "skill"):
        empty = (table[column].isna() | (table[column].astype(str).str.strip() == "")).to_numpy()
        if empty.any():
            raise KTError(f"{name}, row {int(empty.argmax()) + 1}: {column} is empty; {way}")
    begins = table["user"].ne(table["user"].shift())
    again = begins & table["user"].duplicated()
    if again.any():
        raise KTError(
            f"{name}, row {int(again.to_numpy().argmax()) + 1}: the rows of a learner are not one "
            f"after the other; {way}"
        )


def data_checksums(dataset: Dataset) -> dict[str, str]:
    """SHA-256 of each file that was read, or of the table where it was simulated."""
    return dataset.sources or {"table": table_sha256(dataset.table)}


def table_sha256(table: pd.DataFrame) -> str:
    """SHA-256 of a table's values."""
    hashes = pd.util.hash_pandas_object(table, index=False).to_numpy()
    return hashlib.sha256(hashes.tobytes()).hexdigest()
