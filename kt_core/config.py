"""Configuration: frozen dataclasses with validation, and overrides by dotted name.

A `RunConfig` is everything that decides a run. `kt_core.presets` has the named ones, and
`with_overrides` changes single values ("model.d_model=64"). An unknown name or an impossible value
is an error.
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
import math
import typing
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from kt_core.base.errors import KTError, brief
from kt_core.base.values import convert


@dataclass(frozen=True)
class Range:
    """Which numbers a setting may have; both ends are included unless `above` or `below`.

    Upper ends are far beyond any use. They are there because a typing error, or a run folder from
    elsewhere, could otherwise ask for more memory than the machine has.
    """

    low: float
    high: float = math.inf
    above: bool = False
    below: bool = False

    def refuses(self, value: float) -> str:
        """What is wrong with a number, as "at least 1"; empty where it is in the range."""
        enough = value > self.low if self.above else value >= self.low
        most = value < self.high if self.below or self.high == math.inf else value <= self.high
        low = f"{'above' if self.above else 'at least'} {self.low:,}"
        high = f"{'below' if self.below else 'at most'} {self.high:,}"
        if isinstance(value, float) and not math.isfinite(value):
            return f"a finite number, {low}" + ("" if self.high == math.inf else f" and {high}")
        return "" if enough and most else high if enough else low


SHARE = Range(0, 1, below=True)
WEIGHT = Range(0)


class Section:
    """A part of the configuration; the annotation of a field holds its range or its choices."""

    def __post_init__(self) -> None:
        for name, limits in _ranges(type(self)).items():  # type: ignore[arg-type]  # a class is hashable
            wrong = limits.refuses(getattr(self, name))
            _check(self, name, not wrong, wrong)


@functools.cache
def _ranges(kind: type) -> dict[str, Range]:
    hints = typing.get_type_hints(kind, include_extras=True)
    found = {name: getattr(hint, "__metadata__", ()) for name, hint in hints.items()}
    return {name: extras[0] for name, extras in found.items() if extras}


def _check(section: Section, name: str, ok: bool, expected: str) -> None:
    if not ok:
        prefix = next(n for n, kind in _section_types().items() if kind is type(section))
        raise KTError(f"{prefix}.{name} = {brief(getattr(section, name))}: must be {expected}")


MEANINGS = {"learner": "user", "response": "correct", "time": "timestamp"}  # of columns
Mode = Literal["retrospective", "retentive", "cumulative", "projection"]
MODES: tuple[Mode, ...] = typing.get_args(Mode)
ON_PATH = ("retrospective", "retentive")  # predictions are made from mastery


@dataclass(frozen=True)
class DataConfig(Section):
    """Which interactions are read, and how they are split and cut (docs/method.md, "The data")."""

    dataset: str = "simulated"
    path: str = ""  # a file of your own; overrides `dataset`
    format: Literal["auto", "long", "pykt", "akt", "triple"] = "auto"
    columns: dict[str, str] = field(default_factory=dict)  # canonical name -> name in the file
    encoding: str = "utf-8"  # of text files
    kc_model: str = ""  # of DataShop's models of knowledge components, where there are several
    skill_separator: str = "auto"  # between several skills in a value; none: a value is one skill
    skill_level: Annotated[int, Range(-1, 100)] = -1  # of Eedi's subjects; -1: the leaves
    missing_as_text: bool = False  # NA, NULL, None and NaN are names of skills and learners
    learners: Annotated[int, Range(10, 10**7)] = 2000  # simulated data only
    draw: Annotated[int, Range(0, 10**6)] = 0  # which draw of simulated learners
    fold: Annotated[int, Range(0)] = 0  # the fold used for validation
    folds: Annotated[int, Range(2, 1000)] = 5  # where the data has no folds of its own
    test_fraction: Annotated[float, Range(0, 1, above=True, below=True)] = (
        0.2  # where the data has no test split
    )
    split_seed: Annotated[int, Range(0)] = 0
    chunk: int = 200
    min_length: Annotated[int, Range(2, 10**6)] = 3
    expand_skills: bool = False  # one answer repeated per skill: inflates every number
    pseudonymise: bool = False  # learner ids become keyed hashes (kt_core.data.pseudonyms)

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "columns", meanings(self.columns))
        _check(self, "fold", self.fold < self.folds, f"between 0 and {self.folds - 1}")
        _check(self, "chunk", self.chunk >= self.min_length, "at least data.min_length")


def meanings(columns: dict[str, str] | None) -> dict[str, str]:
    """Names of columns by their meaning, as the readers call it: learner, response and time have
    two names.

    Raises
    ------
    KTError
        For a meaning that is given twice.
    """
    if columns is None:
        return {}
    if not isinstance(columns, dict):
        raise KTError(
            "columns: expected a mapping of meanings to names, such as {'learner': 'Student', "
            "'skill': 'Topic', 'correct': 'Right'}"
        )
    found: dict[str, str] = {}
    for word, name in columns.items():
        role = MEANINGS.get(word, word)
        if role in found:
            other = next(w for w in columns if MEANINGS.get(w, w) == role)
            raise KTError(f"columns: {other!r} and {word!r} mean the same")
        found[role] = name
    return found


@dataclass(frozen=True)
class ModelConfig(Section):
    """Mode and size of GainAKT2 (docs/method.md, "The model")."""

    mode: Mode = "retrospective"
    d_model: Annotated[int, Range(1, 2**14)] = 128
    heads: Annotated[int, Range(1, 2**14)] = 8
    blocks: Annotated[int, Range(1, 200)] = 2
    d_ff: Annotated[int, Range(1, 2**16)] = 256
    dropout: Annotated[float, SHARE] = 0.2
    position: Literal["decay", "absolute"] = "decay"
    recent: Annotated[int, Range(0, 1000)] = 3  # steps back that each stream also sees directly
    fading: Annotated[int, Range(0, 2**14)] = 8  # groups of features with a fading sum of the past
    start_token: bool = True  # a learnable step before the first, so that attention can count
    max_steps: Annotated[int, Range(1, 10**6)] = 512  # only for absolute positions
    transfer: bool = True  # on the path: gains reach other skills where validation says so
    parts: bool = True  # on the path: mastery of each skill of answers that need several
    times: bool = True  # retentive: gains fade by the day where times are known; else by steps
    repeats: bool = True  # on the path: items met before are easier where validation says so

    def __post_init__(self) -> None:
        super().__post_init__()
        fits = self.fading == 0 or self.d_model % self.fading == 0
        _check(self, "fading", fits, "0 or a divisor of model.d_model")
        _check(self, "heads", self.d_model % self.heads == 0, "a divisor of model.d_model")


@dataclass(frozen=True)
class LossConfig(Section):
    """Weight of each auxiliary loss, added to the next-step BCE (docs/method.md, "The losses")."""

    non_negative: Annotated[float, WEIGHT] = 0.0
    monotonicity: Annotated[float, WEIGHT] = 0.0
    mastery_performance: Annotated[float, WEIGHT] = 0.0
    gain_performance: Annotated[float, WEIGHT] = 0.0
    sparsity: Annotated[float, WEIGHT] = 0.0
    consistency: Annotated[float, WEIGHT] = 0.0
    forecast: Annotated[float, WEIGHT] = 0.0
    difficulty: Annotated[float, WEIGHT] = 0.0
    own: dict[str, float] = field(default_factory=dict)  # of terms that a user registers, by name

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, weight in self.own.items():
            _check(self, "own", not (wrong := WEIGHT.refuses(weight)), f"{wrong} for {name!r}")

    @property
    def active(self) -> dict[str, float]:
        """The terms with a weight above zero, also of a user's own."""
        own = dataclasses.asdict(self)
        terms = own | own.pop("own")
        return {name: w for name, w in terms.items() if w > 0}


