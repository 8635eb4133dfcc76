"""The benchmark's tables, computed from finished cells, without data or models.

Intervals over learners are those of the mean over seeds; differences are paired, resample by
resample. Fold 0 is the split that docs/results.md reports; other folds enter `fold_table` only.
"""

from __future__ import annotations

import html
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd

from kt_core.base.errors import KTError, brief
from kt_core.base.files import write_text
from kt_core.base.values import path_of
from kt_core.evaluation.exam import ON_ASKED
from kt_core.metrics.bootstrap import Bootstrap, Estimate
from kt_core.report.text import estimate
from kt_core.report.verdicts import PROSPECTIVE
from kt_core.studies.models import OURS, models
from kt_core.studies.plan import STORE
from kt_core.studies.results import OWN, read_cell, warned

MASTERY = {  # column -> measure, variant
    "prospective validity": (PROSPECTIVE, "pooled"),
    "within skill": (PROSPECTIVE, "within_skill"),
    "prospective, learner": ("prospective validity, learner", "pooled"),
    "exam": (ON_ASKED, "pooled"),
    "mastery-response": ("mastery-response", "pooled"),
    "degree of agreement": ("degree of agreement", "same opportunity"),
    "cost in AUC": ("what that costs in AUC", ""),
    "flips": ("a right answer would lower mastery (share)", ""),
    "falls": ("monotonicity", ""),
    "negative gains": ("negative_gains", ""),
    "out of bounds": ("bounds", ""),
    "filtered falls": ("filtered_monotonicity", ""),
    "flat trajectory costs": ("flat at the same level, minus as they are", ""),
}
SMOOTHED = (*OURS, "AFM", "Rasch", "BKT", "BKT-correct")
RECOVERED = {
    "mastery, filtered (rank r)": ("mastery, rank correlation", "post"),
    "mastery, trajectory (rank r)": ("mastery, rank correlation", "retrospective"),
    "filter RMSE": ("mastery, RMSE", "post"),
    "trajectory RMSE": ("mastery, RMSE", "retrospective"),
    "growth (rank r)": ("growth, rank correlation", "retrospective"),
    "growth, mean": ("growth, mean", "retrospective"),
    "growth by the truth's": ("growth, mean by the truth's", "retrospective"),
}


def load(store: str | Path = STORE, command: str = "benchmark") -> pd.DataFrame:
    """All finished cells: `dataset`, `model`, `seed`, `fold`, the columns of `long_table` (`draws`
    empty where nothing can be paired with it) and where they come from.

    Parameters
    ----------
    command : which fills the store.

    Raises
    ------
    KTError
        When the store is empty, or a file in it is not a finished cell.
    """
    files = sorted(path_of("store", store).glob("*.parquet"))
    if not files:
        raise KTError(f"{store}: no finished cell; run python -m kt_core {command}")
    return pd.concat([read_cell(f) for f in files], ignore_index=True)


def summary(
    results: pd.DataFrame, name: str, variant: str = "", sees: str = "", predictor: str = ""
) -> pd.DataFrame:
    """One measure by data set and model, over seeds (fold 0).

    Parameters
    ----------
    sees : only what has seen this; empty for any.
    predictor : empty for the model itself.

    Returns
    -------
    `dataset`, `model`, `seeds`, `mean`, `spread` (largest minus smallest over seeds; NaN with one),
    `low`, `high` (95 % over learners, of the mean over seeds).
    """
    rows = rows_of_measure(results, name, variant, sees, predictor)
    table = []
    for (dataset, model), part in rows.groupby(["dataset", "model"], sort=False):
        e = of_draws(np.mean(np.stack(part["draws"]), axis=0))
        values = part["value"]
        spread = values.max() - values.min() if len(values) > 1 else np.nan
        row = {"dataset": dataset, "model": model, "seeds": len(part), "mean": values.mean()}
        table.append(row | {"spread": spread, "low": e.low, "high": e.high})
    return pd.DataFrame(table)


def paired(
    results: pd.DataFrame, dataset: str, name: str, a: str, b: str, variant: str = ""
) -> Estimate:
    """`a` minus `b` on the same test learners, each the mean over its seeds (fold 0)."""
    rows = rows_of_measure(results, name, variant)
    rows = rows[rows["dataset"] == dataset]
    draws = [np.stack(rows.loc[rows["model"] == m, "draws"]).mean(axis=0) for m in (a, b)]
    return of_draws(draws[0] - draws[1])


