"""The answers of a stored data set, some learners at a time, for a model to read."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from kt_core.config import DataConfig
from kt_core.data.known import NEW_ITEMS, check_known, combinations_of, left_out
from kt_core.data.reading.note import ReadingNote
from kt_core.data.sequences import Vocabulary
from kt_core.data.store.columns import mapped
from kt_core.data.store.read import INTERACTIONS, check_interactions, damage, opened
from kt_core.data.table import Dataset

AT_ONCE = 200_000  # answers of a piece, unless a learner has more


def groups(steps: np.ndarray, at_once: int) -> Iterator[tuple[int, int]]:
    """Learners a to b - 1 of each piece of a table: fewer answers than `at_once` and those of one
    learner.

    Parameters
    ----------
    steps : answers of each learner, at least 1.
    """
    piece = (np.cumsum(steps) - 1) // at_once
    begins = np.flatnonzero(np.diff(piece, prepend=-1))
    yield from zip(begins.tolist(), [*begins[1:].tolist(), len(steps)], strict=True)


class StoredAnswers:
    """The answers of the stored data set `config.path` on skills that a model knows, in tables of
    whole learners; memory is that of a piece.

    Parameters
    ----------
    combine : whether new combinations of skills that it knows are read, too.

    Attributes
    ----------
    pseudonyms : fingerprint of the key if learners have pseudonyms.
    note : how the source was read and, once all pieces have been, what was left out.

    Raises
    ------
    KTError
        When the data set is damaged, was converted otherwise than `config` says, or has no skill
        that the model knows.
    """

    def __init__(self, config: DataConfig, vocabulary: Vocabulary, combine: bool = False):
        self.folder, self.vocabulary, self.combine = Path(config.path), vocabulary, combine
        with damage(self.folder):
            facts, self._learners, names = opened(config)
            check_interactions(self.folder, facts, names)
        self.name, self.pseudonyms = facts["name"], facts["options"].get("pseudonyms", "")
        self.note: ReadingNote = facts["note"]
        self._skills = np.array(names.skills, object)
        self._items = np.array(["", *names.items], object)
        self._new = combinations_of(names.skills, self.note.several, vocabulary)
        usable = {*vocabulary.skills, *(self._new if combine else ())}
        check_known(self.name, names.skills, usable, vocabulary)
        self._usable = np.isin(names.skills, [*usable])
        self._new_item = ~np.isin(np.arange(len(self._items)), self._known_items(names))

    def __iter__(self) -> Iterator[Dataset]:
        answers, new_items, gone = np.zeros(len(self._skills), int), 0, 0
        steps, users = (self._learners[name].to_numpy() for name in ("steps", "user"))
        firsts = np.append(self._learners["first"].to_numpy(), steps.sum())
        for a, b in groups(steps, AT_ONCE):
            columns = mapped(self.folder / INTERACTIONS)  # anew: the last piece leaves memory
            rows = slice(firsts[a], firsts[b])
            skill, item, response = (columns[n][rows] for n in ("skill", "item", "response"))
            answers += np.bincount(skill, minlength=len(answers))
            kept = self._usable[skill]
            user = np.repeat(users[a:b], steps[a:b])[kept]
            gone += b - a - len(pd.unique(user))
            new_items += int(self._new_item[item[kept]].sum())
            if len(user):
                table = {"user": user, "skill": self._skills[skill[kept]]}
                if len(self._items) > 1:
                    table["item"] = self._items[item[kept]]
                table = pd.DataFrame(table | {"correct": response[kept].astype(int)})
                yield Dataset(self.name, table, self.note, pseudonyms=self.pseudonyms)
        counted = dict(zip(self._skills, answers.tolist(), strict=True))
        counts = left_out(counted, gone, self._new, self.combine, self.vocabulary)
        if self.vocabulary.items:
            counts[NEW_ITEMS] = new_items
        self.note = self.note.with_counts(counts)

    def _known_items(self, names: Vocabulary) -> np.ndarray:
        """Numbers in the store of the items that the model knows; 0, no item, is none to miss."""
        of_skill = self._skills[list(names.item_skill)] if names.items else []
        table = pd.DataFrame({"skill": of_skill, "item": self._items[1:]}, dtype=object)
        known = table["skill"].isin(self.vocabulary.skills)
        known[known] = self.vocabulary.item_ids(table[known]) > 0
        return np.append(0, np.flatnonzero(known) + 1)
