"""Configuration: frozen dataclasses with validation, and overrides by dotted name.

A `RunConfig` is everything that decides a run. `kt_core.presets` names some, `with_overrides`
changes single values ("model.d_model=64"), and unknown names or impossible values are errors.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
import typing
from dataclasses import dataclass, field
from typing import Any, Literal

from kt_core.base.errors import KTError, brief
from kt_core.base.values import convert


def _check(section: Any, name: str, ok: bool, wanted: str) -> None:
    if not ok:
        prefix = next(n for n, kind in _section_types().items() if kind is type(section))
        raise KTError(f"{prefix}.{name} = {brief(getattr(section, name))}: must be {wanted}")


def _between(section: Any, limits: dict[str, tuple[int, int]]) -> None:
    for name, (low, high) in limits.items():
        value = getattr(section, name)
        wanted = f"at least {low}" if value < low else f"at most {high:,}"
        _check(section, name, low <= value <= high, wanted)


Mode = Literal["retrospective", "cumulative", "projection"]


# Upper ends are far above any use; beyond them a slip of the keyboard, or a checkpoint from
# elsewhere, would ask for more memory than there is.
DATA_LIMITS = {"learners": (10, 10**7), "folds": (2, 1000), "min_length": (2, 10**6)}
MODEL_LIMITS = {
    "d_model": (1, 2**14),
    "heads": (1, 2**14),
    "blocks": (1, 200),
    "d_ff": (1, 2**16),
    "max_steps": (1, 10**6),
    "recent": (0, 1000),
    "fading": (0, 2**14),
}
TRAIN_LIMITS = {
    "epochs": (1, 10**6),
    "patience": (1, 10**6),
    "monitor_every": (1, 10**9),
    "tokens_per_batch": (1, 10**8),
    "scheduler_step": (1, 10**6),
    "scheduler_patience": (1, 10**6),
    "seed": (0, 2**32 - 1),
}


@dataclass(frozen=True)
class DataConfig:
    """Which interactions are read, and how they are split and cut (design, section 7)."""

    dataset: str = "simulated"
    path: str = ""  # a file of one's own; overrides `dataset`
    format: Literal["auto", "long", "pykt", "akt", "triple"] = "auto"
    columns: dict[str, str] = field(default_factory=dict)  # canonical name -> name in the file
    learners: int = 2000  # simulated data only
    fold: int = 0  # the validation fold
    folds: int = 5  # used where the data brings no folds
    test_fraction: float = 0.2  # used where the data brings no test split
    split_seed: int = 0
    chunk: int = 200
    min_length: int = 3
    expand_skills: bool = False  # one answer repeated per skill: inflates every number
    pseudonymise: bool = False  # learner ids become keyed hashes (kt_core.data.pseudonyms)

    def __post_init__(self) -> None:
        _between(self, DATA_LIMITS)
        _check(self, "split_seed", self.split_seed >= 0, "at least 0")
        _check(self, "fold", 0 <= self.fold < self.folds, f"between 0 and {self.folds - 1}")
        _check(self, "test_fraction", 0 < self.test_fraction < 1, "between 0 and 1")
        _check(self, "chunk", self.chunk >= self.min_length, "at least data.min_length")


@dataclass(frozen=True)
class ModelConfig:
    """Shape of GainAKT2 (design, section 3)."""

    mode: Mode = "retrospective"
    d_model: int = 128
    heads: int = 8
    blocks: int = 2
    d_ff: int = 256
    dropout: float = 0.2
    position: Literal["decay", "absolute"] = "decay"
    recent: int = 3  # how many steps back each stream also sees directly; 0 for none
    fading: int = 8  # groups of features with a fading sum of all earlier steps; 0 for none
    start_token: bool = True  # a learnable step before the first: lets attention count
    max_steps: int = 512  # only for absolute positions
    evidence: bool = True  # retrospective: the belief on a skill recalls all answers given on it
    transfer: bool = False  # retrospective: gains may also reach skills that were not asked

    def __post_init__(self) -> None:
        _between(self, MODEL_LIMITS)
        fits = self.fading == 0 or self.d_model % self.fading == 0
        _check(self, "fading", fits, "0 or a divisor of model.d_model")
        _check(self, "heads", self.d_model % self.heads == 0, "a divisor of model.d_model")
        _check(self, "dropout", 0 <= self.dropout < 1, "at least 0 and below 1")


@dataclass(frozen=True)
class LossConfig:
    """Weight of each auxiliary loss beside the next-step BCE (design, section 4)."""

    non_negative: float = 0.0
    monotonicity: float = 0.0
    mastery_performance: float = 0.0
    gain_performance: float = 0.0
    sparsity: float = 0.0
    consistency: float = 0.0
    retrospective: float = 0.0
    forecast: float = 0.0
    revision: float = 0.0
    drift: float = 0.0
    price: float = 0.0
    difficulty: float = 0.0
    transfer: float = 0.0

    def __post_init__(self) -> None:
        for name, weight in dataclasses.asdict(self).items():
            _check(self, name, 0 <= weight < math.inf, "a finite number, at least 0")

    @property
    def active(self) -> dict[str, float]:
        """The terms with a weight above zero."""
        return {name: w for name, w in dataclasses.asdict(self).items() if w > 0}


BCE_ONLY = LossConfig()
MONITORED = LossConfig(non_negative=0.1, consistency=0.05)
ENHANCED = LossConfig(
    monotonicity=0.1,
    mastery_performance=0.8,
    gain_performance=0.8,
    sparsity=0.2,
    consistency=0.3,
)


MASTERY_PATH = LossConfig(retrospective=0.3, forecast=0.15, difficulty=1.0)
PATH_TERMS = ("retrospective", "forecast", "revision", "drift", "price", "difficulty", "transfer")


@dataclass(frozen=True)
class TrainConfig:
    """Optimisation, stopping, and what is logged."""

    epochs: int = 50
    learning_rate: float = 1e-3
    weight_decay: float = 1e-4
    optimizer: Literal["adam", "adamw"] = "adamw"
    scheduler: Literal["plateau", "step", "onecycle", "constant"] = "plateau"
    scheduler_patience: int = 1  # plateau: epochs without a better validation AUC
    scheduler_step: int = 5  # step: epochs between two cuts
    scheduler_factor: float = 0.5
    patience: int = 10  # early stopping, in epochs
    clip: float = 1.0
    tokens_per_batch: int = 2048
    average: float = 0.999  # decay of the moving average of the weights; 0 for none
    hide: float = 0.2  # retrospective: share of answers hidden from the encoder ...
    hide_in: float = 0.25  # ... in this share of the sequences, and predicted from the others
    horizon: Literal["last", "random"] = "last"  # at which hidden answers are predicted
    seed: int = 0
    monitor: bool = True
    monitor_every: int = 25  # training steps
    accelerator: Literal["auto", "cpu", "gpu"] = "auto"
    precision: Literal["float32", "bfloat16"] = "float32"  # of products; for a GPU
    compile: bool = False  # the encoder, with torch.compile: a minute or two before the first step
    checkpoint_minutes: float = 10.0  # within an epoch; one more is written at its end
    progress: bool = True
    wandb: bool = False

    def __post_init__(self) -> None:
        _between(self, TRAIN_LIMITS)
        _check(self, "learning_rate", 0 < self.learning_rate < 10, "above 0 and below 10")
        _check(
            self, "weight_decay", 0 <= self.weight_decay < math.inf, "a finite number, at least 0"
        )
        for name in ("hide", "hide_in", "average"):
            _check(self, name, 0 <= getattr(self, name) < 1, "at least 0 and below 1")
        minutes = self.checkpoint_minutes
        _check(self, "checkpoint_minutes", 0 <= minutes < math.inf, "a finite number, at least 0")
        _check(self, "clip", 0 < self.clip < math.inf, "a finite number above 0")
        _check(self, "scheduler_factor", 0 < self.scheduler_factor < 1, "between 0 and 1")


@dataclass(frozen=True)
class TargetConfig:
    """What the verdict table judges against: shares in [0, 1] and correlations in [-1, 1]."""

    auc: float = 0.72
    auc_minimum: float = 0.70
    mastery_performance: float = 0.4
    gain_correctness: float = 0.4
    gain_correctness_minimum: float = 0.3
    negative_gains: float = 0.10  # where only encouraged; 0 where guaranteed
    monotonicity: float = 0.20  # where only encouraged; 0 where guaranteed
    bounds: float = 0.0

    def __post_init__(self) -> None:
        for name, value in dataclasses.asdict(self).items():
            _check(self, name, -1 <= value <= 1, "between -1 and 1")
        for name in ("auc", "gain_correctness"):
            minimum = f"{name}_minimum"
            enough = getattr(self, name) >= getattr(self, minimum)
            _check(self, name, enough, f"at least targets.{minimum}")


@dataclass(frozen=True)
class ReportConfig:
    """Size of the evidence in the report."""

    bootstrap: int = 1000  # resamples of learners
    seed: int = 0

    def __post_init__(self) -> None:
        _check(self, "seed", self.seed >= 0, "at least 0")
        _between(self, {"bootstrap": (20, 10**5)})


@dataclass(frozen=True)
class RunConfig:
    """Everything that decides a run."""

    preset: str = "standard"
    data: DataConfig = field(default_factory=DataConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    loss: LossConfig = MASTERY_PATH
    train: TrainConfig = field(default_factory=TrainConfig)
    targets: TargetConfig = field(default_factory=TargetConfig)
    report: ReportConfig = field(default_factory=ReportConfig)

    def __post_init__(self) -> None:
        path = self.model.mode == "retrospective"
        if path and self.model.position == "absolute":
            raise KTError(
                "model.position = 'absolute': mode 'retrospective' reads whole histories and needs "
                "relative positions; choose decay, or another mode"
            )
        for name in self.loss.active:
            if (name in PATH_TERMS) != path:
                raise KTError(
                    f"loss.{name} is not a term of mode {self.model.mode!r}; "
                    f"its terms are {', '.join(_terms(path))}"
                )

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready nested dict; `from_dict` reads it back."""
        return dataclasses.asdict(self)


