"""What the notebooks call: a configuration, a training, a run read back with its evidence."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from kt_core.base.errors import KTError
from kt_core.config import ReportConfig
from kt_core.data import Splits
from kt_core.evaluation.ceiling import posterior_mastery
from kt_core.evaluation.evaluate import Beliefs, evaluate
from kt_core.evaluation.masked import hidden_answers
from kt_core.evaluation.measures import Measures, measure
from kt_core.metrics.bootstrap import Bootstrap, Estimate
from kt_core.metrics.nulls import base_rates, step_nulls
from kt_core.metrics.prediction import Prediction
from kt_core.runs.find import open_run
from kt_core.runs.run import Run


@dataclass
class Examined:
    """A run with what it believed about one split, measured."""

    run: Run
    splits: Splits
    split: str
    beliefs: Beliefs
    measures: Measures
    valid_auc: Estimate
    valid_null_auc: Estimate  # of the success counter, on the same learners

    @property
    def inflated(self) -> bool:
        """Whether one answer stands in several rows of the data."""
        return self.splits.dataset.inflated

    @property
    def history(self) -> pd.DataFrame:
        """One row per epoch of training."""
        return self.run.table("history.csv")

    @property
    def best_epoch(self) -> pd.Series:
        """The epoch whose weights were kept."""
        return self.history.loc[self.history["valid/auc"].idxmax()]


def add_ceiling(beliefs: Beliefs, splits: Splits, split: str, chunk: int) -> Beliefs:
    """For simulated learners, the columns `ceiling_post` and `ceiling_last`: what the simulator's
    true parameters say of the same answers. Other evidence is returned as it is."""
    spec, sequences = splits.dataset.simulation, getattr(splits, split)
    if spec is None:
        return beliefs
    table = splits.dataset.table
    table = table[table["user"].isin(sequences.learners)].reset_index(drop=True)
    best = posterior_mastery(table, spec).assign(
        user=table["user"], place=table.groupby("user").cumcount()
    )
    frame = beliefs.frame
    # Short last chunks may have been dropped from the sequences: look rows up by their place.
    kept = pd.MultiIndex.from_arrays(
        [
            sequences.learners[frame["learner"]],
            frame["chunk"] * chunk + frame["step"],
        ]
    )
    best = best.set_index(["user", "place"]).loc[kept]
    columns = {"ceiling_post": best["filter_post"], "ceiling_last": best["smooth"]}
    frame = frame.assign(**{name: column.to_numpy() for name, column in columns.items()})
    return dataclasses.replace(beliefs, frame=frame)


def examine(path: str | Path, split: str = "test") -> Examined:
    """Read a run, evaluate it on a split and measure all that section 6 of the design asks for."""
    run, splits = open_run(path, split)
    history = run.table("history.csv")
    if history.empty or history["valid/auc"].isna().all():
        raise KTError(
            f"{path}: history.csv is missing or has no epochs; restore it, or train again"
        )
    beliefs = evaluate(run.model, getattr(splits, split))
    beliefs = add_ceiling(beliefs, splits, split, run.config.data.chunk)
    report, model = run.config.report, run.model
    hidden = elsewhere = None
    if model.on_path:
        hidden = hidden_answers(model, getattr(splits, split))
        if split == "test":  # neither split has trained anything; together they see more
            elsewhere = hidden_answers(model, splits.valid)
    measures = measure(
        beliefs,
        training_rates(splits),
        splits.vocabulary.skills,
        report.bootstrap,
        report.seed,
        hidden,
        elsewhere,
        run.uncertainty,
    )
    valid = beliefs if split == "valid" else evaluate(run.model, splits.valid, flips=False)
    rows = valid.predicted
    nulls = step_nulls(rows, training_rates(splits), post=False)
    aucs = (_auc(valid, p, report) for p in (rows["predicted"], nulls["success counter"]))
    return Examined(run, splits, split, beliefs, measures, *aucs)


def paired_aucs(examined: list[Examined]) -> list[Estimate]:
    """AUC of each run minus that of the first, on the same resamples of the same learners."""
    report = examined[0].run.config.report
    predictions = [
        _predictions(e.beliefs, e.beliefs.predicted["predicted"], report) for e in examined
    ]
    draws = [p.auc() for p in predictions]
    return [
        p.bootstrap.estimate(d - draws[0], len(p.y), p.learners)
        for p, d in zip(predictions, draws, strict=True)
    ]


def _auc(beliefs: Beliefs, predicted: np.ndarray, report: ReportConfig) -> Estimate:
    prediction = _predictions(beliefs, predicted, report)
    return prediction.bootstrap.estimate(prediction.auc(), len(predicted), prediction.learners)


def _predictions(beliefs: Beliefs, predicted: np.ndarray, report: ReportConfig) -> Prediction:
    rows = beliefs.predicted
    bootstrap = Bootstrap(len(beliefs.learners), report.bootstrap, report.seed)
    correct, learner = rows["correct"].to_numpy(), rows["learner"].to_numpy()
    return Prediction(np.asarray(predicted), correct, learner, bootstrap)


def training_rates(splits: Splits) -> np.ndarray:
    """[C], share of right answers per skill among training learners."""
    return base_rates(splits.train.skill, splits.train.response, len(splits.vocabulary.skills))
