"""Run folders: what a training leaves behind, complete or not at all.

model.safetensors   weights of the best epoch
config.json         configuration, skills, data set: enough to rebuild the model
spread.json         how sure a mastery value is (`retrospective`)
items.csv           items and the skill (by number) of each, where the data has items
history.csv         one row per epoch;  monitor.csv: one row per look of the monitor
provenance.json     versions, commit, checksums, seed, command, time
metrics.json, report.html, figures/, notebooks/     added by the notebooks
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from kt_core.config import RunConfig, from_dict
from kt_core.data import Dataset, Splits, Vocabulary
from kt_core.errors import KTError
from kt_core.model import GainAKT2
from kt_core.spread import Spread

PACKAGES = ("torch", "lightning", "numpy", "pandas", "scipy", "scikit-learn", "matplotlib")


@dataclass
class Run:
    """A run folder. `model` is None until training has ended."""

    path: Path
    config: RunConfig
    vocabulary: Vocabulary
    provenance: dict[str, Any]
    model: GainAKT2 | None = None
    spread: Spread | None = None  # `retrospective` only

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.path.name

    def table(self, name: str) -> pd.DataFrame:
        """`history.csv` or `monitor.csv`; empty where it does not exist."""
        path = self.path / name
        return pd.read_csv(path) if path.is_file() else pd.DataFrame()

    def write_table(self, name: str, table: pd.DataFrame) -> None:
        """Write a CSV file whole."""
        write_text(self.path / name, table.to_csv(index=False))

    def write_json(self, name: str, content: Any) -> None:
        """Write a JSON file whole."""
        write_text(self.path / name, json.dumps(content, indent=2, allow_nan=False) + "\n")

    def write_spread(self, spread: Spread) -> None:
        """Keep what validation learners said about the spread of true mastery."""
        self.spread = spread
        self.write_json("spread.json", {"log_concentration": list(spread.weights)})

    def finish(self, model: GainAKT2, checkpoint: str, seconds: float) -> None:
        """Keep the weights of the best epoch and drop Lightning's checkpoint."""
        state = torch.load(checkpoint, map_location="cpu", weights_only=True)["state_dict"]
        weights = {k.removeprefix("model."): v.contiguous() for k, v in state.items()}
        model.load_state_dict(weights)
        save_file(weights, self.path / "model.safetensors")
        shutil.rmtree(self.path / "checkpoints")
        self.provenance["training_seconds"] = round(seconds, 1)
        self.provenance["parameters"] = sum(w.numel() for w in weights.values())
        self.write_json("provenance.json", self.provenance)

    @classmethod
    def load(cls, path: str | Path) -> Run:
        """Read a finished run.

        Raises
        ------
        KTError
            When the folder is no run, or its configuration or weights are damaged.
        """
        path = Path(path)
        for name in ("config.json", "model.safetensors"):
            if not (path / name).is_file():
                raise KTError(f"{path} is not a finished run: it has no {name}")
        saved = _read_json(path / "config.json")
        try:
            saved["config"]["model"].setdefault("evidence", False)  # runs older than the setting
            config = from_dict(saved["config"])
            vocabulary = Vocabulary(tuple(map(str, saved["skills"])), *_items(path))
        except KTError as error:
            raise KTError(f"{path / 'config.json'}: {error}") from None
        except (KeyError, TypeError) as error:
            raise KTError(
                f"{path / 'config.json'}: {error} is missing or of the wrong type"
            ) from None
        model = GainAKT2(config.model, len(vocabulary.skills), vocabulary.item_skill)
        try:
            model.load_state_dict(load_file(path / "model.safetensors"))
        except (SafetensorError, RuntimeError, OSError) as error:
            reason = " ".join(str(error).split())[:200]
            raise KTError(
                f"{path / 'model.safetensors'}: damaged, or of another model ({reason}); "
                "train again, or restore the file"
            ) from None
        provenance = _read_json(path / "provenance.json")
        return cls(path, config, vocabulary, provenance, model.eval(), _spread(path))


