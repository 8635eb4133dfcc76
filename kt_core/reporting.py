"""From measures to verdicts in words, `metrics.json` and a self-contained `report.html`."""

from __future__ import annotations

import dataclasses
import html
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from kt_core.config import TargetConfig
from kt_core.errors import KTError
from kt_core.plots.style import VARIANTS
from kt_core.runs import write_text
from kt_core.validation import Measures
from kt_core.workflow import Examined, paired_aucs

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


def verdicts(examined: Examined) -> pd.DataFrame:
    """One row per target: what was measured, what it saw, its interval, its best null, the word.

    Post-response correlations are printed as what they are: gain-correctness has a target of its
    own, mastery-prediction (the original monitor's number) has none.
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
            _correlation(m, "gain-correctness", "pooled", *gain),
            _correlation(m, "mastery-prediction", "skill_average"),
            *_necessity(m),
            *_forgetting(m),
        ]
    )


def _necessity(m: Measures) -> list[dict[str, Any]]:
    if m.necessity.empty:
        return []
    flat = m.necessity.set_index("quantity").loc["flat at the same level, minus as they are"]
    needed = flat["low"] > 0
    return [
        {
            "measure": "Loss of hidden answers if the trajectory were flat",
            "sees": flat["sees"],
            "value": f"{flat['value']:+.4f}",
            "interval": _interval(flat["low"], flat["high"], 4),
            "target": "> 0",
            "best null": "0 (gains say nothing)",
            "verdict": "gains are needed" if needed else "no evidence that gains are needed",
        }
    ]


def _forgetting(m: Measures) -> list[dict[str, Any]]:
    if m.necessity.empty:
        return []
    table = m.forgetting
    against = table[table["contradicted"]]
    names = ", ".join(against["name"].head(5)) + (", ..." if len(against) > 5 else "")
    if table.empty:
        word = "not defined on this data: too few learners come back to a skill"
    elif against.empty:
        word = "not contradicted"
    else:
        word = f"contradicted for {names}"
    return [
        {
            "measure": "No forgetting: skills whose hidden answers say otherwise",
            "sees": "retrospective, answer hidden",
            "value": f"{len(against)} of {len(table)} skills",
            "interval": "",
            "target": "none",
            "best null": "5 % of them false, if any",
            "verdict": word,
        }
    ]


def _violation(m: Measures, name: str, limit: float, guaranteed: bool) -> dict[str, Any]:
    v = m.violations.set_index("constraint").loc[name]
    limit = 0.0 if guaranteed else limit
    ok = v["broken"] == 0 if limit == 0 else v["share"] < limit
    word = "meets the target" if ok else f"misses the target by {v['share'] - limit:.2%}"
    return {
        "measure": NAMES[name],
        "sees": v["sees"],
        "value": f"{v['share']:.2%} ({v['broken']:,} of {v['places']:,})",
        "interval": _interval(v["low"], v["high"], 2, percent=True),
        "target": "0, guaranteed" if guaranteed else ("0" if limit == 0 else f"< {limit:.0%}"),
        "best null": "0.00% (constant mastery)",
        "verdict": word,
    }


def _auc(examined: Examined, targets: TargetConfig) -> dict[str, Any]:
    e, null = examined.valid_auc, examined.valid_null_auc
    return {
        "measure": "AUC on validation learners (on whom the epoch was chosen)",
        "sees": "pre",
        "value": _number(e.value, 4),
        "interval": _interval(e.low, e.high, 4),
        "target": f">= {targets.auc:g} (minimum {targets.auc_minimum:g})",
        "best null": f"{_number(null.value)} (success counter)",
        "verdict": _word(e.value, targets.auc, targets.auc_minimum),
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
        word += "; " + _beside(null)
    wanted = "none" if target is None else f"> {target:g}"
    return {
        "measure": f"{measure} r, {VARIANTS[variant]}",
        "sees": row["sees"],
        "value": _number(row["value"]),
        "interval": _interval(row["low"], row["high"]),
        "target": wanted + ("" if minimum is None else f" (minimum {minimum:g})"),
        "best null": "none" if null is None else f"{null['value']:.3f} ({null['predictor']})",
        "verdict": word,
    }


def _word(value: float, target: float, minimum: float | None) -> str:
    if not np.isfinite(value):
        return "not defined on this data"
    if value >= target:
        return "meets the target"
    if minimum is not None and value >= minimum:
        return f"meets the minimum, misses the target by {target - value:.3f}"
    return f"misses the target by {target - value:.3f}"


def _beside(null: pd.Series) -> str:
    if null["gap_low"] > 0:
        return "better than the best null"
    return "worse than the best null" if null["gap_high"] < 0 else "no better than the best null"


def association_text(m: Measures) -> pd.DataFrame:
    """The associations as a table for people: model, nulls and references side by side."""
    if m.associations.empty:
        return m.associations
    table = m.associations.copy()
    table["variant"] = table["variant"].map(VARIANTS)
    table["text"] = [
        _with_interval(row) if row["kind"] == "model" else _number(row["value"])
        for row in table.to_dict("records")
    ]
    keys = ["measure", "variant", "sees"]
    wide = table.pivot_table("text", keys, "predictor", aggfunc="first", sort=False)
    wide["entries"] = table[table.kind == "model"].set_index(keys)["entries"].map("{:,}".format)
    return wide.fillna("").reset_index().rename_axis(columns=None)


def prediction_text(m: Measures) -> pd.DataFrame:
    """Prediction quality with intervals, the model beside the nulls."""
    if m.prediction.empty:
        return m.prediction
    p = m.prediction.copy()
    p["text"] = [_with_interval(row, 4) for row in p.to_dict("records")]
    wide = p.pivot_table("text", "quality", "predictor", aggfunc="first", sort=False)
    return wide.reset_index().rename_axis(columns=None)


def violation_text(m: Measures) -> pd.DataFrame:
    """Broken constraints with intervals and counts."""
    v = m.violations
    if v.empty:
        return v
    return pd.DataFrame(
        {
            "constraint": v["constraint"].map(NAMES),
            "sees": v["sees"],
            "counted on": v["scope"],
            "share": v["share"].map("{:.2%}".format),
            "interval": [_interval(r.low, r.high, 2, percent=True) for r in v.itertuples()],
            "broken": v["broken"].map("{:,}".format),
            "places": v["places"].map("{:,}".format),
        }
    )


def quantities_text(table: pd.DataFrame, digits: int = 4) -> pd.DataFrame:
    """`Measures.conduct` or `necessity` for people."""
    if table.empty:
        return table
    text = [_with_interval(row, digits) for row in table.to_dict("records")]
    return table[["quantity", "sees"]].assign(value=text)


def recovery_text(m: Measures) -> pd.DataFrame:
    """Recovery of the truth, the model beside its ceiling and its share of it."""
    table = m.recovery.copy()
    table["text"] = [_with_interval(row) for row in table.to_dict("records")]
    keys = ["quantity", "sees"]
    wide = table.pivot_table("text", keys, "predictor", aggfunc="first", sort=False)
    if "ceiling" in wide:
        value = table.pivot_table("value", keys, "predictor", aggfunc="first", sort=False)
        share = (value["model"] / value["ceiling"]).map("{:.1%}".format)
        ranks = wide.index.get_level_values("quantity").str.contains("rank")
        wide["share of the ceiling"] = share.where(ranks, "")
    return wide.fillna("").reset_index().rename_axis(columns=None)


def comparison(examined: list[Examined]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Several runs on the same learners: a row each, and the tidy violations for the figure.

    The difference in AUC to the first run is paired over learners.

    Raises
    ------
    KTError
        When the runs do not have the same learners in the split.
    """
    for e in examined[1:]:
        _same_learners(examined[0], e)
    rows, shares = [], []
    for e, gap in zip(examined, paired_aucs(examined), strict=True):
        config, v = e.run.config, e.measures.violations.set_index("constraint")
        auc = e.measures.quality("AUC")
        rows.append(
            {
                "run": e.run.name,
                "mode": config.model.mode,
                "auxiliary losses": ", ".join(config.loss.active) or "none (BCE alone)",
                **{NAMES[key]: f"{v.loc[key, 'share']:.2%}" for key in JUDGED},
                "AUC, validation": _with_interval(dataclasses.asdict(e.valid_auc), 4),
                f"AUC, {e.split}": _with_interval(auc, 4),
                "AUC minus the first run's": _with_interval(dataclasses.asdict(gap), 4),
                **_correlations(e.measures),
            }
        )
        table = v.reset_index().assign(run=e.run.name, mode=config.model.mode)
        shares.append(table[table["constraint"].isin(JUDGED)])
    return pd.DataFrame(rows), pd.concat(shares, ignore_index=True)


