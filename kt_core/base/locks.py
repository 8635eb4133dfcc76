"""One process at a time in a folder.

The lock is on the folder itself. It ends with its process, even a killed one, and leaves no file
behind.
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
    """Lock the folder during the block.

    Parameters
    ----------
    busy : the message for a second process.

    Raises
    ------
    KTError
        When another process holds the lock.
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
    """Whether a process, perhaps this one, has locked the folder."""
    with _opened(folder) as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def wait_for(folder: Path) -> None:
    """Wait until no process has locked the folder."""
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
