"""Verdicts: each target with the measured value, what it sees, its best null, and a word."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from kt_core.config import TargetConfig
from kt_core.data.registry import best_auc
from kt_core.evaluation.measures import Measures
from kt_core.metrics.association import VARIANTS
from kt_core.report.examine import Examined
from kt_core.report.text import against_ladder, best_rung, interval, number, percent

NAMES = {
    "monotonicity": "Mastery falls between steps",
    "negative_gains": "Negative gains",
    "bounds": "Mastery outside [0, 1]",
    "fall_after_correct": "Mastery falls at a right answer on its skill",
    "filtered_monotonicity": "Filtered mastery (what a live user sees) falls between steps",
    "filtered_fall_after_correct": "Filtered mastery falls at a right answer on its skill",
}
JUDGED = ("monotonicity", "negative_gains", "bounds")
PROSPECTIVE = "prospective validity, learner x skill"
UNDEFINED = "not defined on this data"


def verdicts(examined: Examined) -> pd.DataFrame:
    """One row per target: measure, what it sees, value, interval, target, best null and verdict.

    Post-response correlations are labelled as such: gain-correctness has its own target, and
    mastery-prediction (the original monitor's number) has none.
    """
    m, targets = examined.measures, examined.run.config.targets
    guaranteed = examined.run.model.guaranteed
    wanted = targets.mastery_performance
    gain = (targets.gain_correctness, targets.gain_correctness_minimum)
    return pd.DataFrame(
        [
            *(_violation(m, name, getattr(targets, name), guaranteed) for name in JUDGED),
            _auc(examined, targets),
            _correlation(m, "mastery-response", "pooled", wanted),
            _correlation(m, PROSPECTIVE, "pooled", wanted),
            *_exam(m),
            _correlation(m, "gain-correctness", "pooled", *gain),
            _correlation(m, "mastery-prediction", "skill_average"),
            *_necessity(m),
            *_forgetting(m),
        ]
    )


def _exam(m: Measures) -> list[dict[str, Any]]:
    """Mastery before the last quarter of each history against the score in it."""
    table = m.exam_rows
    if table.empty:
        return []
    own, best = table.iloc[0], best_rung(table)
    row = {
        "measure": "Exam: r of mastery before it with the score in it, over learners",
        "sees": own["sees"],
        "value": number(own["value"]),
        "interval": interval(own["low"], own["high"]),
        "target": "above every rung of the ladder",
        "best null": "none" if best is None else f"{best['value']:.3f} ({best['predictor']})",
        "verdict": against_ladder(table) or UNDEFINED,
    }
    return [row]


def _necessity(m: Measures) -> list[dict[str, Any]]:
    if m.necessity.empty:
        return []
    flat = m.necessity.set_index("quantity").loc["flat at the same level, minus as they are"]
    word = "gains are needed" if flat["low"] > 0 else "no evidence that gains are needed"
    known = np.isfinite(flat["low"])
    row = {
        "measure": "Loss of hidden answers if the trajectory were flat",
        "sees": flat["sees"],
        "value": f"{flat['value']:+.4f}" if known else number(np.nan),
        "interval": interval(flat["low"], flat["high"], 4),
        "target": "> 0",
        "best null": "0 (gains say nothing)",
        "verdict": word if known else UNDEFINED,
    }
    return [row]


def _forgetting(m: Measures) -> list[dict[str, Any]]:
    if m.necessity.empty:
        return []
    single = (m.forgetting["skill"] >= 0).astype(bool)
    table = m.forgetting[single]
    against = table[table["contradicted"]]
    names = ", ".join(against["name"].head(5)) + (", ..." if len(against) > 5 else "")
    if table.empty:
        word = f"{UNDEFINED}: too few learners return to a skill"
    elif against.empty:
        word = "not contradicted"
    else:
        word = f"contradicted for {names}"
    row = {
        "measure": "No forgetting: skills whose hidden answers say otherwise",
        "sees": "retrospective, answer hidden",
        "value": f"{len(against)} of {len(table)} skills",
        "interval": "",
        "target": "none",
        "best null": "5 % of them false, if any",
        "verdict": word,
    }
    return [row]


def _violation(m: Measures, name: str, limit: float, guaranteed: bool) -> dict[str, Any]:
    v = m.violations.set_index("constraint").loc[name]
    limit = 0.0 if guaranteed else limit
    ok = v["broken"] == 0 if limit == 0 else v["share"] < limit
    word = "meets the target" if ok else f"misses the target by {v['share'] - limit:.2%}"
    word = word if v["places"] else UNDEFINED
    return {
        "measure": NAMES[name],
        "sees": v["sees"],
        "value": f"{percent(v['share'])} ({v['broken']:,} of {v['places']:,})",
        "interval": interval(v["low"], v["high"], 2, percent=True),
        "target": "0, guaranteed" if guaranteed else ("0" if limit == 0 else f"< {limit:.0%}"),
        "best null": "0.00% (constant mastery)",
        "verdict": word,
    }


def _auc(examined: Examined, targets: TargetConfig) -> dict[str, Any]:
    e, null = examined.valid_auc, examined.valid_null_auc
    word = _word(e.value, targets.auc, targets.auc_minimum)
    best = best_auc(examined.splits.dataset.name)
    reported = examined.measures.quality("AUC")["value"]
    for split, value in (("valid", e.value), (examined.split, reported)):
        if value > best:
            word = f"WARNING: {value:.4f} on {split} is above {best:g}, the best ever published on "
            word += "this data; look for a leak"
    return {
        "measure": "AUC on validation learners (on whom the epoch was chosen)",
        "sees": "pre",
        "value": number(e.value, 4),
        "interval": interval(e.low, e.high, 4),
        "target": f">= {targets.auc:g} (minimum {targets.auc_minimum:g})",
        "best null": f"{number(null.value)} (success counter)",
        "verdict": word,
    }


def _correlation(
    m: Measures,
    measure: str,
    variant: str,
    target: float | None = None,
    minimum: float | None = None,
) -> dict[str, Any]:
    row, null = m.association(measure, variant), m.best_null(measure, variant)
    word = "no target: compares two outputs of the model" if target is None else ""
    word = word or _word(row["value"], target, minimum)
    if null is not None and np.isfinite(null["gap_low"]):
        word += "; " + _against(null)
    wanted = "none" if target is None else f"> {target:g}"
    return {
        "measure": f"{measure} r, {VARIANTS[variant]}",
        "sees": row["sees"],
        "value": number(row["value"]),
        "interval": interval(row["low"], row["high"]),
        "target": wanted + ("" if minimum is None else f" (minimum {minimum:g})"),
        "best null": "none" if null is None else f"{null['value']:.3f} ({null['predictor']})",
        "verdict": word,
    }


def _word(value: float, target: float, minimum: float | None) -> str:
    if not np.isfinite(value):
        return UNDEFINED
    if value >= target:
        return "meets the target"
    if minimum is not None and value >= minimum:
        return f"meets the minimum, misses the target by {target - value:.3f}"
    return f"misses the target by {target - value:.3f}"


def _against(null: pd.Series) -> str:
    if null["gap_low"] > 0:
        return "better than the best null"
    return "worse than the best null" if null["gap_high"] < 0 else "no better than the best null"
