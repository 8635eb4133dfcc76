"""`predict` of many learners, some at a time, in several processes."""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from kt_core.base import signals
from kt_core.base.files import formulas, write_tables
from kt_core.data import Dataset
from kt_core.data.store.pieces import AT_ONCE, groups
from kt_core.learners.predict import predict
from kt_core.runs.run import Run

RUN: Run | None = None  # of this worker


@dataclass
class Written:
    """What `write_each` has written.

    Attributes
    ----------
    formulas : names that a spreadsheet would compute.
    """

    path: Path
    learners: int = 0
    masteries: int = 0
    formulas: set[str] = field(default_factory=set)


def write_each(
    run: Run, pieces: Iterable[Dataset], path: str | Path, every_skill: bool, jobs: int
) -> Written:
    """Write `predict` of all pieces as one table, Parquet or CSV by its name.

    Raises
    ------
    KTError
        As of `predict_each`, and where the table cannot be written.
    """
    told = Written(Path(path))

    def counted() -> Iterator[pd.DataFrame]:
        for table in predict_each(run, pieces, every_skill, jobs):
            told.learners += table["learner"].nunique()
            told.masteries += len(table)
            told.formulas |= formulas(table)
            yield table

    write_tables(counted(), path)
    return told


def pieces_of(dataset: Dataset, at_once: int = AT_ONCE) -> Iterator[Dataset]:
    """A data set in tables of whole learners, of about so many answers each."""
    user = dataset.table["user"]
    firsts = np.append(np.flatnonzero(user.ne(user.shift())), len(user))
    for a, b in groups(np.diff(firsts), at_once):
        table = dataset.table.iloc[firsts[a] : firsts[b]].reset_index(drop=True)
        yield dataclasses.replace(dataset, table=table)


def predict_each(
    run: Run, pieces: Iterable[Dataset], every_skill: bool = False, jobs: int = 1
) -> Iterator[pd.DataFrame]:
    """`predict` of each piece, in order. Only some pieces are in memory at a time.

    Parameters
    ----------
    jobs : processes that share the work and the cores; each loads the run by itself.

    Raises
    ------
    KTError
        As of `predict`.
    """
    if jobs == 1:
        yield from (predict(run, piece, every_skill) for piece in pieces)
        return
    threads = max(torch.get_num_threads() // jobs, 1)
    waiting: collections.deque = collections.deque()
    with signals.workers(jobs, _begin, run.path, threads) as submit:
        for piece in pieces:
            waiting.append(submit(_predict, piece, every_skill))
            if len(waiting) > 2 * jobs:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def _begin(path: Path, threads: int) -> None:
    """Make this process a worker."""
    global RUN
    torch.set_num_threads(threads)
    RUN = Run.load(path)


def _predict(piece: Dataset, every_skill: bool) -> pd.DataFrame:
    return predict(RUN, piece, every_skill)
