"""All tables of the benchmark as one Markdown page, for docs/results.md."""

from __future__ import annotations

import html
from pathlib import Path

import numpy as np
import pandas as pd

from kt_core.benchmark.tables import auc_table, fold_table, mastery_table, recovery_summary
from kt_core.files import write_text


def write_page(results: pd.DataFrame, folder: str | Path, reference: str = "retrospective") -> Path:
    """`benchmark.md` in `folder`."""
    parts = []
    for dataset in results["dataset"].unique():
        parts += [f"### {dataset}", markdown(auc_table(results, dataset, reference))]
        parts += [markdown(mastery_table(results, dataset, reference))]
    recovered, folds = recovery_summary(results), fold_table(results)
    if not recovered.empty:
        parts += ["### Recovery on simulated learners", markdown(recovered)]
    if not folds.empty:
        parts += ["### Folds", markdown(folds)]
    path = Path(folder) / "benchmark.md"
    write_text(path, "\n\n".join(parts) + "\n")
    return path


def markdown(table: pd.DataFrame, digits: int = 4) -> str:
    """A frame as a Markdown table."""
    rows = [list(table.columns), ["---"] * len(table.columns)]
    for row in table.itertuples(index=False):
        rows.append([_cell(x, digits) for x in row])
    return "\n".join(f"| {' | '.join(map(str, row))} |" for row in rows)


def _cell(value: object, digits: int) -> str:
    if isinstance(value, float):
        return f"{value:.{digits}f}" if np.isfinite(value) else ""
    return html.escape(" ".join(str(value).split())).replace("|", r"\|")