def _terms(path: bool) -> list[str]:
    return [f.name for f in dataclasses.fields(LossConfig) if (f.name in PATH_TERMS) == path]


LOSS_WEIGHTINGS = {
    "path": MASTERY_PATH,
    "bce": BCE_ONLY,
    "monitored": MONITORED,
    "enhanced": ENHANCED,
}


def with_overrides(config: RunConfig, overrides: dict[str, Any]) -> RunConfig:
    """`config` with single values replaced by dotted name.

    Parameters
    ----------
    overrides : dict
        For instance ``{"model.d_model": 64, "train.epochs": "3"}``; strings are read as the
        field's type. ``loss`` alone takes a weighting by name: path, bce, monitored or enhanced.
        A new `model.mode` whose terms are others starts from that mode's own weights.

    Raises
    ------
    KTError
        For a name that does not exist or a value that cannot be.
    """
    if not isinstance(overrides, dict):
        raise KTError(f"overrides = {brief(overrides)}: a mapping is wanted, name -> value")
    changes: dict[str, dict[str, Any]] = {}
    loss = _loss_for(config, overrides.get("model.mode", config.model.mode))
    for name, value in overrides.items():
        if name == "loss":
            loss = _weighting(value)
            continue
        known = _option_types()
        if name not in known:
            raise KTError(f"unknown parameter {brief(name)}{_closest(str(name)[:100], known)}")
        section, _, key = name.partition(".")
        changes.setdefault(section, {})[key] = convert(name, value, known[name])
    loss = dataclasses.replace(loss, **changes.pop("loss", {}))
    sections = {
        section: dataclasses.replace(getattr(config, section), **values)
        for section, values in changes.items()
    }
    return dataclasses.replace(config, loss=loss, **sections)


