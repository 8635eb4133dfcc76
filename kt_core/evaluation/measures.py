"""All measures of a model (docs/method.md, "The measures"): beliefs in, tidy tables out.

Each association is labelled with what it may see (*pre*, *post*, *retrospective*, *truth*), has an
interval over learners, and is listed next to nulls that need no model, with the paired difference
to each.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from kt_core.base.devices import side_by_side
from kt_core.evaluation.associations import association_table, gain_performance, joined
from kt_core.evaluation.beliefs import Beliefs, believed_last
from kt_core.evaluation.diagnostics import (
    collapse_table,
    conduct_table,
    skill_table,
)
from kt_core.evaluation.exam import ON_ASKED
from kt_core.evaluation.masked import gain_necessity
from kt_core.evaluation.recovery import recovery_table
from kt_core.evaluation.shape import forgetting, growth_calibration
from kt_core.metrics.bootstrap import Bootstrap, tidy
from kt_core.metrics.nulls import step_nulls
from kt_core.metrics.paired import paired_table
from kt_core.metrics.prediction import Prediction, calibration_curve
from kt_core.uncertainty import Uncertainty

CONSTRAINTS = {
    "monotonicity": "retrospective",
    "negative_gains": "retrospective",
    "bounds": "retrospective",
    "fall_after_correct": "retrospective",
    "filtered_monotonicity": "post",
    "filtered_fall_after_correct": "post",
    "rise_in_break": "retrospective",
    "below_start": "retrospective",
}


@dataclass(repr=False)
class Measures:
    """Tidy tables; NaN means *not defined* on this data.

    Attributes
    ----------
    prediction : predictor (the model, or a null that is a probability), quality, value, low, high.
    simple : of `kt_core.metrics.paired.paired_table`: AUC next to that of the psychometric ladder.
    violations : constraint, sees, scope, share, low, high, broken, places.
    associations : measure, variant, sees, predictor, kind (model, null, reference), value, low,
        high, gap, gap_low, gap_high (model minus this row, paired), entries, learners.
    In all tables with intervals, `draws` holds the measure on every resample of learners.
    calibration : predicted, observed, low, high;  `miscalibration` in Brier units.
    skills : one row per skill.
    conduct : quantity, sees, value, low, high: how far predictions depend on mastery, what the
        other answer would do, how far beliefs are revised.
    collapse, recovery : quantity, value (and interval).
    necessity, forgetting, growth : tests on hidden answers (`kt_core.evaluation.masked`, `shape`);
        only `retrospective` and `retentive` have them.
    exam : of `kt_core.evaluation.exam.exam_table`: mastery before the last quarter of each history
        against the score in it, next to the psychometric ladder.
    A table that cannot be computed is empty.

    Examples
    --------
    >>> measures = kt.examine("runs/mine").measures
    >>> bool(measures.association("prospective validity, learner x skill")["value"] > 0.4)
    True
    """

    prediction: pd.DataFrame
    violations: pd.DataFrame
    associations: pd.DataFrame
    calibration: pd.DataFrame
    miscalibration: float
    skills: pd.DataFrame
    conduct: pd.DataFrame
    collapse: pd.DataFrame
    recovery: pd.DataFrame = field(default_factory=pd.DataFrame)
    necessity: pd.DataFrame = field(default_factory=pd.DataFrame)
    forgetting: pd.DataFrame = field(default_factory=pd.DataFrame)
    growth: pd.DataFrame = field(default_factory=pd.DataFrame)
    exam: pd.DataFrame = field(default_factory=pd.DataFrame)
    simple: pd.DataFrame = field(default_factory=pd.DataFrame)

    def __repr__(self) -> str:
        return f"<measures: {', '.join(name for name, x in vars(self).items() if np.size(x) > 1)}>"

    def quality(self, name: str, predictor: str = "model") -> pd.Series:
        """One row of `prediction`."""
        p = self.prediction
        return p[(p.quality == name) & (p.predictor == predictor)].iloc[0]

    def association(self, measure: str, variant: str = "pooled") -> pd.Series:
        """The model's own row of one association."""
        a = self.associations
        own = a[(a.measure == measure) & (a.variant == variant) & (a.kind == "model")]
        return own.iloc[0]

    @property
    def exam_rows(self) -> pd.DataFrame:
        """The model and the rungs in the exam, over learners; empty where nobody takes it."""
        if self.exam.empty:
            return self.exam
        return self.exam[(self.exam["measure"] == ON_ASKED) & (self.exam["variant"] == "pooled")]

    def best_null(self, measure: str, variant: str = "pooled") -> pd.Series | None:
        """The strongest null of the same measure, or None where none is defined."""
        a = self.associations
        nulls = a[(a.measure == measure) & (a.variant == variant) & (a.kind == "null")]
        nulls = nulls[nulls["value"].notna()]
        return None if nulls.empty else nulls.loc[nulls["value"].idxmax()]


