"""Modes `retrospective` and `retentive`: a psychometric skeleton, and what a network adds to it.

The other modes are in `side_heads.py`. Both kinds of heads have the same methods (`next_logits`,
`states`, `trajectory_at`, `flips`): the mode is decided once, where the model is built. B
learners in a batch, T steps, C skills, D = d_model. Steps count from 0 here: c_t and v_t, the
encoder's context and value states at step t, have seen the answers 0..t. The mathematics in words:
docs/method.md, "The modes".
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from kt_core.config import ModelConfig
from kt_core.layers import (
    Horizon,
    Ids,
    Next,
    Scalar,
    Skills,
    Start,
    Steps,
    Vectors,
    output,
    outputs,
)
from kt_core.posterior import Level
from kt_core.retention import retentive_mastery
from kt_core.skeleton import HIDDEN, MOST_SKILLS, Reading, Skeleton, same_skill


@dataclass
class Encoded:
    """A batch as the encoder and, in the modes of `MasteryPath`, the skeleton have read it.

    Attributes
    ----------
    context, value : [B, T, D], the two streams; step t has seen answers 0..t.
    difficulty : [B, T], of the item asked at each step; None where items are unknown.
    reading : of the skeleton; None in the other modes.
    """

    skills: Ids
    responses: Ids
    context: Vectors
    value: Vectors
    difficulty: Steps | None = None
    reading: Reading | None = None

    def detach(self) -> Encoded:
        """Without gradients. (Those of a reading are never on.)"""
        d = self.difficulty
        parts = self.context.detach(), self.value.detach(), None if d is None else d.detach()
        return Encoded(self.skills, self.responses, *parts, self.reading)


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
        and `cumulative` belief is not revised, so it is `filtered`.
    gains : [B, T, C], the learning gain credited at step t; in the modes of `MasteryPath` on the
        logit scale, and as believed at the last step.
    own_gains : [B, T], of the skill asked, as believed at the step itself.
    belief : [B, T, C], belief at step t about the start, a logit; `MasteryPath` only.
    deviation : [B, T, C], standard deviation of the level behind `filtered`, in logits;
        `MasteryPath` only.
    rested : [B, T, C], as `trajectory`, but right before step t; `retentive` only.
    """

    logits: Next
    encoded: Encoded
    asked: Next
    filtered: Skills
    trajectory: Skills
    gains: Skills
    own_gains: Steps
    belief: Skills | None = None
    deviation: Skills | None = None
    rested: Skills | None = None

    def detach(self) -> States:
        """Without gradients."""
        parts = {name: None if x is None else x.detach() for name, x in vars(self).items()}
        return States(**parts)


@dataclass
class PathTerms:
    """The parts of the predictions of `MasteryPath`, on the logit scale."""

    heads: MasteryPath
    encoded: Encoded

    def next_step(self) -> Next:
        """Logits of the next responses: mastery of the asked skill, form and difficulty."""
        level, practice = self.encoded.reading.before(), self.encoded.reading.practice
        known = self._logits(level, practice)[:, 1:]
        return known + self.heads.corrections_before(self.encoded) + self.form()

    def form(self) -> Next:
        """What affects only the next answer and is not part of mastery."""
        return output(self.heads.form, self.encoded.context[:, :-1], self.encoded.skills[:, 1:])

    def at(self, horizon: Horizon) -> Steps:
        """Logits of all responses, including that of step 0, as believed at step `horizon`."""
        e = self.encoded
        known = self._logits(e.reading.at(horizon), e.reading.practice)
        return known + self.heads.corrections_at(e, horizon)

    def forecasts(self) -> Float[Tensor, "B T T"]:
        """Logits of later responses; entry [s, t], t > s: step t, as believed at step s."""
        e = self.encoded
        level, practice = e.reading.pairs()
        correction = self.heads.corrections(e)
        d = None if e.difficulty is None else e.difficulty.unsqueeze(1)
        return level_logits(level, practice, d).to(correction.dtype) + correction

    def _logits(self, level: Level, practice: Steps) -> Steps:
        e = self.encoded
        return level_logits(level, practice, e.difficulty).to(e.context.dtype)


def level_logits(level: Level, practice: Tensor, difficulty: Tensor | None) -> Tensor:
    """The skeleton's own predictions, as logits."""
    known = credible(level.belief) + credible(level.factor * practice)
    return known if difficulty is None else known - level.shrink * difficulty


