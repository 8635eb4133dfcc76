"""From the arguments of a model in Python to the settings of a run, and back."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeAlias

import pandas as pd

from kt_core.base.errors import KTError, brief
from kt_core.base.values import path_of
from kt_core.config import RunConfig, meanings, options, with_overrides
from kt_core.data.kept import IN_RUN
from kt_core.data.registry import datasets
from kt_core.presets import PRESETS, configure, preset

Answers: TypeAlias = pd.DataFrame | str | Path
Columns: TypeAlias = dict[str, str] | None
GIVEN = {  # settings with a name of their own here
    "data.dataset": "data",
    "data.path": "data",
    "data.columns": "columns",
    "data.fold": "fold",
    "model.mode": "mode",
    "train.seed": "seed",
}


def configured(
    data: Answers,
    given: str,
    mode: str | None,
    seed: int,
    fold: int,
    columns: Columns,
    overrides: dict[str, Any],
) -> tuple[pd.DataFrame | None, RunConfig]:
    """The answers, where they are in memory, and the settings of a run on them.

    Parameters
    ----------
    given : the preset.
    mode, seed, fold, columns, overrides : as of `kt_core.tracing.tracer.KnowledgeTracer`.

    Raises
    ------
    KTError
        For data that is not there, and for a setting that does not exist or cannot have its value.
    """
    for name in set(GIVEN) & set(overrides):
        raise KTError(f"{name}: is given as {GIVEN[name]}=... here")
    if columns is not None:
        overrides = overrides | {"data.columns": meanings(columns)}
    table, dataset, path = _named(data)
    return table, configure(given, dataset, path, mode or "", seed, fold, overrides)


def settings_of(config: RunConfig) -> dict[str, Any]:
    """The arguments of `KnowledgeTracer` that give a configuration."""
    name = config.preset if config.preset in PRESETS else "standard"
    base = with_overrides(preset(name), {"model.mode": config.model.mode}).to_dict()
    found = config.to_dict()
    own: dict[str, Any] = {"preset": name, "columns": config.data.columns or None}
    own |= {"mode": config.model.mode, "seed": config.train.seed, "fold": config.data.fold}
    for option in options():
        section, key = option.split(".")
        if option not in (*GIVEN, "train.progress") and found[section][key] != base[section][key]:
            own[option] = found[section][key]
    return own


def _named(data: Answers) -> tuple[pd.DataFrame | None, str, str]:
    """A table in memory, the name of a data set, or the path of a file."""
    if isinstance(data, pd.DataFrame):
        return data, "", IN_RUN
    known = isinstance(data, str) and data in datasets()
    if not known and not isinstance(data, str | Path):
        raise KTError(
            f"data = {brief(data)}: expected a pandas DataFrame, the name of a file, or one of the "
            f"data sets {', '.join(datasets())}"
        )
    there = path_of("data", data).exists()
    if known and there:
        raise KTError(f"{data!r} is a data set and also a file here; the file is './{data}'")
    if not known and not there:
        raise KTError(f"{data}: no such file; data sets by name: {', '.join(datasets())}")
    return (None, str(data), "") if known else (None, "", str(Path(data).absolute()))
