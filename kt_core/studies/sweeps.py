"""Sweeps: a grid of trainings, each a run folder with its report, compared in one table."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from kt_core.base.errors import KTError, reason
from kt_core.base.files import read_json, write_table
from kt_core.base.values import path_of
from kt_core.report.verdicts import PROSPECTIVE
from kt_core.studies.cell import Cell
from kt_core.studies.cells import finished
from kt_core.studies.grids import Point
from kt_core.studies.results import OWN, TABLES, long_table

HEADLINES = {
    "AUC, validation": ("prediction", "AUC, validation", ""),
    "AUC": ("prediction", "AUC", ""),
    "prospective validity (pre)": ("associations", PROSPECTIVE, "pooled"),
    "mastery falls": ("violations", "monotonicity", ""),
}
COLUMNS = ("cell", "dataset", "mode", "table", "measure", "variant", "predictor", "value")


def cells_of(points: list[Point], path: Path) -> list[Cell]:
    """The cells of a grid that was read from a file.

    Raises
    ------
    KTError
        For a name of a model or a loss term that does not exist, or two cells with the same
        settings.
    """
    cells: dict[str, Cell] = {}
    for preset, dataset, mode, seed, fold, settings in points:
        try:
            cell = Cell(dataset, mode, seed, fold, preset, settings)
            fingerprint = cell.fingerprint
        except KTError as error:
            raise KTError(f"{path}: {error}") from None
        if fingerprint in cells:
            raise KTError(f"{path}: two cells have the same settings: {cell.name}")
        cells[fingerprint] = cell
    return list(cells.values())


def collect(cells: list[Cell], out: Path) -> pd.DataFrame:
    """All measures of all finished cells as one table, also written to ``results.parquet``.

    Returns
    -------
    One row per cell and measure: `cell`, the axes, every parameter that was set, `table`,
    `measure`, `variant`, `predictor`, `sees`, `value`, `low`, `high`.
    """
    parts = []
    for cell in cells:
        if not finished(cell, out):
            continue
        table = _measures(out / cell.folder / "metrics.json")
        facts = {"preset": cell.preset, "dataset": cell.dataset, "mode": cell.model}
        facts |= {"seed": cell.seed, "fold": cell.fold} | dict(cell.overrides)
        for name, value in reversed({"cell": cell.folder, **facts}.items()):
            table.insert(0, name, value)
        parts.append(table)
    results = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()
    if parts:
        write_table(results, out / "results.parquet")
    return results


def load(folder: str | Path) -> pd.DataFrame:
    """The ``results.parquet`` of a sweep.

    Raises
    ------
    KTError
        When it is missing or is something else.
    """
    path = path_of("folder", folder) / "results.parquet"
    try:
        results = pd.read_parquet(path)
    except (OSError, ValueError) as error:  # pyarrow's errors are ValueErrors
        raise KTError(
            f"{path}: not the results of a sweep ({reason(error)}); run one first"
        ) from None
    absent = [name for name in COLUMNS if name not in results]
    if absent:
        raise KTError(f"{path}: not the results of a sweep: no column {', '.join(absent)}")
    return results


def _measures(path: Path) -> pd.DataFrame:
    metrics = read_json(path)
    try:
        metrics.setdefault("exam", [])  # reports older than this table
        tables = {name: pd.DataFrame(metrics[name]) for name in TABLES}
        return long_table(tables, metrics["valid_auc"]).drop(columns="draws")
    except (KeyError, TypeError, ValueError, AttributeError, StopIteration) as error:
        raise KTError(
            f"{path}: not the measures of a run ({error!r}); validate the run again"
        ) from None


def headlines(results: pd.DataFrame) -> pd.DataFrame:
    """One row per cell: all settings, and the measures of `HEADLINES`."""
    own = results[results["predictor"].isin(OWN)]
    columns = list(results.columns[: results.columns.get_loc("table")])
    wide = own[columns].drop_duplicates("cell").set_index("cell")
    for name, (table, measure, variant) in HEADLINES.items():
        rows = own[(own["table"] == table) & (own["measure"] == measure)]
        rows = rows[rows["variant"] == variant].drop_duplicates("cell").set_index("cell")
        wide[name] = rows["value"]
    return wide.reset_index()


def varied(table: pd.DataFrame) -> list[str]:
    """The axes and parameters of `headlines` that take more than one value."""
    settings = [c for c in table if c not in HEADLINES and c != "cell"]
    return [c for c in settings if table[c].nunique(dropna=False) > 1]


def over_seeds(table: pd.DataFrame) -> pd.DataFrame:
    """`headlines` by setting: mean over seeds and, with several, the largest minus the smallest."""
    keys = [c for c in varied(table) if c != "seed"] or ["dataset"]
    rows = []
    for values, part in table.groupby(keys, sort=False, dropna=False):
        row = dict(zip(keys, values, strict=True)) | {"cells": len(part)}
        for name in HEADLINES:
            known = part[name].dropna()
            spread = f" ({known.max() - known.min():.4f})" if len(known) > 1 else ""
            row[name] = f"{known.mean():.4f}{spread}" if len(known) else "not defined"
        rows.append(row)
    return pd.DataFrame(rows)
