"""Results of one model as one tidy table: read from a report, or with draws for a store."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from kt_core.base.errors import KTError, reason
from kt_core.baselines.bkt import BKT
from kt_core.baselines.counts import SkillBaseRate
from kt_core.baselines.factors import AFM, Rasch
from kt_core.baselines.logistic import PFA, BestLR
from kt_core.baselines.neural import AKT, DKT, SAKT, SimpleKT
from kt_core.config import RunConfig
from kt_core.data.registry import read_splits
from kt_core.evaluation.evaluate import Beliefs, evaluate
from kt_core.evaluation.measures import Measures, measure, prediction_of
from kt_core.metrics.bootstrap import Bootstrap
from kt_core.report.examine import Examined, add_ceiling, training_rates

BASELINES: dict[str, Callable[[], object]] = {
    "DKT": DKT,
    "SAKT": SAKT,
    "simpleKT": SimpleKT,
    "AKT": AKT,
    "BKT": BKT,
    "BKT-correct": partial(BKT, read="correct"),
    "PFA": PFA,
    "Best-LR": BestLR,
    "AFM": AFM,
    "Rasch": Rasch,
    "skill base rate": SkillBaseRate,
}
TABLES = ("prediction", "violations", "associations", "conduct", "necessity", "recovery")
LABELS = ("quality", "constraint", "measure", "quantity")  # a table's column of measures
OWN = ("", "model")  # predictors of a row that is about the model itself
COLUMNS = {
    *("dataset", "model", "seed", "fold", "table", "measure", "variant", "predictor", "sees"),
    *("value", "low", "high", "draws", "fit_seconds", "fingerprint"),
}


def searched(model: str) -> dict[str, Any]:
    """What a neural baseline's search may choose from, as plain values; nothing for the others."""
    grid = getattr(BASELINES[model], "grid", ())
    return {"grid": [asdict(candidate) for candidate in grid]} if grid else {}


def read_cell(file: Path) -> pd.DataFrame:
    """A finished cell of a store.

    Raises
    ------
    KTError
        When the file is damaged or something else.
    """
    try:
        table = pd.read_parquet(file)
    except (OSError, ValueError) as error:  # pyarrow's errors are ValueErrors
        raise KTError(f"{file}: not a readable Parquet file ({reason(error)}); remove it") from None
    absent = sorted(COLUMNS - set(table))
    if absent or table.empty:
        raise KTError(f"{file}: not a cell of the benchmark (no {', '.join(absent)}); remove it")
    return table


def of_run(examined: Examined) -> pd.DataFrame:
    """The table of a run of GainAKT2."""
    run, auc = examined.run, examined.valid_auc
    table = with_draws(examined.measures, auc.value, auc.draws)
    if run.model.whole_histories:
        draws = _cold_auc(examined)
        row = {"table": "prediction", "measure": "AUC, chunks cold", "sees": "pre"}
        row |= {"variant": "", "predictor": "model", "value": draws[0], "draws": draws}
        table = pd.concat([table, pd.DataFrame([row])], ignore_index=True)
    facts = {"fit_seconds": "training_seconds", "parameters": "parameters"}
    return table.assign(**{name: run.provenance[key] for name, key in facts.items()})


def _cold_auc(examined: Examined) -> np.ndarray:
    """AUC where each chunk starts cold, as it does for the baselines; with its draws."""
    sequences, report = getattr(examined.splits, examined.split), examined.run.config.report
    beliefs = evaluate(examined.run.model, sequences, flips=False, whole=False)
    bootstrap = Bootstrap(len(beliefs.learners), report.bootstrap, report.seed)
    return prediction_of(beliefs, bootstrap).auc().astype(np.float32)


def of_baseline(model: str, config: RunConfig, seed: int) -> pd.DataFrame:
    """Fit a baseline; return the table of its measures. Its column `search` holds what a neural
    baseline tried on validation learners, as JSON (`NeuralTracer.tried`); else it is empty."""
    splits, tracer = read_splits(config), BASELINES[model]()
    started = time.perf_counter()
    tracer.fit(splits, seed)
    seconds = time.perf_counter() - started
    measured = {}
    for split in ("valid", "test"):
        sequences = getattr(splits, split)
        beliefs = Beliefs.of(sequences, tracer.trace(sequences))
        beliefs = add_ceiling(beliefs, splits, split, config.data.chunk)
        names, report = splits.vocabulary.skills, config.report
        rates = training_rates(splits)
        measured[split] = measure(beliefs, rates, names, report.bootstrap, report.seed)
    auc = measured["valid"].quality("AUC")
    table = with_draws(measured["test"], auc["value"], auc["draws"])
    tried = getattr(tracer, "tried", None)
    search = "" if tried is None else tried.to_json(orient="records")
    return table.assign(fit_seconds=seconds, parameters=-1, search=search)


def long_table(tables: dict[str, pd.DataFrame], valid_auc: dict[str, Any]) -> pd.DataFrame:
    """All measures of one model as one tidy table.

    Parameters
    ----------
    tables : of `Measures`, by name.
    valid_auc : value (and low, high, draws) of the AUC on validation learners.

    Returns
    -------
    `table`, `measure`, `variant`, `predictor`, `sees`, `value`, `low`, `high` and, where the tables
    have them, `draws`.
    """
    first = {"table": "prediction", "measure": "AUC, validation", "sees": "pre"}
    parts = [pd.DataFrame([first | {"predictor": "model"} | valid_auc])]
    for name in TABLES:
        table = tables[name]
        if table.empty:
            continue
        label = next(column for column in LABELS if column in table)
        value = "value" if "value" in table else "share"
        part = table.rename(columns={label: "measure", value: "value"}).assign(table=name)
        parts.append(part)
    columns = ["table", "measure", "variant", "predictor", "sees", "value", "low", "high", "draws"]
    whole_table = pd.concat(parts, ignore_index=True).reindex(columns=columns)
    numbers = {name: whole_table[name].astype(float) for name in ("value", "low", "high")}
    texts = dict.fromkeys(("variant", "predictor", "sees"), "")
    return whole_table.assign(**numbers).fillna(texts)


def with_draws(m: Measures, valid_auc: float, valid_draws: np.ndarray) -> pd.DataFrame:
    """`long_table` for a store, with draws of what can be paired, and the forgetting test."""
    table = long_table(vars(m), {"value": valid_auc, "draws": valid_draws})
    # Other cells cannot use the draws of a null, except the counter's; they would fill the store.
    kept = table["predictor"].isin((*OWN, "ceiling", "success counter"))
    kept &= table["measure"] != "mastery-prediction"
    nothing = np.zeros(0, np.float32)
    table["draws"] = [
        np.asarray(draws, np.float32) if keep else nothing
        for draws, keep in zip(table["draws"], kept, strict=True)
    ]
    if not m.forgetting.empty:
        skills = m.forgetting[m.forgetting["skill"] >= 0]
        found = {"skills that contradict no forgetting (share)": skills["contradicted"].mean()}
        found["no forgetting, all skills together (p)"] = m.forgetting["p"].iloc[0]
        rows = pd.DataFrame({"measure": list(found), "value": list(found.values())})
        rows = rows.assign(table="forgetting", sees="retrospective", draws=[nothing] * 2)
        table = pd.concat([table, rows.assign(variant="", predictor="")], ignore_index=True)
    return table
