"""Sweeps: a grid of trainings, each a run folder with its report, compared in one table."""

from __future__ import annotations

import itertools
import math
import re
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from kt_core.base.errors import KTError, brief, reason
from kt_core.base.files import write_table
from kt_core.base.values import path_of
from kt_core.presets import configure
from kt_core.report.verdicts import PROSPECTIVE
from kt_core.runs.read import read_json
from kt_core.studies.cells import Cell, finished
from kt_core.studies.results import OWN, TABLES, long_table

AXES = {"preset": "quick", "dataset": "simulated", "mode": "", "seed": 0, "fold": 0}
HEADLINES = {
    "AUC, validation": ("prediction", "AUC, validation", ""),
    "AUC": ("prediction", "AUC", ""),
    "prospective validity (pre)": ("associations", PROSPECTIVE, "pooled"),
    "mastery falls": ("violations", "monotonicity", ""),
}
AXIS_OF = {
    "data.dataset": "dataset",
    "model.mode": "mode",
    "train.seed": "seed",
    "data.fold": "fold",
}
MOST_CELLS = 10_000
NAMED = ("preset", "dataset", "mode")  # axes whose values are names
PLAIN_NUMBER = re.compile(  # the others are octal, hexadecimal, sexagesimal or have underscores
    r"[-+]?(0|[1-9][0-9]*)(\.[0-9]*)?([eE][-+][0-9]+)?|[-+]?\.[0-9]+|[-+]?\.(inf|nan)", re.I
)
COLUMNS = ("cell", "dataset", "mode", "table", "measure", "variant", "predictor", "value")


def read_grid(path: Path) -> list[Cell]:
    """All cells of a YAML file, each checked before anything runs.

    Raises
    ------
    KTError
        For a file that cannot be read, an unknown name, or an impossible value.
    """
    try:
        text = path.read_text(encoding="utf-8")
        _refuse_surprises(path, yaml.compose(text, yaml.SafeLoader))
        raw = yaml.safe_load(text)
    except KTError:
        raise
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        raise KTError(f"{path}: cannot be read as YAML ({reason(error, 300)})") from None
    if not isinstance(raw, dict):
        raise KTError(f"{path}: expected a mapping, such as 'mode: [retrospective, cumulative]'")
    known = [*AXES, "set"]
    for key in raw:
        if key not in known:
            raise KTError(f"{path}: unknown key {brief(key)}; known are {', '.join(known)}")
    single = raw.get("set") or {}
    if not isinstance(single, dict):
        raise KTError(f"{path}: set: expected a mapping, such as 'model.d_model: [32, 64]'")
    axes = [(key, _values(path, key, raw.get(key, default))) for key, default in AXES.items()]
    overrides = [(str(key), _values(path, f"set: {key}", value)) for key, value in single.items()]
    for key, name in AXIS_OF.items():
        if key in single:
            raise KTError(f"{path}: set: {key} is an axis of its own; write it as {name}")
    size = math.prod(len(values) for _, values in axes + overrides)
    if size > MOST_CELLS:
        raise KTError(f"{path}: {size:,} cells; at most {MOST_CELLS:,}, or split the grid")
    cells: dict[str, Cell] = {}
    for values in itertools.product(*(v for _, v in axes), *(v for _, v in overrides)):
        preset, dataset, mode, seed, fold = values[: len(axes)]
        extra = tuple(zip((k for k, _ in overrides), values[len(axes) :], strict=True))
        try:  # every cell is checked before the first one runs
            config = configure(preset, dataset, "", mode, seed, fold, dict(extra))
            cell = Cell(dataset, config.model.mode, seed, fold, preset, extra)
            settings = cell.fingerprint
        except KTError as error:
            raise KTError(f"{path}: {error}") from None
        if settings in cells:
            raise KTError(f"{path}: two cells have the same settings: {cell.name}")
        cells[settings] = cell
    return list(cells.values())


def _refuse_surprises(path: Path, root: yaml.Node | None) -> None:
    """Refuse what YAML 1.1 reads as something else than it looks like."""
    waiting, seen = [root] if root else [], set()
    while waiting:
        node = waiting.pop()
        if id(node) in seen:  # through an alias
            continue
        seen.add(id(node))
        if isinstance(node, yaml.SequenceNode):
            waiting += node.value
        elif isinstance(node, yaml.MappingNode):
            _refuse_repeated(path, node)
            waiting += [part for pair in node.value for part in pair]
        elif node.style is None and (meaning := _surprise(node)):
            raise KTError(
                f"{path}, line {node.start_mark.line + 1}: {brief(node.value)} is {meaning} in "
                "YAML; write it plainly, or in quotes if it is a text"
            )
    for key, value in root.value if isinstance(root, yaml.MappingNode) else ():
        if key.value in NAMED:
            _refuse_unnamed(path, key.value, value)


def _surprise(node: yaml.ScalarNode) -> str:
    """What a plain scalar means, if that is not what a reader would take it for."""
    kind = node.tag.rpartition(":")[2]
    if kind == "bool" and node.value.lower() not in ("true", "false"):
        return "true" if node.value.lower() in ("yes", "on") else "false"
    if kind in ("int", "float") and not PLAIN_NUMBER.fullmatch(node.value):
        return f"the number {brief(yaml.safe_load(node.value))}"
    return ""


def _refuse_repeated(path: Path, node: yaml.MappingNode) -> None:
    keys = [key for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
    names = [(key.tag, key.value) for key in keys]
    for number, key in enumerate(keys):
        if names[number] in names[:number]:
            raise KTError(
                f"{path}, line {key.start_mark.line + 1}: the key {brief(key.value)} is there "
                "twice; write all its values in one list"
            )


def _refuse_unnamed(path: Path, key: str, node: yaml.Node) -> None:
    """Refuse a number, true, false or nothing where a name is expected."""
    for value in node.value if isinstance(node, yaml.SequenceNode) else [node]:
        kind = value.tag.rpartition(":")[2]
        if isinstance(value, yaml.ScalarNode) and kind in ("int", "float", "bool", "null"):
            raise KTError(
                f"{path}, line {value.start_mark.line + 1}: {key}: {brief(value.value)} is not a "
                "text in YAML, and a name is expected; put it in quotes if it is one"
            )


def _values(path: Path, key: str, value: Any) -> list[Any]:
    values = value if isinstance(value, list) else [value]
    if not values:
        raise KTError(f"{path}: {key}: the list is empty; leave the key out for its default")
    for v in values:
        if not isinstance(v, str | int | float | bool):
            raise KTError(f"{path}: {key}: {brief(v)} is not a single value")
        if key in ("seed", "fold") and (isinstance(v, bool) or not isinstance(v, int)):
            raise KTError(f"{path}: {key}: {brief(v)} is not a whole number")
    if len(set(map(repr, values))) < len(values):
        raise KTError(f"{path}: {key}: the same value is there twice")
    return values


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
