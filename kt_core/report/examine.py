"""A saved run, evaluated on a split and measured."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from kt_core.base.devices import side_by_side
from kt_core.base.errors import KTError
from kt_core.baselines.ladder import Ladder
from kt_core.config import DataConfig
from kt_core.data import Simulation, Splits
from kt_core.data.table import data_checksums, table_sha256
from kt_core.evaluation.beliefs import Beliefs
from kt_core.evaluation.ceiling import posterior_mastery
from kt_core.evaluation.evaluate import evaluate
from kt_core.evaluation.exam import ends_after, hold_exam
from kt_core.evaluation.improvement import improvements, usual_improvement
from kt_core.evaluation.masked import hidden_answers
from kt_core.evaluation.measures import Measures, measure, prediction_of
from kt_core.metrics.bootstrap import Bootstrap, Estimate
from kt_core.metrics.nulls import base_rates, step_nulls
from kt_core.metrics.prediction import Prediction
from kt_core.report.own import own_learners
from kt_core.runs.find import open_run
from kt_core.runs.run import Run


@dataclass(repr=False)
class Examined:
    """A run, its beliefs about one split, and the measures of them."""

    run: Run
    splits: Splits
    split: str
    beliefs: Beliefs
    measures: Measures
    valid_auc: Estimate
    valid_null_auc: Estimate  # of the success counter, on the same learners

    def __repr__(self) -> str:
        return f"<{self.run.name} on its {self.split} split: {self.beliefs}>"

    @property
    def inflated(self) -> bool:
        """Whether one answer is in several rows of the data, which makes every number too good."""
        return self.splits.dataset.inflated

    @property
    def history(self) -> pd.DataFrame:
        """One row per epoch of training."""
        return self.run.table("history.csv")

    @property
    def best_epoch(self) -> pd.Series:
        """The row of the epoch whose weights were kept."""
        best = self.history.loc[self.history["valid/auc"].idxmax()]
        before = self.run.provenance.get("skeleton", {}).get("validation AUC", -1.0)
        return best if best["valid/auc"] > before else pd.Series({"epoch": -1, "valid/auc": before})


def add_ceiling(beliefs: Beliefs, splits: Splits, split: str, chunk: int) -> Beliefs:
    """For simulated learners, add the columns `ceiling_post` and `ceiling_last`: the posterior
    means under the simulator's true parameters. Other beliefs are returned as they are."""
    spec, sequences = splits.dataset.simulation, getattr(splits, split)
    if spec is None:
        return beliefs
    table = splits.dataset.table
    table = table[table["user"].isin(sequences.learners)].reset_index(drop=True)
    best = _ceiling(table, spec).assign(user=table["user"], place=table.groupby("user").cumcount())
    frame = beliefs.frame
    # Short last chunks may have been dropped from the sequences, so rows are found by place.
    kept = pd.MultiIndex.from_arrays(
        [sequences.learners[frame["learner"]], frame["chunk"] * chunk + frame["step"]]
    )
    best = best.set_index(["user", "place"]).loc[kept]
    columns = {"ceiling_post": best["filter_post"], "ceiling_last": best["smooth"]}
    frame = frame.assign(**{name: column.to_numpy() for name, column in columns.items()})
    return dataclasses.replace(beliefs, frame=frame)


def examine(
    path: str | Path,
    split: str = "test",
    data: str | Path | pd.DataFrame | None = None,
    reading: dict[str, Any] | None = None,
    seen: bool = False,
) -> Examined:
    """Read a run, evaluate it on a split or on one's own learners, and compute all measures.

    Parameters
    ----------
    path : the run folder.
    split : test or valid.
    data : a file or table of one's own, whose learners are the test split.
    reading : settings of how it is read, on top of the run's own, such as
        ``{"data.columns": {"user": "StudentID"}}``.
    seen : allow learners on whom the run was trained or chosen.

    Raises
    ------
    KTError
        When the folder is not a finished run, or its data has changed; when learners of `data` are
        among those that the run was trained or chosen on.

    Examples
    --------
    >>> examined = kt.examine("runs/mine")
    >>> examined.measures.violations["broken"].head(3).tolist()  # what is guaranteed
    [0, 0, 0]
    """
    run, splits = open_run(path, split)
    if data is not None:
        if split != "test":
            raise KTError(f"split {split!r}: learners of one's own are the test split")
        splits = own_learners(run, splits, data, reading or {}, seen)
    history = run.table("history.csv")
    if history.empty or history["valid/auc"].isna().all():
        raise KTError(
            f"{path}: history.csv is missing or has no epochs; restore it, or train again"
        )
    report, rates = run.config.report, training_rates(splits)
    found = side_by_side(_readings(run, splits, split))
    beliefs = add_ceiling(found.pop("beliefs"), splits, split, run.config.data.chunk)
    valid = found.pop("valid", beliefs)
    names, resampling = splits.vocabulary.skills, (report.bootstrap, report.seed)
    tests = found.pop("simple") | found | {"uncertainty": run.uncertainty}
    measures = measure(beliefs, rates, names, *resampling, **tests)
    bootstrap = Bootstrap(len(valid.learners), *resampling)
    counter = step_nulls(valid.predicted, rates, post=False)["success counter"]
    aucs = [auc_of(prediction_of(valid, bootstrap, p)) for p in (None, counter)]
    return Examined(run, splits, split, beliefs, measures, *aucs)


