"""The exceptions of the package: they say what went wrong, where, and how to correct it."""

from __future__ import annotations

import reprlib
from typing import Any


class KTError(ValueError):
    """Bad input or configuration, worded for the person who can correct it.

    Characters that would steer a terminal are written as escapes.

    Examples
    --------
    >>> kt.configure("quickly")
    Traceback (most recent call last):
    kt_core.base.errors.KTError: preset 'quickly' does not exist; choose one of: smoke, quick, ...
    """

    def __init__(self, message: object = ""):
        super().__init__(printable(str(message)))


class NotebookFailed(RuntimeError):
    """A notebook stopped with an error that the user's input did not cause."""


class _Brief(reprlib.Repr):
    def __init__(self) -> None:
        super().__init__()
        self.maxstring = self.maxother = 100
        self.maxlevel = 2

    def repr_int(self, x: int, level: int) -> str:
        """Python itself refuses to print integers with thousands of digits."""
        return repr(x) if x.bit_length() < 1000 else f"a whole number of {x.bit_length():,} bits"


def printable(text: str) -> str:
    """The text with every character that cannot be printed, but line ends, as an escape."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c == "\n" else repr(c)[1:-1] for c in text)


def one_line(text: str, most: int = 60) -> str:
    """A name from a file for a message or a note: in one line, and not too long."""
    text = printable(text).replace("\n", "\\n")
    return text if len(text) <= most else f"{text[: most - 3]}..."


def reason(error: object, most: int = 200) -> str:
    """The message of a library's error, or another text, in one line of at most `most` characters.

    Characters that a terminal would obey, or that hide others, are escaped.
    """
    return printable(" ".join(str(error)[: 4 * most].split()))[:most]


def brief(value: Any) -> str:
    """A user's value for a message: its `repr`, but never more than a few lines."""
    if type(value).__module__ == "numpy" and getattr(value, "ndim", 1) == 0:
        value = value.item()
    return _Brief().repr(value)[:400]
