"""The model next to the best simple model, on every real data set and in every world, in one view.

The simple model is the best of the ladder on the same test learners, chosen for each place and
measure, which favours it. Differences are paired over learners.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

from kt_core.data.registry import DATASETS
from kt_core.data.worlds import worlds as all_worlds
from kt_core.evaluation.exam import ON_ASKED
from kt_core.metrics.bootstrap import Estimate
from kt_core.plots.overview import GROWTH, TRAJECTORY
from kt_core.report.text import estimate, number
from kt_core.report.verdicts import PROSPECTIVE
from kt_core.studies.benchmark import paired, summary
from kt_core.studies.worlds import RMSE, SIZE, best_rung, difference, estimate_of

SIMPLE = ("Rasch", "AFM", "BKT-correct", "PFA", "Best-LR")
OTHERS = ("retentive", "taught", "DKT", "AKT", *SIMPLE)  # in the table, beside the model
JUDGED = {  # measure and variant, by what readers call it
    "test AUC": ("AUC", ""),
    "prospective validity": (PROSPECTIVE, "pooled"),
    "exam": (ON_ASKED, "pooled"),
}


def real_sets(results: pd.DataFrame) -> list[str]:
    """The data sets of real learners that have cells, in the order of the registry."""
    return [name for name in DATASETS if name in set(results["dataset"]) - set(all_worlds())]


def real_table(results: pd.DataFrame, model: str = "retrospective") -> pd.DataFrame:
    """Every real data set, and what models have there, by measure (fold 0, means over seeds).

    The model stands with its interval over learners, and its paired difference to the best simple
    model. Models without a cell are left blank.
    """
    lines = []
    for data, measure, own, rung, gap in _judged(results, model):
        digits, e = 4 if measure == "test AUC" else 3, own.loc[model]
        line = {"data": data, "measure": measure}
        line[model] = estimate(e["mean"], e["low"], e["high"], digits)
        if rung:
            told = estimate(gap.value, gap.low, gap.high, digits, sign="+")
            line["minus the best simple model"] = f"{told} ({rung})"
        there = [m for m in OTHERS if m in own.index and m != model]
        lines.append(line | {m: number(own.loc[m, "mean"], digits) for m in there})
    table = pd.DataFrame(lines).fillna("")
    return table[[c for c in table if c not in OTHERS] + [m for m in OTHERS if m in table]]


def advantages(
    results: pd.DataFrame, found: pd.DataFrame, model: str = "retrospective"
) -> pd.DataFrame:
    """For the figure: how far the model is ahead of the best simple one, and the size of growth.

    Parameters
    ----------
    results : cells of the benchmark.
    found : cells of the worlds; may be empty.

    Returns
    -------
    `panel` (a name of `JUDGED`, `TRAJECTORY` or `GROWTH`), `place` (data set or world), `rung` (the
    simple model), `value`, `low`, `high`: above 0 the model is better; in `GROWTH` 1 is right.
    """
    lines = []
    for data, measure, _, rung, gap in _judged(results, model):
        if rung:
            lines.append((measure, data, rung, gap.value, gap.low, gap.high))
    for world in found["dataset"].unique():
        rows = found[found["dataset"] == world]
        if not (rows["model"] == model).any():
            continue
        if rung := best_rung(rows, RMSE, "retrospective", min):
            gap = difference(rows, RMSE, "retrospective", model, rung)
            lines.append((TRAJECTORY, world, rung, -gap.value, -gap.high, -gap.low))
        size = estimate_of(rows, SIZE, model)
        lines.append((GROWTH, world, "", size.value, size.low, size.high))
    table = pd.DataFrame(lines, columns=["panel", "place", "rung", "value", "low", "high"])
    return table.dropna(subset="value").reset_index(drop=True)


def _judged(
    results: pd.DataFrame, model: str
) -> Iterator[tuple[str, str, pd.DataFrame, str, Estimate]]:
    """Every real data set and measure that the model has: the values of all models there, the
    simple model with the highest one (empty where there is none), and the difference to it."""
    for data in real_sets(results):
        rows = results[results["dataset"] == data]
        for measure, (name, variant) in JUDGED.items():
            own = summary(rows, name, variant)
            if own.empty or model not in (own := own.set_index("model")).index:
                continue
            simple = own.loc[own.index.intersection(SIMPLE), "mean"].dropna()
            rung = str(simple.idxmax()) if len(simple) else ""
            gap = paired(rows, data, name, model, rung, variant) if rung else Estimate(np.nan)
            yield data, measure, own, rung, gap
