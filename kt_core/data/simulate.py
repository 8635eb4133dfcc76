"""Simulated learners, whose true mastery is known: the embedded default data, and other worlds.

A learner has an ability and a speed; a skill has an easiness, a loading and a gain; an item has a
difficulty. Practice makes a skill grow:

    theta = easiness[skill] + loading[skill] * ability + start noise + speed * growth,
    P(correct) = guess + (1 - guess - slip) * sigmoid(theta - difficulty).

True mastery is P(correct) on an item of difficulty 0. `Simulation` says how skills grow and in
which order they are practised; its defaults are the *house*: every practice adds the skill's gain,
whatever the answer, and a learner stays on a skill until three right answers in a row or until the
patience for it runs out. With `hidden`, a skill is known or not, as in BKT, and guess, slip and the
chance of learning it are the skill's own. `kt_core.data.worlds` has the simulations with a name.

`true_parameters` are the parameters behind the draws; from them, `kt_core.evaluation.ceiling`
computes how well mastery can be recovered at best.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from kt_core.base.errors import KTError
from kt_core.data.practice import DAY, ORDERS, Clock
from kt_core.data.reading.note import ReadingNote
from kt_core.data.table import Dataset

ITEMS_PER_SKILL = 10
EASINESS_SD, DIFFICULTY_SD = 0.6, 0.7  # normal, mean 0
GAIN_SHAPE, GAIN_SCALE = 4.0, 0.06  # gamma: 0.24 log-odds per practice on average
SPEED_LOG_MEAN, SPEED_LOG_SD = -0.1, 0.5  # lognormal
STEPS_LOG_SHIFT, STEPS_LOG_SD = -0.3, 0.75  # lognormal, clipped

Range = tuple[float, float]
# What a practice adds at speed 1, from the skill's gain, the number of earlier practices of the
# skill, and whether the answer was right. All add about as much in five practices.
LEARNING: dict[str, Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]] = {
    "each": lambda gain, earlier, right: gain,
    "log": lambda gain, earlier, right: 2.8 * gain * np.log1p(1 / (1 + earlier)),
    "errors": lambda gain, earlier, right: np.where(right, 0.0, 2.5 * gain),
}


@dataclass(frozen=True)
class Hidden:
    """A world of known and unknown skills: ranges from which each skill draws its own, uniformly.

    Attributes
    ----------
    prior : chance that a skill is known at the start.
    learn : chance that a practice makes it known.
    guess, slip : chance of a right answer when it is unknown, of a wrong one when it is known.
    """

    prior: Range = (0.1, 0.6)
    learn: Range = (0.05, 0.3)
    guess: Range = (0.1, 0.3)
    slip: Range = (0.05, 0.2)


@dataclass(frozen=True)
class Simulation:
    """Parameters of the simulator.

    Attributes
    ----------
    about : what is special, in words.
    mean_steps, steps : expected answers per learner, and the fewest and the most.
    growth : factor on every gain; 1 is the standard, and with 0 learners do not learn.
    forgetting : share of the gains on a skill that is lost per step on other skills.
    seed : of the parameters, the learners and their answers.
    loading, start_sd : ranges, per skill, of the weight of the ability N(0, 1) and of the standard
        deviation of the start noise.
    learns : what a practice adds, a name in `LEARNING`.
    transfer : shares of a gain that the next skills receive: the following one, the one after, ...
    guess, slip : chances of a right answer without mastery, of a wrong one with it.
    breaks : days between sessions, one drawn at random each time; none: no timestamps.
    decay : what was gained is multiplied by (1 + days) ** -decay as time passes.
    order : of the skills, a name in `kt_core.data.practice.ORDERS`.
    dropout : chance that a learner leaves for good after three wrong answers in a row.
    hidden : a world of known and unknown skills, in which only `growth` 0 or 1, `order`, `breaks`
        and `dropout` still count.
    """

    learners: int = 2000
    skills: int = 20
    mean_steps: int = 60
    growth: float = 1.0
    forgetting: float = 0.0
    seed: int = 0
    steps: tuple[int, int] = (5, 190)
    loading: Range = (0.9, 0.9)
    start_sd: Range = (0.5, 0.5)
    learns: str = "each"
    transfer: tuple[float, ...] = ()
    guess: float = 0.0
    slip: float = 0.0
    breaks: tuple[float, ...] = ()
    decay: float = 0.0
    order: str = "massed"
    dropout: float = 0.0
    hidden: Hidden | None = None
    about: str = ""

    def __post_init__(self) -> None:
        for name, table in (("learns", LEARNING), ("order", ORDERS)):
            if getattr(self, name) not in table:
                choices = ", ".join(table)
                raise KTError(f"{name} {getattr(self, name)!r} does not exist; choose: {choices}")
        if self.decay and not self.breaks:
            raise KTError("decay without breaks: nothing is forgotten where no time passes")
        for name in ("growth", "forgetting", "decay", "guess", "slip", "dropout"):
            if not getattr(self, name) >= 0:
                raise KTError(f"{name} {getattr(self, name)}: must be 0 or more")
        if self.hidden:
            for name in ("learns", "transfer", "forgetting", "decay", "guess", "slip"):
                if getattr(self, name) != Simulation.__dataclass_fields__[name].default:
                    raise KTError(f"a hidden world has no {name}; set it in Hidden, or leave it")
        if self.guess + self.slip >= 1:
            raise KTError(f"guess {self.guess} and slip {self.slip} leave nothing to mastery")


@dataclass(frozen=True)
class Truth:
    """The parameters from which learners and answers are drawn; C skills, I items per skill.

    Attributes
    ----------
    easiness : [C], mean start of each skill in log-odds.
    gain : [C], log-odds that a practice adds at speed 1, `growth` included.
    difficulty : [C, I], zero-mean within each skill.
    loading, start_sd : [C], weight of the ability, and sd of the start noise.
    prior, learn, guess, slip : [C], of a hidden world; guess and slip also of others.
    """

    easiness: np.ndarray
    gain: np.ndarray
    difficulty: np.ndarray
    loading: np.ndarray
    start_sd: np.ndarray
    guess: np.ndarray
    slip: np.ndarray
    prior: np.ndarray | None = None
    learn: np.ndarray | None = None


def true_parameters(spec: Simulation) -> Truth:
    """The parameters that `simulate(spec)` uses."""
    return _draw_truth(np.random.default_rng(spec.seed), spec)


def _draw_truth(rng: np.random.Generator, spec: Simulation) -> Truth:
    C = spec.skills
    easiness = rng.normal(0.0, EASINESS_SD, C)
    gain = rng.gamma(GAIN_SHAPE, GAIN_SCALE, C) * spec.growth
    difficulty = rng.normal(0.0, DIFFICULTY_SD, (C, ITEMS_PER_SKILL))
    difficulty -= difficulty.mean(axis=1, keepdims=True)

    def drawn(limits: Range) -> np.ndarray:
        low, high = limits  # a range without width draws nothing, so that others draw the same
        return rng.uniform(low, high, C) if high > low else np.full(C, low)

    if (hidden := spec.hidden) is None:
        guess, slip = (np.full(C, chance) for chance in (spec.guess, spec.slip))
        both = drawn(spec.loading), drawn(spec.start_sd)
        return Truth(easiness, gain, difficulty, *both, guess, slip)
    guess, slip, prior, learn = map(drawn, (hidden.guess, hidden.slip, hidden.prior, hidden.learn))
    no = np.zeros(C)
    return Truth(no, no, difficulty * 0, no, no, guess, slip, prior, learn * spec.growth)


class Levels:
    """The level of every skill in log-odds, [L, C], moved by what anyone can observe.

    Parameters
    ----------
    start : [L, C], before all practice.
    speed : [L], factor on all gains. With start 0 and speed 1, levels are what was gained.
    """

    def __init__(self, spec: Simulation, truth: Truth, start: np.ndarray, speed: np.ndarray):
        self.spec, self.truth, self.start, self.speed = spec, truth, start, speed
        self.level, self.practised = start.copy(), np.zeros(start.shape, int)

    def wait(self, who: np.ndarray, days: np.ndarray) -> None:
        """Days pass for some learners."""
        if self.spec.decay:
            kept = ((1 + days) ** -self.spec.decay)[:, None]
            start = self.start[who]
            self.level[who] = start + (self.level[who] - start) * kept

    def practise(self, who: np.ndarray, skill: np.ndarray, right: np.ndarray) -> np.ndarray:
        """Learners `who` [R] practise a skill each; returns what that adds to it, [R]."""
        spec, gain = self.spec, self.truth.gain[skill]
        gain = LEARNING[spec.learns](gain, self.practised[who, skill], right) * self.speed[who]
        before = self.level[who, skill]
        if spec.forgetting:  # not of the skill in hand
            start = self.start[who]
            self.level[who] = start + (self.level[who] - start) * (1 - spec.forgetting)
        self.level[who, skill] = before + gain
        for away, share in enumerate(spec.transfer, start=1):
            there = skill + away < spec.skills
            self.level[who[there], skill[there] + away] += share * gain[there]
        self.practised[who, skill] += 1
        return gain


def chance(level: np.ndarray, guess: np.ndarray, slip: np.ndarray) -> np.ndarray:
    """P(correct) at a level in log-odds."""
    from scipy.special import expit  # slow to load, and reading a file does without

    return guess + (1 - guess - slip) * expit(level)


class _Continuous:
    """Learners whose skills have levels."""

    def __init__(self, rng: np.random.Generator, spec: Simulation, truth: Truth):
        L, C = spec.learners, spec.skills
        ability = rng.normal(0.0, 1.0, L)
        self.truth = truth
        speed = rng.lognormal(SPEED_LOG_MEAN, SPEED_LOG_SD, L)
        self.steps = _steps(rng, spec)
        noise = rng.normal(0.0, 1.0, (L, C)) * truth.start_sd
        start = ability[:, None] * truth.loading + truth.easiness + noise
        self.levels = Levels(spec, truth, start, speed)

    def wait(self, who: np.ndarray, days: np.ndarray) -> None:
        self.levels.wait(who, days)

    def chance(
        self, who: np.ndarray, skill: np.ndarray, difficulty: np.ndarray | float = 0.0
    ) -> np.ndarray:
        level = self.levels.level[who, skill]
        return chance(level - difficulty, self.truth.guess[skill], self.truth.slip[skill])

    def practise(
        self, who: np.ndarray, skill: np.ndarray, right: np.ndarray, luck: np.ndarray | None = None
    ) -> np.ndarray:
        return self.levels.practise(who, skill, right)


class _Hidden:
    """Learners who know a skill or do not."""

    def __init__(self, rng: np.random.Generator, spec: Simulation, truth: Truth):
        self.rng, self.truth = rng, truth
        self.steps = _steps(rng, spec)
        self.known = rng.random((spec.learners, spec.skills)) < truth.prior

    def wait(self, who: np.ndarray, days: np.ndarray) -> None:
        pass

    def chance(
        self, who: np.ndarray, skill: np.ndarray, difficulty: np.ndarray | float = 0.0
    ) -> np.ndarray:
        known = self.known[who, skill]
        return np.where(known, 1 - self.truth.slip[skill], self.truth.guess[skill])

    def practise(
        self, who: np.ndarray, skill: np.ndarray, right: np.ndarray, luck: np.ndarray | None = None
    ) -> np.ndarray:
        from scipy.special import logit

        before = self.chance(who, skill)
        luck = self.rng.random(len(skill)) if luck is None else luck
        self.known[who, skill] |= luck < self.truth.learn[skill]
        return logit(self.chance(who, skill)) - logit(before)


def draw_learners(
    rng: np.random.Generator, spec: Simulation, truth: Truth
) -> _Continuous | _Hidden:
    """Learners of a world before all practice; all of their methods are about learners `who` [R].

    `wait(who, days)` lets days pass; `chance(who, skill, difficulty)` is P(correct), true mastery
    at difficulty 0; `practise(who, skill, right, luck)` moves them and returns the added log-odds.
    In a hidden world, `luck` [R], uniform in [0, 1), decides who learns; it is drawn if not given.
    """
    return (_Hidden if spec.hidden else _Continuous)(rng, spec, truth)


def _steps(rng: np.random.Generator, spec: Simulation) -> np.ndarray:
    steps = rng.lognormal(np.log(spec.mean_steps) + STEPS_LOG_SHIFT, STEPS_LOG_SD, spec.learners)
    return np.clip(steps.astype(int), *spec.steps)


def simulate(spec: Simulation, name: str = "simulated") -> Dataset:
    """Draw learners; the same `spec` gives the same table.

    Returns
    -------
    A canonical table with items (but of hidden worlds), timestamps (seconds with `breaks`, else the
    step) and, for each response, `true_before` and `true_mastery`, the mastery of the asked skill
    before and after the step, and `true_gain`, what the practice added to its log-odds.
    """
    rng, truth, people = _drawn(spec)
    everyone = np.arange(spec.learners)
    walk = ORDERS[spec.order](rng, spec.learners, spec.skills, spec.dropout)
    clock = Clock(rng, spec.learners, spec.breaks)
    rows = []
    for t in range(people.steps.max()):
        skill = walk.skill
        item = rng.integers(ITEMS_PER_SKILL, size=spec.learners)
        if t:
            people.wait(everyone, clock.tick() / DAY)
        before = people.chance(everyone, skill)
        draw = rng.random(spec.learners)
        correct = draw < people.chance(everyone, skill, truth.difficulty[skill, item])
        added = people.practise(everyone, skill, correct)
        here = np.flatnonzero((people.steps > t) & ~walk.gone)
        values = (clock.time if spec.breaks else np.full(spec.learners, t), skill, correct, item)
        values += (before, people.chance(everyone, skill), added)
        rows.append(np.column_stack([here, *(v[here] for v in values)]))
        walk.advance(correct)
    note = ReadingNote(name, "simulated learners", day=DAY if spec.breaks else 0.0)
    return Dataset(name, _table(np.concatenate(rows), spec), note, simulation=spec)


def _drawn(spec: Simulation) -> tuple[np.random.Generator, Truth, _Continuous | _Hidden]:
    """The world and its learners before all practice."""
    rng = np.random.default_rng(spec.seed)
    truth = _draw_truth(rng, spec)
    return rng, truth, draw_learners(rng, spec, truth)


def final_mastery(table: pd.DataFrame, spec: Simulation) -> pd.Series:
    """True mastery of every practised skill after each learner's last answer.

    It differs from `true_mastery` at the last answer on the skill where practice of other skills
    helps, or where gains fade.

    Parameters
    ----------
    table : whole histories of learners of ``simulate(spec)``.

    Returns
    -------
    Mastery in [0, 1], by `user` and `skill`.
    """
    pairs = table.groupby(["user", "skill"], sort=False)["true_mastery"].last()
    if spec.hidden:  # nothing but its own practice moves a skill
        return pairs
    _, _, people = _drawn(spec)
    histories = table.groupby("user", sort=False)
    who, skill = _numbers(table["user"]), _numbers(table["skill"])
    right = table["correct"].to_numpy() == 1
    days = np.zeros(len(table))
    if spec.breaks:
        days = histories["timestamp"].diff().fillna(0).to_numpy() / DAY
    step = histories.cumcount().to_numpy()
    for at in np.split(np.argsort(step, kind="stable"), np.cumsum(np.bincount(step))[:-1]):
        people.wait(who[at], days[at])
        people.practise(who[at], skill[at], right[at])
    asked = (_numbers(pairs.index.get_level_values(name)) for name in ("user", "skill"))
    return pd.Series(people.chance(*asked), pairs.index, name="mastery")


def _numbers(names: pd.Series | pd.Index) -> np.ndarray:
    """The numbers of learners or skills that `simulate` has named."""
    return names.str.extract(r"(\d+)$", expand=False).to_numpy(int)


def names_of(skill: np.ndarray, item: np.ndarray) -> dict[str, np.ndarray]:
    """The columns `skill` and `item` of the table, from numbers [N]; items count within a skill."""
    return {
        "skill": np.char.add("skill ", np.char.zfill(skill.astype(str), 2)).astype(object),
        "item": (skill * ITEMS_PER_SKILL + item).astype(str).astype(object),
    }


def _table(rows: np.ndarray, spec: Simulation) -> pd.DataFrame:
    rows = rows[np.lexsort((rows[:, 1], rows[:, 0]))]
    learner, time, skill, correct, item = rows[:, :5].astype(int).T
    names = names_of(skill, item)
    columns = {
        "user": np.char.add("L", np.char.zfill(learner.astype(str), 5)).astype(object),
        "skill": names["skill"],
        "correct": correct,
        "item": names["item"],
        "timestamp": time,
        "true_before": rows[:, 5],
        "true_mastery": rows[:, 6],
        "true_gain": rows[:, 7],
    }
    if spec.hidden:
        del columns["item"]
    return pd.DataFrame(columns)