def at_skill(states: Skills, skills: Ids) -> Steps:
    """[B, T], the entry of the skill asked at each step."""
    return states.gather(-1, skills.unsqueeze(-1)).squeeze(-1)


def asked_next(states: Skills, skills: Ids) -> Next:
    """[B, P], the entry at step t of the skill asked at step t+1."""
    return at_skill(states[:, :-1], skills[:, 1:])


def retrospective_mastery(belief: Start, gains: Skills) -> Skills:
    """Mastery as believed at one horizon: sigmoid(belief + gains so far).

    Parameters
    ----------
    belief : about the start, a logit.
    gains : non-negative, in logits; 0 after the horizon.

    Returns
    -------
    Mastery in [0, 1], in the dtype of `gains`. It never falls along T, not even by rounding.
    """
    dtype = gains.dtype
    if dtype in (torch.float16, torch.bfloat16):
        belief, gains = belief.float(), gains.float()
    start = belief.sigmoid().unsqueeze(1)
    mastery = (belief.unsqueeze(1) + gains.cumsum(dim=1)).sigmoid()
    return torch.where(gains > 0, mastery, start).cummax(dim=1).values.to(dtype)


class MasteryPath(nn.Module):
    """P(right) = sigmoid(belief about the start + gains so far + form - difficulty).

    In `retentive` gains count for what is left of them.

    Belief and gains are the skeleton's, as believed at the horizon. The network corrects the belief
    about a skill k by W[k] . c_t + w[k] and, as one state cannot hold the past of every skill, by
    the shrunken mean of what each step on k has left there: the sum of E[k] . v_u + e[k], divided
    by the number of steps on k + prior strength. An answer on k itself enters both only with the
    next step: right after it the skeleton alone says what it means, so that no right answer leaves
    mastery of its skill lower than a wrong one would have. What the network says about only the
    next answer, F[k] . c_t + f[k], is the *form*, which is not part of mastery. All start at 0:
    training starts from the skeleton.

    Attributes
    ----------
    answers : kinds of answers that the encoder tells apart: wrong, right and hidden.
    on_path : whether predictions are made from mastery. If so, answers can be hidden from the
        belief, and a prediction can be decomposed.
    whole_histories : whether a learner's whole history is read at once.
    """

    answers, on_path, whole_histories = 3, True, True

    def __init__(self, config: ModelConfig, n_skills: int):
        super().__init__()
        transfer = config.transfer and n_skills <= MOST_SKILLS
        self.skeleton = Skeleton(n_skills, transfer, config.mode == "retentive")
        self.correction = nn.Linear(config.d_model, n_skills)
        self.evidence = nn.Linear(config.d_model, n_skills)
        self.raw_prior_strength = nn.Parameter(torch.tensor(0.5))
        self.form = nn.Linear(config.d_model, n_skills)
        for head in (self.correction, self.evidence, self.form):
            nn.init.zeros_(head.weight)
            nn.init.zeros_(head.bias)

    @torch.no_grad()
    def prepare(
        self, skills: Ids, responses: Ids, difficulty: Steps | None, days: Steps | None
    ) -> Reading:
        """What the skeleton says; the encoder reads it too."""
        return self.skeleton.read(skills, responses, difficulty, days)

    def next_logits(self, encoded: Encoded) -> Next:
        """Logits of the next responses, from the states of each step."""
        return PathTerms(self, encoded).next_step()

    def states(
        self,
        encoded: Encoded,
        last: Horizon,
        start: Start | None = None,
        logits: Next | None = None,
    ) -> States:
        """All states.

        Parameters
        ----------
        last : the horizon of the trajectory.
        start, logits : not used in this mode.
        """
        e = encoded
        every, practice = e.reading.every_skill()
        belief, factor, unit = self._read(e, every)
        level = belief + credible(factor * practice.to(factor.dtype))
        # From the same numbers as mastery, so that predictions equal it exactly but for the rest.
        known = asked_next(level, e.skills)
        if e.reading.kept is not None:  # the break before the question has passed, too
            total = asked_next(e.reading.all_gains.cumsum(1), e.skills)
            left = total - at_skill(e.reading.lost, e.skills)[:, 1:]
            left = asked_next(factor, e.skills) * left.to(factor.dtype)
            known = asked_next(belief, e.skills) + credible(left)
        logits = known + PathTerms(self, e).form()
        if e.difficulty is not None:
            logits = logits - (e.reading.before().shrink * e.difficulty)[:, 1:].to(logits.dtype)
        trajectory, gains, rested = self._believed(e, belief, factor, unit, last)
        own = credible(at_skill(factor, e.skills) * e.reading.gains.to(factor.dtype))
        deviation = credible(every.variance.sqrt()).to(level.dtype)
        return States(
            logits,
            e,
            known.sigmoid(),
            self._filtered(e, level),
            trajectory,
            gains,
            own,
            belief,
            deviation,
            rested,
        )

    def _filtered(self, e: Encoded, level: Skills) -> Skills:
        """Mastery after each step, in the order that `flips` promises."""
        right, wrong = self._own(e)
        mastery, asked = level.sigmoid(), e.skills.unsqueeze(-1)
        hidden = at_skill(mastery, e.skills)
        own = torch.where(e.responses == 1, right, torch.where(e.responses == 0, wrong, hidden))
        return mastery.scatter(-1, asked, own.unsqueeze(-1))

    def trajectory_at(self, states: States, horizon: Horizon) -> Skills:
        """Mastery at every step as believed at step `horizon`; after it, as it stood there."""
        e = states.encoded
        return self._believed(e, *self._read(e, e.reading.every_skill()[0]), horizon)[0]

    def flips(self, states: States) -> Steps:
        """Mastery of the asked skill after a right answer minus that after a wrong one, never below
        0."""
        right, wrong = self._own(states.encoded)
        return right - wrong

    def _own(self, e: Encoded) -> tuple[Steps, Steps]:
        """Mastery of the asked skill after each step, had it been answered right, and wrong: of
        what the skeleton believes after either answer, the higher, and the lower. The network's
        correction does not know the answer yet."""
        step = torch.arange(e.skills.shape[1], device=e.skills.device).expand_as(e.skills)
        network = self._correction_from(e, step - 1, e.skills, same_skill(e.skills))
        right, wrong = (credible(x + network).sigmoid() for x in self._after(e))
        return torch.maximum(right, wrong), torch.minimum(right, wrong)

    @torch.no_grad()
    def _after(self, e: Encoded) -> tuple[Steps, Steps]:
        """The skeleton's level of the asked skill after a right and after a wrong answer."""
        return tuple(level_logits(*x, None).to(e.context.dtype) for x in e.reading.outcomes)

    @torch.no_grad()
    def _order(self, e: Encoded) -> Steps:
        """[B, T], what takes the belief after an answer to where the other answer would have taken
        it, if that is higher after a right one, or lower after a wrong one."""
        right, wrong = self._after(e)
        short = (wrong - right).relu()
        short = torch.where(e.responses == 1, short, -short)
        return torch.where(e.responses < HIDDEN, short, 0.0)

    def corrections(self, e: Encoded) -> Float[Tensor, "B T T"]:
        """Entry [s, t]: after step s, of the belief about the skill asked at t, a logit."""
        weight, bias = outputs(self.correction, e.skills)
        correction = e.context @ weight.transpose(1, 2) + bias.unsqueeze(1)
        same = same_skill(e.skills)
        correction = correction + self._running_mean(same, self._left(e))
        return torch.where(same, _earlier(correction) + self._order(e).unsqueeze(-1), correction)

    def corrections_before(self, e: Encoded) -> Next:
        """Only the entries [t - 1, t] of `corrections`, which predict the next answers."""
        again = e.skills[:, 1:] == e.skills[:, :-1]
        step = torch.arange(again.shape[1], device=e.skills.device)
        same = same_skill(e.skills)[:, 1:]
        correction = self._correction_from(e, step - again.long(), e.skills[:, 1:], same)
        return correction + torch.where(again, self._order(e)[:, :-1], 0.0)

    def corrections_at(self, e: Encoded, horizon: Horizon) -> Steps:
        """Only the row [horizon] of `corrections`."""
        row, h = torch.arange(len(horizon), device=horizon.device), horizon.unsqueeze(1)
        again = e.skills == e.skills[row, horizon].unsqueeze(1)
        correction = self._correction_from(e, h - again.long(), e.skills, same_skill(e.skills))
        return correction + torch.where(again, self._order(e)[row, horizon].unsqueeze(1), 0.0)

    def _correction_from(
        self,
        e: Encoded,
        last: Int[Tensor, "B S"],
        skills: Int[Tensor, "B S"],
        same: Bool[Tensor, "B S T"],
    ) -> Float[Tensor, "B S"]:
        """Of the belief about some skills, from the steps up to `last`; 0 where there are none."""
        at = last.clamp(min=0).unsqueeze(-1).expand(-1, -1, e.context.shape[-1])
        correction = output(self.correction, e.context.gather(1, at), skills)
        step = torch.arange(e.skills.shape[1], device=skills.device)
        seen = same & (step <= last.unsqueeze(-1))
        correction = correction + self._evidence_mean(seen, self._left(e))
        return torch.where(last >= 0, correction, 0.0)

    @property
    def prior_strength(self) -> Scalar:
        """How many answers the prior weighs as much as."""
        return F.softplus(self.raw_prior_strength).clamp(min=1e-3)  # above 0 for any weights

    def _left(self, e: Encoded) -> Steps:
        """The evidence that each step leaves on its skill."""
        return output(self.evidence, e.value, e.skills)

    def _evidence_mean(self, mask: Bool[Tensor, "B S T"], left: Steps) -> Float[Tensor, "B S"]:
        """Shrunken mean of the evidence of the steps in the mask: the sum, divided by the number of
        steps + prior strength."""
        wide = torch.promote_types(left.dtype, torch.float32)  # half precision counts only to 256
        mask = mask.to(wide)
        total, n = (mask @ left.to(wide).unsqueeze(-1)).squeeze(-1), mask.sum(-1)
        return (total / (n + self.prior_strength)).to(left.dtype)

    def _running_mean(self, mask: Bool[Tensor, "B T K"], left: Steps) -> Float[Tensor, "B T K"]:
        """`_evidence_mean` up to each step, for K questions at once: the mask says which steps
        belong to each. Running sums take T times less memory than one mask per step."""
        wide = torch.promote_types(left.dtype, torch.float32)
        mask = mask.to(wide)
        total, n = (mask * left.unsqueeze(-1)).cumsum(1), mask.cumsum(1)
        return (total / (n + self.prior_strength)).to(left.dtype)

    def _read(self, e: Encoded, level: Level) -> tuple[Skills, Skills, Skills]:
        """Belief about the start, what a unit of practice adds to it, and units of practice."""
        dtype = e.context.dtype
        on = F.one_hot(e.skills, self.skeleton.n_skills) > 0
        correction = self.correction(e.context) + self._running_mean(on, self._left(e))
        own = _earlier(correction) + self._order(e).unsqueeze(-1)
        correction = torch.where(on, own, correction)
        belief = credible(level.belief.to(dtype) + correction)
        return belief, credible(level.factor).to(dtype), e.reading.all_gains.to(dtype)

    def _believed(
        self, e: Encoded, belief: Skills, factor: Skills, unit: Skills, horizon: Horizon
    ) -> tuple[Skills, Skills, Skills | None]:
        """Trajectory, gains and, in `retentive`, mastery before each step, as believed at
        `horizon`."""
        row = torch.arange(len(horizon), device=horizon.device)
        belief, factor = belief[row, horizon], factor[row, horizon].unsqueeze(1)
        gains = credible(factor * unit)
        step = torch.arange(unit.shape[1], device=unit.device)
        known = (step <= horizon.unsqueeze(1)).unsqueeze(-1)
        past = torch.where(known, gains, 0.0)
        if e.reading.kept is None:
            return retrospective_mastery(belief, past), gains, None
        lost = credible(factor * e.reading.lost.to(factor.dtype))
        lost = torch.where(known, lost, lost[row, horizon].unsqueeze(1))
        trajectory, rested = retentive_mastery(belief, past, lost)
        return trajectory, gains, rested


def _earlier(values: Float[Tensor, "B T K"]) -> Float[Tensor, "B T K"]:
    """Those of the step before; 0 at the first step."""
    return F.pad(values, (0, 0, 1, 0))[:, :-1]


def credible(values: Tensor) -> Tensor:
    """Finite values: infinite ones become the largest number, and NaN becomes 0.

    The guarantees must hold even for weights so large that states overflow. Predictions are then
    not finite either, which training and evaluation report as an error.
    """
    return values.nan_to_num(nan=0.0)
