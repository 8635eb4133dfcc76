"""Stored data sets: interactions mapped from disk, for data larger than memory.

`python -m kt_core convert` makes one from a long table. It is a folder:

interactions.arrow  skill (number), item (number), response: learner after learner, each in order
learners.parquet    user, first (row), steps and, where the data has folds, fold
names.parquet       skills by number; items.parquet: items from number 1, and the skill of each
store.json          counts, what reading changed, the source's checksum
splits/             made on first use: the same interactions by split, one file each

The SHA-256 of every file is kept, and checked each time that the data is opened.

From `stored_splits` on, everything is as for data in memory.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from kt_core.base.digests import sha256
from kt_core.base.errors import KTError
from kt_core.config import DataConfig
from kt_core.data.reading.note import ReadingNote
from kt_core.data.sequences import (
    PIECE,
    SPLITS,
    Sequences,
    Splits,
    Vocabulary,
    drawn_folds,
    given_folds,
    out_of_protocol,
    rows_of,
    split_masks,
)
from kt_core.data.store.columns import ColumnWriter, mapped
from kt_core.data.table import Dataset

VERSION = 2
INTERACTIONS, FACTS, DIGESTS = "interactions.arrow", "store.json", "digests.json"
TYPES = {"skill": "int32", "item": "int32", "response": "int8"}
OPTIONS = (
    *("format", "columns", "expand_skills", "encoding", "kc_model", "skill_separator"),
    *("skill_level", "missing_as_text"),
)
FACT_TYPES = {
    "name": str,
    "options": dict,
    "rows": int,
    "items": int,
    "note": dict,
    "inflated": bool,
    "sources": dict,
    "digests": dict,
}


def is_stored(path: str | Path) -> bool:
    """Whether a path is the folder of a stored data set."""
    return bool(path) and (Path(path) / FACTS).is_file()


def write_facts(
    folder: Path, learners: pd.DataFrame, names: Vocabulary, facts: dict[str, Any]
) -> None:
    """Write all but the interactions; `store.json` is last and makes the folder a data set."""
    learners.to_parquet(folder / "learners.parquet")
    pd.DataFrame({"skill": names.skills}).to_parquet(folder / "names.parquet")
    if names.items:
        items = pd.DataFrame({"item": names.items, "skill": names.item_skill})
        items.to_parquet(folder / "items.parquet")
    facts = {"version": VERSION, **facts, "learners": len(learners), "items": len(names.items)}
    facts["digests"] = _digests(folder)
    facts["digests"][FACTS] = _digest_of_facts(facts)
    text = json.dumps(facts, indent=2)
    (folder / FACTS).write_text(text + "\n", encoding="utf-8")


def stored_note(folder: Path) -> ReadingNote:
    """How the source of a stored data set was read."""
    try:
        return _facts(folder)["note"]
    except (OSError, ValueError) as error:
        raise KTError(f"{folder / FACTS}: damaged ({error}); convert the data again") from None


def stored_splits(config: DataConfig, parts: bool = False) -> Splits:
    """Training, validation and test sequences of the stored data set `config.path`.

    Learners are in the same splits as for data in memory. The split files are written into the
    data set's folder on first use.

    Parameters
    ----------
    parts : as of `kt_core.data.make_splits`.

    Raises
    ------
    KTError
        When the folder has another version, is damaged, or cannot be written.
    """
    folder = Path(config.path)
    with damage(folder):
        facts, learners, names = opened(config)
        there = folder / "splits" / _key(config, facts)
        if not there.is_dir():
            check_interactions(folder, facts, names)
            _divide(folder, there, learners, config, facts["name"])
        own = {f"{name}.{kind}" for name in SPLITS for kind in ("arrow", "parquet")}
        way = f"remove {there}, or convert the data again"
        _whole(there / DIGESTS, (there / DIGESTS).is_file())
        made = json.loads((there / DIGESTS).read_text(encoding="utf-8"))
        _same_files(there, made, own | {"items.npy"}, way)
        if facts["items"]:
            known = np.load(there / "items.npy") - 1
            items = tuple(np.array(names.items, object)[known])
            of_items = tuple(np.array(names.item_skill)[known].tolist())
            names = dataclasses.replace(names, items=items, item_skill=of_items)
        if parts:
            names = names.with_parts(facts["note"].several)
        sequences = [_read(there, name, learners) for name in SPLITS]
    own = {"conversion": _digest(facts["options"]), INTERACTIONS: facts["digests"][INTERACTIONS]}
    facts["sources"] = facts["sources"] | own
    dataset = Dataset(
        facts["name"],
        pd.DataFrame(),
        facts["note"].with_counts(out_of_protocol(learners["steps"].to_numpy(), config)),
        facts["inflated"],
        facts["sources"],
        pseudonyms=facts["options"].get("pseudonyms", ""),
    )
    return Splits(dataset, names, *sequences)


@contextmanager
def damage(folder: Path) -> Iterator[None]:
    """What goes wrong in reading the folder of a stored data set, as a KTError."""
    try:
        yield
    except (OSError, ValueError, LookupError, TypeError, pa.ArrowException) as error:
        raise KTError(
            f"{folder}: damaged, or its splits cannot be written there ({error}); convert the data "
            "again, to a folder that can be written"
        ) from None


def opened(config: DataConfig) -> tuple[dict[str, Any], pd.DataFrame, Vocabulary]:
    """The facts of the stored data set `config.path`, its learners and all names, from files that
    are as they were written."""
    folder = Path(config.path)
    facts = _facts(folder)
    _check_options(folder, facts, config)
    own = {INTERACTIONS, "learners.parquet", "names.parquet"}
    own |= {"items.parquet"} if facts["items"] else set()
    _same_files(folder, facts["digests"], own, "convert the data again")
    learners = pd.read_parquet(folder / "learners.parquet")
    _whole(folder / "learners.parquet", _one_after_the_other(learners, facts["rows"]))
    names = Vocabulary(tuple(pd.read_parquet(folder / "names.parquet")["skill"]))
    if facts["items"]:
        items = pd.read_parquet(folder / "items.parquet")
        _whole(folder / "items.parquet", len(items) == facts["items"])
        of_items = tuple(items["skill"].tolist())
        names = dataclasses.replace(names, items=tuple(items["item"]), item_skill=of_items)
    return facts, learners, names


def check_interactions(folder: Path, facts: dict[str, Any], names: Vocabulary) -> None:
    """Check that every number is in its range, piece by piece."""
    path, columns = folder / INTERACTIONS, mapped(folder / INTERACTIONS)
    limits = {"skill": len(names.skills) - 1, "item": len(names.items), "response": 1}
    _whole(path, {n: str(c.dtype) for n, c in columns.items()} == TYPES)
    for name, most in limits.items():
        _whole(path, len(columns[name]) == facts["rows"])
        for begin in range(0, facts["rows"], PIECE):
            part = columns[name][begin : begin + PIECE]
            _whole(path, part.min() >= 0 and part.max() <= most, f": {name}")


def _facts(folder: Path) -> dict[str, Any]:
    facts = json.loads((folder / FACTS).read_text(encoding="utf-8"))
    _whole(folder / FACTS, isinstance(facts, dict))
    if facts.get("version") != VERSION:
        found = facts.get("version")
        raise KTError(f"{folder}: of version {found!r}, not {VERSION}; convert the data again")
    for name, kind in FACT_TYPES.items():
        _whole(folder / FACTS, isinstance(facts.get(name), kind), f": {name}")
    _whole(folder / FACTS, facts["digests"].get(FACTS) == _digest_of_facts(facts))
    try:
        facts["note"] = ReadingNote.from_dict(facts["note"])
        str(facts["note"])
    except (TypeError, ValueError, LookupError, AttributeError):
        _whole(folder / FACTS, False, ": note")
    return facts


def _one_after_the_other(learners: pd.DataFrame, rows: int) -> bool:
    ends = learners["steps"].cumsum()
    begins = ends - learners["steps"]
    there = (learners["first"] == begins).all() and (learners["steps"] > 0).all()
    return bool(there and ends.iloc[-1] == rows and learners["user"].is_unique)


def _digests(folder: Path) -> dict[str, str]:
    return {path.name: sha256(path) for path in sorted(folder.iterdir()) if path.is_file()}


def _digest_of_facts(facts: dict[str, Any]) -> str:
    """Of all facts but itself."""
    digests = {name: d for name, d in facts["digests"].items() if name != FACTS}
    return _digest(facts | {"digests": digests})


def _same_files(folder: Path, digests: Any, own: set[str], way: str) -> None:
    """Raise a KTError unless each of a folder's own files has the digest it was written with."""
    _whole(folder, isinstance(digests, dict), ": digests")
    for name in sorted(own):
        path = folder / name
        if not path.is_file() or sha256(path) != digests.get(name):
            raise KTError(f"{path}: missing, damaged or changed by hand (its digest); {way}")


