"""All other models by name: those of the package, and those that a user registers."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np

from kt_core.base import own
from kt_core.base.errors import KTError
from kt_core.baselines.bkt import BKT
from kt_core.baselines.counts import SkillBaseRate, sequence_of, step_of
from kt_core.baselines.factors import AFM, Rasch
from kt_core.baselines.logistic import PFA, BestLR
from kt_core.baselines.neural import AKT, DKT, SAKT, SimpleKT
from kt_core.baselines.skeleton import SkeletonTracer
from kt_core.data.sequences import Sequences, Splits
from kt_core.evaluation.tracer import Trace, Tracer

BASELINES: dict[str, Callable[[], Tracer]] = {
    "DKT": DKT,
    "SAKT": SAKT,
    "simpleKT": SimpleKT,
    "AKT": AKT,
    "BKT": BKT,
    "BKT-correct": partial(BKT, read="correct"),
    "PFA": PFA,
    "Best-LR": BestLR,
    "skeleton": SkeletonTracer,
    "AFM": AFM,
    "Rasch": Rasch,
    "skill base rate": SkillBaseRate,
}
PROBED = 50  # learners whose last answer is turned
SAME = 1e-4  # to which a prediction must not depend on its own answer
STATES = ("middle", "final", "final_deviation")
SHARES = ("predicted", "mastery_pre", "mastery_post", "mastery_last", "middle", "final")


def baselines() -> dict[str, Callable[[], Any]]:
    """Every model but GainAKT2, by name: what makes one."""
    return BASELINES | {
        name: partial(OwnTracer, name, o.what) for name, o in own.of(own.MODEL).items()
    }


def searched(model: str) -> Any:
    """What decides the result of a model beside data and seed, as plain values: the grid of a
    neural baseline's search, or the file that defines a model of one's own."""
    if model not in BASELINES:
        return {"own": own.of(own.MODEL)[model].source}
    grid = getattr(BASELINES[model], "grid", ())
    return {"grid": [dataclasses.asdict(candidate) for candidate in grid]} if grid else {}


class OwnTracer:
    """A model of a user's own, whose traces are checked before anything is measured.

    Parameters
    ----------
    make : called without arguments, gives a `kt_core.evaluation.tracer.Tracer`.
    """

    def __init__(self, name: str, make: Callable[[], Any]):
        self.name, self.tracer, self.skills, self.probed = name, make(), 0, False
        for method in ("fit", "trace"):
            if not callable(getattr(self.tracer, method, None)):
                raise KTError(
                    f"model {name!r}: it has no method {method}(); a model has fit(splits, seed) "
                    "and trace(sequences), as kt_core.evaluation.tracer.Tracer says"
                )

    @property
    def whole(self) -> bool:
        """Whether it reads whole histories, and not chunk after chunk."""
        return bool(getattr(self.tracer, "whole", False))

    def fit(self, splits: Splits, seed: int = 0) -> None:
        """Fit the user's model."""
        self.skills = len(splits.vocabulary.skills)
        self.tracer.fit(splits, seed)

    def trace(self, sequences: Sequences) -> Trace:
        """The user's trace.

        Raises
        ------
        KTError
            For a field of another shape or outside [0, 1], or a prediction that depends on the
            answer that it is about.
        """
        trace = self.tracer.trace(sequences)
        for problem in _problems(trace, sequences, self.skills):
            raise KTError(f"model {self.name!r}: {problem}")
        if not self.probed:
            self._probe(sequences.of_learners(np.arange(min(len(sequences.learners), PROBED))))
            self.probed = True
        trace.predicted = np.array(trace.predicted, float)
        trace.predicted[sequences.starts] = np.nan  # a first step is not predicted
        return trace

    def _probe(self, some: Sequences) -> None:
        """Raise a KTError when anything from before an answer changes with the last answers."""
        final = np.flatnonzero(np.diff(some.learner, append=-1))
        response = some.response.copy()
        response[some.starts[final] + some.lengths[final] - 1] ^= 1
        turned = dataclasses.replace(some, response=response)
        traces = [self.tracer.trace(s) for s in (some, turned)]
        for field in ("predicted", "mastery_pre"):
            told, other = (getattr(trace, field) for trace in traces)
            if told is None:
                continue
            wrong = np.abs(np.subtract(told, other)) > SAME
            if wrong.any():
                at = int(np.argmax(wrong))
                learner = some.learners[some.learner[sequence_of(some)[at]]]
                raise KTError(
                    f"model {self.name!r}: {field} at step {step_of(some)[at] + 1} of learner "
                    f"{learner} is {told[at]:.4f}, but {other[at]:.4f} when the learner's last "
                    "answer is turned. It must be from the answers before that step alone, and "
                    "the same at each call"
                )


def _problems(trace: Any, sequences: Sequences, skills: int) -> Iterator[str]:
    """What is wrong with a user's trace, in words."""
    if not isinstance(trace, Trace):
        yield f"trace() gave {type(trace).__name__}, expected kt_core.evaluation.tracer.Trace"
        return
    N, S = sequences.interactions, len(sequences)
    later = step_of(sequences) > 0
    for name, values in vars(trace).items():
        if values is None:
            continue
        expected = (S, skills) if name in STATES else (N,)
        if np.shape(values) != expected:
            yield f"{name} has shape {np.shape(values)}, expected {expected}"
            return
        values = np.asarray(values, float)
        if name in SHARES:
            known = values[np.isfinite(values)]
            if known.size and (known.min() < 0 or known.max() > 1):
                wrong = known[(known < 0) | (known > 1)][0]
                yield f"{name} has the value {wrong:.4g}, expected shares in [0, 1]"
    missing = ~np.isfinite(np.asarray(trace.predicted, float)) & later
    if missing.any():
        at = int(np.argmax(missing))
        yield f"predicted[{at}] is not a number, and only first steps may lack a prediction"
