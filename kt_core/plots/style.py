"""One style for all figures, and figure files that are byte-identical in repeated runs."""

from __future__ import annotations

import contextlib
import io
import itertools
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from kt_core.base.files import make_folder, whole

# Okabe and Ito's palette: distinguishable with every common colour vision deficiency.
BLUE, ORANGE, GREEN, RED = "#0072B2", "#E69F00", "#009E73", "#D55E00"
PURPLE, SKY, GREY = "#CC79A7", "#56B4E9", "#7F7F7F"  # its yellow cannot be seen on white
CYCLE = (BLUE, RED, GREEN, PURPLE, ORANGE, SKY, GREY)
# Of skills in several panels: what the cycle has, and further colours that differ from it.
SKILLS = (*CYCLE[:6], "#8C510A", "#332288", "#808000", "#882255", "black")
LINES = ("-", "--", ":")
# A model has the same colour in all figures.
MODES = {
    "retrospective": GREEN,
    "retentive": "#44AA99",
    "cumulative": BLUE,
    "projection": RED,
}
MODELS = MODES | {
    "taught": "#005A32",
    "DKT": ORANGE,
    "SAKT": SKY,
    "simpleKT": "#882255",
    "AKT": "#808000",
    "BKT": PURPLE,
    "PFA": GREY,
    "Best-LR": "black",
    "AFM": "#8C510A",
    "Rasch": "#5E3C99",
    "BKT-correct": "#C51B7D",
}
MARKERS = {  # distinguishable in black and white
    "retrospective": "o",
    "retentive": ">",
    "cumulative": "d",
    "projection": "8",
    "taught": "H",
    "DKT": "s",
    "SAKT": "^",
    "simpleKT": "v",
    "AKT": "<",
    "BKT": "P",
    "PFA": "X",
    "Best-LR": "D",
    "AFM": "p",
    "Rasch": "h",
    "BKT-correct": "*",
}
RIGHT, WRONG = BLUE, RED
DPI = 300  # of PNG files
COLUMN, PAGE = 3.5, 7.2  # inches: one column and full width of a paper
LABELS = {
    "monotonicity": "mastery falls",
    "negative_gains": "negative gains",
    "bounds": "mastery outside [0, 1]",
    "filtered_monotonicity": "filtered mastery falls",
    "rise_in_break": "mastery rises in a break",
    "below_start": "mastery below its start",
    "fall_after_correct": "falls after a right answer",
    "filtered_fall_after_correct": "filtered mastery falls after a right answer",
    "own_mastery": "mastery after the answer",
    "own_gain": "gain",
    "mastery_response_pre": "mastery-response (pre)",
    "prediction_response_pre": "prediction-response (pre)",
    "gain_correctness_post": "gain-correctness (post)",
    "mastery_prediction_post": "mastery-prediction (post)",
}


def use_style() -> None:
    """Set matplotlib's defaults for this project's figures."""
    mpl.rcdefaults()  # a user's matplotlibrc would change the figures
    sns.set_theme(context="paper", style="ticks", palette=CYCLE)
    mpl.rcParams |= {
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.titlesize": 9,
        "axes.titleweight": "bold",
        "axes.titlelocation": "left",
        "figure.constrained_layout.use": True,
        "figure.dpi": 120,
        "font.size": 8,
        "legend.frameon": False,
        "legend.fontsize": 7.5,
        "pdf.fonttype": 42,
        "svg.hashsalt": "kt_core",
        "svg.fonttype": "none",
        "text.usetex": False,
    }


def as_text(name: object, most: int = 48) -> str:
    """Return a name as plain text for a figure, so that nothing in it acts as a command.

    A dollar sign does not start a formula, and a leading underscore does not hide the name from the
    legend. Unprintable characters are replaced, and long names are shortened in the middle.
    """
    text = "".join(c if c.isprintable() else "\ufffd" for c in str(name))
    if len(text) > most:
        text = f"{text[: most // 2]} ... {text[-(most // 3) :]}"
    text = f" {text}" if text.startswith("_") else text
    return text.replace("$", r"\$")


def look_of(names: Iterable[str]) -> dict[str, dict[str, str]]:
    """A colour and a line for each name, so that a skill looks the same in all panels: first every
    colour with a solid line, and then with broken ones."""
    order = list(dict.fromkeys(names))
    looks = [(line, color) for line in LINES for color in SKILLS]
    pairs = zip(order, itertools.cycle(looks))
    return {name: {"color": color, "linestyle": line} for name, (line, color) in pairs}


class _FromOne(MaxNLocator):
    """Whole numbers, of which the first is 1 where they begin there."""

    def tick_values(self, vmin: float, vmax: float) -> np.ndarray:
        ticks = super().tick_values(vmin, vmax)
        if vmin > 1 or vmax < 1:
            return ticks
        room = ticks[1] - ticks[0] if len(ticks) > 1 else 1
        return np.array([1, *ticks[ticks > 1 + 0.55 * room]])


def whole_numbers(ax: Axes, last: float | None = None) -> None:
    """Put the ticks of a count (steps, epochs, opportunities) at whole numbers, the first at 1.

    Parameters
    ----------
    last : the axis goes from 1 to this.
    """
    ax.xaxis.set_major_locator(_FromOne(integer=True, min_n_ticks=1))
    if last is not None:
        room = max(0.6, 0.012 * last)  # for a mark at each end
        ax.set_xlim(1 - room, last + room)


def arms(rows: Any, name: str) -> np.ndarray:
    """Lengths of error bars, [2, n], of `name` in a row or table with `name`_low and `name`_high; 0
    where there is no interval."""
    value, low, high = (np.atleast_1d(rows[n]) for n in (name, f"{name}_low", f"{name}_high"))
    return np.nan_to_num(np.stack([value - low, high - value])).clip(min=0)


def shared_legend(fig: Figure, columns: int = 5) -> None:
    """Draw one legend below all panels of a figure, with each label once."""
    entries = [
        pair for ax in fig.axes for pair in zip(*ax.get_legend_handles_labels(), strict=True)
    ]
    handles = {label: handle for handle, label in entries}
    fig.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=columns)


def save(fig: Figure, folder: str | Path, name: str) -> list[Path]:
    """Write `name`.png (300 dpi), .pdf and .svg without dates, so that files can be compared."""
    folder = make_folder(folder)
    dateless = {"pdf": {"CreationDate": None}, "svg": {"Date": None}, "png": {}}
    paths = []
    with _laid_out(fig):
        for kind, metadata in dateless.items():
            path = folder / f"{name}.{kind}"
            drawn = io.BytesIO()  # a full disk in the middle of a PDF would raise a zlib error
            fig.savefig(drawn, format=kind, dpi=DPI, metadata=metadata)
            with whole(path) as temporary:
                temporary.write_bytes(drawn.getvalue())
            paths.append(path)
    return paths


@contextlib.contextmanager
def _laid_out(fig: Figure) -> Iterator[None]:
    """Compute the layout once for all files, because it takes longer than drawing."""
    engine, dpi = fig.get_layout_engine(), fig.dpi
    try:
        fig.dpi = DPI
        fig.draw_without_rendering()
        with mpl.rc_context({"figure.constrained_layout.use": False}):
            fig.set_layout_engine(None)  # with any engine, each file would be drawn twice
            yield
    finally:
        fig.dpi = dpi
        fig.set_layout_engine(engine)
