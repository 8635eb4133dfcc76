"""The measures of section 6 of the design, computed from evidence into tidy tables.

Each association is labelled with what it may see (*pre*, *post*, *retrospective*, *truth*), has an
interval over learners, and stands beside the nulls that anyone gets for free, with the paired
difference to each.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from scipy.stats import rankdata

from kt_core.evaluate import Evidence
from kt_core.metrics.association import Association
from kt_core.metrics.bootstrap import Bootstrap, Estimate
from kt_core.metrics.nulls import gain_nulls, step_nulls
from kt_core.metrics.prediction import Prediction, calibration_curve

LATER_PER_SKILL = 3  # later attempts on a skill before a learner x skill pair counts
LATER_PER_LEARNER = 10
CONSTRAINTS = ("monotonicity", "negative_gains", "bounds", "fall_after_correct")


@dataclass
class Measures:
    """Tidy tables; NaN means *not defined* on this data.

    Attributes
    ----------
    prediction : predictor (the model, or a null that is a probability), quality, value, low, high.
    violations : constraint, sees, share, low, high, broken, places.
    associations : measure, variant, sees, predictor, kind (model, null, reference), value, low,
        high, gap, gap_low, gap_high (model minus this row, paired), entries, learners.
    calibration : predicted, observed, low, high;  `miscalibration` in Brier units.
    skills : one row per skill.
    collapse, recovery : quantity, value (and interval).
    """

    prediction: pd.DataFrame
    violations: pd.DataFrame
    associations: pd.DataFrame
    calibration: pd.DataFrame
    miscalibration: float
    skills: pd.DataFrame
    collapse: pd.DataFrame
    recovery: pd.DataFrame = field(default_factory=pd.DataFrame)

    def quality(self, name: str, predictor: str = "model") -> pd.Series:
        """One row of `prediction`."""
        p = self.prediction
        return p[(p.quality == name) & (p.predictor == predictor)].iloc[0]

    def association(self, measure: str, variant: str = "pooled") -> pd.Series:
        """The model's own row of one association."""
        a = self.associations
        own = a[(a.measure == measure) & (a.variant == variant) & (a.kind == "model")]
        return own.iloc[0]

    def best_null(self, measure: str, variant: str = "pooled") -> pd.Series | None:
        """The strongest null beside it, or None where none is defined."""
        a = self.associations
        nulls = a[(a.measure == measure) & (a.variant == variant) & (a.kind == "null")]
        nulls = nulls[nulls["value"].notna()]
        return None if nulls.empty else nulls.loc[nulls["value"].idxmax()]


def measure(
    evidence: Evidence,
    base: np.ndarray,
    skill_names: tuple[str, ...],
    resamples: int = 1000,
    seed: int = 0,
) -> Measures:
    """All measures of one model on one split.

    Parameters
    ----------
    base : [C], share of right answers per skill in the *training* data, for the nulls.
    """
    bootstrap = Bootstrap(len(evidence.learners), resamples, seed)
    rows = evidence.predicted
    prediction = Prediction(
        rows["predicted"].to_numpy(),
        rows["correct"].to_numpy(),
        rows["learner"].to_numpy(),
        bootstrap,
    )
    curve, miscalibration = calibration_curve(prediction)
    return Measures(
        prediction=prediction_table(prediction, rows, base),
        violations=violation_table(evidence, bootstrap),
        associations=association_table(evidence, base, bootstrap),
        calibration=curve,
        miscalibration=miscalibration,
        skills=skill_table(evidence, base, skill_names),
        collapse=collapse_table(evidence),
        recovery=recovery_table(evidence, bootstrap),
    )


def prediction_table(prediction: Prediction, rows: pd.DataFrame, base: np.ndarray) -> pd.DataFrame:
    """Quality of the model's predictions and of the two nulls that are probabilities."""
    nulls = step_nulls(rows, base, post=False)
    parts = [_tidy(prediction.estimates(), "quality").assign(predictor="model")]
    for name in ("skill base rate", "success counter"):
        null = Prediction(nulls[name], prediction.y, prediction.learner, prediction.bootstrap)
        parts.append(_tidy(null.estimates(), "quality").assign(predictor=name))
    return pd.concat(parts, ignore_index=True)


def violation_table(evidence: Evidence, bootstrap: Bootstrap) -> pd.DataFrame:
    """Share of places where each constraint is broken, over all learners of the split."""
    by_learner = evidence.counts.groupby("learner").sum()
    by_learner = by_learner.reindex(range(bootstrap.n), fill_value=0)
    rows = []
    for name in CONSTRAINTS:
        broken, places = by_learner[name].to_numpy(), by_learner[f"{name}_n"].to_numpy()
        e = bootstrap.ratio(broken.astype(float), places.astype(float))
        rows.append(
            {
                "constraint": name,
                "sees": "retrospective",
                "share": e.value,
                "low": e.low,
                "high": e.high,
                "broken": int(broken.sum()),
                "places": int(places.sum()),
            }
        )
    return pd.DataFrame(rows)


