"""Measures as pure functions: arrays in, numbers with intervals out (docs/method.md, "The
measures")."""

from kt_core.metrics.association import Association
from kt_core.metrics.bootstrap import Bootstrap, Estimate
from kt_core.metrics.prediction import Prediction, calibration_curve
