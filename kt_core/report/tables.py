"""The tables of the report, for people and as `metrics.json`."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pandas as pd

from kt_core.base.files import plain
from kt_core.data.same import Answers, check_same
from kt_core.evaluation.exam import ASKED, BEFORE, PER_SKILL
from kt_core.evaluation.measures import Measures
from kt_core.metrics.association import VARIANTS
from kt_core.report.examine import Examined, paired_aucs
from kt_core.report.text import best_rung, difference, interval, number, percent, with_interval
from kt_core.report.verdicts import (
    FILTERED,
    JUDGED,
    NAMES,
    PROSPECTIVE,
    names,
    state,
    verdicts,
)

EXAM_KEYS = ASSOCIATED = ["measure", "variant", "sees"]
FEW = 50  # learners; with at least so many, intervals hold the truth in 94 to 95 of 100 cases


KINDS = {  # of verdicts
    "guarantee": "Guarantees: true for any weights, so no evidence that mastery is right. What a "
    "live user saw has none, as later answers revise it.",
    "constraint": "Constraints, which this mode does not guarantee.",
    "evidence": "Evidence.",
    "description": "Described, and not judged.",
}
OF_HISTORY, OF_LIVE = "in the history, as believed at its end", "as a live user saw it"


def verdict_tables(examined: Examined) -> dict[str, tuple[pd.DataFrame, list[str]]]:
    """The verdicts for people: by caption, the table of each kind and the state of each row (good,
    unsure, bad or open)."""
    rows, found = verdicts(examined), {}
    for kind, caption in KINDS.items():
        table = rows[rows["kind"] == kind]
        if table.empty:
            continue
        if kind in ("guarantee", "constraint"):
            found[caption] = _constraints(examined.measures, table)
            continue
        value = (table["value"] + " " + table["interval"]).str.strip()
        shown = table[["measure", "sees"]].assign(value=value)
        shown[["target", "best null", "verdict"]] = table[["target", "best null", "verdict"]]
        found[caption] = shown, [state(row) for _, row in table.iterrows()]
    return found


def _constraints(m: Measures, table: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """Each constraint on the history, and next to it on what a live user saw."""
    counts, judged = m.violations.set_index("constraint"), table.set_index("measure")
    rows, states = [], []
    for key, name in names(m).items():
        if key in FILTERED or key not in counts.index:
            continue
        row = {"measure": name, OF_HISTORY: _counted(counts.loc[key])}
        live = f"filtered_{key}"
        row[OF_LIVE] = _counted(counts.loc[live]) if live in counts.index else ""
        own = judged.loc[name] if name in judged.index else None
        row |= {"target": "none", "verdict": "described, and not judged"}
        rows.append(row if own is None else row | {n: own[n] for n in ("target", "verdict")})
        states.append("open" if own is None else state(own))
    shown = pd.DataFrame(rows)
    return (shown if (shown[OF_LIVE] != "").any() else shown.drop(columns=OF_LIVE)), states


def _counted(v: pd.Series) -> str:
    """How often a constraint is broken: a count where it never is, and else a share."""
    if not v["places"]:
        return number(None)
    if not v["broken"]:
        return f"0 of {v['places']:,}"
    share = f"{percent(v['share'])} {interval(v['low'], v['high'], 2, percent=True)}".strip()
    return f"{share} ({v['broken']:,} of {v['places']:,})"


def association_text(m: Measures) -> pd.DataFrame:
    """The associations: the model, the best of its nulls and the lead over it, and its reference.
    All nulls are in metrics.json."""
    rows = []
    if m.associations.empty:
        return m.associations
    for (measure, variant, sees), part in m.associations.groupby(ASSOCIATED, sort=False):
        own, best = part[part["kind"] == "model"].iloc[0], m.best_null(measure, variant)
        row = {"measure": measure, "variant": VARIANTS[variant], "sees": sees}
        row |= {"model": with_interval(own), "best null": "", "minus the best null": ""}
        if best is not None:
            row["best null"] = f"{number(best['value'])} ({best['predictor']})"
            row["minus the best null"] = difference(best)
        known = part[part["kind"] == "reference"]
        row["reference"] = "; ".join(
            f"{number(r.value)} ({r.predictor})" for r in known.itertuples()
        )
        rows.append(row | {"entries": f"{own['entries']:,}"})
    return pd.DataFrame(rows)


def exam_text(m: Measures) -> pd.DataFrame:
    """The exam: the model and the rungs of the ladder side by side."""
    if m.exam.empty:
        return m.exam
    return ladder_text(m.exam.assign(variant=m.exam["variant"].map(VARIANTS)), EXAM_KEYS)


def simple_text(m: Measures) -> pd.DataFrame:
    """AUC of the model and of the rungs of the ladder side by side; empty without a ladder."""
    return ladder_text(m.simple, ["measure", "sees"], 4) if len(m.simple) > 1 else pd.DataFrame()


def ladder_text(table: pd.DataFrame, keys: list[str], digits: int = 3) -> pd.DataFrame:
    """`paired_table`s, one after the other: a row for each, with the model and its interval, the
    rungs and what else the model says itself, and its lead over the best rung.

    Parameters
    ----------
    keys : the columns that tell the tables apart.
    """
    rows = []
    for values, part in table.groupby(keys, sort=False):
        own, best = part.iloc[0], best_rung(part)
        row = dict(zip(keys, values, strict=True)) | {"model": with_interval(own, digits)}
        rungs = part[part["kind"] != "model"]
        row |= {
            r.predictor: number(r.value, digits) for r in rungs.itertuples() if np.isfinite(r.value)
        }
        if best is not None:
            row["minus the best rung"] = difference(best, digits)
        rows.append(row | {"entries": f"{own['entries']:,}", "learners": f"{own['learners']:,}"})
    last = ["minus the best rung", "entries", "learners"]
    wide = pd.DataFrame(rows).fillna("")
    return wide[[*(c for c in wide if c not in last), *(c for c in last if c in wide)]]


def exam_rules(m: Measures, learners: int) -> str:
    """Who takes the exam, in a sentence; `learners` is the number of all."""
    takers = 0 if m.exam.empty else int(m.exam["learners"].max())
    return (
        f"{takers:,} of {learners:,} learners take the exam: those with at least {ASKED} answers "
        f"in the last quarter of their history and {BEFORE} before it; a skill counts with at "
        f"least {PER_SKILL} answers in the exam; models that read chunk by chunk see the last "
        "chunk of answers before it, others all of them"
    )


def over_learners(learners: int) -> str:
    """What the intervals are over, with a warning for few learners (benchmarks/intervals.py)."""
    few = "" if learners >= FEW else "; of so few they hold the truth in some 93 of 100 cases"
    return f"95 % over {learners:,} learners{few}"


def prediction_text(m: Measures) -> pd.DataFrame:
    """Prediction quality with intervals, the model next to the nulls."""
    if m.prediction.empty:
        return m.prediction
    p = m.prediction.copy()
    p["text"] = [with_interval(row, 4) for row in p.to_dict("records")]
    wide = p.pivot_table("text", "quality", "predictor", aggfunc="first", sort=False)
    return wide.reset_index().rename_axis(columns=None)


def violation_text(m: Measures) -> pd.DataFrame:
    """Broken constraints with intervals and counts."""
    v = m.violations
    if v.empty:
        return v
    return pd.DataFrame(
        {
            "constraint": v["constraint"].map(names(m)),
            "sees": v["sees"],
            "counted on": v["scope"],
            "share": v["share"].map(percent),
            "interval": [interval(r.low, r.high, 2, percent=True) for r in v.itertuples()],
            "broken": v["broken"].map("{:,}".format),
            "places": v["places"].map("{:,}".format),
        }
    )


def quantities_text(table: pd.DataFrame, digits: int = 4) -> pd.DataFrame:
    """`Measures.conduct` or `necessity`, with values and intervals as text."""
    if table.empty:
        return table
    text = [with_interval(row, digits) for row in table.to_dict("records")]
    return table[["quantity", "sees"]].assign(value=text)


SKILL_COLUMNS = {  # of `Measures.skills`, in words
    "name": "skill",
    "learners": "learners",
    "answers": "answers",
    "correct": "share right",
    "correct_train": "share right, training learners",
    "auc": "AUC within the skill",
    "mastery": "mean mastery",
    "growth": "mean growth",
    "gain": "mean gain",
}


def skills_text(m: Measures, most: int = 20) -> pd.DataFrame:
    """The most practised skills, with columns in words."""
    table = m.skills.head(most)
    known = [name for name in SKILL_COLUMNS if name in table]
    return table[known].rename(columns=SKILL_COLUMNS)


def forgetting_text(m: Measures, most: int = 12) -> pd.DataFrame:
    """The tests of forgetting: all skills together, and those that tell most; empty without any."""
    table = m.forgetting.head(most)
    return pd.DataFrame(
        {
            "skills": table["name"],
            "learners": table["learners"],
            "change after a break (log-odds)": table["effect"].map("{:+.3f}".format),
            "log loss saved": table["saved"].map("{:+.4f}".format),
            "p": table["p"].map("{:.2g}".format),
            "q": table["q"].map("{:.2g}".format),
            "no forgetting is": np.where(table["contradicted"], "contradicted", "not contradicted"),
        }
    )


def recovery_text(m: Measures) -> pd.DataFrame:
    """Recovery of the truth: the model, its ceiling, and the share of the ceiling."""
    table = m.recovery.copy()
    table["text"] = [with_interval(row) for row in table.to_dict("records")]
    keys = ["quantity", "sees"]
    wide = table.pivot_table("text", keys, "predictor", aggfunc="first", sort=False)
    if "ceiling" in wide:
        value = table.pivot_table("value", keys, "predictor", aggfunc="first", sort=False)
        ratio, quantity = value["model"] / value["ceiling"], wide.index.get_level_values("quantity")
        ranks, errors = quantity.str.contains("rank"), quantity.str.contains("RMSE")
        wide["share of the ceiling"] = ratio.map(lambda x: percent(x, 1)).where(ranks, "")
        wide["times the ceiling's"] = ratio.map("{:.2f}".format).where(errors, "")
    return wide.fillna("").reset_index().rename_axis(columns=None)


def comparison(examined: list[Examined]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Several runs on the same learners: one row per run, and the violations for the figure. Falls
    of filtered mastery are shown beside the constraints, although they break none.

    The difference in AUC to the first run is paired over learners.

    Raises
    ------
    KTError
        When the runs are not about the same answers.
    """
    check_same([e.run.path for e in examined], map(_answers, examined))
    rows, shares = [], []
    for e, gap in zip(examined, paired_aucs(examined), strict=True):
        config, v = e.run.config, e.measures.violations.set_index("constraint")
        auc = e.measures.quality("AUC")
        rows.append(
            {
                "run": e.run.name,
                "mode": config.model.mode,
                "auxiliary losses": ", ".join(config.loss.active).replace("_", " ")
                or "none (BCE alone)",
                **{
                    NAMES[key]: percent(v.loc[key, "share"])
                    for key in (*JUDGED, *FILTERED)
                    if key in v.index
                },
                "AUC, validation": with_interval(dataclasses.asdict(e.valid_auc), 4),
                f"AUC, {e.split}": with_interval(auc, 4),
                "AUC minus the first run's": with_interval(dataclasses.asdict(gap), 4),
                **_correlations(e.measures),
            }
        )
        table = v.reset_index().assign(run=e.run.name, mode=config.model.mode)
        shares.append(table[table["constraint"].isin(JUDGED)])
    return pd.DataFrame(rows), pd.concat(shares, ignore_index=True)


