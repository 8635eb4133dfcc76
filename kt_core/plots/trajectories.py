"""Figures of one learner's mastery over steps, and of groups of learners."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import PercentFormatter

from kt_core.base.values import counted, whole_number
from kt_core.plots.style import (
    BLUE,
    CYCLE,
    GREY,
    RIGHT,
    WRONG,
    as_text,
    look_of,
    whole_numbers,
)


def plot_learner(
    learner: pd.DataFrame,
    ax: Axes,
    most: int = 6,
    looks: dict[str, dict[str, str]] | None = None,
) -> Axes:
    """Draw mastery of the practised skills over steps, with filled (right) and open (wrong) marks.

    Parameters
    ----------
    learner : columns `step`, `skill` (name), `mastery`, `asked`, `correct`: every practised skill
        at every step, `correct` only where `asked`.
    most : number of skills drawn, the most practised first; the others are left out.
    looks : of `kt_core.plots.look_of`, where several figures share them.
    """
    most = whole_number("skills shown", most, 1)
    order = practised(learner)
    looks = looks or look_of(order[:most])
    for skill in order[:most]:
        color, style = looks[skill]["color"], looks[skill]
        line = learner[learner["skill"] == skill]
        marks = line[line["asked"]]
        right = marks["correct"] == 1
        ax.plot(line["step"], line["mastery"], linewidth=1.2, label=as_text(skill), **style)
        ax.plot(marks["step"][right], marks["mastery"][right], "o", color=color, markersize=4)
        ax.plot(
            marks["step"][~right],
            marks["mastery"][~right],
            "o",
            color=color,
            markersize=4,
            markerfacecolor="white",
        )
    ax.plot([], [], "o", color="black", markersize=4, label="right")
    ax.plot([], [], "o", color="black", markerfacecolor="white", markersize=4, label="wrong")
    left_out = len(order) - min(most, len(order))
    title = f"{counted('more skill', left_out)} not shown" if left_out else None
    place = {"loc": "upper left", "bbox_to_anchor": (1, 1), "alignment": "left"}
    ax.legend(fontsize=6.5, title=title, title_fontsize=6.5, **place)
    low, high = ax.get_ylim()
    whole_numbers(ax, learner["step"].max())
    ax.set(xlabel="step", ylabel="mastery", ylim=(min(0, low), max(1.02, high)))
    return ax


def practised(learner: pd.DataFrame) -> list[str]:
    """The skills of a learner's frame, the most practised first."""
    return list(learner.loc[learner["asked"], "skill"].value_counts(sort=True).index)


def plot_heatmap(learner: pd.DataFrame, ax: Axes, most: int = 25) -> Axes:
    """Draw skill by step, coloured by mastery, with a mark for each answer."""
    asked = learner[learner["asked"]]
    order = asked.groupby("skill")["step"].min().sort_values().index[:most]
    grid = learner.pivot(index="skill", columns="step", values="mastery").loc[order]
    image = ax.imshow(
        grid,
        aspect="auto",
        cmap="YlGnBu",
        vmin=0,
        vmax=1,
        interpolation="nearest",
        extent=(grid.columns[0] - 0.5, grid.columns[-1] + 0.5, len(order) - 0.5, -0.5),
    )
    row = {skill: i for i, skill in enumerate(order)}
    shown = asked[asked["skill"].isin(order)]
    y, right = shown["skill"].map(row), shown["correct"] == 1
    mark = {"markersize": 3.5, "markeredgewidth": 0.7, "linestyle": ""}  # legible on any mastery
    for given, fill, edge in ((right, "black", "white"), (~right, "white", "black")):
        x = shown["step"][given]
        ax.plot(x, y[given], "o", markerfacecolor=fill, markeredgecolor=edge, **mark)
    ax.set_yticks(range(len(order)), map(as_text, order))
    whole_numbers(ax)
    ax.set(xlabel="step (filled: right answer, open: wrong)", ylabel="skill")
    ax.figure.colorbar(image, ax=ax, label="mastery", shrink=0.8)
    return ax


