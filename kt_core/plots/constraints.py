"""Figure of constraints compared: how often each is broken, and what mastery says besides."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import PercentFormatter

from kt_core.plots.style import GREY, LABELS, MODES, as_text

ROOM = 0.8  # of a row, for the bars of all models
LIVE = "filtered"  # what is counted on the mastery that a live user saw
NONE = 5e-4  # a share below it would be written as 0.0 %


def plot_broken(table: pd.DataFrame, ax: Axes) -> Axes:
    """Draw the share of places where each constraint is broken: a bar and a number for each model,
    and in place of a bar of no length a 0 with the number of places. `shared_legend` draws the
    legend.

    Parameters
    ----------
    table : result of `kt_core.studies.constraints.collect`; `value`, `low` and `high` are shares.
    """
    table = table[table["measure"].isin(LABELS) & table["value"].notna()]
    measures, models = list(table["measure"].unique()), list(table["model"].unique())
    height = ROOM / len(models)
    for number, model in enumerate(models):
        rows = table[table["model"] == model]
        places = np.array([measures.index(m) for m in rows["measure"]])
        y = places + (number - (len(models) - 1) / 2) * height
        color = MODES.get(model, GREY)
        look = {"color": color} if model in MODES else {"fill": False, "ec": GREY, "hatch": "/////"}
        ends = np.nan_to_num(np.abs(rows[["low", "high"]].to_numpy().T - rows["value"].to_numpy()))
        label = model if model in MODES else f"{model} (other settings, not measured here)"
        ax.barh(y, rows["value"], 0.88 * height, label=as_text(label, 80), linewidth=0.6, **look)
        ax.errorbar(rows["value"], y, xerr=ends, fmt="none", ecolor="black", elinewidth=0.7)
        for row, at, end in zip(rows.to_dict("records"), y, ends[1], strict=True):
            say = {"va": "center", "fontsize": 6.5, "textcoords": "offset points"}
            say |= {"color": color if model in MODES else "black"}
            ax.annotate(_said(row), (row["value"] + end, at), (3, -0.4), **say)
    live = [m.startswith(LIVE) for m in measures]
    if any(live):
        ax.axhline(live.index(True) - 0.5, color=GREY, linewidth=0.6, linestyle=":")
    ax.set_yticks(range(len(measures)), [LABELS[m].replace(" after", "\nafter") for m in measures])
    ax.set(ylim=(len(measures) - 0.5, -0.5), title="Share of places where this happens")
    ax.set_xlim(0, 1.18 * max(np.nanmax(table[["value", "high"]].to_numpy()), 0.1))
    ax.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    ax.tick_params(axis="y", length=0)
    return ax


def _said(row: dict[str, object]) -> str:
    if row["places"] >= 0 and row["value"] < NONE:
        return f"{row['broken']:,} of {row['places']:,}"
    return f"{row['value']:.1%}"


def plot_evidence(table: pd.DataFrame, measure: str, variant: str, ax: Axes) -> Axes:
    """Draw one measure with its interval for each model, one above the other.

    Parameters
    ----------
    table : as in `plot_broken`.
    """
    rows = table[(table["measure"] == measure) & (table["variant"] == variant)]
    rows = rows[rows["value"].notna()]
    for place, row in enumerate(rows.to_dict("records")):
        color = MODES.get(row["model"], GREY)
        ax.plot([row["low"], row["high"]], [place, place], color=color, linewidth=1.6)
        ax.plot(row["value"], place, "o", color=color, markersize=4.5)
        say = {"ha": "center", "fontsize": 6.5, "color": color, "textcoords": "offset points"}
        ax.annotate(f"{row['value']:.3f}", (row["value"], place), (0, 5), **say)
    if rows["low"].min() < 0:
        ax.axvline(0, color=GREY, linewidth=0.6, zorder=0)
    ax.set(ylim=(len(rows) - 0.5, -0.7), yticks=[])
    ax.margins(x=0.15)
    return ax
