"""Numbers as text: values, intervals and shares, in words where they are not defined."""

from __future__ import annotations

from typing import Any

import numpy as np


def interval(low: float | None, high: float | None, digits: int = 3, percent: bool = False) -> str:
    """An interval as text; empty if it is not defined."""
    if low is None or high is None or not (np.isfinite(low) and np.isfinite(high)):
        return ""
    kind = f".{digits}{'%' if percent else 'f'}"
    return f"[{low:{kind}}, {high:{kind}}]"


def number(value: float | None, digits: int = 3) -> str:
    """A value as text, or "not defined"."""
    return "not defined" if value is None or not np.isfinite(value) else f"{value:.{digits}f}"


def percent(share: float, digits: int = 2) -> str:
    """A share as text in per cent, or "not defined"."""
    return f"{share:.{digits}%}" if np.isfinite(share) else number(share)


def with_interval(row: Any, digits: int = 3) -> str:
    """A row's `value`, `low` and `high` as text, in words where they are not defined."""
    value, ends = number(row["value"], digits), interval(row["low"], row["high"], digits)
    if value == number(None):
        return value
    return f"{value} {ends or '(interval not defined)'}"
