"""The consistency report of saved runs, made by its notebook without a screen."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from kt_core.base.errors import KTError
from kt_core.base.files import new_folder
from kt_core.base.locks import locked
from kt_core.notebook.headless import executed, keep
from kt_core.notebook.page import export_html
from kt_core.runs.run import Run

REPORT = "02_consistency_report"
AUDIT = "05_audit"


def write_report(folders: list[Path], split: str = "test", quiet: bool = False) -> Path:
    """Make the report of a run, or compare several, as one HTML page in the first run's folder.

    Parameters
    ----------
    split : test or valid.
    quiet : print nothing meanwhile.

    Raises
    ------
    KTError
        When a folder is named twice, is not a finished run or cannot be written, or when the data
        of a run is not there.
    """
    if len({folder.resolve() for folder in folders}) < len(folders):
        raise KTError("a run is named twice; to compare, name different ones")
    for folder in folders:
        check_writable(folder)
    parameters = {"runs": [str(f.absolute()) for f in folders], "split": split}
    several = len(folders) > 1
    with locked(folders[0]), executed(REPORT, parameters, quiet) as notebook:
        title = "Runs compared" if several else f"Consistency report: {folders[0].name}"
        target = folders[0] / ("comparison.html" if several else "report.html")
        keep(notebook, folders[0], "comparison" if several else REPORT)
        export_html(notebook, target, title)
    return target


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
