"""The ceiling while learners practise: the posterior under the true parameters, answer by answer.

`Oracle` keeps what the answers so far say about every skill, so that a tutor that knows the true
parameters can be simulated. On the asked skill it says what `filter_post` of
`kt_core.evaluation.ceiling` says.

L learners, R of them who answer, K skills, C skills of the world.
"""

from __future__ import annotations

import numpy as np

from kt_core.data.simulate import Levels, Simulation, Truth, true_parameters
from kt_core.evaluation.ceiling import GRID, Filter, node_mean


class Oracle:
    """What is known about all skills of some learners of a world, under its true parameters.

    Parameters
    ----------
    spec : the world; its `learners` do not matter.
    learners : L, how many there are; nothing has been answered yet.
    grid : as of `kt_core.evaluation.ceiling.posterior_mastery`.
    """

    def __init__(self, spec: Simulation, learners: int, grid: tuple[int, int, int] = GRID):
        truth = true_parameters(spec)
        self.state = (
            _Known(truth, learners) if spec.hidden else _Levels(spec, truth, learners, grid)
        )

    def wait(self, who: np.ndarray, days: np.ndarray) -> None:
        """Days [R] pass for learners `who` [R]."""
        self.state.wait(who, days)

    def answer(
        self, who: np.ndarray, skill: np.ndarray, item: np.ndarray, right: np.ndarray
    ) -> None:
        """Learners `who` [R] answer an item of a skill each, and practise it thereby.

        Parameters
        ----------
        item : [R], number within the skill, from 0.
        right : [R], true where the answer was right.
        """
        self.state.answer(who, skill, item, np.asarray(right, bool))

    def mastery(self, who: np.ndarray, skills: np.ndarray) -> np.ndarray:
        """Posterior mean of true mastery, [R, K] in [0, 1]."""
        return self.state.read(who, skills, None)

    def sure(self, who: np.ndarray, skills: np.ndarray, line: np.ndarray) -> np.ndarray:
        """Posterior probability that true mastery is at least `line` [K], [R, K]."""
        return self.state.read(who, skills, line)


class _Levels:
    """The state in a world of levels."""

    def __init__(
        self, spec: Simulation, truth: Truth, learners: int, grid: tuple[int, int, int]
    ) -> None:
        self.truth, self.filter = truth, Filter(truth, learners, grid)
        self.growth = Levels(spec, truth, np.zeros((learners, spec.skills)), np.ones(learners))

    def wait(self, who: np.ndarray, days: np.ndarray) -> None:
        self.growth.wait(who, days)

    def answer(
        self, who: np.ndarray, skill: np.ndarray, item: np.ndarray, right: np.ndarray
    ) -> None:
        gained, difficulty = self.growth.level[who, skill], self.truth.difficulty[skill, item]
        both = self.filter.predicted(skill, gained, difficulty)
        self.filter.answer(who, skill, np.where(right[:, None, None], *both))
        self.growth.practise(who, skill, right)

    def read(self, who: np.ndarray, skills: np.ndarray, line: np.ndarray | None) -> np.ndarray:
        columns = []
        for place, k in enumerate(skills):
            skill = np.full(len(who), k)
            value = self.filter.mastery(skill, self.growth.level[who, k])
            value = value if line is None else (value >= line[place]).astype(float)
            columns.append(node_mean(self.filter.weight(who, skill), value))
        return np.stack(columns, axis=1)


class _Known:
    """The state in a hidden world: P(known) of every skill, [L, C]."""

    def __init__(self, truth: Truth, learners: int) -> None:
        self.truth, self.known = truth, np.tile(truth.prior, (learners, 1))

    def wait(self, who: np.ndarray, days: np.ndarray) -> None:
        pass

    def answer(
        self, who: np.ndarray, skill: np.ndarray, item: np.ndarray, right: np.ndarray
    ) -> None:
        t, p = self.truth, self.known[who, skill]
        if_known = p * np.where(right, 1 - t.slip[skill], t.slip[skill])
        if_not = (1 - p) * np.where(right, t.guess[skill], 1 - t.guess[skill])
        p = if_known / (if_known + if_not)
        self.known[who, skill] = p + (1 - p) * t.learn[skill]

    def read(self, who: np.ndarray, skills: np.ndarray, line: np.ndarray | None) -> np.ndarray:
        p = self.known[np.ix_(who, skills)]
        known, unknown = 1 - self.truth.slip[skills], self.truth.guess[skills]
        if line is not None:
            known, unknown = (known >= line).astype(float), (unknown >= line).astype(float)
        return unknown + (known - unknown) * p
