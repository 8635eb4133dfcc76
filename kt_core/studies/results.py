"""Results of one model as one tidy table: read from a report, or with draws for a store."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from kt_core.base.errors import KTError, reason
from kt_core.baselines.ladder import mastery_after
from kt_core.baselines.registry import baselines
from kt_core.config import RunConfig
from kt_core.data.registry import read_splits
from kt_core.data.sequences import Sequences, Splits
from kt_core.evaluation.associations import GAIN_PERFORMANCE
from kt_core.evaluation.beliefs import Beliefs, believed_last
from kt_core.evaluation.evaluate import evaluate
from kt_core.evaluation.exam import ON_ASKED, hold_exam
from kt_core.evaluation.measures import Measures, measure, prediction_of
from kt_core.evaluation.recovery import PRACTICES
from kt_core.evaluation.tracer import Tracer
from kt_core.evaluation.turned import RAISED, growth_raised, turn_splits
from kt_core.metrics.bootstrap import Bootstrap, Estimate
from kt_core.report.examine import (
    Examined,
    add_ceiling,
    auc_of,
    ladder_of,
    training_rates,
)
from kt_core.report.verdicts import PROSPECTIVE, verdicts

TABLES = ("prediction", "violations", "associations", "conduct", "necessity", "growth", "recovery")
TABLES += ("exam",)
LABELS = ("quality", "constraint", "measure", "quantity")  # a table's column of measures
PAIRED = (  # associations that are compared between models, with their nulls
    *((PROSPECTIVE, variant) for variant in ("pooled", "within_skill")),
    ("prospective validity, learner", "pooled"),
    ("mastery-response", "pooled"),
    ("degree of agreement", "same opportunity"),
    (GAIN_PERFORMANCE, "pooled"),
    (ON_ASKED, "pooled"),
)
WARNINGS = {  # verdicts about mastery and growth, and what tables call them
    "prospective validity": "later answers",
    "Exam": "exam",
    "Loss of hidden answers": "gains",
    "Growth": "growth",
    "AUC next to simple models": "prediction",
    "No forgetting, all skills, by time": "no forgetting, by time",
    "No forgetting, all skills, by steps": "no forgetting, by steps",
}
OWN = ("", "model")  # predictors of a row that is about the model itself
COLUMNS = {
    *("dataset", "model", "seed", "fold", "table", "measure", "variant", "predictor", "sees"),
    *("value", "low", "high", "draws", "fit_seconds", "fingerprint"),
}


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
    table = pd.concat([table, _judgements(examined)], ignore_index=True)

    def believe(sequences: Sequences) -> Beliefs:
        return evaluate(run.model, sequences, flips=False)

    split = examined.split
    turned = _turned(examined.beliefs, examined.splits, split, believe, run.config)
    table = pd.concat([table, turned], ignore_index=True)
    if run.model.whole_histories:
        draws = _cold_auc(examined)
        row = {"table": "prediction", "measure": "AUC, chunks cold", "sees": "pre"}
        row |= {"variant": "", "predictor": "model", "value": draws[0], "draws": draws}
        table = pd.concat([table, pd.DataFrame([row])], ignore_index=True)
    facts = {"fit_seconds": "training_seconds", "parameters": "parameters"}
    return table.assign(**{name: run.provenance[key] for name, key in facts.items()})


def warned(said: pd.DataFrame) -> str:
    """What reports warned of, each with the number of the reports that did.

    Parameters
    ----------
    said : rows of the table "verdicts" of one data set, of one or more seeds.
    """
    tells, seeds, words = said[said["value"] == 1], said["seed"].nunique(), []
    for start, name in WARNINGS.items():
        part = tells[tells["measure"].str.startswith(start)]
        if len(part):
            words.append(f"{name}: {part['text'].iloc[0]} ({len(part)} of {seeds})")
    return "; ".join(words) or "no"


def _judgements(examined: Examined) -> pd.DataFrame:
    """What the report says in words, in the column `text`."""
    rows = verdicts(examined)
    table = rows[["measure", "sees"]].assign(text=rows["verdict"], value=rows["warns"] * 1.0)
    nothing = [np.zeros(0, np.float32)] * len(table)
    return table.assign(table="verdicts", variant="", predictor="", draws=nothing)


def _turned(
    beliefs: Beliefs,
    splits: Splits,
    split: str,
    believe: Callable[[Sequences], Beliefs],
    config: RunConfig,
) -> pd.DataFrame:
    """On simulated learners: how often a first answer turned right raises the growth told, by the
    model and by the ceiling."""
    if splits.dataset.simulation is None or not beliefs.has("mastery_post"):
        return pd.DataFrame()
    changed = turn_splits(splits, split)
    after = believe(getattr(changed, split))
    after = add_ceiling(after, changed, split, config.data.chunk).frame
    bootstrap = Bootstrap(len(beliefs.learners), config.report.bootstrap, config.report.seed)
    rows = []
    for predictor, column in (("model", believed_last(after)), ("ceiling", "ceiling_last")):
        e = growth_raised(beliefs.frame, after[column], column, bootstrap)
        rows.append({"predictor": predictor, **dataclasses.asdict(e)})
    table = pd.DataFrame(rows).drop(columns=["entries", "learners"])
    table["draws"] = [np.asarray(draws, np.float32) for draws in table["draws"]]
    return table.assign(table="turned", measure=RAISED, variant="", sees="intervention")


def _cold_auc(examined: Examined) -> np.ndarray:
    """AUC where each chunk starts cold, as it does for the baselines; with its draws."""
    sequences, report = getattr(examined.splits, examined.split), examined.run.config.report
    beliefs = evaluate(examined.run.model, sequences, flips=False, whole=False)
    bootstrap = Bootstrap(len(beliefs.learners), report.bootstrap, report.seed)
    return prediction_of(beliefs, bootstrap).auc().astype(np.float32)


def of_baseline(model: str, config: RunConfig, seed: int) -> pd.DataFrame:
    """Fit a baseline; return the table of its measures. Its column `search` holds what a neural
    baseline tried on validation learners, as JSON (`NeuralTracer.tried`); else it is empty."""
    splits, tracer = read_splits(config), baselines()[model]()
    started = time.perf_counter()
    tracer.fit(splits, seed)
    seconds = time.perf_counter() - started
    believe = believing(tracer)
    beliefs, measured, auc = examined_baseline(tracer, splits, config)
    turned = _turned(beliefs, splits, "test", believe, config)
    table = pd.concat([with_draws(measured, auc.value, auc.draws), turned], ignore_index=True)
    tried = getattr(tracer, "tried", None)
    search = "" if tried is None else tried.to_json(orient="records")
    return table.assign(fit_seconds=seconds, parameters=-1, search=search)


def believing(tracer: Tracer) -> Callable[[Sequences], Beliefs]:
    """What a fitted baseline believes about sequences."""
    return lambda sequences: Beliefs.of(sequences, tracer.trace(sequences))


def examined_baseline(
    tracer: Tracer, splits: Splits, config: RunConfig
) -> tuple[Beliefs, Measures, Estimate]:
    """What a fitted baseline believes about test learners, all measures of that, and its AUC on
    validation learners."""
    believe, report, sequences = believing(tracer), config.report, splits.test
    resampling = report.bootstrap, report.seed
    valid = believe(splits.valid)
    auc = auc_of(prediction_of(valid, Bootstrap(len(valid.learners), *resampling)))
    beliefs = add_ceiling(believe(sequences), splits, "test", config.data.chunk)
    ladder, quarter = ladder_of(config.data, splits), hold_exam(sequences)
    mastery = mastery_after(tracer, quarter.chunks, config.data.chunk)
    exam = ladder.judge(quarter, mastery, Bootstrap(len(sequences.learners), *resampling))
    tests = {"exam": exam} | ladder.compared(sequences)
    names, rates = splits.vocabulary.skills, training_rates(splits)
    return beliefs, measure(beliefs, rates, names, *resampling, **tests), auc


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
    kept = table["predictor"].isin((*OWN, "ceiling", "success counter", PRACTICES))
    kept &= ~table["table"].isin(("associations", "exam"))
    for name, variant in PAIRED:
        kept |= (table["measure"] == name) & (table["variant"] == variant)
    nothing = np.zeros(0, np.float32)
    table["draws"] = [
        np.asarray(draws, np.float32) if keep and draws is not None else nothing
        for draws, keep in zip(table["draws"], kept, strict=True)
    ]
    if not m.forgetting.empty:
        single = (m.forgetting["skill"] >= 0).astype(bool)
        share = m.forgetting.loc[single, "contradicted"].mean()
        found = {"skills that contradict no forgetting (share)": share}
        for row in m.forgetting[~single].itertuples():
            found[f"no forgetting, {row.name} (p)"] = row.p
        rows = pd.DataFrame({"measure": list(found), "value": list(found.values())})
        rows = rows.assign(table="forgetting", sees="retrospective", draws=[nothing] * len(found))
        table = pd.concat([table, rows.assign(variant="", predictor="")], ignore_index=True)
    return table
