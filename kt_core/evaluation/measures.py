"""All measures of a model (docs/method.md, "The measures"): beliefs in, tidy tables out.

Each association is labelled with what it may see (*pre*, *post*, *retrospective*, *truth*), has an
interval over learners, and is listed next to nulls that need no model, with the paired difference
to each.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from kt_core.evaluation.diagnostics import (
    collapse_table,
    conduct_table,
    recovery_table,
    skill_table,
)
from kt_core.evaluation.evaluate import Beliefs, believed_last
from kt_core.evaluation.exam import ON_ASKED
from kt_core.evaluation.masked import forgetting, gain_necessity
from kt_core.metrics.agreement import degree_of_agreement
from kt_core.metrics.association import Association
from kt_core.metrics.bootstrap import Bootstrap, tidy
from kt_core.metrics.nulls import gain_nulls, step_nulls
from kt_core.metrics.prediction import Prediction, calibration_curve
from kt_core.uncertainty import Uncertainty

LATER_PER_SKILL = 3  # later attempts on a skill before a learner x skill pair counts
LATER_PER_LEARNER = 10
CONSTRAINTS = {
    "monotonicity": "retrospective",
    "negative_gains": "retrospective",
    "bounds": "retrospective",
    "fall_after_correct": "retrospective",
    "filtered_monotonicity": "post",
    "filtered_fall_after_correct": "post",
}


@dataclass
class Measures:
    """Tidy tables; NaN means *not defined* on this data.

    Attributes
    ----------
    prediction : predictor (the model, or a null that is a probability), quality, value, low, high.
    violations : constraint, sees, scope, share, low, high, broken, places.
    associations : measure, variant, sees, predictor, kind (model, null, reference), value, low,
        high, gap, gap_low, gap_high (model minus this row, paired), entries, learners.
    In all tables with intervals, `draws` holds the measure on every resample of learners.
    calibration : predicted, observed, low, high;  `miscalibration` in Brier units.
    skills : one row per skill.
    conduct : quantity, sees, value, low, high: how far predictions depend on mastery, what the
        other answer would do, how far beliefs are revised.
    collapse, recovery : quantity, value (and interval).
    necessity, forgetting : of `kt_core.evaluation.masked`; only mode `retrospective` has them.
    exam : of `kt_core.evaluation.exam.exam_table`: mastery before the last quarter of each history
        against the score in it, next to the psychometric ladder.
    A table that cannot be computed is empty.
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
    exam: pd.DataFrame = field(default_factory=pd.DataFrame)

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
    uncertainty: Uncertainty | None = None,
    exam: pd.DataFrame | None = None,
) -> Measures:
    """All measures of one model on one split.

    Parameters
    ----------
    base : [C], share of right answers per skill in the *training* data, for the nulls.
    hidden : of `hidden_answers`, for these learners; only mode `retrospective` has them.
    hidden_elsewhere : the same for other learners who were not trained on; the forgetting test uses
        both.
    uncertainty : of the run, for the coverage of its intervals on simulated learners.
    exam : of `exam_table`, on the same resamples.
    """
    bootstrap = Bootstrap(len(beliefs.learners), resamples, seed)
    quality, curve, miscalibration = pd.DataFrame(), pd.DataFrame(), np.nan
    if len(rows := beliefs.predicted):
        prediction = prediction_of(beliefs, bootstrap)
        quality = prediction_table(prediction, rows, base)
        curve, miscalibration = calibration_curve(prediction)
    tables = {} if exam is None else {"exam": exam}
    if hidden is not None:
        tables["necessity"] = gain_necessity(hidden, bootstrap)
        if hidden_elsewhere is not None:
            others = hidden_elsewhere.assign(learner=hidden_elsewhere["learner"] + bootstrap.n)
            hidden = pd.concat([hidden, others], ignore_index=True)
        tables["forgetting"] = forgetting(hidden, skill_names)
    return Measures(
        prediction=quality,
        violations=violation_table(beliefs, bootstrap),
        associations=association_table(beliefs, base, bootstrap),
        calibration=curve,
        miscalibration=miscalibration,
        skills=skill_table(beliefs, base, skill_names),
        conduct=conduct_table(beliefs, bootstrap),
        collapse=collapse_table(beliefs),
        recovery=recovery_table(beliefs, bootstrap, uncertainty),
        **tables,
    )


