"""Where a run comes from: versions, commit, data, seed, command and time."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
import subprocess
import sys
from datetime import UTC, datetime
from typing import Any

import torch

from kt_core import __version__
from kt_core.base.devices import accelerator
from kt_core.base.places import CHECKOUT
from kt_core.config import RunConfig
from kt_core.data import Dataset, Splits
from kt_core.data.table import data_checksums

PACKAGES = ("torch", "lightning", "numpy", "pandas", "scipy", "scikit-learn", "matplotlib")


def provenance(config: RunConfig, dataset: Dataset) -> dict[str, Any]:
    """Where a run comes from: versions, commit, data, seed, command, time."""
    return {
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": os.environ.get("KT_COMMAND", " ".join(sys.argv)),
        "seed": config.train.seed,
        "data": dataset.name,
        "data_sha256": data_checksums(dataset),
        "reading": dataset.note.to_dict(),
        "pseudonyms": dataset.pseudonyms,
        "git_commit": git_commit(),
        "python": platform.python_version(),
        "machine": _machine(config),
        "packages": {"kt-core": __version__}
        | {name: importlib.metadata.version(name) for name in PACKAGES},
    }


def _machine(config: RunConfig) -> str:
    parts = [f"{platform.system()} {platform.machine()}", f"{os.cpu_count()} cores"]
    if accelerator(config.train.accelerator) == "gpu":
        parts.append(torch.cuda.get_device_name())
    return ", ".join(parts)


def git_commit() -> str:
    """The commit of the code, with `+changes` where the tree differs; empty outside a checkout."""

    def git(*args: str) -> str:
        done = subprocess.run(["git", *args], cwd=CHECKOUT, capture_output=True, text=True)
        return done.stdout.strip() if done.returncode == 0 else ""

    if CHECKOUT is None or shutil.which("git") is None:
        return ""
    commit = git("rev-parse", "HEAD")
    return commit + ("+changes" if commit and git("status", "--porcelain") else "")


def data_facts(splits: Splits) -> dict[str, Any]:
    """What config.json holds in addition to the configuration."""
    v = splits.vocabulary
    pairs = zip(v.skills, v.parts, strict=False)  # none where each skill is only itself
    several = {name: [v.skills[i] for i in of] for name, of in pairs if len(of) > 1}
    return {"skills": list(v.skills), "parts": several, "inflated": splits.dataset.inflated}
