"""Figure of models judged in worlds: what each gets wrong, next to what nobody could get right."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes

from kt_core.plots.style import GREY, MARKERS, MODELS, as_text

PANELS = {
    "rmse": "RMSE of the trajectory",
    "growth": "mean growth by the truth's",
}
RIGHT_SIZE = (0.85, 1.15)
CEILING = "ceiling"


def plot_worlds(points: pd.DataFrame, name: str, ax: Axes) -> Axes:
    """Draw one row per world and one mark per model, with intervals over learners.

    `shared_legend` draws the legend.

    Parameters
    ----------
    points : `world`, `model` (or ceiling), and `name`, `name`_low, `name`_high.
    name : `rmse`, or `growth`, with a band where it is of the right size.
    """
    worlds = list(dict.fromkeys(points["world"]))
    models = list(dict.fromkeys(points["model"]))
    if name == "growth":
        ax.axvspan(*RIGHT_SIZE, color=GREY, alpha=0.15, linewidth=0)
        ax.axvline(1, color=GREY, linewidth=0.6)
    for place, world in enumerate(worlds):
        ax.axhline(place + 0.5, color=GREY, linewidth=0.3, alpha=0.5)
        rows = points[(points["world"] == world) & points[name].notna()]
        for row in rows.to_dict("records"):
            model = row["model"]
            at = place + (models.index(model) - (len(models) - 1) / 2) * 0.13
            best = model == CEILING
            ax.plot([row[f"{name}_low"], row[f"{name}_high"]], [at, at], lw=1, color=_color(model))
            style = {"marker": "|" if best else MARKERS.get(model, "s"), "linestyle": "none"}
            style |= {"markersize": 8 if best else 4, "markeredgewidth": 1.6 if best else 0.5}
            ax.plot(row[name], at, color=_color(model), label=as_text(model), **style)
    ax.set_yticks(range(len(worlds)), [as_text(world.removeprefix("world-")) for world in worlds])
    ax.set(ylim=(len(worlds) - 0.5, -0.5), xlabel=PANELS[name])
    ax.tick_params(axis="y", length=0)
    return ax


def _color(model: str) -> str:
    return "black" if model == CEILING else MODELS.get(model, GREY)
