"""Measures that a user registers: a value for each answer, whose mean is listed with the others."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from kt_core.base import own
from kt_core.base.errors import KTError, brief
from kt_core.metrics.bootstrap import Bootstrap, Estimate

SEES = ("pre", "post", "retrospective", "truth")


def needs(function: Any) -> list[str]:
    """The columns of `Beliefs.frame` that a measure takes: the names of its arguments.

    Raises
    ------
    KTError
        When it has none, or takes any number of them.
    """
    parameters = inspect.signature(function).parameters.values()
    plain = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    if not parameters or any(p.kind not in plain for p in parameters):
        raise KTError(
            "a measure takes columns of answers by their names, as in def surprise(predicted, "
            "correct); kt_core.evaluation.beliefs.Beliefs lists them"
        )
    return [p.name for p in parameters if p.default is p.empty]


def own_measures(frame: pd.DataFrame, bootstrap: Bootstrap) -> Iterator[tuple[str, str, Estimate]]:
    """Name, what it sees, and mean over answers of each registered measure. A measure is left out
    where a column that it takes is not known, as mastery in a model that has none.

    Raises
    ------
    KTError
        When a measure does not give one number for each answer.
    """
    for name, registered in own.of(own.MEASURE).items():
        columns = needs(registered.what)
        if not set(columns) <= set(frame):
            continue
        given = {column: frame[column].to_numpy(copy=True) for column in columns}
        values = np.asarray(registered.what(**given))
        if values.shape != (len(frame),) or values.dtype.kind not in "fiub":
            raise KTError(
                f"measure {name!r}: it gave {brief(values)} of shape {values.shape}, expected one "
                f"number for each of {len(frame):,} answers, NaN where it has none"
            )
        known = np.isfinite(values := values.astype(float))
        learner = frame["learner"].to_numpy()[known]
        yield name, registered.note, bootstrap.row_mean(values[known], learner, (-np.inf, np.inf))
