"""Figures of a score held against others: a ladder of dots and intervals, and a scatter plot."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from kt_core.plots.style import BLUE, GREY, RED, as_text

MOST_DOTS = 3000  # a denser cloud hides its own shape


def plot_ladder(table: pd.DataFrame, ax: Axes, quantity: str = "Pearson r") -> Axes:
    """Draw the model above the rungs of the ladder, each with its interval and value.

    Parameters
    ----------
    table : rows of one measure and variant of `kt_core.metrics.paired.paired_table`.
    quantity : the name of the axis.
    """
    rows = table[table["value"].notna()].to_dict("records")
    for place, row in enumerate(rows):
        color = BLUE if row["kind"] == "model" else GREY
        ax.plot([row["low"], row["high"]], [place, place], color=color, linewidth=1.6)
        ax.plot(row["value"], place, "o", color=color, markersize=4.5)
        ax.annotate(
            f"{row['value']:.2f}",
            (row["value"], place),
            (0, 4),
            textcoords="offset points",
            ha="center",
            fontsize=6.5,
            color=color,
        )
    for row in rows[:1]:
        ax.axvline(row["value"], color=BLUE, linewidth=0.6, linestyle=":", zorder=0)
    ax.set_yticks(range(len(rows)), [as_text(row["predictor"]) for row in rows])
    ax.set(ylim=(len(rows) - 0.5, -0.7), xlabel=f"{quantity}, 95 % over learners")
    return ax


def plot_criterion(table: pd.DataFrame, ax: Axes, scale: str = "score") -> Axes:
    """Draw mastery against a score from outside, one dot per learner.

    A line of means over tenths of the learners, in the order of their mastery, shows the trend with
    its standard errors. Scores of 0 and 1 are spread a little, so that the dots can be seen.

    Parameters
    ----------
    table : `mastery` and `score`, one row per learner; of more than 3,000, so many are drawn.
    """
    rng = np.random.default_rng(0)
    table = table.dropna(subset=["mastery", "score"])
    shown = table.sample(min(len(table), MOST_DOTS), random_state=0)
    binary = set(table["score"].unique()) <= {0, 1}
    spread = rng.uniform(-0.06, 0.06, len(shown)) if binary else 0.0
    ax.plot(shown["mastery"], shown["score"] + spread, ".", color=GREY, alpha=0.35, markersize=3.5)
    ranks = table["mastery"].rank(method="first")
    tenths = table.groupby(np.minimum((10 * (ranks - 1) // len(table)), 9))
    mean, error = tenths[["mastery", "score"]].mean(), tenths["score"].sem()
    ax.errorbar(mean["mastery"], mean["score"], error, color=BLUE, marker="o", markersize=3.5)
    ax.plot([], [], ".", color=GREY, label="a learner")
    ax.plot([], [], "o-", color=BLUE, markersize=3.5, label="mean of a tenth, ± standard error")
    if binary:
        ax.set_yticks([0, 1])
        ax.axhline(table["score"].mean(), color=RED, linewidth=0.6, linestyle=":", zorder=0)
    ax.set(xlabel="mastery at the end of the history, mean over all skills", ylabel=as_text(scale))
    ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2)
    return ax
