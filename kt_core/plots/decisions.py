"""Figure of decisions: tasks of a learner against skills passed too early, by policy."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from kt_core.plots.style import GREY, MARKERS, MODELS, PAGE, SKY, arms, as_text, shared_legend

ACROSS = 3  # panels in a row
LOWER = ", lower end"  # of a policy that waits until the interval is above the line
RULES = {"9 of the last 10 right": "s", "3 right in a row": "^"}
CURVE = "oracle, more or less sure"


def draw_decisions(points: pd.DataFrame) -> Figure:
    """Draw a panel per world and draw.

    Parameters
    ----------
    points : result of `kt_core.studies.decisions.points`.
    """
    parts = list(points.groupby(["world", "draw"], sort=False))
    across = min(ACROSS, len(parts))
    down = -(-len(parts) // across)
    wide = PAGE if across > 1 else 0.62 * PAGE
    figure = Figure(figsize=(wide, 2.3 * down + (0.9 if across > 1 else 2.2)), layout="constrained")
    axes = figure.subplots(down, across, squeeze=False, sharey=True)
    several = points["draw"].nunique() > 1
    for ax, ((world, draw), part) in zip(axes.flat, parts, strict=False):
        plot_decisions(part, ax).set_title(as_text(world) + (f", draw {draw}" if several else ""))
    for ax in axes.flat[len(parts) :]:
        ax.set_axis_off()
    for ax in axes[:, 0]:
        ax.set_ylabel("skills passed\nbut not mastered")
    for column in axes.T:
        below = [ax for ax in column if ax.axison][-1]
        below.set_xlabel("tasks per learner")
    shared_legend(figure, columns=4 if across > 1 else 2)
    return figure


def plot_decisions(points: pd.DataFrame, ax: Axes) -> Axes:
    """Draw the policies of one world with their intervals.

    The line joins oracles that pass a skill when they are more or less sure that it is mastered. It
    shows what a world allows; it is not a bound, as other rules may do better when little is asked.
    """
    sure = points["kind"].str.startswith("oracle") & (points["policy"] != "oracle")
    oracles = points[sure].sort_values("tasks")
    ax.plot(oracles["tasks"], oracles["unmastered"], color="black", linewidth=0.8, label=CURVE)
    for row in points[points["kind"] != "oracle's curve"].to_dict("records"):
        bars = {"xerr": arms(row, "tasks"), "yerr": arms(row, "unmastered")}
        place = row["tasks"], row["unmastered"]
        ax.errorbar(*place, **bars, elinewidth=0.6, zorder=4, **_look(row["policy"]))
    ax.set_xlim(left=0)
    ax.set_ylim(-0.03, 1.03)
    ax.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    ax.grid(linewidth=0.3, alpha=0.5)
    return ax


def _look(policy: str) -> dict[str, object]:
    """A model's colour and marker; hollow where the lower end of its interval decides."""
    name, hollow = policy.removesuffix(LOWER), policy.endswith(LOWER)
    color = MODELS.get(name, GREY if name in RULES else "black" if name == "oracle" else SKY)
    marker = RULES.get(name, "*" if name == "oracle" else MARKERS.get(name, "d"))
    size = 11 if name == "oracle" else 5.5
    return {
        "linestyle": "none",
        "color": color,
        "marker": marker,
        "markersize": size,
        "markerfacecolor": "white" if hollow else color,
        "markeredgewidth": 1.0 if hollow else 0.4,
        "markeredgecolor": color if hollow else "white",
        "label": as_text(policy),
    }