BCE_ONLY = LossConfig()
MONITORED = LossConfig(non_negative=0.1, consistency=0.05)
ENHANCED = LossConfig(
    monotonicity=0.1, mastery_performance=0.8, gain_performance=0.8, sparsity=0.2, consistency=0.3
)
MASTERY_PATH = LossConfig(forecast=0.3, difficulty=1.0)
PATH_TERMS = ("forecast", "difficulty")


@dataclass(frozen=True)
class TrainConfig(Section):
    """Optimisation, stopping, and what is logged."""

    epochs: Annotated[int, Range(1, 10**6)] = 50
    learning_rate: Annotated[float, Range(0, 10, above=True, below=True)] = 1e-3
    weight_decay: Annotated[float, WEIGHT] = 1e-4
    optimizer: Literal["adam", "adamw"] = "adamw"
    scheduler: Literal["plateau", "step", "onecycle", "constant"] = "plateau"
    scheduler_patience: Annotated[int, Range(1, 10**6)] = 1  # plateau: epochs without a better AUC
    scheduler_step: Annotated[int, Range(1, 10**6)] = 5  # step: epochs between two cuts
    scheduler_factor: Annotated[float, Range(0, 1, above=True, below=True)] = 0.5
    patience: Annotated[int, Range(1, 10**6)] = 10  # early stopping, in epochs
    clip: Annotated[float, Range(0, above=True)] = 1.0
    tokens_per_batch: Annotated[int, Range(1, 10**8)] = 2048
    average: Annotated[float, SHARE] = 0.999  # decay of the moving average of the weights; 0: none
    hide: Annotated[float, SHARE] = 0.2  # on the path: share of answers the encoder may not see
    hide_in: Annotated[float, SHARE] = 0.25  # ... in this share of the sequences
    skeleton_steps: Annotated[int, Range(1, 10**6)] = 400  # on the path: its fit, at least
    teachers: Annotated[int, Range(0, 100)] = 0  # networks whose mean prediction is a target, too
    taught: Annotated[float, Range(0, 1)] = 0.5  # its share of the next-step loss
    seed: Annotated[int, Range(0, 2**32 - 1)] = 0
    monitor: bool = True
    monitor_every: Annotated[int, Range(1, 10**9)] = 25  # training steps
    accelerator: Literal["auto", "cpu", "gpu"] = "auto"
    precision: Literal["float32", "bfloat16"] = "float32"  # of products; for a GPU
    checkpoint_minutes: Annotated[float, Range(0)] = 10.0  # within an epoch; also at its end
    progress: bool = True
    wandb: bool = False


