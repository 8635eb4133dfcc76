"""One logger for the whole package, silent until a program decides where messages go."""

from __future__ import annotations

import logging
import os
import sys

from kt_core.base.errors import KTError

log = logging.getLogger("kt_core")


class _Output(logging.StreamHandler):
    """A handler of ours."""


class _Once(logging.Filter):
    """Lets a note pass that has not been told before, and every warning."""

    def __init__(self) -> None:
        super().__init__()
        self.told: set[str] = set()

    def filter(self, record: logging.LogRecord) -> bool:
        text = record.getMessage()
        new = text not in self.told or record.levelno > logging.INFO
        self.told.add(text)
        return new


def log_to_output(below_cell: bool = False) -> None:
    """Write messages to the standard error stream, at the level that ``KT_LOG`` names.

    The command line and the notebooks call this; a library must not.

    Parameters
    ----------
    below_cell : of a notebook: on the standard output, which is not shown in red, and a note once;
        in place of an earlier handler of ours, never of the user's.

    Raises
    ------
    KTError
        When ``KT_LOG`` is not the name of a level.
    """
    level = os.environ.get("KT_LOG", "INFO")
    if level not in logging.getLevelNamesMapping():
        raise KTError(f"KT_LOG={level}: choose DEBUG, INFO, WARNING or ERROR")
    if below_cell:
        for old in [h for h in log.handlers if isinstance(h, _Output)]:
            log.removeHandler(old)
    if not log.handlers:
        handler = _Output(sys.stdout if below_cell else None)
        handler.setFormatter(logging.Formatter("%(message)s"))
        if below_cell:
            handler.addFilter(_Once())
        log.addHandler(handler)
        log.setLevel(level)
        log.propagate = False
