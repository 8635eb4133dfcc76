"""Lists of values in one line of a text file."""

from __future__ import annotations

from pathlib import Path
from sys import intern

from kt_core.base.errors import KTError
from kt_core.data.formats import limits


def listed(text: str) -> list[str]:
    """The values between commas; a comma at the end is allowed."""
    return [intern(part.strip()) for part in text.strip().rstrip(",").split(",")]


def check_entries(path: Path, entries: int, lists: int) -> None:
    """Raise a KTError for more values in `lists` lists than are read into memory."""
    if entries > limits.MOST_ROWS * lists:
        raise KTError(
            f"{path}: more than {limits.MOST_ROWS:,} interactions are not read into memory; split "
            f"the file, or {limits.BY_CONVERT}"
        )
