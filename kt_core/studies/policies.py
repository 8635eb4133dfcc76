"""Policies of practice: models, the common rules, and a tutor that knows the world.

A policy believes something about every skill and passes one when that reaches a line. Mastery read
as P(correct) is held against the line of the true mastery (`SimulatedClass.line`), which where
answers slip is below 0.9 and which a real user would not know: without it, no skill could ever be
passed there. P(known) is held against 0.9.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import torch

from kt_core.data.sequences import Vocabulary
from kt_core.data.simulate import ITEMS_PER_SKILL, names_of
from kt_core.evaluation.ceiling_live import Oracle
from kt_core.evaluation.exam import last_state
from kt_core.evaluation.tracer import Tracer
from kt_core.runs.run import Run
from kt_core.stepwise import live_steps
from kt_core.studies.practising import Log, SimulatedClass

ORACLE = "oracle"
LOWER = ", lower end"  # after the name of a model
TEN, STREAK = "9 of the last 10 right", "3 right in a row"
CERTAIN = 0.975  # P(mastered) from which the lower end of a 95 % interval is above the line


class _Reader:
    """What models have in common: the numbers by which they know the skills and items."""

    def __init__(self, name: str, room: SimulatedClass, vocabulary: Vocabulary, line: np.ndarray):
        self.name, self.line, self.skills = name, line, room.rules.skills
        C = room.spec.skills
        skill, item = (x.ravel() for x in np.mgrid[:C, :ITEMS_PER_SKILL])
        names = pd.DataFrame(names_of(skill, item))
        self.skill_id = vocabulary.ids(names["skill"])[::ITEMS_PER_SKILL]
        self.item_id = vocabulary.item_ids(names).reshape(C, ITEMS_PER_SKILL)


class TracerPolicy(_Reader):
    """A baseline, fitted to training learners of the world; it reads the histories of the class
    again after each task.

    Parameters
    ----------
    line : [S], what its mastery is held against.
    """

    def __init__(
        self,
        name: str,
        room: SimulatedClass,
        vocabulary: Vocabulary,
        tracer: Tracer,
        line: np.ndarray,
    ):
        super().__init__(name, room, vocabulary, line)
        self.tracer = tracer

    def believe(self, log: Log, who: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """See `Policy`."""
        histories = log.sequences(who, self.skill_id, self.item_id)
        final = last_state(self.tracer.trace(histories).final, histories)
        mastery = final[:, self.skill_id[: self.skills]]
        return mastery, mastery >= self.line


class RunPolicy(_Reader):
    """A trained GainAKT2: its filtered state, or the lower end of the 95 % interval around it.

    Learners who have passed everything are read on with their last answer: those who are still
    there have all given as many.
    """

    def __init__(self, name: str, room: SimulatedClass, run: Run, lower: bool = False):
        super().__init__(name, room, run.vocabulary, room.line)
        self.run, self.lower = run, lower
        self.steps = live_steps(run.model, run.config.data.chunk, room.rules.learners)

    def believe(self, log: Log, who: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """See `Policy`; the weakest skill is the one with the lowest mastery in both variants."""
        at = np.arange(len(log.done)), log.done - 1
        skill, item = log.skill[at], log.item[at]
        answer = self.skill_id[skill], log.right[at], self.item_id[skill, item]
        day = torch.from_numpy(log.day[at]).float() if self.run.model.timed else None
        self.steps.add(*map(torch.from_numpy, answer), day)
        asked = self.skill_id[: self.skills]
        mastery = self._of(self.steps.mastery(), who, asked)
        if not self.lower:
            return mastery, mastery >= self.line
        deviation = self._of(self.steps.deviation(), who, asked)
        return mastery, self.run.uncertainty.interval(mastery, deviation)[0] >= self.line

    @staticmethod
    def _of(values: torch.Tensor, who: np.ndarray, skills: np.ndarray) -> np.ndarray:
        return values.double().numpy()[np.ix_(who, skills)]


class RulePolicy:
    """A rule of thumb on the last answers on a skill.

    The weakest skill is the one with the lowest share of right answers among the last 10, with one
    right and one wrong answer added, so that a skill not tried yet counts as half right.
    """

    def __init__(self, name: str, room: SimulatedClass):
        self.name, self.skills = name, room.rules.skills

    def believe(self, log: Log, who: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """See `Policy`."""
        ten, right = _recent(log, who, self.skills, 10)
        passed = (ten == 10) & (right >= 9)
        if self.name == STREAK:
            passed = _recent(log, who, self.skills, 3)[1] == 3
        return (right + 1) / (ten + 2), passed


def _recent(log: Log, who: np.ndarray, skills: int, last: int) -> tuple[np.ndarray, np.ndarray]:
    """How many of the last answers on each skill there are, and how many were right; [R, S]."""
    there = np.arange(log.skill.shape[1]) < log.done[who, None]
    answers, right = np.zeros((2, len(who), skills), int)
    for k in range(skills):
        own = there & (log.skill[who] == k)
        later = own.sum(axis=1, keepdims=True) - np.cumsum(own, axis=1)  # answers on it after each
        own &= later < last
        answers[:, k], right[:, k] = own.sum(axis=1), (own & (log.right[who] == 1)).sum(axis=1)
    return answers, right


class OraclePolicy:
    """A tutor that knows the true parameters of the world, and no learner.

    Parameters
    ----------
    sure : posterior probability that a skill is mastered from which it is passed; 0.975 is the
        lower end of the 95 % interval. If None, the posterior mean of mastery is held against the
        line.
    """

    def __init__(self, name: str, room: SimulatedClass, sure: float | None = None):
        self.name, self.room, self.sure = name, room, sure
        self.skills = np.arange(room.rules.skills)
        self.oracle = Oracle(room.spec, room.rules.learners)

    def believe(self, log: Log, who: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """See `Policy`."""
        last = log.done[who] - 1
        skill, item, right = (x[who, last] for x in (log.skill, log.item, log.right))
        days = log.day[who, last] - np.where(last > 0, log.day[who, last - 1], 0.0)
        self.oracle.wait(who, days)
        self.oracle.answer(who, skill, item, right)
        mastery = self.oracle.mastery(who, self.skills)
        if self.sure is None:
            return mastery, mastery >= self.room.line
        return mastery, self.oracle.sure(who, self.skills, self.room.line) >= self.sure