def measure(
    beliefs: Beliefs,
    base: np.ndarray,
    skill_names: tuple[str, ...],
    resamples: int = 1000,
    seed: int = 0,
    hidden: pd.DataFrame | None = None,
    hidden_elsewhere: pd.DataFrame | None = None,
    improved: pd.DataFrame | None = None,
    uncertainty: Uncertainty | None = None,
    exam: pd.DataFrame | None = None,
    ladder: dict[str, np.ndarray] | None = None,
    rungs: dict[str, np.ndarray] | None = None,
) -> Measures:
    """All measures of one model on one split.

    Parameters
    ----------
    base : [C], share of right answers per skill in the *training* data, for the nulls.
    hidden : of `hidden_answers`, for these learners; only `retrospective` and `retentive` have
        them.
    hidden_elsewhere : the same for other learners who were not trained on; the forgetting test and
        growth calibration use both.
    improved : of `improvements`, with the column `usual`: of each pair's skill among training
        learners.
    uncertainty : of the run, for the coverage of its intervals on simulated learners.
    exam : of `exam_table`, on the same resamples.
    ladder : by name, what simple models believe in the middle of each sequence, [S, C], as nulls
        of prospective validity.
    rungs : by name, what simple models predict of each answer, [N].
    """
    bootstrap = Bootstrap(len(beliefs.learners), resamples, seed)
    found: dict[str, Any] = side_by_side(
        {  # the longest first
            "associations": lambda: joined(
                association_table(beliefs, base, bootstrap, ladder),
                gain_performance(improved, bootstrap),
            ),
            "predicted": lambda: _of_predictions(beliefs, base, bootstrap, rungs or {}),
            "believed": lambda: _of_hidden(hidden, hidden_elsewhere, skill_names, bootstrap, seed),
            "skills": lambda: skill_table(beliefs, base, skill_names),
            "violations": lambda: violation_table(beliefs, bootstrap),
            "conduct": lambda: conduct_table(beliefs, bootstrap),
            "collapse": lambda: collapse_table(beliefs),
            "recovery": lambda: recovery_table(beliefs, bootstrap, uncertainty),
        }
    )
    found |= found.pop("predicted") | found.pop("believed")
    return Measures(**found, **({} if exam is None else {"exam": exam}))


def _of_predictions(
    beliefs: Beliefs, base: np.ndarray, bootstrap: Bootstrap, rungs: dict[str, np.ndarray]
) -> dict[str, Any]:
    """The tables about predictions of the next answer; empty where there are none."""
    rows = beliefs.predicted
    if rows.empty:
        nothing = pd.DataFrame()
        return {"prediction": nothing, "calibration": nothing, "miscalibration": np.nan}
    prediction = prediction_of(beliefs, bootstrap)
    curve, miscalibration = calibration_curve(prediction)
    return {
        "prediction": prediction_table(prediction, rows, base),
        "simple": simple_table(prediction, rows, rungs),
        "calibration": curve,
        "miscalibration": miscalibration,
    }


def _of_hidden(
    hidden: pd.DataFrame | None,
    elsewhere: pd.DataFrame | None,
    skill_names: tuple[str, ...],
    bootstrap: Bootstrap,
    seed: int,
) -> dict[str, pd.DataFrame]:
    """The tests on hidden answers; none without such answers."""
    if hidden is None:
        return {}
    necessity, everyone = gain_necessity(hidden, bootstrap), bootstrap
    if elsewhere is not None:
        others = elsewhere.assign(learner=elsewhere["learner"] + bootstrap.n)
        hidden = pd.concat([hidden, others], ignore_index=True)
        everyone = Bootstrap(int(hidden["learner"].max()) + 1, bootstrap.resamples, seed)
    return {
        "necessity": necessity,
        "forgetting": forgetting(hidden, skill_names),
        "growth": growth_calibration(hidden, everyone),
    }


def prediction_of(
    beliefs: Beliefs, bootstrap: Bootstrap, predicted: np.ndarray | None = None
) -> Prediction:
    """The model's predictions, or other ones of the same answers, for their quality."""
    rows = beliefs.predicted
    values = rows["predicted"] if predicted is None else predicted
    p, correct, learner = map(np.asarray, (values, rows["correct"], rows["learner"]))
    return Prediction(p, correct, learner, bootstrap)


