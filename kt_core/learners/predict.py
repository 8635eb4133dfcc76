"""Using a model: a table of histories in, a table of mastery out; or answer by answer."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import torch

from kt_core.base.errors import KTError, brief
from kt_core.data import ReadOptions, Sequences, known_answers, read_dataset
from kt_core.data.table import Dataset
from kt_core.evaluation.evaluate import Beliefs, evaluate
from kt_core.learners.standing import current
from kt_core.mastery import States
from kt_core.model import GainAKT2
from kt_core.runs.run import Run

DAY = pd.Timedelta(days=1)


def believed(run: Run, dataset: Dataset) -> Beliefs:
    """The beliefs of a run about histories of any length, also of learners that it does not know.

    Raises
    ------
    KTError
        For a skill that the run does not know (see `kt_core.data.known`).
    """
    chunk, day = run.config.data.chunk, dataset.note.day
    sequences = Sequences.of(dataset.table, run.vocabulary, chunk, min_length=1, day=day)
    return evaluate(run.model, sequences, flips=False)


def named(table: pd.DataFrame, beliefs: Beliefs, run: Run) -> pd.DataFrame:
    """A table with the learners' ids and the skills' names in place of their numbers."""
    skills = np.asarray(run.vocabulary.skills, object)
    return table.assign(learner=beliefs.learners[table["learner"]], skill=skills[table["skill"]])


@torch.no_grad()
def read_history(
    model: GainAKT2, columns: list[torch.Tensor], chunk: int, days: torch.Tensor | None = None
) -> list[States]:
    """The states of one learner, from skills, responses and items, each [1, T]. They are read as
    `evaluate` reads them: all at once, or chunk by chunk, each from where the previous one ended.
    """
    size = columns[0].shape[1] if model.whole_histories else chunk
    found: list[States] = []
    start: torch.Tensor | None = None
    for q, r, items in zip(*(column.split(size, dim=1) for column in columns), strict=True):
        found.append(model.forward_with_states(q, r, items, start=start, days=days))
        start = found[-1].filtered[:, -1]
    return found


def predict(run: Run, dataset: Dataset | pd.DataFrame, every_skill: bool = False) -> pd.DataFrame:
    """Mastery of every learner after all of their answers.

    Parameters
    ----------
    dataset : histories of any length; the learners may be new. A table is read as a file would be.
        Answers on skills that the run does not know are left out, which
        `kt_core.data.known_answers` counts.
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
    """
    if isinstance(dataset, pd.DataFrame):
        dataset = read_dataset(dataset, ReadOptions(known=frozenset(run.vocabulary.skills)))
    beliefs = believed(run, known_answers(dataset, run.vocabulary))
    return named(current(beliefs, run.uncertainty, every_skill), beliefs, run)


class LiveLearner:
    """One learner, answer by answer.

    Each call reads the whole history again, which takes milliseconds for hundreds of answers.

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
        """
        self._skill(skill)
        if not isinstance(correct, (int, np.integer, np.bool_)) or correct not in (0, 1):
            raise KTError(f"correct = {brief(correct)}: expected true or false, or 1 or 0")
        if not isinstance(item, str):
            raise KTError(f"item = {brief(item)}: expected the name of an item, as a text")
        self.history.append((skill, int(correct), item, self._time(when)))

    def mastery(self, skill: str | None = None) -> float | pd.Series:
        """Mastery of one skill, or of all by name, on the answers so far.

        Raises
        ------
        KTError
            Before the first answer.
        """
        filtered = self._states().filtered[0, -1].double().numpy()
        if skill is None:
            return pd.Series(filtered, index=self.run.vocabulary.skills, name="mastery")
        return float(filtered[self._skill(skill)])

    def predict(self, skill: str, item: str = "", when: Any = None) -> float:
        """P(right) if this were asked next, at the time `when` (see `answer`)."""
        if not isinstance(item, str):
            raise KTError(f"item = {brief(item)}: expected the name of an item, as a text")
        self._skill(skill)
        time = self._time(when)
        self._states()  # raises an error if there is no history yet
        size = self.run.config.data.chunk
        begin = 0 if self.run.model.whole_histories else (len(self.history) - 1) // size * size
        columns, days = self._tensors([*self.history[begin:], (skill, 0, item, time)])
        with torch.no_grad():
            return float(self.run.model(*columns, days)[0, -1].sigmoid())

    def _states(self) -> States:
        if not self.history:
            raise KTError("there are no answers yet, and mastery is estimated from answers")
        chunk = self.run.config.data.chunk
        columns, given = self._tensors(self.history)
        return read_history(self.run.model, columns, chunk, given)[-1]

    def _skill(self, name: str) -> int:
        if not isinstance(name, str):
            raise KTError(f"skill {brief(name)}: expected the name of a skill, as a text")
        return int(self.run.vocabulary.ids(pd.Series([name]))[0])

    def _time(self, when: Any) -> pd.Timestamp | None:
        if not self.run.model.timed:
            return None
        try:
            time = pd.Timestamp(when)
        except (ValueError, TypeError):
            time = pd.NaT
        if when is None or time is pd.NaT:
            raise KTError(
                f"when = {brief(when)}: this run was trained with the times of answers; give a "
                "date and time, such as when='2026-03-01 14:30'"
            )
        last = self.history[-1][-1] if self.history else time
        if time < last:
            raise KTError(f"when = {brief(when)}: the last answer was given at {last}")
        return time

    def _tensors(self, history: list[tuple]) -> tuple[list[torch.Tensor], torch.Tensor | None]:
        table = pd.DataFrame(history, columns=["skill", "correct", "item", "time"])
        v = self.run.vocabulary
        columns = (v.ids(table["skill"]), table["correct"].to_numpy(), v.item_ids(table))
        days = None
        if self.run.model.timed:
            days = torch.tensor([(time - history[0][-1]) / DAY for *_, time in history])[None]
        return [torch.tensor(c.tolist())[None] for c in columns], days
