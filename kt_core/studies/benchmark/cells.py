"""Cells of the benchmark: one model on one data set, trained, measured and kept.

A cell is a data set, a model, a seed and a validation fold. Its results go to one small Parquet
file of the store, `benchmarks/store/`; a cell that is there is never trained again. With every
measure go its values on the same 500 resamples of the same learners, so that any two models can be
compared in pairs afterwards, without data or models at hand.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import multiprocessing
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from kt_core.base.errors import KTError, reason
from kt_core.base.files import make_folder, whole
from kt_core.baselines.bkt import BKT
from kt_core.baselines.counts import SkillBaseRate
from kt_core.baselines.logistic import PFA, BestLR
from kt_core.baselines.neural import DKT, SAKT, SimpleKT
from kt_core.config import RunConfig, with_overrides
from kt_core.data import Splits
from kt_core.data.registry import read_splits
from kt_core.evaluation.evaluate import Beliefs, evaluate
from kt_core.evaluation.measures import Measures, measure
from kt_core.metrics.bootstrap import Bootstrap
from kt_core.metrics.prediction import Prediction
from kt_core.presets import preset
from kt_core.report.examine import Examined, add_ceiling, examine, training_rates
from kt_core.runs.find import default_out
from kt_core.runs.provenance import git_commit
from kt_core.runs.run import Run
from kt_core.training.train import train

RESAMPLES = 500
STORE = Path(__file__).resolve().parents[3] / "benchmarks" / "store"
OURS = ("retrospective", "cumulative", "projection")
BASELINES: dict[str, Callable[[], object]] = {
    "DKT": DKT,
    "SAKT": SAKT,
    "simpleKT": SimpleKT,
    "BKT": BKT,
    "PFA": PFA,
    "Best-LR": BestLR,
    "skill base rate": SkillBaseRate,
}
MODELS = (*OURS, *BASELINES)
SIMULATED_LEARNERS = 4000
COLUMNS = {
    *("dataset", "model", "seed", "fold", "split", "measure", "variant", "sees", "value"),
    *("low", "high", "draws", "fit_seconds", "fingerprint"),
}
PATH_ONLY = (  # settings that mode `retrospective` alone reads
    ("model", "evidence"),
    ("model", "transfer"),
    ("train", "hide"),
    ("train", "hide_in"),
    ("train", "horizon"),
)
LATER = {  # settings younger than the first cells, and what they stood for then
    ("data", "pseudonymise"): False,
    ("train", "precision"): "float32",
    ("train", "compile"): False,
    ("train", "checkpoint_minutes"): 10.0,
}


@dataclass(frozen=True)
class Cell:
    """One training and its evaluation on the test learners."""

    dataset: str
    model: str
    seed: int = 0
    fold: int = 0

    def __post_init__(self) -> None:
        if self.model not in MODELS:
            raise KTError(f"model {self.model!r} does not exist; choose from: {', '.join(MODELS)}")

    @property
    def name(self) -> str:
        """A file name."""
        model = self.model.replace(" ", "-")
        return f"{self.dataset}_{model}_seed{self.seed}_fold{self.fold}"

    @property
    def config(self) -> RunConfig:
        """Preset `standard`, in the model's mode where it is one of ours."""
        overrides = {
            "data.dataset": self.dataset,
            "data.fold": self.fold,
            "data.learners": SIMULATED_LEARNERS,
            "train.seed": self.seed,
            "train.progress": False,
            "report.bootstrap": RESAMPLES,
        }
        if self.model in OURS:
            overrides["model.mode"] = self.model
        return with_overrides(preset("standard"), overrides)

    @property
    def fingerprint(self) -> str:
        """Of all settings that the result depends on; a cell with another one is out of date."""
        settings = self.config.to_dict()
        for (part, name), default in LATER.items():
            if settings[part][name] == default:
                del settings[part][name]
        if self.model not in OURS:
            settings = {key: settings[key] for key in ("data", "report")}
        elif self.model != "retrospective":
            for part, name in PATH_ONLY:
                del settings[part][name]
        text = json.dumps(settings, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    def finished(self, store: Path) -> bool:
        """Whether the store has it, with these settings."""
        file = store / f"{self.name}.parquet"
        if not file.is_file():
            return False
        return self.fingerprint == read_cell(file)["fingerprint"].iloc[0]


def read_cell(file: Path) -> pd.DataFrame:
    """A finished cell.

    Raises
    ------
    KTError
        When the file is damaged or something else.
    """
    try:
        table = pd.read_parquet(file)
    except (OSError, ValueError) as error:  # pyarrow's errors are ValueErrors
        raise KTError(f"{file}: not a readable Parquet file ({reason(error)}); remove it") from None
    absent = sorted(COLUMNS - set(table))
    if absent or table.empty:
        raise KTError(f"{file}: no cell of the benchmark (no {', '.join(absent)}); remove it")
    return table


def plan() -> list[Cell]:
    """All cells of docs/results.md, the most wanted first."""
    main, others = "assist2015", ("simulated", "assist2009", "statics2011")
    cells = [Cell(main, m, seed) for seed in range(3) for m in ("retrospective", "DKT")]
    cells += [Cell(d, m) for d in (main, *others) for m in ("BKT", "PFA", "Best-LR")]
    cells += [Cell(d, "skill base rate") for d in (main, *others)]
    cells += [Cell(d, m) for d in others for m in ("retrospective", "DKT", "cumulative")]
    controls = ("no-learning", "slow", "fast", "forgetting")
    cells += [Cell(f"simulated-{control}", "retrospective") for control in controls]
    cells += [Cell(main, m, seed) for seed in range(3) for m in ("cumulative", "projection")]
    cells += [Cell(d, m) for d in (main, *others) for m in ("SAKT", "simpleKT")]
    cells += [Cell(d, "projection") for d in others]
    cells += [Cell(main, m, fold=f) for f in range(1, 5) for m in ("retrospective", "DKT")]
    return list(dict.fromkeys(cells))


def missing(cells: Iterable[Cell], store: Path = STORE) -> list[Cell]:
    """Those of `cells` that the store does not have, or has from other settings."""
    return [cell for cell in cells if not cell.finished(store)]


def run_cell(cell: Cell, store: Path = STORE, runs: Path | None = None) -> Path:
    """Train and evaluate one cell, unless the store has it.

    Parameters
    ----------
    runs : where the run folders of our own models go; one that is finished there is evaluated and
        not trained again. Default: ``runs/benchmark``.
    """
    target = store / f"{cell.name}.parquet"
    if cell.finished(store):
        return target
    started = time.perf_counter()
    if cell.model in OURS:
        table = _ours(cell, runs or default_out() / "benchmark")
    else:
        table = _baseline(cell)
    for key, value in dataclasses.asdict(cell).items():
        table.insert(0, key, value)
    table["cell_seconds"], table["commit"] = time.perf_counter() - started, git_commit()
    table["fingerprint"] = cell.fingerprint
    make_folder(store)
    with whole(target) as temporary:
        table.to_parquet(temporary, compression="zstd")
    return target


def run_cells(cells: list[Cell], store: Path = STORE, jobs: int = 1) -> None:
    """`run_cell` for each, `jobs` at a time in processes of one thread.

    Raises
    ------
    KTError
        After all others are done, when cells failed: with the first reason.
    """
    if jobs < 1:
        raise KTError(f"--jobs {jobs}: at least 1")
    failed = []
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, context, initializer=torch.set_num_threads, initargs=(1,)) as ex:
        waiting = {ex.submit(run_cell, cell, store): cell for cell in cells}
        for done, future in enumerate(as_completed(waiting), start=1):
            cell = waiting[future]
            if error := future.exception():
                failed.append((cell, error))
            print(f"{done}/{len(cells)} {cell.name}{': failed' if error else ''}", flush=True)
    if failed:
        cell, error = failed[0]
        raise KTError(
            f"{len(failed)} of {len(cells)} cells failed; {cell.name}: {error}"
        ) from error


