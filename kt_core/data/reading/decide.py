"""What holds for a whole source: which column names the skill, and how times are read."""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass

from kt_core.base.errors import KTError
from kt_core.data.reading.options import Evidence, Meaning, ReadOptions, Rules
from kt_core.data.reading.skills import skill_sets
from kt_core.data.reading.times import EXACT, UNITS, Clock, Kinds, clock
from kt_core.data.reading.values import AND, plain

DAYS = re.compile(r"(date|day|datum)$")  # in the name of a column with numbers of days


def decide(
    evidence: Evidence,
    meaning: Meaning,
    options: ReadOptions,
    source: str,
    column: dict[str, str],
) -> Rules:
    """Settle how a source is read.

    Parameters
    ----------
    column : part -> the name of its column, for words.

    Raises
    ------
    KTError
        For times that cannot be read, or that can be read in two ways.
    """
    remarks: list[str] = []
    skill = "skill"
    if "skill_id" in evidence.skills:
        skill = _which_skill(evidence, column, remarks)
    names = skill_sets(evidence.skills.get(skill, set()), meaning, options, source, remarks)
    for part, what in (("user", "learners"), ("item", "items")):
        if min(evidence.ids.get(f"{part} {kind}", 0) for kind in ("whole", "point")):
            remarks.append(f"{what} are written as 12 and as 12.0, which are read as different")
    if not evidence.times.found:
        order = "as in the file: no column of times"
        return Rules(skill, names, None, order=order, remarks=tuple(remarks))
    times = _times(evidence, meaning, options, source, column, remarks)
    way = clock(times.kinds, source, times.name, options.show, meaning.time_named, meaning.comma)
    way = dataclasses.replace(
        way, fine=way.fine or times.paired or meaning.numbered, coarse=_coarse(way, times)
    )
    if len(evidence.zones) > 1:
        remarks.append(
            f"times of {len(evidence.zones)} time zones are compared as they stand: "
            f"{', '.join(sorted(evidence.zones)[:4])}"
        )
    if way.doubtful:
        remarks.append(
            f"{times.name} could be durations; as it never falls within a learner, it is read as "
            "times"
        )
    order = _order(way, times, meaning)
    return Rules(skill, names, way, times.paired, times.late, order, tuple(remarks))


@dataclass(frozen=True)
class Times:
    """Where the times of a source stand.

    Attributes
    ----------
    kinds : of the column with the dates or numbers.
    name : of the column, or of two with a + between.
    paired, late : as in `Rules`.
    """

    kinds: Kinds
    name: str
    paired: bool = False
    late: bool = False

    @property
    def constant(self) -> bool:
        """Whether all times are one number."""
        return self.kinds.low == self.kinds.high and self.kinds.high < EXACT


def _times(
    evidence: Evidence,
    meaning: Meaning,
    options: ReadOptions,
    source: str,
    column: dict[str, str],
    remarks: list[str],
) -> Times:
    """Choose between a column of times and a second one, a date and its time of day."""
    kinds, clocks = evidence.times, evidence.clocks
    name, second = column.get("timestamp", "timestamp"), column.get("clock", "time")
    if not clocks.found:
        return Times(kinds, name)
    if set(kinds.found) == {"clock"} and "date" in clocks and "timed" not in clocks:
        return Times(clocks, f"{second}{AND}{name}", paired=True, late=True)
    if set(clocks.found) == {"clock"} and "date" in kinds and "timed" not in kinds:
        return Times(kinds, f"{name}{AND}{second}", paired=True)
    if set(clocks.found) == {"missing"}:
        remarks.append(f"{second} is empty and not used")
        return Times(kinds, name)
    if "timed" in clocks and "number" not in clocks:
        remarks.append(f"{second} holds whole times; {name} is not used")
        return Times(clocks, second, late=True)
    if set(clocks.found) <= {"number", "fraction", "missing", *UNITS}:
        remarks.append(f"{second} holds numbers next to a {name}: durations, not used as times")
        return Times(kinds, name)
    clock(clocks, source, second, options.show, False, meaning.comma)  # names what is wrong
    raise KTError(
        f"{source}: columns {name} and {second} cannot be read together as a time; name the one "
        "that is the time, --column timestamp=NAME, or say that there is none: --column timestamp="
    )


def _coarse(way: Clock, times: Times) -> bool:
    """Whether numbers never tell answers apart: days, or all the same."""
    days = DAYS.search(plain(times.name)) and not way.fine
    return way.kind == "number" and bool(times.constant or days)


def _order(way: Clock, times: Times, meaning: Meaning) -> str:
    """The order of a learner's answers, in words."""
    if way.kind == "number" and times.constant:
        return f"as in the file: {times.name} is the same throughout"
    if times.paired:
        return f"by {times.name}: dates and times of day"
    if meaning.numbered:
        return f"by {times.name}: numbers of answers"
    within = "; within a day as in the file" if way.kind == "date" and not way.fine else ""
    return f"by {times.name}: {way.describe(times.kinds)}{within}"


def _which_skill(evidence: Evidence, column: dict[str, str], remarks: list[str]) -> str:
    """The name of the skill, unless it has gaps that the id does not have."""
    gaps = evidence.gaps
    name, id_ = column.get("skill", "skill"), column.get("skill_id", "skill_id")
    if gaps["skill"] > gaps["skill_id"]:
        remarks.append(
            f"skills are read from {id_}: {name} is empty in {gaps['skill']:,} rows that have one"
        )
        return "skill_id"
    few, many = len(evidence.skills["skill"]), len(evidence.skills["skill_id"])
    also = f"; {id_} has {many:,} values and {name} {few:,}" if few != many else ""
    if gaps["skill"]:
        also += f"; {name} is empty in {gaps['skill']:,} rows, {id_} in {gaps['skill_id']:,} others"
    remarks.append(f"skills are read from {name}; {id_} is not used{also}")
    return "skill"
