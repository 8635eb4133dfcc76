"""From rows of text to the canonical table, in three steps that memory and disk share.

1. `prepare` cleans the rows of one block, each by itself, and counts what it did in `Evidence`.
2. `decide` settles from the evidence of all blocks what holds for the whole source: which of two
   columns names the skill, what kind of times there are, what separates several skills.
3. `clean` puts all rows of some learners into the canonical table: in order, one row an answer.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from kt_core.base.errors import KTError, brief
from kt_core.data.pseudonyms import Pseudonyms
from kt_core.data.times import EXACT, UNITS, Clock, Kinds, clock, kind_of
from kt_core.data.values import (
    ALWAYS,
    AND,
    HINT,
    LOOKS_MISSING,
    MISSING,
    Show,
    combined,
    each,
    folds,
    hidden,
    parts_of,
    plain,
    responses,
    written,
)

DAYS = re.compile(r"(date|day|datum)$")  # in the name of a column with numbers of days
BETWEEN = " :: "  # problem and step in the name of an item
TEXTS = ("user", "skill", "skill_id", "item", "step")
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


@dataclass
class Evidence:
    """What all blocks of a source hold; of two parts of it, `merge` makes one."""

    rows: int = 0
    counts: dict[str, int] = field(default_factory=dict)
    times: Kinds = field(default_factory=Kinds)
    clocks: Kinds = field(default_factory=Kinds)
    skills: dict[str, set[str]] = field(default_factory=dict)  # column -> its values
    gaps: dict[str, int] = field(default_factory=dict)  # skill column -> rows where only it is
    # empty; "user whole", "user point" -> rows with an id such as 12, and such as 12.0
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
        for name, number in other.gaps.items():
            self.gaps[name] = self.gaps.get(name, 0) + number
        self.zones |= other.zones

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        skills = {name: sorted(values) for name, values in self.skills.items()}
        own = {"rows": self.rows, "counts": self.counts, "gaps": self.gaps}
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
            zones=set(raw["zones"]),
        )


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


def prepare(
    block: pd.DataFrame, meaning: Meaning, options: ReadOptions, source: str
) -> tuple[pd.DataFrame, Evidence]:
    """Clean the rows of a block, each by itself.

    Parameters
    ----------
    block : text in the columns `user`, `skill`, `correct` and, where there are any, `skill_id`,
        more skills (`skill.1`, ...), `item`, `step`, `timestamp`, `clock`, `fold`, `repeat`,
        `attempt`, `lecture`; `line`, for messages; `row`, a hash of the whole row.

    Returns
    -------
    The same without the columns and rows that are no longer needed; `correct` as a number.

    Raises
    ------
    KTError
        For a response that cannot be read, with its line.
    """
    evidence = Evidence(rows=len(block))
    block = _only_answers(block, meaning, evidence, source)
    for part in ("timestamp", "item"):
        if options.columns.get(part) == "":  # the user says that there is none
            block = block.drop(columns=part, errors="ignore")
    block = _written(block, options, evidence)
    block = _no_skill_named(block, meaning, options)
    show = options.show
    response = each(block["correct"], lambda t: t.strip().lower())
    blank = response.isin({t.lower() for t in MISSING} | {"."})
    if meaning.layout is not None and meaning.layout.blank_response and blank.any():
        evidence.count(meaning.layout.blank_response, blank.sum())
        block, response = block[~blank], response[~blank]
    value = responses(block["correct"], block["line"], source, show, meaning.comma)
    hints = (response == HINT).sum()
    evidence.count("hints in place of a response, read as not right", hints)
    block = block.assign(correct=value)
    if "fold" in block:
        block["fold"] = folds(block["fold"], block["line"], source, show)
    if "step" in block:
        block["item"] = _item(block["item"], block.pop("step"))
    _look(block, meaning, evidence)
    return block.reset_index(drop=True), evidence


def _only_answers(
    block: pd.DataFrame, meaning: Meaning, evidence: Evidence, source: str
) -> pd.DataFrame:
    """Without header lines and rows that the format has for other things."""
    if meaning.titles:
        header = _header_lines(block, meaning, source)
        evidence.count(HEADERS, header.sum())
        block = block[~header]
    keep = meaning.layout.keep if meaning.layout is not None else {}
    for part, (values, what) in keep.items():
        if part in block:
            kept = each(block.pop(part), _flag).isin(values.split())
            evidence.count(what, (~kept).sum())
            block = block[kept]
    return block


def _flag(text: str) -> str:
    """A number or a truth as a whole number, whatever the table was before."""
    text = text.strip().lower().removesuffix(".0")
    return {"true": "1", "false": "0"}.get(text, text)


def _header_lines(block: pd.DataFrame, meaning: Meaning, source: str) -> np.ndarray:
    """Which rows are a header again, as in files that were put one after the other.

    Raises
    ------
    KTError
        When its columns are in another order than at the top.
    """
    titles = {part: plain(name) for part, name in meaning.titles.items() if part in block}
    cells = {part: each(block[part], plain) for part in titles}
    header = np.logical_and.reduce([cells[part].isin(titles.values()) for part in titles])
    other = header & np.logical_or.reduce([cells[part] != titles[part] for part in titles])
    told = [part for part in ("skill", "correct") if part in titles]
    header |= np.logical_and.reduce([cells[part] == titles[part] for part in told])
    if other.any() and len(set(titles.values())) == len(titles):
        at = int(np.argmax(other))
        if {cells[part].iloc[at] for part in titles} == set(titles.values()):
            raise KTError(
                f"{source}, line {block['line'].iloc[at]}: a header again, with its columns in "
                "another order than at the top; put them into one order before joining files"
            )
    return header & ~other


def _written(block: pd.DataFrame, options: ReadOptions, evidence: Evidence) -> pd.DataFrame:
    """Ids and names as they are written everywhere, without rows of nobody."""
    trimmed = np.zeros(len(block), bool)
    composed = np.zeros(len(block), bool)
    changed = {}
    for name in [c for c in block if c.split(".")[0] in TEXTS]:
        changed[name], trims, composes = written(block[name])
        trimmed |= trims
        composed |= composes
    block = block.assign(**changed)
    evidence.count("rows with blanks around an id or a name, trimmed", trimmed.sum())
    evidence.count("rows with characters written in parts, composed (NFC)", composed.sum())
    missing = {""} if options.missing_as_text else MISSING
    for name in [c for c in changed if c != "user"]:
        block[name] = block[name].where(~block[name].isin(missing), "")
    nobody = block["user"].isin(missing)
    evidence.count(NO_LEARNER, nobody.sum())
    block = block[~nobody]
    told = [c for c in block if c.split(".")[0] in ("user", "skill", "skill_id")]
    strange = np.logical_or.reduce([block[c].isin(LOOKS_MISSING) for c in told])
    if not options.missing_as_text:
        evidence.count("rows with a learner or skill such as . - ? n/a none, kept", strange.sum())
    for name in (c for c in ("user", "item") if c in block):
        for kind, pattern in (("whole", r"\d+$"), ("point", r"\d+\.0$")):
            number = int(each(block[name], lambda t, p=pattern: bool(re.match(p, t))).sum())
            key = f"{name} {kind}"
            evidence.gaps[key] = evidence.gaps.get(key, 0) + number
    if options.pseudonyms:
        block = block.assign(user=options.pseudonyms.whole(block["user"]))
    return block


def _no_skill_named(block: pd.DataFrame, meaning: Meaning, options: ReadOptions) -> pd.DataFrame:
    none = meaning.layout.no_skill if meaning.layout is not None else ()
    for name in [c for c in block if c.startswith("skill")]:
        if none:
            block[name] = block[name].where(~block[name].isin(none), "")
    more = [c for c in block if c.startswith("skill.")]
    if more:  # a model of knowledge components in several columns
        together = block[["skill", *more]].agg(lambda row: "~~".join(filter(None, row)), axis=1)
        block = block.drop(columns=more).assign(skill=together.astype(object))
    return block


def _item(problem: pd.Series, step: pd.Series) -> pd.Series:
    between = np.where((problem != "") & (step != ""), BETWEEN, "")
    return problem + between + step


def _look(block: pd.DataFrame, meaning: Meaning, evidence: Evidence) -> None:
    """Note what decides later how the whole source is read."""
    names = [c for c in ("skill", "skill_id") if c in block]
    empty = {name: block[name] == "" for name in names}
    for name in names:
        evidence.skills[name] = set(block[name].unique()) - {""}
    if len(names) == 2:
        a, b = (empty[name] for name in names)
        evidence.gaps |= {"skill": int((a & ~b).sum()), "skill_id": int((b & ~a).sum())}
    asked = ~np.logical_and.reduce([empty[name] for name in names])
    for part, kinds in (("timestamp", "times"), ("clock", "clocks")):
        if part in block:
            found = Kinds.of(block.loc[asked, part], block.loc[asked, "line"], meaning.comma)
            setattr(evidence, kinds, found)
    if "zone" in block:
        evidence.zones = set(block.pop("zone").unique()) - MISSING


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
    names = _skill_sets(evidence.skills.get(skill, set()), meaning, options, source, remarks)
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


def _skill_sets(
    values: set[str], meaning: Meaning, options: ReadOptions, source: str, remarks: list[str]
) -> dict[str, frozenset[str]]:
    """The skills that each value names."""
    if options.skill_separator == "none":
        return {value: frozenset((value,)) for value in values}
    own = () if options.skill_separator == "auto" else (options.skill_separator,)
    _tell_dates(values, options, remarks)
    separators = own or meaning.separators
    split = {v: [v] if v in options.known else parts_of(v, separators) for v in values}
    if meaning.leaves:
        split = _at_level(split, meaning.tree, options.skill_level, source, remarks)
    several = [v for v, parts in split.items() if len(set(parts)) > 1]
    alone = {p for parts in split.values() for p in parts} | options.known
    if not own and AND not in separators:
        for value in (v for v in values if AND in v and split[v] == [v]):
            parts = [p.strip() for p in value.split(AND)]
            if value not in options.known and all(p in alone and p != value for p in parts):
                split[value] = parts
                several.append(value)
    if several and not meaning.leaves:
        shown = ", ".join(options.show(v) for v in sorted(several)[:2])
        remarks.append(
            f"{len(several):,} values name several skills, such as {shown} "
            "(--skill-separator none reads them as one)"
        )
    _tell_others(split, alone, options, remarks)
    text = [v for v in values if AND in v and split[v] == [v] and v not in options.known]
    if text and not own:
        remarks.append(
            f"{len(text):,} names have a + and are read as one skill, such as "
            f"{options.show(min(text))}: their parts do not stand alone (--skill-separator + "
            "divides them)"
        )
    sets = {value: frozenset(p for p in parts if p) for value, parts in split.items()}
    _check_apart(sets, source)
    return sets


def _tell_dates(values: set[str], options: ReadOptions, remarks: list[str]) -> None:
    dates = [v for v in values if v[:1].isdigit() and kind_of(v).startswith("date")]
    if dates:
        remarks.append(
            f"{len(dates):,} skills look like dates, such as {options.show(min(dates))}; a "
            "spreadsheet may have changed them"
        )


def _tell_others(
    split: dict[str, list[str]], alone: set[str], options: ReadOptions, remarks: list[str]
) -> None:
    """Tell of separators that are not used, although they divide a value into known skills."""
    whole = [v for v, parts in split.items() if parts == [v] and v not in options.known]
    for separator in (",", "|", "/", "~", "_"):
        found = [
            v
            for v in whole
            if separator in v and all(p.strip() in alone for p in v.split(separator))
        ]
        if found:
            remarks.append(
                f"{len(found):,} values such as {options.show(min(found))} are read as one skill, "
                f"although their parts stand alone (--skill-separator {separator} divides them)"
            )


def _check_apart(sets: dict[str, frozenset[str]], source: str) -> None:
    """Raise a KTError where two sets of skills would have one name."""
    named: dict[str, frozenset[str]] = {}
    for skills in sets.values():
        name = combined(skills)
        if named.setdefault(name, skills) != skills:
            raise KTError(
                f"{source}: {name!r} is one skill, and also the name of an answer on several; "
                "rename the skill, or divide skills by another --skill-separator"
            )


def _at_level(
    split: dict[str, list[str]],
    tree: dict[str, str],
    level: int,
    source: str,
    remarks: list[str],
) -> dict[str, list[str]]:
    """Of each list of subjects those at a level, or the leaves."""
    if level >= 0:
        depth = {s: _depth(s, tree) for parts in split.values() for s in parts} if tree else {}
        chosen = {}
        for value, parts in split.items():
            here = [s for i, s in enumerate(parts) if depth.get(s, i) == level]
            chosen[value] = here
        if not any(chosen.values()):
            raise KTError(f"{source}: no subject at level {level}; choose a lower data.skill_level")
        remarks.append(f"skills are the subjects at level {level}")
        return chosen
    below = _below(split.values(), tree)
    how = "" if tree else ", told by which occur together, as there is no subject_metadata.csv"
    remarks.append(
        f"skills are the leaves of each list of subjects{how} (--skill-level N: another level)"
    )
    return {v: [s for s in parts if not below[s] & set(parts)] for v, parts in split.items()}


def _depth(subject: str, tree: dict[str, str]) -> int:
    depth = 0
    while (subject := tree.get(subject, "")) and depth < len(tree):
        depth += 1
    return depth


def _below(lists: Iterable[list[str]], tree: dict[str, str]) -> dict[str, set[str]]:
    """The subjects below each: by the tree, or else those that never occur without it; of two that
    always occur together, the later in a list."""
    lists = list(lists)
    subjects = {s for parts in lists for s in parts}
    if tree:
        below: dict[str, set[str]] = {s: set() for s in subjects}
        for s in subjects:
            above = tree.get(s, "")
            while above and s not in below.get(above, {s}):
                below[above].add(s)
                above = tree.get(above, "")
        return below
    where: dict[str, set[int]] = {s: set() for s in subjects}
    for i, parts in enumerate(lists):
        for s in parts:
            where[s].add(i)
    found: dict[str, set[str]] = {s: set() for s in subjects}
    for parts in lists:
        for i, s in enumerate(parts):
            later = set(parts[i + 1 :])
            found[s] |= {t for t in parts if where[t] < where[s]}
            found[s] |= {t for t in later if where[t] == where[s]}
    return found


# --- all rows of some learners ------------------------------------------------------------------


def clean(
    rows: pd.DataFrame, rules: Rules, options: ReadOptions, source: str
) -> tuple[pd.DataFrame, dict[str, int]]:
    """The canonical table of some learners, from all of their prepared rows.

    Rows are grouped by learner, in order of first appearance, and put in order of time; ties keep
    the file's order. Rows of a learner with the same item, time and response and with different
    skills are one answer, with a combined skill.

    Returns
    -------
    The table, which may be empty, and counts of what was done.

    Raises
    ------
    KTError
        For a time that cannot be read.
    """
    counts: dict[str, int] = {}
    rows = _with_skills(rows, rules, counts)
    rows = _in_order(rows, rules, options, source, counts)
    rows = _each_once(rows, rules, counts)
    if not options.expand_skills:
        sets = {combined(skills): skills for skills in rules.names.values()}
        rows, merged = combine_skills(rows, sets)
        _count(counts, FURTHER, merged)
        if merged:
            _no_clash(rows, rules, source)
    columns = ("user", "skill", "correct", "item", "timestamp", "fold")
    kept = [c for c in columns if c in rows]
    kept += [c for c in rows if c.startswith("true_")]
    return rows[kept].reset_index(drop=True), counts


def _with_skills(rows: pd.DataFrame, rules: Rules, counts: dict[str, int]) -> pd.DataFrame:
    names = {value: combined(skills) for value, skills in rules.names.items()} | {"": ""}
    skill = rows[rules.skill].map(names)
    rows = rows.drop(columns=[c for c in ("skill_id",) if c in rows]).assign(skill=skill)
    no_skill = rows["skill"] == ""
    fraction = ~no_skill & ~rows["correct"].isin((0, 1))
    _count(counts, NO_SKILL, no_skill.sum())
    _count(counts, FRACTIONS, fraction.sum())
    rows = rows[~no_skill & ~fraction]
    return rows.assign(correct=rows["correct"].astype(np.int64))


def _in_order(
    rows: pd.DataFrame, rules: Rules, options: ReadOptions, source: str, counts: dict[str, int]
) -> pd.DataFrame:
    learner = pd.factorize(rows["user"])[0]
    if rules.clock is None:
        rows = rows.drop(columns=[c for c in ("timestamp", "clock") if c in rows])
        return rows.iloc[np.argsort(learner, kind="stable")].reset_index(drop=True)
    text = rows["clock"] if rules.late else rows["timestamp"]
    if rules.paired:  # days in spreadsheets are at midnight
        days = text.str.strip().str.replace(r"[T ]0?0:00(:00(\.0+)?)?$", "", regex=True)
        text = days + " " + rows["timestamp" if rules.late else "clock"].str.strip()
    time = rules.clock.numbers(text)
    if time.isna().any():
        at = time.isna().idxmax()
        raise KTError(
            f"{source}, line {rows['line'][at]}: timestamp {options.show(text[at])} cannot be "
            "read; correct it, or say that there is none: --column timestamp="
        )
    rows = rows.drop(columns="clock", errors="ignore").assign(timestamp=time)
    late = _late(rows["timestamp"], learner)
    if rules.clock.doubtful and late.any():
        at = int(np.argmax(late))
        raise KTError(
            f"{source}, line {rows['line'].iloc[at]}: the time {options.show(text.iloc[at])} is "
            "before the learner's previous one; the column may hold times, or seconds spent. Say "
            "which: --column timestamp=NAME reads it as times, --column timestamp= as none"
        )
    _count(counts, LATE, late.sum())
    fine = rules.clock.fine | _tells_apart(rows, learner, rules.clock)
    rows = rows.assign(fine=fine)
    keys = [_places(rows, learner), rows["timestamp"].to_numpy(), learner]
    return rows.iloc[np.lexsort(keys)].reset_index(drop=True)


def _late(time: pd.Series, learner: np.ndarray) -> np.ndarray:
    """Which rows come, in the file, after a later one of their learner."""
    highest = time.groupby(learner).cummax()
    return (time < highest).to_numpy()


def _tells_apart(rows: pd.DataFrame, learner: np.ndarray, clock: Clock) -> np.ndarray:
    """Whether the numbers of each learner tell answers apart: those of sessions or days do not, as
    many answers have the same."""
    if clock.kind != "number" or clock.coarse:
        return np.zeros(len(rows), bool)
    time = rows["timestamp"].to_numpy()
    frame = pd.DataFrame({"l": learner, "t": time, "s": rows["skill"].to_numpy()})
    frame["i"] = rows["item"].to_numpy() if "item" in rows else ""
    first = frame["s"] == frame.groupby(["l", "t", "i"])["s"].transform("first")
    answers = first.groupby(frame["l"]).sum()  # without the rows of an answer's further skills
    times = frame.drop_duplicates(["l", "t"]).groupby("l").size()
    return (2 * times >= answers).reindex(learner).to_numpy(bool)


def _places(rows: pd.DataFrame, learner: np.ndarray) -> np.ndarray:
    """The place of each row in the file; rows of one answer on several skills share the first."""
    place = np.arange(len(rows))
    if "item" not in rows:
        return place
    keys = [learner, *(rows[c].to_numpy() for c in ("timestamp", "item", "correct"))]
    frame = pd.DataFrame(dict(enumerate(keys))).assign(skill=rows["skill"].to_numpy())
    frame["again"] = frame.groupby(list(frame)).cumcount()  # the same skill again: another answer
    answer = frame.groupby([*range(len(keys)), "again"]).ngroup().to_numpy()
    shared = rows["fine"].to_numpy() & (rows["item"] != "").to_numpy()
    first = pd.Series(place).groupby(answer).transform("min").to_numpy()
    return np.where(shared, first, place)


def _each_once(rows: pd.DataFrame, rules: Rules, counts: dict[str, int]) -> pd.DataFrame:
    """Without rows that repeat an earlier one to the letter, where a time tells answers apart."""
    if "row" not in rows or rules.clock is None:
        return rows.drop(columns=["row", "fine"], errors="ignore")
    again = rows.duplicated(["user", "row"]).to_numpy()
    fine = rows["fine"].to_numpy()
    _count(counts, AGAIN, (again & fine).sum())
    _count(counts, ALIKE, (again & ~fine).sum())
    return rows[~(again & fine)].drop(columns=["row", "fine"]).reset_index(drop=True)


def combine_skills(
    table: pd.DataFrame, sets: dict[str, frozenset[str]] | None = None
) -> tuple[pd.DataFrame, int]:
    """One row per answer: adjacent rows with the same item and different skills become one.

    Rows are of one answer only if learner, item, response and, where there is one, time agree. In
    pyKT's files the column `repeat` says it.

    Parameters
    ----------
    sets : name -> the skills that it stands for; a name that is missing stands for itself.

    Returns
    -------
    The table with combined skills such as ``37+54``, and the number of rows that were merged.
    """
    marked = "repeat" in table
    if table.empty or not (marked or "item" in table):
        return table, 0
    skill = table["skill"].to_numpy()
    same = np.ones(len(table) - 1, bool)
    keys = ("user",) if marked else ("user", "item", "correct", "timestamp")
    for name in keys:
        if name in table:
            value = table[name].to_numpy()
            same &= value[1:] == value[:-1]
    same &= (
        (table["repeat"] == "1").to_numpy()[1:] if marked else table["item"].to_numpy()[1:] != ""
    )
    further = np.append(False, same)  # another skill of the previous answer
    seen: set[str] = set()
    for i in np.flatnonzero(further):
        seen = seen | {skill[i - 1]} if further[i - 1] else {skill[i - 1]}
        further[i] = skill[i] not in seen  # the same skill again: a real repeat
    answer = np.cumsum(~further)
    merged = len(table) - int(answer[-1])
    if merged == 0:
        return table, 0
    first = table.groupby(answer, sort=False).head(1).copy()
    groups = np.split(skill, np.flatnonzero(np.diff(answer)) + 1)
    sets = sets or {}
    first["skill"] = [
        combined(frozenset().union(*(sets.get(s, (s,)) for s in group)))
        if len(group) > 1
        else group[0]
        for group in groups
    ]
    return first.reset_index(drop=True), merged


def repeated_answers(table: pd.DataFrame) -> int:
    """Number of rows that repeat the previous row's answer for a further skill."""
    return combine_skills(table)[1]


def _no_clash(rows: pd.DataFrame, rules: Rules, source: str) -> None:
    """Raise a KTError where a combined name is also the name of one skill."""
    single = {combined(skills) for skills in rules.names.values() if len(skills) == 1}
    parts = {part for skills in rules.names.values() for part in skills}
    for name in sorted(set(rows["skill"]) & {v for v in single if AND in v}):
        if set(name.split(AND)) <= parts:
            raise KTError(
                f"{source}: {name!r} is one skill, and also the name of an answer on several; "
                "rename the skill, or leave out --skill-separator none"
            )


def _count(counts: dict[str, int], what: str, number: Any) -> None:
    if number:
        counts[what] = counts.get(what, 0) + int(number)
