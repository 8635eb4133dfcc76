"""What of a data set a model can be asked about: answers on the skills that it was trained on."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

from kt_core.base.errors import KTError, brief
from kt_core.data.sequences import Vocabulary
from kt_core.data.table import Dataset


def known_answers(dataset: Dataset, vocabulary: Vocabulary, combine: bool = False) -> Dataset:
    """The answers on skills that a model knows; what is left out, and items without a difficulty,
    are counted in the note.

    Parameters
    ----------
    combine : whether new combinations of skills that it knows are kept, too.

    Raises
    ------
    KTError
        When there are none.
    """
    table = dataset.table
    skills, new = set(vocabulary.skills), new_combinations(dataset, vocabulary)
    known = table["skill"].isin(skills.union(new) if combine else skills)
    strange = table.loc[~known, "skill"]
    again = strange.isin(new)
    kept = table[known].reset_index(drop=True)
    if kept.empty:
        raise KTError(
            f"{dataset.name}: none of its skills ({_some(strange)}) is one of the "
            f"{len(vocabulary.skills)} skills of the model ({_some(vocabulary.skills)}); map the "
            "column with --column skill=NAME, or train on data that has them"
        )
    gone = table["user"].nunique() - kept["user"].nunique()
    counts = {
        f"answers on {strange[~again].nunique():,} skills that the model does not know, left out: "
        f"{_some(strange[~again])}": int((~again).sum()),
        f"answers on {strange[again].nunique():,} new combinations of skills that it knows, left "
        f"out: {_some(strange[again])}": int(again.sum()),
        "learners without an answer on a skill that the model knows, left out": int(gone),
    }
    if combine and (here := kept["skill"].isin(new)).any():
        names = kept.loc[here, "skill"]
        what = f"answers on {names.nunique():,} new combinations of skills: {_some(names)}"
        counts[what] = int(here.sum())
    if "item" in kept and vocabulary.items:
        new_item = (vocabulary.item_ids(kept) == 0) & (kept["item"] != "").to_numpy()
        what = "answers on items that the model does not know, read without a difficulty"
        counts[what] = int(new_item.sum())
    return dataclasses.replace(dataset, table=kept, note=dataset.note.with_counts(counts))


def new_combinations(dataset: Dataset, vocabulary: Vocabulary) -> list[str]:
    """The skills of a data set that a model does not know, but are several in one answer that it
    knows."""
    skills = set(vocabulary.skills)
    asked = set(dataset.table["skill"].unique()) - skills
    several = dataset.note.several
    return sorted(name for name in asked if name in several and skills >= {*several[name]})


def _some(names: Iterable[str], most: int = 4) -> str:
    names = sorted(set(names))
    return ", ".join(brief(n) for n in names[:most]) + (", ..." if len(names) > most else "")
