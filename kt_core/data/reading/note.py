"""The reading note: what each column of a source was used as, and what reading changed.

Every way in makes the same note. It is printed, kept in a run's provenance, and shown in the
report."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any

from kt_core.base.errors import one_line
from kt_core.base.values import counted
from kt_core.config import MEANINGS

WIDTH = 10  # characters of a role
ROLES = {role: word for word, role in MEANINGS.items()}  # how a person reads them


@dataclass(frozen=True)
class Use:
    """What one meaning is read from.

    Attributes
    ----------
    role : canonical name: user, skill, correct, item, timestamp, fold, ...
    column : where it stands in the source, in words.
    why : the rule that chose it; empty for a usual name that has no rival.
    others : other columns that could have been it.
    """

    role: str
    column: str
    why: str = ""
    others: tuple[str, ...] = ()

    def __str__(self) -> str:
        text = f"{ROLES.get(self.role, self.role):{WIDTH}s} {one_line(self.column)}"
        if self.why:
            text += f" ({self.why})"
        if self.others:
            text += f"; not used: {', '.join(map(one_line, self.others))}"
        return text


@dataclass(frozen=True)
class ReadingNote:
    """How one source was read.

    Attributes
    ----------
    source : name of the file, folder or table.
    format : name of the format.
    uses : the meaning of each column.
    order : in which order a learner's answers stand.
    counts : what reading dropped, merged or changed, with how many rows.
    remarks : rules that decided something, in words.
    sizes : learners, answers, skills, items and right answers.
    day : units of `timestamp` in a day; 0 where there are no times or their unit is not known.
    several : names of answers on several skills -> the names of these skills.
    """

    source: str = ""
    format: str = ""
    uses: tuple[Use, ...] = ()
    order: str = ""
    counts: dict[str, int] = field(default_factory=dict)
    remarks: tuple[str, ...] = ()
    sizes: dict[str, int] = field(default_factory=dict)
    day: float = 0.0
    several: dict[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def head(self) -> str:
        """One line: the source, its format and its size."""
        s = self.sizes
        if not s:
            return f"{self.source} ({self.format})" if self.format else self.source
        items = f", {counted('item', s['items'])}" if s.get("items") else ", no items"
        right = f"{s['right'] / s['answers']:.1%} right" if s.get("answers") else "none"
        return (
            f"{self.source} ({self.format}): {counted('answer', s['answers'])} of "
            f"{counted('learner', s['learners'])} on {counted('skill', s['skills'])}"
            f"{items}, {right}"
        )

    def lines(self) -> list[str]:
        """The note for a person, a line a fact."""
        lines = [self.head, *(f"  {use}" for use in self.uses)]
        if self.order:
            lines.append(f"  {'order':{WIDTH}s} {self.order}")
        lines += [f"  {count:>{WIDTH},d} {what}" for what, count in self.counts.items()]
        lines += [f"  note: {remark}" for remark in self.remarks]
        return [one_line(line, 1000) for line in lines]

    def __str__(self) -> str:
        return "\n".join(self.lines())

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:  # in a notebook
        printer.text(str(self))

    def with_counts(self, more: dict[str, int]) -> ReadingNote:
        """The note with further counts; those of zero are left out. A count that it has already is
        replaced, so that the same data can be split again."""
        more = {what: count for what, count in more.items() if count}
        return dataclasses.replace(self, counts=self.counts | more)

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, raw: dict[str, Any]) -> ReadingNote:
        """The inverse of `to_dict`."""
        uses = tuple(Use(**{**u, "others": tuple(u["others"])}) for u in raw["uses"])
        several = {name: tuple(parts) for name, parts in raw.get("several", {}).items()}
        return cls(**{**raw, "uses": uses, "remarks": tuple(raw["remarks"]), "several": several})


def joined(notes: list[ReadingNote], source: str) -> ReadingNote:
    """One note for several files of one data set, with their counts and sizes added up."""
    if len(notes) == 1:
        return dataclasses.replace(notes[0], source=source)
    counts: dict[str, int] = {}
    for note in notes:
        for what, count in note.counts.items():
            counts[what] = counts.get(what, 0) + count
    remarks = tuple(dict.fromkeys(r for note in notes for r in note.remarks))
    several = {name: parts for note in notes for name, parts in note.several.items()}
    same = {"source": source, "counts": counts, "remarks": remarks, "several": several}
    return dataclasses.replace(notes[0], **same, sizes={})
