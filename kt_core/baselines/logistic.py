"""Logistic regressions on counts of right and wrong answers so far: PFA and Best-LR.

Both model the log-odds of a right answer as

    easiness_k + right_k phi(s_k) + wrong_k phi(f_k) [+ right phi(s) + wrong phi(f) + item_i]

where s_k and f_k are the learner's successes and failures so far on the asked skill k, and s and f
those on all skills. PFA has phi(x) = x and no bracket; Best-LR has phi(x) = log(1 + x) and the
bracket. Mastery of a skill is the predicted probability with an item effect of zero.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import sparse
from scipy.special import expit
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss

from kt_core.base.errors import KTError
from kt_core.baselines.counts import (
    Counts,
    check_fitted,
    counts_after,
    counts_before,
    item_of,
    unless_first,
)
from kt_core.data.sequences import Sequences, Splits
from kt_core.evaluation.tracer import Trace

STRENGTHS = (0.01, 0.1, 1.0, 10.0)  # scikit-learn's C, the inverse of the L2 penalty


@dataclass(frozen=True)
class Weights:
    """Fitted effects on the log-odds: [C] each; `totals` [2] (0 in PFA); `item` [items + 1]."""

    easiness: np.ndarray
    right: np.ndarray
    wrong: np.ndarray
    totals: np.ndarray
    item: np.ndarray


class CountRegression:
    """Common part of PFA and Best-LR; `fit` sets `weights` and the chosen `strength`."""

    name: str
    totals: bool  # whether counts over all skills and the item are features
    phi: Callable[[np.ndarray], np.ndarray]

    def __init__(self, strengths: tuple[float, ...] = STRENGTHS) -> None:
        self.strengths = strengths
        self.strength: float | None = None
        self.weights: Weights | None = None

    def fit(self, splits: Splits, seed: int = 0) -> None:
        """Fit with each penalty on training answers; keep the fit with the best validation loss.

        Raises
        ------
        KTError
            When all training answers are of one kind.
        """
        if len(np.unique(splits.train.response)) < 2:
            raise KTError(f"{self.name}: the training answers are all right or all wrong")
        skills = len(splits.vocabulary.skills)
        items = int(item_of(splits.train).max()) if self.totals else 0
        train, valid = (self.features(p, skills, items) for p in (splits.train, splits.valid))
        scored = np.setdiff1d(np.arange(splits.valid.interactions), splits.valid.starts)
        # Newton's method, because first-order solvers struggle with the scales of raw counts.
        # Fits go from strong to weak penalty; each starts where the previous one ended.
        model = LogisticRegression(solver="newton-cg", tol=1e-6, max_iter=500, warm_start=True)
        losses, fits = [], []
        for strength in sorted(self.strengths):
            model.set_params(C=strength).fit(train, splits.train.response)
            p = model.predict_proba(valid[scored])[:, 1]
            losses.append(log_loss(splits.valid.response[scored], p, labels=[0, 1]))
            fits.append((strength, model.coef_[0].copy(), model.intercept_[0]))
        self.strength, slopes, intercept = fits[int(np.argmin(losses))]
        self.weights = self._named(slopes, intercept, skills)

    def features(self, sequences: Sequences, skills: int, items: int) -> sparse.csr_matrix:
        """Features known before each answer, [N, 3 C (+ 2 + items)].

        Columns: one per skill for the asked skill, for phi of its successes, and for phi of its
        failures; with `totals`, phi of all successes and failures, and one column per known item.
        """
        n, counts = sequences.interactions, counts_before(sequences, skills)
        row, ones = np.arange(n), np.ones(n)
        columns = [
            sparse.csr_matrix((value, (row, sequences.skill)), shape=(n, skills))
            for value in (ones, self.phi(counts.right), self.phi(counts.wrong))
        ]
        if self.totals:
            everything = np.column_stack([counts.all_right, counts.all_wrong])
            item = sparse.csr_matrix((ones, (row, self._known(sequences, items))), (n, items + 1))
            columns += [sparse.csr_matrix(self.phi(everything)), item[:, 1:]]
        return sparse.hstack(columns, format="csr")

    def trace(self, sequences: Sequences) -> Trace:
        """Trace computed from counts in closed form, with mastery of all skills."""
        w = self.weights
        check_fitted(self.name, None if w is None else len(w.easiness), sequences)
        C, skill, right = len(w.easiness), sequences.skill, sequences.response
        before = counts_before(sequences, C)
        at = self._log_odds(before, skill)
        if_right, if_wrong = (expit(self._log_odds(before.plus(r), skill)) for r in (1, 0))
        easier = w.item[self._known(sequences, len(w.item) - 1)]
        predicted = expit(at + easier)
        return Trace(
            predicted=unless_first(sequences, predicted),
            mastery_pre=unless_first(sequences, expit(at)),
            mastery_post=np.where(right == 1, if_right, if_wrong),
            difficulty=-easier if easier.any() else None,
            flip=if_right - if_wrong,
            middle=self._everywhere(sequences, sequences.lengths // 2),
            final=self._everywhere(sequences, sequences.lengths),
        )

    def _everywhere(self, sequences: Sequences, steps: np.ndarray) -> np.ndarray:
        C = len(self.weights.easiness)
        return expit(self._log_odds(counts_after(sequences, steps, C), np.arange(C)))

    def _log_odds(self, counts: Counts, skill: np.ndarray) -> np.ndarray:
        w, phi = self.weights, self.phi
        own = w.right[skill] * phi(counts.right) + w.wrong[skill] * phi(counts.wrong)
        total = w.totals[0] * phi(counts.all_right) + w.totals[1] * phi(counts.all_wrong)
        return w.easiness[skill] + own + total

    def _named(self, slopes: np.ndarray, intercept: float, skills: int) -> Weights:
        easiness, right, wrong = slopes[: 3 * skills].reshape(3, skills)
        totals, item = np.zeros(2), slopes[3 * skills + 2 :]
        if self.totals:
            totals = slopes[3 * skills : 3 * skills + 2]
        return Weights(intercept + easiness, right, wrong, totals, np.append(0.0, item))

    @staticmethod
    def _known(sequences: Sequences, items: int) -> np.ndarray:
        item = item_of(sequences)
        return np.where(item <= items, item, 0)


class PFA(CountRegression):
    """Performance Factors Analysis: per-skill easiness and slopes on raw counts.

    References
    ----------
    Pavlik, P. I., Cen, H., & Koedinger, K. R. (2009). Performance factors analysis: a new
    alternative to knowledge tracing. AIED 2009, 531-538.
    """

    name = "PFA"
    totals = False
    phi = staticmethod(np.asarray)


class BestLR(CountRegression):
    """Best-LR: skill and item effects, log-scaled counts per skill and over all skills.

    There is no ability parameter per learner, because the traced learners are new.

    References
    ----------
    Gervet, T., Koedinger, K., Schneider, J., & Mitchell, T. (2020). When is deep learning the best
    approach to knowledge tracing? Journal of Educational Data Mining, 12(3), 31-54.
    """

    name = "Best-LR"
    totals = True
    phi = staticmethod(np.log1p)