def rows_of_measure(
    results: pd.DataFrame, name: str, variant: str = "", sees: str = "", predictor: str = ""
) -> pd.DataFrame:
    rows = results[(results["measure"] == name) & (results["variant"] == variant)]
    rows = rows[rows["predictor"].isin((predictor,) if predictor else OWN) & (rows["fold"] == 0)]
    rows = rows[rows["sees"] == sees] if sees else rows
    return rows[rows["draws"].map(len) > 1]


def of_draws(draws: np.ndarray) -> Estimate:
    return Bootstrap(0, len(draws) - 1).estimate(draws.astype(float), 0, 0)


def auc_table(results: pd.DataFrame, dataset: str, reference: str = "retrospective"):
    """AUC of every model on one data set, and its paired difference to the reference.

    Raises
    ------
    KTError
        For an unknown reference.
    """
    if reference not in {*models(), *results.get("model", [])}:
        raise KTError(f"reference {brief(reference)}: choose one of {', '.join(models())}")
    rows = results[(results["dataset"] == dataset) & (results["fold"] == 0)]
    if rows.empty:
        return pd.DataFrame()
    test, valid = (summary(rows, m).set_index("model") for m in ("AUC", "AUC, validation"))
    cold = summary(rows, "AUC, chunks cold")
    cold = cold.set_index("model") if len(cold) else cold
    table = []
    for model in ordered(test.index):
        row = test.loc[model]
        line = {
            "model": model,
            "seeds": row["seeds"],
            "validation": f"{valid.loc[model, 'mean']:.4f}",
            "test": estimate(row["mean"], row["low"], row["high"], 4),
            "spread over seeds": "" if np.isnan(row["spread"]) else f"{row['spread']:.4f}",
        }
        if len(cold) and model in cold.index:
            line["test, chunks cold"] = f"{cold.loc[model, 'mean']:.4f}"
        if reference in test.index and model != reference:
            gap = paired(rows, dataset, "AUC", model, reference)
            line[f"minus {reference}"] = estimate(gap.value, gap.low, gap.high, 4, sign="+")
        own = rows[(rows["model"] == model) & (rows["fold"] == 0)]
        line["minutes"] = f"{own.groupby('seed')['fit_seconds'].first().mean() / 60:.1f}"
        table.append(line)
    return pd.DataFrame(table).fillna("")


def mastery_table(results: pd.DataFrame, dataset: str, reference: str = "retrospective"):
    """Measures of mastery of every model on one data set, and the paired difference in
    prospective validity to the reference."""
    rows = results[results["dataset"] == dataset]
    columns = {}
    for name, (measure, variant) in MASTERY.items():
        part = summary(rows, measure, variant)
        if len(part):
            share = name in ("flips", "falls", "negative gains", "out of bounds", "filtered falls")
            columns[name] = {r["model"]: _cell(r, share) for r in part.to_dict("records")}
    table = pd.DataFrame(columns)
    if PROSPECTIVE in set(rows["measure"]) and reference in table.index:
        gaps = {}
        for model in table["prospective validity"].dropna().index.drop(reference):
            e = paired(rows, dataset, PROSPECTIVE, model, reference, "pooled")
            gaps[model] = estimate(e.value, e.low, e.high, 3, sign="+")
        table.insert(1, f"minus {reference}", pd.Series(gaps))
    return table.loc[ordered(table.index)].fillna("").rename_axis("model").reset_index()


def plane(results: pd.DataFrame, dataset: str) -> pd.DataFrame:
    """AUC and prospective validity with intervals, for the figure."""
    rows = results[results["dataset"] == dataset]
    auc, validity = summary(rows, "AUC"), summary(rows, PROSPECTIVE, "pooled")
    if auc.empty or validity.empty:
        return pd.DataFrame()
    names = {"mean": "auc", "low": "auc_low", "high": "auc_high"}
    auc = auc.set_index("model")[list(names)].rename(columns=names)
    names = {"mean": "validity", "low": "validity_low", "high": "validity_high"}
    validity = validity.set_index("model")[list(names)].rename(columns=names)
    table = auc.join(validity, how="inner")
    return table.loc[ordered(table.index)].reset_index()