def prediction_of(
    beliefs: Beliefs, bootstrap: Bootstrap, predicted: np.ndarray | None = None
) -> Prediction:
    """The model's predictions, or other ones of the same answers, for their quality."""
    rows = beliefs.predicted
    values = rows["predicted"] if predicted is None else predicted
    return Prediction(*map(np.asarray, (values, rows["correct"], rows["learner"])), bootstrap)


def prediction_table(prediction: Prediction, rows: pd.DataFrame, base: np.ndarray) -> pd.DataFrame:
    """Quality of the model's predictions and of the two nulls that are probabilities."""
    nulls = step_nulls(rows, base, post=False)
    parts = [tidy(prediction.estimates(), "quality").assign(predictor="model")]
    for name in ("skill base rate", "success counter"):
        null = Prediction(nulls[name], prediction.y, prediction.learner, prediction.bootstrap)
        parts.append(tidy(null.estimates(), "quality").assign(predictor=name))
    return pd.concat(parts, ignore_index=True)


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


@dataclass(frozen=True)
class Question:
    """A score and the outcome that it is compared with, row by row, and other scores for it.

    Attributes
    ----------
    sees : pre or post.
    rows : with `learner` and `skill`; the arrays below have one value for each of them.
    variants : names of methods of `Association`.
    nulls, references : other scores by name, for the same outcome.
    """

    measure: str
    sees: str
    rows: pd.DataFrame
    score: np.ndarray | pd.Series
    outcome: np.ndarray | pd.Series
    variants: tuple[str, ...]
    nulls: dict[str, np.ndarray]
    references: dict[str, np.ndarray] = field(default_factory=dict)


def association_table(beliefs: Beliefs, base: np.ndarray, bootstrap: Bootstrap) -> pd.DataFrame:
    """All associations that the beliefs support, with nulls and references."""
    rows, frame = beliefs.predicted, beliefs.frame
    parts = []
    if len(rows) and beliefs.has("mastery_pre"):
        nulls, reference = step_nulls(rows, base, post=False), rows["predicted"]
        before = ("mastery-response", "pre", rows, rows["mastery_pre"], rows["correct"])
        variants = ("pooled", "within_skill", "learner_average")
        question = Question(*before, variants, nulls, {"model's own prediction": reference})
        parts += [_associate(question, bootstrap), _agreement(rows, nulls, bootstrap)]
    if beliefs.middle is not None:
        parts += [_associate(question, bootstrap) for question in _prospective(beliefs, base)]
    if beliefs.has("gain"):
        references = {"true gain": frame["true_gain"]} if beliefs.has("true_gain") else {}
        gains = ("gain-correctness", "post", frame, frame["gain"], frame["correct"])
        variants, nulls = ("pooled", "within_skill"), gain_nulls(frame, base)
        parts.append(_associate(Question(*gains, variants, nulls, references), bootstrap))
    if len(rows) and beliefs.has("mastery_post"):
        after = ("mastery-prediction", "post", rows, rows["mastery_post"], rows["predicted"])
        variants, nulls = ("skill_average", "pooled"), step_nulls(rows, base, post=True)
        parts.append(_associate(Question(*after, variants, nulls), bootstrap))
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()


def _agreement(
    rows: pd.DataFrame, nulls: dict[str, np.ndarray], bootstrap: Bootstrap
) -> pd.DataFrame:
    """Degree of agreement, among learners at the same opportunity of a skill, and of an item."""
    # Among learners at the same opportunity, only time index and counter differ; others are ties.
    predictors = {
        "model": ("model", rows["mastery_pre"]),
        "time index": ("null", nulls["time index"]),
        "success counter": ("null", nulls["success counter"]),
        "model's own prediction": ("reference", rows["predicted"]),
    }
    keys = {"same opportunity": ["skill", "opportunity"]}
    if "item" in rows:
        keys["same opportunity and item"] = ["skill", "opportunity", "item"]
    table = []
    everyone = rows
    for variant, columns in keys.items():
        known = (everyone["item"] > 0 if "item" in columns else everyone["skill"] >= 0).to_numpy()
        rows = everyone[known]
        group = rows.groupby(columns, sort=False).ngroup().to_numpy()
        own = None
        for name, (kind, x) in predictors.items():
            values, pairs = degree_of_agreement(
                np.asarray(x)[known], rows["correct"], rows["learner"], group, bootstrap
            )
            own = values if own is None else own
            row = {"measure": "degree of agreement", "variant": variant, "sees": "pre"}
            table.append(row | _against(own, values, name, kind, bootstrap, pairs, rows))
    return pd.DataFrame(table)


