"""Presets: named configurations to start from."""

from __future__ import annotations

import dataclasses
from typing import Any

from kt_core.base.errors import KTError, brief
from kt_core.config import (
    MONITORED,
    DataConfig,
    ModelConfig,
    ReportConfig,
    RunConfig,
    TrainConfig,
    with_overrides,
)

# Chosen on validation learners (docs/results.md).
SMALL = ModelConfig(d_model=32, heads=4, blocks=2, d_ff=64, dropout=0.1)
STEADY = TrainConfig(patience=5, tokens_per_batch=1024)
TEACHERS = 3  # of `taught`

USUAL = "quick"  # the default
PRESETS: dict[str, tuple[str, RunConfig]] = {
    "smoke": (
        "seconds; for tests and for trying out an installation",
        RunConfig(
            data=DataConfig(learners=60),
            model=ModelConfig(d_model=16, heads=2, blocks=1, d_ff=32, dropout=0.1),
            train=TrainConfig(epochs=2, tokens_per_batch=1024, monitor_every=5, skeleton_steps=30),
            report=ReportConfig(bootstrap=50),
        ),
    ),
    "quick": (
        "at most 20 epochs; minutes on a laptop",
        RunConfig(model=SMALL, train=dataclasses.replace(STEADY, epochs=20)),
    ),
    "standard": (
        "at most 50 epochs; what docs/results.md reports",
        RunConfig(model=SMALL, train=STEADY),
    ),
    "taught": (
        "as standard, and it learns from three recurrent networks, too",
        RunConfig(model=SMALL, train=dataclasses.replace(STEADY, teachers=TEACHERS)),
    ),
    "correlation_focused": (
        "at most 75 epochs, and more patience",
        RunConfig(model=SMALL, train=TrainConfig(epochs=75, tokens_per_batch=1024)),
    ),
    "intensive": (
        "100 epochs of d_model 512 and 6 blocks; needs a GPU",
        RunConfig(
            model=ModelConfig(d_model=512, heads=8, blocks=6, d_ff=1024, dropout=0.2),
            train=TrainConfig(epochs=100, tokens_per_batch=16384),
        ),
    ),
    "monitored": (
        "mode cumulative, 15 epochs of d_model 256 and 4 blocks, StepLR, monitored loss weights",
        RunConfig(
            model=ModelConfig(mode="cumulative", d_model=256, heads=8, blocks=4, d_ff=512),
            loss=MONITORED,
            train=TrainConfig(epochs=15, scheduler="step"),
        ),
    ),
}


def preset(name: str) -> RunConfig:
    """The named preset.

    Raises
    ------
    KTError
        When no preset has that name.
    """
    if not isinstance(name, str) or name not in PRESETS:
        raise KTError(f"preset {brief(name)} does not exist; choose one of: {', '.join(PRESETS)}")
    return dataclasses.replace(PRESETS[name][1], preset=name)


def configure(
    preset_name: str = USUAL,
    dataset: str = "",
    data_path: str = "",
    mode: str = "",
    seed: int | None = None,
    fold: int | None = None,
    overrides: dict[str, Any] | None = None,
) -> RunConfig:
    """The configuration of a run: a preset, common choices, and any other value by dotted name.

    Parameters
    ----------
    preset_name : one of `PRESETS`.
    dataset, data_path : a name from ``python -m kt_core datasets``, or a file of your own.
    mode, seed, fold : `model.mode`, `train.seed`, `data.fold`; empty or None keeps the preset's.
    overrides : as in `with_overrides`, applied last.

    Raises
    ------
    KTError
        For an unknown name or an impossible value.

    Examples
    --------
    >>> configure("quick", mode="cumulative", overrides={"model.d_model": 32}).model.d_model
    32
    """
    from kt_core.data.registry import datasets  # it loads pandas, which the presets do without

    chosen = {
        "data.dataset": dataset or None,
        "data.path": data_path or None,
        "model.mode": mode or None,
        "train.seed": seed,
        "data.fold": fold,
    }
    given = {name: value for name, value in chosen.items() if value is not None}
    values = given | overrides if isinstance(overrides, dict) else overrides or given
    config = with_overrides(preset(preset_name), values)
    if not config.data.path and config.data.dataset not in (known := datasets()):
        raise KTError(
            f"data set {brief(config.data.dataset)} does not exist; choose one of: "
            f"{', '.join(known)}, or name a file of your own with --data"
        )
    return config
