"""One bar while a model is fitted, in a notebook and in a terminal; nothing in a log file."""

from __future__ import annotations

import sys
from typing import Any

import lightning as L
from IPython import get_ipython
from tqdm.auto import tqdm


class Progress(L.Callback):
    """A bar over epochs that shows the AUC on validation learners.

    Parameters
    ----------
    epochs : at most.
    shown : draw nothing if false.
    """

    shows_training = True  # in place of Lightning's bar and of a printed line per epoch

    def __init__(self, epochs: int, shown: bool):
        watched = sys.stderr.isatty() or hasattr(get_ipython(), "kernel")
        self.bar = tqdm(total=epochs, unit="epoch", disable=not (shown and watched), leave=False)
        self.bar.set_description("preparing")

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.close()

    def on_train_start(self, trainer: L.Trainer, module: Any) -> None:
        """What comes before the first epoch is done."""
        self.bar.set_description("training")

    def on_train_epoch_end(self, trainer: L.Trainer, module: Any) -> None:
        """One epoch more."""
        auc = float(trainer.callback_metrics["valid/auc"])
        self.bar.set_postfix_str(f"validation AUC {auc:.3f}", refresh=False)
        self.bar.update()
