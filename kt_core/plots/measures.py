"""Figures of the consistency report."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

from kt_core.metrics.association import VARIANTS
from kt_core.plots.style import (
    BLUE,
    GREY,
    LABELS,
    MARKERS,
    MODELS,
    MODES,
    ORANGE,
    arms,
    as_text,
    look_of,
)

MOST_DOTS = 3000  # more of them hide each other
HINDSIGHT = ("retrospective, answer hidden", "hidden")  # too long for a label


def plot_associations(table: pd.DataFrame, ax: Axes) -> Axes:
    """Draw each correlation with its interval, and its nulls as grey marks on the same line.

    Parameters
    ----------
    table : `Measures.associations`.
    """
    table = table[table.measure != "degree of agreement"]  # a share of pairs, not a correlation
    own = table[(table.kind == "model") & table["value"].notna()].reset_index(drop=True)
    labels = []
    for i, row in own.iterrows():
        others = table[(table.measure == row.measure) & (table.variant == row.variant)]
        for kind, marker, color in (("null", "|", GREY), ("reference", "D", ORANGE)):
            values = others.loc[others.kind == kind, "value"]
            ax.plot(values, np.full(len(values), i), marker, color=color, markersize=7, zorder=2)
        ax.plot([row.low, row.high], [i, i], color=BLUE, linewidth=1.6, zorder=3)
        ax.plot(row.value, i, "o", color=BLUE, markersize=4.5, zorder=4)
        name = row.measure.replace("prospective validity", "prospective")
        labels.append(f"{name}, {VARIANTS[row.variant]} ({row.sees.replace(*HINDSIGHT)})")
    ax.set_yticks(range(len(labels)), labels)
    ax.invert_yaxis()
    ax.axvline(0, color="black", linewidth=0.6)
    ax.plot([], [], "o-", color=BLUE, label="model, 95 % over learners")
    ax.plot([], [], "|", color=GREY, markersize=7, label="nulls")
    if (table.kind == "reference").any():
        ax.plot([], [], "D", color=ORANGE, label="reference")
    ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3)
    ax.set_xlabel("Pearson r")
    return ax


def plot_calibration(curve: pd.DataFrame, miscalibration: float, ax: Axes) -> Axes:
    """Draw the observed share correct by predicted probability (isotonic), with its band."""
    ax.plot([0, 1], [0, 1], color=GREY, linestyle="--", linewidth=0.9)
    ax.fill_between(curve["predicted"], curve["low"], curve["high"], color=BLUE, alpha=0.2, lw=0)
    ax.plot(curve["predicted"], curve["observed"], color=BLUE)
    ax.set(
        xlim=(0, 1),
        ylim=(0, 1),
        aspect="equal",
        xlabel="predicted P(correct)",
        ylabel="observed share correct",
        title=f"Calibration (excess Brier {miscalibration:.4f})",
    )
    return ax


def plot_collapse(values: np.ndarray, what: str, ax: Axes) -> Axes:
    """Draw the distribution of `values` over interactions; `what` names them on the axis."""
    values = values[np.isfinite(values)]
    ax.hist(values, bins=60, color=BLUE, weights=np.full(len(values), 1 / max(len(values), 1)))
    ax.set(xlabel=what, ylabel="share of interactions")
    return ax


def plot_recovery(frame: pd.DataFrame, ax: Axes) -> Axes:
    """Draw modelled against true mastery of the asked skill per step: mean and 80 % range."""
    bins = pd.cut(frame["true_mastery"], np.linspace(0, 1, 21), include_lowest=True)
    groups = frame.groupby(bins, observed=True)
    x, y = groups["true_mastery"].mean(), groups["mastery_post"]
    ax.fill_between(x, y.quantile(0.1), y.quantile(0.9), color=BLUE, alpha=0.2, lw=0)
    ax.plot(x, y.mean(), color=BLUE, marker="o", markersize=2.5)
    ax.plot([0, 1], [0, 1], color=GREY, linestyle="--", linewidth=0.9)
    ax.set(
        xlim=(0, 1),
        ylim=(0, 1),
        aspect="equal",
        xlabel="true mastery",
        ylabel="modelled mastery (mean, 80 % range)",
        title="Recovery of true mastery",
    )
    return ax


def plot_comparison(table: pd.DataFrame, ax: Axes) -> Axes:
    """Draw the broken constraints of several runs side by side.

    Parameters
    ----------
    table : columns `run`, `mode`, `constraint`, `share`, `low`, `high`.
    """
    runs, constraints = list(table["run"].unique()), list(table["constraint"].unique())
    width = 0.8 / len(runs)
    for i, run in enumerate(runs):
        part = table[table["run"] == run].set_index("constraint").loc[constraints]
        x = np.arange(len(constraints)) + (i - (len(runs) - 1) / 2) * width
        color = MODES.get(part["mode"].iloc[0], GREY)
        first = list(table.drop_duplicates("run")["mode"]).index(part["mode"].iloc[0]) == i
        error = np.abs(part[["low", "high"]].to_numpy().T - part["share"].to_numpy())
        ax.bar(
            x,
            part["share"] * 100,
            width * 0.92,
            yerr=error * 100,
            color=color,
            alpha=1.0 if first else 0.55,
            label=as_text(run),
            error_kw={"lw": 0.8},
        )
        for at, share, end in zip(x, part["share"], error[1], strict=True):
            ax.annotate(
                f"{share:.1%}",
                (at, 100 * (share + np.nan_to_num(end))),  # above its error bar
                (0, 3),
                ha="center",
                fontsize=6,
                textcoords="offset points",
            )
    ax.set_xticks(range(len(constraints)), [LABELS.get(c, c) for c in constraints])
    ax.set_ylabel("share of places broken (%)")
    ax.set_ylim(0, 1.15 * max(100 * np.nanmax(table[["share", "high"]].to_numpy()), 1))
    ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=min(len(runs), 3))
    return ax


def plot_benchmark(table: pd.DataFrame, ax: Axes) -> Axes:
    """Draw AUC against prospective validity, one mark with both intervals per model.

    `shared_legend` draws the legend.

    Parameters
    ----------
    table : columns `model`, `auc`, `auc_low`, `auc_high`, `validity`, `validity_low`,
        `validity_high`.
    """
    for row in table.to_dict("records"):
        ours = row["model"] in MODES
        ax.errorbar(
            row["validity"],
            row["auc"],
            xerr=arms(row, "validity"),
            yerr=arms(row, "auc"),
            fmt=MARKERS.get(row["model"], "s"),
            color=MODELS.get(row["model"], GREY),
            markersize=6 if ours else 4.5,
            elinewidth=0.9,
            label=row["model"],
            zorder=3 if ours else 2,
        )
    ax.set(xlabel="prospective validity of mastery (r, pre)", ylabel="AUC (pre)")
    return ax


def plot_differences(table: pd.DataFrame, ax: Axes) -> Axes:
    """Draw the differences of runs to the first, a row for each measure.

    Parameters
    ----------
    table : result of `kt_core.report.compare.differences`.
    """
    gaps = table[table["gap"].notna()]
    measures, runs = list(dict.fromkeys(gaps["measure"])), list(dict.fromkeys(gaps["run"]))
    ax.axvline(0, color=GREY, linewidth=0.8, zorder=0)
    for number, (run, look) in enumerate(look_of(runs).items()):
        rows = gaps[gaps["run"] == run]
        y = [measures.index(m) + 0.6 * ((number + 0.5) / len(runs) - 0.5) for m in rows["measure"]]
        ends = {"xerr": arms(rows, "gap"), "elinewidth": 1.4, "markersize": 4.5}
        ax.errorbar(rows["gap"], y, fmt="o", color=look["color"], label=as_text(run), **ends)
    ax.set_yticks(range(len(measures)), measures)
    ax.set(ylim=(len(measures) - 0.5, -0.5), xlabel="difference to the first run")
    ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3)
    return ax


def plot_parts(table: pd.DataFrame, axes: Sequence[Axes]) -> Sequence[Axes]:
    """Draw differences in log loss by number of answers: skills on one, learners on another `ax`.

    Parameters
    ----------
    table : result of `kt_core.report.compare.by_part`.
    """
    for ax, (kind, part) in zip(axes, table.groupby("kind", sort=False), strict=True):
        ax.axhline(0, color=GREY, linewidth=0.8, zorder=0)
        shown = part.sample(min(len(part), MOST_DOTS), random_state=0)
        ax.plot(shown["answers"], shown["difference"], "o", color=BLUE, alpha=0.4, ms=3.5, mew=0)
        ax.set(xscale="log", xlabel="answers", title=kind.capitalize())
        ax.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        ax.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
        ax.xaxis.set_minor_formatter(NullFormatter())
    axes[0].set_ylabel("difference in log loss")
    return axes
