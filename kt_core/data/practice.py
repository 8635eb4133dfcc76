"""In which order and at which times simulated learners practise.

An order is a class whose `skill` [L] is what each learner practises now, and whose `advance`
chooses the next from the answers just given. It may depend on answers and chance alone, never on
the truth: then it adds nothing to what the answers say about mastery, and the ceiling stays exact.
"""

from __future__ import annotations

import numpy as np

STREAK = 3  # right answers in a row that end the practice of a skill, wrong ones that drop out
PATIENCE = (4, 13)  # or this many answers, drawn from [low, high)
BLOCK = (3, 10)  # answers in a row on a skill, drawn from [low, high)
JUMP = 0.25  # chance that the next skill is any skill, not the following one
LIKING = 6.0  # how strongly learners prefer skills that went well, per share of right answers
SESSION = (10, 21)  # answers in a session, drawn from [low, high)
PAUSE = 60.0  # seconds between two answers of a session
DAY = 86_400.0  # seconds


class Order:
    """Base of all orders: the practice of a skill ends when its patience has run out.

    Attributes
    ----------
    skill : [L], the skill in hand.
    gone : [L], who has dropped out.
    """

    limits = PATIENCE
    stops = False  # after right answers in a row

    def __init__(self, rng: np.random.Generator, learners: int, skills: int, dropout: float = 0.0):
        self.rng, self.skills, self.dropout = rng, skills, dropout
        self.skill = rng.integers(skills, size=learners)
        self.right, self.wrong = np.zeros((2, learners), int)  # in a row
        self.patience = rng.integers(*self.limits, size=learners)
        self.gone = np.zeros(learners, bool)

    def advance(self, correct: np.ndarray) -> None:
        """Move on after an answer of each learner."""
        self.right = np.where(correct, self.right + 1, 0)
        self.wrong = np.where(correct, 0, self.wrong + 1)
        self.patience -= 1
        if self.dropout:
            tired = (self.wrong > 0) & (self.wrong % STREAK == 0)
            self.gone |= tired & (self.rng.random(len(tired)) < self.dropout)
        leave = self.patience <= 0
        if self.stops:
            leave |= self.right >= STREAK
        self.skill = np.where(leave, self.following(correct), self.skill)
        self.right[leave] = 0
        patience = self.rng.integers(*self.limits, size=len(leave))
        self.patience = np.where(leave, patience, self.patience)

    def following(self, correct: np.ndarray) -> np.ndarray:
        """[L], the skill that each would go on to: mostly the next, sometimes a jump."""
        jump = self.rng.random(len(correct)) < JUMP
        other = self.rng.integers(self.skills, size=len(correct))
        return np.where(jump, other, (self.skill + 1) % self.skills)


class Massed(Order):
    """Practice until three right answers in a row, or until the patience runs out."""

    stops = True


class Blocks(Order):
    """Blocks of 3 to 9 answers, whatever they are."""

    limits = BLOCK


class Random(Order):
    """Any skill at any time."""

    limits = (1, 2)

    def following(self, correct: np.ndarray) -> np.ndarray:
        return self.rng.integers(self.skills, size=len(correct))


class Chosen(Massed):
    """Learners go on to what has gone well for them so far.

    They remember their share of right answers on each skill; a skill not tried yet is expected to
    go as well as all so far.
    """

    def __init__(self, rng: np.random.Generator, learners: int, skills: int, dropout: float = 0.0):
        super().__init__(rng, learners, skills, dropout)
        self.answers, self.successes = np.zeros((2, learners, skills))

    def following(self, correct: np.ndarray) -> np.ndarray:
        at = np.arange(len(correct)), self.skill
        self.answers[at] += 1
        self.successes[at] += correct
        usual = (self.successes.sum(1) + 1) / (self.answers.sum(1) + 2)
        liked = (self.successes + 2 * usual[:, None]) / (self.answers + 2)
        liked[at] = -np.inf  # another skill than the last
        # The largest of Gumbel draws is a draw from the softmax.
        return (LIKING * liked + self.rng.gumbel(size=liked.shape)).argmax(axis=1)


ORDERS: dict[str, type[Order]] = {
    "massed": Massed,
    "blocks": Blocks,
    "random": Random,
    "chosen": Chosen,
}


class Clock:
    """Seconds, [L]: a minute between two answers, days between two sessions."""

    def __init__(self, rng: np.random.Generator, learners: int, breaks: tuple[float, ...]):
        self.rng, self.breaks = rng, np.asarray(breaks, float) * DAY
        self.time = np.zeros(learners)
        self.left = rng.integers(*SESSION, size=learners) if breaks else np.zeros(learners, int)

    def tick(self) -> np.ndarray:
        """Go on to the next answer; returns the seconds in between, [L]."""
        passed = np.full(len(self.time), PAUSE)
        if len(self.breaks):
            self.left -= 1
            away, new = (
                self.rng.choice(self.breaks, len(passed)),
                self.rng.integers(*SESSION, size=len(passed)),
            )
            passed = np.where(self.left <= 0, away, passed)
            self.left = np.where(self.left <= 0, new, self.left)
        self.time = self.time + passed
        return passed
