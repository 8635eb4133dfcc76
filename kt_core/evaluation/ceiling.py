"""The ceiling on recovering mastery: its posterior mean under the simulator's true parameters.

No model can do better in squared error on the same answers. In a world of levels, everything that
is unknown about a simulated learner is static: the ability a, the speed s and, per skill k, the
start. Given the speed and the history, growth is deterministic, whatever its form (`Levels`):

    theta_k(t) = easiness_k + u_k + s * h_k(t),     u_k = loading_k * a + start noise,

with h_k(t) known. Which skill comes next depends only on past answers and adds no information.
Given (a, s) the skills are independent: a skill's likelihood is a table over (u, s), summing out u
turns it into a factor over (a, s), and the factors of all skills multiply. Integrals are replaced
by sums over regular nodes, which for smooth integrands converge faster than any power of the
spacing. In a hidden world the forward-backward algorithm is exact
(`kt_core.evaluation.ceiling_hidden`).

Shapes: A, S, U nodes of ability, speed and start; L learners of one batch, C skills, R rows.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.stats import norm

from kt_core.base.errors import KTError
from kt_core.data.practice import DAY
from kt_core.data.simulate import (
    SPEED_LOG_MEAN,
    SPEED_LOG_SD,
    Levels,
    Simulation,
    Truth,
    chance,
    simulate,
    true_parameters,
)
from kt_core.evaluation.ceiling_hidden import forward_backward

COLUMNS = ("filter_pre", "filter_post", "smooth_pre", "smooth", "predicted")
GRID = (31, 31, 41)  # nodes of ability, speed, start
WIDTH = 5.0  # nodes reach this many standard deviations to either side
BATCH = 64  # learners at a time


def posterior_mastery(
    table: pd.DataFrame, spec: Simulation, grid: tuple[int, int, int] = GRID
) -> pd.DataFrame:
    """Posterior means of the asked skill's mastery, for each row of simulated learners.

    Growth needs no function of its own: expectation is linear, so for a learner and a skill the
    posterior mean of the mastery gained from the first opportunity to the last, given all answers,
    is `smooth` of the last row minus `smooth` of the first.

    Parameters
    ----------
    table : canonical, `simulate(spec).table` or some of its learners, each with the whole history.
    grid : numbers of nodes of ability, speed and start. The default is within 0.0005 of twice as
        many. Working memory is about 0.1 GB at 20 skills, however many learners.

    Returns
    -------
    The table's index, and in [0, 1]:
    `filter_pre`, `filter_post` : before and after the step's practice, given the answers before
        this one and up to this one (compare with `true_before` and `true_mastery`);
    `smooth_pre`, `smooth` : the same two given all of the learner's answers;
    `predicted` : probability of a right answer to the item, given the answers before.

    Raises
    ------
    KTError
        If the table's learners, skills and items are not those of `simulate(spec)`: the ceiling
        of another simulation, or of part of a history, would be wrong without a warning.
    """
    _check(table, spec)
    truth = true_parameters(spec)
    if spec.hidden:
        return pd.DataFrame(forward_backward(table, truth), table.index, list(COLUMNS))
    rows = _rows(table, spec, truth)
    out = np.empty((len(table), len(COLUMNS)))
    for first in range(0, int(rows.learner.max(initial=-1)) + 1, BATCH):
        here = np.flatnonzero((rows.learner >= first) & (rows.learner < first + BATCH))
        out[here] = _batch(rows.take(here, first), truth, grid)
    return pd.DataFrame(out, table.index, list(COLUMNS))


@dataclass(frozen=True)
class _Rows:
    """The answers as arrays [R]; `before` and `after` are h, what speed 1 would have added."""

    learner: np.ndarray
    step: np.ndarray
    skill: np.ndarray
    correct: np.ndarray
    difficulty: np.ndarray
    before: np.ndarray
    after: np.ndarray

    def take(self, here: np.ndarray, first: int) -> _Rows:
        learner, *others = (values[here] for values in vars(self).values())
        return _Rows(learner - first, *others)

    def steps(self):
        """The row numbers of each step in turn."""
        order = np.argsort(self.step, kind="stable")
        return np.split(order, np.flatnonzero(np.diff(self.step[order])) + 1)


def _rows(table: pd.DataFrame, spec: Simulation, truth: Truth) -> _Rows:
    learner = pd.factorize(table["user"])[0]
    histories = table.groupby("user", sort=False)
    step = histories.cumcount().to_numpy()
    skill = table["skill"].str.split().str[-1].astype(int).to_numpy()
    difficulty = truth.difficulty.ravel()[table["item"].astype(int).to_numpy()]
    correct = table["correct"].to_numpy() == 1
    days = np.zeros(len(table))
    if spec.breaks:
        days = histories["timestamp"].diff().fillna(0).to_numpy() / DAY
    rows = _Rows(learner, step, skill, correct, difficulty, *np.zeros((2, len(table))))
    L = learner.max(initial=-1) + 1
    growth = Levels(spec, truth, np.zeros((L, spec.skills)), np.ones(L))
    for at in rows.steps():
        who, k = learner[at], skill[at]
        growth.wait(who, days[at])
        rows.before[at] = growth.level[who, k]
        growth.practise(who, k, correct[at])
        rows.after[at] = growth.level[who, k]
    return rows


def _schedules(table: pd.DataFrame) -> Counter[tuple[str, ...]]:
    """How many learners met these skills and items, in this order."""
    asked = table["skill"].astype(str)
    if "item" in table:
        asked = asked + "/" + table["item"].astype(str)
    return Counter(asked.groupby(table["user"], sort=False).agg(tuple))


def _check(table: pd.DataFrame, spec: Simulation) -> None:
    """Answers may differ from the simulated ones (what if?) and names may, schedules may not."""
    if _schedules(table) - _schedules(simulate(spec).table):
        raise KTError(f"the table is not made of whole histories of learners of {spec}")


@dataclass(frozen=True)
class _Nodes:
    """The nodes of the sums and the prior on them."""

    speed: np.ndarray  # [S]
    start: np.ndarray  # [U], values of u
    kernel: np.ndarray  # [C, A, U], probability of a skill's u given a
    log_prior: np.ndarray  # [A, S], of (a, s), up to a constant

    @classmethod
    def of(cls, truth: Truth, grid: tuple[int, int, int]) -> _Nodes:
        a, s, u = (np.linspace(-WIDTH, WIDTH, n) for n in grid)
        log_prior = norm.logpdf(a)[:, None] + norm.logpdf(s)
        ability = truth.loading[:, None, None] * a[:, None]
        start = np.hypot(truth.loading.max(), truth.start_sd.max()) * u
        kernel = norm.pdf(start, ability, truth.start_sd[:, None, None])
        kernel /= kernel.sum(axis=-1, keepdims=True)
        speed = np.exp(SPEED_LOG_MEAN + SPEED_LOG_SD * s)
        return cls(speed, start, kernel, log_prior)

    def factor(self, beliefs: np.ndarray, skill: np.ndarray | slice) -> np.ndarray:
        """Log-likelihood [..., U, S] of a skill's answers, summed over u: [..., A, S]."""
        peak = beliefs.max(axis=-2, keepdims=True)
        return np.log(self.kernel[skill] @ np.exp(beliefs - peak)) + peak

    def posterior(
        self, beliefs: np.ndarray, others: np.ndarray, skill: np.ndarray | slice
    ) -> np.ndarray:
        """Probabilities [..., U, S] of a skill's start and the speed.

        `beliefs` [..., U, S] is of the skill, `others` [..., A, S] all other skills' factors.
        """
        others = others + self.log_prior
        others = np.exp(others - others.max(axis=(-2, -1), keepdims=True))
        own = np.exp(beliefs - beliefs.max(axis=(-2, -1), keepdims=True))
        weight = own * (self.kernel[skill].swapaxes(-2, -1) @ others)
        return weight / weight.sum(axis=(-2, -1), keepdims=True)


