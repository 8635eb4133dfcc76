"""From measures to verdicts in words, `metrics.json` and a self-contained `report.html`."""

from __future__ import annotations

import dataclasses
import html
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from kt_core.config import TargetConfig
from kt_core.plots.style import VARIANTS
from kt_core.runs import write_text
from kt_core.validation import Measures
from kt_core.workflow import Examined

NAMES = {
    "monotonicity": "Mastery falls between steps",
    "negative_gains": "Negative gains",
    "bounds": "Mastery outside [0, 1]",
    "fall_after_correct": "Mastery falls at a right answer on its skill",
}
JUDGED = ("monotonicity", "negative_gains", "bounds")
PROSPECTIVE = "prospective validity, learner x skill"


def verdicts(examined: Examined) -> pd.DataFrame:
    """One row per target: what was measured, what it saw, its interval, its best null, the word."""
    m, targets = examined.measures, examined.run.config.targets
    guaranteed = examined.run.model.guaranteed
    rows = [_violation(m, name, _limit(targets, name, guaranteed)) for name in JUDGED]
    rows.append(_auc(examined, targets))
    rows.append(_correlation(m, "mastery-response", "pooled", targets.mastery_performance))
    rows.append(_correlation(m, PROSPECTIVE, "pooled", targets.mastery_performance))
    rows.append(
        _correlation(
            m,
            "gain-correctness",
            "pooled",
            targets.gain_correctness,
            targets.gain_correctness_minimum,
        )
    )
    rows.append(_correlation(m, "mastery-prediction", "skill_average", targets.mastery_performance))
    return pd.DataFrame(rows)


def _limit(targets: TargetConfig, name: str, guaranteed: bool) -> float:
    return 0.0 if guaranteed else getattr(targets, name)


def _violation(m: Measures, name: str, limit: float) -> dict[str, Any]:
    v = m.violations.set_index("constraint").loc[name]
    ok = v["broken"] == 0 if limit == 0 else v["share"] < limit
    word = "meets the target" if ok else f"misses the target by {v['share'] - limit:.1%}"
    return {
        "measure": NAMES[name],
        "sees": v["sees"],
        "value": f"{v['share']:.1%} ({v['broken']:,} of {v['places']:,})",
        "interval": _interval(v["low"], v["high"], percent=True),
        "target": "0, guaranteed" if limit == 0 else f"< {limit:.0%}",
        "best null": "0.0 % (constant mastery)",
        "verdict": word,
    }


def _auc(examined: Examined, targets: TargetConfig) -> dict[str, Any]:
    e, null = examined.valid_auc, examined.measures.quality("AUC", "success counter")
    return {
        "measure": "AUC on validation learners",
        "sees": "pre",
        "value": f"{e.value:.4f}",
        "interval": _interval(e.low, e.high, 4),
        "target": f">= {targets.auc:g} (minimum {targets.auc_minimum:g})",
        "best null": f"{null['value']:.3f} (success counter, {examined.split})",
        "verdict": _word(e.value, targets.auc, targets.auc_minimum),
    }


