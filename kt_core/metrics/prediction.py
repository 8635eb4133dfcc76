"""Quality of predicted probabilities: AUC, accuracy, log loss, Brier score, calibration."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
from scipy.optimize import isotonic_regression

from kt_core.metrics.agreement import degree_of_agreement
from kt_core.metrics.bootstrap import Bootstrap, Estimate, levels

EPS = 1e-7  # probabilities are kept this far from 0 and 1 in the log loss


class Prediction:
    """Measures of predicted probabilities against responses.

    Parameters
    ----------
    predicted : [N], in [0, 1].
    correct : [N], 0 or 1.
    learner : [N], indices from 0.
    """

    def __init__(
        self, predicted: np.ndarray, correct: np.ndarray, learner: np.ndarray, bootstrap: Bootstrap
    ):
        self.p = np.asarray(predicted, float)
        self.y = np.asarray(correct, float)
        self.learner, self.bootstrap = np.asarray(learner), bootstrap
        self.learners = len(np.unique(self.learner))

    def auc(self) -> np.ndarray:
        """Area under the ROC curve for each row of the weights, [R+1]; ties count one half."""
        everyone = np.zeros(len(self.p), np.int64)
        return degree_of_agreement(self.p, self.y, self.learner, everyone, self.bootstrap)[0]

    def means(self) -> dict[str, Estimate]:
        """Accuracy at threshold 0.5, log loss and Brier score, with intervals."""
        p = np.clip(self.p, EPS, 1 - EPS)
        terms = {
            "accuracy": ((self.p >= 0.5) == (self.y == 1), (0, 1)),
            "log loss": (-np.where(self.y == 1, np.log(p), np.log1p(-p)), (0, np.inf)),
            "Brier score": ((self.p - self.y) ** 2, (0, 1)),
        }
        return {
            name: self.bootstrap.row_mean(term, self.learner, bounds)
            for name, (term, bounds) in terms.items()
        }

    def estimates(self) -> dict[str, Estimate]:
        """AUC, accuracy, log loss and Brier score, with intervals."""
        auc = self.bootstrap.estimate(self.auc(), len(self.p), self.learners)
        return {"AUC": auc} | self.means()


def calibration_curve(prediction: Prediction, points: int = 101, resamples: int = 100):
    """Calibration curve by isotonic regression (PAVA; Dimitriadis, Gneiting and Jordan 2021).

    Returns
    -------
    frame : columns `predicted`, `observed`, `low`, `high` (95 % over learners), on a grid between
        the 0.5 % and 99.5 % quantiles of the predictions.
    miscalibration : Brier score of the predictions minus that of the recalibrated ones, >= 0.
    """
    p, y, learner = prediction.p, prediction.y, prediction.learner
    grid = np.linspace(*np.quantile(p, (0.005, 0.995)), points)
    level, place = np.unique(p, return_inverse=True)

    def fitted(weights: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
        """Linear between the predictions that were drawn, level beyond them."""
        rows = weights[learner]
        count = np.bincount(place, rows, len(level))
        drawn = count > 0
        right = np.bincount(place, rows * y, len(level))[drawn] / count[drawn]
        curve = isotonic_regression(right, weights=count[drawn]).x
        return lambda at: np.interp(at, level[drawn], curve)

    weights = prediction.bootstrap.weights[: resamples + 1]
    curves = np.array([fitted(w)(grid) for w in weights if w[learner].any()])
    recalibrated = fitted(weights[0])(p)
    miscalibration = float(((p - y) ** 2 - (recalibrated - y) ** 2).mean())
    ends = levels(prediction.learners)
    low, high = np.quantile(curves[1:] if len(curves) > 1 else curves, ends, axis=0)
    frame = {"predicted": grid, "observed": curves[0], "low": low, "high": high}
    return pd.DataFrame(frame), miscalibration
