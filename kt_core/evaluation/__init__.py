"""What a model believed about a split, and what that is worth: beliefs in, measures out."""

from kt_core.evaluation.beliefs import Beliefs
from kt_core.evaluation.evaluate import evaluate
from kt_core.evaluation.measures import Measures, measure
from kt_core.evaluation.tracer import Trace, Tracer