def _against(
    own: np.ndarray,
    values: np.ndarray,
    name: str,
    kind: str,
    bootstrap: Bootstrap,
    entries: int,
    rows: pd.DataFrame,
) -> dict[str, object]:
    """A predictor's value, and by how much the model exceeds it on the same resamples."""
    learners = rows["learner"].nunique()
    e = bootstrap.estimate(values, entries, learners)
    gap = bootstrap.estimate(own - values, entries, learners)
    row = {"predictor": name, "kind": kind, "value": e.value, "low": e.low, "high": e.high}
    row |= {"gap": gap.value, "gap_low": gap.low, "gap_high": gap.high}
    return row | {"entries": entries, "learners": learners, "draws": values}


def _prospective(beliefs: Beliefs, base: np.ndarray) -> list[Question]:
    """The state at the middle of a sequence, compared with correctness in its second half."""
    frame = beliefs.frame
    half = frame.groupby("sequence")["step"].transform("size") // 2
    later = frame[frame["step"] >= half].copy()
    later["state"] = beliefs.middle[later["sequence"], later["skill"]]
    later["half"] = half[later.index]
    pairs = later.groupby(["sequence", "skill"], sort=False).agg(
        learner=("learner", "first"),
        attempts=("correct", "size"),
        outcome=("correct", "mean"),
        state=("state", "first"),
        opportunity=("opportunity", "first"),
        successes=("successes", "first"),
        step=("half", "first"),
    )
    pairs = pairs.reset_index()
    pairs = pairs[pairs["state"].notna()].reset_index(
        drop=True
    )  # an audit may know only some skills
    pairs["correct"] = 0  # not used: these nulls see no later answer
    per_skill = pairs[pairs["attempts"] >= LATER_PER_SKILL]
    nulls = pd.DataFrame(step_nulls(pairs, base, post=False), index=pairs.index)
    share = pairs["attempts"] / pairs.groupby("sequence")["attempts"].transform("sum")
    names = ["state", "outcome", *nulls]
    whole = pd.concat([pairs[["state", "outcome"]], nulls], axis=1).mul(share, axis=0)
    whole = whole.groupby(pairs["sequence"])[names].sum()
    groups = pairs.groupby("sequence")
    whole = whole.assign(learner=groups["learner"].first(), attempts=groups["attempts"].sum())
    whole = whole[whole["attempts"] >= LATER_PER_LEARNER].assign(skill=0)
    pooled, alone = ("pooled", "within_skill"), ("pooled",)
    name, state, outcome = "prospective validity, learner", "state", "outcome"
    skill_nulls, whole_nulls = (
        dict(nulls.loc[per_skill.index].items()),
        dict(whole[[*nulls]].items()),
    )
    pair = f"{name} x skill", "pre", per_skill, per_skill[state], per_skill[outcome], pooled
    return [
        Question(*pair, skill_nulls),
        Question(name, "pre", whole, whole[state], whole[outcome], alone, whole_nulls),
    ]


def _associate(question: Question, bootstrap: Bootstrap) -> pd.DataFrame:
    """The association of each score with the outcome, and the model's lead over it."""
    rows, outcome = question.rows, np.asarray(question.outcome, float)
    learner, skill = rows["learner"].to_numpy(), rows["skill"].to_numpy()
    scores = [("model", "model", question.score)]
    scores += [(name, "null", x) for name, x in question.nulls.items()]
    scores += [(name, "reference", x) for name, x in question.references.items()]
    table, own = [], {}
    for name, kind, x in scores:
        association = Association(np.asarray(x, float), outcome, learner, skill, bootstrap)
        for variant in question.variants:
            values = getattr(association, variant)()
            own.setdefault(variant, values)
            row = {"measure": question.measure, "variant": variant, "sees": question.sees}
            against = _against(
                own[variant], values, name, kind, bootstrap, association.entries, rows
            )
            table.append(row | against)
    return pd.DataFrame(table)
