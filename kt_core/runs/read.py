"""Reading a run folder that may come from anywhere: it is data, never code, and all is checked.

The configuration goes through `kt_core.config` as if a user had typed it, names must be text, and
the header of the weights (names, shapes, kinds) is compared with the model that the configuration
describes before memory is allocated for either.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import os
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file

from kt_core.base.errors import KTError, brief, reason
from kt_core.base.files import is_there, read_json
from kt_core.base.state import check_weights
from kt_core.base.values import is_text
from kt_core.config import FORMER, ModelConfig, RunConfig, from_dict
from kt_core.data.kept import IN_RUN, KEPT
from kt_core.data.sequences import Vocabulary, parts_by_id
from kt_core.model import GainAKT2
from kt_core.runs.shapes import shapes
from kt_core.uncertainty import Uncertainty

WRITTEN = ("figures", "notebooks", "checkpoints")  # folders of a run
RETIRED = {  # settings that are gone, and the value that did nothing
    "loss.revision": 0.0,
    "loss.drift": 0.0,
    "loss.price": 0.0,
    "train.horizon": "last",
    "train.compile": False,
    "loss.retrospective": 0.0,
    "loss.transfer": 0.0,
    "model.evidence": True,
}
YOUNGER = {"model.parts": False}  # what a run did that does not name the setting
KINDS = {torch.float32: "F32", torch.float64: "F64", torch.int64: "I64", torch.bool: "BOOL"}


def read_configuration(folder: Path) -> tuple[RunConfig, Vocabulary]:
    """The configuration and vocabulary of a run, from `config.json` and `items.csv`. Answers in the
    run's own folder are named by where they are now.

    Raises
    ------
    KTError
        When a file is damaged, has another schema, or holds an impossible value.
    """
    path = folder / "config.json"
    saved = read_json(path)
    try:
        raw = saved["config"]
        config = from_dict(_without_retired(raw))
        skills = _skills(saved["skills"])
    except KTError as error:
        raise KTError(f"{path}: {error}") from None
    except (KeyError, TypeError, AttributeError) as error:
        raise KTError(f"{path}: {error} is missing or of the wrong type") from None
    if config.data.path == IN_RUN:
        here = dataclasses.replace(config.data, path=str((folder / KEPT).absolute()))
        config = dataclasses.replace(config, data=here)
    items = _items(folder / "items.csv", len(skills))
    return config, Vocabulary(skills, *items, _parts(saved.get("parts", {}), skills, path))


def settings_sha256(folder: Path) -> str:
    """SHA-256 of what `config.json` says, except where the data is: its checksum is kept, and a
    file of data may be moved."""
    saved = read_json(folder / "config.json")
    config = saved.get("config")
    if isinstance(config, dict) and isinstance(config.get("data"), dict):
        config["data"].pop("path", None)
    return hashlib.sha256(json.dumps(saved, sort_keys=True).encode()).hexdigest()


def refuse_links(folder: Path) -> None:
    """Refuse links where reports and checkpoints are written, as they lead out of the run.

    Raises
    ------
    KTError
        When one of those folders, or something in it, is a symbolic link.
    """
    for part in (folder / name for name in WRITTEN):
        inside = part.iterdir() if part.is_dir() and not part.is_symlink() else ()
        for path in (part, *inside):
            if path.is_symlink():
                raise KTError(
                    f"{path}: a link to {brief(os.readlink(path))}, and this is where a run's "
                    "files are written; remove the link"
                )


def read_model(
    path: Path, config: ModelConfig, vocabulary: Vocabulary, digest: str = ""
) -> GainAKT2:
    """The model with the weights of a safetensors file, on the CPU, ready to evaluate.

    Parameters
    ----------
    digest : SHA-256 of the file; empty where none was kept, as in version 0.1.

    Raises
    ------
    KTError
        When the file is damaged, holds other tensors than the model, or values that are not finite.
    """
    shape = config, len(vocabulary.skills), vocabulary.item_skill, vocabulary.parts
    expected = {name: (KINDS[w.dtype], list(w.shape)) for name, w in shapes(*shape).items()}
    try:
        with safe_open(path, "pt") as file:
            slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118
            found = {name: (s.get_dtype(), s.get_shape()) for name, s in slices.items()}
        if differs := _difference(expected, found):
            raise KTError(
                f"{path}: not the weights of the model in config.json ({differs}); a run of an "
                "earlier version is trained again"
            )
        weights = load_file(path)
    except (SafetensorError, OSError) as error:
        raise KTError(
            f"{path}: damaged ({reason(error)}); train again, or restore the file"
        ) from None
    for name, weight in weights.items():
        if not weight.isfinite().all():
            raise KTError(f"{path}: {name} holds values that are not finite; train again")
    if digest:
        check_weights(path, digest)
    model = GainAKT2(*shape)
    model.load_state_dict(weights)
    return model.eval()


def read_uncertainty(folder: Path) -> Uncertainty | None:
    """The uncertainty from `uncertainty.json`; None without one.

    Raises
    ------
    KTError
        When it is there and does not hold a positive number.
    """
    file = folder / "uncertainty.json"
    if not is_there(file):
        return None
    scale = read_json(file).get("scale")
    number = isinstance(scale, int | float) and not isinstance(scale, bool)
    if scale is None or not number or not 0 < scale < math.inf:
        raise KTError(f"{file}: expected a positive number under scale")
    return Uncertainty(float(scale))


def read_numbers(path: Path, columns: tuple[str, ...]) -> pd.DataFrame:
    """A CSV file of numbers with at least these columns.

    Raises
    ------
    KTError
        When it is anything else.
    """
    try:
        table = pd.read_csv(path)
    except (OSError, ValueError) as error:  # pandas' parsing errors are ValueErrors
        raise KTError(f"{path}: cannot be read as a table ({reason(error)})") from None
    for name in columns:
        if name not in table:
            raise KTError(f"{path}: no column {name}; restore the file, or train again")
    for name in table:
        if len(table) and table[name].dtype.kind not in "ifb":
            raise KTError(f"{path}: column {brief(name)} holds something other than numbers")
    return table


def _without_retired(raw: dict[str, Any]) -> dict[str, Any]:
    """The configuration of an older run in today's settings."""
    targets = raw["targets"] if isinstance(raw.get("targets"), dict) else {}
    for name, former in FORMER.items():
        if former in targets:
            targets[name] = targets.pop(former)
    for name, neutral in RETIRED.items():
        section, key = name.split(".")
        part = raw.get(section)
        value = part.pop(key, neutral) if isinstance(part, dict) else neutral
        if value != neutral:
            raise KTError(
                f"{name} = {brief(value)}: this setting is gone; "
                "read the run with the version that wrote it, or train again without it"
            )
    for name, value in YOUNGER.items():
        section, key = name.split(".")
        if isinstance(raw.get(section), dict):
            raw[section].setdefault(key, value)
    return raw


