"""Simulated learners whose mastery is known (design, section 7): the embedded default data.

Each learner has an ability and a speed, each skill an easiness and a gain, each item a difficulty.
Practice is massed: a learner stays on a skill until three right answers in a row or until the
patience for it runs out, and comes back to some skills later. Every practice adds a non-negative
gain to the log-odds theta of the skill practised, whatever the answer:

    P(correct) = sigmoid(theta - difficulty),     true mastery M* = sigmoid(theta).

Controls: `growth=0` learners never learn, and with `forgetting` theta sinks back towards its start
while other skills are practised.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.special import expit

from kt_core.data.table import Dataset

ITEMS_PER_SKILL = 10


@dataclass(frozen=True)
class Simulation:
    """Parameters of the simulator.

    Attributes
    ----------
    growth : factor on every gain; 1 is the standard, 0 learners who do not learn.
    forgetting : share of what was gained on a skill that is lost per step spent elsewhere.
    mean_steps : expected interactions per learner.
    """

    learners: int = 2000
    skills: int = 20
    mean_steps: int = 60
    growth: float = 1.0
    forgetting: float = 0.0
    seed: int = 0


def simulate(spec: Simulation, name: str = "simulated") -> Dataset:
    """Draw learners; the same `spec` gives the same table.

    Returns
    -------
    A canonical table with items and, beside each response, `true_before` and `true_mastery`, the
    probability-scale mastery of the asked skill before and after the step, and `true_gain`, what
    the practice added to its log-odds.
    """
    rng = np.random.default_rng(spec.seed)
    L, C = spec.learners, spec.skills
    easiness = rng.normal(0.0, 0.6, C)
    gain = rng.gamma(4.0, 0.06, C) * spec.growth
    difficulty = rng.normal(0.0, 0.7, (C, ITEMS_PER_SKILL))
    difficulty -= difficulty.mean(axis=1, keepdims=True)
    ability, speed = rng.normal(0.0, 0.9, L), rng.lognormal(-0.1, 0.5, L)
    steps = np.clip(rng.lognormal(np.log(spec.mean_steps) - 0.3, 0.75, L).astype(int), 5, 190)
    start = ability[:, None] + easiness + rng.normal(0.0, 0.5, (L, C))
    walk = _Walk(rng, L, C)
    theta, rows, everyone = start.copy(), [], np.arange(L)
    for t in range(steps.max()):
        skill = walk.skill
        item = rng.integers(ITEMS_PER_SKILL, size=L)
        before = theta[everyone, skill]
        correct = rng.random(L) < expit(before - difficulty[skill, item])
        added = gain[skill] * speed
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
    return Dataset(name, _table(np.concatenate(rows), name))


class _Walk:
    """Which skill each learner practises: massed, with a mastery stop rule."""

    def __init__(self, rng: np.random.Generator, learners: int, skills: int):
        self.rng, self.skills = rng, skills
        self.skill = rng.integers(skills, size=learners)
        self.streak = np.zeros(learners, int)
        self.patience = rng.integers(4, 13, size=learners)

    def advance(self, correct: np.ndarray) -> None:
        self.streak = np.where(correct, self.streak + 1, 0)
        self.patience -= 1
        leave = (self.streak >= 3) | (self.patience <= 0)
        # Skills come in a loose order: mostly the next one, sometimes a jump back or ahead.
        jump = self.rng.random(len(leave)) < 0.25
        other = self.rng.integers(self.skills, size=len(leave))
        following = np.where(jump, other, (self.skill + 1) % self.skills)
        self.skill = np.where(leave, following, self.skill)
        self.streak[leave] = 0
        self.patience = np.where(leave, self.rng.integers(4, 13, size=len(leave)), self.patience)


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
