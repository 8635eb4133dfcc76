"""A data set kept as one Parquet file: the canonical table, and how it was read.

A run that was trained on a table in memory has its answers in such a file, and finds them wherever
its folder is: its `config.json` has `IN_RUN` as `data.path`. They are not read a second time, so
that skills, times and pseudonyms stay as they are.
"""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from kt_core.base.digests import sha256
from kt_core.base.errors import KTError, reason
from kt_core.base.files import is_there, whole
from kt_core.data.formats import parquet
from kt_core.data.reading.note import ReadingNote
from kt_core.data.table import Dataset

KEPT = "answers.parquet"
IN_RUN = f"{{run}}/{KEPT}"  # `data.path` of a run that has its answers in its own folder
FACTS = b"kt_core.dataset"  # the key in the file's metadata
TYPES = {  # of each column; times may be whole numbers, such as nanoseconds
    **dict.fromkeys(("user", "skill", "item"), (pa.string(),)),
    **dict.fromkeys(("correct", "fold"), (pa.int64(),)),
    **dict.fromkeys(("true_mastery", "true_before", "true_gain"), (pa.float64(),)),
    "timestamp": (pa.float64(), pa.int64()),
}


def keep(dataset: Dataset, folder: Path) -> dict[str, str]:
    """Write a data set into a folder; return the name of the file and its SHA-256."""
    facts = {"name": dataset.name, "note": dataset.note.to_dict()}
    facts |= {"inflated": dataset.inflated, "pseudonyms": dataset.pseudonyms}
    whole_numbers = [n for n, column in dataset.table.items() if column.dtype.kind in "iu"]
    kinds = [(n, TYPES[n][-1 if n in whole_numbers else 0]) for n in dataset.table]
    table = pa.Table.from_pandas(dataset.table, pa.schema(kinds), preserve_index=False)
    table = table.replace_schema_metadata({FACTS: json.dumps(facts)})
    with whole(folder / KEPT) as temporary:
        pq.write_table(table, temporary, compression="zstd")
        return {KEPT: sha256(temporary)}


def is_kept(path: Path) -> bool:
    """Whether a file is one that `keep` has written."""
    if not parquet.is_parquet(path) or not is_there(path):
        return False
    try:
        return FACTS in (pq.read_schema(path).metadata or {})
    except parquet.BROKEN:
        return False  # which reading it will say


def read_kept(path: Path) -> Dataset:
    """The data set in a file that `keep` has written.

    Raises
    ------
    KTError
        When it is damaged or was changed into something else.
    """
    parquet.rows_claimed(path)  # refuses a header that cannot be true
    try:
        table = pq.read_table(path)
        table.validate(full=True)
        facts = json.loads(table.schema.metadata[FACTS])
        note = ReadingNote.from_dict(facts["note"])
        texts = facts["name"], facts["pseudonyms"]
        inflated = facts["inflated"]
    except (*parquet.BROKEN, ValueError, LookupError, TypeError, AttributeError) as error:
        raise KTError(f"{path}: damaged ({reason(error)}); restore it, or train again") from None
    wrong = [f.name for f in table.schema if f.type not in TYPES.get(f.name, ())]
    wrong += [name for name in table.column_names if table[name].null_count]
    if wrong or type(inflated) is not bool or not all(type(text) is str for text in texts):
        raise KTError(
            f"{path}: not the answers of a run ({', '.join(wrong) or 'its metadata'}); restore it, "
            "or train again"
        )
    name, key = texts
    return Dataset(name, table.to_pandas(), note, inflated, {KEPT: sha256(path)}, pseudonyms=key)
