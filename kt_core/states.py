"""What is read of a batch, and what is believed at each of its steps, in every mode.

B learners in a batch, T steps, C skills, D = d_model. Steps count from 0 here: c_t and v_t, the
encoder's context and value states at step t, have seen the answers 0..t.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from kt_core.layers import Ids, Next, Skills, Start, Steps, Vectors
from kt_core.reading import Reading


@dataclass
class Encoded:
    """A batch as the encoder and, in the modes of `MasteryPath`, the skeleton have read it.

    Attributes
    ----------
    context, value : [B, T, D], the two streams; step t has seen answers 0..t.
    difficulty : [B, T], of the item asked at each step; None where items are unknown.
    reading : of the skeleton; None in the other modes.
    past : what came before, where the steps follow on others.
    """

    skills: Ids
    responses: Ids
    context: Vectors
    value: Vectors
    difficulty: Steps | None = None
    reading: Reading | None = None
    past: PathPast | None = None

    def detach(self) -> Encoded:
        """Without gradients. (Those of a reading are never on.)"""
        d = self.difficulty
        parts = self.context.detach(), self.value.detach(), None if d is None else d.detach()
        return Encoded(self.skills, self.responses, *parts, self.reading, self.past)


@dataclass
class PathPast:
    """What the network of `MasteryPath` keeps of the steps before a window.

    Attributes
    ----------
    evidence, steps : [B, C], what the steps on each skill have left there, and their number.
    context : [B, D], at the last step.
    belief, factor, network : [B, C], at the last step: about the start of each skill, what a unit
        of practice adds to it, and what of the belief is the network's. None where the first step
        after it is not predicted.
    """

    evidence: Float[Tensor, "B C"]
    steps: Float[Tensor, "B C"]
    context: Float[Tensor, "B D"]
    belief: Start | None = None
    factor: Start | None = None
    network: Start | None = None


@dataclass
class States:
    """The states of one forward pass; each field says which answers it has seen.

    Attributes
    ----------
    logits : [B, P], P = T-1; ``logits[:, t]`` predicts the response of step t+1 from steps 0..t.
    encoded : what they are read from.
    asked : [B, P], mastery of the skill of step t+1 just before that step, on the evidence up to t:
        the only field that a *pre* measure may read. Without forgetting it is in `filtered`.
    filtered : [B, T, C], mastery right after step t on the evidence up to t.
    trajectory : [B, T, C], mastery right after step t as believed at the last step. In `projection`
        and `cumulative` belief is not revised, so it is `filtered`. None for a window of a history,
        whose last step is not known yet.
    gains : [B, T, C], the learning gain credited at step t; in the modes of `MasteryPath` on the
        logit scale, and as believed at the last step. None for a window.
    own_gains : [B, T], of the skill asked, as believed at the step itself.
    belief, factor : [B, T, C], belief at step t about the start, a logit, and about what a unit of
        practice adds; `MasteryPath` only.
    deviation : [B, T, C], standard deviation of the level behind `filtered`, in logits;
        `MasteryPath` only.
    rested : [B, T, C], as `trajectory`, but right before step t; `retentive` only.
    network, form : [B, P], the parts of `logits` that a network alone adds to the belief, and to
        the prediction; `MasteryPath` only.
    flip : [B, T], mastery of the skill asked after a right answer minus that after a wrong one;
        `MasteryPath` only.
    onward : for the steps that follow; `MasteryPath` only.

    Of a window that follows on other steps, `logits`, `asked`, `network` and `form` are [B, T]: its
    first step is predicted, too.
    """

    logits: Next
    encoded: Encoded
    asked: Next
    filtered: Skills
    trajectory: Skills | None
    gains: Skills | None
    own_gains: Steps
    belief: Skills | None = None
    factor: Skills | None = None
    deviation: Skills | None = None
    rested: Skills | None = None
    network: Next | None = None
    form: Next | None = None
    flip: Steps | None = None
    onward: PathPast | None = None

    def detach(self) -> States:
        """Without gradients."""
        tensors = {name: x for name, x in vars(self).items() if hasattr(x, "detach")}
        return dataclasses.replace(self, **{name: x.detach() for name, x in tensors.items()})


def latest(values: Tensor, like: Tensor) -> Tensor:
    """The last steps, as many as another tensor has."""
    return values[:, values.shape[1] - like.shape[1] :]


def at_skill(states: Skills, skills: Ids) -> Steps:
    """[B, T], the entry of the skill asked at each step."""
    return states.gather(-1, skills.unsqueeze(-1)).squeeze(-1)


def asked_next(states: Skills, skills: Ids, before: Start | None = None) -> Next:
    """[B, P], the entry at step t of the skill asked at step t+1; with the states `before` the
    first step, [B, T]."""
    later = at_skill(states[:, :-1], skills[:, 1:])
    return later if before is None else torch.cat([before.gather(1, skills[:, :1]), later], 1)


def credible(values: Tensor) -> Tensor:
    """Finite values: infinite ones become the largest number, and NaN becomes 0.

    The guarantees must hold even for weights so large that states overflow. Predictions are then
    not finite either, which training and evaluation report as an error.
    """
    return values.nan_to_num(nan=0.0)
