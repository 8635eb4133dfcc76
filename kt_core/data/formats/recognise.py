"""The format of a file, by its first lines; formats that are not read are refused by name."""

from __future__ import annotations

import csv
import re
from pathlib import Path

from kt_core.base.errors import KTError, one_line
from kt_core.data.formats.blocks import PYKT, UNKNOWN
from kt_core.data.formats.columns import looks_long
from kt_core.data.formats.layouts import GENERAL, layout_of
from kt_core.data.formats.pykt import is_pykt
from kt_core.data.formats.text import Lines, split_header
from kt_core.data.reading import ReadOptions
from kt_core.data.reading.values import plain

LOOKED_AT, LOOKED_AT_MOST = 3, 30  # lines that are not blank, and in all
TO_LONG = (
    "make a table with one row per answer of it, with the columns user, skill, correct and, where "
    "there are any, item and timestamp"
)
TO_NAME = "--column learner=NAME --column skill=NAME --column correct=NAME"
MOST_NAMES = 30
OTHERS = {  # plain names of columns -> format
    "sisuserid": "a Canvas gradebook, with one row per learner and one column per assignment",
    "precall lexemeid": "Duolingo's half-life regression data, a share recalled per session",
    "anonstudentid correctfirsts": "DataShop's student-problem export (export student-step)",
}
SEPARATOR_LINE = re.compile(r'^"?sep=.', re.IGNORECASE)
GRADED = re.compile(r"^\D{0,12}\d+\s*/\s*[\d.,]+$")
WIDE = re.compile(r"^(q|question|item|problem)?[\s._-]*\d+(\s*/\s*[\d.,]+)?$", re.IGNORECASE)


def kind_of_text(path: Path, options: ReadOptions) -> str:
    """Long, pykt, akt, triple, or pykt-data.

    Raises
    ------
    KTError
        For another format, named where it is known.
    """
    lines = _first_lines(path, options)
    names = split_header(lines[0], path)
    if is_pykt(names):
        return "pykt"
    known = _by_header(names)
    if known and not options.columns:
        raise KTError(f"{path}: {known}, which is not read; {TO_LONG}")
    if looks_long(names, options.columns):
        return "long"
    numbers = lines[0].strip().rstrip(",").split(",")
    if _is_pykt_data(lines):
        return "pykt-data"
    if all(_is_number(x.strip()) for x in numbers):
        if len(numbers) <= 2:
            return "triple" if len(numbers) == 1 else "akt"
        raise KTError(
            f"{path}: its first line holds only numbers; a long table needs a header line above "
            "them, such as user,skill,correct"
        )
    if SEPARATOR_LINE.match(lines[0]):
        raise KTError(f"{path}: its first line {lines[0][:9]!r} is for Excel alone; remove it")
    if known := _not_read(lines):
        raise KTError(f"{path}: {known}, which is not read; {TO_LONG}")
    raise KTError(
        f"{path}: unknown format; its first line is {options.show(lines[0][:80])}. Long tables "
        "need a header with names such as user, skill, correct. If that is your header, say which "
        f"column is which: {TO_NAME} (data.columns), with {_listed(names, options)}. Or name the "
        "format with data.format"
    )


def _listed(names: list[str], options: ReadOptions) -> str:
    """The columns of a header for a message, unless they may be an answer that is hidden."""
    if options.pseudonyms:
        return "the names in it"
    shown = ", ".join(one_line(name.strip(), 40) for name in names[:MOST_NAMES])
    more = f" and {len(names) - MOST_NAMES:,} more" if len(names) > MOST_NAMES else ""
    spaced = any(" " in name.strip() for name in names[:MOST_NAMES])
    quoted = ' (write "skill=A NAME" where there is a space)' if spaced else ""
    return f"these names: {shown}{more}{quoted}"


def _first_lines(path: Path, options: ReadOptions) -> list[str]:
    found: list[str] = []
    with Lines(path, encoding=options.encoding) as lines:
        for line in lines:
            if line.strip():
                found.append(line.rstrip("\r\n"))
            if len(found) == LOOKED_AT or (found and lines.number >= LOOKED_AT_MOST):
                break
    if not found:
        raise KTError(f"{path}: the file is empty")
    return found


def _is_pykt_data(lines: list[str]) -> bool:
    """Whether the head announces the entries of the questions and concepts below it."""
    head, *lists = (line.strip().rstrip(",").split(",") for line in lines)
    if len(lists) < 2 or len(head) != 2:
        return False
    entries = {len(x) for x in lists if x != UNKNOWN}
    return entries == {int(head[1])} if head[PYKT.number].strip().isdecimal() else False


def _not_read(lines: list[str]) -> str:
    """The name of a format that is known by its first lines and not read."""
    first = lines[0].lstrip()
    if first.startswith("[["):
        return "EduData's JSON, a list of [skill, response] per learner"
    if first.startswith(("{", "[")):
        return "JSON"
    if first.startswith(("# prompt:", "# user:")):
        return "Duolingo's SLAM format"
    if first.startswith(("<?xml", "<!doctype", "<!DOCTYPE", "<html")):
        return "a web page or XML"
    fields = next(csv.reader([lines[0]], delimiter="\t"), [])
    if len(fields) == 4 and fields[0].strip() in ("1", "2", "."):
        return "the format of hmm-scalable (1 or 2 for right or wrong, learner, item, skills)"
    return ""


def _by_header(names: list[str]) -> str:
    """The name of a format that is known by its header and not read."""
    known = set(map(plain, names))
    for needs, name in OTHERS.items():
        if set(needs.split()) <= known:
            return name
    questions = [n for n in names if WIDE.match(n.strip()) or GRADED.match(n.strip())]
    skills = set(" ".join(GENERAL["skill"]).split())
    if layout_of(names).needs or known & skills or not questions:
        return ""
    if any(word in p for p in known for word in ("grade", "mail", "bewertung", "sis")):
        return "a gradebook such as Moodle's, with one row per learner and one column per question"
    wide = len(questions) > 2 and not all(n.strip().isdecimal() for n in names)
    return "a table with one row per learner and one column per question" if wide else ""


def _is_number(text: str) -> bool:
    return text.lstrip("-").isdigit()
