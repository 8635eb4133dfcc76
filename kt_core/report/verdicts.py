"""Verdicts: each target with the measured value, what it sees, its best null, and a word."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from kt_core.config import TargetConfig
from kt_core.data.registry import best_auc
from kt_core.evaluation.associations import GAIN_PERFORMANCE, HIDDEN, IF_TRUE
from kt_core.evaluation.exam import ABILITY
from kt_core.evaluation.measures import Measures
from kt_core.evaluation.shape import BELIEVED_GROWTH, MISSING_GROWTH, STRICT
from kt_core.metrics.association import VARIANTS
from kt_core.report.examine import Examined
from kt_core.report.text import (
    against_ladder,
    best_rung,
    called,
    difference,
    interval,
    number,
    percent,
)

NAMES = {
    "monotonicity": "Mastery falls between steps",
    "negative_gains": "Negative gains",
    "bounds": "Mastery outside [0, 1]",
    "fall_after_correct": "Mastery falls at a right answer on its skill",
    "filtered_monotonicity": "Filtered mastery (what a live user sees) falls between steps",
    "filtered_fall_after_correct": "Filtered mastery falls at a right answer on its skill",
    "rise_in_break": "Mastery rises in a break",
    "below_start": "Mastery below its start",
}
AT_STEPS = {"monotonicity": "Mastery falls at a step (breaks may lower it)"}  # in `retentive`
FILTERED = ("filtered_monotonicity", "filtered_fall_after_correct")
JUDGED = ("monotonicity", "negative_gains", "bounds")
OF_BREAKS = ("rise_in_break", "below_start")
PROSPECTIVE = "prospective validity, learner x skill"
# How the rows of a table of verdicts begin.
AUC_CHOSEN = "AUC on validation learners"
AUC_SIMPLE = "AUC next to simple models"
EXAM = "Exam"
FLAT = "Loss of hidden answers if the trajectory were flat"
GROWTH = "Growth that hidden answers miss"
NO_FORGETTING = "No forgetting"
MATERIAL = 0.1  # share of the growth that may be missing without a word
HARDLY = 0.1  # growth told, in log-odds per unit of log(1 + opportunity), that is next to none
MISSED = ("misses", "uncertain")
UNJUDGED = {
    "gain-correctness": "not judged: gains that copy the answers would score 1",
    "mastery-prediction": "not judged: compares two outputs of the model",
}
UNDEFINED = "not defined on this data"
NOT_JUDGED = "not guaranteed, and not judged"
UNCERTAIN = "uncertain: the interval includes values {} the target"
DOUBT = ("uncertain", "tells as much", "but not the minimum")  # a verdict that is not settled


def verdicts(examined: Examined) -> pd.DataFrame:
    """What the report judges, in words.

    Returns
    -------
    `kind`: *guarantee* (true for any weights), *constraint* (the same without the guarantee),
    *evidence*, or *description* (not judged); `measure`; `sees`; `value`; `interval`; `target`;
    `best null`; `verdict`; `warns`, whether the verdict tells against the model. A target is
    *reached* only where the whole interval clears it.
    """
    m, targets = examined.measures, examined.run.config.targets
    guaranteed = examined.run.model.guaranteed
    wanted = targets.mastery_performance
    gain = (targets.gain_performance, targets.gain_performance_minimum)
    rows = [
        *(_violation(m, name, getattr(targets, name), guaranteed) for name in JUDGED),
        *(_violation(m, name, 0.0, guaranteed) for name in OF_BREAKS if _has_breaks(m)),
        *(_described(m, name, guaranteed) for name in FILTERED),
        _auc(examined, targets),
        *_prediction(m),
        _correlation(m, "mastery-response", "pooled", wanted),
        _correlation(m, PROSPECTIVE, "pooled", wanted),
        *_exam(m),
        _correlation(m, GAIN_PERFORMANCE, "pooled", *gain),
        _correlation(m, "gain-correctness", "pooled"),
        _correlation(m, "mastery-prediction", "skill_average"),
        *_necessity(m),
        *_growth(m),
        *_forgetting(m),
    ]
    table = pd.DataFrame([row for row in rows if row])
    table.insert(0, "kind", table.pop("kind"))
    return table.astype({"warns": bool})


def state(row: pd.Series) -> str:
    """Of a verdict, for its colour: good, unsure, bad, or open (not judged or not defined)."""
    word = row["verdict"]
    if row["kind"] == "description" or word.startswith((UNDEFINED, NOT_JUDGED)):
        return "open"
    if not row["warns"]:
        return "good"
    less = "tells less than" in word or ("misses" in word and "but not the minimum" not in word)
    return "unsure" if not less and any(doubt in word for doubt in DOUBT) else "bad"


def _exam(m: Measures) -> list[dict[str, Any]]:
    """Mastery before the last quarter of each history against the score in it."""
    table = m.exam_rows
    if table.empty:
        return []
    own, best = table.iloc[0], best_rung(table)
    word, ability = against_ladder(table) or UNDEFINED, table[table["predictor"] == ABILITY]
    if len(ability) and not word.startswith((UNDEFINED, "tells more")):
        word += f"; {ABILITY}: r {number(ability['value'].iloc[0])}"
    row = {
        "measure": f"{EXAM}: r of mastery before it with the score in it, over learners",
        "sees": own["sees"],
        "value": number(own["value"]),
        "interval": interval(own["low"], own["high"]),
        "target": "above every rung of the ladder",
        "best null": "none" if best is None else f"{best['value']:.3f} ({best['predictor']})",
        "verdict": word,
        "kind": "evidence",
        "warns": word != UNDEFINED and not word.startswith("tells more"),
    }
    return [row]


def _necessity(m: Measures) -> list[dict[str, Any]]:
    if m.necessity.empty:
        return []
    flat = m.necessity.set_index("quantity").loc["flat at the same level, minus as they are"]
    word = "gains are needed" if flat["low"] > 0 else "no evidence that gains are needed"
    known = np.isfinite(flat["low"])
    row = {
        "measure": FLAT,
        "sees": flat["sees"],
        "value": f"{flat['value']:+.4f}" if known else number(np.nan),
        "interval": interval(flat["low"], flat["high"], 4),
        "target": "> 0",
        "best null": "0 (gains say nothing)",
        "verdict": word if known else UNDEFINED,
        "kind": "evidence",
        "warns": known and not flat["low"] > 0,
    }
    return [row]


def _growth(m: Measures) -> list[dict[str, Any]]:
    """Is growth of the right size? Said only where what is missing is at least a tenth of it."""
    if m.growth.empty:
        return []
    table = m.growth.set_index("quantity")
    missing, told = table.loc[MISSING_GROWTH], table.loc[BELIEVED_GROWTH, "value"]
    value, low, high = missing["value"], missing["low"], missing["high"]
    if not np.isfinite(low):
        word = UNDEFINED
    elif low > 0 and value > MATERIAL * (value + told):
        word = f"understated: {value / (value + told):.0%} of the growth is missing"
    elif high < 0 and told > HARDLY and -value > MATERIAL * told:
        word = f"overstated: {min(-value / told, 1):.0%} of the growth told is not there"
    elif told <= HARDLY:
        word = "hardly any growth is told, and none is missing"
    else:
        word = "of the right size"
    row = {
        "measure": f"{GROWTH} (log-odds per unit of log(1 + opportunity))",
        "sees": missing["sees"],
        "value": f"{value:+.3f}, next to {told:.3f} told" if np.isfinite(low) else number(np.nan),
        "interval": interval(low, high),
        "target": "0",
        "best null": "none",
        "verdict": word,
        "kind": "evidence",
        "warns": word.startswith(("understated", "overstated")),
    }
    return [row]


def _forgetting(m: Measures) -> list[dict[str, Any]]:
    if m.necessity.empty:
        return []
    single = (m.forgetting["skill"] >= 0).astype(bool)
    table, together = m.forgetting[single], m.forgetting[~single]
    against = table[table["contradicted"]]
    names = ", ".join(against["name"].head(5)) + (", ..." if len(against) > 5 else "")
    if table.empty:
        word = f"{UNDEFINED}: too few learners return to a skill"
    elif against.empty:
        word = "not contradicted"
    else:
        word = f"contradicted for {names}"
    rows = [
        {
            "measure": f"{NO_FORGETTING}, {row.name}",
            "value": f"p = {row.p:.1e}",
            "target": f"p >= {STRICT:g}",
            "best null": f"{STRICT:.1%} of them false, if any",
            "verdict": "contradicted" if row.contradicted else "not contradicted",
            "warns": row.contradicted,
        }
        for row in together.itertuples()
    ]
    rows.append(
        {
            "measure": f"{NO_FORGETTING}: skills whose hidden answers say otherwise",
            "value": f"{len(against)} of {len(table)} skills",
            "target": "none",
            "best null": "5 % of them false, if any",
            "verdict": word,
            "warns": len(against) > 0,
        }
    )
    same = {"kind": "evidence", "sees": HIDDEN, "interval": ""}
    return [{"measure": row.pop("measure"), **same, **row} for row in rows]


def names(m: Measures) -> dict[str, str]:
    """Of the constraints, in words: where breaks may lower mastery, falls are counted at steps."""
    return NAMES | AT_STEPS if _has_breaks(m) else NAMES


def _has_breaks(m: Measures) -> bool:
    return "rise_in_break" in set(m.violations["constraint"])


def _violation(m: Measures, name: str, limit: float, guaranteed: bool) -> dict[str, Any]:
    v = m.violations.set_index("constraint").loc[name]
    limit = 0.0 if guaranteed else limit
    below = v["broken"] == 0 if limit == 0 else v["share"] < limit
    ok = below and (limit == 0 or v["high"] < limit)
    word = f"misses the target by {v['share'] - limit:.2%}"
    if below:
        word = "reached" if ok else UNCERTAIN.format("above")
    target = "0, guaranteed" if guaranteed else ("0" if limit == 0 else f"< {limit:.0%}")
    row = _counted(v, names(m)[name], target, word if v["places"] else UNDEFINED, guaranteed)
    return row | {"warns": v["places"] > 0 and not ok}


def _described(m: Measures, name: str, guaranteed: bool) -> dict[str, Any]:
    """What a live user sees, next to what is guaranteed of the trajectory."""
    table = m.violations.set_index("constraint")
    if name not in table.index:
        return {}
    told = NOT_JUDGED
    row = _counted(table.loc[name], NAMES[name], "none", told, guaranteed)
    return row | {"warns": False}


def _counted(
    v: pd.Series, name: str, target: str, verdict: str, guaranteed: bool
) -> dict[str, Any]:
    """A row about the places where something is broken."""
    return {
        "measure": name,
        "sees": v["sees"],
        "value": f"{percent(v['share'])} ({v['broken']:,} of {v['places']:,})",
        "interval": interval(v["low"], v["high"], 2, percent=True),
        "target": target,
        "best null": "0.00% (constant mastery)",
        "verdict": verdict,
        "kind": "guarantee" if guaranteed else "constraint",
    }


def _auc(examined: Examined, targets: TargetConfig) -> dict[str, Any]:
    e, null = examined.valid_auc, examined.valid_null_auc
    word = _word(e.value, e.low, targets.auc, targets.auc_minimum)
    data = examined.run.config.data
    best = 1.0 if data.path else best_auc(data.dataset)
    reported = examined.measures.quality("AUC")["value"]
    for split, value in (("valid", e.value), (examined.split, reported)):
        if value > best:
            word = f"WARNING: {value:.4f} on {split} is above {best:g}, the best ever published on "
            word += "this data; look for a leak"
    return {
        "measure": f"{AUC_CHOSEN} (on whom the epoch was chosen)",
        "sees": "pre",
        "value": number(e.value, 4),
        "interval": interval(e.low, e.high, 4),
        "target": f">= {targets.auc:g} (minimum {targets.auc_minimum:g})",
        "best null": f"{number(null.value)} (success counter)",
        "verdict": word,
        "kind": "evidence",
        "warns": word.startswith(("WARNING", *MISSED)),
    }


def _prediction(m: Measures) -> list[dict[str, Any]]:
    """Does a simple model predict better? Where BKT does, learning may come in steps, which no sum
    of gains can follow."""
    if len(m.simple) < 2:
        return []
    own, best, word = m.simple.iloc[0], best_rung(m.simple), UNDEFINED
    if best is not None and np.isfinite(best["gap_low"]):
        better = "worse than" if best["gap_high"] < 0 else "better than"
        level = best["gap_low"] <= 0 <= best["gap_high"]
        word = f"{'about as well as' if level else better} {called(best['predictor'])} "
        word += f"({difference(best, 4)})"
        if best["predictor"] == "BKT" and not best["gap_low"] > 0:
            word += "; learning may come in steps, and BKT is made for that"
    row = {
        "measure": AUC_SIMPLE,
        "sees": "pre",
        "value": number(own["value"], 4),
        "interval": interval(own["low"], own["high"], 4),
        "target": "not below any of them",
        "best null": "none" if best is None else f"{best['value']:.4f} ({best['predictor']})",
        "verdict": word,
        "kind": "evidence",
        "warns": word.startswith("worse"),
    }
    return [row]


def _correlation(
    m: Measures,
    measure: str,
    variant: str,
    target: float | None = None,
    minimum: float | None = None,
) -> dict[str, Any]:
    table = m.associations
    if table.empty or not (table["measure"] == measure).any():
        return {}
    row, null = m.association(measure, variant), m.best_null(measure, variant)
    judged = target is not None
    word = _word(row["value"], row["low"], target, minimum) if judged else UNJUDGED[measure]
    warns = judged and word.startswith(MISSED)
    if null is not None and np.isfinite(null["gap_low"]):
        word += "; " + _against(null)
        warns |= judged and not null["gap_low"] > 0
    wanted = "none" if target is None else f"> {target:g}"
    if measure == GAIN_PERFORMANCE and np.isfinite(expected := _expected(m)):
        wanted += f"; {expected:.3f} expected {IF_TRUE}"
    return {
        "measure": f"{measure} r, {VARIANTS[variant]}",
        "sees": row["sees"],
        "value": number(row["value"]),
        "interval": interval(row["low"], row["high"]),
        "target": wanted + ("" if minimum is None else f" (minimum {minimum:g})"),
        "best null": "none" if null is None else f"{null['value']:.3f} ({null['predictor']})",
        "verdict": word,
        "kind": "evidence" if judged else "description",
        "warns": warns,
    }


def _expected(m: Measures) -> float:
    """What gain-performance would be if the model's probabilities were true."""
    a = m.associations
    rows = a[(a["measure"] == GAIN_PERFORMANCE) & (a["kind"] == "reference")]
    return float(rows.loc[rows["variant"] == "pooled", "value"].iloc[0])


def _word(value: float, low: float, target: float, minimum: float | None = None) -> str:
    """*Reached* if the whole interval clears the target."""
    if not np.isfinite(value):
        return UNDEFINED
    if value >= target:
        if not np.isfinite(low):
            return "uncertain: there is no interval"
        return "reached" if low >= target else UNCERTAIN.format("below")
    short = f"misses the target by {target - value:.3f}"
    return f"{short}, but not the minimum" if minimum is not None and value >= minimum else short


def _against(null: pd.Series) -> str:
    """What the model tells next to the best null, by the paired interval."""
    best = called(null["predictor"])
    if null["gap_low"] > 0:
        return f"tells more than {best}"
    return f"tells less than {best}" if null["gap_high"] < 0 else f"{best} tells as much"
