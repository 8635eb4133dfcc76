"""A score next to others for the same outcome: values, intervals and paired differences."""

from __future__ import annotations

import numpy as np
import pandas as pd

from kt_core.metrics.bootstrap import Bootstrap


def paired_table(
    draws: dict[str, np.ndarray], entries: int, learners: int, bootstrap: Bootstrap
) -> pd.DataFrame:
    """One row per score; the first one is the model's, the others are rungs of a ladder.

    Parameters
    ----------
    draws : name -> the measure for each row of the bootstrap's weights, [R+1].
    entries, learners : on which all of them are measured.

    Returns
    -------
    `predictor`, `kind` (model or rung), `value`, `low`, `high`, `gap`, `gap_low`, `gap_high` (the
    model minus this row, on the same resamples), `entries`, `learners`, `draws`.
    """
    own, table = next(iter(draws.values())), []
    for name, values in draws.items():
        e, gap = (bootstrap.estimate(x, entries, learners) for x in (values, own - values))
        row = {"predictor": name, "kind": "rung" if table else "model"}
        row |= {"value": e.value, "low": e.low, "high": e.high}
        row |= {"gap": gap.value, "gap_low": gap.low, "gap_high": gap.high}
        table.append(row | {"entries": entries, "learners": learners, "draws": values})
    return pd.DataFrame(table)
