"""Figures of a training run: losses, validation AUC, gradients and the monitor's curves."""

from __future__ import annotations

import itertools
import textwrap

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from kt_core.config import TargetConfig
from kt_core.plots.style import BLUE, CYCLE, GREY, LABELS, RED, whole_numbers

GROUPS = {
    "violations": ("Broken constraints", "share of places"),
    "correlation": ("Correlations", "Pearson r in the batch"),
    "mean": ("The asked skill", "mean in the batch"),
}
LOSSES = {  # terms of the loss, in words
    "bce": "binary cross-entropy",
    "non_negative": "negative gains",
    "monotonicity": "falls",
    "difficulty": "size of difficulties",
}
BELOW = {"loc": "upper center", "bbox_to_anchor": (0.5, -0.25), "ncols": 2}


def plot_history(history: pd.DataFrame, target: float, ax: Axes) -> Axes:
    """Draw validation AUC by epoch, with its target."""
    epoch, auc = history["epoch"] + 1, history["valid/auc"]
    ax.plot(epoch, auc, color=BLUE, marker="o", markersize=2.5, gid="epoch:valid/auc")
    best = int(auc.idxmax())
    ax.plot(epoch[best], auc[best], "o", color=BLUE, markersize=6, markerfacecolor="none")
    ax.axhline(target, color=GREY, linestyle="--", linewidth=0.9)
    ax.annotate(
        f"target {target:g}",
        (epoch.iloc[-1], target),
        (0, 2),
        textcoords="offset points",
        color=GREY,
        ha="right",
        va="bottom",
        fontsize=7,
    )
    _epochs(history, ax)
    ax.set(xlabel="epoch", ylabel="AUC", title=f"Validation AUC (best {auc[best]:.4f})")
    return ax


def plot_losses(history: pd.DataFrame, ax: Axes) -> Axes:
    """Draw each loss term by epoch, unweighted and on a scale of its own: the place of `ax`, which
    must be one of a grid, is divided into a panel for each term."""
    terms = [c for c in history if c.startswith("loss/") and c != "loss/total"]
    ax.set_axis_off()
    rows = ax.get_subplotspec().subgridspec(len(terms), 1, hspace=0.05)
    epoch, above = history["epoch"] + 1, None
    for row, term, color in zip(rows, terms, itertools.cycle(CYCLE)):
        title = "" if above else "Loss terms (unweighted)"
        above = panel = ax.figure.add_subplot(row, sharex=above, title=title)
        panel.plot(epoch, history[term], ".-", color=color, markersize=3, gid=f"epoch:{term}")
        label = _loss_name(term)
        if term == "loss/bce":
            dotted = {"color": "black", "linestyle": ":", "gid": "epoch:valid/loss"}
            panel.plot(epoch, history["valid/loss"], **dotted)
            label += " (dotted: validation)"
        place = {"xy": (0.99, 0.97), "xycoords": "axes fraction", "ha": "right", "va": "top"}
        panel.annotate(label, color=color, fontsize=6.5, **place)
        panel.margins(y=0.6)  # room for the label
        panel.yaxis.set_major_locator(MaxNLocator(2))
        panel.tick_params(labelsize=6.5, labelbottom=term == terms[-1])
        _epochs(history, panel)
    above.set_xlabel("epoch")
    return ax


def training_curves(history: pd.DataFrame, monitor: pd.DataFrame) -> pd.DataFrame:
    """What the figures of a training show, as one table for an interactive figure.

    Returns
    -------
    Columns `group` (the title of a figure), `over` (epoch or training step), `at`, `curve` and
    `value`.
    """
    terms = {n: _loss_name(n) for n in history if n.startswith("loss/") and n != "loss/total"}
    terms |= {"valid/loss": f"{_loss_name('loss/bce')}, validation"}
    parts = [("Validation AUC", "epoch", history, {"valid/auc": "validation AUC"})]
    parts += [("Loss terms (unweighted, mean per entry)", "epoch", history, terms)]
    for group, (title, about) in GROUPS.items():
        names = {n: _label(n) for n in monitor if n.startswith(f"monitor/{group}/")}
        parts.append((f"{title}: {about}", "training step", monitor, names))
    tables = []
    for group, over, table, names in parts:
        at = table["epoch"] + 1 if over == "epoch" else table.get("step")
        for name, curve in names.items():
            facts = {"group": group, "over": over, "at": at, "curve": curve, "value": table[name]}
            tables.append(pd.DataFrame(facts))
    return pd.concat(tables, ignore_index=True)


def _loss_name(column: str) -> str:
    name = column.removeprefix("loss/")
    return LOSSES.get(name, name.replace("_", " "))


def _label(column: str) -> str:
    name = column.rsplit("/", 1)[1]
    return LABELS.get(name, name)


def _epochs(history: pd.DataFrame, ax: Axes) -> None:
    ax.set_xlim(0.5, history["epoch"].max() + 1.5)
    whole_numbers(ax)


