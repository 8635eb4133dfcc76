"""Learners of one's own as the test split of a run."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from kt_core.base.errors import KTError
from kt_core.base.log import log
from kt_core.config import with_overrides
from kt_core.data import Sequences, Splits
from kt_core.data.sequences import MOST_LEARNERS, out_of_protocol
from kt_core.runs.answers import answers_for
from kt_core.runs.run import Run


def own_learners(
    run: Run,
    splits: Splits,
    data: str | Path | pd.DataFrame,
    reading: dict[str, Any],
    seen: bool,
) -> Splits:
    """The splits of a run with the learners of `data` in place of its test learners.

    Raises
    ------
    KTError
        When it cannot be read, has no long enough history, or has learners on whom the run was
        trained or chosen, unless `seen`.
    """
    dataset = answers_for(run, data, reading)
    config = with_overrides(run.config, reading).data
    steps = dataset.table.groupby("user", sort=False).size().to_numpy()
    note = dataset.note.with_counts(out_of_protocol(steps, config))
    test = Sequences.of(
        dataset.table, run.vocabulary, config.chunk, config.min_length, dataset.note.day
    )
    if len(test) == 0:
        raise KTError(f"{dataset.name}: no learner has {config.min_length} answers on known skills")
    met = {str(u) for part in (splits.train, splits.valid) for u in np.asarray(part.learners)}
    again = [str(u) for u in test.learners if str(u) in met]
    if again and not seen:
        shown = "" if dataset.pseudonyms else f", such as {again[0]!r}"
        raise KTError(
            f"{dataset.name}: {len(again):,} of its {len(test.learners):,} learners are among "
            f"those that {run.path} was trained or chosen on{shown}; leave them out, or report on "
            "them nevertheless with --seen-learners"
        )
    remarks = note.remarks
    if again:
        remarks += (f"{len(again):,} of these learners were trained or chosen on",)
    dataset = dataclasses.replace(dataset, note=dataclasses.replace(note, remarks=remarks))
    log.info("%s", dataset.note)
    return dataclasses.replace(splits, dataset=dataset, test=test.sample(MOST_LEARNERS))
