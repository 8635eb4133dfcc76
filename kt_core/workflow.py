"""What the notebooks call: a configuration, a training, a run read back with its evidence."""

from __future__ import annotations

import dataclasses
import logging
import os
import re
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from kt_core.config import ReportConfig, RunConfig, with_overrides
from kt_core.data import DATASETS, Splits, load_dataset, make_splits
from kt_core.data.ceiling import posterior_mastery
from kt_core.data.pseudonyms import same_key
from kt_core.data.store import is_stored, stored_splits
from kt_core.errors import KTError, brief
from kt_core.evaluate import MOST_LEARNERS, Evidence, evaluate
from kt_core.hidden import forgetting, gain_necessity, hidden_answers
from kt_core.metrics.bootstrap import Bootstrap, Estimate, tidy
from kt_core.metrics.nulls import base_rates, step_nulls
from kt_core.metrics.prediction import Prediction
from kt_core.presets import USUAL, preset
from kt_core.runs import Run, data_checksums, unfinished
from kt_core.spread import coverage
from kt_core.validation import Measures, measure
from kt_core.values import names_of, path_of

log = logging.getLogger("kt_core")
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,149}")  # room for what is put around it


def configure(
    preset_name: str = USUAL,
    dataset: str = "",
    data_path: str = "",
    mode: str = "",
    seed: int | None = None,
    fold: int | None = None,
    overrides: dict[str, Any] | None = None,
) -> RunConfig:
    """A preset with the usual choices, then single values by dotted name, on top."""
    _log_to_output()
    chosen = {
        "data.dataset": dataset or None,
        "data.path": data_path or None,
        "model.mode": mode or None,
        "train.seed": seed,
        "data.fold": fold,
    }
    given = {name: value for name, value in chosen.items() if value is not None}
    wanted = given | overrides if isinstance(overrides, dict) else overrides or given
    config = with_overrides(preset(preset_name), wanted)
    if not config.data.path and config.data.dataset not in DATASETS:
        raise KTError(
            f"data set {brief(config.data.dataset)} does not exist; choose one of: "
            f"{', '.join(DATASETS)}, or name a file of your own with --data"
        )
    return config


def run_folder(config: RunConfig, name: str = "", out: str = "") -> Path:
    """Where a run goes: ``out/name``, with a dated name where none is given.

    Raises
    ------
    KTError
        For a name that is no plain file name.
    """
    data = Path(config.data.path).stem if config.data.path else config.data.dataset
    stamp = datetime.now().strftime("%Y%m%d-%H%M%S")
    auto = f"{data}-{config.model.mode}-{config.preset}-seed{config.train.seed}-{stamp}"
    name = name or re.sub(r"[^A-Za-z0-9._-]", "_", auto)[-150:].lstrip("._-")
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise KTError(
            f"run name {brief(name)}: at most 150 letters, digits, '.', '_' and '-', a letter or "
            "digit first"
        )
    return path_of("out", out or default_out()) / name


def default_out() -> Path:
    """``runs/`` beside the package."""
    return Path(__file__).resolve().parents[1] / "runs"


def find_runs(runs: list[str]) -> list[Path]:
    """The named run folders, or the newest one under ``runs/`` where none is named."""
    if named := names_of("runs", [runs] if isinstance(runs, str) else runs):
        return [path_of("runs", run) for run in named]
    finished = sorted(
        (
            path
            for path in default_out().glob("[!.]*/model.safetensors")
            if not unfinished(path.parent)
        ),
        key=lambda path: path.stat().st_mtime,
    )
    if not finished:
        raise KTError(f"no finished run in {default_out()}: train one with 01_train, or name one")
    return [finished[-1].parent]


def read_splits(config: RunConfig) -> Splits:
    """Data as `config` says, split by learner."""
    if is_stored(config.data.path):
        splits = stored_splits(config.data)
    else:
        splits = make_splits(load_dataset(config.data), config.data)
    if splits.dataset.inflated:
        log.warning("answers are repeated once per skill: every number from this run is inflated")
    return splits


@dataclass
class Examined:
    """A run with what it believed about one split, measured."""

    run: Run
    splits: Splits
    split: str
    evidence: Evidence
    measures: Measures
    valid_auc: Estimate
    valid_null_auc: Estimate  # of the success counter, on the same learners

    @property
    def inflated(self) -> bool:
        """Whether one answer stands in several rows of the data."""
        return self.splits.dataset.inflated

    @property
    def history(self) -> pd.DataFrame:
        """One row per epoch of training."""
        return self.run.table("history.csv")

    @property
    def best_epoch(self) -> pd.Series:
        """The epoch whose weights were kept."""
        return self.history.loc[self.history["valid/auc"].idxmax()]


def open_run(path: str | Path, split: str = "test") -> tuple[Run, Splits]:
    """A saved run with its data; of a larger validation or test split, 20,000 learners drawn at
    random.

    Raises
    ------
    KTError
        When the folder is no finished run, or the data is not what the run was trained on.
    """
    _log_to_output()
    if split not in ("valid", "test"):
        raise KTError(f"split {brief(split)}: choose valid or test")
    run = Run.load(path)
    splits = read_splits(run.config)
    same_key(run.provenance.get("pseudonyms", ""), splits.dataset.pseudonyms, str(path))
    was, now = run.provenance.get("data_sha256"), data_checksums(splits.dataset)
    if was != now:
        raise KTError(
            f"{path}: the data {splits.dataset.name!r} is not what this run was trained on "
            f"(checksums {was} then, {now} now); restore it, or train again"
        )
    parts = {name: getattr(splits, name).sample(MOST_LEARNERS) for name in ("valid", "test")}
    for name, part in parts.items():
        if len(part.learners) < len(all_of := getattr(splits, name).learners):
            log.warning(
                "%s: %s of %s learners, drawn at random", name, len(part.learners), len(all_of)
            )
    return run, dataclasses.replace(splits, **parts)


