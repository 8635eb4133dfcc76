"""Figures of practice: learning curves by skill, answers after breaks, mastery before and after."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from kt_core.plots.style import (
    BLUE,
    CYCLE,
    GREY,
    ORANGE,
    PAGE,
    RED,
    as_text,
    shared_legend,
    whole_numbers,
)

ACROSS = 4  # panels in a row
MOST_DOTS = 3000  # more of them hide each other
STARTS = {"low": RED, "middle": GREY, "high": BLUE}
UNITS = {
    "steps": "answers on other skills since the last on this one",
    "days": "time since the last answer on this skill",
    "breaks": "time since the last answer on this skill (median gaps)",
}


def draw_skill_curves(curves: pd.DataFrame) -> Figure:
    """Draw a panel per skill.

    Parameters
    ----------
    curves : result of `kt_core.learners.curves.skill_curves`.
    """
    parts = list(curves.groupby("skill", sort=False))
    across = min(ACROSS, max(len(parts), 1))
    down = max(-(-len(parts) // across), 1)
    figure = Figure(figsize=(PAGE, 1.55 * down + 0.7), layout="constrained")
    axes = figure.subplots(down, across, squeeze=False, sharex=True, sharey=True)
    for ax, (skill, part) in zip(axes.flat, parts, strict=False):
        plot_skill_curve(part, ax).set_title(as_text(skill, 24), fontsize=7.5)
    for ax in axes.flat[len(parts) :]:
        ax.set_axis_off()
    for column in axes.T:
        below = [ax for ax in column if ax.axison][-1]
        below.set_xlabel("opportunity", fontsize=7.5)
        below.tick_params(labelbottom=True)
    figure.supylabel("share right", fontsize=8)
    shared_legend(figure)
    return figure


def plot_skill_curve(curve: pd.DataFrame, ax: Axes) -> Axes:
    """Draw one skill's observed shares right with their intervals, and the fitted curve."""
    x = curve["opportunity"]
    ax.fill_between(x, curve["low"], curve["high"], color=GREY, alpha=0.25, lw=0, label="95 %")
    ax.plot(x, curve["observed"], "o", color="black", markersize=2.5, label="observed")
    ax.plot(x, curve["predicted"], color=BLUE, label="fitted by the model")
    mastery = {"color": CYCLE[2], "linestyle": "--", "linewidth": 1}
    ax.plot(x, curve["mastery"], label="mastery before the answer", **mastery)
    whole_numbers(ax)
    ax.tick_params(labelsize=6.5)
    ax.set_ylim(0, 1.02)
    return ax


def plot_after_breaks(table: pd.DataFrame, ax: Axes) -> Axes:
    """Draw observed minus predicted share right by the length of the break.

    Parameters
    ----------
    table : rows of one `by` of `kt_core.learners.curves.after_breaks`.
    """
    x = np.arange(len(table))
    ends = np.nan_to_num(
        np.abs(table[["low", "high"]].to_numpy().T - table["difference"].to_numpy())
    )
    ax.axhline(0, color=GREY, linewidth=0.8, zorder=0)
    ax.errorbar(x, table["difference"], ends, fmt="o-", color=BLUE, markersize=4, linewidth=1)
    counts = [f"{gap}\n{n:,}" for gap, n in zip(table["gap"], table["answers"], strict=True)]
    ax.set_xticks(x, counts, fontsize=6.5)
    ax.margins(x=0.08)
    ax.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    by = table["by"].iloc[0] if len(table) else "steps"
    ax.set(
        xlabel=f"{UNITS[by]}\n(below: number of answers)",
        ylabel="observed minus\npredicted share right",
    )
    return ax


def plot_before_after(pairs: pd.DataFrame, axes: Sequence[Axes], most: int = 20) -> Sequence[Axes]:
    """Draw mastery after practice against mastery before, and who gained on which skill.

    Parameters
    ----------
    pairs : result of `kt_core.learners.curves.before_and_after`.
    axes : two axes, side by side.
    most : number of skills on the right, the most practised.
    """
    left, right = axes
    shown = pairs.sample(min(len(pairs), MOST_DOTS), random_state=0)
    left.plot([0, 1], [0, 1], color=GREY, linestyle="--", linewidth=0.9)
    left.plot(shown["before"], shown["after"], ".", color=BLUE, alpha=0.3, markersize=4, mew=0)
    tenth = (10 * pairs["before"].rank(method="first", pct=True)).clip(0.001).apply(np.ceil)
    mean = pairs.groupby(tenth)[["before", "after"]].mean()
    left.plot(mean["before"], mean["after"], "o-", color=ORANGE, markersize=3.5)
    left.set(xlim=(0, 1), ylim=(0, 1.02), aspect="equal")
    left.set(xlabel="mastery before the first answer", ylabel="mastery after the last answer")
    top = pairs.groupby("skill")["answers"].sum().sort_values(ascending=False).index[:most]
    means = pairs[pairs["skill"].isin(top)].groupby(["skill", "start"])[["before", "after"]].mean()
    rise = (means["after"] - means["before"]).groupby("skill").max()
    order = list(rise.sort_values().index)
    for (skill, start), row in means.iterrows():
        y = order.index(skill) + {"low": 0.22, "middle": 0.0, "high": -0.22}[start]
        look = {"arrowstyle": "-|>,head_width=0.12,head_length=0.25", "color": STARTS[start]}
        ends = {"xy": (row["after"], y), "xytext": (row["before"], y)}
        right.annotate("", arrowprops=look | {"shrinkA": 0, "shrinkB": 0, "lw": 1.1}, **ends)
    for start, color in STARTS.items():
        right.plot([], [], color=color, label=f"{start} third")
    right.set_yticks(range(len(order)), map(as_text, order), fontsize=6.5)
    right.set(xlim=(0, 1.02), ylim=(-0.7, len(order) - 0.3), xlabel="mean mastery, before to after")
    right.legend(title="by mastery before", title_fontsize=6.5, fontsize=6.5, loc="lower left")
    return axes
