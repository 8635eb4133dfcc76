"""Figure of a sweep: each measure against each setting that varied."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from kt_core.plots.style import BLUE, GREY, MODES, as_text

SPREAD = 0.24  # over which the cells of one column lie side by side
FITS = 34  # letters of labels that stand next to each other below a panel


def plot_sweep(
    table: pd.DataFrame, settings: Sequence[str], measures: Sequence[str], axes: np.ndarray
) -> np.ndarray:
    """Draw every cell as a dot, in one column of panels per setting and one row per measure. Where
    several modes are in the table, `shared_legend` draws their legend.

    Parameters
    ----------
    table : result of `kt_core.studies.sweeps.headlines`.
    axes : [measures, settings].
    """
    for row, measure in zip(axes, measures, strict=True):
        for ax, setting in zip(row, settings, strict=True):
            _panel(table, setting, measure, ax)
        row[0].set_ylabel(measure)
    for ax, setting in zip(axes[-1], settings, strict=True):
        ax.set_xlabel(setting)
    return axes


def _panel(table: pd.DataFrame, setting: str, measure: str, ax: Axes) -> None:
    values = table[setting].astype(str).map(as_text)
    order = sorted(values.unique(), key=_by_number)
    groups = table[measure].groupby(values)
    place = groups.cumcount() / (groups.transform("size") - 1).clip(lower=1) - 0.5
    x = values.map(order.index) + SPREAD * place.where(groups.transform("size") > 1, 0.0)
    several = table["mode"].nunique() > 1
    for mode, part in table.groupby("mode", sort=False):
        look = {"color": MODES.get(mode, GREY), "label": as_text(mode)} if several else {}
        ax.plot(x[part.index], part[measure], "o", markersize=4, **{"color": BLUE} | look)
    ax.plot(range(len(order)), groups.mean()[order], "_", color="black", markersize=16)
    slanted = sum(map(len, order)) > FITS
    turn = {"rotation": 30, "ha": "right", "rotation_mode": "anchor"} if slanted else {}
    ax.set_xticks(range(len(order)), order, **turn)
    ax.set_xlim(-0.6, len(order) - 0.4)


def _by_number(text: str) -> tuple[float, str]:
    try:
        return float(text), text
    except ValueError:
        return float("inf"), text