Target = Annotated[float, Range(-1, 1)]


FORMER = {  # targets -> their names in older runs and cells
    "gain_performance": "gain_correctness",
    "gain_performance_minimum": "gain_correctness_minimum",
}


@dataclass(frozen=True)
class TargetConfig(Section):
    """Targets of the verdicts: shares in [0, 1] and correlations in [-1, 1]."""

    auc: Target = 0.72
    auc_minimum: Target = 0.70
    mastery_performance: Target = 0.4
    gain_performance: Target = 0.4
    gain_performance_minimum: Target = 0.3
    negative_gains: Target = 0.10  # for a mode without the guarantee; else 0
    monotonicity: Target = 0.20  # for a mode without the guarantee; else 0
    bounds: Target = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("auc", "gain_performance"):
            minimum = f"{name}_minimum"
            enough = getattr(self, name) >= getattr(self, minimum)
            _check(self, name, enough, f"at least targets.{minimum}")


@dataclass(frozen=True)
class ReportConfig(Section):
    """How much the report resamples."""

    bootstrap: Annotated[int, Range(20, 10**5)] = 1000  # resamples of learners
    seed: Annotated[int, Range(0)] = 0


@dataclass(frozen=True)
class RunConfig:
    """Everything that decides a run.

    Examples
    --------
    >>> config = kt.configure("quick", mode="cumulative")
    >>> config.model.mode, config.data.dataset
    ('cumulative', 'simulated')
    """

    preset: str = "standard"
    data: DataConfig = field(default_factory=DataConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    loss: LossConfig = MASTERY_PATH
    train: TrainConfig = field(default_factory=TrainConfig)
    targets: TargetConfig = field(default_factory=TargetConfig)
    report: ReportConfig = field(default_factory=ReportConfig)

    def __post_init__(self) -> None:
        path = self.model.mode in ON_PATH
        if path and self.model.position == "absolute":
            raise KTError(
                f"model.position = 'absolute': mode {self.model.mode!r} reads whole histories and "
                "needs relative positions; choose decay, or another mode"
            )
        for name in self.loss.active:
            if name not in self.loss.own and (name in PATH_TERMS) != path:
                raise KTError(
                    f"loss.{name} is not a term of mode {self.model.mode!r}; "
                    f"its terms are {', '.join(_terms(path))}"
                )

    @property
    def parts(self) -> bool:
        """Whether the single skills of answers on several are skills, too."""
        return self.model.parts and self.model.mode in ON_PATH

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready nested dict; `from_dict` reads it back."""
        return dataclasses.asdict(self)


def _terms(path: bool) -> list[str]:
    names = [f.name for f in dataclasses.fields(LossConfig) if f.name != "own"]
    return [name for name in names if (name in PATH_TERMS) == path]


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
        For instance ``{"model.d_model": 64, "train.epochs": "3"}``; strings are converted to the
        field's type. The name ``loss`` selects a weighting: path, bce, monitored or enhanced.
        Changing `model.mode` first sets the loss weights to that mode's own.

    Raises
    ------
    KTError
        For an unknown name or an impossible value.

    Examples
    --------
    >>> with_overrides(kt.configure("smoke"), {"train.epochs": 3}).train.epochs
    3
    """
    if not isinstance(overrides, dict):
        raise KTError(f"overrides = {brief(overrides)}: expected a mapping of names to values")
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
    """The inverse of `RunConfig.to_dict`; an unknown or wrongly typed entry is an error."""
    if not isinstance(raw, dict):
        raise KTError(f"a configuration must be a JSON object, not {type(raw).__name__}")
    sections = _section_types()
    flat: dict[str, Any] = {}
    for section, values in raw.items():
        if section == "preset":
            continue
        if section not in sections:
            raise KTError(f"unknown configuration section {brief(section)}")
        if not isinstance(values, dict):
            raise KTError(f"{section} = {brief(values)}: expected a JSON object")
        flat |= {f"{section}.{key}": value for key, value in values.items()}
    config = with_overrides(RunConfig(), flat)
    return dataclasses.replace(config, preset=convert("preset", raw.get("preset", ""), str))


def options() -> dict[str, Any]:
    """Every dotted name that can be overridden, with its default."""
    base = RunConfig().to_dict()
    return {name: base[name.split(".")[0]][name.split(".")[1]] for name in _option_types()}


def _section_types() -> dict[str, type]:
    hints = typing.get_type_hints(RunConfig)
    return {name: kind for name, kind in hints.items() if issubclass(kind, Section)}


def _option_types() -> dict[str, Any]:
    return {
        f"{section}.{key}": hint
        for section, kind in _section_types().items()
        for key, hint in typing.get_type_hints(kind).items()
    }


def _loss_for(config: RunConfig, mode: str) -> LossConfig:
    """The loss weights that a configuration starts from in this mode.

    In `projection` mastery has no bounds, so that a term which rewards high mastery could fall
    without end: it starts from the monitored weights, as published.
    """
    former = config.model.mode
    if mode == former or (mode in ON_PATH and former in ON_PATH):
        return config.loss
    if mode in ON_PATH:
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
