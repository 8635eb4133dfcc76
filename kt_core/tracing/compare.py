"""Two fitted models on the same test learners."""

from __future__ import annotations

import pandas as pd

from kt_core.base.errors import KTError
from kt_core.data.same import Answers
from kt_core.evaluation.associations import association_table
from kt_core.evaluation.evaluate import evaluate
from kt_core.evaluation.measures import prediction_of
from kt_core.metrics.bootstrap import Bootstrap, tidy
from kt_core.report.examine import training_rates
from kt_core.tracing.tracer import KnowledgeTracer

KEYS = ["measure", "variant"]


def compare(a: KnowledgeTracer, b: KnowledgeTracer) -> pd.DataFrame:
    """By how much one model is better than another, on the same test learners.

    Returns
    -------
    One row per measure: `measure` and `variant` (AUC, accuracy, log loss, Brier score, and what
    mastery before an answer says about it and about later ones, as in the report), its values `a`
    and `b`, `difference` (a minus b) with `low` and `high` (95 % over learners, paired), `answers`
    and `learners`. For log loss and Brier score, less is better.

    Raises
    ------
    KTError
        When they are one model, their data is not there, or their test learners or answers differ.

    Examples
    --------
    >>> table = kt.compare(kt.load("runs/mine"), kt.load("runs/other"))
    >>> list(table["measure"].head(3))
    ['AUC', 'accuracy', 'log loss']
    """
    for model in (a, b):
        if not isinstance(model, KnowledgeTracer):
            raise KTError("compare: expected two fitted models, as of kt_core.fit or kt_core.load")
    _check_comparable(a, b)
    report = a.run.config.report
    bootstrap = Bootstrap(len(a.splits.test.learners), report.bootstrap, report.seed)
    first, second = (_measured(model, bootstrap) for model in (a, b))
    both = first.merge(second, on=KEYS, suffixes=("_a", "_b"), validate="one_to_one")
    rows = []
    for row in both.itertuples():
        size = row.entries_a, row.learners_a
        gap = bootstrap.estimate(row.draws_a - row.draws_b, *size)
        values = {"measure": row.measure, "variant": row.variant, "a": row.value_a}
        values |= {"b": row.value_b, "difference": gap.value, "low": gap.low, "high": gap.high}
        rows.append(values | dict(zip(("answers", "learners"), size, strict=True)))
    return pd.DataFrame(rows)


def _measured(model: KnowledgeTracer, bootstrap: Bootstrap) -> pd.DataFrame:
    """What is measured on test learners without seeing the answers that it is about."""
    splits = model.splits
    beliefs = evaluate(model.run.model, splits.test, flips=False)
    quality = tidy(prediction_of(beliefs, bootstrap).estimates(), "measure").assign(variant="")
    table = association_table(beliefs, training_rates(splits), bootstrap)
    own = table[(table["kind"] == "model") & (table["sees"] == "pre")]
    columns = [*KEYS, "value", "entries", "learners", "draws"]
    return pd.concat([quality[columns], own[columns]], ignore_index=True)


def _check_comparable(a: KnowledgeTracer, b: KnowledgeTracer) -> None:
    """Raise a KTError unless two models are about the same answers of the same test learners."""
    if a.run.path == b.run.path:
        raise KTError(f"{a.run.path}: this is one model; to compare, name two")
    first, second = (
        Answers.of(m.splits.test, m.splits.vocabulary, m.run.config.report) for m in (a, b)
    )
    same = set(first.learners) == set(second.learners)
    if not (same and first.frame.equals(second.frame)):
        what = "answers" if same else "test learners"
        raise KTError(
            f"{a.run.path} and {b.run.path} have other {what} (data, fold, chunks): only models "
            "with the same test learners can be compared"
        )
