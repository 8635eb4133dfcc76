"""The skeleton of mode `retrospective` alone: what its network adds is the difference to this."""

from __future__ import annotations

from kt_core.baselines.counts import check_fitted
from kt_core.config import ModelConfig
from kt_core.data.sequences import Sequences, Splits
from kt_core.evaluation.evaluate import read
from kt_core.evaluation.tracer import Trace
from kt_core.model import GainAKT2
from kt_core.training.module import new_model
from kt_core.training.skeleton import fit_skeleton

IDLE = ModelConfig(d_model=8, heads=1, blocks=1, d_ff=8, dropout=0.0)  # a network that says nothing


class SkeletonTracer:
    """Ability, starts, speed and gains (docs/method.md, "The skeleton"), without a network.

    Parameters
    ----------
    steps : see `kt_core.training.skeleton.fit_skeleton`.
    """

    name = "skeleton"

    def __init__(self, steps: int = 400) -> None:
        self.steps, self.model = steps, None

    def fit(self, splits: Splits, seed: int = 0) -> None:
        """Fit to training learners; validation learners decide whether gains transfer."""
        model: GainAKT2 = new_model(IDLE, splits).eval()
        fit_skeleton(model, splits, seed, self.steps)
        self.model = model

    def trace(self, sequences: Sequences) -> Trace:
        """Beliefs about whole histories."""
        check_fitted(self.name, None if self.model is None else self.model.n_skills, sequences)
        return read(self.model, sequences)[0]