def _whole(path: Path, good: bool, where: str = "") -> None:
    if not good:
        raise KTError(f"{path}{where}: damaged or changed by hand; convert the data again")


def _check_options(folder: Path, facts: dict[str, Any], config: DataConfig) -> None:
    """Check that the options are those with which the source was converted."""
    was = facts["options"]
    if config.pseudonymise and not was.get("pseudonyms"):
        raise KTError(f"{folder} has the learners' ids; convert the source with --pseudonymise")
    usual = DataConfig()
    for name in OPTIONS:
        asked = getattr(config, name)
        if asked != getattr(usual, name) and asked != was.get(name):
            raise KTError(
                f"{folder} was converted with {name} = {was.get(name)!r}, not {asked!r}; "
                "convert the source again with it"
            )


def _digest(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _key(config: DataConfig, facts: dict[str, Any]) -> str:
    """Hash of everything that decides what is in a split."""
    settings = [VERSION, facts["sources"], facts["options"], facts["rows"], config.fold]
    settings += [config.folds, config.test_fraction, config.split_seed, config.chunk]
    return _digest([*settings, config.min_length])[:12]


def _divide(
    folder: Path, there: Path, learners: pd.DataFrame, config: DataConfig, name: str
) -> None:
    """Write the splits; if two processes do so at once, those of the first are used."""
    there.parent.mkdir(exist_ok=True)
    scratch = there.with_name(f".making-{secrets.token_hex(8)}")  # with the modes of the umask
    scratch.mkdir()
    try:
        _write_splits(folder, scratch, learners, config, name)
        try:
            scratch.rename(there)
        except OSError:
            if not there.is_dir():
                raise
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _write_splits(
    folder: Path, target: Path, learners: pd.DataFrame, config: DataConfig, name: str
) -> None:
    if "fold" in learners:
        fold = given_folds(learners.set_index("user")["fold"], name, config.fold)
    else:
        fold = drawn_folds(learners["user"].to_numpy(), config)
    fold = fold.reindex(learners["user"]).to_numpy()
    masks = split_masks(fold, config)
    source = folder / INTERACTIONS
    number, known = _known_items(mapped(source)["item"], learners[masks["train"]])
    np.save(target / "items.npy", known)
    for split in SPLITS:
        chunks = _chunks(learners, masks[split], config)
        if len(chunks) == 0:
            raise KTError(
                f"{name}: no sequence of at least {config.min_length} steps for the {split} split; "
                "it needs more learners, or other data.fold / data.test_fraction"
            )
        _pack(target / f"{split}.arrow", source, chunks, number)
        chunks.drop(columns="first").to_parquet(target / f"{split}.parquet")
    (target / DIGESTS).write_text(json.dumps(_digests(target)), encoding="utf-8")


def _known_items(item: np.ndarray, training: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """The new number of each item, 0 for those that no training learner met, and the old ones."""
    met = np.zeros(int(item.max(initial=0)) + 1, bool)
    for first, steps in zip(training["first"], training["steps"], strict=True):
        met[item[first : first + steps]] = True
    met[0] = False
    number = np.where(met, np.cumsum(met), 0).astype(np.int32)
    return number, np.flatnonzero(met)


def _chunks(learners: pd.DataFrame, mask: np.ndarray, config: DataConfig) -> pd.DataFrame:
    """One row per chunk: first row, steps, number of the learner, number of the chunk."""
    who = np.flatnonzero(mask)
    steps = learners["steps"].to_numpy()[who]
    count = -(-steps // config.chunk)
    learner = np.repeat(who, count)
    chunk = np.arange(len(learner)) - np.repeat(np.cumsum(count) - count, count)
    first = learners["first"].to_numpy()[learner] + chunk * config.chunk
    length = np.minimum(config.chunk, np.repeat(steps, count) - chunk * config.chunk)
    table = pd.DataFrame({"first": first, "steps": length, "learner": learner, "chunk": chunk})
    return table[table["steps"] >= config.min_length].reset_index(drop=True)


def _pack(path: Path, source: Path, chunks: pd.DataFrame, number: np.ndarray) -> None:
    """Write the interactions of these chunks, one after the other."""
    ends = chunks["steps"].cumsum().to_numpy()
    with ColumnWriter(path, int(ends[-1]), TYPES) as writer:
        piece = (ends - 1) // PIECE
        for _, part in chunks.groupby(piece, sort=True):
            rows = rows_of(part["first"].to_numpy(), part["steps"].to_numpy())
            columns = mapped(source)  # mapped anew, so that the last piece leaves memory
            writer.append(
                skill=columns["skill"][rows],
                item=number[columns["item"][rows]],
                response=columns["response"][rows],
            )


def _read(folder: Path, split: str, learners: pd.DataFrame) -> Sequences:
    chunks = pd.read_parquet(folder / f"{split}.parquet")
    lengths = chunks["steps"].to_numpy()
    present, learner = np.unique(chunks["learner"], return_inverse=True)
    columns = mapped(folder / f"{split}.arrow")
    _whole(folder / f"{split}.arrow", lengths.sum() == len(columns["skill"]) and lengths.min() > 0)
    return Sequences(
        **{name: columns[name] for name in TYPES},
        starts=np.cumsum(lengths) - lengths,
        lengths=lengths,
        learner=learner,
        chunk=chunks["chunk"].to_numpy(),
        learners=learners["user"].to_numpy()[present],
        truth={},
    )
