"""The skills that each value names: separators, lists, and places in a tree of subjects."""

from __future__ import annotations

from collections.abc import Iterable

from kt_core.base.errors import KTError
from kt_core.data.reading.options import Meaning, ReadOptions
from kt_core.data.reading.times import kind_of
from kt_core.data.reading.values import AND, combined, parts_of


def skill_sets(
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
