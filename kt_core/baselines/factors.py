"""Rasch and AFM: an ability per learner, with item difficulty, without and with practice.

Mastery of a skill is P(correct on an item of average difficulty), averaged over what the answers so
far leave open about the ability. The *filtered* state has seen the answers up to a step, the
*smoothed* one (`mastery_last`) the whole sequence, with the practice done up to the step.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
from sklearn.metrics import log_loss

from kt_core.baselines.ability import (
    Beliefs,
    Effects,
    Marginal,
    Prior,
    beliefs,
    chance,
    chances,
    grid,
    mean,
    opportunities,
)
from kt_core.baselines.counts import check_fitted, counts_after, unless_first
from kt_core.data.sequences import Sequences, Splits
from kt_core.evaluation.tracer import Trace

LADDERS = {  # values of `Prior` to choose from, in logits
    "ability": (0.25, 0.35, 0.5, 0.7, 1.0, 1.4, 2.0, 2.8),
    "item": (0.125, 0.25, 0.5, 1.0, 2.0, 4.0),
    "slope": (0.01, 0.03, 0.1, 0.3, 1.0),
}
ROUGH = 1e-6  # tolerance of the fits that choose a prior


class AbilityTracer:
    """Common part of Rasch and AFM; `fit` sets `effects` and the chosen `prior`.

    Predictions average over the uncertain ability, so that they are sigmoid(logit(mastery_pre) -
    difficulty) only nearly.

    Parameters
    ----------
    whole : whether a learner's chunks are read as one history, as by mode `retrospective`; if not,
        each starts afresh.
    ladders : values of each prior to choose from on validation learners.
    """

    name: str
    slopes: bool  # whether practice counts
    scales: tuple[bool, ...]  # forms of practice to choose from: n (False), log(1 + n) (True)

    def __init__(self, whole: bool = True, ladders: dict[str, tuple[float, ...]] = LADDERS) -> None:
        self.whole, self.ladders = whole, ladders
        self.prior: Prior | None = None
        self.effects: Effects | None = None
        self.losses: dict[tuple[bool, Prior], float] = {}  # on validation learners

    def fit(self, splits: Splits, seed: int = 0) -> None:
        """Fit on training answers with several priors; keep what predicts validation best."""
        items, skills = splits.vocabulary.item_skill, len(splits.vocabulary.skills)
        train, start, forms = self._histories(splits.train), Prior(), []
        for logs in self.scales:
            marginal = Marginal(train, np.array(items, int), skills, self.slopes, logs)
            forms.append(_Fits(marginal, lambda effects: self._loss(splits.valid, effects)))
        forms.sort(key=lambda fits: fits(start))
        fits, *others = forms
        self.prior, loss = climb(fits, start, self._choices(fits.marginal))
        for other in others:  # it may win with the priors that suit the first
            if other(self.prior) < loss:
                fits = other
                self.prior, loss = climb(fits, self.prior, self._choices(fits.marginal))
        self.losses = {(f.marginal.logs, prior): x for f in forms for prior, x in f.losses.items()}
        self.effects, _ = fits.marginal.fit(self.prior, fits.thetas[self.prior])

    def _choices(self, marginal: Marginal) -> dict[str, tuple[float, ...]]:
        """The ladders of priors that the data can tell apart."""
        used = {"ability": True, "item": marginal.items > 0, "slope": self.slopes}
        return {name: values for name, values in self.ladders.items() if used[name]}

    def _histories(self, sequences: Sequences) -> Sequences:
        return sequences.whole() if self.whole else sequences

    def _loss(self, sequences: Sequences, effects: Effects) -> float:
        """Log loss of predicted answers, all but the first ones of chunks."""
        histories = self._histories(sequences)
        _, level = levels(histories, effects)
        p = np.empty(sequences.interactions)
        for b in beliefs(histories, effects, level - effects.difficulty(sequences)):
            p[b.row] = chance(b.before, b.right)
        scored = np.setdiff1d(np.arange(len(p)), sequences.starts)
        return float(log_loss(sequences.response[scored], p[scored], labels=[0, 1]))

    def trace(self, sequences: Sequences) -> Trace:
        """Trace by quadrature over the ability, with mastery of all skills."""
        e = self.effects
        check_fitted(self.name, None if e is None else len(e.skill), sequences)
        histories = self._histories(sequences)
        growth, level = levels(histories, e)
        difficulty, nodes = e.difficulty(sequences), grid(e.sd)[0]
        columns = {name: np.empty(sequences.interactions) for name in FIELDS}
        states = _States(sequences, histories, e)
        for b in beliefs(histories, e, level - difficulty):
            right = sequences.response[b.row] == 1
            around = _around(b, right, level[b.row], (level + growth)[b.row], nodes)
            for name, value in around.items():
                columns[name][b.row] = value
            states.add(b, nodes)
        for name in ("predicted", "mastery_pre", "revision"):
            columns[name] = unless_first(sequences, columns[name])
        if self.slopes:
            columns |= {"gain": growth, "gains_before": level - e.skill[sequences.skill]}
        if difficulty.any():
            columns["difficulty"] = difficulty
        return Trace(**columns, middle=states.middle, final=states.final)


class _Fits:
    """The validation loss of a prior; each rough fit starts where the one before has ended."""

    def __init__(self, marginal: Marginal, loss: Callable[[Effects], float]) -> None:
        self.marginal, self.loss, self.last = marginal, loss, marginal.start
        self.thetas: dict[Prior, np.ndarray] = {}
        self.losses: dict[Prior, float] = {}

    def __call__(self, prior: Prior) -> float:
        if prior in self.losses:
            return self.losses[prior]
        effects, self.last = self.marginal.fit(prior, self.last, ROUGH)
        self.thetas[prior], self.losses[prior] = self.last, self.loss(effects)
        return self.losses[prior]


class _States:
    """Mastery of every skill after half of each sequence's steps and after all, both [S, C]."""

    def __init__(self, sequences: Sequences, histories: Sequences, effects: Effects) -> None:
        s, C = sequences, len(effects.skill)
        self.whose = np.searchsorted(histories.starts, s.starts, side="right") - 1
        first = np.flatnonzero(np.diff(self.whose, prepend=-1))
        done = _practised(s, s.lengths, C)
        earlier = np.cumsum(done, axis=0) - done  # in earlier chunks of the history
        earlier -= earlier[first][self.whose]
        offset = s.starts - histories.starts[self.whose]
        self.place = np.empty(len(histories), int)
        self.middle, self.final = np.empty((2, len(s), C))
        self.parts = []
        for target, steps in ((self.middle, s.lengths // 2), (self.final, s.lengths)):
            practised = effects.practised(earlier + _practised(s, steps, C))
            self.parts.append((target, offset + steps, effects.skill + effects.slope * practised))

    def add(self, b: Beliefs, nodes: np.ndarray) -> None:
        """Fill in the sequences of a block."""
        self.place[b.sequence] = np.arange(len(b.sequence))
        here = np.flatnonzero(np.isin(self.whose, b.sequence))
        for target, after, level in self.parts:
            weight = b.states[self.place[self.whose[here]], after[here]]
            target[here] = chance(weight[:, None], chances(level[here], nodes)[0])


FIELDS = ("predicted", "mastery_pre", "mastery_post", "mastery_last", "flip", "revision")


def _around(
    b: Beliefs, right: np.ndarray, level: np.ndarray, after: np.ndarray, nodes: np.ndarray
) -> dict[str, np.ndarray]:
    """The fields of a trace for a block, [M] each; `level` before and `after` the practice."""
    predicted, failed = chance(b.before, b.right), chance(b.before, b.wrong)
    later = chances(after, nodes)[0]
    if_right = np.minimum(mean(b.before * b.right, later) / predicted, 1.0)
    if_wrong = np.minimum(mean(b.before * b.wrong, later) / failed, 1.0)
    said = np.where(right[:, None], b.right, b.wrong)
    now = mean(b.before * said, nodes) / np.where(right, predicted, failed)
    return {
        "predicted": predicted,
        "mastery_pre": chance(b.before, chances(level, nodes)[0]),
        "mastery_post": np.where(right, if_right, if_wrong),
        "mastery_last": chance(b.last, later),
        "flip": if_right - if_wrong,
        "revision": now - mean(b.before, nodes),
    }


def levels(sequences: Sequences, effects: Effects) -> tuple[np.ndarray, np.ndarray]:
    """What the practice of each step adds, and the level before it at ability 0; both [N]."""
    skill, n = sequences.skill, opportunities(sequences, len(effects.skill))
    slope, before = effects.slope[skill], effects.practised(n)
    growth = slope * (effects.practised(n + 1) - before)
    return growth, effects.skill[skill] + slope * before


def _practised(sequences: Sequences, steps: np.ndarray, skills: int) -> np.ndarray:
    """Answers on every skill in the first `steps` [S] steps, [S, C]."""
    counts = counts_after(sequences, steps, skills)
    return counts.right + counts.wrong


def climb(
    loss: Callable[[Prior], float], start: Prior, ladders: dict[str, tuple[float, ...]]
) -> tuple[Prior, float]:
    """The prior with the smallest loss, changed one value at a time, a rung at a time.

    Starts at the rung of each ladder that is nearest to `start`, and stops where no neighbour is
    better.
    """
    place = {
        name: int(np.argmin(np.abs(np.log(rungs) - np.log(getattr(start, name)))))
        for name, rungs in ladders.items()
    }
    tried: dict[Prior, float] = {}

    def at(place: dict[str, int]) -> float:
        prior = dataclasses.replace(start, **{n: ladders[n][i] for n, i in place.items()})
        if prior not in tried:
            tried[prior] = loss(prior)
        return tried[prior]

    best, moved = at(place), True
    while moved:
        moved = False
        for name in ladders:
            for step in (1, -1):
                while 0 <= place[name] + step < len(ladders[name]):
                    there = place | {name: place[name] + step}
                    if at(there) >= best:
                        break
                    place, best, moved = there, at(there), True
    return min(tried, key=tried.get), best


class Rasch(AbilityTracer):
    """The 1PL model: learner's ability minus item difficulty (skill difficulty without items).

    References
    ----------
    Rasch, G. (1960). Probabilistic models for some intelligence and attainment tests. Danish
    Institute for Educational Research.
    """

    name = "Rasch"
    slopes = False
    scales = (False,)


class AFM(AbilityTracer):
    """Additive factor model with item difficulty: each practice of a skill adds to the log-odds,
    whatever the answer. Slopes are >= 0; practice counts as n or as log(1 + n), whichever predicts
    validation learners better.

    References
    ----------
    Cen, H., Koedinger, K., & Junker, B. (2006). Learning factors analysis: a general method for
    cognitive model evaluation and improvement. ITS 2006, 164-175.
    """

    name = "AFM"
    slopes = True
    scales = (False, True)