def add_ceiling(evidence: Evidence, splits: Splits, split: str, chunk: int) -> Evidence:
    """For simulated learners, the columns `ceiling_post` and `ceiling_last`: what the simulator's
    true parameters say of the same answers. Other evidence is returned as it is."""
    spec, sequences = splits.dataset.simulation, getattr(splits, split)
    if spec is None:
        return evidence
    table = splits.dataset.table
    table = table[table["user"].isin(sequences.learners)].reset_index(drop=True)
    best = posterior_mastery(table, spec).assign(
        user=table["user"], place=table.groupby("user").cumcount()
    )
    frame = evidence.frame
    # Short last chunks may have been dropped from the sequences: look rows up by their place.
    kept = pd.MultiIndex.from_arrays(
        [
            sequences.learners[frame["learner"]],
            frame["chunk"] * chunk + frame["step"],
        ]
    )
    best = best.set_index(["user", "place"]).loc[kept]
    columns = {"ceiling_post": best["filter_post"], "ceiling_last": best["smooth"]}
    frame = frame.assign(**{name: column.to_numpy() for name, column in columns.items()})
    return dataclasses.replace(evidence, frame=frame)


def examine(path: str | Path, split: str = "test") -> Examined:
    """Read a run, evaluate it on a split and measure all that section 6 of the design asks for."""
    run, splits = open_run(path, split)
    history = run.table("history.csv")
    if history.empty or history["valid/auc"].isna().all():
        raise KTError(
            f"{path}: history.csv is missing or has no epochs; restore it, or train again"
        )
    evidence = evaluate(run.model, getattr(splits, split))
    evidence = add_ceiling(evidence, splits, split, run.config.data.chunk)
    report, names = run.config.report, splits.vocabulary.skills
    measures = measure(evidence, training_rates(splits), names, report.bootstrap, report.seed)
    if run.model.on_path:
        answers = hidden_answers(run.model, getattr(splits, split))
        bootstrap = Bootstrap(len(evidence.learners), report.bootstrap, report.seed)
        measures.necessity = gain_necessity(answers, bootstrap)
        if split == "test":  # neither split has trained anything; together they see more
            more = hidden_answers(run.model, splits.valid)
            more["learner"] += len(evidence.learners)
            answers = pd.concat([answers, more], ignore_index=True)
        measures.forgetting = forgetting(answers, names)
        if "true_mastery" in evidence.frame and run.spread is not None:
            row = _coverage(evidence, run, bootstrap)
            measures.recovery = pd.concat([measures.recovery, row], ignore_index=True)
    valid = evidence if split == "valid" else evaluate(run.model, splits.valid, flips=False)
    rows = valid.predicted
    nulls = step_nulls(rows, training_rates(splits), post=False)
    aucs = (_auc(valid, p, report) for p in (rows["predicted"], nulls["success counter"]))
    return Examined(run, splits, split, evidence, measures, *aucs)


def _coverage(evidence: Evidence, run: Run, bootstrap: Bootstrap) -> pd.DataFrame:
    frame = evidence.frame
    share = bootstrap.row_mean(coverage(frame, run.spread), frame["learner"], (0, 1))
    table = tidy({"mastery, share of 95 % intervals that hold the truth": share}, "quantity")
    return table.assign(sees="post", predictor="model")


def paired_aucs(examined: list[Examined]) -> list[Estimate]:
    """AUC of each run minus that of the first, on the same resamples of the same learners."""
    report = examined[0].run.config.report
    predictions = [
        _predictions(e.evidence, e.evidence.predicted["predicted"], report) for e in examined
    ]
    draws = [p.auc() for p in predictions]
    return [
        p.bootstrap.estimate(d - draws[0], len(p.y), p.learners)
        for p, d in zip(predictions, draws, strict=True)
    ]


def _auc(evidence: Evidence, predicted: np.ndarray, report: ReportConfig) -> Estimate:
    prediction = _predictions(evidence, predicted, report)
    return prediction.bootstrap.estimate(prediction.auc(), len(predicted), prediction.learners)


def _predictions(evidence: Evidence, predicted: np.ndarray, report: ReportConfig) -> Prediction:
    rows = evidence.predicted
    bootstrap = Bootstrap(len(evidence.learners), report.bootstrap, report.seed)
    correct, learner = rows["correct"].to_numpy(), rows["learner"].to_numpy()
    return Prediction(np.asarray(predicted), correct, learner, bootstrap)


def training_rates(splits: Splits) -> np.ndarray:
    """[C], share of right answers per skill among training learners."""
    return base_rates(splits.train.skill, splits.train.response, len(splits.vocabulary.skills))


def _log_to_output() -> None:
    level = os.environ.get("KT_LOG", "INFO")
    if level not in logging.getLevelNamesMapping():
        raise KTError(f"KT_LOG={level}: choose DEBUG, INFO, WARNING or ERROR")
    if not log.handlers:
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter("%(message)s"))
        log.addHandler(handler)
        log.setLevel(level)
        log.propagate = False
