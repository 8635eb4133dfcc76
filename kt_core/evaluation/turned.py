"""An intervention on the evidence: each learner's first answer, turned from wrong to right.

A right first answer says that the learner started higher, so that less of what came later is
growth. A model that then tells *more* growth on the skill books answers as learning. Even for the
posterior mean the share is not 0: where right answers teach, or a start near the bottom has more
room in log-odds than in probability.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd

from kt_core.data.sequences import Sequences, Splits
from kt_core.metrics.bootstrap import Bootstrap, Estimate

RAISED = "first answer turned right raises growth told (share)"
ROUNDING = 1e-6


def turn(sequences: Sequences) -> Sequences:
    """The same histories with every learner's first answer right."""
    response = sequences.response.copy()
    response[sequences.starts[sequences.chunk == 0]] = 1
    return dataclasses.replace(sequences, response=response)


def turn_splits(splits: Splits, split: str) -> Splits:
    """Splits in which one split, and the table, have every first answer right."""
    table = splits.dataset.table.copy()
    table.loc[~table["user"].duplicated(), "correct"] = 1
    dataset = dataclasses.replace(splits.dataset, table=table)
    return dataclasses.replace(splits, dataset=dataset, **{split: turn(getattr(splits, split))})


def growth_raised(
    frame: pd.DataFrame, after: pd.Series | np.ndarray, column: str, bootstrap: Bootstrap
) -> Estimate:
    """Share of learners to whom more growth is told on the skill of their first answer, among those
    whose first answer was wrong and who came back to its skill.

    Parameters
    ----------
    frame : of `Beliefs`, with a trajectory in `column`.
    after : [N], the same trajectory with all first answers right.
    """
    first = (frame["chunk"] == 0) & (frame["step"] == 0) & (frame["correct"] == 0)
    chosen = frame.loc[first, ["learner", "skill"]]
    rows = frame.assign(before=frame[column], after=np.asarray(after))
    rows = rows.merge(chosen, on=["learner", "skill"])
    pairs = rows.groupby("learner")
    growth = (pairs[["before", "after"]].last() - pairs[["before", "after"]].first())[
        pairs.size() >= 2
    ]
    raised = growth["after"] > growth["before"] + ROUNDING
    return bootstrap.row_mean(raised.astype(float), growth.index.to_numpy(int), (0, 1))
