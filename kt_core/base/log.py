"""One logger for the whole package, silent until a program decides where messages go."""

from __future__ import annotations

import logging
import os

from kt_core.base.errors import KTError

log = logging.getLogger("kt_core")


def log_to_output() -> None:
    """Write messages to the standard error stream, at the level that ``KT_LOG`` names.

    The command line and the notebooks call this; a library must not.

    Raises
    ------
    KTError
        When ``KT_LOG`` is not the name of a level.
    """
    level = os.environ.get("KT_LOG", "INFO")
    if level not in logging.getLevelNamesMapping():
        raise KTError(f"KT_LOG={level}: choose DEBUG, INFO, WARNING or ERROR")
    if not log.handlers:
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter("%(message)s"))
        log.addHandler(handler)
        log.setLevel(level)
        log.propagate = False
