"""A training begun from Python: with a progress bar, in a folder that may be temporary."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from pathlib import Path

from kt_core.base.errors import KTError
from kt_core.base.state import STATE, way_on
from kt_core.config import RunConfig
from kt_core.data import Splits
from kt_core.runs.run import Run


def trained(config: RunConfig, splits: Splits, folder: Path, progress: bool) -> Run:
    """Train and show a progress bar. If the training is interrupted, say how to continue it. The
    state of the caller's random numbers is left as it was."""
    from lightning.pytorch.utilities.seed import isolate_rng  # takes seconds to load

    from kt_core.tracing.progress import Progress
    from kt_core.training.train import train

    try:
        with isolate_rng(), Progress(config.train.epochs, progress) as bar:
            run = train(config, splits, folder, [bar])
    except KeyboardInterrupt:
        if (folder / STATE).is_file():
            raise KeyboardInterrupt(way_on(folder)) from None
        raise
    if run is None:  # of several processes that train together, this is not the first
        raise KTError("several processes train together: start `python -m kt_core train` instead")
    return run


def scratch() -> Path:
    """A new folder that is removed when Python ends."""
    folder = Path(tempfile.mkdtemp(prefix="kt_core-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder
