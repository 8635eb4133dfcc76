"""Cross-validation: every learner's answers, predicted by a model that was trained on others."""

from __future__ import annotations

import dataclasses
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pandas as pd

from kt_core.base.errors import KTError
from kt_core.base.state import free_folder
from kt_core.base.values import counted, path_of, whole_number
from kt_core.config import ReportConfig
from kt_core.data import make_splits
from kt_core.data.folds import divided, groups
from kt_core.data.kept import IN_RUN
from kt_core.data.registry import load_dataset
from kt_core.data.store.read import is_stored
from kt_core.evaluation.evaluate import evaluate
from kt_core.metrics.bootstrap import Bootstrap, tidy
from kt_core.metrics.prediction import Prediction
from kt_core.tracing.settings import Answers
from kt_core.tracing.tracer import KnowledgeTracer
from kt_core.tracing.training import trained
from kt_core.tracing.words import in_python

FEWEST = 3  # folds, and so learners: to train, to choose and to test


@in_python()
def cross_validate(
    data: Answers,
    folds: int = 5,
    *,
    out: str | Path | None = None,
    progress: bool = True,
    **settings: Any,
) -> pd.DataFrame:
    """Divide the learners into folds, and test on each what was trained on the others.

    Learners are divided by a shuffle with `data.split_seed`. Each fold is the test split once, the
    next one is for validation, and a model is trained on the others.

    Parameters
    ----------
    data : as of `kt.fit`.
    folds : at least 3.
    out : a new folder for the runs, `fold1` and so on; None keeps none of them.
    progress : show a bar for each training.
    settings : of `KnowledgeTracer`: preset, mode, seed, columns, and others by dotted name.

    Returns
    -------
    One row per fold and measure (AUC, accuracy, log loss, Brier score), and at the end the same
    over all folds together: `fold` (from 1, or ``all``), `measure`, `value`, `low`, `high` (95 %
    over learners), `answers`, `learners`.

    Raises
    ------
    KTError
        For too few learners, data with folds of its own, or what `kt.fit` refuses.

    Examples
    --------
    >>> table = kt.cross_validate(answers, folds=5, preset="quick")  # doctest: +SKIP
    """
    for name in {"fold", "temporary"} & set(settings):
        raise KTError(f"cross_validate: {name} has no meaning here; leave it out")
    table, config = KnowledgeTracer(**settings).configured(data)
    if table is None and is_stored(config.data.path):
        raise KTError(f"{data}: stored on disk; cross-validation needs answers in memory")
    dataset = load_dataset(config.data, table)
    if "fold" in dataset.table:
        raise KTError(
            f"{dataset.name}: it has folds of its own; train a model for each with "
            "fit(data, fold=...), or say that there are none: columns={'fold': ''}"
        )
    learners = dataset.table["user"].unique()
    if len(learners) < FEWEST:
        verb = "is" if len(learners) == 1 else "are"
        raise KTError(
            f"{dataset.name}: {counted('learner', len(learners))} {verb} too few; cross-validation "
            f"needs at least {FEWEST}"
        )
    folds = whole_number("folds", folds, FEWEST, len(learners))
    group = groups(dataset, folds, config.data.split_seed)
    own = dataclasses.replace(config.data, path=IN_RUN, fold=0)
    config = dataclasses.replace(config, data=own)
    tested, rows, count = [], [], 0
    if progress:
        print(dataset.note)
    with ExitStack() as stack:
        if out is None:
            place = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="kt_core-")))
        else:
            place = path_of("out", out).absolute()
            free_folder(place)
        for fold in range(folds):
            splits = make_splits(divided(dataset, group, fold, folds), config.data, config.parts)
            run = trained(config, splits, place / f"fold{fold + 1}", progress)
            beliefs = evaluate(run.model, splits.test, flips=False)
            found = beliefs.predicted[["predicted", "correct", "learner"]]
            n = len(beliefs.learners)
            rows.append(_quality(found, n, config.report).assign(fold=str(fold + 1)))
            tested.append(found.assign(learner=found["learner"] + count))
            count += n
    rows.append(_quality(pd.concat(tested), count, config.report).assign(fold="all"))
    columns = ["fold", "measure", "value", "low", "high", "answers", "learners"]
    return pd.concat(rows, ignore_index=True)[columns]


def _quality(rows: pd.DataFrame, learners: int, report: ReportConfig) -> pd.DataFrame:
    bootstrap = Bootstrap(learners, report.bootstrap, report.seed)
    predicted, correct, learner = (rows[name].to_numpy() for name in rows)
    prediction = Prediction(predicted, correct, learner, bootstrap)
    table = tidy(prediction.estimates(), "measure")
    return table.rename(columns={"entries": "answers"})