def _skills(names: Any) -> tuple[str, ...]:
    if not isinstance(names, list) or not all(isinstance(name, str | int) for name in names):
        raise KTError(f"skills = {brief(names)}: expected a list of names")
    skills = tuple(map(str, names))
    if not skills or len(set(skills)) < len(skills):
        raise KTError(f"skills = {brief(names)}: expected at least one name, and each name once")
    for name in skills:
        if not is_text(name):
            raise KTError(f"skill {brief(name)}: not Unicode text")
    return skills


def _parts(several: Any, skills: tuple[str, ...], path: Path) -> tuple[tuple[int, ...], ...]:
    ok = isinstance(several, dict) and all(
        isinstance(of, list) and len(of) > 1 and {name, *map(str, of)} <= set(skills)
        for name, of in several.items()
    )
    if not ok or any(part in several for of in several.values() for part in of):
        raise KTError(
            f"{path}: parts = {brief(several)}: expected skills of the run, each with a list of at "
            "least two single skills of the run"
        )
    return parts_by_id(skills, several) if several else ()


def _items(file: Path, n_skills: int) -> tuple[tuple[str, ...], tuple[int, ...]]:
    if not is_there(file):
        return (), ()
    try:
        table = pd.read_csv(file, dtype={"item": str}, keep_default_na=False)
        skills, items = table["skill"], tuple(table["item"])
    except (OSError, ValueError) as error:  # pandas' parsing errors are ValueErrors
        raise KTError(f"{file}: cannot be read as a table ({reason(error)})") from None
    except KeyError as error:
        raise KTError(f"{file}: no column {error}") from None
    if len(items) and (skills.dtype.kind != "i" or not skills.between(0, n_skills - 1).all()):
        raise KTError(f"{file}: skill must be numbers between 0 and {n_skills - 1}")
    return items, tuple(skills.tolist())


def _difference(expected: dict[str, Any], found: dict[str, Any]) -> str:
    for name in expected:
        if name not in found:
            return f"{name} is missing"
        for what, should, has in zip(("kind", "shape"), expected[name], found[name], strict=True):
            if should != has:
                return f"{name} has {what} {has}, expected {should}"
    extra = [name for name in found if name not in expected]
    return f"{brief(extra[0])} does not belong to it" if extra else ""
