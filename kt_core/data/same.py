"""Whether runs are about the same answers of the same learners, without which none is compared."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from kt_core.base.errors import KTError
from kt_core.base.files import read_json
from kt_core.config import ReportConfig
from kt_core.data.registry import splits_of
from kt_core.data.saved import check_unchanged, read_configuration
from kt_core.data.sequences import MOST_LEARNERS, Sequences, Vocabulary


@dataclasses.dataclass
class Answers:
    """What two runs must share."""

    learners: np.ndarray
    frame: pd.DataFrame
    resampling: tuple[int, int]

    @classmethod
    def of(cls, s: Sequences, vocabulary: Vocabulary, report: ReportConfig) -> Answers:
        """Those of a split, resampled as a report is."""
        number = np.repeat(np.arange(len(s)), s.lengths)
        columns = {"chunk": s.chunk[number], "response": s.response}
        columns |= {"learner": s.learners[s.learner[number]].astype(str)}
        columns |= {"skill": np.asarray(vocabulary.skills, object)[s.skill]}
        return cls(np.asarray(s.learners).astype(str), pd.DataFrame(columns), _resampling(report))

    def unlike(self, other: Answers) -> str:
        """What differs, in words; empty where nothing does."""
        if set(self.learners) != set(other.learners):
            return "learners (data or fold)"
        if not self.frame.equals(other.frame):
            return "answers (data, skills or chunks)"
        if self.resampling != other.resampling:
            return "resamples (report.bootstrap or report.seed)"
        return ""


def check_named_once(folders: list[Path]) -> None:
    """Raise a KTError when two of the folders are one run, or have one name."""
    if len({folder.resolve() for folder in folders}) < len(folders):
        raise KTError("a run is named twice; to compare, name different ones")
    known: dict[str, Path] = {}
    for folder in folders:
        if (other := known.setdefault(folder.name, folder)) is not folder:
            raise KTError(
                f"{other} and {folder} have one name, by which tables and figures tell runs apart; "
                "rename one of the folders"
            )


def check_same(folders: list[Path], answers: Iterable[Answers]) -> None:
    """Raise a KTError unless the answers of all runs are those of the first."""
    found = iter(answers)
    first = next(found)
    for folder, own in zip(folders[1:], found, strict=True):
        if reason := first.unlike(own):
            raise KTError(
                f"{folders[0]} and {folder} have other {reason}: only runs on the same answers of "
                "the same learners can be compared"
            )


def check_saved(folders: list[Path], split: str) -> None:
    """Check several saved runs as `check_same` does, without their models. Their data is read only
    where it is not plainly the same.

    Raises
    ------
    KTError
        Also for a run that is named twice, or whose data is not there or has changed.
    """
    check_named_once(folders)
    check_same(folders, _saved(folders, split))


def _saved(folders: list[Path], split: str) -> Iterator[Answers]:
    """The answers of each run; none at all where every run has the same ones."""
    saved = [
        (folder, *read_configuration(folder), read_json(folder / "provenance.json"))
        for folder in folders
    ]
    facts = [
        (told.get("data_sha256"), dataclasses.replace(c.data, path=""), c.parts, vocabulary.skills)
        for _, c, vocabulary, told in saved
    ]
    alike = all(fact == facts[0] for fact in facts)
    for folder, config, vocabulary, told in saved:
        if alike:
            yield Answers(np.array([]), pd.DataFrame(), _resampling(config.report))
            continue
        splits = splits_of(config)
        check_unchanged(folder, splits, vocabulary, told)
        part = getattr(splits, split).sample(MOST_LEARNERS)
        yield Answers.of(part, splits.vocabulary, config.report)


def _resampling(report: ReportConfig) -> tuple[int, int]:
    return report.bootstrap, report.seed
