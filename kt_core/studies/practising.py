"""A simulated class practises under a policy: which skill comes next, and when one is passed.

New learners of a world (`kt_core.data.worlds`), with its true parameters, practise until every
skill is passed or given up. After each task the policy sees the answers so far, and nothing else,
and says for every skill what it believes and whether the skill is passed. The next task is on the
weakest skill that is still open. All policies meet the same learners, the same items and the same
luck: the n-th task of a learner on a skill is the same task with the same random number, whatever
came before. So differences between policies are paired.

L learners, S skills of the class, R learners who answer in a round.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from kt_core.base.errors import KTError
from kt_core.data.sequences import Sequences
from kt_core.data.simulate import ITEMS_PER_SKILL, Simulation, draw_learners, true_parameters


@dataclass(frozen=True)
class Rules:
    """How a class practises.

    Attributes
    ----------
    learners : how many there are.
    skills : the first of the world's, which are a random sample, as all are drawn alike.
    mastered : of the highest P(correct) that can be reached on an item of average difficulty, the
        share from which a skill is mastered.
    most : tasks of a learner on a skill, after which it is given up.
    block : tasks on a skill before another may come. A single answer would switch too often for a
        class; three let the house's rule, three right answers in a row, end a block.
    session : tasks between two breaks; only in worlds with breaks.
    pause : days of a break; within a session no time passes.
    seed : of the learners, the items and the luck.
    """

    learners: int = 100
    skills: int = 10
    mastered: float = 0.9
    most: int = 40
    block: int = 3
    session: int = 15
    pause: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("learners", "skills", "most", "block", "session"):
            if getattr(self, name) < 1:
                raise KTError(f"{name} {getattr(self, name)}: a class needs at least 1")
        if self.seed < 0:
            raise KTError(f"seed {self.seed}: must be at least 0")


USUAL = Rules()


class Log:
    """The answers of a class so far: all that a policy may see.

    Attributes
    ----------
    done : [L], how many answers each learner has given.
    skill, item, right : [L, M], in order; item counts within the skill, from 0.
    day : [L, M], when, in days from the start.
    """

    def __init__(self, learners: int, most: int):
        self.done = np.zeros(learners, int)
        self.skill, self.item, self.right = np.zeros((3, learners, most), int)
        self.day = np.zeros((learners, most))

    def add(
        self,
        who: np.ndarray,
        skill: np.ndarray,
        item: np.ndarray,
        right: np.ndarray,
        day: np.ndarray,
    ) -> None:
        """One more answer of each of the learners `who`; all are [R]."""
        at = who, self.done[who]
        self.skill[at], self.item[at], self.right[at], self.day[at] = skill, item, right, day
        self.done[who] += 1

    def sequences(self, who: np.ndarray, skill: np.ndarray, item: np.ndarray) -> Sequences:
        """The histories of learners `who`, each with at least one answer, for a model to read.

        Parameters
        ----------
        skill, item : ids in the model's vocabulary: [C] and [C, items of a skill].
        """
        lengths = self.done[who]
        there = np.arange(self.skill.shape[1]) < lengths[:, None]
        asked, one, right, day = (
            x[who][there] for x in (self.skill, self.item, self.right, self.day)
        )
        return Sequences(
            skill=skill[asked],
            item=item[asked, one],
            response=right,
            starts=np.cumsum(lengths) - lengths,
            lengths=lengths,
            learner=np.arange(len(who)),
            chunk=np.zeros(len(who), int),
            learners=who,
            truth={},
            time=day,
        )


class Policy(Protocol):
    """Something that says after each round which skills are mastered."""

    name: str

    def believe(self, log: Log, who: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """After one more answer of each of the learners `who` [R]: how strong each skill is, by
        which the weakest is chosen, and whether it is mastered; both [R, S]."""


class SimulatedClass:
    """The learners of a class, with the items and the luck that await them.

    Attributes
    ----------
    line : [S], true mastery from which a skill is mastered.
    first : [L], the skill of the first block, when nothing is known.
    item, draw, luck : [L, S, `most`], item, random number of the answer, and random number of the
        learning (only hidden worlds), of the n-th task of a learner on a skill.

    Raises
    ------
    KTError
        If the world has fewer skills than the class.
    """

    def __init__(self, spec: Simulation, rules: Rules = USUAL):
        if rules.skills > spec.skills:
            raise KTError(f"{rules.skills} skills of a class: the world has {spec.skills}")
        self.spec, self.rules = dataclasses.replace(spec, learners=rules.learners), rules
        self.truth = true_parameters(spec)
        self.line = rules.mastered * (1 - self.truth.slip[: rules.skills])
        rng = np.random.default_rng((rules.seed, spec.seed, 1))
        shape = rules.learners, rules.skills, rules.most
        self.first = rng.integers(rules.skills, size=rules.learners)
        self.item = rng.integers(ITEMS_PER_SKILL, size=shape)
        self.draw, self.luck = rng.random((2, *shape))

    def arrive(self):
        """The learners before all practice, always the same (`draw_learners`)."""
        rng = np.random.default_rng((self.rules.seed, self.spec.seed, 2))
        return draw_learners(rng, self.spec, self.truth)


@dataclass(frozen=True)
class Practice:
    """What became of a class under a policy; all [L, S].

    Attributes
    ----------
    tasks : how many were done.
    over : how many of them were done when the skill was truly mastered already.
    reached : tasks on the skill until it was first truly mastered; NaN where it never was.
    passed : whether the policy passed it.
    passed_after : tasks of the learner, on all skills, when it was passed; NaN if it never was.
    at_passing : true mastery then, as a share of `SimulatedClass.line`; NaN likewise.
    log : all answers.
    """

    tasks: np.ndarray
    over: np.ndarray
    reached: np.ndarray
    passed: np.ndarray
    passed_after: np.ndarray
    at_passing: np.ndarray
    log: Log

    @property
    def unmastered(self) -> np.ndarray:
        """Whether a skill was passed although it was not truly mastered."""
        return self.passed & (self.at_passing < 1)


def practise(room: SimulatedClass, policy: Policy) -> Practice:
    """Let a class practise under a policy until no skill is open."""
    rules, people = room.rules, room.arrive()
    L, S = rules.learners, rules.skills
    p = Practice(
        *np.zeros((2, L, S), int),
        reached=np.full((L, S), np.nan),
        passed=np.zeros((L, S), bool),
        passed_after=np.full((L, S), np.nan),
        at_passing=np.full((L, S), np.nan),
        log=Log(L, S * rules.most),
    )
    skill, in_block, left = room.first.copy(), np.zeros(L, int), np.ones((L, S), bool)
    day = np.zeros(L)
    everyone = np.arange(L)
    _note_mastered(p, everyone, _standing(room, people, everyone))
    while len(who := np.flatnonzero(left.any(axis=1))):
        _break(room, people, p.log, who, day)
        _task(room, people, p, who, skill[who], day)
        standing = _standing(room, people, who)
        _note_mastered(p, who, standing)
        strength, mastered = policy.believe(p.log, who)
        _pass(p, who, left[who] & mastered, standing)
        left[who] &= ~mastered & (p.tasks[who] < rules.most)
        in_block[who] += 1
        leave = ~left[who, skill[who]] | (in_block[who] >= rules.block)
        weakest = np.where(left[who], strength, np.inf).argmin(axis=1)
        skill[who] = np.where(leave, weakest, skill[who])
        in_block[who[leave]] = 0
    return p


def _break(room: SimulatedClass, people, log: Log, who: np.ndarray, day: np.ndarray) -> None:
    """Those who have come to the end of a session come back after a break."""
    if room.spec.breaks:
        tired = who[(log.done[who] > 0) & (log.done[who] % room.rules.session == 0)]
        people.wait(tired, np.full(len(tired), room.rules.pause))
        day[tired] += room.rules.pause


def _task(
    room: SimulatedClass, people, p: Practice, who: np.ndarray, skill: np.ndarray, day: np.ndarray
) -> None:
    """Each learner does the next task on a skill, and learns from it."""
    at = who, skill, p.tasks[who, skill]
    item = room.item[at]
    p.over[who, skill] += people.chance(who, skill) >= room.line[skill]
    right = room.draw[at] < people.chance(who, skill, room.truth.difficulty[skill, item])
    people.practise(who, skill, right, room.luck[at])
    p.tasks[who, skill] += 1
    p.log.add(who, skill, item, right, day[who])


def _standing(room: SimulatedClass, people, who: np.ndarray) -> np.ndarray:
    """True mastery as a share of the line, [R, S]."""
    skills = np.arange(room.rules.skills)
    mastery = [people.chance(who, np.full(len(who), k)) for k in skills]
    return np.stack(mastery, axis=1) / room.line


def _note_mastered(p: Practice, who: np.ndarray, standing: np.ndarray) -> None:
    now = np.isnan(p.reached[who]) & (standing >= 1)
    p.reached[who] = np.where(now, p.tasks[who], p.reached[who])


def _pass(p: Practice, who: np.ndarray, now: np.ndarray, standing: np.ndarray) -> None:
    p.passed[who] |= now
    p.at_passing[who] = np.where(now, standing, p.at_passing[who])
    p.passed_after[who] = np.where(now, p.log.done[who, None], p.passed_after[who])
