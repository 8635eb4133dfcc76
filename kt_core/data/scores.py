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
from kt_core.data.reading.values import MISSING, each, plain, written

RELEASE, MCAS, UNKNOWN = "ASSISTments 2017", "MCAS", -999
USUAL = {
    "learner": " ".join(GENERAL["user"]),
    "score": "score value testscore",
    "group": "group class",
    "date": "date testdate",
}


def read_scores(
    path: str | Path, pseudonyms: Pseudonyms | None = None, encoding: str = "utf-8"
) -> pd.DataFrame:
    """Read the scores of learners from either kind of file.

    Parameters
    ----------
    pseudonyms : to replace the learners' ids, as those of the answers were.

    Returns
    -------
    One row per learner: `learner` (text, written as in a data set), `score` (a finite number) and,
    where the file has them, `group` (text) and `date` (datetime64). `attrs["name"]` says what the
    score is, `attrs["missing"]` how many learners of a release have none.

    Raises
    ------
    KTError
        With the line and the value: for a column that has no meaning here, an empty learner, a
        score that is not a number, a date that is not year-month-day, a learner with two rows, or,
        in a release, with two scores.
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
    others = [name for name in header if name not in columns.values()]
    if absent or others:
        wrong = f"no column {absent[0]}" if absent else f"column {others[0]!r} has no meaning here"
        raise KTError(
            f"{path}: {wrong}; scores have the columns learner, score and, if known, group and "
            f"date. The file has {', '.join(header)}; rename or drop columns"
        )
    rows = read_columns(path, columns, encoding)
    rows["learner"] = written(rows["learner"])[0]
    empty = rows["learner"].isin(MISSING)
    if empty.any():
        raise KTError(f"{path}, line {rows['line'][empty.idxmax()]}: the learner is empty")
    rows["score"] = _numbers(rows, str(path))
    twice = rows["learner"].duplicated()
    if twice.any():
        at = twice.idxmax()
        raise KTError(
            f"{path}, line {rows['line'][at]}: learner {rows['learner'][at]!r} has two rows; give "
            "one score per learner"
        )
    if "date" in rows:
        rows["date"] = _dates(rows, str(path))
    table = rows.drop(columns="line")
    table.attrs.update(name=columns["score"], missing=0)
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


def _dates(rows: pd.DataFrame, source: str) -> pd.Series:
    date = pd.to_datetime(each(rows["date"], str.strip), format="%Y-%m-%d", errors="coerce")
    if date.isna().any():
        at = date.isna().idxmax()
        raise KTError(
            f"{source}, line {rows['line'][at]}: date {rows['date'][at]!r} is not a date such as "
            "2011-06-30"
        )
    return date
