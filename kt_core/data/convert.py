"""A long table of any size into a stored data set (`kt_core.data.store`), in constant memory.

1. *spread*: blocks of rows are read one after the other and dealt into buckets by learner;
2. *gather*: each bucket, which has all rows of its learners, is cleaned as every table is;
3. *join*: one bucket after the other becomes numbers in one file of columns.

Each step leaves whole files in a folder beside the target and goes on after those that are there:
a conversion that was stopped is called again and resumes.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import math
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
from tqdm.auto import tqdm

from kt_core.data.columns import ColumnWriter
from kt_core.data.readers import delimiter, rename
from kt_core.data.registry import sha256
from kt_core.data.sequences import Vocabulary, fold_of_learners
from kt_core.data.store import INTERACTIONS, TYPES, VERSION, is_stored, write_facts
from kt_core.data.table import clean, repeated_answers
from kt_core.errors import KTError
from kt_core.files import renamed

log = logging.getLogger("kt_core")
BLOCK_BYTES = 8 << 20  # of text read at a time
BLOCK_ROWS = 500_000  # of a Parquet file read at a time
BUCKET_BYTES = 24 << 20  # of source that a bucket should hold at most
HEADER_BYTES = 1 << 20  # in which the first line must end
ROW_BYTES = 60  # of text, about; a Parquet file holds its rows in less


def convert(
    source: str | Path,
    target: str | Path,
    columns: dict[str, str] | None = None,
    expand_skills: bool = False,
) -> Path:
    """Convert a CSV, TSV (also .gz) or Parquet file with one row an interaction.

    Parameters
    ----------
    target : folder of the stored data set; it must not exist.
    columns, expand_skills : as in `kt_core.data.readers.read_table`.

    Raises
    ------
    KTError
        For a file that cannot be read, rows that are no interactions, a target that exists, or an
        unfinished conversion of something else in its place.
    """
    source, target = Path(source), Path(target)
    if not source.is_file():
        raise KTError(f"{source}: no such file")
    work = target.with_name(f".{target.name}.converting")
    if target.exists():
        if is_stored(target):
            shutil.rmtree(work, ignore_errors=True)  # of a conversion stopped while it tidied up
        raise KTError(f"{target} exists already; choose another --out or remove it")
    plan = _plan(source, columns or {}, expand_skills)
    with _workplace(work, target, plan):
        try:
            rows = _spread(source, work, plan)
            _gather(source, work, plan)
            _join(source, work, plan, rows)
            (work / "out").rename(target)
        except OSError as error:
            raise KTError(
                f"{target}: {error.strerror or error}; make room, or choose another --out, and "
                "call again: what is done is kept"
            ) from None
        except (pa.ArrowException, json.JSONDecodeError) as error:
            raise KTError(
                f"{work}: a file of the unfinished conversion is damaged ({error}); remove the "
                "folder and call again"
            ) from None
        shutil.rmtree(work)
    return target


def _plan(source: Path, columns: dict[str, str], expand_skills: bool) -> dict:
    size = source.stat().st_size
    if _parquet(source):
        size = _opened(source).metadata.num_rows * ROW_BYTES  # as text
    elif source.suffix == ".gz":
        size *= 8
    return {
        "version": VERSION,
        "source": str(source.absolute()),
        "bytes": source.stat().st_size,
        "modified": source.stat().st_mtime_ns,
        "columns": columns,
        "expand_skills": expand_skills,
        "buckets": max(1, math.ceil(size / BUCKET_BYTES)),
        "block": BLOCK_ROWS if _parquet(source) else BLOCK_BYTES,
    }


@contextlib.contextmanager
def _workplace(work: Path, target: Path, plan: dict) -> Iterator[None]:
    """The folder for the steps, held by this process alone."""
    file = work / "plan.json"
    try:
        if work.is_dir() and not file.is_file():  # half removed: its parts belong to nothing
            shutil.rmtree(work)
        work.mkdir(parents=True, exist_ok=True)
        lock = (work / "lock").open("w")
    except OSError as error:
        raise KTError(f"{target}: cannot be written ({error.strerror}); choose --out") from None
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise KTError(f"{target}: another conversion into it is running") from None
        if not file.is_file():
            _write_json(file, plan)
        if json.loads(file.read_text(encoding="utf-8")) != plan:
            raise KTError(
                f"{work}: an unfinished conversion of another file, or with other options; remove "
                "that folder, or choose another --out"
            )
        yield


def _spread(source: Path, work: Path, plan: dict) -> int:
    """Deal all rows into buckets; how many there are."""
    (work / "spread").mkdir(exist_ok=True)
    rows, bar = 0, _bar(plan["bytes"], "reading", unit="B", unit_scale=True)
    for number, (raw, position) in enumerate(_blocks(source)):
        part = work / "spread" / f"{number:06d}.arrow"
        if not part.is_file():
            table = rename(raw, plan["columns"], source)
            table["line"] = np.arange(rows, rows + len(table)) + (1 if _parquet(source) else 2)
            _deal(table, part, plan["buckets"])
        rows += len(raw)
        bar.update(position - bar.n)
    bar.close()
    if rows == 0:
        raise KTError(f"{source}: no interactions in it")
    return rows


def _deal(table: pd.DataFrame, part: Path, buckets: int) -> None:
    """One record batch a bucket, in order."""
    bucket = pd.util.hash_array(table["user"].to_numpy(object)) % np.uint64(buckets)
    order = np.argsort(bucket, kind="stable")
    whole = pa.Table.from_pandas(table.iloc[order], preserve_index=False).combine_chunks()
    ends = np.cumsum(np.bincount(bucket.astype(np.int64), minlength=buckets))
    temporary = part.with_suffix(".tmp")
    options = pa.ipc.IpcWriteOptions(compression="lz4")
    with pa.ipc.new_file(str(temporary), whole.schema, options=options) as writer:
        for begin, end in zip([0, *ends[:-1].tolist()], ends.tolist(), strict=True):
            found = whole.slice(begin, end - begin).to_batches()
            empty = pa.RecordBatch.from_pylist([], schema=whole.schema)
            writer.write_batch(found[0] if found else empty)
    temporary.replace(part)


def _gather(source: Path, work: Path, plan: dict) -> None:
    """Clean each bucket."""
    (work / "clean").mkdir(exist_ok=True)
    parts = sorted((work / "spread").glob("*.arrow"))
    for bucket in _bar(range(plan["buckets"]), "cleaning"):
        notes = work / "clean" / f"{bucket:06d}.json"
        if notes.is_file():
            continue
        batches = []
        for part in parts:
            with pa.memory_map(str(part)) as file:
                batches.append(pa.ipc.open_file(file).get_batch(bucket))
        raw = pa.Table.from_batches(batches).to_pandas()
        table, counts = clean(raw, source.name, plan["expand_skills"])
        if "fold" in table:
            fold_of_learners(table, source.name)
        inflated = repeated_answers(table) if plan["expand_skills"] else 0
        table.drop(columns="timestamp", errors="ignore").to_parquet(notes.with_suffix(".parquet"))
        _write_json(notes, {"rows": len(table), "notes": counts, "repeated": inflated})


def _join(source: Path, work: Path, plan: dict, read: int) -> None:
    """Names become numbers, and the buckets one file; every row must be accounted for."""
    shutil.rmtree(work / "out", ignore_errors=True)
    (work / "out").mkdir()
    facts = [json.loads(f.read_text(encoding="utf-8")) for f in sorted(work.glob("clean/*.json"))]
    rows = sum(f["rows"] for f in facts)
    notes: dict[str, int] = {}
    for f in facts:
        notes = {k: notes.get(k, 0) + f["notes"].get(k, 0) for k in notes | f["notes"]}
    if rows + sum(notes.values()) != read:
        raise KTError(
            f"{work}: {read:,} rows read, {rows:,} left, {notes}: rows were lost; remove it"
        )
    if rows == 0:
        raise KTError(f"{source.name}: no row has both a skill and a response of 0 or 1")
    for what, count in notes.items():
        log.info("%s: %s %s", source.name, f"{count:,}", what)
    names = _names(work)
    learners = []
    with ColumnWriter(work / "out" / INTERACTIONS, rows, TYPES) as writer:
        for table in _bar(_cleaned(work), "joining", total=len(facts)):
            writer.append(
                skill=names.ids(table["skill"]),
                item=names.item_ids(table),
                response=table["correct"].to_numpy(),
            )
            per_learner = table.groupby("user", sort=False).size()
            one = {"user": per_learner.index, "steps": per_learner.to_numpy()}
            if "fold" in table:
                one["fold"] = table.groupby("user", sort=False)["fold"].first().to_numpy()
            learners.append(pd.DataFrame(one))
    now = source.stat()
    if (now.st_size, now.st_mtime_ns) != (plan["bytes"], plan["modified"]):
        raise KTError(f"{source}: changed while it was converted; remove {work} and call again")
    people = pd.concat(learners, ignore_index=True)
    first = np.cumsum(np.append(0, people["steps"]))[:-1]
    write_facts(
        work / "out",
        people.assign(first=first),
        names,
        {
            "name": source.name.removesuffix(".gz").rsplit(".", 1)[0],
            "options": {name: plan[name] for name in ("columns", "expand_skills")},
            "rows": rows,
            "notes": notes,
            "inflated": any(f["repeated"] for f in facts),
            "sources": {source.name: sha256(source)},
        },
    )


def _names(work: Path) -> Vocabulary:
    """Every skill and every item of all buckets."""
    pairs = pd.DataFrame()
    for table in _cleaned(work):
        columns = [c for c in ("skill", "item") if c in table]
        pairs = pd.concat([pairs, table[columns].drop_duplicates()]).drop_duplicates()
    return Vocabulary.of(pairs)


def _cleaned(work: Path) -> Iterator[pd.DataFrame]:
    for file in sorted((work / "clean").glob("*.parquet")):
        yield pd.read_parquet(file)


def _blocks(source: Path) -> Iterator[tuple[pd.DataFrame, int]]:
    """Rows of text, and the bytes (of a Parquet file: its share of them) read so far."""
    try:
        if _parquet(source):
            file, seen = _opened(source), 0
            for batch in file.iter_batches(BLOCK_ROWS):
                seen += len(batch)
                share = seen / max(file.metadata.num_rows, 1)
                table = batch.to_pandas(integer_object_nulls=True)
                yield table, int(share * source.stat().st_size)
            return
        parse = pacsv.ParseOptions(
            delimiter=delimiter(_header(source)),
            newlines_in_values=True,
            invalid_row_handler=lambda row: "error" if row.text.strip() else "skip",
        )
        with pa.input_stream(str(source), compression="detect") as stream:
            names = pacsv.open_csv(stream, parse_options=parse).schema.names
        with pa.input_stream(str(source), compression="detect") as stream:
            reader = pacsv.open_csv(
                stream,
                read_options=pacsv.ReadOptions(block_size=BLOCK_BYTES),
                parse_options=parse,
                convert_options=pacsv.ConvertOptions(  # as text: ids keep their leading zeros
                    column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=False
                ),
            )
            seen = 0
            for batch in reader:
                seen += BLOCK_BYTES
                yield batch.to_pandas(), min(seen, source.stat().st_size)
    except (pa.ArrowException, OSError) as error:
        raise KTError(
            f"{source}: cannot be read ({error}). Is it whole, UTF-8, and has every row as many "
            "fields as the header? Convert other encodings with iconv"
        ) from None


def _header(source: Path) -> str:
    with pa.input_stream(str(source), compression="detect") as stream:
        line = stream.read(HEADER_BYTES)
    if not line.strip():
        raise KTError(f"{source}: the file is empty")
    lines = re.split("\r\n|\r|\n", line.decode("utf-8-sig", "replace"))
    return next(text for text in lines if text.strip())


def _opened(source: Path) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(source, pre_buffer=False, buffer_size=1 << 20)
    except (pa.ArrowException, OSError) as error:
        raise KTError(f"{source}: not a readable Parquet file ({error})") from None


def _parquet(source: Path) -> bool:
    return source.suffix.lower() in (".parquet", ".pq")


def _bar(over, what: str, **kwargs):
    hidden = not sys.stderr.isatty()
    if isinstance(over, int):
        return tqdm(total=over, desc=what, disable=hidden, **kwargs)
    return tqdm(over, desc=what, disable=hidden, **kwargs)


def _write_json(path: Path, content: dict) -> None:
    with renamed(path) as temporary:
        temporary.write_text(json.dumps(content), encoding="utf-8")
