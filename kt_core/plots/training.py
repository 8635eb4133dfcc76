"""How training went: losses, validation AUC, and the monitor's curves."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes

from kt_core.plots.style import BLUE, CYCLE, GREY, LABELS, whole_numbers

BELOW = {"loc": "upper center", "bbox_to_anchor": (0.5, -0.25), "ncols": 2}


def plot_history(history: pd.DataFrame, target: float, ax: Axes) -> Axes:
    """Validation AUC by epoch, with its target."""
    epoch, auc = history["epoch"] + 1, history["valid/auc"]
    ax.plot(epoch, auc, color=BLUE, marker="o", markersize=2.5)
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
    whole_numbers(ax)
    ax.set(xlabel="epoch", ylabel="AUC", title=f"Validation AUC (best {auc[best]:.4f})")
    return ax


def plot_losses(history: pd.DataFrame, ax: Axes) -> Axes:
    """Each loss term by epoch, unweighted."""
    terms = [c for c in history if c.startswith("loss/") and c != "loss/total"]
    for term, color in zip(terms, CYCLE, strict=False):
        label = term.removeprefix("loss/").replace("_", " ")
        ax.plot(history["epoch"] + 1, history[term], color=color, label=label)
    ax.plot(
        history["epoch"] + 1,
        history["valid/loss"],
        color="black",
        linestyle=":",
        label="bce, validation",
    )
    whole_numbers(ax)
    ax.set(xlabel="epoch", ylabel="mean per entry", title="Loss terms (unweighted)")
    ax.legend(fontsize=6.5, **BELOW)
    return ax


def plot_monitor(
    monitor: pd.DataFrame, group: str, ax: Axes, targets: dict[str, float] | None = None
) -> Axes:
    """One group of the monitor's curves (`violations` or `correlation`) over training steps.

    Batch values are faint, their running mean over nine looks is drawn on top.
    """
    names = [c for c in monitor if c.startswith(f"monitor/{group}/")]
    for name, color in zip(names, CYCLE, strict=False):
        short = name.rsplit("/", 1)[1]
        smooth = monitor[name].rolling(9, min_periods=1, center=True).mean()
        ax.plot(monitor["step"], monitor[name], color=color, alpha=0.2, linewidth=0.6)
        ax.plot(monitor["step"], smooth, color=color, label=LABELS.get(short, short))
    for value in set((targets or {}).values()):
        ax.axhline(value, color=GREY, linestyle="--", linewidth=0.9)
    if group == "violations":
        ax.set_ylim(-0.02, max(0.5, ax.get_ylim()[1]))
    ax.set(
        xlabel="training step",
        ylabel="share of places" if group == "violations" else "Pearson r in the batch",
        title="Broken constraints" if group == "violations" else "Correlations",
    )
    ax.legend(fontsize=6.5, **BELOW)
    return ax
