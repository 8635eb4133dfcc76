"""Reading a run folder that may come from anywhere: it is data, never code, and all is checked.

The configuration is read by `kt_core.data.saved`. The header of the weights (names, shapes, kinds)
is compared with the model that the configuration describes before memory is allocated for either.
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any, TypeGuard

import pandas as pd
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file

from kt_core.base.errors import KTError, brief, reason
from kt_core.base.files import is_there, read_json
from kt_core.base.state import check_weights
from kt_core.config import ModelConfig
from kt_core.data.sequences import Vocabulary
from kt_core.model import GainAKT2
from kt_core.runs.shapes import shapes
from kt_core.uncertainty import Uncertainty

WRITTEN = ("figures", "notebooks", "checkpoints")  # folders of a run
MOST = 1e6  # of a number in uncertainty.json
KINDS = {torch.float32: "F32", torch.float64: "F64", torch.int64: "I64", torch.bool: "BOOL"}


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
        When it is there and does not hold a positive scale and a doubt of at least 0.
    """
    file = folder / "uncertainty.json"
    if not is_there(file):
        return None
    content = read_json(file)
    scale, doubt = content.get("scale"), content.get("doubt", 0.0)
    if not (_number(scale) and scale > 0):
        raise KTError(f"{file}: expected a positive number under scale")
    if not (_number(doubt) and doubt >= 0):
        raise KTError(f"{file}: expected a number of at least 0 under doubt")
    return Uncertainty(float(scale), float(doubt))


def _number(x: Any) -> TypeGuard[float]:
    return isinstance(x, int | float) and not isinstance(x, bool) and abs(x) < MOST


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


def _difference(expected: dict[str, Any], found: dict[str, Any]) -> str:
    for name in expected:
        if name not in found:
            return f"{name} is missing"
        for what, should, has in zip(("kind", "shape"), expected[name], found[name], strict=True):
            if should != has:
                return f"{name} has {what} {has}, expected {should}"
    extra = [name for name in found if name not in expected]
    return f"{brief(extra[0])} does not belong to it" if extra else ""
