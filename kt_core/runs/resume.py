"""Runs that are being trained, and runs whose training has stopped half-way."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from kt_core.base.digests import intact
from kt_core.base.errors import KTError, brief, reason
from kt_core.base.files import read_json
from kt_core.base.locks import in_use, locked
from kt_core.base.log import log
from kt_core.base.state import STATE, free_folder, unfinished, way_on
from kt_core.config import RunConfig
from kt_core.data import Splits
from kt_core.data.kept import IN_RUN, keep
from kt_core.data.pseudonyms import same_key
from kt_core.data.saved import read_configuration
from kt_core.runs.provenance import data_facts, provenance
from kt_core.runs.read import refuse_links, settings_sha256
from kt_core.runs.run import Run

RESUME = "resume.ckpt"  # in the folder `checkpoints`
PARTS = {  # of a checkpoint; the last two are the states of callbacks
    *("loops", "callbacks", "optimizer_states", "loss_sums"),
    *("Checkpoints", "History"),
}


@contextlib.contextmanager
def training_run(
    folder: str | Path, config: RunConfig, splits: Splits, resume: bool = False
) -> Iterator[Run]:
    """A run folder while it trains: one process writes to it, and it records how that ended.

    If the block fails before there is a checkpoint, a new folder is removed. Otherwise it stays, as
    stopped, and can be resumed.

    Raises
    ------
    KTError
        When a new `folder` exists already or cannot be written, or one to resume is not a half-run,
        is in use, or was trained on other data.
    """
    folder = Path(folder)
    if resume:
        half_run(folder)
    else:
        free_folder(folder)
        try:
            (folder / "checkpoints").mkdir(parents=True)
        except OSError as error:
            raise KTError(
                f"{folder.parent}: cannot be written ({error.strerror}); choose --out"
            ) from None
    with locked(folder):
        place = folder.stat()
        origin = provenance(config, splits.dataset)
        if resume:
            origin = _gone_on(folder, origin)
        run = Run(folder, config, splits.vocabulary, origin)
        try:
            if not resume:
                if config.data.path == IN_RUN:
                    origin["data_sha256"] = keep(splits.dataset, folder)
                run.write_json("config.json", {"config": config.to_dict(), **data_facts(splits)})
                v = splits.vocabulary
                if v.items:
                    table = pd.DataFrame({"skill": v.item_skill, "item": v.items})
                    run.write_table("items.csv", table)
            run.write_json("provenance.json", run.provenance)
            run.write_state("training")
            yield run
        except BaseException as error:
            if not folder.is_dir() or not os.path.samestat(place, folder.stat()):
                raise  # it has been moved away; what has its name now is not ours
            if discard_unstarted(folder):
                raise
            _say_why(run, error)
            if isinstance(error, KTError):
                raise KTError(f"{error}\n{way_on(folder)}") from None
            raise


def half_run(folder: str | Path) -> RunConfig:
    """The configuration of a run whose training can be resumed.

    Raises
    ------
    KTError
        When the folder is not a run, is finished, or has no checkpoint.
    """
    folder = Path(folder)
    if not (folder / "config.json").is_file():
        raise KTError(f"{folder} is not a run: it has no config.json")
    if not unfinished(folder):
        raise KTError(f"{folder} is a finished run: there is nothing to resume")
    if in_use(folder):
        raise KTError(f"{folder} is in use by another process")
    if not (folder / "checkpoints" / RESUME).is_file():
        raise KTError(f"{folder}: there is no checkpoint to resume from; remove it and train again")
    refuse_links(folder)
    config = read_configuration(folder)[0]
    settings = _check(folder / "checkpoints" / RESUME)
    if settings and settings != settings_sha256(folder):
        raise KTError(
            f"{folder / 'config.json'}: it has been changed since its training stopped; restore "
            "it, or train anew with the settings that you want"
        )
    return config


def _check(path: Path) -> str:
    """The digest of the settings in a checkpoint, or a KTError for a file that is not a checkpoint
    of tensors and plain values. It may come from elsewhere, so it is read as data and never
    executed."""
    wrong, settings, sealed = "", "", intact(path)
    try:
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        settings = str(content.get("config_sha256", ""))  # version 0.1 kept none
        if not {*content, *content["callbacks"]} >= PARTS:
            wrong = "not a checkpoint of this program"
    except Exception:  # torch has no common class for what damaged files raise
        wrong = "damaged, or not a checkpoint at all"
    if sealed is False or (settings and not sealed):
        wrong = "damaged: its SHA-256 is not what it was"
    if wrong:
        raise KTError(f"{path}: it cannot be resumed from this file ({wrong}); train again")
    return settings


def discard_unstarted(folder: Path) -> bool:
    """Remove what is left of a training without a checkpoint. Return True if it did."""
    half = (folder / STATE).is_file() or (folder / "checkpoints").is_dir()
    if not half or not unfinished(folder) or (folder / "checkpoints" / RESUME).is_file():
        return False
    try:
        shutil.rmtree(folder)
    except OSError as error:  # such as a folder that has become read-only
        log.warning("%s: remove what is left of its training (%s)", folder, reason(error))
    return True


def _say_why(run: Run, error: BaseException) -> None:
    why = str(error) if isinstance(error, KTError) else type(error).__name__
    try:
        why = "interrupted" if isinstance(error, KeyboardInterrupt) else why
        run.write_state("stopped", why=why)
    except KTError as full:  # perhaps a full disk stopped it; it will count as killed
        log.warning("%s: its state cannot be written: %s", run.path, full)


def _gone_on(folder: Path, now: dict[str, Any]) -> dict[str, Any]:
    """The provenance of a run that is resumed now."""
    before = read_json(folder / "provenance.json")
    same_key(before.get("pseudonyms", ""), now["pseudonyms"], str(folder))
    if (was := before.get("data_sha256")) != now["data_sha256"]:
        raise KTError(
            f"{folder}: its data has changed since (checksums {brief(was)} then, "
            f"{now['data_sha256']} now); restore it, or train again"
        )
    changed = {k: now[k] for k in ("git_commit", "packages", "machine") if before.get(k) != now[k]}
    for name in changed:
        log.warning("%s: %s is not what the run began with", folder, name.replace("_", " "))
    resumed = [*before.get("resumed", []), {"created": now["created"], **changed}]
    return before | {"resumed": resumed}