@contextlib.contextmanager
def new_run(folder: str | Path, config: RunConfig, splits: Splits) -> Iterator[Run]:
    """A run folder under construction; it takes its name only when the block ends well.

    Raises
    ------
    KTError
        When `folder` exists already or its parent cannot be written.
    """
    folder = Path(folder)
    free_folder(folder)
    partial = folder.parent / f".partial-{folder.name}-{os.getpid()}"
    try:
        partial.mkdir(parents=True)
    except OSError as error:
        raise KTError(
            f"{folder.parent}: cannot be written ({error.strerror}); choose --out"
        ) from None
    run = Run(partial, config, splits.vocabulary, provenance(config, splits.dataset))
    try:
        run.write_json("config.json", {"config": config.to_dict(), **_data_facts(splits)})
        v = splits.vocabulary
        if v.items:
            run.write_table("items.csv", pd.DataFrame({"skill": v.item_skill, "item": v.items}))
        yield run
        partial.rename(folder)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise


def free_folder(folder: Path) -> None:
    """Raise a KTError when a run of that name is there, or nothing can be written there."""
    try:
        there = folder.exists()
        parent = next(p for p in folder.absolute().parents if p.exists())
    except OSError as error:
        raise KTError(
            f"{folder}: cannot be written ({error.strerror}); choose another --out"
        ) from None
    if there:
        raise KTError(f"{folder} exists already; choose another --name or remove it")
    if not parent.is_dir() or not os.access(parent, os.W_OK):
        raise KTError(f"{parent}: cannot be written; choose another --out")


def provenance(config: RunConfig, dataset: Dataset) -> dict[str, Any]:
    """Where a run comes from: versions, commit, data, seed, command, time."""
    return {
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": os.environ.get("KT_COMMAND", " ".join(sys.argv)),
        "seed": config.train.seed,
        "data": dataset.name,
        "data_sha256": data_checksums(dataset),
        "data_notes": dataset.notes,
        "pseudonyms": dataset.pseudonyms,
        "git_commit": git_commit(),
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        "packages": {name: importlib.metadata.version(name) for name in PACKAGES},
    }


def git_commit() -> str:
    """The commit of the code, with `+changes` where the tree differs; empty outside git."""
    here = Path(__file__).parent

    def git(*args: str) -> str:
        done = subprocess.run(["git", *args], cwd=here, capture_output=True, text=True)
        return done.stdout.strip() if done.returncode == 0 else ""

    if shutil.which("git") is None:
        return ""
    commit = git("rev-parse", "HEAD")
    return commit + ("+changes" if commit and git("status", "--porcelain") else "")


def data_checksums(dataset: Dataset) -> dict[str, str]:
    """SHA-256 of each file that was read, or of the table where it was simulated."""
    return dataset.sources or {"table": table_sha256(dataset.table)}


def table_sha256(table: pd.DataFrame) -> str:
    """SHA-256 of a table's values."""
    hashes = pd.util.hash_pandas_object(table, index=False).to_numpy()
    return hashlib.sha256(hashes.tobytes()).hexdigest()


def write_text(path: Path, text: str) -> None:
    """Write a file under another name first, so that it is never half there."""
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)


def _data_facts(splits: Splits) -> dict[str, Any]:
    return {
        "skills": list(splits.vocabulary.skills),
        "inflated": splits.dataset.inflated,
    }


def _items(path: Path) -> tuple[tuple[str, ...], tuple[int, ...]]:
    file = path / "items.csv"
    if not file.is_file():
        return (), ()
    table = pd.read_csv(file, dtype={"item": str}, keep_default_na=False)
    return tuple(table["item"]), tuple(table["skill"].tolist())


def _spread(path: Path) -> Spread | None:
    file = path / "spread.json"
    if not file.is_file():
        return None
    weights = _read_json(file).get("log_concentration")
    if not isinstance(weights, list) or len(weights) != 3:
        raise KTError(f"{file}: three numbers are wanted under log_concentration")
    return Spread(tuple(map(float, weights)))


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise KTError(f"{path}: cannot be read as JSON ({error})") from None
    if not isinstance(content, dict):
        raise KTError(f"{path}: a JSON object is wanted")
    return content
