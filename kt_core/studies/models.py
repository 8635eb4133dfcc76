"""Every model by name, known before any of them is loaded, which takes seconds."""

from __future__ import annotations

from typing import Any

from kt_core.base import own
from kt_core.base.errors import KTError, brief
from kt_core.config import MODES
from kt_core.presets import TEACHERS

OURS: dict[str, dict[str, Any]] = {  # GainAKT2 by name, and the settings that make it
    **{mode: {"model.mode": mode} for mode in MODES},
    "taught": {"model.mode": "retrospective", "train.teachers": TEACHERS},
}
BASELINES = (  # of `kt_core.baselines.registry`
    *("DKT", "SAKT", "simpleKT", "AKT", "BKT", "BKT-correct", "PFA", "Best-LR"),
    *("skeleton", "AFM", "Rasch", "skill base rate"),
)


def models() -> tuple[str, ...]:
    """Every model by name: GainAKT2, the baselines, and what a user registered."""
    return (*OURS, *BASELINES, *own.of(own.MODEL))


def check_model(name: str) -> None:
    """Raise a KTError unless a model exists."""
    if name not in models():
        raise KTError(f"model {brief(name)} does not exist; choose from: {', '.join(models())}")
