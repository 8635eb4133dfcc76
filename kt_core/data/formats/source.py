"""A source of answers: what is known of it at sight, and its rows block by block."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from kt_core.data.reading import Meaning
from kt_core.data.reading.note import Use


@dataclass
class Source:
    """One file, folder or table of answers.

    Attributes
    ----------
    name : for messages and the note.
    format : its format, in words.
    files : what is read, for checksums.
    meaning : what the format says of its rows.
    uses : what each column is used as.
    columns : part -> the name of its column.
    blocks : the rows, as `kt_core.data.reading.prepare` takes them.
    remarks : for the note.
    """

    name: str
    format: str
    files: tuple[Path, ...]
    meaning: Meaning
    uses: tuple[Use, ...]
    columns: dict[str, str]
    blocks: Callable[[], Iterator[pd.DataFrame]]
    remarks: tuple[str, ...] = field(default=())