def _same_learners(a: Examined, b: Examined) -> None:
    columns = ["learner", "step", "skill", "correct"]
    if not a.evidence.frame[columns].equals(b.evidence.frame[columns]):
        raise KTError(
            f"{a.run.path} and {b.run.path} are not about the same answers (data, fold, chunks): "
            "only runs on the same learners can be compared"
        )


def _correlations(m: Measures) -> dict[str, str]:
    wanted = {
        "mastery-response (pre)": ("mastery-response", "pooled"),
        "prospective validity (pre)": (PROSPECTIVE, "pooled"),
        "gain-correctness (post)": ("gain-correctness", "pooled"),
        "mastery-prediction (post)": ("mastery-prediction", "skill_average"),
    }
    return {name: _with_interval(m.association(*key)) for name, key in wanted.items()}


def metrics_dict(examined: Examined) -> dict[str, Any]:
    """All numbers of one run as plain JSON; what is not defined is null."""
    m = examined.measures
    tables = ("prediction", "violations", "associations", "conduct", "necessity", "forgetting")
    tables += ("collapse", "recovery", "skills")
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
    lines = [f"AUC on {metrics['split']} learners\n    {_with_interval(auc, 4)} [pre]"]
    for row in metrics["verdicts"]:
        value = f"{row['value']} {row['interval']}".strip()
        lines.append(f"{row['measure']}\n    {value} [{row['sees']}]: {row['verdict']}")
    if metrics["inflated"]:
        lines.append("INFLATED: answers are repeated once per skill; do not compare these numbers")
    return "\n".join(lines)


