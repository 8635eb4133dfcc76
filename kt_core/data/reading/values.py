"""Single values of a source: what is missing, what is right, and how ids and names are written.

Rows are handled block by block; nothing here depends on other rows.
"""

from __future__ import annotations

import ast
import json
import re
import unicodedata
from collections.abc import Callable

import numpy as np
import pandas as pd

from kt_core.base.errors import KTError

MISSING = frozenset(("", "NA", "N/A", "#N/A", "NaN", "nan", "NULL", "null", "None", "<NA>"))
MISSING |= {"#REF!", "#VALUE!", "#DIV/0!", "#NAME?", "#NULL!", "#NUM!"}  # of spreadsheets
LOOKS_MISSING = frozenset((".", "-", "--", "?", "n/a", "na", "none", "Null", "Na", "missing"))
INVISIBLE = re.compile("[\ufeff\u200b\u200c\u2060\u00ad]")
RIGHT = {"1", "1.0", "true", "t", "yes", "y", "correct", "right"}
HINT = "hint"
HIGHEST_FOLD = 10_000
WRONG = {"0", "0.0", "false", "f", "no", "n", "incorrect", "wrong", HINT}

Show = Callable[[object], str]  # how a value of the source appears in a message


def hidden(_: object) -> str:
    """What messages show instead of a value that might be a learner's id."""
    return "(not shown: data.pseudonymise)"


def plain(name: object) -> str:
    """A column's name without case, blanks, hyphens, underscores and invisible characters."""
    return re.sub(r"[\s_.-]+", "", INVISIBLE.sub("", str(name))).lower()


def each(text: pd.Series, change: Callable[[str], str]) -> pd.Series:
    """The column with every different value changed once."""
    codes, values = pd.factorize(text)
    return pd.Series(np.array([change(v) for v in values], object)[codes], text.index, object)


def numbers(text: pd.Series) -> pd.Series:
    """The column as numbers, with every different value read once; NaN where it is none."""
    codes, values = pd.factorize(text)
    read = pd.to_numeric(pd.Series(values, dtype=object), errors="coerce")
    return pd.Series(read.to_numpy(float)[codes], text.index)


def written(text: pd.Series) -> tuple[pd.Series, np.ndarray, np.ndarray]:
    """Ids or names without blanks around them or invisible characters, and with composed
    characters (NFC).

    Returns
    -------
    The column, and in which rows something was trimmed, and something composed.
    """
    trimmed = each(text, lambda t: t.strip() if t.isascii() else INVISIBLE.sub("", t).strip())
    composed = each(trimmed, lambda t: t if t.isascii() else unicodedata.normalize("NFC", t))
    return composed, (trimmed != text).to_numpy(), (composed != trimmed).to_numpy()


def responses(
    text: pd.Series, line: pd.Series, source: str, show: Show, comma: bool = False
) -> pd.Series:
    """Responses as numbers from 0 to 1.

    Parameters
    ----------
    comma : whether a comma is a decimal point.

    Raises
    ------
    KTError
        For anything else, with the line.
    """
    lower = each(text, lambda t: t.strip().lower())
    if comma:
        lower = each(lower, lambda t: t.replace(",", "."))
    known = dict.fromkeys(RIGHT, 1.0) | dict.fromkeys(WRONG, 0.0)
    value = numbers(lower)
    value = value.where(np.isfinite(value)).where(~lower.isin(known.keys()), lower.map(known))
    bad = ~value.between(0, 1)
    if bad.any():
        at = bad.idxmax()
        raise KTError(
            f"{source}, line {line[at]}: response {show(text[at])} is not 0 or 1; "
            "name another column with --column (data.columns), or clean the file"
        )
    return value


def folds(text: pd.Series, line: pd.Series, source: str, show: Show) -> pd.Series:
    """Folds as whole numbers from -1, the test split.

    Raises
    ------
    KTError
        For anything else, with the line.
    """
    value = numbers(text)
    bad = ~(value.between(-1, HIGHEST_FOLD) & (value % 1 == 0))
    if bad.any():
        at = bad.idxmax()
        raise KTError(
            f"{source}, line {line[at]}, column fold: {show(text[at])} is not a whole "
            f"number from -1 (the test split) to {HIGHEST_FOLD:,}; correct the column or drop it"
        )
    return value.astype(int)


# --- several skills in one value ----------------------------------------------------------------

AND = "+"  # between the skills of one answer, in our own names
LONGEST_LIST = 10_000  # characters
NUMPY_ENTRY = re.compile(r"'([^']*)'|\"([^\"]*)\"|(-?\d+(?:\.\d+)?)")
NUMPY_LIST = re.compile(rf"^\[\s*(?:{NUMPY_ENTRY.pattern})(?:\s+(?:{NUMPY_ENTRY.pattern}))+\s*\]$")
ALWAYS = ("~~", ";")  # separators in any long table


def combined(skills: set[str] | frozenset[str]) -> str:
    """The name of a set of skills, in an order that does not depend on theirs."""
    return AND.join(sorted(skills, key=lambda s: (len(s), s)))


def parts_of(text: str, separators: tuple[str, ...] = ALWAYS) -> list[str]:
    """The skills that a value lists: JSON lists, numbers between commas, and separators.

    A value without a separator, or with an empty part, is one skill.
    """
    lists = ALWAYS[-1] in separators  # formats with a separator of their own have no lists
    if lists and text[:1] == "[" and text[-1:] == "]" and len(text) <= LONGEST_LIST:
        listed = _list(text)
        if listed is not None:
            return listed
    for separator in separators:
        if separator in text:
            parts = [p.strip() for p in text.split(separator)]
            parts = [p for p in parts if p] if separator in ALWAYS else parts
            if all(parts):
                return [q for p in parts for q in parts_of(p, separators)]
    if lists and "," in text:
        parts = [p.strip() for p in text.split(",")]
        if all(p.isdecimal() for p in parts):
            return parts
    return [text]


def _list(text: str) -> list[str] | None:
    """The entries of a list as JSON, Python or NumPy writes it."""
    if NUMPY_LIST.match(text):
        values = [a or b or c for a, b, c in NUMPY_ENTRY.findall(text)]
    else:
        values = _loaded(text)
    if not isinstance(values, list):
        return None
    values = [v for v in values if v is not None]
    if not all(isinstance(v, str | int | float) and not isinstance(v, bool) for v in values):
        return None
    return [p for p in (str(v).strip() for v in values) if p]


def _loaded(text: str) -> object:
    for load in (json.loads, ast.literal_eval):
        try:
            return load(text)
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            continue
    return None
