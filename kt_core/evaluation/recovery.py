"""Recovery of the truth on simulated learners: mastery and growth, next to their ceilings.

Filtered mastery is compared with the filter's ceiling and the trajectory with the smoother's: the
posterior means under the simulator's true parameters (`kt_core.evaluation.ceiling`). *Growth* is
mastery after a learner's last opportunity on a skill minus that after the first, along the
trajectory. Its null is the number of practices.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd

from kt_core.evaluation.beliefs import Beliefs, believed_last, ends
from kt_core.metrics.association import Association, rank_correlation
from kt_core.metrics.bootstrap import Bootstrap, Estimate, tidy
from kt_core.uncertainty import Uncertainty, coverage

BINS = {"2 or 3 practices": (2, 3), "4 to 7": (4, 7), "8 or more": (8, 10**9)}
PRACTICES = "number of practices"
OFTEN = BINS["8 or more"][0]
HELD = "share of 95 % intervals that hold the truth"
POINTS = 0.1  # an error in growth that a teacher would notice


def recovery_table(
    beliefs: Beliefs, bootstrap: Bootstrap, uncertainty: Uncertainty | None = None
) -> pd.DataFrame:
    """Simulated learners only: mastery and growth against the truth; empty otherwise.

    Returns
    -------
    `quantity`, `sees`, `predictor` (model, ceiling, and for growth the number of practices),
    `value`, `low`, `high`, `draws`.
    """
    frame = beliefs.frame
    if not (beliefs.has("true_mastery") and beliefs.has("mastery_post")):
        return pd.DataFrame()
    looks = {"post": ("mastery_post", "ceiling_post")}
    looks["retrospective"] = (believed_last(frame), "ceiling_last")
    table = []
    for sees, (own, ceiling) in looks.items():
        found = [("model", own)] + ([("ceiling", ceiling)] if beliefs.has(ceiling) else [])
        for predictor, column in found:
            e = {
                "mastery, rank correlation": _rank_correlation(frame, column, bootstrap),
                "mastery, RMSE": rmse(frame, column, bootstrap),
                "mastery, mean error": mean_error(frame, column, bootstrap),
            }
            if sees == "retrospective":
                e |= growth_recovery(grown(frame, column), bootstrap)
            table.append(tidy(e, "quantity").assign(sees=sees, predictor=predictor))
    null = practices_null(grown(frame, looks["retrospective"][0]), bootstrap)
    table.append(tidy(null, "quantity").assign(sees="retrospective", predictor=PRACTICES))
    if uncertainty is not None:
        table += intervals_table(frame, bootstrap, uncertainty)
    return pd.concat(table, ignore_index=True)


def intervals_table(
    frame: pd.DataFrame, bootstrap: Bootstrap, uncertainty: Uncertainty
) -> list[pd.DataFrame]:
    """How often the 95 % intervals of filtered state, trajectory and growth hold the truth."""
    found = {"post": {}, "retrospective": {}}
    for sees, at in (("post", "post"), ("retrospective", "last")):
        share = coverage(frame, uncertainty, at=at)
        found[sees][f"mastery, {HELD}"] = bootstrap.row_mean(share, frame["learner"], (0, 1))
    pairs = grown(frame, "mastery_last")
    known = pd.MultiIndex.from_frame(pairs[["learner", "skill"]])
    low, high = uncertainty.growth(*(end.loc[known] for end in ends(frame)))
    pairs["held"] = (pairs["truth"].to_numpy() >= low) & (pairs["truth"].to_numpy() <= high)
    for name, part in (
        (f"growth, {HELD}", pairs),
        (f"growth, {HELD}, 8 or more practices", pairs[pairs["practices"] >= OFTEN]),
    ):
        held = part["held"].astype(float)
        found["retrospective"][name] = bootstrap.row_mean(held, part["learner"], (0, 1))
    return [
        tidy(estimates, "quantity").assign(sees=sees, predictor="model")
        for sees, estimates in found.items()
    ]


def rmse(frame: pd.DataFrame, column: str, bootstrap: Bootstrap) -> Estimate:
    """Root mean square error of a column of mastery against the truth."""
    squared = (frame[column] - frame["true_mastery"]) ** 2
    e = bootstrap.row_mean(squared, frame["learner"], (0, 1))
    roots = {name: np.sqrt(getattr(e, name)) for name in ("value", "low", "high", "draws")}
    return dataclasses.replace(e, **roots)


def mean_error(frame: pd.DataFrame, column: str, bootstrap: Bootstrap) -> Estimate:
    """Mean of believed minus true mastery."""
    return bootstrap.row_mean(frame[column] - frame["true_mastery"], frame["learner"], (-1, 1))


def grown(frame: pd.DataFrame, column: str) -> pd.DataFrame:
    """Growth of each learner on each skill that was practised twice or more.

    Returns
    -------
    `learner`, `skill`, `told` (by `column`), `truth`, `practices`.
    """
    pairs = frame.groupby(["learner", "skill"])
    ends = pairs[[column, "true_mastery"]]
    table = (ends.last() - ends.first()).assign(practices=pairs.size())
    table = table.rename(columns={column: "told", "true_mastery": "truth"})
    return table[table["practices"] >= 2].reset_index()


def growth_recovery(pairs: pd.DataFrame, bootstrap: Bootstrap) -> dict[str, Estimate]:
    """How well growth is told: ranks, also among pairs of the same skill with about as many
    practices, size, also by the number of practices, and errors that a teacher would notice."""
    learner, told, truth = pairs["learner"], pairs["told"], pairs["truth"]
    estimates = {
        "growth, rank correlation": _ranks(pairs, told, bootstrap),
        "growth, rank correlation, same skill and practices": _within(pairs, told, bootstrap),
        "growth, mean": bootstrap.row_mean(told, learner, (-1, 1)),
        "growth, mean of the truth": bootstrap.row_mean(truth, learner, (-1, 1)),
        "growth, mean by the truth's": _ratio(pairs, bootstrap),
    }
    for name, (least, most) in BINS.items():
        part = pairs[pairs["practices"].between(least, most)]
        estimates[f"growth, mean by the truth's, {name}"] = _ratio(part, bootstrap)
    often = pairs[pairs["practices"] >= OFTEN]
    wrong = (often["told"] - often["truth"]).abs() > POINTS
    off = bootstrap.row_mean(wrong.astype(float), often["learner"], (0, 1))
    return estimates | {"growth, share off by more than 0.1, 8 or more practices": off}


def practices_null(pairs: pd.DataFrame, bootstrap: Bootstrap) -> dict[str, Estimate]:
    """What the number of practices alone says about growth."""
    return {"growth, rank correlation": _ranks(pairs, pairs["practices"], bootstrap)}


def _ratio(pairs: pd.DataFrame, bootstrap: Bootstrap) -> Estimate:
    sums = (np.bincount(pairs["learner"], pairs[c], bootstrap.n) for c in ("told", "truth"))
    return dataclasses.replace(bootstrap.ratio(*sums), entries=len(pairs))


def _ranks(pairs: pd.DataFrame, told: pd.Series, bootstrap: Bootstrap) -> Estimate:
    learner = pairs["learner"].to_numpy()
    columns = told.to_numpy(float), pairs["truth"].to_numpy(float)
    values = rank_correlation(*columns, learner, bootstrap)
    return bootstrap.estimate(values, len(pairs), pairs["learner"].nunique())


def _within(pairs: pd.DataFrame, told: pd.Series, bootstrap: Bootstrap) -> Estimate:
    """Correlation of ranks within a skill and a bin of practices; ranks are not resampled."""
    place = sum((pairs["practices"] >= least).astype(int) for least, _ in BINS.values())
    group = pairs.groupby(["skill", place]).ngroup().to_numpy()
    told, truth = (x.groupby(group).rank(pct=True).to_numpy(float) for x in (told, pairs["truth"]))
    within = Association(told, truth, pairs["learner"].to_numpy(), group, bootstrap)
    return within.estimate("within_skill")


def _rank_correlation(table: pd.DataFrame, column: str, bootstrap: Bootstrap) -> Estimate:
    x, y = table[column].to_numpy(float), table["true_mastery"].to_numpy(float)
    values = rank_correlation(x, y, table["learner"].to_numpy(), bootstrap)
    return bootstrap.estimate(values, len(table), table["learner"].nunique())
