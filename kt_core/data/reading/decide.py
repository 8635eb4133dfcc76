"""What holds for a whole source: which column names the skill, and how times are read."""

from __future__ import annotations

import dataclasses
import re

from kt_core.base.errors import KTError
from kt_core.data.reading.options import Evidence, Meaning, ReadOptions, Rules
from kt_core.data.reading.skills import skill_sets
from kt_core.data.reading.times import EXACT, UNITS, clock
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
        if min(evidence.gaps.get(f"{part} {kind}", 0) for kind in ("whole", "point")):
            remarks.append(f"{what} are written as 12 and as 12.0, which are read as different")
    timed = bool(evidence.times.found)
    if not timed:
        return Rules(
            skill, names, None, order="as in the file: no column of times", remarks=tuple(remarks)
        )
    kinds, paired, late = evidence.times, False, False
    name = column.get("timestamp", "timestamp")
    time_named = meaning.time_named
    if evidence.clocks.found:
        clocks, second = evidence.clocks, column.get("clock", "time")
        if set(kinds.found) == {"clock"} and "date" in clocks and "timed" not in clocks:
            kinds, clocks, paired, late = clocks, kinds, True, True
            name = f"{second}{AND}{name}"
        elif set(clocks.found) == {"clock"} and "date" in kinds and "timed" not in kinds:
            paired, name = True, f"{name}{AND}{second}"
        elif set(clocks.found) == {"missing"}:
            remarks.append(f"{second} is empty and not used")
        elif "timed" in clocks and "number" not in clocks:
            kinds, late = clocks, True
            remarks.append(f"{second} holds whole times; {name} is not used")
            name = second
        elif set(clocks.found) <= {"number", "fraction", "missing", *UNITS}:
            remarks.append(f"{second} holds numbers next to a {name}: durations, not used as times")
        else:
            clock(clocks, source, second, options.show, False, meaning.comma)
            raise KTError(
                f"{source}: columns {name} and {second} cannot be read together as a time; name "
                "the one that is the time, --column timestamp=NAME, or say that there is none: "
                "--column timestamp="
            )
    way = clock(kinds, source, name, options.show, time_named, meaning.comma)
    if paired or meaning.numbered:
        way = dataclasses.replace(way, fine=True)
    constant = way.kind == "number" and kinds.low == kinds.high and kinds.high < EXACT
    days = way.kind == "number" and not way.fine and DAYS.search(plain(name))
    way = dataclasses.replace(way, coarse=constant or bool(days))
    if len(evidence.zones) > 1:
        remarks.append(
            f"times of {len(evidence.zones)} time zones are compared as they stand: "
            f"{', '.join(sorted(evidence.zones)[:4])}"
        )
    order = f"by {name}: {'numbers of answers' if meaning.numbered else way.describe(kinds)}"
    if paired:
        order = f"by {name}: dates and times of day"
    if constant:
        order = f"as in the file: {name} is the same throughout"
    elif not way.fine and way.kind == "date":
        order += "; within a day as in the file"
    if way.doubtful:
        remarks.append(
            f"{name} could be durations; as it never falls within a learner, it is read as times"
        )
    return Rules(skill, names, way, paired, late, order, tuple(remarks))


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
