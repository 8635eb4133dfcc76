"""From a saved run to a report: examined, judged, and put into tables and words."""

from kt_core.report.examine import Examined, examine
from kt_core.report.summary import five_sentences, in_short
from kt_core.report.tables import (
    association_text,
    comparison,
    exam_rules,
    exam_text,
    forgetting_text,
    headline,
    metrics_dict,
    over_learners,
    prediction_text,
    provenance_table,
    quantities_text,
    recovery_text,
    simple_text,
    skills_text,
    verdict_tables,
    violation_text,
)
from kt_core.report.verdicts import verdicts
