"""The benchmark: every model on the same splits and measures, from a store of finished cells."""

from kt_core.studies.benchmark.plan import STORE, plan
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