class Filter:
    """What the answers of L learners of a world of levels say so far, moved answer by answer.

    Parameters
    ----------
    grid : numbers of nodes of ability, speed and start.
    """

    def __init__(self, truth: Truth, learners: int, grid: tuple[int, int, int] = GRID):
        self.truth, self.nodes = truth, _Nodes.of(truth, grid)
        (A, S), C = self.nodes.log_prior.shape, len(truth.gain)
        self.beliefs = np.zeros((learners, C, len(self.nodes.start), S))
        self.factors, self.total = np.zeros((learners, C, A, S)), np.zeros((learners, A, S))

    def weight(self, who: np.ndarray, skill: np.ndarray) -> np.ndarray:
        """Posterior probabilities, [R, U, S], of the start of `skill` [R] and of the speed."""
        others = self.total[who] - self.factors[who, skill]
        return self.nodes.posterior(self.beliefs[who, skill], others, skill)

    def level(self, skill: np.ndarray, gained: np.ndarray) -> np.ndarray:
        """Levels at all nodes, [R, U, S]; `gained` [R] is what speed 1 has added."""
        start = self.truth.easiness[skill][:, None, None] + self.nodes.start[:, None]
        return start + gained[:, None, None] * self.nodes.speed

    def mastery(self, skill: np.ndarray, gained: np.ndarray) -> np.ndarray:
        """True mastery at all nodes, [R, U, S]."""
        return chance(self.level(skill, gained), *self._chances(skill))

    def predicted(
        self, skill: np.ndarray, gained: np.ndarray, difficulty: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """P(right) and P(wrong) at all nodes, each [R, U, S]."""
        logit = self.level(skill, gained) - difficulty[:, None, None]
        guess, slip = self._chances(skill)
        return chance(logit, guess, slip), chance(-logit, slip, guess)

    def answer(self, who: np.ndarray, skill: np.ndarray, likelihood: np.ndarray) -> None:
        """Take in an answer of each learner, of which `likelihood` [R, U, S] is the probability."""
        others = self.total[who] - self.factors[who, skill]
        self.beliefs[who, skill] += np.log(likelihood)
        self.factors[who, skill] = self.nodes.factor(self.beliefs[who, skill], skill)
        self.total[who] = others + self.factors[who, skill]

    def _chances(self, skill: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return self.truth.guess[skill][:, None, None], self.truth.slip[skill][:, None, None]


def _batch(rows: _Rows, truth: Truth, grid: tuple[int, int, int]) -> np.ndarray:
    """The columns [R, 5] of some learners: a pass of filtering, then one look back."""
    known = Filter(truth, rows.learner.max() + 1, grid)
    out = np.empty((len(rows.step), len(COLUMNS)))
    for at in rows.steps():
        who, k = rows.learner[at], rows.skill[at]
        right, wrong = known.predicted(k, rows.before[at], rows.difficulty[at])
        weight = known.weight(who, k)
        out[at, 0] = node_mean(weight, known.mastery(k, rows.before[at]))
        out[at, 4] = node_mean(weight, right)
        known.answer(who, k, np.where(rows.correct[at, None, None], right, wrong))
        out[at, 1] = node_mean(known.weight(who, k), known.mastery(k, rows.after[at]))
    everything = slice(None)
    weight = known.nodes.posterior(known.beliefs, known.total[:, None] - known.factors, everything)
    for at in rows.steps():
        own, k = weight[rows.learner[at], rows.skill[at]], rows.skill[at]
        out[at, 2] = node_mean(own, known.mastery(k, rows.before[at]))
        out[at, 3] = node_mean(own, known.mastery(k, rows.after[at]))
    return out


def node_mean(weight: np.ndarray, value: np.ndarray) -> np.ndarray:
    """Means over the nodes, [R]."""
    return np.einsum("rus,rus->r", weight, value)
