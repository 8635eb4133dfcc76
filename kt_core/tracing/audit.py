"""An audit of mastery estimates of any tool, from tables in memory or files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from kt_core.tracing.words import in_python, reading

if TYPE_CHECKING:
    from kt_core.studies.audit import Audited


@in_python()
def audit(
    mastery: pd.DataFrame | str | Path,
    answers: pd.DataFrame | str | Path,
    sees: str,
    columns: dict[str, str] | None = None,
    mastery_columns: dict[str, str] | None = None,
    resamples: int = 1000,
) -> Audited:
    """Measure mastery estimates of any tool against the answers that they are about.

    Parameters
    ----------
    mastery : one row per estimate: `learner`, `step` (a learner's answers counted from 1), `skill`,
        `mastery`.
    answers : one row per answer, as of `kt.fit`.
    sees : what an estimate has seen of its own step: nothing (`pre`), the answer (`post`), or the
        whole history (`retrospective`). Only `pre` estimates are compared with answers.
    columns : of `answers`, as of `kt.fit`.
    mastery_columns : learner, step, skill or mastery -> its name in `mastery`.
    resamples : of learners, for the intervals.

    Returns
    -------
    `kt_core.studies.audit.Audited`, whose `measures` are tables with intervals and nulls.

    Raises
    ------
    KTError
        For a table that cannot be read, or estimates that do not fit the answers.

    Examples
    --------
    >>> judged = kt.judge("AFM", kt.demo().splits.dataset.table)
    >>> kt.audit(judged.estimates(), judged.answers(), sees="pre", resamples=50)
    Audited(pre estimates of 40 learners, for 9...% of 2,386 answers; measures: prediction, ...)
    """
    from kt_core.studies.audit import audit_files  # it loads the baselines

    return audit_files(mastery, answers, sees, reading(columns), mastery_columns, resamples)
