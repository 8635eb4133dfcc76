"""Convert a long table of any size to a stored data set (`kt_core.data.store.read`).

1. *spread*: blocks of rows are read one by one and dealt into buckets by learner;
2. *gather*: each bucket, which has all rows of its learners, is cleaned like any table;
3. *join*: bucket by bucket, names become numbers in one file of columns.

Memory stays constant. Each step leaves complete files in a folder next to the target and skips
those that exist already, so that a conversion that was stopped resumes when it is called again.
"""

from __future__ import annotations

import contextlib
import json
import math
import shutil
import sys
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv as pacsv
from tqdm.auto import tqdm

from kt_core.base.errors import KTError
from kt_core.base.files import renamed, write_text
from kt_core.base.locks import locked
from kt_core.base.log import log
from kt_core.data.formats import limits, parquet
from kt_core.data.formats.readers import as_texts, check_file, choose, folds, is_pykt
from kt_core.data.formats.text import Watched, check_rows, delimiter, first_line, split_header
from kt_core.data.pseudonyms import DIGITS, Pseudonyms, shortened
from kt_core.data.registry import sha256
from kt_core.data.sequences import Vocabulary, fold_of_learners
from kt_core.data.store.columns import ColumnWriter
from kt_core.data.store.read import INTERACTIONS, TYPES, VERSION, is_stored, write_facts
from kt_core.data.table import Show, clean, hidden, repeated_answers

BLOCK_BYTES = 8 << 20  # of text read at a time; no row may be longer
BLOCK_ROWS = 500_000  # of a Parquet file read at a time
BUCKET_BYTES = 24 << 20  # of the source per bucket, roughly
ROW_BYTES = 60  # of text per row of a Parquet file, roughly


def convert(
    source: str | Path,
    target: str | Path,
    columns: dict[str, str] | None = None,
    expand_skills: bool = False,
    pseudonyms: Pseudonyms | None = None,
) -> Path:
    """Convert a CSV, TSV (also .gz) or Parquet file with one row per interaction.

    Parameters
    ----------
    target : folder of the stored data set; it must not exist.
    columns, expand_skills, pseudonyms : as in `kt_core.data.formats.readers.read_table`.

    Raises
    ------
    KTError
        For a file that cannot be read, rows that are not interactions, a target that exists, or an
        unfinished conversion of something else there.
    """
    source, target = Path(source), Path(target)
    check_file(source)
    work = target.with_name(f".{target.name}.converting")
    if target.exists():
        if is_stored(target):
            shutil.rmtree(work, ignore_errors=True)  # of a conversion stopped at its very end
        raise KTError(f"{target} exists already; choose another --out or remove it")
    plan = _plan(source, columns or {}, expand_skills, pseudonyms)
    with _workplace(work, target, plan):
        try:
            rows = _spread(source, work, plan, pseudonyms)
            _gather(source, work, plan)
            _join(source, work, plan, rows)
            (work / "out").rename(target)
        except KTError:  # about the source: nothing done so far fits the corrected one
            shutil.rmtree(work, ignore_errors=True)
            raise
        except OSError as error:
            raise KTError(
                f"{target}: {error.strerror or error}; make room, or choose another --out, and "
                "run it again: what is done so far is kept"
            ) from None
        except (pa.ArrowException, json.JSONDecodeError) as error:
            raise KTError(
                f"{work}: a file of the unfinished conversion is damaged ({error}); remove the "
                "folder and run it again"
            ) from None
        shutil.rmtree(work)
    return target


def _plan(
    source: Path, columns: dict[str, str], expand_skills: bool, pseudonyms: Pseudonyms | None
) -> dict:
    size, by_row = source.stat().st_size, parquet.is_parquet(source)
    if by_row:
        size = parquet.rows_claimed(source) * ROW_BYTES  # as text
    elif source.suffix == ".gz":
        size *= 8
    return {
        "version": VERSION,
        "source": str(source.absolute()),
        "bytes": source.stat().st_size,
        "modified": source.stat().st_mtime_ns,
        "columns": columns,
        "expand_skills": expand_skills,
        "pseudonyms": pseudonyms.fingerprint if pseudonyms else "",
        "buckets": max(1, math.ceil(size / BUCKET_BYTES)),
        "block": BLOCK_ROWS if by_row else BLOCK_BYTES,
    }


@contextlib.contextmanager
def _workplace(work: Path, target: Path, plan: dict) -> Iterator[None]:
    """The folder for the steps, locked by this process."""
    file = work / "plan.json"
    try:
        if work.is_dir() and not file.is_file():  # half removed
            shutil.rmtree(work)
        work.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise KTError(f"{target}: cannot be written ({error.strerror}); choose --out") from None
    with locked(work, f"{target}: another conversion into it is running"):
        if not file.is_file():
            write_text(file, json.dumps(plan))
        if json.loads(file.read_text(encoding="utf-8")) != plan:
            raise KTError(
                f"{work}: an unfinished conversion of another file, or with other options; remove "
                "that folder, or choose another --out"
            )
        yield


def _spread(source: Path, work: Path, plan: dict, pseudonyms: Pseudonyms | None) -> int:
    """Deal all rows into buckets; return the number of rows."""
    (work / "spread").mkdir(exist_ok=True)
    rows, bar = 0, _bar(plan["bytes"], "reading", unit="B", unit_scale=True)
    show = _show(plan)
    wanted = partial(choose, columns=plan["columns"], path=source, show=show)
    for number, (table, position) in enumerate(_blocks(source, wanted, show)):
        part = work / "spread" / f"{number:06d}.arrow"
        if not part.is_file():
            first = rows + (1 if parquet.is_parquet(source) else 2)
            table["line"] = np.arange(first, first + len(table))
            if "fold" in table:
                table["fold"] = folds(table, source, show)
            if pseudonyms:
                table["user"] = pseudonyms.whole(table["user"])
            _deal(table, part, plan)
        rows += len(table)
        bar.update(position - bar.n)
    bar.close()
    if rows == 0:
        raise KTError(f"{source}: it has no interactions")
    return rows


