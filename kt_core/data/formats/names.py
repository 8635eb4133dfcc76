"""Names of skills that stand in a file next to the answers, which have numbers."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pandas as pd

from kt_core.base.errors import KTError, reason
from kt_core.data.reading.note import ReadingNote
from kt_core.data.reading.values import AND, combined, each

NO_SKILL = "noskill"


def with_names(
    table: pd.DataFrame, note: ReadingNote, path: Path
) -> tuple[pd.DataFrame, ReadingNote]:
    """A canonical table with names in place of numbers, and its note.

    Parameters
    ----------
    path : a JSON object, name -> number.

    Raises
    ------
    KTError
        When the file cannot be read, two names have one number, or a skill has no name.
    """
    names = _names(path)
    alone = {part for skill in table["skill"].unique() for part in skill.split(AND)}
    if absent := sorted(alone - set(names)):
        raise KTError(f"{path}: no name for skill {absent[0]}; fetch the file again")
    # In ASSISTments 2017 the numbers of the answers are those of the file, not shifted by one: both
    # are 1 to 102 without a gap, and under these names the skills are as frequent as in the release
    # (noskill 78,035 answers of 78,103 there, probability 73,053 of 73,183, pattern-finding 44,996
    # of 45,027, area 34,246 of 34,308; the files lack short histories). Read in the order of the
    # learners' numbers, skills 1, 2, ..., 76 also appear for the first time in the file's order.
    skill = each(table["skill"], lambda t: combined({names[part] for part in t.split(AND)}))
    remarks = (f"names of the skills: {path.name}",)
    if nameless := int(skill.eq(NO_SKILL).sum()):
        remarks += (
            f"{nameless:,} answers are on {NO_SKILL!r}, which stands for problems without a skill; "
            "they are kept, as in what is published on these files",
        )
    several = {
        combined(new): tuple(sorted(new))
        for parts in note.several.values()
        if len(new := {names[part] for part in parts}) > 1
    }
    note = dataclasses.replace(note, remarks=(*note.remarks, *remarks), several=several)
    return table.assign(skill=skill), note


def _names(path: Path) -> dict[str, str]:
    """Number -> name."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:  # JSON's and Unicode's are ValueErrors
        raise KTError(f"{path}: cannot be read as JSON ({reason(error)})") from None
    if not isinstance(content, dict):
        raise KTError(f"{path}: expected a JSON object of names and numbers of skills")
    names = {str(number): str(name) for name, number in content.items()}
    if len(names) < len(content):
        raise KTError(f"{path}: two names have the same number; fetch the file again")
    return names
