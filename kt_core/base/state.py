"""A run folder's state, whether its weights are whole or its name is free; it loads no model."""

from __future__ import annotations

import os
import shlex
from pathlib import Path

from kt_core.base.digests import sha256
from kt_core.base.errors import KTError, reason
from kt_core.base.files import read_json
from kt_core.base.locks import in_use

STATE = "state.json"
WEIGHTS = "model.safetensors"


def check_run(folder: Path) -> None:
    """Check that a folder is a finished run, with the weights that training wrote.

    Raises
    ------
    KTError
        When it is not.
    """
    check_finished(folder)
    if digest := weights_of(folder):
        check_weights(folder / WEIGHTS, digest)


def check_finished(folder: Path) -> None:
    """Raise a KTError unless a folder is a finished run."""
    if not (folder / "config.json").is_file():
        raise KTError(f"{folder} is not a finished run: it has no config.json")
    if why := unfinished(folder):
        raise KTError(f"{folder} is not a finished run: {why}")


def check_weights(file: Path, digest: str) -> None:
    """Raise a KTError unless a file has this SHA-256."""
    if sha256(file) != digest:
        raise KTError(
            f"{file}: damaged, or not the weights that training wrote (their SHA-256 differs from "
            "the one in state.json); restore the file, or train again"
        )


def weights_of(folder: Path) -> str:
    """The digest of the weights of a finished run; empty where it is not there or not finished."""
    if not (folder / STATE).is_file():
        return ""
    return read_json(folder / STATE).get("weights_sha256", "")


def unfinished(folder: Path) -> str:
    """Why a run folder is not a finished run, and what to do; empty if it is one."""
    if not (folder / STATE).is_file():
        return f"it has no {STATE}"
    state = read_json(folder / STATE)
    if state.get("state") == "finished":
        weights = (folder / WEIGHTS).is_file()
        return "" if weights else "it has no model.safetensors"
    if state.get("state") == "stopped":
        why = reason(state.get("why", "no reason given"), 400)
        return f"its training was stopped ({why}). {way_on(folder)}"
    if in_use(folder):
        return "it is being trained by another process"
    return f"its training was killed. {way_on(folder)}"


def way_on(folder: Path) -> str:
    """How to resume a training that stopped."""
    return (
        f"Resume it with: python -m kt_core train --resume {shlex.quote(str(folder))} "
        "(--end ends it there, with the best weights so far)"
    )


def free_folder(folder: Path) -> None:
    """Raise a KTError if the folder exists already or cannot be written."""
    try:
        there = folder.exists()
        parent = next(p for p in folder.absolute().parents if p.exists())
    except OSError as error:
        raise KTError(
            f"{folder}: cannot be written ({error.strerror}); choose another --out"
        ) from None
    if there:
        half = (folder / STATE).is_file() and unfinished(folder)
        way_out = f": {half}" if half else "; choose another --name or remove it"
        raise KTError(f"{folder} exists already{way_out}")
    if not parent.is_dir() or not os.access(parent, os.W_OK):
        raise KTError(f"{parent}: cannot be written; choose another --out")
