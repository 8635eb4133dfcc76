"""What the notebooks call: a configuration, a training, a run read back with its evidence."""

from __future__ import annotations

import logging
import os
import re
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from kt_core.config import ReportConfig, RunConfig, preset, with_overrides
from kt_core.data import Splits, load_dataset, make_splits
from kt_core.errors import KTError
from kt_core.evaluate import Evidence, evaluate
from kt_core.metrics.bootstrap import Bootstrap, Estimate
from kt_core.metrics.nulls import base_rates
from kt_core.metrics.prediction import Prediction
from kt_core.runs import Run, data_checksums
from kt_core.validation import Measures, measure

log = logging.getLogger("kt_core")
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def configure(
    preset_name: str = "quick",
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
    return with_overrides(preset(preset_name), given | (overrides or {}))


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
    name = name or re.sub(r"[^A-Za-z0-9._-]", "_", auto)
    if not NAME.fullmatch(name):
        raise KTError(f"run name {name!r}: letters, digits, '.', '_' and '-' only")
    return Path(out or default_out()) / name


def default_out() -> Path:
    """``runs/`` beside the package."""
    return Path(__file__).resolve().parents[1] / "runs"


def find_runs(runs: list[str]) -> list[Path]:
    """The named run folders, or the newest one under ``runs/`` where none is named."""
    if isinstance(runs, str):
        runs = [runs]
    if runs:
        return [Path(run) for run in runs]
    finished = sorted(default_out().glob("*/model.safetensors"), key=lambda p: p.stat().st_mtime)
    if not finished:
        raise KTError(f"no finished run in {default_out()}: train one with 01_train, or name one")
    return [finished[-1].parent]


def read_splits(config: RunConfig) -> Splits:
    """Data as `config` says, split by learner."""
    dataset = load_dataset(config.data)
    if dataset.inflated:
        log.warning("answers are repeated once per skill: every number from this run is inflated")
    return make_splits(dataset, config.data)


@dataclass
class Examined:
    """A run with what it believed about one split, measured."""

    run: Run
    splits: Splits
    split: str
    evidence: Evidence
    measures: Measures
    valid_auc: Estimate

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
    """A saved run with its data.

    Raises
    ------
    KTError
        When the folder is no finished run, or the data is not what the run was trained on.
    """
    _log_to_output()
    if split not in ("valid", "test"):
        raise KTError(f"split {split!r}: choose valid or test")
    run = Run.load(path)
    splits = read_splits(run.config)
    was, now = run.provenance.get("data_sha256"), data_checksums(splits.dataset)
    if was != now:
        raise KTError(
            f"{path}: the data {splits.dataset.name!r} is not what this run was trained on "
            f"(checksums {was} then, {now} now); restore it, or train again"
        )
    return run, splits


def examine(path: str | Path, split: str = "test") -> Examined:
    """Read a run, evaluate it on a split and measure all that section 6 of the design asks for."""
    run, splits = open_run(path, split)
    evidence = evaluate(run.model, getattr(splits, split))
    report = run.config.report
    measures = measure(
        evidence, training_rates(splits), splits.vocabulary.skills, report.bootstrap, report.seed
    )
    valid = evidence if split == "valid" else evaluate(run.model, splits.valid)
    return Examined(run, splits, split, evidence, measures, _auc(valid, report))


def _auc(evidence: Evidence, report: ReportConfig) -> Estimate:
    rows = evidence.predicted
    bootstrap = Bootstrap(len(evidence.learners), report.bootstrap, report.seed)
    columns = (rows[c].to_numpy() for c in ("predicted", "correct", "learner"))
    prediction = Prediction(*columns, bootstrap)
    return bootstrap.estimate(prediction.auc(), len(rows), prediction.learners)


def training_rates(splits: Splits) -> np.ndarray:
    """[C], share of right answers per skill among training learners."""
    return base_rates(splits.train.skill, splits.train.response, len(splits.vocabulary.skills))


def choose_learners(evidence: Evidence, rule: str = "growth quartiles", minimum: int = 20):
    """Sequences of learners to show, by a rule and not by luck.

    Among first sequences of at least `minimum` steps (of at least 3 where none is that long),
    learners are sorted by mean growth of mastery on the skills they practised:
    ``growth quartiles`` takes those at 25, 50 and 75 %, ``steepest`` the top three, ``flattest``
    the last three, ``longest`` the three with most steps (ties: the first in the data).
    """
    frame = evidence.frame[evidence.frame["chunk"] == 0]
    size = frame.groupby("sequence").size()
    pairs = frame.groupby(["sequence", "skill"])["mastery_post"]
    growth = (pairs.last() - pairs.first()).groupby("sequence").mean()
    long = size.index[size >= minimum] if (size >= minimum).any() else size.index
    ranked = growth[long].sort_values(kind="stable").index
    if rule == "growth quartiles":
        chosen = [ranked[round(q * (len(ranked) - 1))] for q in (0.25, 0.5, 0.75)]
    elif rule in ("steepest", "flattest"):
        chosen = list(ranked[::-1][:3] if rule == "steepest" else ranked[:3])
    elif rule == "longest":
        chosen = list(size[long].sort_values(ascending=False, kind="stable").index[:3])
    else:
        raise KTError(f"rule {rule!r}: choose growth quartiles, steepest, flattest or longest")
    return list(dict.fromkeys(int(i) for i in chosen))


def sequences_of(splits: Splits, split: str, learners: list[str]) -> list[int]:
    """First sequences of named learners.

    Raises
    ------
    KTError
        For a learner who is not in the split.
    """
    sequences = getattr(splits, split)
    number = {str(name): i for i, name in enumerate(sequences.learners)}
    found = []
    for name in map(str, learners):
        at = np.flatnonzero(sequences.learner == number.get(name, -1))
        if len(at) == 0:
            raise KTError(f"learner {name!r} has no sequence in the {split} split")
        found.append(int(at[0]))
    return found


def learner_name(splits: Splits, split: str, sequence: int) -> str:
    """The learner's id as it stands in the data."""
    s = getattr(splits, split)
    return str(s.learners[s.learner[sequence]])


def learner_frame(run: Run, splits: Splits, split: str, sequence: int) -> pd.DataFrame:
    """Every practised skill at every step of one sequence, for the trajectory figures.

    Returns
    -------
    Columns `step` (from 1), `skill` (name), `mastery`, `gain`, `asked`, `correct` (NaN where the
    skill was not asked).
    """
    import torch

    s = getattr(splits, split)
    at = slice(s.starts[sequence], s.starts[sequence] + s.lengths[sequence])
    skills, responses = s.skill[at], s.response[at]
    with torch.no_grad():
        states = run.model.forward_with_states(
            *(torch.tensor(x)[None] for x in (skills, responses))
        )
    practised = np.unique(skills)
    T = len(skills)
    asked = skills[:, None] == practised
    return pd.DataFrame(
        {
            "step": np.repeat(np.arange(1, T + 1), len(practised)),
            "skill": np.tile([splits.vocabulary.skills[k] for k in practised], T),
            "mastery": states.trajectory[0][:, practised].numpy().ravel(),
            "gain": states.gains[0][:, practised].numpy().ravel(),
            "asked": asked.ravel(),
            "correct": np.where(asked, responses[:, None], np.nan).ravel(),
        }
    )


def learning_curves(evidence: Evidence, most: int = 15, resamples: int = 200) -> pd.DataFrame:
    """Observed and modelled by opportunity, over all skills, 95 % over learners.

    Learners leave a skill when they have mastered it or given up, so later points are about those
    who are still practising.
    """
    rows = evidence.predicted
    rows = rows[rows["opportunity"] < most]
    bootstrap = Bootstrap(len(evidence.learners), resamples)
    table = []
    for opportunity, part in rows.groupby("opportunity"):
        right = np.bincount(part["learner"], part["correct"], bootstrap.n)
        count = np.bincount(part["learner"], minlength=bootstrap.n).astype(float)
        e = bootstrap.ratio(right, count)
        table.append(
            {
                "opportunity": opportunity,
                "observed": e.value,
                "low": e.low,
                "high": e.high,
                "predicted": part["predicted"].mean(),
                "mastery": part["mastery_pre"].mean(),
                "answers": len(part),
            }
        )
    return pd.DataFrame(table)


def final_mastery(evidence: Evidence, names: tuple[str, ...], most: int = 20) -> pd.DataFrame:
    """Mastery at the end of each sequence, for the `most` practised skills."""
    frame = evidence.frame
    top = frame["skill"].value_counts().index[:most]
    pairs = frame[frame["skill"].isin(top)][["sequence", "skill"]].drop_duplicates()
    return pd.DataFrame(
        {
            "skill": [names[k] for k in pairs["skill"]],
            "mastery": evidence.final[pairs["sequence"], pairs["skill"]],
        }
    )


def _log_to_output() -> None:
    if not log.handlers:
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter("%(message)s"))
        log.addHandler(handler)
        log.setLevel(os.environ.get("KT_LOG", "INFO"))
        log.propagate = False