def provenance_table(examined: Examined) -> pd.DataFrame:
    """Where the run comes from, as two columns."""
    flat = pd.json_normalize(examined.run.provenance, sep=" ").iloc[0]
    return pd.DataFrame({"what": flat.index, "value": flat.astype(str).to_numpy()})


def show(table: pd.DataFrame, caption: str = "", digits: int = 3):
    """A table for a notebook, every cell escaped, with a caption that says how to read it."""
    from IPython.display import HTML

    body = table.to_html(
        index=False, border=0, na_rep="not defined", float_format=lambda x: f"{x:.{digits}f}"
    )
    text = f"<p class='kt-caption'>{html.escape(caption)}</p>" if caption else ""
    return HTML(f"<div class='kt-table'>{body}</div>{text}")


def export_html(notebook: str | Path, target: str | Path, title: str) -> Path:
    """An executed notebook as one HTML page: no code, no network, images inside.

    Parameters
    ----------
    notebook : executed by papermill; cells tagged `hide` are left out.
    """
    import nbformat
    from nbconvert import HTMLExporter
    from traitlets.config import Config

    config = Config()
    config.TagRemovePreprocessor.remove_cell_tags = ("hide", "injected-parameters", "parameters")
    config.HTMLExporter.preprocessors = ["nbconvert.preprocessors.TagRemovePreprocessor"]
    exporter = HTMLExporter(
        config=config,
        template_name="report",
        extra_template_basedirs=[str(Path(__file__).parent / "templates")],
        exclude_input=True,
        exclude_input_prompt=True,
        exclude_output_prompt=True,
    )
    content = nbformat.read(notebook, as_version=4)
    headings = [
        line.removeprefix("## ").strip()
        for cell in content.cells
        if cell.cell_type == "markdown"
        for line in cell.source.splitlines()
        if line.startswith("## ")
    ]
    resources = {"metadata": {"name": title}, "contents": headings}
    body, _ = exporter.from_notebook_node(content, resources=resources)
    target = Path(target)
    write_text(target, body)
    return target


def _interval(low: float | None, high: float | None, digits: int = 3, percent: bool = False) -> str:
    if low is None or high is None or not (np.isfinite(low) and np.isfinite(high)):
        return ""
    kind = f".{digits}{'%' if percent else 'f'}"
    return f"[{low:{kind}}, {high:{kind}}]"


def _number(value: float | None, digits: int = 3) -> str:
    return "not defined" if value is None or not np.isfinite(value) else f"{value:.{digits}f}"


def _with_interval(row: Any, digits: int = 3) -> str:
    return f"{_number(row['value'], digits)} {_interval(row['low'], row['high'], digits)}".strip()


def plain(value: Any) -> Any:
    """Plain JSON of nested tables and numbers: what is not finite is null, draws are left out."""
    if isinstance(value, dict):
        return {str(k): plain(v) for k, v in value.items() if k != "draws"}
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not np.isfinite(value) else value
