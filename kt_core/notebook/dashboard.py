"""A live dashboard for JupyterLab while a model trains, with a stop button.

The figure is drawn between two batches: its curves every few seconds, over a kept picture of all
the rest, which is drawn again after a while, or as soon as it may where curves have left their
axes.

Training runs in a thread that the notebook's cell awaits, so that the kernel can react to the
button (ipykernel 7.4 handles widgets while a cell awaits; 7.0 to 7.3 do so in a thread).
"""

from __future__ import annotations

import asyncio
import io
import threading
import time
from collections.abc import Callable
from typing import Any

import ipywidgets as widgets
import lightning as L
import pandas as pd
from IPython.display import DisplayHandle, Image, display
from matplotlib import image
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from kt_core.config import RunConfig, TargetConfig
from kt_core.monitor import Monitor
from kt_core.plots.style import PAGE
from kt_core.plots.training import continue_curves, curves_of, draw_training
from kt_core.training.train import History

SHARE = 0.01  # of training time that whole pictures take
MOST = 0.023  # of training time that is spent on drawing when a curve has left its axes
SECONDS = 1.0  # between two updates of the progress line, at least
RENEWED = 4.0  # seconds between two updates of the curves
MOST_ROOM = 3.0  # of what there is, for what comes before the axes are drawn again
MARGIN = 0.25  # of the height of curves, above and below them


class Picture:
    """The figure of a training, of which the curves can be drawn alone."""

    def __init__(self, targets: TargetConfig):
        self.targets = targets
        self.epochs = False  # whether it has an epoch to show
        self.fits = True  # whether all curves lie within their axes

    def whole(self, history: pd.DataFrame, monitor: pd.DataFrame, room: float = 1.0) -> bytes:
        """Draw everything, as PNG.

        Parameters
        ----------
        room : how far the axes of steps and epochs go, as a multiple of what there is.
        """
        figure = Figure(figsize=(PAGE * 1.35, 6.4), dpi=100, layout="none")  # drawn twice as fast
        figure.subplots_adjust(0.07, 0.21, 0.93, 0.93, wspace=0.5, hspace=0.5)
        self._canvas = FigureCanvasAgg(figure)
        draw_training(history, monitor, self.targets, figure)
        self._curves, self.epochs = curves_of(figure), not history.empty
        for curve in self._curves:
            curve.set_animated(True)  # not among what is kept
        if room > 1:
            ends = [ax.get_xlim()[1] for ax in figure.axes]  # some axes are shared
            for ax, end in zip(figure.axes, ends, strict=True):
                ax.set_xlim(right=room * end)
                ax.margins(y=max(MARGIN, ax.margins()[1]))  # where the axis has no fixed limits
        self.fits = True
        self._canvas.draw()
        self._kept = self._canvas.copy_from_bbox(figure.bbox)
        return self._with_curves()

    def renewed(self, history: pd.DataFrame, monitor: pd.DataFrame) -> bytes:
        """Draw the curves that the last whole picture has, as far as they go now."""
        self.fits = continue_curves(self._curves, history, monitor)
        self._canvas.restore_region(self._kept)
        return self._with_curves()

    def _with_curves(self) -> bytes:
        for curve in self._curves:
            curve.axes.draw_artist(curve)
        written = io.BytesIO()
        fast = {"compress_level": 1}
        image.imsave(written, self._canvas.buffer_rgba(), format="png", pil_kwargs=fast)
        return written.getvalue()


