"""The data sets that have a name, and where their files are found.

Real data is not part of the project. Its files are searched for in ``$KT_DATA_DIR/<name>/`` (or in
``$KT_DATA_DIR`` itself) and in the user's cache, and otherwise downloaded from their public home
and checked against a checksum.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
from pathlib import Path
from urllib.parse import urlsplit

import pandas as pd

from kt_core.base.digests import sha256
from kt_core.base.errors import KTError
from kt_core.base.log import log
from kt_core.config import DataConfig, RunConfig
from kt_core.data.formats.memphis import practice_source
from kt_core.data.formats.names import with_names
from kt_core.data.formats.readers import open_source, read_source, read_table, sizes_of
from kt_core.data.formats.tables import names_in
from kt_core.data.kept import is_kept, read_kept
from kt_core.data.pseudonyms import Pseudonyms, pseudonyms
from kt_core.data.public import PUBLIC, Public
from kt_core.data.reading import ReadOptions, repeated_answers
from kt_core.data.reading.note import ReadingNote, joined
from kt_core.data.scores import RELEASE, is_release, read_scores
from kt_core.data.sequences import Splits, make_splits
from kt_core.data.simulate import Simulation, simulate
from kt_core.data.store.read import is_stored, stored_splits
from kt_core.data.table import Dataset
from kt_core.data.worlds import WORLDS, worlds

DATASETS: dict[str, Simulation | Public] = {
    **WORLDS,
    **PUBLIC,
}


def datasets() -> dict[str, Simulation | Public]:
    """`DATASETS`, and the worlds that a user registered."""
    return DATASETS | worlds()


def load_dataset(config: DataConfig, table: pd.DataFrame | None = None) -> Dataset:
    """The data that `config` names: a file, simulated learners, or a public data set.

    Parameters
    ----------
    table : answers in memory, in place of what is named; they are read as a file would be.

    Raises
    ------
    KTError
        For an unknown name, an unreadable file, or a download that fails or has a wrong checksum.
    """
    path = Path(config.path)
    if table is None and is_kept(path):
        return read_kept(path)
    names = pseudonyms() if config.pseudonymise else None
    if table is not None or config.path:
        return read_dataset(path if table is None else table, ReadOptions.of(config, names))
    if config.dataset not in (known := datasets()):
        raise KTError(
            f"data set {config.dataset!r} does not exist; choose one of: {', '.join(known)}, "
            "or name a file of your own with --data"
        )
    spec = known[config.dataset]
    if isinstance(spec, Simulation):
        spec = dataclasses.replace(spec, learners=config.learners, seed=spec.seed + config.draw)
        dataset = simulate(spec, config.dataset)
        note = dataclasses.replace(dataset.note, sizes=sizes_of(dataset.table))
        dataset = dataclasses.replace(dataset, note=note)
        if names:
            table = dataset.table.assign(user=names.of(dataset.table["user"]))
            dataset = dataclasses.replace(dataset, table=table, pseudonyms=names.fingerprint)
        return dataset
    return _public(config.dataset, spec, config.expand_skills, names)


def _public(name: str, spec: Public, expand_skills: bool, names: Pseudonyms | None) -> Dataset:
    """A public data set: its files, put together."""
    paths = locate(name)
    options = ReadOptions(spec.format, expand_skills=expand_skills, pseudonyms=names)
    answers = [path for path in paths if path.name != spec.names]
    parts, notes = [], []
    for path in answers:
        if spec.format == "memphis":
            part, note = read_source(practice_source(path, options), options)
        else:
            part, note = read_table(path, options)
        if path.name in spec.test_files:
            part["fold"] = -1
        parts.append(part)
        notes.append(note)
    _check_apart(parts, answers)
    whole = pd.concat(parts, ignore_index=True)
    note = joined(notes, name)
    if spec.names:
        names_file = next(path for path in paths if path.name == spec.names)
        whole, note = with_names(whole, note, names_file)
    note = dataclasses.replace(note, sizes=sizes_of(whole))
    return _dataset(name, whole, note, checksums(tuple(paths)), options)


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
    sources = checksums(found.files, source)
    dataset = _dataset(Path(source).stem, table, note, sources, options)
    return _with_scores(dataset, Path(source), options) if found.format == RELEASE else dataset


def _with_scores(dataset: Dataset, path: Path, options: ReadOptions) -> Dataset:
    """With the learners' test scores, where the file has them."""
    if not is_release(names_in(path, options.encoding)):
        return dataset
    scores = read_scores(path, options.pseudonyms, options.encoding)
    name, missing = scores.attrs["name"], scores.attrs["missing"]
    remark = (
        f"{name} is a test score of {len(scores):,} learners ({missing:,} without one), kept apart "
        f"from the answers; compare a run with it: python -m kt_core criterion RUN --scores "
        f"{path.name}"
    )
    note = dataclasses.replace(dataset.note, remarks=(*dataset.note.remarks, remark))
    return dataclasses.replace(dataset, note=note, scores=scores)


def locate(name: str) -> list[Path]:
    """Paths of the files of a public data set, downloaded if they are not on this machine."""
    spec = datasets()[name]
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
    spec = datasets()[name]
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


def splits_of(config: RunConfig, table: pd.DataFrame | None = None) -> Splits:
    """`read_splits`, without a word."""
    if table is None and is_stored(config.data.path):
        return stored_splits(config.data, config.parts)
    return make_splits(load_dataset(config.data, table), config.data, config.parts)


def read_splits(config: RunConfig, table: pd.DataFrame | None = None) -> Splits:
    """The data that `config` names, or a `table` in its place, split by learner.

    Examples
    --------
    >>> read_splits(kt.configure("smoke", "simulated"))
    <simulated: ... training, ... validation and ... test learners>
    """
    splits = splits_of(config, table)
    log.info("%s", splits.dataset.note)
    if splits.dataset.inflated:
        log.warning("answers are repeated once per skill: all results of this run are inflated")
    return splits
