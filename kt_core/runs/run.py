"""Run folders: what a training leaves behind, and what state it is in.

state.json          training, stopped (with the reason) or finished (with the weights' SHA-256)
model.safetensors   weights of the best epoch
config.json         configuration, skills, data set: enough to rebuild the model
uncertainty.json    how sure a mastery value is (`retrospective`, `retentive`)
items.csv           items and the skill (by number) of each, where the data has items
answers.parquet     the answers, where they were a table in memory and in no file
history.csv         one row per epoch;  monitor.csv: one row per look of the monitor
provenance.json     versions, commit, checksums, seed, command, time
metrics.json, report.html, figures/, notebooks/     added by the notebooks
checkpoints/        from which a training is resumed; removed when it has finished
"""

from __future__ import annotations

import dataclasses
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from safetensors.torch import save_file

from kt_core.base.digests import sha256
from kt_core.base.errors import KTError
from kt_core.base.files import is_there, read_json, whole, write_json, write_text
from kt_core.base.state import STATE, WEIGHTS, check_finished, weights_of
from kt_core.config import RunConfig
from kt_core.data import Vocabulary
from kt_core.data.reading.note import ReadingNote
from kt_core.data.saved import read_configuration
from kt_core.model import GainAKT2
from kt_core.runs.read import (
    read_model,
    read_numbers,
    read_uncertainty,
    refuse_links,
)
from kt_core.uncertainty import Uncertainty

COLUMNS = {  # at least
    "history.csv": ("epoch", "valid/auc", "valid/loss"),
    "monitor.csv": ("step",),
}


@dataclass(repr=False)
class Run:
    """A run folder; `trained` is None until training has ended."""

    path: Path
    config: RunConfig
    vocabulary: Vocabulary
    provenance: dict[str, Any]
    trained: GainAKT2 | None = None
    uncertainty: Uncertainty | None = None  # of modes with a skeleton

    def __repr__(self) -> str:
        return f"<run of {self.config.model.mode}: {self.path}>"

    @property
    def model(self) -> GainAKT2:
        """The trained model.

        Raises
        ------
        KTError
            Before training has ended.
        """
        if self.trained is None:
            raise KTError(f"{self.path}: this run is not finished, so it has no model yet")
        return self.trained

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.path.name

    @property
    def note(self) -> ReadingNote:
        """How its data was read; without anything in it for a run of version 0.1.

        Raises
        ------
        KTError
            When provenance.json holds something else.
        """
        raw = self.provenance.get("reading", {})
        try:
            return ReadingNote.from_dict(raw) if raw else ReadingNote()
        except (KeyError, TypeError, AttributeError):
            raise KTError(
                f"{self.path / 'provenance.json'}: the entry reading does not say how data was read"
            ) from None

    def table(self, name: str) -> pd.DataFrame:
        """`history.csv` or `monitor.csv`; empty where it does not exist.

        Raises
        ------
        KTError
            When it is not a table of numbers with the expected columns.
        """
        path = self.path / name
        if not is_there(path) or path.read_bytes() == b"\n":  # the monitor may not have measured
            return pd.DataFrame()
        return read_numbers(path, COLUMNS[name])

    def write_table(self, name: str, table: pd.DataFrame) -> None:
        """Write a CSV file whole."""
        write_text(self.path / name, table.to_csv(index=False))

    def write_json(self, name: str, content: Any) -> None:
        """Write a JSON file whole."""
        write_json(self.path / name, content)

    def write_uncertainty(self, uncertainty: Uncertainty) -> None:
        """Keep the uncertainty that was fitted to validation learners."""
        self.uncertainty = uncertainty
        self.write_json("uncertainty.json", dataclasses.asdict(uncertainty))

    def finish(self, model: GainAKT2) -> None:
        """Write the weights; from then on the run is finished."""
        weights = {name: w.contiguous() for name, w in model.state_dict().items()}
        self.provenance["parameters"] = sum(w.numel() for w in weights.values())
        self.write_json("provenance.json", self.provenance)
        with whole(self.path / WEIGHTS) as temporary:
            save_file(weights, temporary)
            digest = sha256(temporary)
        self.write_state("finished", weights_sha256=digest)
        shutil.rmtree(self.path / "checkpoints", ignore_errors=True)

    def write_state(self, state: str, **facts: str) -> None:
        """Write the state of the run: training, stopped (`why`), or finished (`weights_sha256`)."""
        self.write_json(STATE, {"state": state, **facts})

    @classmethod
    def load(cls, path: str | Path) -> Run:
        """Read a finished run.

        Raises
        ------
        KTError
            When the folder is not a finished run, or its configuration or weights are damaged.
        """
        path = Path(path)
        check_finished(path)
        refuse_links(path)
        config, vocabulary = read_configuration(path)
        model = read_model(path / WEIGHTS, config.model, vocabulary, weights_of(path))
        provenance = read_json(path / "provenance.json")
        return cls(path, config, vocabulary, provenance, model, read_uncertainty(path))
