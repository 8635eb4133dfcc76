"""Every interaction of a split with what was believed around it: what the measures are made of."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
import pandas as pd

from kt_core.base.values import counted
from kt_core.data import Sequences
from kt_core.evaluation.tracer import Trace
from kt_core.metrics.nulls import running_counts

OF_ASKED = (  # columns of `Beliefs.frame` that are about an answer, not about one of its skills
    "predicted",
    "mastery_pre",
    "gain",
    "gains_before",
    "difficulty",
    "network",
    "form",
    "practice",
    "speed",
    "revision",
    "flip",
)


@dataclass(repr=False)
class Beliefs:
    """What was believed about a split. N interactions, S sequences, C skills, L learners.

    Attributes
    ----------
    frame : [N] rows, in order within a learner: `learner`, `sequence`, `chunk`, `step`, `skill`,
        `correct`; the fields of `kt_core.evaluation.tracer.Trace` that are known; `opportunity` and
        `successes` on the skill before the step; and the `true_` columns of simulated learners.
    middle, final : [S, C], filtered mastery after half of the steps and after all; NaN before the
        first answer.
    final_deviation : [S, C], standard deviation of the level behind `final`, in logits; None where
        it is not known.
    counts : rows with `learner` and the counts of `kt_core.metrics.invariants`; None where the
        states of all skills are not known.
    made_of, parts : of `kt_core.evaluation.tracer.Trace`.

    Examples
    --------
    >>> model = kt.demo()
    >>> beliefs = kt.evaluate(model.run.model, model.splits.test)
    >>> bool((beliefs.frame["gain"] >= 0).all())
    True
    """

    frame: pd.DataFrame
    learners: np.ndarray
    middle: np.ndarray | None = None
    final: np.ndarray | None = None
    final_deviation: np.ndarray | None = None
    counts: pd.DataFrame | None = None
    made_of: np.ndarray | None = None
    parts: pd.DataFrame | None = None

    def __repr__(self) -> str:
        learners = counted("learner", len(self.learners))
        return f"<beliefs about {counted('answer', len(self.frame))} of {learners}>"

    @functools.cached_property
    def told(self) -> pd.DataFrame:
        """What people are told about: `frame`, with a row for each skill of an answer on several in
        place of the one on their combination, where the tracer tells them apart."""
        if self.parts is None:
            return self.frame
        whole = self.frame.drop(columns=["opportunity", "successes"])
        at = self.parts["interaction"].to_numpy()
        kept = [c for c in whole if c not in OF_ASKED]
        rows = (
            whole[kept]
            .iloc[at]
            .assign(**{c: self.parts[c].to_numpy() for c in self.parts if c in whole})
        )
        told = pd.concat([whole.drop(index=whole.index[np.unique(at)]), rows])
        told = told.sort_index(kind="stable").reset_index(drop=True)
        return pd.concat([told, running_counts(told)], axis=1)

    def has(self, column: str) -> bool:
        """Whether the tracer, or the data, gave this column of `frame`."""
        return column in self.frame

    @property
    def predicted(self) -> pd.DataFrame:
        """The rows whose answer was predicted."""
        return self.frame[self.frame["predicted"].notna()]

    @classmethod
    def of(cls, sequences: Sequences, trace: Trace, counts: pd.DataFrame | None = None) -> Beliefs:
        """The beliefs of a trace, next to the answers that it is about."""
        s = sequences
        number = np.repeat(np.arange(len(s)), s.lengths)
        frame = pd.DataFrame(
            {
                "learner": s.learner[number],
                "sequence": number,
                "chunk": s.chunk[number],
                "step": np.arange(s.interactions) - s.starts[number],
                "skill": s.skill,
                **({"item": s.item} if s.item.any() else {}),
                "correct": s.response,
                **trace.columns(),
                **s.truth,
            }
        )
        frame = pd.concat([frame, running_counts(frame)], axis=1)
        states = trace.middle, trace.final, trace.final_deviation
        return cls(frame, s.learners, *states, counts, trace.made_of, trace.parts)


def ends(frame: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The first and the last row of each learner on each skill, by learner and skill."""
    groups = frame.groupby(["learner", "skill"])
    rows = groups.head(1), groups.tail(1)
    return tuple(x.set_index(["learner", "skill"]).sort_index() for x in rows)


def believed_last(frame: pd.DataFrame) -> str:
    """The column of mastery along the trajectory; empty where there is none."""
    columns = ("mastery_last", "mastery_post", "mastery_pre")
    return next((c for c in columns if c in frame), "")
