"""What of a data set a model can be asked about: answers on the skills that it was trained on."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

from kt_core.base.errors import KTError, brief
from kt_core.data.sequences import Vocabulary
from kt_core.data.table import Dataset

NEW_ITEMS = "answers on items that the model does not know, read without a difficulty"


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
    new = new_combinations(dataset, vocabulary)
    usable = {*vocabulary.skills, *(new if combine else ())}
    kept = table[table["skill"].isin(usable)].reset_index(drop=True)
    answers = table["skill"].value_counts().to_dict()
    check_known(dataset.name, answers, usable, vocabulary)
    gone = table["user"].nunique() - kept["user"].nunique()
    counts = left_out(answers, int(gone), new, combine, vocabulary)
    if "item" in kept and vocabulary.items:
        named = kept[kept["item"] != ""]
        old = named[named["skill"].isin(vocabulary.skills)]
        counts[NEW_ITEMS] = len(named) - int((vocabulary.item_ids(old) > 0).sum())
    return dataclasses.replace(dataset, table=kept, note=dataset.note.with_counts(counts))


def check_known(name: str, skills: Iterable[str], usable: set[str], vocabulary: Vocabulary) -> None:
    """Raise a KTError unless one of the skills of the data `name` is usable."""
    skills = [*skills]
    if not usable.intersection(skills):
        raise KTError(
            f"{name}: none of its skills ({_some(skills)}) is one of the "
            f"{len(vocabulary.skills)} skills of the model ({_some(vocabulary.skills)}); map the "
            "column with --column skill=NAME, or train on data that has them"
        )


def left_out(
    answers: dict[str, int], learners: int, new: list[str], combine: bool, vocabulary: Vocabulary
) -> dict[str, int]:
    """What a note says of answers on skills that a model does not know.

    Parameters
    ----------
    answers : on each skill.
    learners : of whom nothing is left.
    new, combine : combinations of skills that it knows (`new_combinations`); whether it reads them.
    """
    known, combined = set(vocabulary.skills), set(new)
    strange = {name: n for name, n in answers.items() if name not in known}
    again = {name: n for name, n in strange.items() if name in combined}
    other = {name: n for name, n in strange.items() if name not in again}
    read = ":" if combine else " that it knows, left out:"
    return {
        f"answers on {len(other):,} skills that the model does not know, left out: "
        f"{_some(other)}": sum(other.values()),
        f"answers on {len(again):,} new combinations of skills{read} {_some(again)}": sum(
            again.values()
        ),
        "learners without an answer on a skill that the model knows, left out": learners,
    }


def new_combinations(dataset: Dataset, vocabulary: Vocabulary) -> list[str]:
    """The skills of a data set that a model does not know, but are several in one answer that it
    knows."""
    return combinations_of(dataset.table["skill"].unique(), dataset.note.several, vocabulary)


def combinations_of(
    names: Iterable[str], several: dict[str, tuple[str, ...]], vocabulary: Vocabulary
) -> list[str]:
    """The same of the names of skills, and which of them are `several`."""
    skills = set(vocabulary.skills)
    return sorted(n for n in {*names} - skills if n in several and skills >= {*several[n]})


def _some(names: Iterable[str], most: int = 4) -> str:
    names = sorted(set(names))
    return ", ".join(brief(n) for n in names[:most]) + (", ..." if len(names) > most else "")
