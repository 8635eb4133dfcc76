"""Figure of a sweep: each measure against each setting that varied."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes

from kt_core.plots.style import BLUE, MODES, as_text


def plot_sweep(
    table: pd.DataFrame, settings: Sequence[str], measures: Sequence[str], axes: np.ndarray
) -> np.ndarray:
    """Draw every cell as a dot, in one column of panels per setting and one row per measure.

    Parameters
    ----------
    table : result of `kt_core.studies.sweeps.headlines`.
    axes : [measures, settings].
    """
    for row, measure in zip(axes, measures, strict=True):
        for ax, setting in zip(row, settings, strict=True):
            _panel(table, setting, measure, ax)
    return axes


def _panel(table: pd.DataFrame, setting: str, measure: str, ax: Axes) -> None:
    data = table.assign(**{setting: table[setting].astype(str).map(as_text)})
    order = sorted(data[setting].unique(), key=_by_number)
    several = data["mode"].nunique() > 1 and setting != "mode"
    sns.stripplot(
        data,
        x=setting,
        y=measure,
        order=order,
        hue="mode" if several or setting == "mode" else None,
        palette=MODES if several or setting == "mode" else None,
        color=None if several or setting == "mode" else BLUE,
        jitter=0.12,
        size=4,
        legend=several,
        ax=ax,
    )
    means = data.groupby(setting)[measure].mean().reindex(order)
    ax.plot(range(len(order)), means, "_", color="black", markersize=14)
    ax.set(xlabel=setting)
    if max(map(len, order)) > 8:
        ax.tick_params(axis="x", rotation=30)
    if several:
        ax.legend(fontsize=6)


def _by_number(text: str) -> tuple[float, str]:
    try:
        return float(text), text
    except ValueError:
        return float("inf"), text
