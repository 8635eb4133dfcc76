"""Notebooks without a screen: papermill, a private kernel, and errors that reach the user."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from IPython import get_ipython
from traitlets.config import Config

from kt_core.base.errors import KTError
from kt_core.base.files import copy, make_folder

KEEP_FAILED = "KT_KEEP_FAILED"  # the variable with a folder for copies of failed notebooks
NOTEBOOKS = Path(__file__).resolve().parents[2] / "notebooks"


class NotebookFailed(RuntimeError):
    """A notebook stopped with an error that the user's input did not cause."""


def in_jupyterlab() -> bool:
    """Whether this is the kernel of a Jupyter server; False under papermill and in plain Python."""
    shell = get_ipython()
    return hasattr(shell, "kernel") and "JPY_SESSION_NAME" in os.environ


@contextlib.contextmanager
def executed(name: str, parameters: dict[str, Any]) -> Iterator[Path]:
    """Run a notebook in a scratch folder; the value is the path of the executed notebook."""
    import papermill  # takes seconds to load

    source = NOTEBOOKS / f"{name}.ipynb"
    if not source.is_file():
        raise KTError(f"{source} is missing; run from a checkout installed with pip install -e")
    scratch = Path(tempfile.mkdtemp(prefix="kt_core-"))
    target, keep = scratch / source.name, False
    print(f"running {name} ...", flush=True)
    try:
        papermill.execute_notebook(
            _literally(source),
            _literally(target),
            parameters,
            progress_bar=sys.stderr.isatty(),
            stdout_file=sys.stdout,
            stderr_file=sys.stderr,
            config=_private_kernel(scratch),
        )
        yield target
    except papermill.PapermillExecutionError as error:
        if folder := os.environ.get(KEEP_FAILED):
            shutil.copyfile(target, Path(folder) / source.name)
        if error.ename == "KTError":
            raise KTError(error.evalue) from None
        keep = True
        raise NotebookFailed(
            f"{name} stopped with {error.ename}: {error.evalue}\n"
            f"the notebook with the traceback: {target}"
        ) from None
    finally:
        if not keep:
            shutil.rmtree(scratch, ignore_errors=True)


def keep(notebook: Path, folder: Path, name: str = "") -> None:
    """Copy an executed notebook into the folder of a run, under its own name or another."""
    target = make_folder(folder / "notebooks") / f"{name or notebook.stem}.ipynb"
    copy(notebook, target)


def _literally(path: Path) -> str:
    """The path with braces escaped, as papermill would fill them with parameters."""
    return str(path).replace("{", "{{").replace("}", "}}")


def _private_kernel(scratch: Path) -> Config:
    """On Linux, a kernel that listens on sockets in the scratch folder, not on TCP ports."""
    config = Config()
    if sys.platform == "linux":
        config.KernelManager.transport = "ipc"
        config.KernelManager.connection_file = str(scratch / "kernel.json")
    return config
