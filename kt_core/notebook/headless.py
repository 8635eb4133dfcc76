"""Notebooks without a screen: papermill, a kernel of ours, and errors that reach the user."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

from IPython import get_ipython

from kt_core.base.errors import KTError, NotebookFailed
from kt_core.base.files import make_folder, write_text
from kt_core.base.places import NOTEBOOKS
from kt_core.notebook.kernel import Kernel

INTERACTIVE = "interactive"  # the folder of interactive figures, next to the page that links to it
OUTPUT = "output.txt"  # what cells print, in a folder that is given


def in_jupyterlab() -> bool:
    """Whether this is the kernel of a Jupyter server; False under papermill and in plain Python."""
    shell = get_ipython()
    return hasattr(shell, "kernel") and "JPY_SESSION_NAME" in os.environ


@contextlib.contextmanager
def executed(
    name: str,
    parameters: dict[str, Any],
    quiet: bool = False,
    kernel: Kernel | None = None,
    folder: Path | None = None,
) -> Iterator[Path]:
    """Run a notebook; the value is the path of the executed notebook.

    Parameters
    ----------
    name : one of ours, or the absolute path of another without its ending.
    quiet : do not show what its cells print.
    kernel : where it runs; without, in a kernel of its own.
    folder : where the executed notebook stays, even if it fails, and `OUTPUT` with what its cells
        print instead of showing it; without, it is in a scratch folder during the block.

    Raises
    ------
    KTError
        When a cell raises one.
    NotebookFailed
        When a cell fails with another error, or the kernel dies.
    """
    from papermill import PapermillExecutionError  # takes seconds to load

    source = NOTEBOOKS / f"{name}.ipynb"
    if not source.is_file():
        raise KTError(f"{source} is missing; install kt-core again, or restore the checkout")
    place = folder or Path(tempfile.mkdtemp(prefix="kt_core-"))
    target, stays = place / source.name, folder is not None
    try:
        with _log(quiet, folder) as log:
            if log is not None:
                print(f"running {name} ...", file=log, flush=True)
            with contextlib.nullcontext(kernel) if kernel else Kernel() as used:
                used.execute(source, target, parameters, log)
        yield target
    except PapermillExecutionError as error:
        if error.ename == "KTError":
            raise KTError(error.evalue) from None
        stays = True
        raise NotebookFailed(
            f"{name} stopped with {error.ename}: {error.evalue}\n"
            f"the notebook with the traceback: {target}"
        ) from None
    finally:
        if not stays:
            shutil.rmtree(place, ignore_errors=True)


def keep(notebook: Path, folder: Path) -> None:
    """Copy an executed notebook into the folder of a run. Its links to interactive figures lead
    from there."""
    target = make_folder(folder / "notebooks") / notebook.name
    text = notebook.read_text(encoding="utf-8")
    write_text(target, text.replace(f"href='{INTERACTIVE}/", f"href='../{INTERACTIVE}/"))


def _log(quiet: bool, folder: Path | None) -> contextlib.AbstractContextManager[TextIO | None]:
    if folder is not None:
        return (folder / OUTPUT).open("a", encoding="utf-8")
    return contextlib.nullcontext(None if quiet else sys.stdout)