class Dashboard(L.Callback):
    """Lightning callback that shows the progress of training; it draws no random numbers.

    Attributes
    ----------
    shows_training : in place of the progress bar and the printed lines.
    stopping : whether the stop button was pressed.
    seconds_drawing : time spent on the display so far.
    """

    shows_training = True

    def __init__(self, config: RunConfig):
        self.config = config
        self.history: list[dict[str, float]] = []
        self.monitor: list[dict[str, float]] = []
        self.seconds_drawing = 0.0
        self._stop = threading.Event()
        self._started = self._told = self._drawn = self._renewed = 0.0
        self._whole, self._cost = 0, 0.0  # whole pictures so far, and the seconds of the last one
        self._picture = Picture(config.targets)
        self._button = widgets.Button(
            description="Stop and keep the best", icon="stop", button_style="warning"
        )
        self._button.layout.width = "17em"
        self._button.on_click(lambda _: self.stop())
        self._bar = widgets.FloatProgress(value=0.0, min=0.0, max=1.0)
        self._line = widgets.Label("starting ...")
        self._handle = DisplayHandle()

    @property
    def stopping(self) -> bool:
        return self._stop.is_set()

    def stop(self) -> None:
        """End training after the current batch and one last validation."""
        self._stop.set()
        self._button.disabled = True
        self._button.description = "Stopping ..."

    async def watch(self, work: Callable[..., Any], *args: Any, **more: Any) -> Any:
        """Run `work` with these arguments and this callback in a thread. An interrupt of the cell
        stops training like the button, and the cell then ends as interrupted."""
        running = asyncio.ensure_future(asyncio.to_thread(work, *args, [self], **more))
        try:
            return await asyncio.shield(running)
        except asyncio.CancelledError:
            self.stop()
            await running
            raise

    def on_train_start(self, trainer: L.Trainer, module: Any) -> None:
        """Find the rows to which training and monitor append, and show the controls; the figure
        follows when there is something to show."""
        for callback in trainer.callbacks:
            if isinstance(callback, History):
                self.history = callback.rows
            elif isinstance(callback, Monitor):
                self.monitor = callback.rows
        self._started = self._drawn = time.perf_counter()
        self._first = trainer.global_step  # above 0 in a training that is resumed
        display(widgets.HBox([self._button, self._bar, self._line]))

    def on_train_batch_end(
        self, trainer: L.Trainer, module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Show the time left, draw if it is time to, and obey the stop button."""
        now = time.perf_counter()
        if self.stopping:
            trainer.should_stop = True
        if now - self._told > SECONDS:
            self._tell(trainer, now)
        first_epoch = self._whole and self.history and not self._picture.epochs
        if first_epoch or (self.monitor and self._is_due(now)):
            self._draw(now - self._started)
        elif self._whole and now - self._renewed > RENEWED:
            self._renew()

    def on_train_end(self, trainer: L.Trainer, module: Any) -> None:
        """Draw the last figure, which stays."""
        self._draw()
        self._bar.value = 1.0
        self._button.layout.display = "none"
        best = max(row["valid/auc"] for row in self.history)
        ended = "stopped by hand" if self.stopping else "done"
        minutes = (time.perf_counter() - self._started) / 60
        self._line.value = (
            f"{ended} after {len(self.history)} epochs, {minutes:.1f} min; "
            f"best validation AUC {best:.4f}"
        )

    def _tell(self, trainer: L.Trainer, now: float) -> None:
        total = max(int(trainer.estimated_stepping_batches), 1)
        done = trainer.global_step
        left = (now - self._started) * (total - done) / max(done - self._first, 1)
        self._bar.value = done / total
        best = max((row["valid/auc"] for row in self.history), default=float("nan"))
        auc = f"best validation AUC {best:.4f}, " if self.history else ""
        self._line.value = (
            f"epoch {trainer.current_epoch + 1} of {trainer.max_epochs}, {auc}"
            f"at most {clock(left)} left"
        )
        self._told = time.perf_counter()
        self.seconds_drawing += self._told - now

    def _draw(self, since: float = 0.0) -> None:
        """Draw the whole figure. `since` is how long a training has run that goes on: then there is
        room on the axes for what comes until the next figure."""
        begun = time.perf_counter()
        show = self._handle.update if self._whole else self._handle.display
        self._whole += 1
        room = min(1 + self._pause / since, MOST_ROOM) if since else 1.0
        show(Image(self._picture.whole(*self._rows(), room)))
        self._drawn = self._renewed = time.perf_counter()
        self._cost = self._drawn - begun
        self.seconds_drawing += self._cost

    @property
    def _pause(self) -> float:
        """Seconds from the last whole picture to the next one. The first also loads fonts, so the
        cost of one is known only from the second on."""
        first = (2 * SECONDS, 6 * SECONDS)
        if self._whole < len(first):
            return first[self._whole]
        return max(self._cost / SHARE, 2 * SECONDS)

    def _is_due(self, now: float) -> bool:
        """Whether a whole picture is."""
        if self._picture.fits or self._whole < 2:
            return now - self._drawn > self._pause
        return self.seconds_drawing + self._cost < MOST * (now - self._started)

    def _renew(self) -> None:
        begun = time.perf_counter()
        self._handle.update(Image(self._picture.renewed(*self._rows())))
        self._renewed = time.perf_counter()
        self.seconds_drawing += self._renewed - begun

    def _rows(self) -> tuple[pd.DataFrame, pd.DataFrame]:
        return pd.DataFrame(self.history), pd.DataFrame(self.monitor)


def clock(seconds: float) -> str:
    """A duration as text: 50 s, 3 min, 2 h 5 min."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"
