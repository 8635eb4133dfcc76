"""Shapes in signatures are checked in tests: jaxtyping's hook, before kt_core is imported."""

import base64
import logging
import os
import re
import sys
import zlib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import settings
from jaxtyping import install_import_hook

CHECKED = (
    "layers",
    "model",
    "mastery",
    "side_heads",
    "difficulty",
    "encoder",
    "losses",
    "monitor",
    "metrics.invariants",
    "data.batches",
)
install_import_hook([f"kt_core.{name}" for name in CHECKED], "beartype.beartype")

settings.register_profile("kt", deadline=None, max_examples=40)
settings.load_profile("kt")

ROOT = Path(__file__).resolve().parents[1]
DATA = Path(os.environ["KT_DATA_DIR"]) if os.environ.get("KT_DATA_DIR") else None
needs_data = pytest.mark.skipif(DATA is None, reason="KT_DATA_DIR is not set: no real data here")


SECRET = "7f3kq-Wm92xz-one-Lt"  # a key of pseudonyms

WHOLE = (  # files about commands, notebooks, browsers and processes from end to end: minutes each
    *("sweeps", "cli", "browser", "as_shipped", "processes", "resume", "package", "pages"),
    *("robustness_strangers", "robustness_runs", "first_hour", "headless", "pdf", "kernel"),
)
SLOW = (*WHOLE, "benchmark")


def pytest_collection_modifyitems(items):
    """The files that take minutes come first, so that no worker is left alone with one."""
    first = {f"test_{name}": place for place, name in enumerate(SLOW)}
    items.sort(key=lambda item: first.get(item.path.stem, len(SLOW)))
    for item in items:
        if item.path.stem.removeprefix("test_") in WHOLE:
            item.add_marker("whole")


@pytest.fixture(autouse=True)
def quiet_log(monkeypatch):
    """The package's log as at the start: no earlier test's command line decides where it goes."""
    log = logging.getLogger("kt_core")
    monkeypatch.setattr(log, "handlers", [])
    monkeypatch.setattr(log, "propagate", True)
    monkeypatch.setattr(log, "level", logging.NOTSET)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture(scope="session")
def smoke():
    """The smoke preset without a progress bar, and its data."""
    from kt_core.config import with_overrides
    from kt_core.data import load_dataset, make_splits
    from kt_core.presets import preset

    config = with_overrides(preset("smoke"), {"train.progress": False})
    return config, make_splits(load_dataset(config.data), config.data)


@pytest.fixture(scope="session")
def trained(smoke, tmp_path_factory):
    """A finished smoke run."""
    from kt_core.training.train import train

    config, splits = smoke
    return train(config, splits, tmp_path_factory.mktemp("runs") / "trained")


def module_of(function):
    """Where a function was defined, for patches: a room's function may bear its module's name."""
    return sys.modules[function.__module__]


def decoded(path):
    """The text of a file, of the pictures inside it, and of a PDF's streams."""
    content = path.read_bytes()
    parts = [content]
    for code in re.findall(rb"[A-Za-z0-9+/]{200,}={0,2}", content.replace(rb"\n", b"")):
        parts.append(base64.b64decode(code[: len(code) // 4 * 4]))
    for stream in re.findall(rb"stream\r?\n(.*?)endstream", content, re.DOTALL):
        parts.append(zlib.decompressobj().decompress(stream) if stream[:1] == b"x" else stream)
    return b"\n".join(parts).decode("utf-8", "replace")


def sweep_table(seeds=3):
    """The table of a sweep over two modes and some seeds, with made-up numbers."""
    from kt_core.studies import sweeps

    rows = []
    for mode, level in (("retrospective", 0.73), ("cumulative", 0.72)):
        for seed in range(seeds):
            settings = {"cell": f"{mode}{seed}", "dataset": "d", "mode": mode, "seed": seed}
            for name, (table, measure, variant) in sweeps.HEADLINES.items():
                rows.append(
                    settings
                    | {"table": table, "measure": measure, "variant": variant}
                    | {"predictor": "" if table == "violations" or "valid" in name else "model"}
                    | {"sees": "pre", "value": level + 0.001 * seed}
                )
                rows.append(rows[-1] | {"predictor": "skill base rate", "value": 0.5})
    return pd.DataFrame(rows)


def stir(model, scale=0.3):
    """As after training: no weight is small or zero."""
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(scale * torch.randn_like(weight))
    return model.eval()


def states_of(mastery, trajectory, gains, own_gains, logits, skills):
    """States with these values, without a model."""
    from kt_core.states import Encoded, States, asked_next

    encoded, asked = Encoded(skills, skills, gains, gains), asked_next(mastery, skills)
    return States(logits, encoded, asked, mastery, trajectory, gains, own_gains)


def random_batch(B=5, T=12, C=7, seed=0, pad=True):
    """skills, responses, valid; the first sequence is whole, others are cut somewhere."""
    g = torch.Generator().manual_seed(seed)
    skills = torch.randint(0, C, (B, T), generator=g)
    responses = torch.randint(0, 2, (B, T), generator=g)
    lengths = torch.randint(2, T + 1, (B,), generator=g) if pad else torch.full((B,), T)
    lengths[0] = T
    valid = torch.arange(T) < lengths[:, None]
    return skills * valid, responses * valid, valid