def _correlation(
    m: Measures, measure: str, variant: str, target: float, minimum: float | None = None
) -> dict[str, Any]:
    row, null = m.association(measure, variant), m.best_null(measure, variant)
    word = _word(row["value"], target, minimum)
    if null is not None and np.isfinite(null["gap_low"]):
        word += "; " + _beside(null)
    floor = "" if minimum is None else f" (minimum {minimum:g})"
    return {
        "measure": f"{measure} r, {VARIANTS[variant]}",
        "sees": row["sees"],
        "value": _number(row["value"]),
        "interval": _interval(row["low"], row["high"]),
        "target": f"> {target:g}{floor}",
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
    table = m.associations.copy()
    table["variant"] = table["variant"].map(VARIANTS)
    table["text"] = [
        f"{_number(r.value)} {_interval(r.low, r.high)}" if r.kind == "model" else _number(r.value)
        for r in table.itertuples()
    ]
    keys = ["measure", "variant", "sees"]
    wide = table.pivot_table("text", keys, "predictor", aggfunc="first", sort=False)
    wide["entries"] = table[table.kind == "model"].set_index(keys)["entries"].map("{:,}".format)
    return wide.fillna("").reset_index().rename_axis(columns=None)


def prediction_text(m: Measures) -> pd.DataFrame:
    """Prediction quality with intervals, the model beside the nulls."""
    p = m.prediction.copy()
    p["text"] = [f"{r.value:.4f} {_interval(r.low, r.high, 4)}" for r in p.itertuples()]
    wide = p.pivot_table("text", "quality", "predictor", aggfunc="first", sort=False)
    return wide.reset_index().rename_axis(columns=None)


def violation_text(m: Measures) -> pd.DataFrame:
    """Broken constraints with intervals and counts."""
    v = m.violations
    return pd.DataFrame(
        {
            "constraint": v["constraint"].map(NAMES),
            "sees": v["sees"],
            "share": v["share"].map("{:.2%}".format),
            "interval": [_interval(r.low, r.high, percent=True) for r in v.itertuples()],
            "broken": v["broken"].map("{:,}".format),
            "places": v["places"].map("{:,}".format),
        }
    )


def comparison(examined: list[Examined]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Several runs on the same data: a row each, and the tidy violations for the figure."""
    rows, shares = [], []
    for e in examined:
        config, v = e.run.config, e.measures.violations.set_index("constraint")
        auc = e.measures.quality("AUC")
        rows.append(
            {
                "run": e.run.name,
                "mode": config.model.mode,
                "auxiliary losses": ", ".join(config.loss.active) or "none (BCE alone)",
                **{NAMES[key]: f"{v.loc[key, 'share']:.1%}" for key in JUDGED},
                "AUC, validation": f"{e.valid_auc.value:.4f}",
                f"AUC, {e.split}": f"{auc['value']:.4f} {_interval(auc['low'], auc['high'], 4)}",
                **_correlations(e.measures),
            }
        )
        table = v.reset_index().assign(run=e.run.name, mode=config.model.mode)
        shares.append(table[table["constraint"].isin(JUDGED)])
    return pd.DataFrame(rows), pd.concat(shares, ignore_index=True)


def _correlations(m: Measures) -> dict[str, str]:
    wanted = {
        "mastery-response (pre)": ("mastery-response", "pooled"),
        "prospective validity (pre)": (PROSPECTIVE, "pooled"),
        "gain-correctness (post)": ("gain-correctness", "pooled"),
        "mastery-prediction (post)": ("mastery-prediction", "skill_average"),
    }
    return {name: _number(m.association(*key)["value"]) for name, key in wanted.items()}


def metrics_dict(examined: Examined) -> dict[str, Any]:
    """All numbers of one run as plain JSON; what is not defined is null."""
    m = examined.measures
    tables = ("prediction", "violations", "associations", "collapse", "recovery", "skills")
    content: dict[str, Any] = {
        "split": examined.split,
        "inflated": examined.inflated,
        "valid_auc": dataclasses.asdict(examined.valid_auc),
        "best_epoch": int(examined.best_epoch["epoch"]) + 1,
        "miscalibration": m.miscalibration,
        "verdicts": verdicts(examined).to_dict("records"),
    }
    content |= {name: getattr(m, name).to_dict("records") for name in tables}
    return _plain(content)


def headline(metrics: dict[str, Any]) -> str:
    """A few lines for the terminal."""
    auc = next(row for row in metrics["prediction"] if row["quality"] == "AUC")  # the model's
    lines = [
        f"AUC                   {auc['value']:.4f} on {metrics['split']} learners, "
        f"95 % {auc['low']:.4f} to {auc['high']:.4f}"
    ]
    for row in metrics["verdicts"]:
        lines.append(f"{row['measure']}\n    {row['value']} [{row['sees']}]: {row['verdict']}")
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


def _interval(low: float, high: float, digits: int = 3, percent: bool = False) -> str:
    if not (np.isfinite(low) and np.isfinite(high)):
        return ""
    kind = f".{1 if percent else digits}{'%' if percent else 'f'}"
    return f"[{low:{kind}}, {high:{kind}}]"


def _number(value: float) -> str:
    return f"{value:.3f}" if np.isfinite(value) else "not defined"


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not np.isfinite(value) else value
