"""SIGTERM, which clusters send before they take a machine back, ends a command as Ctrl-C does.

A command asks the processes that it has started to end and clean up, and waits for them.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from concurrent.futures import Future

TERMINATED = 128 + signal.SIGTERM  # the exit code, as shells count
PATIENCE = 20  # seconds in which a child may clean up; clusters often give 30


class Sigterm:
    """During the block, SIGTERM raises KeyboardInterrupt; a second one does not stop the clean-up.

    Attributes
    ----------
    came : whether there was one.
    """

    def __init__(self) -> None:
        self.came = False
        self._before: Any = None

    def __enter__(self) -> Sigterm:
        if threading.current_thread() is threading.main_thread():  # others cannot set handlers
            self._before = signal.signal(signal.SIGTERM, self._stop)
        return self

    def __exit__(self, *_: object) -> None:
        if self._before is not None:
            signal.signal(signal.SIGTERM, self._before)

    def _stop(self, *_: object) -> None:
        if not self.came:
            self.came = True
            raise KeyboardInterrupt


def obey_parent() -> None:
    """In a worker: SIGTERM, which its parent sends, ends it, and Ctrl-C is left to the parent.

    A worker whose parent was killed ends too; otherwise it would wait for work forever.
    """

    def stop(*_: object) -> None:
        signal.signal(signal.SIGTERM, lambda *_: None)
        raise SystemExit(TERMINATED)

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, lambda *_: None)  # children, unlike with SIG_IGN, heed it
    threading.Thread(target=_end_after_parent, daemon=True).start()


@contextmanager
def workers(
    jobs: int, begin: Callable[..., Any], *arguments: Any
) -> Iterator[Callable[..., Future[Any]]]:
    """`submit` of fresh processes, each of which first calls `begin`. After an error they end, and
    no further call begins."""
    from concurrent.futures import ProcessPoolExecutor  # every command loads this module

    spawn = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(jobs, spawn, initializer=_begin, initargs=(begin, *arguments))
    try:
        yield lambda function, *given: pool.submit(_until_stopped, function, *given)
    except BaseException:
        for worker in multiprocessing.active_children():
            worker.terminate()
        raise
    finally:
        pool.shutdown(cancel_futures=True)


def _begin(begin: Callable[..., Any], *arguments: Any) -> None:
    obey_parent()
    begin(*arguments)


def _until_stopped(function: Callable[..., Any], *arguments: Any) -> Any:
    """Call a function in a worker of a pool. If SIGTERM ends the call, it ends the worker, too: the
    pool would keep it, and give it a call that waits already."""
    try:
        return function(*arguments)
    except SystemExit:
        os._exit(TERMINATED)


def _end_after_parent() -> None:
    if parent := multiprocessing.parent_process():
        parent.join()
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(PATIENCE + 5)
    os._exit(TERMINATED)  # a pool's worker catches SystemExit, and waits for the next call
