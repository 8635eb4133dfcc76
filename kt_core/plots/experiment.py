"""Figure of an experiment: what models predict for a post-test, next to what was observed."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure

from kt_core.plots.style import GREY, MARKERS, MODELS, PAGE, arms, as_text, shared_legend

OBSERVED = {"color": "black", "fmt": "o", "markersize": 4.5, "elinewidth": 1.2, "zorder": 4}
KEYS = ["condition", "level", "against", "on"]  # of an effect
SHIFT = 0.55  # of the room between two effects, over which observed and predicted are spread
BETWEEN = " x "  # of two conditions
MOST_PANELS = 6
NAMES = {"practised": "practised skills", "unpractised": "skills not practised", "net": "net"}


def draw_experiment(table: pd.DataFrame, conditions: dict[str, tuple[str, ...]]) -> Figure:
    """Draw shares by condition above, and effects below.

    Parameters
    ----------
    table : result of `kt_core.studies.experiment.compare`.
    conditions : name -> levels. The first is the axis of the upper panels, and the second, where
        there is one, has a panel for each level.
    """
    effects = table[table["kind"] == "effect"]
    line = 0.24 + 0.03 * effects["model"].nunique()  # inches for an effect and its predictions
    tall = 0.7 + line * len(effects.drop_duplicates(KEYS))
    figure = Figure(figsize=(PAGE, 2.4 + tall), layout="constrained")
    above, below = figure.subfigures(2, 1, height_ratios=(2.4, tall))
    _panels(table[table["kind"] == "cell"], conditions, above)
    plot_effects(effects, below.subplots())
    shared_legend(figure, columns=4)
    return figure


def _panels(cells: pd.DataFrame, conditions: dict[str, tuple[str, ...]], figure: SubFigure) -> None:
    """Shares by the first condition, in a panel for each level of the second."""
    first, *others = conditions
    levels = conditions[others[0]][:MOST_PANELS] if others else ("",)
    axes = figure.subplots(1, len(levels), sharey=True, squeeze=False)[0]
    for level, ax in zip(levels, axes, strict=True):
        chosen = cells[cells["condition"] == first]
        if others:
            chosen = cells[cells["condition"] == f"{first}{BETWEEN}{others[0]}"]
            names = chosen["level"].str.rsplit(BETWEEN, n=1, expand=True)
            chosen = chosen.assign(level=names[0])[names[1] == level]
            ax.set_title(f"{as_text(others[0])}: {as_text(level)}")
        plot_shares(chosen, conditions[first], ax).set_xlabel(as_text(first))
    axes[0].set_ylabel("share right in the post-test")


def plot_shares(cells: pd.DataFrame, levels: tuple[str, ...], ax: Axes) -> Axes:
    """Draw the observed share with its interval and each model's prediction, by level."""
    place = {level: x for x, level in enumerate(levels)}
    for number, (model, part) in enumerate(cells.groupby("model", sort=False)):
        x = part["level"].map(place).to_numpy(float)
        if not number:
            label = "observed, 95 % over learners"
            ends = arms(part, "observed")
            ax.errorbar(x, part["observed"], yerr=ends, label=label, **OBSERVED)
        ax.plot(x, part["predicted"], **_look(model, line=True))
    ax.set_xticks(range(len(levels)), [as_text(level, 16) for level in levels])
    ax.set_xlim(-0.4, len(levels) - 0.6)
    return ax


def plot_effects(effects: pd.DataFrame, ax: Axes) -> Axes:
    """Draw each observed effect with its interval, and each model's below it."""
    names = list(effects[KEYS].drop_duplicates().itertuples(index=False, name=None))
    place = {name: y for y, name in enumerate(names)}
    models = effects["model"].unique()
    for number, (model, part) in enumerate(effects.groupby("model", sort=False)):
        y = np.array([place[name] for name in part[KEYS].itertuples(index=False, name=None)])
        if not number:
            ax.errorbar(part["observed"], y - SHIFT / 2, xerr=arms(part, "observed"), **OBSERVED)
            ends = part["observed_low"], part["observed_high"]
            ax.barh(y, ends[1] - ends[0], 0.8, ends[0], color=GREY, alpha=0.15, zorder=0)
        shift = SHIFT * ((number + 1) / len(models) - 0.4)
        told = arms(part, "predicted")
        ax.errorbar(part["predicted"], y + shift, xerr=told, elinewidth=0.8, **_look(model))
    ax.use_sticky_edges = False
    ax.axvline(0, color="black", linewidth=0.6)
    ax.set_yticks(range(len(names)), [_named(*name) for name in names])
    ax.set_ylim(len(names) - 0.4, -0.6)
    ax.set(xlabel="difference of shares right", title="Effects")
    return ax


def _named(condition: str, level: str, against: str, on: str) -> str:
    where = f", {NAMES[on]}" if on in NAMES else ""
    return f"{as_text(condition)}: {as_text(level, 20)} against {as_text(against, 20)}{where}"


def _look(model: str, line: bool = False) -> dict[str, object]:
    look = {"color": MODELS.get(model, GREY), "marker": MARKERS.get(model, "s"), "markersize": 4}
    more = {"linewidth": 0.9, "alpha": 0.9} if line else {"linestyle": "none"}
    return look | more | {"label": as_text(model)}
