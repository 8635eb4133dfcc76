"""Using a model: a table of histories in, a table of mastery out; or answer by answer."""

from __future__ import annotations

import functools
from datetime import date
from typing import Any

import numpy as np
import pandas as pd
import torch
from scipy.special import expit

from kt_core.base.errors import KTError, brief
from kt_core.base.values import counted
from kt_core.data import ReadOptions, Sequences, known_answers, read_dataset
from kt_core.data.table import Dataset
from kt_core.evaluation.beliefs import Beliefs
from kt_core.evaluation.collected import made_of
from kt_core.evaluation.evaluate import evaluate, read_ends
from kt_core.learners.standing import mastery_table
from kt_core.runs.combinations import knowing
from kt_core.runs.run import Run
from kt_core.stepwise import live_steps

DAY = pd.Timedelta(days=1)
NORMAL_95 = 1.96  # standard deviations of 95 %


def histories(run: Run, dataset: Dataset) -> Sequences:
    """The answers of learners, also new ones, in the order of the data.

    Raises
    ------
    KTError
        For a skill that the run does not know (see `kt_core.data.known`).
    """
    chunk, day = run.config.data.chunk, dataset.note.day
    return Sequences.of(dataset.table, run.vocabulary, chunk, min_length=1, day=day)


def believed(run: Run, dataset: Dataset) -> Beliefs:
    """The beliefs of a run about histories of any length, also of learners that it does not know.

    Raises
    ------
    KTError
        As of `histories`.
    """
    run = knowing(run, dataset)
    return evaluate(run.model, histories(run, dataset), flips=False)


def named(table: pd.DataFrame, whose: Beliefs | Sequences, run: Run) -> pd.DataFrame:
    """A table with the learners' ids and the skills' names in place of their numbers."""
    skills = np.asarray(run.vocabulary.skills, object)
    return table.assign(learner=whose.learners[table["learner"]], skill=skills[table["skill"]])


def predict(run: Run, dataset: Dataset | pd.DataFrame, every_skill: bool = False) -> pd.DataFrame:
    """Mastery of every learner after all of their answers.

    Parameters
    ----------
    dataset : histories of any length; the learners may be new. A table is read as a file would be.
        Answers on skills that the run does not know are left out, which
        `kt_core.data.known_answers` counts; new combinations of skills that it knows are read.
    every_skill : also skills that a learner never practised.

    Returns
    -------
    One row per learner and skill, in the order of the data: `learner`, `skill`, `mastery` (the
    filtered state, after all answers), `low`, `high` (95 %, `kt_core.uncertainty`; only
    `retrospective` and `retentive` have them), `opportunities` on the skill and `steps` in all.

    Raises
    ------
    KTError
        When no skill is known, or a table cannot be read.

    Examples
    --------
    >>> model = kt.demo()
    >>> list(kt.predict(model.run, model.splits.dataset))
    ['learner', 'skill', 'mastery', 'low', 'high', 'opportunities', 'steps']
    """
    if isinstance(dataset, pd.DataFrame):
        dataset = read_dataset(dataset, ReadOptions(known=frozenset(run.vocabulary.skills)))
    run, s = _known(run, dataset)
    answers, of = (np.repeat(s.learner, s.lengths), s.skill), made_of(run.model)
    ends = read_ends(run.model, s)
    states = ends.mastery, ends.deviation
    table = mastery_table(*answers, *states, run.uncertainty, every_skill, of)
    return named(table, s, run)


def _known(run: Run, dataset: Dataset) -> tuple[Run, Sequences]:
    """The answers on skills that a run knows, and the run that knows their combinations."""
    dataset = known_answers(dataset, run.vocabulary, run.config.parts)
    run = knowing(run, dataset)
    return run, histories(run, dataset)


def abilities(run: Run, dataset: Dataset) -> pd.DataFrame:
    """Every learner's ability after all of their answers; the learners may be new.

    Returns
    -------
    One row per learner: `learner`, `ability` (in standard deviations between training learners),
    `low`, `high` (95 %) and `answers`.

    Raises
    ------
    KTError
        As of `predict`; and in a mode without a skeleton.

    Examples
    --------
    >>> model = kt.demo()
    >>> list(abilities(model.run, model.splits.dataset))
    ['learner', 'ability', 'low', 'high', 'answers']
    """
    run, s = _known(run, dataset)
    ends = read_ends(run.model, s)
    if ends.ability is None or ends.ability_deviation is None:
        mode = run.config.model.mode
        raise KTError(f"mode {mode} has no ability; train mode retrospective or retentive")
    around = NORMAL_95 * ends.ability_deviation
    columns = {"learner": s.learners, "ability": ends.ability}
    columns |= {"low": ends.ability - around, "high": ends.ability + around}
    answers = np.bincount(s.learner, s.lengths, len(s.learners)).astype(int)
    return pd.DataFrame(columns | {"answers": answers})


