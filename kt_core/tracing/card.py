"""A fitted model in one line, and as a small card in a notebook."""

from __future__ import annotations

import html

from kt_core.base.files import read_json
from kt_core.report.text import with_interval
from kt_core.runs.run import Run

NEVER_FALLS = (
    "mastery, as believed at the end of a history, never falls and stays in [0, 1]; gains are "
    "never negative. This holds for any weights, and does not say that mastery is right"
)
GUARANTEES = {  # of each mode
    "retrospective": NEVER_FALLS,
    "retentive": "practice never lowers mastery, a break never raises it; within [0, 1]",
    "cumulative": NEVER_FALLS,
    "projection": "none: mastery may fall and leave [0, 1]",
}
UNMEASURED = "not measured yet: model.evaluate() or model.report()"


def line(run: Run) -> str:
    """What a run was fitted to, and where it is."""
    return f"{run.config.model.mode}: {_data(run)}; {run.path}"


def card(run: Run, auc: str = "") -> str:
    """The card, as HTML with every value escaped.

    Parameters
    ----------
    auc : on test learners, as text, where it is not in the run's metrics.
    """
    config = run.config
    rows = {
        "data": _data(run),
        "mode": f"{config.model.mode} (preset {config.preset}, seed {config.train.seed})",
        "test AUC": auc or _measured(run) or UNMEASURED,
        "guarantees": GUARANTEES.get(config.model.mode, ""),
        "run folder": str(run.path),
    }
    body = "".join(
        f"<tr><th style='text-align:left'>{name}</th>"
        f"<td style='text-align:left'>{html.escape(text)}</td></tr>"
        for name, text in rows.items()
        if text
    )
    return f"<table style='max-width:60em'><caption>Knowledge tracer</caption>{body}</table>"


def _data(run: Run) -> str:
    """The size of the data; its name alone where a run of an earlier version has no note."""
    name, sizes = run.provenance.get("data", "unknown data"), run.note.sizes
    if not sizes:
        return str(name)
    answers, learners, skills = (sizes[k] for k in ("answers", "learners", "skills"))
    return f"{name}, {answers:,} answers of {learners:,} learners on {skills:,} skills"


def _measured(run: Run) -> str:
    """The AUC on test learners in the run's report; empty where there is none."""
    file = run.path / "metrics.json"
    metrics = read_json(file) if file.is_file() else {}
    if metrics.get("split") != "test":
        return ""
    own = [r for r in metrics["prediction"] if (r["quality"], r["predictor"]) == ("AUC", "model")]
    return with_interval(own[0]) if own else ""
