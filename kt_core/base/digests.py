"""SHA-256 of files, by which a single changed bit is noticed."""

from __future__ import annotations

import hashlib
import mmap
from pathlib import Path

MARK = b"\nsha256:"
TAIL = len(MARK) + 64


def sha256(path: str | Path) -> str:
    """The digest of a file, in hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def seal(path: str | Path) -> None:
    """Append the digest of a file to the file itself.

    Both are then replaced in one step, so that a kill cannot separate them. PyTorch, as any reader
    of zip, ignores what comes after the archive.
    """
    digest = sha256(path)
    with open(path, "ab") as file:
        file.write(MARK + digest.encode())


def intact(path: str | Path) -> bool | None:
    """Whether a file is as it was when it was sealed; None if it has no seal."""
    if Path(path).stat().st_size < TAIL:
        return None
    with (
        open(path, "rb") as file,
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content,
    ):
        tail = content[-TAIL:]
        if not tail.startswith(MARK):
            return None
        with memoryview(content) as whole, whole[:-TAIL] as body:
            return hashlib.sha256(body).hexdigest().encode() == tail[len(MARK) :]