class LiveLearner:
    """One learner, answer by answer.

    Each answer costs the same, milliseconds, however many came before.

    Examples
    --------
    >>> ada = kt.demo().live()
    >>> ada.answer("skill 03", correct=False)
    >>> before = ada.predict("skill 03")
    >>> ada.answer("skill 03", correct=True)
    >>> ada.predict("skill 03") > before
    True
    """

    def __init__(self, run: Run):
        self.run = run
        self.history: list[tuple[str, int, str, pd.Timestamp | None]] = []
        self._steps = live_steps(run.model, run.config.data.chunk)

    def __repr__(self) -> str:
        answers = counted("answer", len(self.history))
        return f"<LiveLearner after {answers}, of {self.run.path.name}>"

    def answer(self, skill: str, correct: bool, item: str = "", when: Any = None) -> None:
        """Add an answer.

        Parameters
        ----------
        correct : true or false, or 1 or 0.
        when : date and time, as text or as an object. Only a run of mode `retentive` that was
            trained with times reads it, and needs it.

        Raises
        ------
        KTError
            For a skill that the run does not know, a time before that of the last answer, or any
            other value.

        Examples
        --------
        >>> ada = kt.demo().live()
        >>> ada.answer("skill 03", correct=True)
        >>> ada.answer("skill 99", correct=True)
        Traceback (most recent call last):
        kt_core.base.errors.KTError: skill 'skill 99' is not one of the 20 skills of the model; ...
        """
        number = self._skill(skill)
        if not isinstance(correct, (int, np.integer, np.bool_)) or correct not in (0, 1):
            raise KTError(f"correct = {brief(correct)}: expected true or false, or 1 or 0")
        if not isinstance(item, str):
            raise KTError(f"item = {brief(item)}: expected the name of an item, as a text")
        time = self._time(when)
        one = _alone(number), _alone(int(correct)), _alone(self._items.get((number, item), 0))
        self._steps.add(*one, self._day(time))
        self.history.append((skill, int(correct), item, time))

    def mastery(self, skill: str | None = None) -> float | pd.Series:
        """Mastery of one skill, or of all single ones by name, on the answers so far.

        Raises
        ------
        KTError
            Before the first answer.

        Examples
        --------
        >>> ada = kt.demo().live()
        >>> ada.answer("skill 03", correct=True)
        >>> 0 < ada.mastery("skill 03") < 1
        True
        >>> len(ada.mastery())  # of every skill
        20
        """
        self._begun()
        filtered = self._steps.mastery()[0].double().numpy()
        if skill is None:
            every = pd.Series(filtered, index=self.run.vocabulary.skills, name="mastery")
            of = made_of(self.run.model)
            return every if of is None else every[of.diagonal() > 0]
        return float(filtered[self._skill(skill)])

    def predict(self, skill: str, item: str = "", when: Any = None) -> float:
        """P(right) if this were asked next, at the time `when` (see `answer`).

        Raises
        ------
        KTError
            Before the first answer; for a skill that the run does not know, or any other value.

        Examples
        --------
        >>> ada = kt.demo().live()
        >>> ada.answer("skill 03", correct=True)
        >>> ada.predict("skill 03", item="31") < ada.predict("skill 03")  # a hard item
        True
        """
        if not isinstance(item, str):
            raise KTError(f"item = {brief(item)}: expected the name of an item, as a text")
        number, time = self._skill(skill), self._time(when)
        self._begun()
        asked = _alone(number), _alone(self._items.get((number, item), 0))
        return float(expit(self._steps.logit(*asked, self._day(time)).item()))

    def _begun(self) -> None:
        if not self.history:
            raise KTError("there are no answers yet, and mastery is estimated from answers")

    def _skill(self, name: str) -> int:
        if not isinstance(name, str):
            raise KTError(f"skill {brief(name)}: expected the name of a skill, as a text")
        if name not in self._skills:
            self.run.vocabulary.ids(pd.Series([name]))  # raises the error
        return self._skills[name]

    @functools.cached_property
    def _skills(self) -> dict[str, int]:
        return {name: number for number, name in enumerate(self.run.vocabulary.skills)}

    @functools.cached_property
    def _items(self) -> dict[tuple[int, str], int]:
        """The number of each item, by its skill's number and its name."""
        pairs = zip(self.run.vocabulary.item_skill, self.run.vocabulary.items, strict=True)
        return {pair: number for number, pair in enumerate(pairs, start=1)}

    def _day(self, time: pd.Timestamp | None) -> torch.Tensor | None:
        first = self.history[0][-1] if self.history else time
        return None if time is None else _alone((time - first) / DAY)

    def _time(self, when: Any) -> pd.Timestamp | None:
        if not self.run.model.timed:
            return None
        given = when if isinstance(when, str | date | np.datetime64) else None
        iso = {"format": "ISO8601"} if isinstance(given, str) else {}
        time = pd.to_datetime(given, errors="coerce", utc=True, **iso)
        if time is None or time is pd.NaT:
            raise KTError(
                f"when = {brief(when)}: this run was trained with the times of answers; give a "
                "date and time, such as when='2026-03-01 14:30'"
            )
        last = self.history[-1][-1] if self.history else time
        if time < last:
            raise KTError(f"when = {brief(when)}: the last answer was given at {last}")
        return time


def _alone(value: float) -> torch.Tensor:
    """Of one learner."""
    return torch.tensor([value])
