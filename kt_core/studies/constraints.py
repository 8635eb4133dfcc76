"""Constraints compared: a mode without them next to modes that keep them by construction.

The modes are trained with otherwise equal settings, each with the loss weights of its own, and are
measured on the same test learners. That a constraint is never broken does not show that mastery is
right, so AUC and prospective validity belong to the table.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from kt_core.base.errors import KTError, reason
from kt_core.base.files import read_json, write_table
from kt_core.base.values import path_of
from kt_core.data import Dataset
from kt_core.data.table import data_checksums
from kt_core.presets import USUAL, configure
from kt_core.report.text import estimate, interval, number, percent
from kt_core.report.verdicts import NAMES, OF_BREAKS, PROSPECTIVE
from kt_core.studies.cell import Cell
from kt_core.studies.cells import finished
from kt_core.studies.grids import AXIS_OF

MODES = ("projection", "cumulative", "retrospective")  # the first has no constraint
TABLE = "constraints.csv"
PUBLISHED = {"monotonicity": 0.425, "negative_gains": 0.025, "bounds": 0.217}
REFERENCE = "reported, unconstrained"
FORMER = {"published, unconstrained": REFERENCE}  # in older tables
SOURCE = "as reported for the original GainAKT2, without data, learners and tolerance"
EVIDENCE = {  # what a model says about answers: measure, variant -> its name
    ("AUC", ""): "AUC (pre)",
    (PROSPECTIVE, "pooled"): "Prospective validity (pre)",
    (PROSPECTIVE, "within_skill"): "Validity within skill (pre)",
}
COLUMNS = ("measure", "variant", "sees", "model", "value", "low", "high", "broken", "places")
COLUMNS += ("guaranteed", "losses", "run")
NUMBERS = ("value", "low", "high")


def plan(
    preset: str = USUAL,
    dataset: str = "",
    data: str = "",
    seed: int | None = None,
    fold: int | None = None,
    overrides: dict[str, Any] | None = None,
) -> list[Cell]:
    """One cell for each mode of `MODES`.

    Parameters
    ----------
    preset, dataset, data, seed, fold, overrides : as in `configure`, the same for all modes.

    Raises
    ------
    KTError
        For a mode among the overrides, or a value that is impossible in one of the modes.

    Examples
    --------
    >>> [cell.model for cell in plan("smoke", overrides={"train.epochs": 1})]
    ['projection', 'cumulative', 'retrospective']
    """
    overrides = overrides or {}
    if "model.mode" in overrides:
        raise KTError(f"model.mode: {', '.join(MODES)} are compared; leave it out")
    single = {name: value for name, value in overrides.items() if name not in AXIS_OF}
    single |= {"data.path": data} if data else {}
    cells = []
    for mode in MODES:
        try:
            config = configure(preset, dataset, data, mode, seed, fold, overrides)
        except KTError as error:
            raise KTError(
                f"mode {mode}: {error} (settings must be possible in each of {', '.join(MODES)})"
            ) from None
        axes = config.data.dataset, mode, config.train.seed, config.data.fold
        cells.append(Cell(*axes, preset, tuple(single.items())))
    return cells


def usual_name(cells: list[Cell]) -> str:
    """A name for the folder of a comparison, the same for the same settings."""
    first = cells[0]
    return f"constraints_{first.preset}_{first.name.replace(f'_{first.model}_', '_', 1)}"


def check_folder(cells: list[Cell], out: Path, dataset: Dataset) -> None:
    """Refuse a folder in which these cells cannot be compared.

    Raises
    ------
    KTError
        When it is a run, holds a comparison of other settings, or holds runs on other data than
        `dataset`.
    """
    if (out / "config.json").exists():
        raise KTError(f"{out} is a run; choose another --name for the comparison")
    if (out / TABLE).exists():
        others = set(load(out)["run"]) - {cell.folder for cell in cells} - {""}
        if others:
            raise KTError(
                f"{out} holds a comparison with other settings ({min(others)}); choose another "
                "--name, or remove it"
            )
    now = data_checksums(dataset)
    for folder in (out / cell.folder for cell in cells if finished(cell, out)):
        if read_json(folder / "provenance.json").get("data_sha256") != now:
            raise KTError(
                f"{folder}: the data has changed since it was trained; remove the folder to train "
                "it again, or choose another --name"
            )


def collect(cells: list[Cell], out: Path) -> pd.DataFrame:
    """The measures of all cells, from their reports, also written to ``constraints.csv``.

    Returns
    -------
    One row for each measure and model, with `COLUMNS`: `value`, `low` and `high` (95 % over
    learners) are shares in [0, 1], an AUC or correlations; `broken` of `places` are counts, -1
    where nothing is counted. The published values have no `losses` and no `run`.

    Raises
    ------
    KTError
        When a report is not there or is about other learners than those for testing.
    """
    rows = [
        {"measure": name, "model": REFERENCE, "sees": "retrospective", "value": share}
        | {"guaranteed": "no"}
        for name, share in PUBLISHED.items()
    ]
    for cell in cells:
        rows += _measures(cell, out / cell.folder)
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    table = table.fillna({"variant": "", "losses": "", "run": ""})
    table = table.fillna({"broken": -1, "places": -1}).astype({"broken": int, "places": int})
    write_table(table, out / TABLE)
    return table


def _measures(cell: Cell, folder: Path) -> list[dict[str, Any]]:
    path = folder / "metrics.json"
    metrics = read_json(path)
    try:
        if metrics["split"] != "test":
            raise KTError(
                f"{path}: measured on {metrics['split']} learners; make the report on test "
                f"learners again: python -m kt_core validate {folder}"
            )
        guaranteed = any(row["kind"] == "guarantee" for row in metrics["verdicts"])
        rows = [
            {name: row[name] for name in ("sees", "low", "high", "broken", "places")}
            | {"measure": row["constraint"], "value": row["share"]}
            for row in metrics["violations"]
        ]
        own = [r | {"measure": r["quality"], "sees": "pre"} for r in metrics["prediction"]]
        own = [row for row in own if row["predictor"] == "model"]
        own += [row for row in metrics["associations"] if row["kind"] == "model"]
        told = {(row["measure"], row.get("variant", "")): row for row in own}
        for measure, variant in EVIDENCE:
            found = told.get((measure, variant), {})
            row = {name: found.get(name) for name in NUMBERS}
            rows.append(row | {"measure": measure, "variant": variant, "sees": "pre"})
    except (KeyError, TypeError, AttributeError) as error:
        raise KTError(
            f"{path}: not the measures of a run ({reason(error)}); validate the run again"
        ) from None
    facts = {"model": cell.model, "guaranteed": "yes" if guaranteed else "no"}
    facts |= {"losses": losses(cell), "run": cell.folder}
    return [row | facts for row in rows]


def losses(cell: Cell) -> str:
    """The auxiliary losses of a cell with their weights."""
    weights = cell.config.loss.active.items()
    return ", ".join(f"{name} {weight:g}" for name, weight in weights) or "none"


def load(folder: str | Path) -> pd.DataFrame:
    """The ``constraints.csv`` of a comparison.

    Raises
    ------
    KTError
        When it is missing or is something else.
    """
    path = path_of("folder", folder) / TABLE
    try:
        table = pd.read_csv(path, keep_default_na=False, na_values={n: [""] for n in NUMBERS})
    except (OSError, ValueError) as error:  # pandas' parsing errors are ValueErrors
        raise KTError(f"{path}: not the table of a comparison ({reason(error)})") from None
    absent = [name for name in COLUMNS if name not in table]
    if absent:
        raise KTError(f"{path}: not the table of a comparison: no column {', '.join(absent)}")
    return table.replace({"model": FORMER})


def text(table: pd.DataFrame) -> pd.DataFrame:
    """The table for people: a row for each measure, a column for each model."""
    models = list(dict.fromkeys(table["model"]))
    titles = {model: f"{model} (*)" if model == REFERENCE else model for model in models}
    facts = table.drop_duplicates("model").set_index("model")["guaranteed"]
    first = {"measure": "Constraints hold for any weights"}
    rows = [first | {title: facts[model] for model, title in titles.items()}]
    names = {
        (measure, ""): name for measure, name in NAMES.items() if measure not in OF_BREAKS
    } | EVIDENCE
    for (measure, variant), name in names.items():
        same = table[(table["measure"] == measure) & (table["variant"] == variant)]
        row = {"measure": name}
        for own in same.to_dict("records"):
            told = estimate_text if (measure, variant) in EVIDENCE else broken_text
            row[titles[own["model"]]] = told(own)
        rows.append(row)
    return pd.DataFrame(rows).fillna("")


def estimate_text(row: dict[str, Any]) -> str:
    """An AUC or a correlation with its interval."""
    digits = 4 if row["measure"] == "AUC" else 3
    return estimate(row["value"], row["low"], row["high"], digits)


def broken_text(row: dict[str, Any]) -> str:
    """How often a constraint is broken: *0 of 12,300* where it never is, otherwise the share, or
    the count where the share is too small to be told from 0."""
    value, broken, places = row["value"], row["broken"], row["places"]
    if not np.isfinite(value):
        return number(None)
    if places < 0:  # published, without counts or interval
        return percent(value, 1)
    if value < 5e-5:
        return f"{broken:,} of {places:,}"
    return f"{percent(value)} {interval(row['low'], row['high'], 2, percent=True)}".strip()


def notes(table: pd.DataFrame) -> list[str]:
    """What has to be known to read the table."""
    own = table[table["model"] != REFERENCE].drop_duplicates("model")
    weights = "; ".join(f"{r.model}: {r.losses}" for r in own.itertuples())
    return [
        f"(*) {REFERENCE[0].upper()}{REFERENCE[1:]}: on other settings, and not measured here; "
        f"{SOURCE}.",
        f"The modes differ in nothing but the mode and its loss weights ({weights}). Only "
        "retrospective reads items, where the data has them.",
        "Test learners. A place is a learner, step and skill; a constraint is broken there without "
        "any tolerance. Intervals: 95 % over learners. Mastery is the history as believed at its "
        "end. Filtered mastery is what a live user saw, and is not among the constraints: in "
        "retrospective it falls where a belief about the past is revised.",
        "A constraint that holds by construction says nothing about whether mastery is right: a "
        "constant keeps all of them. Prospective validity does: the correlation of mastery halfway "
        "through a sequence with the share of right answers afterwards.",
    ]
