"""Several runs on the same answers: checked before anything is measured, and their differences."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from kt_core.base.errors import KTError
from kt_core.data.same import Answers, check_named_once, check_same
from kt_core.evaluation.exam import ON_ASKED
from kt_core.evaluation.masked import log_loss
from kt_core.metrics.association import VARIANTS
from kt_core.metrics.bootstrap import Bootstrap
from kt_core.report.examine import Examined, examine
from kt_core.report.text import difference, with_interval
from kt_core.report.verdicts import PROSPECTIVE
from kt_core.runs.find import open_run

SHOWN = {  # associations whose differences are shown: measure -> variants
    "mastery-response": ("pooled", "within_skill"),
    "prospective validity, learner x skill": ("pooled", "within_skill"),
    "prospective validity, learner": ("pooled",),
    "gain-performance, held out": ("pooled",),
}
JUDGED = {  # what `in_words` tells, and its words for a larger and a smaller value
    "AUC": ("it tells answers apart", "better", "worse"),
    f"{PROSPECTIVE}, {VARIANTS['pooled']}": ("its mastery says of later answers", "more", "less"),
    ON_ASKED: ("and of the exam", "more", "less"),
}
NEAR = 1e-6  # a probability is kept so far from 0 and 1, or one answer would decide alone


def examine_all(folders: list[Path], split: str = "test") -> list[Examined]:
    """Examine several runs, after a check that they are comparable.

    Raises
    ------
    KTError
        Before anything is measured, when two have one name, they are about other learners or other
        answers, or their reports resample learners otherwise.
    """
    if len({Path(folder).resolve() for folder in folders}) < 2:
        raise KTError("to compare, name at least two different runs")
    check_named_once([Path(folder) for folder in folders])
    check_same(folders, (_answers(folder, split) for folder in folders))
    return [examine(folder, split) for folder in folders]


def _answers(folder: Path, split: str) -> Answers:
    run, splits = open_run(folder, split)
    return Answers.of(getattr(splits, split), splits.vocabulary, run.config.report)


def differences(examined: list[Examined]) -> pd.DataFrame:
    """Each measure of each run, and its difference to the first run, paired over learners.

    Returns
    -------
    One row per measure and run: `measure`, `sees`, `run`, `value`, `low`, `high`, `gap`, `gap_low`,
    `gap_high` (this run minus the first; NaN for the first).
    """
    report = examined[0].run.config.report
    bootstrap = Bootstrap(len(examined[0].beliefs.learners), report.bootstrap, report.seed)
    tables = [_measured(e) for e in examined]
    rows = []
    for name, first in tables[0].items():
        for e, table in zip(examined, tables, strict=True):
            if name not in table:
                continue
            own = table[name]
            row = {"measure": name, "sees": own["sees"], "run": e.run.name}
            row |= {key: own[key] for key in ("value", "low", "high")}
            gap = bootstrap.estimate(own["draws"] - first["draws"], 0, len(e.beliefs.learners))
            alone = e is examined[0]
            row |= {"gap": np.nan if alone else gap.value}
            rows.append(row | {"gap_low": gap.low, "gap_high": gap.high})
    return pd.DataFrame(rows)


def _measured(e: Examined) -> dict[str, pd.Series]:
    """The measures of one run that are compared, by name."""
    m, found = e.measures, {}
    if len(m.prediction):
        own = m.prediction[m.prediction["predictor"] == "model"].assign(sees="pre")
        found |= {row["quality"]: row for _, row in own.iterrows()}
    if len(a := m.associations):
        own = a[a["kind"] == "model"]
        for _, row in own.iterrows():
            if row["variant"] in SHOWN.get(row["measure"], ()):
                found[f"{row['measure']}, {VARIANTS[row['variant']]}"] = row
    if len(m.exam_rows):
        found[ON_ASKED] = m.exam_rows.iloc[0]
    return found


def differences_text(table: pd.DataFrame) -> pd.DataFrame:
    """`differences` for people: a row per measure; each run, and each difference to the first."""
    runs, rows = list(dict.fromkeys(table["run"])), []
    for measure, part in table.groupby("measure", sort=False):
        by_run = part.set_index("run")
        row = {"measure": measure, "sees": part["sees"].iloc[0]}
        for run in runs:
            known = run in by_run.index
            row[run] = with_interval(by_run.loc[run]) if known else "not measured"
            if run != runs[0]:
                row[f"{run} minus {runs[0]}"] = difference(by_run.loc[run]) if known else ""
        rows.append(row)
    return pd.DataFrame(rows)


def in_words(table: pd.DataFrame) -> list[str]:
    """`differences` in a sentence for each run but the first: does it predict better, and does its
    mastery say more about later answers and the exam?"""
    first, *others = dict.fromkeys(table["run"])
    sentences = []
    for run in others:
        part = table[table["run"] == run].set_index("measure")
        told = []
        for measure, (what, more, less) in JUDGED.items():
            if measure not in part.index or not np.isfinite(part.loc[measure, "gap_low"]):
                continue
            row = part.loc[measure]
            word = more if row["gap_low"] > 0 else less if row["gap_high"] < 0 else ""
            told.append(f"{what} {word or 'as much, as far as can be told'} ({difference(row)})")
        if told:
            sentences.append(f"{run} next to {first}: {'; '.join(told)}.")
    return sentences


def by_part(first: Examined, second: Examined) -> pd.DataFrame:
    """Where two runs differ: log loss per answer of each skill and of each learner.

    Returns
    -------
    `kind` (skills or learners), `name`, `answers`, `first`, `second`, `difference` (second minus
    first; below 0 the second run predicts better).
    """
    rows = first.beliefs.predicted
    losses = {
        name: _loss(e.beliefs.predicted) for name, e in (("first", first), ("second", second))
    }
    frame = rows[["skill", "learner"]].assign(**losses)
    skills = np.asarray(first.splits.vocabulary.skills, object)
    parts = []
    for kind, column, names in (
        ("skills", "skill", skills),
        ("learners", "learner", np.asarray(first.beliefs.learners).astype(str)),
    ):
        groups = frame.groupby(column)
        part = groups[["first", "second"]].mean().assign(answers=groups.size())
        part = part.assign(kind=kind, name=names[part.index])
        parts.append(part.assign(difference=part["second"] - part["first"]))
    columns = ["kind", "name", "answers", "first", "second", "difference"]
    return pd.concat(parts, ignore_index=True)[columns]


def _loss(rows: pd.DataFrame) -> np.ndarray:
    p = np.clip(rows["predicted"].to_numpy(float), NEAR, 1 - NEAR)
    return log_loss(np.log(p) - np.log1p(-p), rows["correct"].to_numpy())
