"""The data sets that have a name, and where their files are found.

Real data is not part of the project. Its files are searched for in ``$KT_DATA_DIR/<name>/`` (or in
``$KT_DATA_DIR`` itself) and in the user's cache, and otherwise downloaded from their public home
and checked against a checksum.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import pandas as pd

from kt_core.base.digests import sha256
from kt_core.base.errors import KTError
from kt_core.base.log import log
from kt_core.config import DataConfig, RunConfig
from kt_core.data.formats.readers import open_source, read_source, read_table, sizes_of
from kt_core.data.pseudonyms import pseudonyms
from kt_core.data.reading import ReadOptions, repeated_answers
from kt_core.data.reading.note import ReadingNote, joined
from kt_core.data.sequences import Splits, make_splits
from kt_core.data.simulate import Simulation, simulate
from kt_core.data.store.read import is_stored, stored_splits
from kt_core.data.table import Dataset
from kt_core.data.worlds import WORLDS

RAW = "https://raw.githubusercontent.com"


@dataclass(frozen=True)
class Public:
    """Files of a public repository at one commit.

    Attributes
    ----------
    files : file name -> SHA-256.
    test_files : the files whose learners are the test split.
    best_auc : an AUC above all published ones; a model that exceeds it has a leak to find.
    """

    about: str
    home: str
    format: str
    files: dict[str, str]
    test_files: tuple[str, ...] = ()
    best_auc: float = 1.0


DATASETS: dict[str, Simulation | Public] = {
    **WORLDS,
    "assist2015": Public(
        "ASSISTments 2015 skill builders, pyKT's split",
        f"{RAW}/pykt-team/pykt-toolkit/f766468f1d3083f737e5fde22a17a08de0d52552/data/assist2015",
        "pykt",
        {
            "train_valid.csv": "83ff2090d1ddaa6295854984733b699b52fa3b656d7c814d6c9da56822964ac7",
            "test.csv": "518d8f6c81d487d5c342eedd9a46b4160c974945247baf16e01b432a3101d154",
        },
        test_files=("test.csv",),
        best_auc=0.74,
    ),
    "assist2009": Public(
        "ASSISTments 2009 skill builders with items, AKT's files",
        f"{RAW}/arghosh/AKT/01b7e8d7d7c862cabc9467108e3e7f2555653a88/data/assist2009_pid",
        "akt",
        {
            f"assist2009_pid_test{part}.csv": digest
            for part, digest in enumerate(
                (
                    "7a1cb2bc8045dbe1016253fdd1dc831b26580638e15a7b7b99c5d7c73d3c3915",
                    "547c17ad179e850edc7a8a8a1e74a2e371e5eaeafcb2c375b7ae53248e733db0",
                    "deb07f638f84e391c170ca3bdc87eb07001c8034e6f5b87817876378b20ff3ee",
                    "b6a8edbe565cfae154ccae93584d69d7bd99a8341ac3e481ea1c569b9239ecc3",
                    "be0b93bd7f94c4d489f2950eb818d2a6d96ebd5ddb2342ee152695d504c40fa5",
                ),
                start=1,
            )
        },
    ),
    "statics2011": Public(
        "Statics 2011, a university course, with items",
        f"{RAW}/theophilee/learner-performance-prediction/"
        "a7ae193aa6957003a764aed7c95b07666fd4f1da/data/statics",
        "long",
        {
            "preprocessed_data.csv": "6633163dc95f3d13fb39efe4e366c905"
            "a3b7f636085e46fe0c815a9f9fdd9d03"
        },
    ),
}


def load_dataset(config: DataConfig) -> Dataset:
    """The data that `config` names: a file, simulated learners, or a public data set.

    Raises
    ------
    KTError
        For an unknown name, an unreadable file, or a download that fails or has a wrong checksum.
    """
    names = pseudonyms() if config.pseudonymise else None
    if config.path:
        path = Path(config.path)
        return read_dataset(path, ReadOptions.of(config, names))
    if config.dataset not in DATASETS:
        raise KTError(
            f"data set {config.dataset!r} does not exist; choose one of: {', '.join(DATASETS)}, "
            "or name a file of your own with --data"
        )
    spec = DATASETS[config.dataset]
    if isinstance(spec, Simulation):
        spec = dataclasses.replace(spec, learners=config.learners, seed=spec.seed + config.draw)
        dataset = simulate(spec, config.dataset)
        note = dataclasses.replace(dataset.note, sizes=sizes_of(dataset.table))
        dataset = dataclasses.replace(dataset, note=note)
        if names:
            table = dataset.table.assign(user=names.of(dataset.table["user"]))
            dataset = dataclasses.replace(dataset, table=table, pseudonyms=names.fingerprint)
        return dataset
    paths = locate(config.dataset)
    options = ReadOptions(spec.format, expand_skills=config.expand_skills, pseudonyms=names)
    parts, notes = [], []
    for path in paths:
        part, note = read_table(path, options)
        if path.name in spec.test_files:
            part["fold"] = -1
        parts.append(part)
        notes.append(note)
    _check_apart(parts, paths)
    whole = pd.concat(parts, ignore_index=True)
    note = dataclasses.replace(joined(notes, config.dataset), sizes=sizes_of(whole))
    return _dataset(config.dataset, whole, note, checksums(tuple(paths)), options)


def read_dataset(
    source: str | Path | pd.DataFrame, options: ReadOptions | None = None, name: str = "table"
) -> Dataset:
    """One's own file, folder or table as a data set.

    >>> dataset = read_dataset(frame, ReadOptions(columns={"user": "StudentID"}))
    >>> print(dataset.note)

    Raises
    ------
    KTError
        When it cannot be read (`kt_core.data.formats.readers.read_table`).
    """
    options = options or ReadOptions()
    found = open_source(source, options, name=name)
    table, note = read_source(found, options)
    if isinstance(source, pd.DataFrame):
        return _dataset(name, table, note, {}, options)
    return _dataset(Path(source).stem, table, note, checksums(found.files, source), options)


def locate(name: str) -> list[Path]:
    """Paths of the files of a public data set, downloaded if they are not on this machine."""
    spec = DATASETS[name]
    assert isinstance(spec, Public)
    folder = os.environ.get("KT_DATA_DIR")
    if folder:
        for base in (Path(folder) / name, Path(folder)):
            if all((base / file).is_file() for file in spec.files):
                return [_verified(base / file, digest) for file, digest in spec.files.items()]
        log.info("%s is not in KT_DATA_DIR=%s; searching the cache", name, folder)
    return [_fetch(name, spec.home, file, digest) for file, digest in spec.files.items()]


def found(name: str) -> str:
    """Where a data set would be read from: built in, a folder, or a download."""
    spec = DATASETS[name]
    if isinstance(spec, Simulation):
        return "built in"
    folder = os.environ.get("KT_DATA_DIR")
    given = [Path(folder) / name, Path(folder)] if folder else []
    for base in (*given, cache(name)):
        if all((base / file).is_file() for file in spec.files):
            return str(base)
    return "to be downloaded"


def best_auc(name: str) -> float:
    """An AUC above all published ones on this data; 1 if none is known."""
    return getattr(DATASETS.get(name), "best_auc", 1.0)


def cache(name: str) -> Path:
    """The folder in the user's cache for one data set."""
    import pooch

    return Path(pooch.os_cache("kt_core")) / name