def _answers(e: Examined) -> Answers:
    return Answers.of(getattr(e.splits, e.split), e.splits.vocabulary, e.run.config.report)


def _correlations(m: Measures) -> dict[str, str]:
    wanted = {
        "mastery-response (pre)": ("mastery-response", "pooled"),
        "prospective validity (pre)": (PROSPECTIVE, "pooled"),
        "gain-correctness (post)": ("gain-correctness", "pooled"),
        "mastery-prediction (post)": ("mastery-prediction", "skill_average"),
    }
    texts = {name: with_interval(m.association(*key)) for name, key in wanted.items()}
    exam = m.exam_rows
    return texts if exam.empty else texts | {"exam (pre)": with_interval(exam.iloc[0])}


def metrics_dict(examined: Examined) -> dict[str, Any]:
    """All numbers of one run but the curve of calibration, as plain JSON; undefined values are
    null."""
    m = examined.measures
    tables = ("prediction", "simple", "violations", "associations", "conduct", "necessity")
    tables += ("growth", "forgetting", "exam", "collapse", "recovery", "skills")
    content: dict[str, Any] = {
        "split": examined.split,
        "inflated": examined.inflated,
        "valid_auc": dataclasses.asdict(examined.valid_auc),
        "best_epoch": int(examined.best_epoch["epoch"]) + 1,
        "miscalibration": m.miscalibration,
        "verdicts": verdicts(examined).to_dict("records"),
    }
    content |= {name: getattr(m, name).to_dict("records") for name in tables}
    return plain(content)


