"""Measures as pure functions: arrays in, numbers with intervals out (design, section 6)."""

from kt_core.metrics.association import Association
from kt_core.metrics.bootstrap import Bootstrap, Estimate
from kt_core.metrics.prediction import Prediction, calibration_curve

__all__ = ["Association", "Bootstrap", "Estimate", "Prediction", "calibration_curve"]
