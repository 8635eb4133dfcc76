"""TODO."""

from __future__ import annotations

from typing import Any

import numpy as np


def interval(low: float | None, high: float | None, digits: int = 3, percent: bool = False) -> str:
    """Text of an interval; empty where there is none."""
    if low is None or high is None or not (np.isfinite(low) and np.isfinite(high)):
        return ""
    kind = f".{digits}{'%' if percent else 'f'}"
    return f"[{low:{kind}}, {high:{kind}}]"


def number(value: float | None, digits: int = 3) -> str:
    """Text of a value, in words where it is not defined."""
    return "not defined" if value is None or not np.isfinite(value) else f"{value:.{digits}f}"


def percent(share: float, digits: int = 2) -> str:
    """Text of a share, in words where it is not defined."""
    return f"{share:.{digits}%}" if np.isfinite(share) else number(share)


def with_interval(row: Any, digits: int = 3) -> str:
    """Text of a row's `value`, `low` and `high`, in words where they are not defined."""
    value, ends = number(row["value"], digits), interval(row["low"], row["high"], digits)
    if value == number(None):
        return value
    return f"{value} {ends or '(interval not defined)'}"
