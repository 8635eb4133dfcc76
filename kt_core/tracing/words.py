"""Words of a Python call next to those of the command line, which messages of all rooms use."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator

from kt_core.base.errors import KTError
from kt_core.config import meanings

DATA = ("encoding", "kc_model", "skill_separator", "skill_level", "missing_as_text", "pseudonymise")
IN_PYTHON = {
    "--column": "columns={'skill': 'NAME'}",
    "--mastery-column": "mastery_columns={'mastery': 'NAME'}",
    "--seen-learners": "seen=True",
    "--name": "another folder",
    "--out": "another folder",
    **{f"--{name.replace('_', '-')}": f"**{{'data.{name}': ...}}" for name in DATA},
}


@contextlib.contextmanager
def in_python() -> Iterator[None]:
    """Say in Python's words too what a message tells to write on the command line."""
    try:
        yield
    except KTError as error:
        options = dict.fromkeys(re.findall(r"--[a-z][a-z-]+", str(error)))
        words = [f"{IN_PYTHON[name]} for {name}" for name in options if name in IN_PYTHON]
        if not words:
            raise
        raise KTError(f"{error}\n(in Python: {'; '.join(words)})") from None


def reading(columns: dict[str, str] | None) -> dict[str, dict[str, str]]:
    """The settings for a table whose columns are named."""
    return {"data.columns": meanings(columns)} if columns is not None else {}