def _ours(cell: Cell, runs: Path) -> pd.DataFrame:
    folder = runs / f"{cell.name}_{cell.fingerprint}"
    if not (folder / "model.safetensors").is_file():
        config = cell.config
        train(config, read_splits(config), folder)
    examined = examine(folder)
    auc = examined.valid_auc
    run: Run = examined.run
    table = pd.concat([_tidy(examined.measures), _valid_auc(auc.value, auc.draws)])
    if run.model.on_path:
        table = pd.concat([table, _cold_auc(examined)], ignore_index=True)
    return table.assign(
        fit_seconds=run.provenance["training_seconds"], parameters=run.provenance["parameters"]
    )


def _cold_auc(examined: Examined) -> pd.DataFrame:
    """AUC where each chunk starts cold, as it does for the baselines."""
    sequences, report = getattr(examined.splits, examined.split), examined.run.config.report
    beliefs = evaluate(examined.run.model, sequences, flips=False, whole=False)
    rows = beliefs.predicted
    bootstrap = Bootstrap(len(beliefs.learners), report.bootstrap, report.seed)
    columns = (rows[name].to_numpy() for name in ("predicted", "correct", "learner"))
    draws = Prediction(*columns, bootstrap).auc()
    row = {"split": examined.split, "measure": "AUC, chunks cold", "variant": "", "sees": "pre"}
    return pd.DataFrame([row | {"value": draws[0], "draws": draws.astype(np.float32)}])


