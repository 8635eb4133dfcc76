"""Weights & Biases, optional (`train.wandb`). If it is not installed, training does not start.

If tracking fails later, there is one warning, and training continues.
"""

from __future__ import annotations

import importlib.util
from typing import Any

from lightning.pytorch.loggers.logger import Logger

from kt_core.base.errors import KTError
from kt_core.base.log import log
from kt_core.config import RunConfig


class Forgiving(Logger):
    """Passes metrics to another logger until that logger fails."""

    def __init__(self, inner: Logger):
        super().__init__()
        self.inner, self.alive = inner, True

    name = property(lambda self: "forgiving")
    version = property(lambda self: None)

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        """Log; on failure, warn once."""
        self._try("log_metrics", metrics, step)

    def log_hyperparams(self, *args: Any, **kwargs: Any) -> None:
        """Log; on failure, warn once."""
        self._try("log_hyperparams", *args, **kwargs)

    def finalize(self, status: str) -> None:
        """Close the inner logger."""
        self._try("finalize", status)

    def _try(self, method: str, *args: Any, **kwargs: Any) -> None:
        if not self.alive:
            return
        try:
            getattr(self.inner, method)(*args, **kwargs)
        except Exception as error:  # a remote service must not stop training
            self.alive = False
            log.warning("tracking failed and is now off: %s", error)


def tracker(config: RunConfig) -> Logger | bool:
    """The logger for `train.wandb`, or False.

    Raises
    ------
    KTError
        When tracking is requested and the extra is not installed.
    """
    if not config.train.wandb:
        return False
    if importlib.util.find_spec("wandb") is None:
        raise KTError("train.wandb is on, but wandb is not installed: pip install 'kt-core[wandb]'")
    from lightning.pytorch.loggers import WandbLogger

    logger = Forgiving(WandbLogger(project="kt-core"))
    logger.log_hyperparams(config.to_dict())
    return logger