def association_table(evidence: Evidence, base: np.ndarray, bootstrap: Bootstrap) -> pd.DataFrame:
    """All correlations that need no second model, with nulls and references."""
    rows, frame = evidence.predicted, evidence.frame
    correct = rows["correct"].to_numpy(float)
    parts = [
        _associate(
            "mastery-response",
            "pre",
            rows,
            rows["mastery_pre"],
            correct,
            bootstrap,
            ("pooled", "within_skill", "learner_average"),
            step_nulls(rows, base, post=False),
            {"model's own prediction": rows["predicted"]},
        ),
        *_prospective(evidence, base, bootstrap),
        _associate(
            "gain-correctness",
            "post",
            frame,
            frame["gain"],
            frame["correct"],
            bootstrap,
            ("pooled", "within_skill"),
            gain_nulls(frame, base),
            {"true gain": frame["true_gain"]} if "true_gain" in frame else {},
        ),
        _associate(
            "mastery-prediction",
            "post",
            rows,
            rows["mastery_post"],
            rows["predicted"],
            bootstrap,
            ("skill_average", "pooled"),
            step_nulls(rows, base, post=True),
            {},
        ),
    ]
    return pd.concat(parts, ignore_index=True)


def _prospective(evidence: Evidence, base: np.ndarray, bootstrap: Bootstrap) -> list[pd.DataFrame]:
    """State at the middle of a sequence against correctness in its second half."""
    frame = evidence.frame
    half = frame.groupby("sequence")["step"].transform("size") // 2
    later = frame[frame["step"] >= half].copy()
    later["state"] = evidence.middle[later["sequence"], later["skill"]]
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
    pairs["correct"] = 0  # unused: a pre-response null sees none of the later answers
    per_skill = pairs[pairs["attempts"] >= LATER_PER_SKILL]
    nulls = pd.DataFrame(step_nulls(pairs, base, post=False), index=pairs.index)
    share = pairs["attempts"] / pairs.groupby("sequence")["attempts"].transform("sum")
    names = ["state", "outcome", *nulls]
    whole = pd.concat([pairs[["state", "outcome"]], nulls], axis=1).mul(share, axis=0)
    whole = whole.groupby(pairs["sequence"])[names].sum()
    groups = pairs.groupby("sequence")
    whole = whole.assign(learner=groups["learner"].first(), attempts=groups["attempts"].sum())
    whole = whole[whole["attempts"] >= LATER_PER_LEARNER].assign(skill=0)
    return [
        _associate(
            "prospective validity, learner x skill",
            "pre",
            per_skill,
            per_skill["state"],
            per_skill["outcome"],
            bootstrap,
            ("pooled", "within_skill"),
            dict(nulls.loc[per_skill.index].items()),
            {},
        ),
        _associate(
            "prospective validity, learner",
            "pre",
            whole,
            whole["state"],
            whole["outcome"],
            bootstrap,
            ("pooled",),
            dict(whole[list(nulls)].items()),
            {},
        ),
    ]


def _associate(
    measure: str,
    sees: str,
    rows: pd.DataFrame,
    score: np.ndarray | pd.Series,
    outcome: np.ndarray | pd.Series,
    bootstrap: Bootstrap,
    variants: tuple[str, ...],
    nulls: dict[str, np.ndarray],
    references: dict[str, np.ndarray],
) -> pd.DataFrame:
    learner, skill = rows["learner"].to_numpy(), rows["skill"].to_numpy()
    predictors = [("model", "model", score)]
    predictors += [(name, "null", x) for name, x in nulls.items()]
    predictors += [(name, "reference", x) for name, x in references.items()]
    table, own = [], {}
    for name, kind, x in predictors:
        association = Association(
            np.asarray(x, float), np.asarray(outcome, float), learner, skill, bootstrap
        )
        for variant in variants:
            values = getattr(association, variant)()
            own.setdefault(variant, values)
            e = bootstrap.estimate(values, association.entries, association.learners)
            gap = bootstrap.estimate(own[variant] - values, e.entries, e.learners)
            row = {"measure": measure, "variant": variant, "sees": sees}
            row |= {"predictor": name, "kind": kind, "value": e.value, "low": e.low}
            row |= {"high": e.high, "gap": gap.value, "gap_low": gap.low, "gap_high": gap.high}
            table.append(row | {"entries": e.entries, "learners": e.learners})
    return pd.DataFrame(table)


