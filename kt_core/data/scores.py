"""Scores from outside the data, such as of an exam: one per learner."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from kt_core.base.errors import KTError, brief, reason
from kt_core.data.formats.layouts import GENERAL
from kt_core.data.reading.times import SECONDS, UNITS
from kt_core.data.reading.values import MISSING, plain, written

USUAL = {
    "learner": " ".join(GENERAL["user"]).split(),
    "score": ["score"],
    "group": ["group", "class", "classid", "school", "schoolid", "teacher", "teacherid"],
    "date": ["date", "testdate", "examdate", "timestamp"],
}


def read_scores(path: str | Path) -> pd.DataFrame:
    """Read a CSV file with one row per learner.

    Returns
    -------
    `learner` (text), `score` (NaN where it is missing), and where the file has them `group` (text,
    empty where it is missing) and `date` (seconds since 1970, NaN where it is missing; a day
    without a time is its first moment, and without a zone it is UTC).

    Raises
    ------
    KTError
        When it cannot be read, has no column of learners or scores, or a value is not what its
        column should hold.
    """
    path = Path(path)
    try:
        raw = pd.read_csv(path, dtype=str, keep_default_na=False)
    except (OSError, ValueError) as error:  # pandas' parsing errors are ValueErrors
        raise KTError(f"{path}: cannot be read as a CSV file ({reason(error)})") from None
    found = {}
    for part, usual in USUAL.items():
        fits = [name for name in raw if plain(name) in usual]
        exact = [name for name in fits if plain(name) == part]
        if len(fits) > 1 and len(exact) != 1:
            raise KTError(f"{path}: {', '.join(fits)} could all be the {part}; keep one of them")
        if fits:
            found[part] = (exact or fits)[0]
        elif part in ("learner", "score"):
            has = ", ".join(map(brief, raw.columns))
            raise KTError(f"{path}: no column {part}; it has {has}. Name one of them {part}")
    table = pd.DataFrame({part: written(raw[name])[0] for part, name in found.items()})
    _refuse(path, table["learner"] == "", table["learner"], "learner", "the id of a learner")
    table["score"] = _numbers(path, table["score"])
    if "date" in table:
        table["date"] = _seconds(path, table["date"])
    return table


def _numbers(path: Path, text: pd.Series) -> pd.Series:
    missing = text.isin(MISSING)
    number = pd.to_numeric(text.where(~missing), errors="coerce").astype(float)
    _refuse(path, ~missing & ~np.isfinite(number), text, "score", "a number")
    return number


def _seconds(path: Path, text: pd.Series) -> pd.Series:
    """Dates as ISO 8601 writes them, and numbers of the epoch, as seconds since 1970."""
    missing = text.isin(MISSING)
    number = pd.to_numeric(text.where(~missing), errors="coerce").astype(float)
    day = text.where(~missing & number.isna())
    stamp = pd.to_datetime(day, format="ISO8601", errors="coerce", utc=True)
    since = (stamp - pd.Timestamp(0, tz="UTC")).dt.total_seconds()
    seconds = epoch_seconds(number).fillna(since)
    way = "a date such as 2017-05-31 or a time in seconds since 1970"
    _refuse(path, ~missing & seconds.isna(), text, "date", way)
    return seconds


def epoch_seconds(values: pd.Series) -> pd.Series:
    """Times in seconds, milliseconds, microseconds or nanoseconds since 1970 as seconds; NaN for
    numbers that are none of them between 1998 and 2103."""
    values = values.astype(float)
    seconds = pd.Series(np.nan, values.index)
    for unit in UNITS.values():
        seconds = seconds.fillna((values / unit).where((values / unit).between(*SECONDS)))
    return seconds


def _refuse(path: Path, wrong: pd.Series, text: pd.Series, part: str, wanted: str) -> None:
    if wrong.any():
        row = int(np.argmax(wrong.to_numpy()))
        raise KTError(f"{path}, row {row + 1}: {part} {brief(text.iloc[row])} is not {wanted}")