def plot_gains(learner: pd.DataFrame, ax: Axes) -> Axes:
    """Draw the gain of the asked skill at each step, coloured by the answer."""
    asked = learner[learner["asked"]]
    for value, color, label in ((1, RIGHT, "right answer"), (0, WRONG, "wrong answer")):
        part = asked[asked["correct"] == value]
        ax.bar(part["step"], part["gain"], color=color, width=0.9, label=label)
    ax.axhline(0, color="black", linewidth=0.6)
    whole_numbers(ax, learner["step"].max())
    ax.set(xlabel="step", ylabel="gain of the asked skill")
    ax.legend(loc="upper left", bbox_to_anchor=(1, 1), fontsize=6.5)
    return ax


def plot_mastery_distribution(final: pd.DataFrame, ax: Axes) -> Axes:
    """Draw final mastery of the learners who practised each skill: median, quartiles, 5 to 95 %.

    Parameters
    ----------
    final : columns `skill` (name), `mastery`; one row per learner and skill.
    """
    groups = final.groupby("skill", sort=False)["mastery"]
    order = groups.median().sort_values().index
    parts = [groups.get_group(skill).to_numpy() for skill in order]
    ax.boxplot(
        parts,
        orientation="horizontal",
        whis=(5, 95),
        showfliers=False,
        widths=0.65,
        patch_artist=True,
        boxprops={"facecolor": BLUE, "alpha": 0.35, "edgecolor": BLUE},
        medianprops={"color": BLUE},
        whiskerprops={"color": BLUE},
        capprops={"color": BLUE},
    )
    names = [f"{as_text(s)} (n={len(p)})" for s, p in zip(order, parts, strict=True)]
    ax.set_yticks(range(1, len(order) + 1), names)
    low, high = ax.get_xlim()
    ax.set(xlabel="mastery after the last step", xlim=(min(0, low), max(1, high)))
    return ax


def plot_learning_curves(curves: pd.DataFrame, ax: Axes) -> Axes:
    """Draw observed share correct, predicted share correct and mastery by opportunity.

    Parameters
    ----------
    curves : columns `opportunity`, `observed`, `low`, `high`, `predicted`, `mastery`, `answers`.
    """
    x = curves["opportunity"] + 1
    ax.fill_between(x, curves["low"], curves["high"], color=GREY, alpha=0.3, lw=0)
    ax.plot(x, curves["observed"], color="black", marker="o", markersize=3, label="observed")
    ax.plot(x, curves["predicted"], color=BLUE, label="predicted")
    ax.plot(x, curves["mastery"], color=CYCLE[2], linestyle="--", label="mastery before the answer")
    whole_numbers(ax)
    ax.set(xlabel="opportunity on the skill", ylabel="share correct, mastery")
    low, high = ax.get_ylim()
    ax.set_ylim(max(np.floor(low * 10) / 10, 0), min(np.ceil(high * 10) / 10, 1.02))
    ax.legend(fontsize=6.5)
    return ax


def plot_skill_growth(growth: pd.DataFrame, axes: Sequence[Axes]) -> Sequence[Axes]:
    """Draw skills ranked by growth, next to the share of learners who are stuck.

    Parameters
    ----------
    growth : result of `kt_core.learners.cohort.skill_growth`.
    axes : two axes, side by side.
    """
    left, right = axes
    y = np.arange(len(growth))[::-1]
    reach = [growth["growth"] - growth["low"], growth["high"] - growth["growth"]]
    left.errorbar(growth["growth"], y, xerr=reach, fmt="o", color=BLUE, markersize=3, linewidth=1)
    rows = zip(growth["skill"], growth["learners"], strict=True)
    left.set_yticks(y, [f"{as_text(s)} (n={n:,})" for s, n in rows], fontsize=6.5)
    left.set(xlabel="growth of mastery, first to last answer", title="Growth")
    left.set_xlim(min(0, left.get_xlim()[0]))
    right.barh(y, growth["stuck"], color=WRONG, height=0.6)
    for place, row in zip(y, growth.itertuples(), strict=True):
        few = np.isnan(row.stuck)
        text = f"too few (n={row.practised})" if few else f"{row.stuck:.0%} of {row.practised:,}"
        at = 0 if few else row.stuck
        right.annotate(
            text, (at, place), (3, 0), textcoords="offset points", fontsize=6, va="center"
        )
    right.set_yticks([])
    right.set(xlabel="share of those with 8+ answers", title="Stuck", ylim=left.get_ylim())
    right.set(xlim=(0, 1.45), xticks=(0, 0.5, 1))  # room for the words of the longest bar
    right.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    return axes
