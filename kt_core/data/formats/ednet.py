"""EdNet-KT1: a folder with one file per learner, and questions.csv with answers and tags."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pandas as pd

from kt_core.base.errors import KTError, one_line
from kt_core.data.formats.source import Source
from kt_core.data.formats.text import header_of, read_delimited
from kt_core.data.reading import Layout, Meaning, ReadOptions
from kt_core.data.reading.note import Use
from kt_core.data.reading.values import plain

QUESTIONS = ("questionid", "correctanswer", "tags")
ANSWERS = {"timestamp": "timestamp", "item": "questionid", "chosen": "useranswer"}
NO_TAG = "-1"
FILES = 2000  # read at a time


def answers_in(folder: Path) -> Path | None:
    """The folder of the learners' files, in an EdNet folder or one of its parts."""
    for place in (folder / "KT1", folder):
        if next(place.glob("u*.csv"), None) is not None:
            return place
    return None


def ednet_source(folder: Path, options: ReadOptions) -> Source:
    """EdNet-KT1.

    Raises
    ------
    KTError
        When the questions are missing, or the files are of another part of EdNet.
    """
    answers = answers_in(folder)
    assert answers is not None
    files = tuple(sorted(answers.glob("u*.csv"), key=lambda p: (len(p.name), p.name)))
    header = set(map(plain, header_of(files[0])))
    if not set(ANSWERS.values()) <= header:
        raise KTError(
            f"{files[0]}: not of EdNet-KT1 (its columns: {', '.join(sorted(header))[:200]}); KT2 "
            "to KT4 log actions: make a table with one row per answer of them, with the columns "
            "user, skill, correct, item, timestamp"
        )
    questions = _questions(answers)
    right, tags = _key(questions)
    uses = (
        Use("user", "the name of each file"),
        Use("skill", f"tags in {questions.name}"),
        Use("correct", f"user_answer equals correct_answer in {questions.name}"),
        Use("item", "question_id"),
        Use("timestamp", "timestamp"),
    )
    blocks = partial(_blocks, files, questions, right, tags, bool(options.pseudonyms))
    columns = {"timestamp": "timestamp", "skill": "tags"}
    meaning = Meaning(Layout("EdNet-KT1", "", blank_response="questions left unanswered, left out"))
    return Source(folder.name, "EdNet-KT1", (questions, *files), meaning, uses, columns, blocks)


def _questions(answers: Path) -> Path:
    places = [p / "contents" / "questions.csv" for p in (answers, answers.parent)]
    places += [answers.parent / "questions.csv"]
    found = next((p for p in places if p.is_file()), None)
    if found is None:
        raise KTError(
            f"{answers}: EdNet-KT1 without its contents/questions.csv, which has the right answers "
            "and the tags; put it next to this folder"
        )
    return found


def _key(path: Path) -> tuple[dict[str, str], dict[str, str]]:
    """Question -> right answer, and question -> tags."""
    table = _read(path, dict(zip(("item", "right", "tags"), QUESTIONS, strict=True)))
    item = table["item"].str.strip()
    tags = table["tags"].str.strip().replace(NO_TAG, "")
    return dict(zip(item, table["right"].str.strip(), strict=True)), dict(
        zip(item, tags, strict=True)
    )


def _read(path: Path, names: dict[str, str], hashed: bool = False) -> pd.DataFrame:
    def wanted(header: list[str]) -> dict[str, int]:
        there = list(map(plain, header))
        for name in names.values():
            if name not in there:
                raise KTError(
                    f"{path}: no column {name}; it has: {', '.join(map(one_line, header))[:200]}. "
                    "A folder is read as EdNet-KT1 (u1.csv, u2.csv, ...); name another file itself"
                )
        return {part: there.index(name) for part, name in names.items()}

    return read_delimited(path, wanted, hashed=hashed)


def _blocks(
    files: tuple[Path, ...],
    questions: Path,
    right: dict[str, str],
    tags: dict[str, str],
    hidden: bool,
) -> Iterator[pd.DataFrame]:
    for begin in range(0, len(files), FILES):
        some = files[begin : begin + FILES]
        read = (_answers(path, questions, right, tags, hidden) for path in some)
        yield pd.concat(read, ignore_index=True)


def _answers(
    path: Path, questions: Path, right: dict[str, str], tags: dict[str, str], hidden: bool
) -> pd.DataFrame:
    """The answers in a learner's file, whose name messages do not show if it is `hidden`."""
    try:
        return _of_learner(path, questions, right, tags)
    except KTError as error:
        if not hidden:
            raise
        raise KTError(str(error).replace(path.name, "(a learner's file)")) from None


def _of_learner(
    path: Path, questions: Path, right: dict[str, str], tags: dict[str, str]
) -> pd.DataFrame:
    part = _read(path, ANSWERS, hashed=True).assign(user=path.stem)
    item = part["item"].str.strip()
    strange = ~item.isin(right.keys())
    if strange.any():
        at = strange.idxmax()
        raise KTError(
            f"{path}, line {part['line'][at]}: question {item[at]!r} is not in {questions}; the "
            "two must be of the same release"
        )
    chosen = part.pop("chosen").str.strip()
    answer = (chosen == item.map(right)).map({True: "1", False: "0"})
    return part.assign(correct=answer.where(chosen != "", ""), skill=item.map(tags))