def from_dict(raw: dict[str, Any]) -> RunConfig:
    """The inverse of `RunConfig.to_dict`; unknown or wrongly typed entries are errors."""
    if not isinstance(raw, dict):
        raise KTError(f"a configuration must be a JSON object, not {type(raw).__name__}")
    sections = _section_types()
    flat = {}
    for section, values in raw.items():
        if section == "preset":
            continue
        if section not in sections:
            raise KTError(f"unknown configuration section {brief(section)}")
        if not isinstance(values, dict):
            raise KTError(f"{section} = {brief(values)}: a JSON object is wanted")
        flat |= {f"{section}.{key}": value for key, value in values.items()}
    config = with_overrides(RunConfig(), flat)
    return dataclasses.replace(config, preset=convert("preset", raw.get("preset", ""), str))


def options() -> dict[str, Any]:
    """Every dotted name that can be overridden, with its default."""
    base = RunConfig().to_dict()
    return {name: base[name.split(".")[0]][name.split(".")[1]] for name in _option_types()}


def _section_types() -> dict[str, type]:
    hints = typing.get_type_hints(RunConfig)
    return {name: kind for name, kind in hints.items() if dataclasses.is_dataclass(kind)}


def _option_types() -> dict[str, Any]:
    return {
        f"{section}.{key}": hint
        for section, kind in _section_types().items()
        for key, hint in typing.get_type_hints(kind).items()
    }


def _loss_for(config: RunConfig, mode: str) -> LossConfig:
    """The weights to start from when a configuration takes this mode.

    In `projection` mastery has no bounds, and a term that rewards high mastery would fall for ever:
    it has the monitored weights, as published.
    """
    if mode == config.model.mode:
        return config.loss
    if mode == "retrospective":
        return MASTERY_PATH
    return MONITORED if mode == "projection" else ENHANCED


def _weighting(value: str) -> LossConfig:
    if not isinstance(value, str) or value not in LOSS_WEIGHTINGS:
        raise KTError(
            f"loss weighting {brief(value)} does not exist; choose path, bce, monitored, enhanced"
        )
    return LOSS_WEIGHTINGS[value]


def _closest(name: str, known: dict[str, Any]) -> str:
    match = difflib.get_close_matches(name, known, n=1)
    return f"; did you mean {match[0]!r}?" if match else f"; known: {', '.join(known)}"
