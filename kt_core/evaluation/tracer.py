"""What a tracer (our model, a baseline, another tool's export) believed, as flat arrays.

The measures (docs/method.md, "The measures") are computed from a `Trace` and the `Sequences` that
it is about; they know nothing of the model behind it. N interactions, S sequences, C skills.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import pandas as pd
from scipy.special import expit, logit

from kt_core.base.values import counted
from kt_core.data.sequences import Sequences, Splits


@dataclass(repr=False)
class Trace:
    """Beliefs around every interaction; a field that a tracer does not have is None.

    Attributes
    ----------
    predicted : [N], P(correct) from the steps before; NaN at a sequence's first step.
    mastery_pre, mastery_post : [N], mastery of the asked skill before and after the answer, on the
        evidence up to then (the *filtered* state); `mastery_pre` is NaN at a first step.
    mastery_last : [N], mastery of the asked skill after the step as believed at the learner's last
        step; None where belief is not revised (it is `mastery_post` then).
    gain : [N], the gain credited at the step on its skill.
    gains_before : [N], gains on the asked skill before the step, on the scale of the logit, less
        what the belief about the start leaves out for them: all that gains do to the prediction.
    difficulty : [N], of the item on the logit scale, as it enters the prediction.
    network : [N], the part of the predicted logit that comes from a network alone.
    form : [N], what the prediction of the next answer adds to mastery and difficulty, a logit.
        Predictions are sigmoid(logit(mastery_pre) - difficulty + form), nearly so where they
        average over an ability.
    deviation : [N], standard deviation of the level behind `mastery_post`, in logits.
    deviation_last, of_speed_last, log_speed_last : [N], of the level behind `mastery_last`
        (`kt_core.posterior.Doubt`).
    practice : [N], on the asked skill before the step, as a learner of usual speed gains by it.
    speed : [N], by which factor this learner gains more, as believed after the step.
    revision : [N], by how many logits the answer moved the belief about the start of its skill.
    flip : [N], `mastery_post` had the answer been right minus had it been wrong, all else equal.
    middle, final : [S, C], filtered mastery of every skill after half of the steps (rounded down)
        and after all.
    final_deviation : [S, C], standard deviation of the level behind `final`, in logits.
    made_of : [C, C], 1 where the single skill of the column is a part of the skill of the row; None
        where each skill is only itself.
    parts : for every answer on several skills one row for each of them: `interaction` (0..N-1),
        `skill`, and `mastery_post`, `mastery_last` and the deviations of that skill.

    Examples
    --------
    >>> Trace(predicted=np.array([np.nan, 0.6, 0.7]))
    <predicted of 3 answers>
    """

    predicted: np.ndarray
    mastery_pre: np.ndarray | None = None
    mastery_post: np.ndarray | None = None
    mastery_last: np.ndarray | None = None
    gain: np.ndarray | None = None
    gains_before: np.ndarray | None = None
    difficulty: np.ndarray | None = None
    network: np.ndarray | None = None
    form: np.ndarray | None = None
    deviation: np.ndarray | None = None
    deviation_last: np.ndarray | None = None
    of_speed_last: np.ndarray | None = None
    log_speed_last: np.ndarray | None = None
    practice: np.ndarray | None = None
    speed: np.ndarray | None = None
    revision: np.ndarray | None = None
    flip: np.ndarray | None = None
    middle: np.ndarray | None = None
    final: np.ndarray | None = None
    final_deviation: np.ndarray | None = None
    made_of: np.ndarray | None = None
    parts: pd.DataFrame | None = None

    def __repr__(self) -> str:
        known = [name for name, value in vars(self).items() if value is not None]
        return f"<{', '.join(known)} of {counted('answer', len(self.predicted))}>"

    def columns(self) -> dict[str, np.ndarray]:
        """The fields per interaction that are not None, by name."""
        states = ("middle", "final", "final_deviation", "made_of", "parts")
        return {k: v for k, v in vars(self).items() if v is not None and k not in states}


def from_mastery(
    mastery: np.ndarray,
    difficulty: np.ndarray | float | None = None,
    form: np.ndarray | float = 0.0,
) -> np.ndarray:
    """[N], predictions from pre-response mastery, item difficulty (where known) and form."""
    if difficulty is None:
        return mastery
    return expit(logit(mastery) - np.asarray(difficulty) + form)


class Tracer(Protocol):
    """The interface of every baseline.

    Examples
    --------
    >>> class Always:  # says the same of every answer
    ...     def fit(self, splits, seed=0):
    ...         self.p = splits.train.response.mean()
    ...     def trace(self, sequences):
    ...         p = np.full(sequences.interactions, self.p)
    ...         p[sequences.starts] = np.nan  # nothing is known before a first answer
    ...         return Trace(predicted=p)
    >>> kt.register("always", Always)
    """

    name: str

    def fit(self, splits: Splits, seed: int = 0) -> None:
        """Learn from `splits.train`; `splits.valid` may be used for choices, `splits.test` not."""

    def trace(self, sequences: Sequences) -> Trace:
        """Beliefs about other learners; their answers never change the parameters."""
