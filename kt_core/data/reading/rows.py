"""The rows of one block, each cleaned by itself, and what they show of the source."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd

from kt_core.base.errors import KTError
from kt_core.data.reading.options import HEADERS, NO_LEARNER, Evidence, Meaning, ReadOptions
from kt_core.data.reading.times import Kinds
from kt_core.data.reading.values import (
    HINT,
    LOOKS_MISSING,
    MISSING,
    each,
    folds,
    plain,
    responses,
    written,
)

BETWEEN = " :: "  # problem and step in the name of an item
TEXTS = ("user", "skill", "skill_id", "item", "step")


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
            evidence.ids[key] = number
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
        rows = block[["skill", *more]].itertuples(index=False, name=None)
        together = pd.Series(["~~".join(filter(None, row)) for row in rows], block.index, object)
        block = block.drop(columns=more).assign(skill=together)
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
        evidence.gaps = {"skill": int((a & ~b).sum()), "skill_id": int((b & ~a).sum())}
    asked = ~np.logical_and.reduce([empty[name] for name in names])
    for part, kinds in (("timestamp", "times"), ("clock", "clocks")):
        if part in block:
            found = Kinds.of(block.loc[asked, part], block.loc[asked, "line"], meaning.comma)
            setattr(evidence, kinds, found)
    if "zone" in block:
        evidence.zones = set(block.pop("zone").unique()) - MISSING