def checksums(files: tuple[Path, ...], source: str | Path = "") -> dict[str, str]:
    """SHA-256 of each file; of a folder, one of all of them, as their names may be learners."""
    if not Path(source or "-").is_dir():
        return {path.name: sha256(path) for path in files}
    together = hashlib.sha256()
    for path in files:
        together.update(f"{path.name} {sha256(path)}\n".encode())
    return {f"{Path(source).name} ({len(files):,} files)": together.hexdigest()}


def _fetch(name: str, home: str, file: str, digest: str) -> Path:
    import pooch
    import requests

    def only_tls(response: requests.Response, *_: object, **__: object) -> None:
        _check_address(response.headers.get("location", ""))  # before it is followed

    try:
        _check_address(home)
        return Path(
            pooch.retrieve(
                url=f"{home}/{file}",
                known_hash=f"sha256:{digest}",
                fname=file,
                path=cache(name),
                downloader=pooch.HTTPDownloader(timeout=60, hooks={"response": only_tls}),
            )
        )
    except (requests.RequestException, OSError, ValueError) as error:
        raise KTError(
            f"{name}: {file} could not be downloaded from {home}: {error}. Put the file into "
            f"a folder {name}/, and set KT_DATA_DIR to the folder above it"
        ) from None


def _check_address(address: str) -> None:
    """Raise a ValueError for an address without TLS, except on this machine."""
    parts = urlsplit(address)
    if parts.scheme not in ("", "https") and parts.hostname not in ("127.0.0.1", "localhost"):
        raise ValueError(f"{address} is not an https address; downloads need TLS")


def _verified(path: Path, digest: str) -> Path:
    if sha256(path) != digest:
        log.warning("%s differs from the published file (checksum)", path)
    return path


def _dataset(
    name: str,
    table: pd.DataFrame,
    note: ReadingNote,
    sources: dict[str, str],
    options: ReadOptions,
) -> Dataset:
    inflated = options.expand_skills and repeated_answers(table) > 0
    key = options.pseudonyms.fingerprint if options.pseudonyms else ""
    return Dataset(name, table, note, inflated, sources, pseudonyms=key)


def _check_apart(parts: list[pd.DataFrame], paths: list[Path]) -> None:
    seen: dict[str, Path] = {}
    for part, path in zip(parts, paths, strict=True):
        users = part["user"].unique()
        for user in users:
            if user in seen:
                raise KTError(f"learner {user!r} is in two files: {seen[user]} and {path}")
        seen |= dict.fromkeys(users, path)


def read_splits(config: RunConfig) -> Splits:
    """The data that `config` names, split by learner."""
    if is_stored(config.data.path):
        splits = stored_splits(config.data)
    else:
        splits = make_splits(load_dataset(config.data), config.data)
    log.info("%s", splits.dataset.note)
    if splits.dataset.inflated:
        log.warning("answers are repeated once per skill: all results of this run are inflated")
    return splits
