"""Simulated learners, whose true mastery is known: the embedded default data.

Each learner has an ability and a speed, each skill an easiness and a gain, each item a difficulty.
Practice is massed: a learner stays on a skill until three right answers in a row or until the
patience for it runs out, and comes back to some skills later. Every practice adds a non-negative
gain to the log-odds theta of the skill practised, whatever the answer:

    theta = ability + easiness[skill] + start noise  before the first practice,
    theta <- theta + gain[skill] * speed             after each one,

    P(correct) = sigmoid(theta - difficulty),     true mastery M* = sigmoid(theta).

With `growth=0` learners never learn; with `forgetting` theta falls back towards its start while
other skills are practised. `true_parameters` are the parameters behind the draws; from them,
`kt_core.evaluation.ceiling` computes how well mastery can be recovered at best.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.special import expit

from kt_core.data.table import Dataset

ITEMS_PER_SKILL = 10
EASINESS_SD, DIFFICULTY_SD = 0.6, 0.7  # normal, mean 0
GAIN_SHAPE, GAIN_SCALE = 4.0, 0.06  # gamma: 0.24 log-odds per practice on average
ABILITY_SD, START_SD = 0.9, 0.5  # normal, mean 0; START_SD per learner and skill
SPEED_LOG_MEAN, SPEED_LOG_SD = -0.1, 0.5  # lognormal
STEPS_LOG_SHIFT, STEPS_LOG_SD, STEPS_MIN, STEPS_MAX = -0.3, 0.75, 5, 190  # lognormal, clipped
STREAK = 3  # right answers in a row that end the practice of a skill
PATIENCE = (4, 13)  # or this many answers, drawn from [low, high)
JUMP = 0.25  # chance that the next skill is any skill, not the following one


@dataclass(frozen=True)
class Simulation:
    """Parameters of the simulator.

    Attributes
    ----------
    growth : factor on every gain; 1 is the standard, and with 0 learners do not learn.
    forgetting : share of the gains on a skill that is lost per step on other skills.
    mean_steps : expected interactions per learner.
    """

    learners: int = 2000
    skills: int = 20
    mean_steps: int = 60
    growth: float = 1.0
    forgetting: float = 0.0
    seed: int = 0


@dataclass(frozen=True)
class Truth:
    """The parameters from which learners and answers are drawn; C skills, I items per skill.

    Attributes
    ----------
    easiness : [C], mean start of each skill in log-odds.
    gain : [C], log-odds that a practice adds at speed 1, `growth` included.
    difficulty : [C, I], zero-mean within each skill.
    ability_sd, start_sd : of normal distributions around 0, per learner and per learner x skill.
    speed_log_mean, speed_log_sd : of the lognormal distribution of a learner's speed.
    forgetting : as in `Simulation`.
    """

    easiness: np.ndarray
    gain: np.ndarray
    difficulty: np.ndarray
    ability_sd: float = ABILITY_SD
    start_sd: float = START_SD
    speed_log_mean: float = SPEED_LOG_MEAN
    speed_log_sd: float = SPEED_LOG_SD
    forgetting: float = 0.0


def true_parameters(spec: Simulation) -> Truth:
    """The parameters that `simulate(spec)` uses."""
    return _draw_truth(np.random.default_rng(spec.seed), spec)


def _draw_truth(rng: np.random.Generator, spec: Simulation) -> Truth:
    easiness = rng.normal(0.0, EASINESS_SD, spec.skills)
    gain = rng.gamma(GAIN_SHAPE, GAIN_SCALE, spec.skills) * spec.growth
    difficulty = rng.normal(0.0, DIFFICULTY_SD, (spec.skills, ITEMS_PER_SKILL))
    difficulty -= difficulty.mean(axis=1, keepdims=True)
    return Truth(easiness, gain, difficulty, forgetting=spec.forgetting)


def simulate(spec: Simulation, name: str = "simulated") -> Dataset:
    """Draw learners; the same `spec` gives the same table.

    Returns
    -------
    A canonical table with items and, for each response, `true_before` and `true_mastery`, the
    probability-scale mastery of the asked skill before and after the step, and `true_gain`, what
    the practice added to its log-odds.
    """
    rng = np.random.default_rng(spec.seed)
    L, C = spec.learners, spec.skills
    truth = _draw_truth(rng, spec)
    ability, speed = rng.normal(0.0, ABILITY_SD, L), rng.lognormal(SPEED_LOG_MEAN, SPEED_LOG_SD, L)
    steps = rng.lognormal(np.log(spec.mean_steps) + STEPS_LOG_SHIFT, STEPS_LOG_SD, L)
    steps = np.clip(steps.astype(int), STEPS_MIN, STEPS_MAX)
    start = ability[:, None] + truth.easiness + rng.normal(0.0, START_SD, (L, C))
    walk = _Walk(rng, L, C)
    theta, rows, everyone = start.copy(), [], np.arange(L)
    for t in range(steps.max()):
        skill = walk.skill
        item = rng.integers(ITEMS_PER_SKILL, size=L)
        before = theta[everyone, skill]
        correct = rng.random(L) < expit(before - truth.difficulty[skill, item])
        added = truth.gain[skill] * speed
        if spec.forgetting:
            theta = start + (theta - start) * (1 - spec.forgetting)
        theta[everyone, skill] = before + added
        here = np.flatnonzero(steps > t)
        rows.append(
            np.column_stack(
                [
                    here,
                    np.full(len(here), t),
                    skill[here],
                    correct[here],
                    item[here],
                    before[here],
                    added[here],
                ]
            )
        )
        walk.advance(correct)
    return Dataset(name, _table(np.concatenate(rows), name), simulation=spec)


class _Walk:
    """The skill that each learner practises: massed practice with a mastery stop rule."""

    def __init__(self, rng: np.random.Generator, learners: int, skills: int):
        self.rng, self.skills = rng, skills
        self.skill = rng.integers(skills, size=learners)
        self.streak = np.zeros(learners, int)
        self.patience = rng.integers(*PATIENCE, size=learners)

    def advance(self, correct: np.ndarray) -> None:
        self.streak = np.where(correct, self.streak + 1, 0)
        self.patience -= 1
        leave = (self.streak >= STREAK) | (self.patience <= 0)
        # Mostly the next skill, sometimes a jump back or ahead.
        jump = self.rng.random(len(leave)) < JUMP
        other = self.rng.integers(self.skills, size=len(leave))
        following = np.where(jump, other, (self.skill + 1) % self.skills)
        self.skill = np.where(leave, following, self.skill)
        self.streak[leave] = 0
        patience = self.rng.integers(*PATIENCE, size=len(leave))
        self.patience = np.where(leave, patience, self.patience)


def _table(rows: np.ndarray, name: str) -> pd.DataFrame:
    rows = rows[np.lexsort((rows[:, 1], rows[:, 0]))]
    learner, step, skill, correct, item = rows[:, :5].astype(int).T
    before, added = rows[:, 5], rows[:, 6]
    return pd.DataFrame(
        {
            "user": np.char.add("L", np.char.zfill(learner.astype(str), 5)).astype(object),
            "skill": np.char.add("skill ", np.char.zfill(skill.astype(str), 2)).astype(object),
            "correct": correct,
            "item": (skill * ITEMS_PER_SKILL + item).astype(str).astype(object),
            "timestamp": step,
            "true_before": expit(before),
            "true_mastery": expit(before + added),
            "true_gain": added,
        }
    )
