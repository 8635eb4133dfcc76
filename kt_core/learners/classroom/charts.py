"""The small drawings of the pages: tables in, points of an SVG out."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

WIDE, HIGH = 136, 66  # of a learner's picture, without its axes
MARGIN = 4  # so that no mark hides a label
CROWDED = 40  # answers from which marks are smaller


def points(x: np.ndarray, y: np.ndarray) -> str:
    """The points of an SVG line."""
    return " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(x, y, strict=True))


def course(part: pd.DataFrame) -> dict[str, Any]:
    """Mastery of one learner on one skill, answer by answer.

    Parameters
    ----------
    part : rows of `tables.courses`.

    Returns
    -------
    `line` and `band` (points), `marks` (`x`, `y`, `right`), and `radius` of the marks.
    """
    x = np.linspace(MARGIN, WIDE - MARGIN, len(part))
    y, low, high = (HIGH * (1 - part[name].to_numpy()) for name in ("mastery", "low", "high"))
    marks = [
        {"x": f"{a:.1f}", "y": f"{b:.1f}", "right": right}
        for a, b, right in zip(x, y, part["right"], strict=True)
    ]
    band = points(np.concatenate([x, x[::-1]]), np.concatenate([low, high[::-1]]))
    radius = 2.6 if len(part) <= CROWDED else 1.6
    return {"line": points(x, y), "band": band, "marks": marks, "radius": radius}


def practice(curves: pd.DataFrame) -> list[dict[str, Any]]:
    """The curve of each skill, in a square from 0 to 100.

    Parameters
    ----------
    curves : of `tables.practice_curves`.
    """
    found = []
    for skill, part in curves.groupby("skill", sort=False):
        last = max(int(part["opportunity"].max()), 2)
        x = ((part["opportunity"] - 1) / (last - 1) * 100).to_numpy()
        lines = {
            name: points(x, 100 - 100 * part[name].to_numpy()) for name in ("observed", "expected")
        }
        counts = part["learners"]
        ends = {"first": int(counts.iloc[0]), "remaining": int(counts.iloc[-1])}
        found.append({"skill": skill, "last": last, **lines, **ends})
    return found
