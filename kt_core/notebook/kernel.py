"""A kernel that runs notebooks without a screen, one after the other, and loads libraries once."""

from __future__ import annotations

import gc
import logging
import os
import shutil
import sys
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from IPython import get_ipython

from kt_core.base.errors import NotebookFailed, reason

if TYPE_CHECKING:
    from jupyter_client.asynchronous.client import AsyncKernelClient
    from jupyter_client.manager import AsyncKernelManager

LONGEST = 80  # bytes of a folder's name, which leaves room for the names of sockets in it
PATIENCE = 300  # seconds in which a kernel may start and load its modules


class Kernel:
    """A kernel of this very Python, whatever `python3` and whatever settings a user has.

    It starts with its first notebook, or before (`start`), and ends with the block. Each notebook
    finds what a new kernel would have: an empty namespace, no figures, this process's environment.
    What the one before held is freed. A notebook that fails or is stopped takes the kernel with
    it, and the next one starts another.

    Parameters
    ----------
    modules : to load as it starts.

    Attributes
    ----------
    environment : variables of notebooks on top of those of this process. Some have an effect only
        before the kernel starts, such as OMP_NUM_THREADS.
    """

    def __init__(
        self, modules: Iterable[str] = (), environment: Mapping[str, str] | None = None
    ) -> None:
        self.environment = dict(environment or {})
        self._modules = tuple(modules)
        self._folder = Path()
        self._manager: AsyncKernelManager | None = None
        self._client: AsyncKernelClient | None = None

    def __enter__(self) -> Kernel:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def start(self) -> None:
        """Start the process unless it runs. It gets ready while this one does something else."""
        from jupyter_core.utils import run_sync

        if self._manager is not None:
            if run_sync(self._manager.is_alive)():
                return
            self.close()
        self._folder = _folder()
        self._manager = _manager(self._folder)
        with self._errors.open("a") as errors:
            run_sync(self._manager.start_kernel)(
                env=dict(os.environ) | self.environment,
                stderr=errors,
                extra_arguments=[*_settings(self._folder), *_loading(self._modules)],
            )

    def execute(
        self, source: Path, target: Path, parameters: dict[str, Any], log: TextIO | None
    ) -> None:
        """Run a notebook, and write it with its results to `target`.

        Parameters
        ----------
        log : where its cells print; None for nowhere.

        Raises
        ------
        PapermillExecutionError
            When a cell fails.
        NotebookFailed
            When the kernel dies.
        """
        import papermill  # takes seconds to load

        self.start()
        printed = self._errors.stat().st_size
        try:
            papermill.execute_notebook(
                _literally(source),
                _literally(target),
                parameters,
                engine_name=_engine(),
                progress_bar=log is sys.stdout and sys.stderr.isatty(),
                stdout_file=log,
                stderr_file=sys.stderr if log is sys.stdout else log,
                kernel=self,
            )
        except RuntimeError as error:  # nbclient's and jupyter_client's, for a kernel that dies
            lines = self._errors.read_bytes()[printed:].decode(errors="replace").splitlines()
            why = "; ".join(reason(line) for line in (error, *lines[-1:]))
            self.close()
            raise NotebookFailed(
                f"{source.stem} stopped, perhaps because memory was short ({why})"
            ) from None
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt | SystemExit):
                # What waits for the kernel fails when it is stopped, and asyncio would print that.
                logging.getLogger("asyncio").disabled = True
            self.close(gently=True)
            raise

    def run(self, notebook: Any, **more: Any) -> None:
        """Run what papermill has prepared."""
        from papermill.clientwrap import PapermillNotebookClient

        client = PapermillNotebookClient(
            notebook, km=self._manager, startup_timeout=PATIENCE, **more
        )
        client.kc = self._client
        if self._client is None:
            self._client = client.start_new_kernel_client()
        code = "from kt_core.notebook import kernel; kernel.forget("
        code += f"{dict(os.environ) | self.environment!r})"
        reply = client.wait_for_reply(self._client.execute(code, silent=True))["content"]
        if reply["status"] != "ok":
            raise RuntimeError(f"{reply['ename']}: {reply['evalue']}")
        client.execute()

    def close(self, gently: bool = False) -> None:
        """Stop the kernel.

        Parameters
        ----------
        gently : interrupt what it does, and let it clean up first.
        """
        from jupyter_core.utils import run_sync

        async def stop(manager: AsyncKernelManager, client: AsyncKernelClient | None) -> None:
            if manager.has_kernel:
                await manager.shutdown_kernel(now=not gently)
            if client is not None:
                client.stop_channels()

        if self._manager is None:
            return
        try:
            run_sync(stop)(self._manager, self._client)
        finally:
            self._manager = self._client = None
            shutil.rmtree(self._folder, ignore_errors=True)

    @property
    def _errors(self) -> Path:
        """The file of what the process prints outside of cells, such as the tracebacks of one that
        is stopped, about its sockets."""
        return self._folder / "kernel.txt"


def forget(environment: Mapping[str, str]) -> None:
    """In the kernel: free what a notebook has left, so that the next one finds nothing of it."""
    os.environ.update(environment)
    if pyplot := sys.modules.get("matplotlib.pyplot"):
        pyplot.close("all")
    get_ipython().reset()
    gc.collect()


def _engine() -> str:
    """The name by which papermill knows the engine that runs a notebook in a `Kernel`."""
    from papermill.engines import Engine, papermill_engines

    class KernelEngine(Engine):
        @classmethod
        def execute_managed_notebook(cls, nb_man, kernel_name, *, kernel, **more):
            del more["input_path"], more["start_timeout"]
            kernel.run(nb_man, **more)

    papermill_engines.register("kt_core", KernelEngine)
    return "kt_core"


def _literally(path: Path) -> str:
    """The path with braces escaped, as papermill would fill them with parameters."""
    return str(path).replace("{", "{{").replace("}", "}}")


def _folder() -> Path:
    """A new folder; under /tmp where the usual place has too long a name for sockets (Linux: 107
    bytes)."""
    usual = Path(tempfile.gettempdir(), "kt_core-xxxxxxxx")
    place = None if len(os.fsencode(usual)) <= LONGEST else "/tmp"
    return Path(tempfile.mkdtemp(prefix="kt_core-", dir=place))


def _manager(folder: Path) -> AsyncKernelManager:
    """The manager of a kernel of this Python. On Linux it listens on sockets in a private folder,
    not on TCP ports."""
    from jupyter_client.kernelspec import KernelSpecManager
    from jupyter_client.manager import AsyncKernelManager

    sockets = {"transport": "ipc", "connection_file": str(folder / "kernel.json")}
    return AsyncKernelManager(
        kernel_name="python3",
        kernel_spec_manager=KernelSpecManager(kernel_dirs=[]),
        **(sockets if sys.platform == "linux" else {}),
    )


def _settings(folder: Path) -> list[str]:
    """A user's startup files and settings for IPython could change a report: the kernel gets an
    empty folder instead, and keeps no history."""
    empty = folder / "ipython"
    empty.mkdir()
    startup = "--InteractiveShellApp.exec_PYTHONSTARTUP=False"
    history = "--HistoryManager.hist_file=:memory:"
    return [f"--BaseIPythonApplication.ipython_dir={empty}", startup, history]


def _loading(modules: Iterable[str]) -> list[str]:
    return [f"--InteractiveShellApp.exec_lines=import {module}" for module in modules]