def prediction_table(prediction: Prediction, rows: pd.DataFrame, base: np.ndarray) -> pd.DataFrame:
    """Quality of the model's predictions and of the two nulls that are probabilities."""
    nulls = step_nulls(rows, base, post=False)
    parts = [tidy(prediction.estimates(), "quality").assign(predictor="model")]
    for name in ("skill base rate", "success counter"):
        null = Prediction(nulls[name], prediction.y, prediction.learner, prediction.bootstrap)
        parts.append(tidy(null.estimates(), "quality").assign(predictor=name))
    return pd.concat(parts, ignore_index=True)


def simple_table(
    prediction: Prediction, rows: pd.DataFrame, rungs: dict[str, np.ndarray]
) -> pd.DataFrame:
    """AUC of the model and of simple models, on the answers that all of them predict: simple models
    do not predict the first answer of a sequence, and an audited tool may.

    Parameters
    ----------
    rows : of the prediction.
    rungs : by name, what simple models predict, in [0, 1], of each answer of the split.
    """
    scores = {"model": prediction.p} | {name: x[rows.index] for name, x in rungs.items()}
    known = np.isfinite(list(scores.values())).all(axis=0)
    y, learner = prediction.y[known], prediction.learner[known]
    draws = {
        name: Prediction(x[known], y, learner, prediction.bootstrap).auc()
        for name, x in scores.items()
    }
    size = len(y), len(np.unique(learner))
    return paired_table(draws, *size, prediction.bootstrap).assign(measure="AUC", sees="pre")


def violation_table(beliefs: Beliefs, bootstrap: Bootstrap) -> pd.DataFrame:
    """Share of places where each constraint is broken, over all learners of the split.

    Column `scope`: they are counted on all skills at every step where those states are known, and
    otherwise on the skill asked at each step.
    """
    counts, scope = beliefs.counts, "all skills"
    if counts is None:
        counts, scope = _asked_counts(beliefs), "asked skill"
    by_learner = counts.groupby("learner").sum()
    by_learner = by_learner.reindex(range(bootstrap.n), fill_value=0).astype(float)
    pre = "mastery_pre" in beliefs.frame and "mastery_post" not in beliefs.frame
    rows = []
    for name, sees in CONSTRAINTS.items():
        if name not in by_learner:
            continue
        broken, places = by_learner[name].to_numpy(), by_learner[f"{name}_n"].to_numpy()
        e = bootstrap.ratio(broken, places, bounds=(0, 1))
        rows.append(
            {
                "constraint": name,
                "sees": "pre" if pre else sees,
                "scope": scope,
                "share": e.value,
                "low": e.low,
                "high": e.high,
                "broken": int(broken.sum()),
                "places": int(places.sum()),
                "draws": e.draws,
            }
        )
    return pd.DataFrame(rows)


def _asked_counts(beliefs: Beliefs) -> pd.DataFrame:
    """Broken constraints on the mastery of the asked skill, from one opportunity on it to the next,
    as `kt_core.metrics.invariants` counts them on all skills. Steps without a value do not count.
    """
    frame, parts = beliefs.frame, []
    live = "mastery_post" if beliefs.has("mastery_post") else "mastery_pre"
    for prefix, column in (("", "mastery_last"), ("filtered_", live)):
        if not beliefs.has(column):
            continue
        known = frame[frame[column].notna()]
        mastery = known[column]
        before = known.groupby(["learner", "skill"], sort=False)[column].shift()
        falls = before.notna() & ~(mastery >= before)
        counts = {"learner": known["learner"], f"{prefix}monotonicity": falls}
        counts |= {f"{prefix}monotonicity_n": before.notna()}
        if column == believed_last(frame):
            counts |= {"bounds": ~mastery.between(0, 1), "bounds_n": True}
        parts.append(pd.DataFrame(counts))
    if beliefs.has("mastery_pre") and beliefs.has("mastery_post"):
        known = frame[frame["mastery_pre"].notna() & frame["mastery_post"].notna()]
        right = known["correct"] == 1
        falls = right & (known["mastery_post"] < known["mastery_pre"])
        columns = {"learner": known["learner"], "filtered_fall_after_correct": falls}
        parts.append(pd.DataFrame(columns | {"filtered_fall_after_correct_n": right}))
    if beliefs.has("gain"):
        columns = {"learner": frame["learner"], "negative_gains": ~(frame["gain"] >= 0)}
        parts.append(pd.DataFrame(columns | {"negative_gains_n": True}))
    if not parts:
        return pd.DataFrame({"learner": []})
    return pd.concat([part.astype(int) for part in parts]).fillna(0)