def _show(plan: dict) -> Show:
    return hidden if plan["pseudonyms"] else repr


def _deal(table: pd.DataFrame, part: Path, plan: dict) -> None:
    """One record batch per bucket, in order."""
    buckets = plan["buckets"]
    # Full hashes whose pseudonyms could be the same go into the same bucket.
    users = table["user"].str[:DIGITS] if plan["pseudonyms"] else table["user"]
    bucket = pd.util.hash_array(users.to_numpy(object)) % np.uint64(buckets)
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
        rows = sum(map(len, batches))
        if rows > limits.MOST_ROWS:
            raise KTError(
                f"{source}: {rows:,} rows of one learner, or of a few, but at most "
                f"{limits.MOST_ROWS:,} can be sorted; if this is not the column of the learners, "
                "name it with --column user=NAME"
            )
        raw = pa.Table.from_batches(batches).to_pandas()
        table, counts = clean(raw, source.name, plan["expand_skills"], _show(plan))
        if plan["pseudonyms"]:
            table["user"] = shortened(table["user"])
        if "fold" in table:
            fold_of_learners(table, source.name)
        inflated = repeated_answers(table) if plan["expand_skills"] else 0
        table.drop(columns="timestamp", errors="ignore").to_parquet(notes.with_suffix(".parquet"))
        _write_json(notes, {"rows": len(table), "notes": counts, "repeated": inflated})


def _join(source: Path, work: Path, plan: dict, read: int) -> None:
    """Turn names into numbers, and the buckets into one file; check that no row is lost."""
    shutil.rmtree(work / "out", ignore_errors=True)
    (work / "out").mkdir()
    facts = [json.loads(f.read_text(encoding="utf-8")) for f in sorted(work.glob("clean/*.json"))]
    rows = sum(f["rows"] for f in facts)
    notes: dict[str, int] = {}
    for f in facts:
        notes = {k: notes.get(k, 0) + f["notes"].get(k, 0) for k in notes | f["notes"]}
    if rows + sum(notes.values()) != read:
        raise KTError(
            f"{source}: {read:,} rows read, {rows:,} left, {notes}: rows were lost; run it again"
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
        raise KTError(f"{source}: changed while it was converted; run it again")
    people = pd.concat(learners, ignore_index=True)
    first = np.cumsum(np.append(0, people["steps"]))[:-1]
    key = {"pseudonyms": plan["pseudonyms"]} if plan["pseudonyms"] else {}
    write_facts(
        work / "out",
        people.assign(first=first),
        names,
        {
            "name": source.name.removesuffix(".gz").rsplit(".", 1)[0],
            "options": {name: plan[name] for name in ("columns", "expand_skills")} | key,
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


def _blocks(
    source: Path, wanted: Callable[[list[str]], dict[str, int]], show: Show
) -> Iterator[tuple[pd.DataFrame, int]]:
    """Rows of text under canonical names, and the bytes read so far (of a Parquet file: its share
    of them)."""
    size, seen = source.stat().st_size, 0
    if parquet.is_parquet(source):
        rows = parquet.rows_claimed(source)
        for table in parquet.read_blocks(source, wanted, BLOCK_ROWS):
            seen += len(table)
            yield as_texts(table), size * seen // rows
        return
    first = first_line(source)
    header = split_header(first, source)
    if is_pykt(header):
        raise KTError(
            f"{source}: in pyKT's format, with one row per sequence; only tables with one row per "
            "interaction are converted: give this file to run as it is"
        )
    chosen = {new: header[place] for new, place in wanted(header).items()}
    file = Watched(source)
    try:
        reader = pacsv.open_csv(
            pa.PythonFile(file, "r"),
            read_options=pacsv.ReadOptions(block_size=BLOCK_BYTES),
            parse_options=pacsv.ParseOptions(
                delimiter=delimiter(first),
                newlines_in_values=True,
                invalid_row_handler=lambda row: "error" if row.text.strip() else "skip",
            ),
            convert_options=pacsv.ConvertOptions(  # as text: ids keep their leading zeros
                include_columns=list(dict.fromkeys(chosen.values())),
                column_types=dict.fromkeys(chosen.values(), pa.string()),
                strings_can_be_null=False,
            ),
        )
        for batch in reader:
            table = batch.to_pandas()
            yield pd.DataFrame({n: table[old] for n, old in chosen.items()}), file.position
    except (pa.ArrowException, OSError, EOFError, zlib.error) as error:
        check_rows(source)
        reason = "" if show is hidden else f" ({error})"  # it may hold a row
        raise KTError(
            f"{source}: cannot be read{reason}. It must be complete, in UTF-8 (convert it with "
            "iconv), and have as many fields in every row as in the header"
        ) from None
    finally:
        file.close()
    if file.quotes % 2:
        check_rows(source)


def _bar(over, what: str, **kwargs):
    hidden = not sys.stderr.isatty()
    if isinstance(over, int):
        return tqdm(total=over, desc=what, disable=hidden, **kwargs)
    return tqdm(over, desc=what, disable=hidden, **kwargs)


def _write_json(path: Path, content: dict) -> None:
    with renamed(path) as temporary:
        temporary.write_text(json.dumps(content), encoding="utf-8")
