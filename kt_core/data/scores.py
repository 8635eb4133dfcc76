"""Outside scores of learners, such as a state test: one number per learner.

Two kinds of files: a table with the columns `learner`, `score` and, where known, `group` and
`date`; and the official release of ASSISTments 2017, which repeats a learner's test score, `MCAS`,
in each row, -999 where it is not known. Scores are never part of the answers that a model sees.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from kt_core.base.errors import KTError
from kt_core.base.log import log
from kt_core.base.values import path_of
from kt_core.data.formats.layouts import GENERAL, layout_of
from kt_core.data.formats.tables import names_in, read_columns, usual_columns
from kt_core.data.pseudonyms import Pseudonyms
from kt_core.data.reading.times import SECONDS, UNITS
from kt_core.data.reading.values import MISSING, plain, written

RELEASE, MCAS, UNKNOWN = "ASSISTments 2017", "MCAS", -999
USUAL = {
    "learner": " ".join(GENERAL["user"]),
    "score": "score value testscore",
    "group": "group class classid school schoolid teacher teacherid",
    "date": "date testdate examdate timestamp",
}


def read_scores(
    path: str | Path,
    pseudonyms: Pseudonyms | None = None,
    encoding: str = "utf-8",
    quiet: bool = False,
) -> pd.DataFrame:
    """Read the scores of learners from either kind of file.

    Parameters
    ----------
    pseudonyms : to replace the learners' ids, as those of the answers were.
    quiet : log nothing.

    Returns
    -------
    `learner` (text, written as in a data set), `score` (NaN where it is missing) and, where the
    file has them, `group` (text, empty where it is missing) and `date` (seconds since 1970, NaN
    where it is missing; a day without a time is its first moment, and without a zone it is UTC).
    One row per learner of a release, and one per row of a plain table. `attrs["name"]` says what
    the score is, `attrs["missing"]` how many learners of a release have none.

    Raises
    ------
    KTError
        When it has no column of learners or scores, and, with the line and the value, for an empty
        learner, a score that is not a number, a date that is none, or, in a release, a learner
        with two scores.
    """
    path = path_of("scores", path)
    header = names_in(path, encoding)
    if is_release(header):
        names = {plain(name): name for name in header}
        columns = {"learner": names["studentid"], "score": names[plain(MCAS)]}
        table = release_scores(read_columns(path, columns, encoding), str(path))
    else:
        table = _plain_scores(path, header, encoding)
    if pseudonyms:
        kept = dict(table.attrs)
        table = table.assign(learner=pseudonyms.of(table["learner"]))
        table.attrs.update(kept)
    if not quiet:
        if unused := table.attrs.pop("unused", []):
            log.info("%s: not used: %s", path.name, ", ".join(unused))
        log.info("%s: %s of %s learners", path.name, table.attrs["name"], f"{len(table):,}")
    return table


def is_release(header: list[str]) -> bool:
    """Whether a header is that of the ASSISTments 2017 release, with its test score."""
    return layout_of(header).name == RELEASE and plain(MCAS) in map(plain, header)


def release_scores(rows: pd.DataFrame, source: str) -> pd.DataFrame:
    """The one score of each learner, from rows of text that repeat it.

    Parameters
    ----------
    rows : `learner`, `score`, `line`.
    """
    rows = rows.assign(learner=written(rows["learner"])[0])
    first = rows.drop_duplicates(["learner", "score"])
    first = first.assign(score=_numbers(first, source)).drop_duplicates(["learner", "score"])
    twice = first[first["learner"].duplicated(keep=False)]
    if len(twice):
        learner = twice["learner"].iloc[0]
        both = twice[twice["learner"] == learner]
        raise KTError(
            f"{source}, line {both['line'].iloc[1]}: learner {learner!r} has two scores in {MCAS}: "
            f"{both['score'].iloc[0]:g} and {both['score'].iloc[1]:g}; give one score per learner"
        )
    known = first["score"] != UNKNOWN
    table = first.loc[known, ["learner", "score"]].reset_index(drop=True)
    table.attrs.update(name=MCAS, missing=int((~known).sum()))
    return table


def _plain_scores(path: Path, header: list[str], encoding: str) -> pd.DataFrame:
    columns = usual_columns(path, header, USUAL, {}, "")
    absent = [part for part in ("learner", "score") if part not in columns]
    if absent:
        raise KTError(
            f"{path}: no column {absent[0]}; scores have the columns learner, score and, if known, "
            f"group and date. The file has {', '.join(header)}; name one of them {absent[0]}"
        )
    rows = read_columns(path, columns, encoding)
    rows["learner"] = written(rows["learner"])[0]
    empty = rows["learner"].isin(MISSING)
    if empty.any():
        raise KTError(f"{path}, line {rows['line'][empty.idxmax()]}: the learner is empty")
    missing = rows["score"].str.strip().isin(MISSING)
    rows["score"] = _numbers(rows[~missing], str(path)).reindex(rows.index)
    if "group" in rows:
        group = rows["group"].str.strip()
        rows["group"] = group.where(~group.isin(MISSING), "")
    if "date" in rows:
        rows["date"] = seconds_since_1970(rows["date"], rows["line"], str(path))
    table = rows.drop(columns="line")
    unused = [name for name in header if name not in columns.values()]
    table.attrs.update(name=columns["score"], missing=0, unused=unused)
    return table


def _numbers(rows: pd.DataFrame, source: str) -> pd.Series:
    number = pd.to_numeric(rows["score"].str.strip(), errors="coerce").astype(float)
    wrong = ~np.isfinite(number)
    if wrong.any():
        at = wrong.idxmax()
        raise KTError(
            f"{source}, line {rows['line'][at]}: score {rows['score'][at]!r} is not a number; "
            "leave out learners without a score"
        )
    return number


def seconds_since_1970(text: pd.Series, line: pd.Series, source: str) -> pd.Series:
    """Dates as ISO 8601 writes them, and numbers of the epoch, as seconds since 1970; NaN where
    they are missing.

    Raises
    ------
    KTError
        For a text that is neither; `line` says where it is.
    """
    text = text.str.strip()
    missing = text.isin(MISSING)
    number = pd.to_numeric(text.where(~missing), errors="coerce").astype(float)
    day = text.where(~missing & number.isna())
    stamp = pd.to_datetime(day, format="ISO8601", errors="coerce", utc=True)
    since = (stamp - pd.Timestamp(0, tz="UTC")).dt.total_seconds()
    seconds = epoch_seconds(number).fillna(since)
    wrong = ~missing & seconds.isna()
    if wrong.any():
        at = wrong.idxmax()
        raise KTError(
            f"{source}, line {line[at]}: date {text[at]!r} is not a date such as "
            "2017-05-31 or a time in seconds since 1970"
        )
    return seconds


def epoch_seconds(values: pd.Series) -> pd.Series:
    """Times in seconds, milliseconds, microseconds or nanoseconds since 1970 as seconds; NaN for
    numbers that are none of them between 1998 and 2103."""
    values = values.astype(float)
    seconds = pd.Series(np.nan, values.index)
    for unit in UNITS.values():
        seconds = seconds.fillna((values / unit).where((values / unit).between(*SECONDS)))
    return seconds
