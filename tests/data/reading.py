"""What the tests of readers share: a source read in memory and on disk, which must agree."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pandas as pd
import pytest

from kt_core.base.errors import KTError
from kt_core.data.formats import long
from kt_core.data.formats.readers import read_table
from kt_core.data.reading import ReadOptions
from kt_core.data.store import convert as conversion
from kt_core.data.store.columns import mapped
from kt_core.data.store.convert import convert
from kt_core.data.store.read import stored_note


def write(folder, name, text):
    """A file of text or bytes; folders on the way are made."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def histories(table):
    """Learner -> (skill, response) of each answer, in order."""
    return {u: list(zip(t["skill"], t["correct"], strict=True)) for u, t in table.groupby("user")}


def stored_histories(folder):
    """`histories` of a stored data set."""
    people = pd.read_parquet(folder / "learners.parquet")
    names = pd.read_parquet(folder / "names.parquet")["skill"].to_numpy()
    columns = mapped(folder / "interactions.arrow")
    return {
        p.user: [
            (names[columns["skill"][i]], columns["response"][i])
            for i in range(p.first, p.first + p.steps)
        ]
        for p in people.itertuples()
    }


def read(path: Path, **options):
    """The table and the note of a source, after a check that reading on disk, in small blocks,
    agrees: with the answers and the note, or in refusing it and leaving nothing."""
    how = ReadOptions(**options)
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory() as folder:
        patch.setattr(long, "BLOCK_BYTES", 4000)
        patch.setattr(long, "BLOCK_ROWS", 7)
        patch.setattr(conversion, "BUCKET_BYTES", 4000)
        target = Path(folder) / "stored"
        try:
            table, note = read_table(path, how)
        except KTError:
            with pytest.raises(KTError):
                convert(path, target, how)
            assert list(Path(folder).iterdir()) == []
            raise
        stored = convert(path, target, how)
        assert stored_note(stored) == note
        assert stored_histories(stored) == histories(table)
    return table, note
