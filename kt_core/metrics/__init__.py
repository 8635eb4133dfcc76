"""Pure functions that compute the measures of docs/method.md, "The measures", with intervals."""

from kt_core.metrics.association import Association
from kt_core.metrics.bootstrap import Bootstrap, Estimate
from kt_core.metrics.prediction import Prediction, calibration_curve