def plot_monitor(
    monitor: pd.DataFrame, group: str, ax: Axes, targets: TargetConfig | None = None
) -> Axes:
    """Draw one group of the monitor's curves (`violations`, `correlation` or `mean`) over steps.

    Batch values are faint; their running mean over nine values is drawn on top. Curves that are
    always 0 share one line. `targets` are drawn in the group `correlation`.
    """
    names = [c for c in monitor if c.startswith(f"monitor/{group}/")]
    labels = {name: _label(name) for name in names}
    never = [name for name in names if (monitor[name] == 0).all()]
    if len(never) > 1:
        together = "always 0: " + ", ".join(labels.pop(name) for name in never)
        labels = {never[0]: textwrap.fill(together, 34)} | labels
    for (name, label), color in zip(labels.items(), CYCLE, strict=False):
        faint = {"color": color, "alpha": 0.2, "linewidth": 0.6}
        ax.plot(monitor["step"], monitor[name], gid=f"step:{name}", **faint)
        smooth = running_mean(monitor[name])
        ax.plot(monitor["step"], smooth, color=color, label=label, gid=f"mean:{name}")
    if targets is not None and group == "correlation":
        for value in {targets.mastery_performance, targets.gain_performance}:
            ax.axhline(value, color=GREY, linestyle="--", linewidth=0.9, label=f"target {value:g}")
    if group != "correlation":
        ax.set_ylim(-0.02, max(0.5, ax.get_ylim()[1]))
    title, ylabel = GROUPS[group]
    ax.set(xlabel="training step", ylabel=ylabel, title=title)
    ax.legend(fontsize=6.5, **BELOW)
    return ax


def plot_pace(monitor: pd.DataFrame, ax: Axes) -> Axes:
    """Draw the gradient norm before clipping, on a logarithmic scale if it varies by more than ten
    times, and the learning rate on a second axis."""
    norm = {"color": BLUE, "linewidth": 0.7, "gid": "step:gradient_norm"}
    ax.plot(monitor["step"], monitor["gradient_norm"], **norm)
    if monitor["gradient_norm"].max() > 10 * monitor["gradient_norm"].min():
        ax.set_yscale("log")
    ax.set(xlabel="training step", title="Gradients and learning rate")
    ax.set_ylabel("norm of the gradients", color=BLUE)
    rate = ax.twinx()
    dashed = {"color": RED, "linestyle": "--", "linewidth": 1, "gid": "step:learning_rate"}
    rate.plot(monitor["step"], monitor["learning_rate"], **dashed)
    rate.set_ylim(0, 1.1 * monitor["learning_rate"].max())
    rate.spines["right"].set_visible(True)
    rate.ticklabel_format(axis="y", style="sci", scilimits=(0, 0))
    rate.set_ylabel("learning rate", color=RED)
    return ax


def running_mean(values: pd.Series) -> pd.Series:
    """Over nine values, of which each is the middle one."""
    return values.rolling(9, min_periods=1, center=True).mean()


def curves_of(figure: Figure) -> list[Line2D]:
    """The curves of `draw_training` that grow while a model trains."""
    return [line for ax in figure.axes for line in ax.lines if line.get_gid()]


def continue_curves(curves: list[Line2D], history: pd.DataFrame, monitor: pd.DataFrame) -> bool:
    """Give curves the rows that there are now; nothing else in the figure changes. Whether the
    axes have room for them."""
    for curve in curves:
        over, _, name = curve.get_gid().partition(":")
        if over == "epoch":
            curve.set_data(history["epoch"] + 1, history[name])
        else:
            values = running_mean(monitor[name]) if over == "mean" else monitor[name]
            curve.set_data(monitor["step"], values)
    return all(_within(curve) for curve in curves)


def _within(curve: Line2D) -> bool:
    """Whether all points of a curve that are known lie within its axes."""
    sides = zip(curve.get_data(), (curve.axes.get_xlim(), curve.axes.get_ylim()), strict=True)
    return not any((np.less(at, low) | np.greater(at, high)).any() for at, (low, high) in sides)


def draw_training(
    history: pd.DataFrame, monitor: pd.DataFrame, targets: TargetConfig, figure: Figure
) -> Figure:
    """Draw a whole training run in one figure; panels without data stay empty. The names of its
    curves (`gid`) say which column they show, over epochs or steps, for `continue_curves`.

    Parameters
    ----------
    history, monitor : the rows of `history.csv` and `monitor.csv` so far; either may be empty.
    """
    axes = figure.subplots(2, 3).ravel()
    if history.empty:
        for ax, title in zip(axes, ("Validation AUC", "Loss terms (unweighted)"), strict=False):
            ax.set(title=title, xlabel="epoch")
            ax.text(0.5, 0.5, "after the first epoch", transform=ax.transAxes, ha="center")
    else:
        plot_history(history, targets.auc, axes[0])
        plot_losses(history, axes[1])
    if monitor.empty:
        for ax in axes[2:]:
            ax.set_axis_off()
        return figure
    plot_pace(monitor, axes[2])
    plot_monitor(monitor, "violations", axes[3])
    plot_monitor(monitor, "correlation", axes[4], targets)
    plot_monitor(monitor, "mean", axes[5])
    for ax in axes:
        if ax.get_legend():
            ax.legend(fontsize=6.5, **BELOW | {"ncols": 1})  # panels are narrow here
    return figure