def skill_table(evidence: Evidence, base: np.ndarray, names: tuple[str, ...]) -> pd.DataFrame:
    """Per skill: practice, correctness, AUC, mastery, gains and growth."""
    from sklearn.metrics import roc_auc_score

    frame, rows = evidence.frame, evidence.predicted

    def auc(part: pd.DataFrame) -> float:
        if part["correct"].nunique() < 2:
            return np.nan
        return roc_auc_score(part["correct"], part["predicted"])

    per = frame.groupby("skill")
    pairs = frame.groupby(["skill", "learner"])["mastery_post"]
    growth = (pairs.last() - pairs.first()).groupby("skill").mean()
    table = pd.DataFrame(
        {
            "learners": per["learner"].nunique(),
            "answers": per.size(),
            "correct": per["correct"].mean(),
            "correct_train": pd.Series(base).reindex(per.size().index),
            "auc": rows.groupby("skill")[["correct", "predicted"]].apply(auc),
            "mastery": per["mastery_post"].mean(),
            "gain": per["gain"].mean(),
            "growth": growth,
        }
    )
    table.insert(0, "name", [names[i] for i in table.index])
    return table.reset_index().sort_values("answers", ascending=False, ignore_index=True)


def collapse_table(evidence: Evidence) -> pd.DataFrame:
    """Signs that mastery or gains say nothing: no spread, everything at the bounds, no gains."""
    counts, frame = evidence.counts, evidence.frame
    practised = frame.groupby(["sequence", "skill"]).size().index
    final = evidence.final[practised.get_level_values(0), practised.get_level_values(1)]
    skill = practised.get_level_values(1)
    gains = frame.groupby("skill")["gain"].mean()
    entries = counts["entries"].sum()
    values = {
        "spread of mean own gain over skills (sd)": gains.std(),
        "mean own gain": frame["gain"].mean(),
        "spread of final mastery over learners, mean over skills (sd)": pd.Series(final)
        .groupby(skill)
        .std()
        .mean(),
        "mean final mastery of practised skills": final.mean(),
        "share of mastery at the bounds, all skills": counts["at_bounds"].sum() / entries,
        "share of gains exactly zero, all skills": counts["zero_gains"].sum() / entries,
        "share of own gains exactly zero": (frame["gain"] == 0).mean(),
    }
    return pd.DataFrame({"quantity": list(values), "value": [float(v) for v in values.values()]})


def recovery_table(evidence: Evidence, bootstrap: Bootstrap) -> pd.DataFrame:
    """Simulated learners only: mastery and growth against the truth; empty otherwise.

    Rank correlations are Pearson's on ranks over the whole split, so that resampling learners
    does not rank again. Growth is mastery after the last minus after the first opportunity.
    """
    frame = evidence.frame
    if "true_mastery" not in frame:
        return pd.DataFrame()
    pairs = frame.groupby(["learner", "skill"])
    both = pairs[["mastery_post", "true_mastery"]]
    growth = (both.last() - both.first())[pairs.size() >= 2].reset_index()
    squared = (frame["mastery_post"] - frame["true_mastery"]) ** 2
    n = bootstrap.n
    total, count = (np.bincount(frame["learner"], w, n) for w in (squared, np.ones(len(frame))))
    mse = (bootstrap.weights @ total) / (bootstrap.weights @ count)
    sums = [np.bincount(growth["learner"], growth[c], n) for c in ("mastery_post", "true_mastery")]
    estimates = {
        "mastery, rank correlation": _rank_correlation(frame, bootstrap),
        "mastery, RMSE": bootstrap.estimate(np.sqrt(mse), len(frame), n),
        "growth, rank correlation": _rank_correlation(growth, bootstrap),
        "growth, mean of the model": bootstrap.ratio(
            sums[0], np.bincount(growth["learner"], minlength=n).astype(float)
        ),
        "growth, mean of the truth": bootstrap.ratio(
            sums[1], np.bincount(growth["learner"], minlength=n).astype(float)
        ),
        "growth, model by truth": dataclasses.replace(
            bootstrap.ratio(sums[0], sums[1]), entries=len(growth)
        ),
    }
    return _tidy(estimates, "quantity")


def _rank_correlation(table: pd.DataFrame, bootstrap: Bootstrap) -> Estimate:
    x, y = rankdata(table["mastery_post"]), rankdata(table["true_mastery"])
    learner, skill = table["learner"].to_numpy(), table["skill"].to_numpy()
    return Association(x, y, learner, skill, bootstrap).estimate("pooled")


def _tidy(estimates: dict[str, Estimate], label: str) -> pd.DataFrame:
    return pd.DataFrame([{label: k, **dataclasses.asdict(e)} for k, e in estimates.items()])
