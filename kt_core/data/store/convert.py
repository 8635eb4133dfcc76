"""Convert a source of any size to a stored data set (`kt_core.data.store.read`).

1. *spread*: blocks of rows are read one by one, cleaned row by row and dealt into buckets by
learner; 2. *gather*: with what all blocks have shown, each bucket, which has all rows of its
   learners, becomes a canonical table;
3. *join*: bucket by bucket, names become numbers in one file of columns.

Memory stays constant. Each step leaves complete files in a folder next to the target and skips
those that exist already, so that a conversion that was stopped resumes when it is called again.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
from tqdm.auto import tqdm

from kt_core.base.errors import KTError
from kt_core.base.files import renamed, write_text
from kt_core.base.locks import locked
from kt_core.data.formats import limits, long, parquet
from kt_core.data.formats.readers import check_source, no_answer, note_of, open_source
from kt_core.data.formats.source import Source
from kt_core.data.pseudonyms import DIGITS, shortened
from kt_core.data.reading import (
    Evidence,
    ReadOptions,
    Rules,
    clean,
    decide,
    prepare,
    repeated_answers,
)
from kt_core.data.reading.options import DROPPED
from kt_core.data.registry import checksums
from kt_core.data.sequences import Vocabulary, fold_of_learners
from kt_core.data.store.columns import ColumnWriter
from kt_core.data.store.read import INTERACTIONS, TYPES, VERSION, is_stored, write_facts

BUCKET_BYTES = 24 << 20  # of the source per bucket, roughly
ROW_BYTES = 60  # of text per row of a Parquet file, roughly


def convert(source: str | Path, target: str | Path, options: ReadOptions | None = None) -> Path:
    """Convert a file or folder of answers, as `kt_core.data.formats.readers.read_table` reads it.

    Parameters
    ----------
    target : folder of the stored data set; it must not exist.

    Raises
    ------
    KTError
        For a file that cannot be read, rows that are not interactions, a target that exists, or an
        unfinished conversion of something else there.
    """
    source, target, options = Path(source), Path(target), options or ReadOptions()
    check_source(source)
    work = target.with_name(f".{target.name}.converting")
    if target.exists():
        if is_stored(target):
            shutil.rmtree(work, ignore_errors=True)  # of a conversion stopped at its very end
        raise KTError(f"{target} exists already; choose another --out or remove it")
    found = open_source(source, options, piecewise=True)
    plan = _plan(source, found, options)
    with _workplace(work, target, plan):
        try:
            evidence = _spread(found, work, plan, options)
            rules = decide(evidence, found.meaning, options, found.name, found.columns)
            _gather(found, work, plan, options, rules)
            _join(found, work, plan, evidence, rules)
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


def _plan(source: Path, found: Source, options: ReadOptions) -> dict:
    """What decides the steps; an unfinished conversion is only continued under the same plan."""
    stats = [file.stat() for file in found.files]
    size = written = sum(stat.st_size for stat in stats)
    if parquet.is_parquet(source):
        size = parquet.rows_claimed(source) * ROW_BYTES  # as text
    elif source.suffix == ".gz":
        size *= 8
    given = {f.name: getattr(options, f.name) for f in dataclasses.fields(options)}
    given |= {"known": sorted(options.known), "pseudonyms": ""}
    if options.pseudonyms:
        given["pseudonyms"] = options.pseudonyms.fingerprint
    return {
        "version": VERSION,
        "source": str(source.absolute()),
        "files": len(stats),
        "bytes": written,
        "modified": max(stat.st_mtime_ns for stat in stats),
        "options": given,
        "buckets": max(1, math.ceil(size / BUCKET_BYTES)),
        "block": [long.BLOCK_BYTES, long.BLOCK_ROWS],
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


def _spread(found: Source, work: Path, plan: dict, options: ReadOptions) -> Evidence:
    """Clean all rows by themselves and deal them into buckets; return what they have shown."""
    (work / "spread").mkdir(exist_ok=True)
    whole = Evidence()
    for number, block in enumerate(_bar(found.blocks(), "reading")):
        part = work / "spread" / f"{number:06d}.arrow"
        seen = part.with_suffix(".json")
        if not seen.is_file():  # written after the rows
            rows, evidence = prepare(block, found.meaning, options, found.name)
            _deal(rows, part, plan)
            _write_json(seen, evidence.to_dict())
        whole.merge(Evidence.from_dict(json.loads(seen.read_text(encoding="utf-8"))))
    if whole.rows == 0:
        raise KTError(f"{found.name}: it has no interactions")
    return whole


def _deal(table: pd.DataFrame, part: Path, plan: dict) -> None:
    """One record batch per bucket, in order."""
    buckets = plan["buckets"]
    # Full hashes whose pseudonyms could be the same go into the same bucket.
    hidden = plan["options"]["pseudonyms"]
    users = table["user"].str[:DIGITS] if hidden else table["user"]
    bucket = pd.util.hash_array(users.to_numpy(object)) % np.uint64(buckets)
    order = np.argsort(bucket, kind="stable")
    whole = pa.Table.from_pandas(table.iloc[order], _schema(table), preserve_index=False)
    whole = whole.combine_chunks()
    ends = np.cumsum(np.bincount(bucket.astype(np.int64), minlength=buckets))
    temporary = part.with_suffix(".tmp")
    options = pa.ipc.IpcWriteOptions(compression="lz4")
    with pa.ipc.new_file(str(temporary), whole.schema, options=options) as writer:
        for begin, end in zip([0, *ends[:-1].tolist()], ends.tolist(), strict=True):
            found = whole.slice(begin, end - begin).to_batches()
            empty = pa.RecordBatch.from_pylist([], schema=whole.schema)
            writer.write_batch(found[0] if found else empty)
    temporary.replace(part)


def _schema(table: pd.DataFrame) -> pa.Schema:
    """The same for every block, also for one without rows."""
    kinds = {"i": pa.int64(), "f": pa.float64()}
    return pa.schema(
        [(name, kinds.get(kind.kind, pa.string())) for name, kind in table.dtypes.items()]
    )


def _gather(found: Source, work: Path, plan: dict, options: ReadOptions, rules: Rules) -> None:
    """Make a canonical table of each bucket."""
    (work / "clean").mkdir(exist_ok=True)
    parts = sorted((work / "spread").glob("*.arrow"))
    for bucket in _bar(range(plan["buckets"]), "cleaning"):
        facts = work / "clean" / f"{bucket:06d}.json"
        if facts.is_file():
            continue
        batches = []
        for part in parts:
            with pa.memory_map(str(part)) as file:
                batches.append(pa.ipc.open_file(file).get_batch(bucket))
        rows = sum(map(len, batches))
        if rows > limits.MOST_ROWS:
            raise KTError(
                f"{found.name}: {rows:,} rows of one learner, or of a few, but at most "
                f"{limits.MOST_ROWS:,} can be sorted; if this is not the column of the learners, "
                "name it with --column user=NAME"
            )
        raw = pa.Table.from_batches(batches).to_pandas()
        if options.pseudonyms:
            raw["user"] = shortened(raw["user"])
        table, counts, several = clean(raw, rules, options, found.name)
        if "fold" in table:
            fold_of_learners(table, found.name)
        inflated = repeated_answers(table) if options.expand_skills else 0
        table.drop(columns="timestamp", errors="ignore").to_parquet(facts.with_suffix(".parquet"))
        part = {"rows": len(table), "counts": counts, "several": several}
        _write_json(facts, part | {"repeated": inflated, "raw": rows})


def _join(found: Source, work: Path, plan: dict, evidence: Evidence, rules: Rules) -> None:
    """Turn names into numbers, and the buckets into one file; check that no row is lost."""
    shutil.rmtree(work / "out", ignore_errors=True)
    (work / "out").mkdir()
    facts = [json.loads(f.read_text(encoding="utf-8")) for f in sorted(work.glob("clean/*.json"))]
    rows = sum(f["rows"] for f in facts)
    for f in facts:
        for what, count in f["counts"].items():
            evidence.count(what, count)
    left = _left_out(found, evidence.counts)
    if rows + left != evidence.rows:
        raise KTError(
            f"{found.name}: {evidence.rows:,} rows read, {rows:,} left, {evidence.counts}: rows "
            "were lost; run it again"
        )
    if rows == 0:
        raise KTError(no_answer(found, evidence))
    names = _names(work)
    learners, right = [], 0
    with ColumnWriter(work / "out" / INTERACTIONS, rows, TYPES) as writer:
        for table in _bar(_cleaned(work), "joining", total=len(facts)):
            right += int(table["correct"].sum())
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
    stats = [file.stat() for file in found.files]
    now = (sum(s.st_size for s in stats), max(s.st_mtime_ns for s in stats))
    if now != (plan["bytes"], plan["modified"]):
        raise KTError(f"{plan['source']}: changed while it was converted; run it again")
    people = pd.concat(learners, ignore_index=True)
    sizes = {"learners": len(people), "answers": rows, "skills": len(names.skills)}
    note = note_of(found, evidence, rules, sizes | {"items": len(set(names.items)), "right": right})
    several = {name: tuple(parts) for f in facts for name, parts in f["several"].items()}
    note = dataclasses.replace(note, several=several)
    first = np.cumsum(np.append(0, people["steps"]))[:-1]
    write_facts(
        work / "out",
        people.assign(first=first),
        names,
        {
            "name": found.name.removesuffix(".gz").rsplit(".", 1)[0],
            "options": plan["options"],
            "rows": rows,
            "note": note.to_dict(),
            "inflated": any(f["repeated"] for f in facts),
            "sources": checksums(found.files, plan["source"]),
        },
    )


def _left_out(found: Source, counts: dict[str, int]) -> int:
    """Rows that are in no answer of their own."""
    layout = found.meaning.layout
    ours = [what for _, what in layout.keep.values()] if layout is not None else []
    if layout is not None:
        ours.append(layout.blank_response)
    return sum(counts.get(what, 0) for what in (*DROPPED, *ours))


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


def _bar(over, what: str, **kwargs):
    return tqdm(over, desc=what, disable=not sys.stderr.isatty(), **kwargs)


def _write_json(path: Path, content: dict) -> None:
    with renamed(path) as temporary:
        temporary.write_text(json.dumps(content), encoding="utf-8")
