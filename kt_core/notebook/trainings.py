"""Trainings, by their notebook without a screen."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from kt_core.base.errors import NotebookFailed
from kt_core.base.locks import in_use
from kt_core.base.state import unfinished, way_on
from kt_core.notebook.headless import executed, keep
from kt_core.notebook.kernel import Kernel
from kt_core.runs.resume import discard_unstarted

TRAIN = "01_train"


def train_in_notebook(
    folder: Path,
    parameters: dict[str, Any],
    kernel: Kernel | None = None,
    log: Path | None = None,
) -> Path:
    """Train as the parameters of the notebook say, or resume; return the run folder.

    Parameters
    ----------
    folder : of the run.
    kernel, log : where the notebook runs, and the `folder` where it stays, as in `executed`.

    Raises
    ------
    KTError
        For impossible settings, a folder that exists, or a half-run that cannot be resumed.
    NotebookFailed
        When the notebook stops with another error.
    KeyboardInterrupt
        With how to resume, if something of the training was kept.
    """
    try:
        with executed(TRAIN, parameters, kernel=kernel, folder=log) as notebook:
            keep(notebook, folder)
    except KeyboardInterrupt:
        if discarded(folder):
            raise
        raise KeyboardInterrupt(way_on(folder)) from None
    except NotebookFailed as error:
        if discarded(folder) or not unfinished(folder):
            raise
        raise NotebookFailed(f"{error}\n{way_on(folder)}") from None
    finally:
        discarded(folder)
    return folder


def discarded(folder: Path) -> bool:
    """Remove what a kernel left that died at once. Return True if nothing is left of a training."""
    there = folder.is_dir() and not in_use(folder)
    return discard_unstarted(folder) if there else not folder.is_dir()