def _baseline(cell: Cell) -> pd.DataFrame:
    config = cell.config
    splits = read_splits(config)
    tracer = BASELINES[cell.model]()
    started = time.perf_counter()
    tracer.fit(splits, cell.seed)
    seconds = time.perf_counter() - started
    measured = {split: _measured(tracer, splits, split, config) for split in ("valid", "test")}
    auc = measured["valid"].quality("AUC")
    return pd.concat([_tidy(measured["test"]), _valid_auc(auc["value"], auc["draws"])]).assign(
        fit_seconds=seconds, parameters=-1
    )


def _measured(tracer: object, splits: Splits, split: str, config: RunConfig) -> Measures:
    sequences = getattr(splits, split)
    beliefs = Beliefs.of(sequences, tracer.trace(sequences))
    beliefs = add_ceiling(beliefs, splits, split, config.data.chunk)
    names, report = splits.vocabulary.skills, config.report
    return measure(beliefs, training_rates(splits), names, report.bootstrap, report.seed)


def _valid_auc(value: float, draws: np.ndarray) -> pd.DataFrame:
    row = {"split": "valid", "measure": "AUC", "variant": "", "sees": "pre", "value": value}
    return pd.DataFrame([row | {"draws": draws.astype(np.float32)}])


def _tidy(m: Measures) -> pd.DataFrame:
    """The measures of the test learners with their draws, long."""
    parts = []

    def add(table: pd.DataFrame, measure_name: str, variant: pd.Series | str, keep=None) -> None:
        if table.empty:
            return
        part = table if keep is None else table[keep]
        parts.append(
            pd.DataFrame(
                {
                    "measure": part[measure_name],
                    "variant": variant if isinstance(variant, str) else variant[part.index],
                    "sees": part.get("sees", "pre"),
                    "value": part["value"] if "value" in part else part["share"],
                    "low": part["low"],
                    "high": part["high"],
                    "draws": part["draws"],
                }
            )
        )

    p, a, r = m.prediction, m.associations, m.recovery
    add(p, "quality", "", p["predictor"] == "model")
    add(m.violations, "constraint", "")
    add(m.conduct, "quantity", "")
    add(m.necessity, "quantity", "")
    if not a.empty:
        label = a["predictor"].where(a["kind"] != "model", "")
        add(a, "measure", a["variant"] + label.where(label == "", "; " + label))
    if not r.empty:
        add(r, "quantity", r["sees"] + ", " + r["predictor"])
    table = pd.concat(parts, ignore_index=True).assign(split="test")
    # Draws of a null are of no use to other cells, the counter's apart; they would fill the store.
    kept = ~table["variant"].str.contains("; ") | table["variant"].str.contains("counter")
    kept &= table["measure"] != "mastery-prediction"
    nothing = np.zeros(0, np.float32)
    table["draws"] = [
        np.asarray(draws, np.float32) if keep else nothing
        for draws, keep in zip(table["draws"], kept, strict=True)
    ]
    if not m.forgetting.empty:
        skills = m.forgetting[m.forgetting["skill"] >= 0]
        found = {"skills that contradict no forgetting (share)": skills["contradicted"].mean()}
        found["no forgetting, all skills together (p)"] = m.forgetting["p"].iloc[0]
        rows = pd.DataFrame({"measure": list(found), "value": list(found.values())})
        rows = rows.assign(variant="", sees="retrospective", split="test", draws=[nothing] * 2)
        table = pd.concat([table, rows], ignore_index=True)
    return table
