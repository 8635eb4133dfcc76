"""Figure of a model next to the best simple one: real data sets, and worlds with a known truth."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from kt_core.plots.style import BLUE, GREY, PAGE, RED, as_text
from kt_core.plots.worlds import RIGHT_SIZE

AHEAD, LEVEL, BEHIND = (BLUE, "o"), (GREY, "s"), (RED, "D")
REAL = {  # panels of real data sets, and what is on their axes
    "test AUC": "AUC, minus simple",
    "prospective validity": "r, minus simple",
    "exam": "r, minus simple",
}
TRAJECTORY, GROWTH = "error of the trajectory", "growth by the truth's"
WORLDS = {  # of worlds
    TRAJECTORY: "RMSE, simple minus ours",
    GROWTH: "mean growth told / true mean growth",
}
WIDE = 5.0  # an interval is cut that is so many times as wide as the usual one
ROOM = 1.5  # of where other intervals reach


def draw_advantages(points: pd.DataFrame) -> Figure:
    """Draw real data sets above worlds, with a panel for each measure that there is.

    Parameters
    ----------
    points : `panel` (a name of `REAL` or `WORLDS`), and the columns of `plot_advantages`.
    """
    there = [[p for p in row if p in set(points["panel"])] for row in (REAL, WORLDS)]
    rows = [row for row in there if row]
    places = [list(dict.fromkeys(points[points["panel"].isin(row)]["place"])) for row in rows]
    heights = [0.9 + 0.17 * len(names) for names in places]
    mosaic = [[panel for panel in row for _ in range(6 // len(row))] for row in rows]
    fig, axes = plt.subplot_mosaic(mosaic, figsize=(PAGE, sum(heights)), height_ratios=heights)
    for row, names in zip(rows, places, strict=True):
        for panel in row:
            part, ax = points[points["panel"] == panel], axes[panel]
            plot_advantages(part, ax, names, panel == GROWTH)
            ax.set(xlabel=(REAL | WORLDS)[panel], title=panel)
            if panel != row[0]:
                ax.set_yticklabels([])
    return fig


def plot_advantages(
    points: pd.DataFrame, ax: Axes, places: Sequence[str] = (), ratio: bool = False
) -> Axes:
    """Draw one row per data set or world, with an interval over learners.

    Colour and mark say whether the interval is above the line, below it, or on both sides. An
    interval that is much wider than the others is cut, with an arrow, and its value is written.

    Parameters
    ----------
    points : `place`, `rung` (the simple model, written next to its row), `value`, `low`, `high`.
    places : the rows, also of what has no point here; those of `points` if empty.
    ratio : 1 is right, as for the size of growth, and a band is right enough; otherwise the values
        are differences, and above 0 is better.
    """
    line = 1 if ratio else 0
    if ratio:
        ax.axvspan(*RIGHT_SIZE, color=GREY, alpha=0.15, linewidth=0)
    ax.axvline(line, color=GREY, linewidth=0.8)
    places = list(places or dict.fromkeys(points["place"]))
    width = points["high"] - points["low"]
    wide, reach = width > WIDE * width.median(), (points[["low", "high"]] - line).abs().max(axis=1)
    far = ROOM * reach[~wide].max() if wide.any() else np.inf
    for row in points.to_dict("records"):
        at, (color, marker) = places.index(row["place"]), _look(row, ratio)
        low, high = (min(max(row[end], line - far), line + far) for end in ("low", "high"))
        ax.plot([low, high], [at, at], color=color, linewidth=1.2)
        for end, given, arrow in ((low, row["low"], "<"), (high, row["high"], ">")):
            if end != given:
                ax.plot(end, at, marker=arrow, color=color, markersize=4, linestyle="none")
        if abs(row["value"] - line) < far:
            ax.plot(row["value"], at, marker=marker, color=color, markersize=4.5, linestyle="none")
        else:
            text = {"ha": "center", "va": "bottom", "fontsize": 6.5, "color": color}
            ax.text((low + high) / 2, at - 0.1, f"{row['value']:+.2f}", **text)
        right = {"xytext": (3, 0), "textcoords": "offset points", "va": "center"}
        end = ax.get_yaxis_transform()
        ax.annotate(row["rung"], (1, at), xycoords=end, fontsize=6.5, **right)
    names = [as_text(str(place).removeprefix("world-")) for place in places]
    ax.set_yticks(range(len(places)), names)
    ax.set_ylim(len(places) - 0.5, -0.5)
    ax.tick_params(axis="y", length=0)
    return ax


def _look(row: dict[str, float], ratio: bool) -> tuple[str, str]:
    if ratio:
        return AHEAD if RIGHT_SIZE[0] <= row["value"] <= RIGHT_SIZE[1] else BEHIND
    if row["low"] > 0:
        return AHEAD
    return BEHIND if row["high"] < 0 else LEVEL
