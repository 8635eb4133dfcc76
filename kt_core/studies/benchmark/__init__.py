"""The benchmark: every model on the same splits and measures, from a store of finished cells."""

from kt_core.studies.benchmark.cells import MODELS, STORE, Cell, missing, plan, run_cell, run_cells
from kt_core.studies.benchmark.tables import (
    auc_table,
    fold_table,
    load,
    markdown,
    mastery_table,
    paired,
    plane,
    recovery_summary,
    summary,
    write_page,
)

__all__ = [
    "MODELS",
    "STORE",
    "Cell",
    "auc_table",
    "fold_table",
    "load",
    "markdown",
    "mastery_table",
    "missing",
    "paired",
    "plan",
    "plane",
    "recovery_summary",
    "run_cell",
    "run_cells",
    "summary",
    "write_page",
]
