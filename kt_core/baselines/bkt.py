"""Bayesian Knowledge Tracing: one two-state hidden Markov model per skill, fitted by EM.

A learner knows a skill at the first opportunity with probability *prior*. A learner who does not
know it yet learns it at an opportunity with probability *learn*, and never forgets it. An answer is
right with probability *guess* if the skill is not known and 1 - *slip* if it is. Skills are
independent.

The code loops over opportunities and EM iterations only. Dimensions: C skills, R random starts,
U strands (the answers of one learner on one skill), M answers in all strands.

References
----------
Corbett, A. T., & Anderson, J. R. (1995). Knowledge tracing: modeling the acquisition of procedural
knowledge. User Modeling and User-Adapted Interaction, 4, 253-278.
Beck, J. E., & Chang, K. (2007). Identifiability: a fundamental problem of student modeling. User
Modeling 2007, 137-146.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from kt_core.base.errors import KTError, brief
from kt_core.baselines.counts import check_fitted, earlier, sequence_of, step_of, unless_first
from kt_core.data.sequences import Sequences, Splits
from kt_core.evaluation.tracer import Trace

FLOOR = 1e-4  # parameters stay this far from 0 and 1, to avoid division by zero
# Guess and slip are at most one half. Without this bound, parameters under which "knowing" makes a
# right answer less likely can fit the answers equally well (compare Beck & Chang 2007).
CEILING = np.array([1 - FLOOR, 1 - FLOOR, 0.5, 0.5])
NAMES = ("prior", "learn", "guess", "slip")
READINGS = ("known", "correct")  # what is called mastery


@dataclass(frozen=True)
class Strands:
    """Answers of all strands, ordered by opportunity, then by length of the strand (longest first).

    The strands that reach opportunity t are therefore the first ones, and the values of
    opportunity t are one slice of a flat array.

    Attributes
    ----------
    skill, weight : [U], the strand's skill and how often the strand occurs in the data.
    bounds : [T + 1], where each opportunity begins in the flat arrays.
    answer : [M], flat array of answers, 0 or 1.
    place : [N], positions of the rows of the data in the flat arrays (None once collapsed).
    """

    skill: np.ndarray
    weight: np.ndarray
    bounds: np.ndarray
    answer: np.ndarray
    place: np.ndarray | None

    @classmethod
    def of(cls, sequences: Sequences, skills: int) -> Strands:
        """Make one strand per sequence and skill practised in it."""
        pair = sequence_of(sequences) * skills + sequences.skill
        pairs, strand, length = np.unique(pair, return_inverse=True, return_counts=True)
        order = np.argsort(-length, kind="stable")
        rank = np.empty_like(order)
        rank[order] = np.arange(len(order))
        opportunity = earlier(pair, np.ones_like(pair))
        bounds = np.append(0, np.cumsum(np.bincount(opportunity)))
        place = bounds[opportunity] + rank[strand]
        answer = np.empty(len(pair), np.int64)
        answer[place] = sequences.response
        return cls(pairs[order] % skills, np.ones(len(pairs)), bounds, answer, place)

    def __iter__(self):
        """Yield the slice of the flat arrays and the number of strands for each opportunity."""
        for low, high in zip(self.bounds[:-1], self.bounds[1:], strict=True):
            yield slice(low, high), high - low

    def collapsed(self) -> Strands:
        """Merge strands with equal answers on a skill into one with a weight (equal likelihood)."""
        code = self.skill.copy()
        for here, n in self:
            # Strands that have ended keep their code; those that continue get a higher one.
            longer = code[:n] * 2 + self.answer[here]
            code[:n] = code.max() + 1 + np.unique(longer, return_inverse=True)[1]
        _, first, weight = np.unique(code, return_index=True, return_counts=True)
        order = np.argsort(first)  # still the longest first
        kept, weight = first[order], weight[order].astype(float)
        answers = [self.answer[here][kept[kept < n]] for here, n in self]
        bounds = np.append(0, np.cumsum([len(a) for a in answers]))
        return Strands(self.skill[kept], weight, bounds, np.concatenate(answers), None)

    def on(self, skills: np.ndarray) -> Strands:
        """Only those on some skills, [C] of bool."""
        kept = skills[self.skill]
        answers = [self.answer[here][kept[:n]] for here, n in self if kept[:n].any()]
        bounds = np.append(0, np.cumsum([len(a) for a in answers]))
        return Strands(self.skill[kept], self.weight[kept], bounds, np.concatenate(answers), None)


def filtered(strands: Strands, parameters: np.ndarray) -> tuple[np.ndarray, ...]:
    """Run the filter along all strands.

    Parameters
    ----------
    parameters : [4, R, C], in the order of `NAMES`.

    Returns
    -------
    before, seen, after : [R, M], P(known) before the answer, after the answer but before the
        learning that follows, and after both.
    likely : [R, M], probability of the given answer, predicted from the answers before it.
    """
    prior, learn, guess, slip = parameters[:, :, strands.skill]
    before, seen, after, likely = np.empty((4, *prior.shape[:1], len(strands.answer)))
    known = prior
    for here, n in strands:
        right, known = strands.answer[here] == 1, known[:, :n]
        if_known = known * np.where(right, 1 - slip[:, :n], slip[:, :n])
        if_not = (1 - known) * np.where(right, guess[:, :n], 1 - guess[:, :n])
        before[:, here], likely[:, here] = known, if_known + if_not
        seen[:, here] = posterior = if_known / likely[:, here]
        after[:, here] = known = posterior + (1 - posterior) * learn[:, :n]
    return before, seen, after, likely


def smoothed(strands: Strands, seen: np.ndarray, after: np.ndarray) -> np.ndarray:
    """P(known) at each answer, given the whole strand, [R, M].

    Because a known skill is never forgotten, the backward step is
    P(known now and next | all) = P(known next | all) * P(known now | past) / P(known next | past).
    """
    smooth, following = np.empty_like(seen), None
    for here, _ in reversed(list(strands)):
        smooth[:, here] = seen[:, here]  # for strands that end here
        if following is not None:
            m = following.stop - following.start
            now = slice(here.start, here.start + m)
            smooth[:, now] *= smooth[:, following] / after[:, now]
            # It never falls, not even by rounding.
            np.minimum(smooth[:, now], smooth[:, following], out=smooth[:, now])
        following = here
    return smooth


def smoothed_after(strands: Strands, smooth: np.ndarray, after: np.ndarray) -> np.ndarray:
    """P(known) after each answer and the learning that follows, given the whole strand, [R, M]."""
    later = after.copy()  # at the last answer of a strand, nothing else is known
    slices = [here for here, _ in strands]
    for here, following in pairwise(slices):
        m = following.stop - following.start
        later[:, here.start : here.start + m] = smooth[:, following]
    return later


class BKT:
    """The model with four parameters per skill; `fit` sets `parameters` [4, C].

    Mastery is P(known), or with `read="correct"` the probability of a right answer,
    guess + (1 - slip - guess) P(known), which is on the scale of other models' mastery. It is
    filtered, and smoothed by the backward pass in `mastery_last`. As in Corbett & Anderson, mastery
    *after* an answer is the posterior given that answer plus the probability of learning at the
    opportunity: posterior + (1 - posterior) learn. Even a wrong answer can therefore raise it.

    Parameters
    ----------
    read : "known" or "correct".
    starts : number of random starts; each skill keeps the one with the best training likelihood.
    tolerance : EM leaves a skill alone when an iteration adds less than this to its log-likelihood
        from every start.
    """

    name = "BKT"

    def __init__(
        self,
        starts: int = 5,
        tolerance: float = 0.01,
        max_iterations: int = 500,
        read: str = "known",
    ) -> None:
        if read not in READINGS:
            raise KTError(f"BKT read as {brief(read)}: choose one of {', '.join(READINGS)}")
        self.starts, self.tolerance, self.max_iterations = starts, tolerance, max_iterations
        self.read = read
        self.parameters: np.ndarray | None = None
        self.history: np.ndarray | None = None  # [iterations, R, C], training log-likelihood

    def fit(self, splits: Splits, seed: int = 0) -> None:
        """Fit by EM from several random starts on the training answers."""
        skills, rng = len(splits.vocabulary.skills), np.random.default_rng(seed)
        strands = Strands.of(splits.train, skills).collapsed()
        low, high = np.array([[0.05, 0.02, 0.05, 0.05], [0.95, 0.5, 0.45, 0.45]])[..., None, None]
        parameters = rng.uniform(low, high, (4, self.starts, skills))
        history = [np.full(parameters.shape[1:], -np.inf)]
        moving = np.ones(skills, bool)
        for _ in range(self.max_iterations):
            parameters, likelihood = em_step(strands, parameters)
            history.append(np.where(moving, likelihood, history[-1]))
            more = moving & (history[-1] - history[-2] >= self.tolerance).any(axis=0)
            if not more.any():
                break
            if (more != moving).any():
                moving, strands = more, strands.on(more)
        self.history = np.array(history[1:])
        best = history[-1].argmax(axis=0)
        self.parameters = parameters[:, best, np.arange(skills)]
        answers = np.bincount(splits.train.skill, minlength=skills)
        pooled = self.parameters @ answers / answers.sum()
        self.parameters[:, answers == 0] = pooled[:, None]

    def trace(self, sequences: Sequences) -> Trace:
        """Trace with mastery of all skills, filtered and smoothed."""
        fitted = self.parameters
        check_fitted(self.name, None if fitted is None else fitted.shape[1], sequences)
        strands = Strands.of(sequences, fitted.shape[1])
        before, seen, after, _ = filtered(strands, fitted[:, None])
        last = smoothed_after(strands, smoothed(strands, seen, after), after)
        before, after, last = (x[0, strands.place] for x in (before, after, last))
        _, learn, guess, slip = fitted[:, sequences.skill]
        predicted = before * (1 - slip) + (1 - before) * guess
        # The difference of the two posteriors, simplified so that rounding cannot change its sign.
        apart = before * (1 - before) * (1 - slip - guess) / (predicted * (1 - predicted))
        asked, everything = sequences.skill, np.arange(fitted.shape[1])
        middle, final = (
            self._read(self._everywhere(sequences, after, steps), everything)
            for steps in (sequences.lengths // 2, sequences.lengths)
        )
        return Trace(
            predicted=unless_first(sequences, predicted),
            mastery_pre=unless_first(sequences, self._read(before, asked)),
            mastery_post=self._read(after, asked),
            mastery_last=self._read(last, asked),
            flip=apart * (1 - learn) * self._slope(asked),
            middle=middle,
            final=final,
        )

    def _slope(self, skill: np.ndarray) -> np.ndarray:
        """By how much mastery changes with P(known)."""
        _, _, guess, slip = self.parameters[:, skill]
        return 1 - slip - guess if self.read == "correct" else np.ones(len(skill))

    def _read(self, known: np.ndarray, skill: np.ndarray) -> np.ndarray:
        """Mastery of these skills, from P(known)."""
        guess = self.parameters[2, skill]
        return guess + self._slope(skill) * known if self.read == "correct" else known

    def _everywhere(self, sequences: Sequences, after: np.ndarray, steps: np.ndarray) -> np.ndarray:
        """P(known) of every skill after the first `steps` [S] steps, [S, C]."""
        sequence = sequence_of(sequences)
        done = step_of(sequences) < steps[sequence]
        belief = np.tile(self.parameters[0], (len(sequences), 1))
        # Rows are in order, so the last one of each skill is kept.
        belief[sequence[done], sequences.skill[done]] = after[done]
        return belief


def em_step(strands: Strands, parameters: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Run one iteration of Baum-Welch.

    Returns
    -------
    parameters : [4, R, C], which maximise the expected log-likelihood. It is concave in each
        parameter, so the closed form clipped to the bounds is the constrained maximum.
    likelihood : [R, C], log-likelihood of each skill's answers at the given parameters.
    """
    _, seen, after, likely = filtered(strands, parameters)
    smooth = smoothed(strands, seen, after)
    shape = (len(parameters[0]), len(strands.skill))
    known, known_right, likelihood = np.zeros((3, *shape))
    opportunities, right, last = np.zeros(shape[1]), np.zeros(shape[1]), np.empty(shape)
    for here, n in strands:
        known[:, :n] += smooth[:, here]
        known_right[:, :n] += smooth[:, here] * strands.answer[here]
        likelihood[:, :n] += np.log(likely[:, here])
        last[:, :n] = smooth[:, here]
        opportunities[:n] += 1
        right[:n] += strands.answer[here]
    first = smooth[:, : shape[1]]
    expected = (
        (first, np.ones(shape)),
        (last - first, opportunities - 1 - (known - last)),
        (right - known_right, opportunities - known),
        (known - known_right, known),
    )
    new = np.array(
        [_ratio(*(_per_skill(strands, x, parameters.shape[2]) for x in pair), old)
         for pair, old in zip(expected, parameters, strict=True)]
    )  # fmt: skip
    ceiling = CEILING[:, None, None]
    return np.clip(new, FLOOR, ceiling), _per_skill(strands, likelihood, parameters.shape[2])


def _per_skill(strands: Strands, values: np.ndarray, skills: int) -> np.ndarray:
    """Weighted sum of [R, U] over the strands of each skill, [R, C]."""
    weighted = values * strands.weight
    return np.array([np.bincount(strands.skill, row, minlength=skills) for row in weighted])


def _ratio(part: np.ndarray, whole: np.ndarray, old: np.ndarray) -> np.ndarray:
    """part / whole, or the old value if there is no data."""
    return np.where(whole > 0, part / np.where(whole > 0, whole, 1), old)
