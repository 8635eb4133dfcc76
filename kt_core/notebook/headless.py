"""Notebooks without a screen: papermill, a private kernel, and errors that reach the user."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from IPython import get_ipython
from traitlets.config import Config

from kt_core.base.errors import KTError, NotebookFailed, reason
from kt_core.base.files import make_folder, write_text
from kt_core.base.places import NOTEBOOKS

KEEP_FAILED = "KT_KEEP_FAILED"  # the variable with a folder for copies of failed notebooks
INTERACTIVE = "interactive"  # the folder of interactive figures, next to the page that links to it
LONGEST = 80  # bytes of a folder's name, which leaves room for the names of sockets in it


def in_jupyterlab() -> bool:
    """Whether this is the kernel of a Jupyter server; False under papermill and in plain Python."""
    shell = get_ipython()
    return hasattr(shell, "kernel") and "JPY_SESSION_NAME" in os.environ


@contextlib.contextmanager
def executed(name: str, parameters: dict[str, Any], quiet: bool = False) -> Iterator[Path]:
    """Run a notebook in a scratch folder; the value is the path of the executed notebook. It shows
    what its cells print, unless `quiet`. `name` is one of ours, or the absolute path of another
    without its ending."""
    from papermill import PapermillExecutionError  # takes seconds to load

    source = NOTEBOOKS / f"{name}.ipynb"
    if not source.is_file():
        raise KTError(f"{source} is missing; install kt-core again, or restore the checkout")
    scratch = Path(tempfile.mkdtemp(prefix="kt_core-"))
    sockets = _short(scratch)
    target, keep = scratch / source.name, False
    if not quiet:
        print(f"running {name} ...", flush=True)
    try:
        _execute(source, target, parameters, sockets, quiet)
        yield target
    except PapermillExecutionError as error:
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
        for folder in {sockets, scratch} - ({scratch} if keep else set()):
            shutil.rmtree(folder, ignore_errors=True)


def keep(notebook: Path, folder: Path, name: str = "") -> None:
    """Copy an executed notebook into the folder of a run, under its own name or another. Its links
    to interactive figures lead from there."""
    target = make_folder(folder / "notebooks") / f"{name or notebook.stem}.ipynb"
    text = notebook.read_text(encoding="utf-8")
    write_text(target, text.replace(f"href='{INTERACTIVE}/", f"href='../{INTERACTIVE}/"))


def _short(scratch: Path) -> Path:
    """The scratch folder, or another where its name is too long for sockets (Linux: 107 bytes)."""
    if len(os.fsencode(scratch)) <= LONGEST:
        return scratch
    return Path(tempfile.mkdtemp(prefix="kt_core-", dir="/tmp"))


def _execute(
    source: Path, target: Path, parameters: dict[str, Any], sockets: Path, quiet: bool
) -> None:
    import papermill

    said = target.parent / "kernel.txt"  # a stopped kernel prints tracebacks about its sockets
    try:
        papermill.execute_notebook(
            _literally(source),
            _literally(target),
            parameters,
            progress_bar=sys.stderr.isatty() and not quiet,
            stdout_file=None if quiet else sys.stdout,
            stderr_file=None if quiet else sys.stderr,
            config=_private_kernel(sockets),
            extra_arguments=_no_configuration(target.parent),
            kernel_manager_class=_own_kernel(said),
        )
    except KeyboardInterrupt:
        # What waits for the kernel fails when it is stopped, and asyncio would print that at exit.
        logging.getLogger("asyncio").disabled = True
        raise
    except RuntimeError as error:  # nbclient's and jupyter_client's, for a kernel that dies
        lines = said.read_text(errors="replace").splitlines() if said.exists() else []
        why = "; ".join(reason(line) for line in (error, *lines[-1:]))
        raise NotebookFailed(
            f"{source.stem} stopped, perhaps because memory was short ({why})"
        ) from None


def _literally(path: Path) -> str:
    """The path with braces escaped, as papermill would fill them with parameters."""
    return str(path).replace("{", "{{").replace("}", "}}")


def _own_kernel(errors: Path) -> type:
    """The manager of a kernel of this very Python, whatever `python3` a user has installed. What
    the process itself prints, rather than a cell, goes to the file `errors`."""
    from jupyter_client.kernelspec import KernelSpecManager
    from jupyter_client.manager import AsyncKernelManager

    class OwnKernel(AsyncKernelManager):
        def _kernel_spec_manager_default(self) -> KernelSpecManager:
            return KernelSpecManager(kernel_dirs=[])

        async def start_kernel(self, **more: Any) -> None:
            with errors.open("a") as file:
                await super().start_kernel(**more, stderr=file)

    return OwnKernel


def _no_configuration(scratch: Path) -> list[str]:
    """A user's startup files and settings for IPython could change a report: the kernel gets an
    empty folder instead."""
    empty = scratch / "ipython"
    empty.mkdir()
    startup = "--InteractiveShellApp.exec_PYTHONSTARTUP=False"
    return [f"--BaseIPythonApplication.ipython_dir={empty}", startup]


def _private_kernel(scratch: Path) -> Config:
    """On Linux, a kernel that listens on sockets in a private folder, not on TCP ports."""
    config = Config()
    if sys.platform == "linux":
        config.KernelManager.transport = "ipc"
        config.KernelManager.connection_file = str(scratch / "kernel.json")
    return config
