"""What a cell is: one model on one data set, by the settings that decide its result."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kt_core.base import own
from kt_core.config import FORMER, ON_PATH, RunConfig
from kt_core.presets import configure
from kt_core.studies.models import OURS, check_model

PATH_ONLY = {  # settings of `ON_PATH` alone
    "model": ("transfer", "parts", "repeats"),
    "train": ("hide", "hide_in", "skeleton_steps"),
}
GONE = {"retrospective": 0.0, "transfer": 0.0}  # former terms of the loss, as the store has them
LATER: dict[tuple[str, str], Any] = {  # settings younger than the store, and what they stood for
    ("data", "encoding"): "utf-8",
    ("data", "kc_model"): "",
    ("data", "skill_separator"): "auto",
    ("data", "skill_level"): -1,
    ("data", "missing_as_text"): False,
    ("data", "draw"): 0,
    ("train", "skeleton_steps"): 400,
    ("train", "teachers"): 0,
    ("train", "taught"): 0.5,
    ("model", "times"): True,
    ("model", "parts"): True,
    ("model", "repeats"): True,
    ("loss", "own"): {},
}


@dataclass(frozen=True)
class Cell:
    """One training and its evaluation.

    Parameters
    ----------
    model : GainAKT2 by one of its names in `OURS`, or a baseline.
    overrides : single settings by dotted name, on top of the preset.
    """

    dataset: str
    model: str
    seed: int = 0
    fold: int = 0
    preset: str = "standard"
    overrides: tuple[tuple[str, Any], ...] = ()

    def __post_init__(self) -> None:
        check_model(self.model)

    @property
    def config(self) -> RunConfig:
        """The whole configuration.

        Raises
        ------
        KTError
            For an impossible value.
        """
        chosen = OURS.get(self.model, {}) | dict(self.overrides)
        return configure(self.preset, self.dataset, "", "", self.seed, self.fold, chosen)

    @property
    def fingerprint(self) -> str:
        """Hash of all settings that the result depends on."""
        settings = self.config.to_dict()
        for (part, name), default in LATER.items():
            if settings[part][name] == default:
                del settings[part][name]
        targets = settings["targets"].items()
        settings["targets"] = {FORMER.get(name, name): value for name, value in targets}
        if self.model not in OURS:
            from kt_core.baselines.registry import searched  # it loads every model

            settings = {key: settings[key] for key in ("data", "report")} | searched(self.model)
        elif self.config.model.mode not in ON_PATH:
            for part, names in PATH_ONLY.items():
                settings[part] = {k: v for k, v in settings[part].items() if k not in names}
            settings["loss"] |= GONE
        if self.model in OURS and self.config.loss.own:
            known = own.of(own.LOSS)
            settings["own"] = {name: known[name].source for name in self.config.loss.own}
        text = json.dumps(settings, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    @property
    def name(self) -> str:
        """A readable file name."""
        words = [self.dataset, self.model, f"seed{self.seed}", f"fold{self.fold}"]
        words += [f"{key.rpartition('.')[2]}-{value}" for key, value in self.overrides]
        return re.sub(r"[^A-Za-z0-9_.-]+", "-", "_".join(words))[:100]

    @property
    def folder(self) -> str:
        """The name of the run folder: other settings have another one."""
        return f"{self.name}_{self.fingerprint}"

    def parameters(self, out: Path) -> dict[str, Any]:
        """Of the notebook that trains it, into a run folder in `out`."""
        axes = {key: getattr(self, key) for key in ("preset", "dataset", "seed", "fold")}
        settings = {"train.progress": False} | OURS[self.model] | dict(self.overrides)
        return axes | {"mode": "", "name": self.folder, "out": str(out), "overrides": settings}

    @property
    def arguments(self) -> list[str]:
        """Of `python -m kt_core train`, which trains the same."""
        axes = {key: getattr(self, key) for key in ("preset", "dataset", "seed", "fold")}
        words = [word for key, value in axes.items() for word in (f"--{key}", str(value))]
        for key, value in (*OURS[self.model].items(), *self.overrides):
            text = str(value).lower() if isinstance(value, bool) else str(value)
            words += ["--set", f"{key}={text}"]
        return words


def stored(cell: Cell, store: Path) -> Path:
    """The file of a cell in a store."""
    fixed = f"{cell.dataset}_{cell.model}_seed{cell.seed}_fold{cell.fold}"
    return store / f"{fixed.replace(' ', '-')}.parquet"
