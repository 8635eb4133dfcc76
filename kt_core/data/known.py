"""What of a data set a model can be asked about: answers on the skills that it was trained on."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

import numpy as np

from kt_core.base.errors import KTError, brief
from kt_core.data.reading.values import AND
from kt_core.data.sequences import Vocabulary
from kt_core.data.table import Dataset


def known_answers(dataset: Dataset, vocabulary: Vocabulary) -> Dataset:
    """The answers on skills that a model knows; what is left out, and items without a difficulty,
    are counted in the note.

    Raises
    ------
    KTError
        When there are none.
    """
    table = dataset.table
    known = table["skill"].isin(vocabulary.skills)
    parts = {part for name in vocabulary.skills for part in name.split(AND)}
    strange = table.loc[~known, "skill"]
    new = np.array([AND in name and set(name.split(AND)) <= parts for name in strange], bool)
    kept = table[known].reset_index(drop=True)
    if kept.empty:
        raise KTError(
            f"{dataset.name}: none of its skills ({_some(strange)}) is one of the "
            f"{len(vocabulary.skills)} skills of the model ({_some(vocabulary.skills)}); map the "
            "column with --column skill=NAME, or train on data that has them"
        )
    gone = table["user"].nunique() - kept["user"].nunique()
    counts = {
        f"answers on {strange[~new].nunique():,} skills that the model does not know, left out: "
        f"{_some(strange[~new])}": int((~new).sum()),
        f"answers on {strange[new].nunique():,} new combinations of skills that it knows, left "
        f"out, as it does not know the parts of an answer: {_some(strange[new])}": int(new.sum()),
        "learners without an answer on a skill that the model knows, left out": int(gone),
    }
    if "item" in kept and vocabulary.items:
        new_item = (vocabulary.item_ids(kept) == 0) & (kept["item"] != "").to_numpy()
        what = "answers on items that the model does not know, read without a difficulty"
        counts[what] = int(new_item.sum())
    return dataclasses.replace(dataset, table=kept, note=dataset.note.with_counts(counts))


def _some(names: Iterable[str], most: int = 4) -> str:
    names = sorted(set(names))
    return ", ".join(brief(n) for n in names[:most]) + (", ..." if len(names) > most else "")
