"""Time cost of the live dashboard: the same training with and without it, alternating.

python benchmarks/dashboard.py [--repeats 3] [--epochs 12]

The pictures are drawn and encoded as in JupyterLab, then discarded.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from unittest.mock import patch

import numpy as np
import torch

from kt_core.config import RunConfig, with_overrides
from kt_core.data import Splits
from kt_core.data.registry import read_splits
from kt_core.notebook import dashboard
from kt_core.presets import preset
from kt_core.training.train import train


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=12)
    args = parser.parse_args()
    overrides = {"train.epochs": args.epochs, "train.progress": False, "data.learners": 6000}
    config = with_overrides(preset("quick"), overrides)
    splits = read_splits(config)
    times: dict[str, list[float]] = {"without": [], "with": []}
    shares = []
    silent = patch("builtins.print"), patch.object(dashboard, "display", lambda shown: None)
    with tempfile.TemporaryDirectory() as folder, silent[0], silent[1]:
        for repeat in range(args.repeats):
            for name, board in (("without", None), ("with", dashboard.Dashboard(config))):
                path = Path(folder) / f"{name}-{repeat}"
                times[name].append(_seconds(config, splits, path, board))
            shares.append(board.seconds_drawing / times["with"][-1])
    ratio = np.median(times["with"]) / np.median(times["without"])
    print(f"{torch.get_num_threads()} threads, median of {args.repeats}: ", end="")
    print(f"{np.median(times['without']):.1f} s without, {np.median(times['with']):.1f} s with")
    print(f"with / without: {ratio:.3f}; drawing takes {np.median(shares):.1%} of the time")


def _seconds(
    config: RunConfig, splits: Splits, path: Path, board: dashboard.Dashboard | None
) -> float:
    boards = [board] if board else []
    return train(config, splits, path, boards).provenance["training_seconds"]


if __name__ == "__main__":
    main()
