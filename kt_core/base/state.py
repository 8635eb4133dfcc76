"""The state of a run folder, and whether its weights are whole, without loading a model."""

from __future__ import annotations

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
