"""One process at a time in a folder.

The lock is on the folder itself and ends with its holder, even where that is killed; it leaves no
file behind.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from kt_core.base.errors import KTError


@contextlib.contextmanager
def locked(folder: Path, busy: str = "") -> Iterator[None]:
    """Hold the folder.

    Parameters
    ----------
    busy : what to say to who comes second.

    Raises
    ------
    KTError
        When another process holds it.
    """
    with _opened(folder) as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise KTError(
                busy or f"{folder} is in use by another process; wait until it has ended"
            ) from None
        yield


def in_use(folder: Path) -> bool:
    """Whether a process holds the folder, this one included."""
    with _opened(folder) as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def wait_for(folder: Path) -> None:
    """Return when no process holds the folder any more."""
    with _opened(folder) as handle:
        fcntl.flock(handle, fcntl.LOCK_SH)


@contextlib.contextmanager
def _opened(folder: Path) -> Iterator[int]:
    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError as error:
        raise KTError(f"{folder}: cannot be opened ({error.strerror})") from None
    try:
        yield handle
    finally:
        os.close(handle)
