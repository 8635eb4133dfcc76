"""Figures of a score held against others: a ladder of dots and intervals, and a scatter plot."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from kt_core.plots.style import BLUE, GREY, PAGE, as_text

PANELS = {  # measure and variant of `Measures.exam`: title
    ("exam, skills asked", "pooled"): "Over learners",
    ("exam, learner x skill, practised", "within_skill"): "Within practised skills",
    ("exam, learner x skill, new", "within_skill"): "Within new skills",
}
COLORS = {"model": BLUE, "own": BLUE, "rung": GREY}  # what the model says, and what others do
MOST_DOTS = 3000  # more of them hide each other


def plot_ladder(
    table: pd.DataFrame, ax: Axes, quantity: str = "Pearson r", order: tuple[str, ...] = ()
) -> Axes:
    """Draw the model above the rungs of the ladder, each with its interval and value.

    Parameters
    ----------
    table : rows of one measure and variant of `kt_core.metrics.paired.paired_table`.
    quantity : the name of the axis.
    order : names of the rows from top to bottom; as in the table if empty.
    """
    rows = table[table["value"].notna()].to_dict("records")
    order = order or tuple(row["predictor"] for row in rows)
    for row in rows:
        place, color = order.index(row["predictor"]), COLORS[row["kind"]]
        if row["kind"] == "model":
            ax.axvline(row["value"], color=BLUE, linewidth=0.6, linestyle=":", zorder=0)
        ax.plot([row["low"], row["high"]], [place, place], color=color, linewidth=1.6)
        ax.plot(row["value"], place, "o", color=color, markersize=4.5, zorder=4)
        text = {"ha": "center", "fontsize": 6.5, "color": color, "textcoords": "offset points"}
        text["bbox"] = {"fc": "white", "ec": "none", "pad": 0.3}
        ax.annotate(f"{row['value']:.2f}", (row["value"], place), (0, 4.5), **text)
    ax.set_yticks(range(len(order)), [as_text(name) for name in order])
    ax.set(ylim=(len(order) - 0.5, -0.7), xlabel=quantity)
    return ax


def plot_exam(table: pd.DataFrame, axes: Sequence[Axes]) -> Sequence[Axes]:
    """Draw the model and the ladder in the exam, on three axes that share their scales: over
    learners, and within skills that were practised before it or are new. Axes for which there are
    no answers stay empty.

    Parameters
    ----------
    table : `Measures.exam`.
    """
    keyed = table.set_index(["measure", "variant"])
    parts = [keyed.loc[[key]] if key in keyed.index else table[:0] for key in PANELS]
    names = dict.fromkeys(n for p in parts for n in p.loc[p["value"].notna(), "predictor"])
    order = tuple(name for name in dict.fromkeys(table["predictor"]) if name in names)
    for ax, part, title in zip(axes, parts, PANELS.values(), strict=True):
        plot_ladder(part, ax, order=order).set_title(title)
    return axes


def plot_criterion(table: pd.DataFrame, summary: str, ax: Axes) -> Axes:
    """Draw mastery against a score from outside, one dot per learner.

    The means of tenths of the learners, in the order of their mastery, show the trend. Scores of 0
    and 1 are spread a little, so that dots do not hide each other.

    Parameters
    ----------
    table : `score` and the column `summary` of mastery, one row per learner; of more than 3,000, so
        many are drawn at random.
    """
    rng, most = np.random.default_rng(0), min(len(table), MOST_DOTS)
    shown = table.sample(most, random_state=0)
    binary = set(table["score"].unique()) <= {0, 1}
    spread = rng.uniform(-0.06, 0.06, most) if binary else 0.0
    ax.plot(shown[summary], shown["score"] + spread, ".", color=GREY, alpha=0.4, markersize=3.5)
    tenth = 10 * (table[summary].rank(method="first") - 1) // len(table)
    mean = table.groupby(tenth)[[summary, "score"]].mean()
    error = table.groupby(tenth)["score"].sem()
    ends = {"elinewidth": 1.4, "capsize": 2}
    ax.errorbar(mean[summary], mean["score"], error, color=BLUE, marker="o", markersize=3.5, **ends)
    ax.plot([], [], ".", color=GREY, label="a learner")
    ax.plot([], [], "o-", color=BLUE, markersize=3.5, label="mean of a tenth, with standard error")
    if binary:
        ax.set_yticks([0, 1])
    ax.set(xlabel=f"mastery, {summary}", ylabel="score")
    ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2)
    return ax


def draw_criterion(
    learners: pd.DataFrame, summary: str, rows: pd.DataFrame, who: str = "learners"
) -> Figure:
    """Draw mastery against a score next to the ladder.

    Parameters
    ----------
    learners, summary : as in `plot_criterion`.
    rows : of the same learners and one measure, as in `plot_ladder`, with the measure's name.
    who : what these learners are called.
    """
    figure = Figure(figsize=(PAGE, 2.8), layout="constrained")
    left, right = figure.subplots(1, 2)
    plot_criterion(learners, summary, left)
    plot_ladder(rows, right, f"{rows['measure'].iloc[0]}, 95 % over {len(learners):,} {who}")
    return figure
