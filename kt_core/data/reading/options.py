"""What the steps of reading hand on: options, what the header says, and what the rows show."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any

from kt_core.base.errors import brief
from kt_core.data.pseudonyms import Pseudonyms
from kt_core.data.reading.times import Clock, Kinds
from kt_core.data.reading.values import ALWAYS, Show, hidden

NO_SKILL = "rows without a skill, dropped"
NO_LEARNER = "rows without a learner, dropped"
FRACTIONS = "responses between 0 and 1, dropped"
FURTHER = "rows repeating an answer for a further skill, combined"
AGAIN = "rows equal to an earlier one in every column, dropped"
ALIKE = "rows equal to an earlier one in every column, kept: no time tells them apart"
HEADERS = "header lines between the rows, dropped"
LATE = "rows that stood after a later answer of the learner, put in order"
DROPPED = (NO_SKILL, NO_LEARNER, FRACTIONS, FURTHER, AGAIN, HEADERS)


@dataclass(frozen=True)
class ReadOptions:
    """How the user wants a source to be read; the fields of `DataConfig` with the same names."""

    format: str = "auto"
    columns: dict[str, str] = field(default_factory=dict)
    expand_skills: bool = False
    encoding: str = "utf-8"
    kc_model: str = ""
    skill_separator: str = "auto"
    skill_level: int = -1
    missing_as_text: bool = False
    pseudonyms: Pseudonyms | None = None
    known: frozenset[str] = frozenset()  # names of skills that stand as they are

    @classmethod
    def of(cls, config: Any, pseudonyms: Pseudonyms | None = None) -> ReadOptions:
        """The options of a `DataConfig`."""
        names = {f.name for f in dataclasses.fields(cls)} - {"pseudonyms", "known"}
        return cls(**{n: getattr(config, n) for n in names}, pseudonyms=pseudonyms)

    @property
    def show(self) -> Show:
        """How values appear in messages."""
        return hidden if self.pseudonyms else brief


@dataclass(frozen=True)
class Layout:
    """A published format with one row per answer, known by its columns.

    Attributes
    ----------
    needs : plain names that only this format has together.
    names : role -> plain names, of which the first that is there is used.
    keep : role -> values of the rows that are answers, and how the others are counted.
    no_skill : values that stand for no skill.
    separators : that divide skills, where they are not the usual ones.
    hint : what to do where there is no column of skills.
    blank_response : how rows without a response are counted, where the format has such rows.
    """

    name: str
    needs: str
    names: dict[str, str] = field(default_factory=dict)
    keep: dict[str, tuple[str, str]] = field(default_factory=dict)
    no_skill: tuple[str, ...] = ()
    separators: tuple[str, ...] = ()
    hint: str = ""
    blank_response: str = ""


@dataclass(frozen=True)
class Meaning:
    """What a reader knows of its rows from the header or the format alone.

    Attributes
    ----------
    layout : of a long table, for rows that are no answers.
    titles : part -> name of its column, to know a header line between the rows.
    separators : that divide skills in this format.
    time_named, numbered : see `formats.columns.Columns`.
    comma : whether numbers have a decimal comma.
    tree : subject -> its parent, of Eedi's subjects.
    leaves : whether a list of skills is a path in a tree, of which the leaves count.
    """

    layout: Layout | None = None
    titles: dict[str, str] = field(default_factory=dict)
    separators: tuple[str, ...] = ALWAYS
    time_named: bool = True
    numbered: bool = False
    comma: bool = False
    tree: dict[str, str] = field(default_factory=dict)
    leaves: bool = False


@dataclass
class Evidence:
    """What all blocks of a source hold; of two parts of it, `merge` makes one."""

    rows: int = 0
    counts: dict[str, int] = field(default_factory=dict)
    times: Kinds = field(default_factory=Kinds)
    clocks: Kinds = field(default_factory=Kinds)
    skills: dict[str, set[str]] = field(default_factory=dict)  # column -> its values
    gaps: dict[str, int] = field(default_factory=dict)  # column -> rows where only it is empty
    ids: dict[str, int] = field(default_factory=dict)  # "user whole" -> rows with an id such as 12,
    # "user point" -> such as 12.0
    zones: set[str] = field(default_factory=set)

    def count(self, what: str, number: int) -> None:
        """Add to a count; nothing is kept of zero."""
        if number:
            self.counts[what] = self.counts.get(what, 0) + int(number)

    def merge(self, other: Evidence) -> None:
        """Add the evidence of a later block."""
        self.rows += other.rows
        for what, number in other.counts.items():
            self.count(what, number)
        self.times.merge(other.times)
        self.clocks.merge(other.clocks)
        for name, values in other.skills.items():
            self.skills.setdefault(name, set()).update(values)
        for own, more in ((self.gaps, other.gaps), (self.ids, other.ids)):
            for name, number in more.items():
                own[name] = own.get(name, 0) + number
        self.zones |= other.zones

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        skills = {name: sorted(values) for name, values in self.skills.items()}
        own = {"rows": self.rows, "counts": self.counts, "gaps": self.gaps, "ids": self.ids}
        kinds = {"times": self.times.to_dict(), "clocks": self.clocks.to_dict()}
        return own | kinds | {"skills": skills, "zones": sorted(self.zones)}

    @classmethod
    def from_dict(cls, raw: dict[str, Any]) -> Evidence:
        """The inverse of `to_dict`."""
        kinds = {name: Kinds.from_dict(raw[name]) for name in ("times", "clocks")}
        skills = {name: set(values) for name, values in raw["skills"].items()}
        return cls(
            raw["rows"],
            raw["counts"],
            **kinds,
            skills=skills,
            gaps=raw["gaps"],
            ids=raw["ids"],
            zones=set(raw["zones"]),
        )


@dataclass(frozen=True)
class Rules:
    """What holds for the whole source.

    Attributes
    ----------
    skill : the column that names the skill.
    names : value of that column -> the skills that it names; none for no skill.
    clock : how times are read; None where there are none.
    paired : whether the time is in two columns, date and time of day.
    late : whether the time, or its date, is in the second of them.
    order : the order of a learner's answers, in words.
    remarks : for the note.
    """

    skill: str
    names: dict[str, frozenset[str]]
    clock: Clock | None
    paired: bool = False
    late: bool = False
    order: str = ""
    remarks: tuple[str, ...] = ()
