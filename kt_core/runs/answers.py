"""Answers from elsewhere, read as a run's own data was."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pandas as pd

from kt_core.base.errors import KTError, brief
from kt_core.config import RunConfig, with_overrides
from kt_core.data import Dataset, ReadOptions, known_answers, read_dataset
from kt_core.data.pseudonyms import pseudonyms, same_key
from kt_core.data.store.pieces import StoredAnswers
from kt_core.runs.run import Run


def answers_for(
    run: Run, source: str | Path | pd.DataFrame, reading: dict[str, Any], combine: bool = False
) -> Dataset:
    """The answers in a file or table on skills that a run knows, under the run's pseudonyms.

    Parameters
    ----------
    reading : settings of how it is read, on top of the run's own, such as
        ``{"data.columns": {"user": "StudentID"}}``.
    combine : also those on new combinations of these skills, if the run can be asked about them
        (`kt_core.runs.combinations`).

    Raises
    ------
    KTError
        When it cannot be read, none of its skills is known, or the key of the pseudonyms is not the
        run's.
    """
    if not isinstance(source, str | Path | pd.DataFrame):
        raise KTError(
            f"answers = {brief(source)}: expected a pandas DataFrame or the name of a file"
        )
    config = with_overrides(run.config, reading).data
    config = dataclasses.replace(config, columns=run.config.data.columns | config.columns)
    key = run.provenance.get("pseudonyms", "")
    names = pseudonyms() if key or config.pseudonymise else None
    if key and names:
        same_key(key, names.fingerprint, str(run.path))
    options = dataclasses.replace(
        ReadOptions.of(config, names), known=frozenset(run.vocabulary.skills)
    )
    combine = combine and run.config.parts
    return known_answers(read_dataset(source, options), run.vocabulary, combine)


def stored_for(run: Run, folder: Path, reading: dict[str, Any]) -> StoredAnswers:
    """As `answers_for`, of a stored data set, some learners at a time.

    Raises
    ------
    KTError
        Also when the run needs the times of answers, which are not stored.
    """
    if run.model.timed:
        raise KTError(
            f"{folder}: stored answers have no times, and this run was trained with them; name the "
            "file that was converted"
        )
    key = run.provenance.get("pseudonyms", "")
    own = {"data.path": str(folder)} | ({"data.pseudonymise": True} if key else {})
    config = with_overrides(RunConfig(), reading | own).data
    stored = StoredAnswers(config, run.vocabulary, run.config.parts)
    if key:
        same_key(key, stored.pseudonyms, str(folder))
    return stored
