"""Trainings from the command line: new or resumed, in a notebook or in several processes."""

from __future__ import annotations

import argparse
from pathlib import Path

from kt_core.base import processes
from kt_core.base.errors import KTError
from kt_core.base.state import free_folder
from kt_core.cli.arguments import configured, overrides_of, settings_given
from kt_core.config import RunConfig
from kt_core.data.registry import read_splits
from kt_core.data.saved import read_configuration
from kt_core.notebook.kernel import Kernel
from kt_core.notebook.trainings import train_in_notebook
from kt_core.presets import USUAL
from kt_core.runs.find import run_folder
from kt_core.runs.resume import half_run


def train(args: argparse.Namespace, kernel: Kernel | None = None) -> Path:
    """Train as `run` and `train` were told, or resume a half-run; return the run folder.

    Parameters
    ----------
    kernel : where the notebook runs; without, in one of its own.

    Raises
    ------
    KTError
        For options that exclude each other, and as of `train_in_notebook`, as are the others.
    """
    if args.resume:
        return _resume(args, kernel)
    if args.end:
        raise KTError("--end goes with --resume: name the training that should end")
    config = configured(args)
    folder = run_folder(config, args.name, args.out).absolute()
    if not processes.rank():  # the other processes may come after the first has made it
        free_folder(folder)
    if processes.world() > 1:
        return _train_together(config, folder)
    parameters = {
        "preset": args.preset or USUAL,
        "dataset": args.dataset,
        "data_path": str(Path(args.data).absolute()) if args.data else "",
        "mode": args.mode,
        "seed": config.train.seed,
        "fold": config.data.fold,
        "name": folder.name,
        "out": str(folder.parent),
        "overrides": overrides_of(args),
    }
    return train_in_notebook(folder, parameters, kernel)


def _resume(args: argparse.Namespace, kernel: Kernel | None) -> Path:
    folder = Path(args.resume).absolute()
    config = read_configuration(folder)[0] if processes.rank() else half_run(folder)
    if given := settings_given(args):
        raise KTError(f"--resume uses the run's own settings: leave out {', '.join(given)}")
    if processes.world() > 1:
        return _train_together(config, folder, resume=True, end=args.end)
    return train_in_notebook(folder, {"resume": str(folder), "end": args.end}, kernel)


def _train_together(
    config: RunConfig, folder: Path, resume: bool = False, end: bool = False
) -> Path:
    """Train without a notebook, as one of several processes started by torchrun or SLURM."""
    from kt_core.training.train import train  # takes seconds to load

    train(config, read_splits(config), folder, resume=resume, end=end)
    return folder
