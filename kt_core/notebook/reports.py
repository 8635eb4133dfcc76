"""The consistency report of saved runs, made by its notebook without a screen."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from kt_core.base import own
from kt_core.base.errors import KTError
from kt_core.base.files import new_folder
from kt_core.base.locks import locked
from kt_core.base.log import log as said
from kt_core.data.same import check_named_once
from kt_core.notebook.headless import executed, keep
from kt_core.notebook.kernel import Kernel
from kt_core.notebook.page import export_html
from kt_core.runs.find import check_split
from kt_core.runs.run import Run

REPORT, AUDIT, COMPARISON = "02_consistency_report", "05_audit", "09_comparison"


def write_report(
    folders: list[Path],
    split: str = "test",
    quiet: bool = False,
    kernel: Kernel | None = None,
    log: Path | None = None,
) -> Path:
    """Make the report of a run, or compare several, as one HTML page in the first run's folder.

    Parameters
    ----------
    split : test or valid.
    quiet : print nothing meanwhile.
    kernel, log : where the notebook runs, and the `folder` where it stays, as in `executed`.

    Raises
    ------
    KTError
        When a folder or a name is there twice, a folder is not a finished run or cannot be written,
        when the data of a run is not there, or when runs that are compared are not about the same
        answers.
    """
    check_named_once(folders)
    check_split(split)
    for folder in folders:
        check_writable(folder)
    first, named = folders[0], [str(folder.absolute()) for folder in folders]
    name, page, title = REPORT, "report.html", f"Consistency report: {first.name}"
    parameters = {"run": named[0], "split": split}
    if len(folders) > 1:
        name, page, title = COMPARISON, "comparison.html", "Runs compared"
        parameters = {"runs": named, "split": split}
    _warn_of_own_measures()
    with locked(first), executed(name, parameters, quiet, kernel, log) as notebook:
        keep(notebook, first)
        return export_html(notebook, first / page, title)


def _warn_of_own_measures() -> None:
    """Say which measures of the user's own the report's process cannot know."""
    here = [name for name, one in own.of(own.MEASURE).items() if one.home is None]
    if here:
        said.warning(
            "not in the report: %s. A report is made in a process of its own; define the function "
            "in a module, and register it from there",
            ", ".join(f"measure {name!r}" for name in here),
        )


def write_audit_report(
    parameters: dict[str, Any], folder: Path, title: str, quiet: bool = False
) -> Path:
    """Audit estimates of mastery, and write the page `report.html` with its figures and numbers
    into a new folder.

    Parameters
    ----------
    parameters : of the notebook, without `out`.
    """
    with (
        new_folder(folder) as partial,
        executed(AUDIT, parameters | {"out": str(partial)}, quiet) as notebook,
    ):
        export_html(notebook, partial / "report.html", title)
    return folder / "report.html"


def check_writable(folder: Path) -> None:
    """Raise a KTError unless a folder is a finished run and can be written."""
    Run.load(folder)
    if not os.access(folder, os.W_OK):
        raise KTError(f"{folder}: cannot be written")
