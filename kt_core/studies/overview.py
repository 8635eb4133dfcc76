"""The model next to the best simple model, on every real data set and in every world, in one view.

The simple model is the best of the ladder on the same test learners, chosen for each place and
measure, which favours it. Differences are paired over learners.
"""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from kt_core.data.registry import DATASETS
from kt_core.data.worlds import worlds as all_worlds
from kt_core.evaluation.exam import ON_ASKED
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
TRAJECTORY, GROWTH = "error of the trajectory", "growth by the truth's"


def real_sets(results: pd.DataFrame) -> list[str]:
    """The data sets of real learners that have cells, in the order of the registry."""
    return [name for name in DATASETS if name in set(results["dataset"]) - set(all_worlds())]


def real_table(results: pd.DataFrame, model: str = "retrospective") -> pd.DataFrame:
    """Every real data set, and what models have there, by measure (fold 0, means over seeds).

    The model stands with its interval over learners, and its paired difference to the best simple
    model. Models without a cell are left blank.
    """
    lines = []
    for data, measure, rows in _places(results, model):
        digits = 4 if measure == "test AUC" else 3
        own = summary(rows, *JUDGED[measure]).set_index("model")
        line = {"data": data, "measure": measure}
        e = own.loc[model]
        line[model] = estimate(e["mean"], e["low"], e["high"], digits)
        if rung := _best(own):
            gap = paired(rows, data, JUDGED[measure][0], model, rung, JUDGED[measure][1])
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
    for data, measure, rows in _places(results, model):
        own = summary(rows, *JUDGED[measure]).set_index("model")
        if rung := _best(own):
            gap = paired(rows, data, JUDGED[measure][0], model, rung, JUDGED[measure][1])
            lines.append((measure, data, rung, gap.value, gap.low, gap.high))
    for world in found["dataset"].unique() if len(found) else ():
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


def _places(results: pd.DataFrame, model: str) -> Iterator[tuple[str, str, pd.DataFrame]]:
    """Every real data set and measure that the model has, with the cells there."""
    for data in real_sets(results):
        rows = results[results["dataset"] == data]
        for measure, (name, variant) in JUDGED.items():
            part = summary(rows, name, variant)
            if len(part) and (part["model"] == model).any():
                yield data, measure, rows


def _best(own: pd.DataFrame) -> str:
    """The simple model with the highest value; empty where there is none."""
    simple = own.loc[own.index.intersection(SIMPLE), "mean"].dropna()
    return str(simple.idxmax()) if len(simple) else ""
