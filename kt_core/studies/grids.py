"""Grids of trainings: a YAML file of axes and settings, read and checked before anything runs.

Nothing here loads a model, so that a mistake in a file is told at once.
"""

from __future__ import annotations

import itertools
import math
import re
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from kt_core.base.errors import KTError, brief, reason
from kt_core.presets import configure

AXES = {"preset": "quick", "dataset": "simulated", "mode": "", "seed": 0, "fold": 0}
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


class Point(NamedTuple):
    """One training of a grid: its axes, and its settings by dotted name."""

    preset: str
    dataset: str
    mode: str
    seed: int
    fold: int
    settings: tuple[tuple[str, Any], ...]


def read_grid(path: Path) -> list[Point]:
    """All trainings of a YAML file, each checked.

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
    points = []
    for values in itertools.product(*(v for _, v in axes), *(v for _, v in overrides)):
        preset, dataset, mode, seed, fold = values[: len(axes)]
        extra = tuple(zip((k for k, _ in overrides), values[len(axes) :], strict=True))
        try:
            config = configure(preset, dataset, "", mode, seed, fold, dict(extra))
        except KTError as error:
            raise KTError(f"{path}: {error}") from None
        points.append(Point(preset, dataset, config.model.mode, seed, fold, extra))
    return points


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