def _readings(run: Run, splits: Splits, split: str) -> dict[str, Callable[[], Any]]:
    """What has to be read for a report, the longest first: `beliefs`, `valid` (unless that is the
    split), and arguments of `measure`."""
    model, sequences = run.model, getattr(splits, split)

    def improved() -> pd.DataFrame:
        usual = usual_improvement(splits.train, len(splits.vocabulary.skills))
        found = improvements(model, sequences)
        return found.assign(usual=usual[found["skill"]])

    jobs: dict[str, Callable[[], Any]] = {"simple": lambda: _simple(run, splits, split)}
    if model.on_path:
        jobs["hidden"] = lambda: hidden_answers(model, sequences)
        if split == "test":  # no one in either split was trained on; together they have more power
            jobs["hidden_elsewhere"] = lambda: hidden_answers(model, splits.valid)
        jobs["improved"] = improved
    jobs["beliefs"] = lambda: evaluate(model, sequences)
    if split != "valid":
        jobs["valid"] = lambda: evaluate(model, splits.valid, flips=False)
    return jobs


def _simple(run: Run, splits: Splits, split: str) -> dict[str, Any]:
    """What the psychometric ladder says."""
    ladder = ladder_of(run.config.data, splits)
    return {"exam": exam_of(run, splits, split)} | ladder.compared(getattr(splits, split))


def exam_of(run: Run, splits: Splits, split: str) -> pd.DataFrame:
    """The exam inside the histories of a split: a run next to the psychometric ladder, which is
    fitted on training learners."""
    sequences, report = getattr(splits, split), run.config.report
    exam = hold_exam(sequences)
    if not len(exam.asked):
        return pd.DataFrame()
    known = ends_after(run.model, exam.chunks, run.config.data.chunk)
    bootstrap = Bootstrap(len(sequences.learners), report.bootstrap, report.seed)
    return ladder_of(run.config.data, splits).judge(exam, known.mastery, bootstrap, known.ability)


LADDERS: dict[str, Ladder] = {}  # the latest one: models that are compared have the same data
CEILINGS: dict[str, pd.DataFrame] = {}  # the latest ones, for the same reason
KEPT = 4


def ladder_of(config: DataConfig, splits: Splits) -> Ladder:
    """The ladder of training data, fitted once for models one after the other."""
    data = f"{config} {data_checksums(splits.dataset)}"
    if data not in LADDERS:
        LADDERS.clear()
        LADDERS[data] = Ladder.fit(splits)
    return LADDERS[data]


def _ceiling(table: pd.DataFrame, spec: Simulation) -> pd.DataFrame:
    """`posterior_mastery`, computed once for models one after the other."""
    answers = f"{spec} {table_sha256(table)}"
    if answers not in CEILINGS:
        for old in list(CEILINGS)[: 1 - KEPT]:
            del CEILINGS[old]
        CEILINGS[answers] = posterior_mastery(table, spec)
    return CEILINGS[answers]


def paired_aucs(examined: list[Examined]) -> list[Estimate]:
    """AUC of each run minus that of the first, on the same resamples of the same learners."""
    first, report = examined[0].beliefs, examined[0].run.config.report
    bootstrap = Bootstrap(len(first.learners), report.bootstrap, report.seed)
    predictions = [prediction_of(e.beliefs, bootstrap) for e in examined]
    base = predictions[0].auc()
    return [auc_of(prediction, base) for prediction in predictions]


def auc_of(prediction: Prediction, minus: np.ndarray | float = 0.0) -> Estimate:
    """AUC with its interval, minus another one on the same resamples."""
    draws = prediction.auc() - minus
    return prediction.bootstrap.estimate(draws, len(prediction.y), prediction.learners)


def training_rates(splits: Splits) -> np.ndarray:
    """[C], share of right answers per skill among training learners."""
    return base_rates(splits.train.skill, splits.train.response, len(splits.vocabulary.skills))