def recovery_summary(results: pd.DataFrame) -> pd.DataFrame:
    """Recovery on simulated learners, with the share of the ceiling. Models without a smoothed
    trajectory are marked as filters: hindsight is not theirs."""
    table = []
    for dataset in [d for d in results["dataset"].unique() if d.startswith("simulated")]:
        rows = results[results["dataset"] == dataset]
        for model in ordered(rows["model"].unique()):
            line = {"learners": dataset, "model": model}
            for name, (measure, sees) in RECOVERED.items():
                part = rows[rows["model"] == model]
                own = summary(part, measure, sees=sees)
                best = summary(part, measure, sees=sees, predictor="ceiling")
                if own.empty or np.isnan(own["mean"].iloc[0]):
                    continue
                value = own.iloc[0]
                line[name] = estimate(value["mean"], value["low"], value["high"], 3)
                if sees == "retrospective" and model not in SMOOTHED:
                    line[name] += " (filter)"
                if "rank" in name and len(best) and best["mean"].iloc[0] > 0:
                    line[name] += f", {value['mean'] / best['mean'].iloc[0]:.1%}"
            if len(line) > 2:
                table.append(line)
    return pd.DataFrame(table).fillna("")


def warning_table(results: pd.DataFrame, model: str = "retrospective") -> pd.DataFrame:
    """What the reports of a model warn of, by data set (fold 0)."""
    said = results[(results["table"] == "verdicts") & (results["model"] == model)]
    found = said[said["fold"] == 0].groupby("dataset", sort=False)
    return pd.DataFrame([{"data": name, "the report warns": warned(p)} for name, p in found])


def fold_table(results: pd.DataFrame) -> pd.DataFrame:
    """AUC over the folds, for models with more than one finished fold (seed 0)."""
    own = results["predictor"].isin(OWN) & (results["seed"] == 0)
    measured = {"valid": "AUC, validation", "test": "AUC"}
    rows = results[results["measure"].isin(measured.values()) & own]
    table = []
    for (dataset, model), part in rows.groupby(["dataset", "model"], sort=False):
        if part["fold"].nunique() < 2:
            continue
        line = {"dataset": dataset, "model": model, "folds": part["fold"].nunique()}
        for split, name in measured.items():
            values = part.loc[part["measure"] == name, "value"]
            line[f"{split} AUC, mean"], line[f"{split} AUC, sd"] = values.mean(), values.std()
        table.append(line)
    return pd.DataFrame(table)


def ordered(found: Iterable[str]) -> list[str]:
    """Models in the usual order; those that are not registered here come last."""
    return [m for m in dict.fromkeys((*models(), *found)) if m in set(found)]


def _cell(row: dict[str, float], share: bool) -> str:
    if share:
        return f"{row['mean']:.2%}"
    return estimate(row["mean"], row["low"], row["high"], 3)


def write_page(
    results: pd.DataFrame,
    folder: str | Path,
    reference: str = "retrospective",
    first: pd.DataFrame | None = None,
) -> Path:
    """Write all tables to `benchmark.md` in `folder`, for docs/results.md; `first` is
    `kt_core.studies.overview.real_table`."""
    parts = []
    if first is not None and not first.empty:
        parts += ["### All real data sets", markdown(first)]
    for dataset in results["dataset"].unique():
        parts += [f"### {dataset}", markdown(auc_table(results, dataset, reference))]
        parts += [markdown(mastery_table(results, dataset, reference))]
    recovered, folds = recovery_summary(results), fold_table(results)
    if not (told := warning_table(results, reference)).empty:
        parts += [f"### What the reports of {reference} warn of", markdown(told)]
    if not recovered.empty:
        parts += ["### Recovery on simulated learners", markdown(recovered)]
    if not folds.empty:
        parts += ["### Folds", markdown(folds)]
    path = Path(folder) / "benchmark.md"
    write_text(path, "\n\n".join(parts) + "\n")
    return path


def markdown(table: pd.DataFrame, digits: int = 4) -> str:
    """A frame as a Markdown table."""
    rows = [list(table.columns), ["---"] * len(table.columns)]
    for row in table.itertuples(index=False):
        rows.append([_text(x, digits) for x in row])
    return "\n".join(f"| {' | '.join(map(str, row))} |" for row in rows)


def _text(value: object, digits: int) -> str:
    if isinstance(value, float):
        return f"{value:.{digits}f}" if np.isfinite(value) else ""
    return html.escape(" ".join(str(value).split())).replace("|", r"\|")