def headline(metrics: dict[str, Any]) -> str:
    """A few lines for the terminal."""
    auc = next(row for row in metrics["prediction"] if row["quality"] == "AUC")  # the model's
    lines = [f"AUC on {metrics['split']} learners\n    {with_interval(auc, 4)} [pre]"]
    for row in metrics["verdicts"]:
        value = f"{row['value']} {row['interval']}".strip()
        lines.append(f"{row['measure']}\n    {value} [{row['sees']}]: {row['verdict']}")
    if metrics["inflated"]:
        lines.append("INFLATED: answers are repeated once per skill; do not compare these numbers")
    return "\n".join(lines)


WORDS = {  # of a run's provenance, for people
    "created": "trained",
    "git_commit": "commit",
    "data_sha256": "SHA-256 of the data,",
    "training_seconds": "seconds of training",
    "packages": "version of",
    "sha256": "SHA-256",
}
READING = "reading"  # how the data was read, which the report shows as a note


def provenance_table(examined: Examined) -> pd.DataFrame:
    """The provenance of the run, in two columns: what is known, in words."""
    known = {k: v for k, v in examined.run.provenance.items() if k != READING}
    flat = pd.json_normalize(known, sep=" ").iloc[0]
    rows = [(_worded(name), str(value)) for name, value in flat.items() if str(value)]
    return pd.DataFrame(rows, columns=["what", "value"])


def _worded(name: str) -> str:
    first, *rest = name.split(" ")
    return " ".join([WORDS.get(first, first.replace("_", " ")), *rest])  # the rest may name a file
