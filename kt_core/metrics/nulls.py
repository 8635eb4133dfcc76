"""Nulls: predictors that need no model (docs/method.md, "The measures").

Compare each correlation with the best of these. They see exactly the answers that the measured
value may see: those before the step (*pre*), or also the step's own answer (*post*).
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from kt_core.data.sequences import tally

DECAY = 0.8  # in the counter, each success multiplies the distance to full mastery by this


def counter(base: np.ndarray, successes: np.ndarray) -> np.ndarray:
    """Compute the parameter-free counter p_k + (1 - p_k)(1 - 0.8^successes)."""
    return base + (1 - base) * (1 - DECAY**successes)


def running_counts(frame: pd.DataFrame) -> pd.DataFrame:
    """Count opportunities and successes on the asked skill *before* each step.

    Parameters
    ----------
    frame : columns `learner`, `skill`, `correct`, in order within a learner.
    """
    groups = frame.groupby(["learner", "skill"], sort=False)["correct"]
    return pd.DataFrame(
        {"opportunity": groups.cumcount(), "successes": groups.cumsum() - frame["correct"]}
    )


def step_nulls(frame: pd.DataFrame, base: np.ndarray, post: bool) -> dict[str, np.ndarray]:
    """Compute the nulls for every row of `frame`, each [N].

    Parameters
    ----------
    frame : columns `learner`, `skill`, `correct`, `step`, `opportunity`, `successes`.
    base : [C], share of right answers per skill in the training data.
    post : whether the step's own answer may be seen.
    """
    p = base[frame["skill"].to_numpy()]
    seen = frame["correct"].to_numpy() if post else 0
    return {
        "time index": frame["step"].to_numpy(float),
        "opportunity count": frame["opportunity"].to_numpy(float) + post,
        "skill base rate": p,
        "success counter": counter(p, frame["successes"].to_numpy() + seen),
    }


def gain_nulls(frame: pd.DataFrame, base: np.ndarray) -> dict[str, np.ndarray]:
    """Nulls for the gain at a step: `step_nulls` after the answer, with the counter's gain."""
    nulls = step_nulls(frame, base, post=True)
    before = counter(base[frame["skill"].to_numpy()], frame["successes"].to_numpy())
    return nulls | {"success counter": nulls["success counter"] - before}


def base_rates(skill: np.ndarray, correct: np.ndarray, skills: int) -> np.ndarray:
    """Share of right answers per skill, [C]; the overall share for skills that never occur."""
    n, right = tally(skill, correct, skills)
    overall = right.sum() / n.sum() if len(correct) else 0.5
    return np.where(n > 0, right / np.maximum(n, 1), overall)
