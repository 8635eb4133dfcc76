"""Knowledge tracing in a few calls: answers in; mastery, predictions, reports, comparisons out."""

from kt_core.tracing.audit import audit
from kt_core.tracing.compare import compare
from kt_core.tracing.demo import demo
from kt_core.tracing.folds import cross_validate
from kt_core.tracing.own import judge, register
from kt_core.tracing.tracer import KnowledgeTracer, fit, load
