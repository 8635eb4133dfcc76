"""Weights & Biases, optional: asked for by `train.wandb`, missing at the start is an error.

Once training runs, tracking may fail without harm: one warning, and training goes on.
"""

from __future__ import annotations

import importlib.util
from typing import Any

from lightning.pytorch.loggers.logger import Logger

from kt_core.base.errors import KTError
from kt_core.base.log import log
from kt_core.config import RunConfig


class Forgiving(Logger):
    """Passes metrics on to another logger until that fails once."""

    def __init__(self, inner: Logger):
        super().__init__()
        self.inner, self.alive = inner, True

    name = property(lambda self: "forgiving")
    version = property(lambda self: None)

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        """Log, or warn once."""
        self._try("log_metrics", metrics, step)

    def log_hyperparams(self, *args: Any, **kwargs: Any) -> None:
        """Log, or warn once."""
        self._try("log_hyperparams", *args, **kwargs)

    def finalize(self, status: str) -> None:
        """Close the inner logger."""
        self._try("finalize", status)

    def _try(self, method: str, *args: Any, **kwargs: Any) -> None:
        if not self.alive:
            return
        try:
            getattr(self.inner, method)(*args, **kwargs)
        except Exception as error:  # whatever a remote service raises, training must go on
            self.alive = False
            log.warning("tracking failed and is off from here on: %s", error)


def tracker(config: RunConfig) -> Logger | bool:
    """The logger for `train.wandb`, or False.

    Raises
    ------
    KTError
        When tracking is asked for and the extra is not installed.
    """
    if not config.train.wandb:
        return False
    if importlib.util.find_spec("wandb") is None:
        raise KTError("train.wandb is on, but wandb is not installed: pip install 'kt-core[wandb]'")
    from lightning.pytorch.loggers import WandbLogger

    logger = Forgiving(WandbLogger(project="kt-core"))
    logger.log_hyperparams(config.to_dict())
    return logger
