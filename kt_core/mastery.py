"""Mastery in mode `retrospective`, where the prediction *is* the mastery of the asked skill.

The other modes are in `side_heads.py`. Both kinds of heads have the same methods (`next_logits`,
`states`, `trajectory_at`, `own_mastery`): the mode is decided once, where the model is built. B
learners in a batch, T steps, C skills, D = d_model. Steps count from 0 here: c_t and v_t, the
encoder's context and value states at step t, have seen the answers 0..t. The mathematics in words:
docs/method.md, "The three modes".
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
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
    entries,
    output,
    outputs,
)


@dataclass
class States:
    """The states of one forward pass; each field says which answers it has seen.

    Attributes
    ----------
    logits : [B, P], P = T-1; ``logits[:, t]`` predicts the response of step t+1 from steps 0..t.
    context, value : [B, T, D], the two streams; step t has seen answers 0..t.
    filtered : [B, T, C], mastery at step t on the evidence up to t. Shifted by one step it is
        pre-response: the only field that a *pre* measure may read.
    trajectory : [B, T, C], mastery at step t as believed at the last step. In `projection` and
        `cumulative` belief is not revised, so it is `filtered`.
    gains : [B, T, C], the learning gain credited at step t; on the logit scale in `retrospective`.
    belief : [B, T, C], belief at step t about the start, a logit; `retrospective` only.
    """

    logits: Next
    context: Vectors
    value: Vectors
    filtered: Skills
    trajectory: Skills
    gains: Skills
    belief: Skills | None = None


@dataclass
class PathTerms:
    """The parts of the predictions in mode `retrospective`, on the logit scale.

    Attributes
    ----------
    heads, context, skills : from which single beliefs about the start are read.
    gains : [B, T], gain of each step on its own skill, >= 0.
    gains_before : [B, T], sum of the gains before each step on its own skill.
    difficulty : [B, T], of the item asked at each step; 0 where it is unknown.
    belief : [B, T, T], entry [s, t] is the belief after step s about the start on the skill asked
        at step t; None where only single entries are needed.
    """

    heads: MasteryPath
    context: Vectors
    skills: Ids
    gains: Steps
    gains_before: Steps
    difficulty: Steps
    belief: Float[Tensor, "B T T"] | None

    def next_step(self) -> Next:
        """Logits of the next responses: l_{t,k|t} - d with k = q_{t+1}."""
        if self.belief is None:
            belief = self.heads.beliefs_before(self.context, self.skills, self.gains_before)
        else:
            belief = self.belief.diagonal(1, 1, 2)
        return belief + self.gains_before[:, 1:] - self.difficulty[:, 1:]

    def at(self, horizon: Horizon) -> Steps:
        """Logits of all responses, including that of step 0, as believed at step `horizon`."""
        if self.belief is None:
            belief = self.heads.beliefs_at(self.context, self.skills, self.gains_before, horizon)
        else:
            belief = self.belief[torch.arange(len(horizon), device=horizon.device), horizon]
        return belief + self.gains_before - self.difficulty

    def forecasts(self) -> Float[Tensor, "B T T"]:
        """Logits of all responses as believed at all steps; entry [s, t]: step t, at step s.

        Gains take no gradient from here, because they have seen the answers between s and t.
        """
        return self.belief + (self.gains_before.detach() - self.difficulty).unsqueeze(1)


def at_skill(states: Skills, skills: Ids) -> Steps:
    """[B, T], the entry of the skill asked at each step."""
    return states.gather(-1, skills.unsqueeze(-1)).squeeze(-1)


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
    mastery = (belief.unsqueeze(1) + gains.cumsum(dim=1)).sigmoid()
    return mastery.cummax(dim=1).values.to(dtype)


class MasteryPath(nn.Module):
    """Mode `retrospective`: P(right) = sigmoid(belief about the start + gains so far - difficulty).

    The gain of step u is read at the skill k asked there, softplus(W[k] . v_u + b[k]), and so is
    the belief, W[k] . c_t + b[k]. One state cannot hold the past of every skill, so each step also
    leaves evidence about the start on its own skill, e_u = E[k] . c_u + a[k] - discount * (gains on
    k before u); the discount is there because the answer depended on the level at that time. The
    belief adds the shrunken mean of the evidence: the sum of e_u over the n steps on k so far,
    divided by n + prior strength. With transfer, the gain of a step also reaches other skills, in
    shares A[q_u, k] >= 0.

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
        self.belief = nn.Linear(config.d_model, n_skills)
        self.gain = nn.Linear(config.d_model, n_skills)
        self.evidence = nn.Linear(config.d_model, n_skills) if config.evidence else None
        self.raw_prior_strength = nn.Parameter(torch.tensor(0.5)) if config.evidence else None
        self.raw_discount = nn.Parameter(torch.tensor(0.0)) if config.evidence else None
        pairs = (n_skills, n_skills)
        self.transfer = nn.Parameter(torch.full(pairs, 0.01)) if config.transfer else None
        nn.init.constant_(self.gain.bias, -3.0)  # gains start small, at about 0.05
        if config.evidence:  # and evidence at 0
            nn.init.zeros_(self.evidence.weight)
            nn.init.zeros_(self.evidence.bias)

    def terms(
        self,
        context: Vectors,
        value: Vectors,
        skills: Ids,
        difficulty: Steps | None = None,
        every_pair: bool = True,
    ) -> PathTerms:
        """The parts of all predictions.

        Parameters
        ----------
        every_pair : whether to read the beliefs of all pairs of steps, which the forecast term
            needs. If not, `PathTerms.next_step` and `PathTerms.at` read only their own.
        """
        gains = self.own_gains(value, skills)
        gains_before = self.contributions(gains, skills).sum(-1)
        d = torch.zeros_like(gains) if difficulty is None else difficulty
        belief = self.beliefs(context, skills, gains_before) if every_pair else None
        return PathTerms(self, context, skills, gains, gains_before, d, belief)

    def next_logits(
        self, context: Vectors, value: Vectors, skills: Ids, difficulty: Steps | None = None
    ) -> Next:
        """Logits of the next responses, from the states of each step."""
        return self.terms(context, value, skills, difficulty, every_pair=False).next_step()

    def states(
        self,
        context: Vectors,
        value: Vectors,
        skills: Ids,
        difficulty: Steps | None,
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
        belief, trajectory, gains = self._read(context, value, skills, last)
        level = belief + gains.cumsum(dim=1)
        # From the same numbers as mastery, so that without items predictions equal it exactly.
        logits = at_skill(level[:, :-1], skills[:, 1:])
        logits = logits if difficulty is None else logits - difficulty[:, 1:]
        return States(logits, context, value, level.sigmoid(), trajectory, gains, belief)

    def trajectory_at(self, states: States, skills: Ids, horizon: Horizon) -> Skills:
        """Mastery at every step as believed at step `horizon`; after it, as it stood there."""
        return self._read(states.context, states.value, skills, horizon)[1]

    def own_mastery(
        self,
        context: Vectors,
        value: Vectors,
        skills: Ids,
        states: States,
        start: Start | None = None,
    ) -> Steps:
        """Mastery of the asked skill after each step: `context` and `value` are the states at the
        step itself, and `states` holds the history before it."""
        gains_before = self.contributions(at_skill(states.gains, skills), skills).sum(-1)
        belief = self.belief_at_own(context, skills, gains_before, states.context)
        return (belief + gains_before + self.own_gains(value, skills)).sigmoid()

    def beliefs(self, context: Vectors, skills: Ids, gains_before: Steps) -> Float[Tensor, "B T T"]:
        """Entry [s, t]: belief after step s about the start on the skill asked at t, a logit.

        `gains_before` is that of `PathTerms`.
        """
        weight, bias = outputs(self.belief, skills)
        belief = context @ weight.transpose(1, 2) + bias.unsqueeze(1)
        return belief + self._running_mean(
            same_skill(skills), self._evidence(context, skills, gains_before)
        )

    def beliefs_before(self, context: Vectors, skills: Ids, gains_before: Steps) -> Next:
        """Only the entries [t - 1, t] of `beliefs`, from which the next answers are predicted."""
        belief = output(self.belief, context[:, :-1], skills[:, 1:])
        e = self._evidence(context, skills, gains_before)
        return belief + self._evidence_mean(same_skill(skills).tril(-1), e)[:, 1:]

    def beliefs_at(
        self, context: Vectors, skills: Ids, gains_before: Steps, horizon: Horizon
    ) -> Steps:
        """Only the row [horizon] of `beliefs`."""
        state = context[torch.arange(len(horizon), device=horizon.device), horizon]
        weight, bias = outputs(self.belief, skills)
        belief = (weight @ state.unsqueeze(-1)).squeeze(-1) + bias
        seen = torch.arange(skills.shape[1], device=skills.device) <= horizon.unsqueeze(1)
        e = self._evidence(context, skills, gains_before)
        return belief + self._evidence_mean(same_skill(skills) & seen.unsqueeze(1), e)

    def belief_at_own(
        self, context: Vectors, skills: Ids, gains_before: Steps, earlier: Vectors
    ) -> Steps:
        """Belief after each step about the start on its own skill, with the states `earlier` for
        the steps before it and `context` for the step itself."""
        belief = output(self.belief, context, skills)
        before, own = (self._evidence(c, skills, gains_before) for c in (earlier, context))
        return belief + self._evidence_mean(same_skill(skills).tril(-1), before, own)

    def evidence_shares(
        self, context: Vectors, skills: Ids, gains_before: Steps, asked: int
    ) -> Steps:
        """What each step adds to the last belief about one skill, a logit: its part of the mean
        evidence, and 0 at steps on other skills."""
        if self.evidence is None:
            return torch.zeros_like(gains_before)
        on = (skills == asked).to(gains_before.dtype)
        e = self._evidence(context, skills, gains_before)
        return on * e / (on.sum(1, keepdim=True) + self.prior_strength)

    @property
    def prior_strength(self) -> Scalar:
        """How many answers the prior weighs as much as."""
        return F.softplus(self.raw_prior_strength).clamp(min=1e-3)  # above 0 for any weights

    @property
    def discount(self) -> Scalar:
        """Share of the gains before a step that is subtracted from its evidence."""
        return self.raw_discount.sigmoid()

    def _evidence(self, context: Vectors, skills: Ids, gains_before: Steps) -> Steps:
        """e_u of each step; 0 in a model without evidence."""
        if self.evidence is None:
            return torch.zeros_like(gains_before)
        # Detached, so that gains are not trained to suit the belief.
        return output(self.evidence, context, skills) - self.discount * gains_before.detach()

    def _evidence_mean(
        self, mask: Bool[Tensor, "B S T"], e: Steps, own: Steps | None = None
    ) -> Float[Tensor, "B S"]:
        """Shrunken mean of the evidence of the steps in the mask, and of one more step where `own`
        is given: the sum, divided by the number of steps + prior strength."""
        if self.evidence is None:
            return e.new_zeros(mask.shape[:2])
        wide = torch.promote_types(e.dtype, torch.float32)  # half precision counts only to 256
        mask = mask.to(wide)
        total, n = (mask @ e.to(wide).unsqueeze(-1)).squeeze(-1), mask.sum(-1)
        if own is not None:
            total, n = total + own, n + 1
        return (total / (n + self.prior_strength)).to(e.dtype)

    def _running_mean(self, mask: Bool[Tensor, "B T K"], e: Steps) -> Float[Tensor, "B T K"]:
        """`_evidence_mean` up to each step, for K questions at once: the mask says which steps
        belong to each. Running sums take T times less memory than one mask per step."""
        if self.evidence is None:
            return e.new_zeros(mask.shape)
        wide = torch.promote_types(e.dtype, torch.float32)
        mask = mask.to(wide)
        total, n = (mask * e.unsqueeze(-1)).cumsum(1), mask.cumsum(1)
        return (total / (n + self.prior_strength)).to(e.dtype)

    def own_gains(self, value: Vectors, skills: Ids) -> Steps:
        """Gain of each step on its own skill, in logits, >= 0."""
        return _credible(F.softplus(output(self.gain, value, skills)))

    def shares(self) -> Float[Tensor, "C C"]:
        """Share of a gain on skill i that reaches skill j; 1 on the diagonal."""
        own = torch.eye(self.belief.out_features, device=self.belief.weight.device)
        if self.transfer is None:
            return own
        return torch.where(own > 0, own, self.transfer.relu())

    def contributions(self, gains: Steps, skills: Ids) -> Float[Tensor, "B T T"]:
        """Entry [s, u]: what the gain of step u adds to the logit of the skill asked at step s."""
        T = skills.shape[1]
        earlier = torch.ones(T, T, dtype=torch.bool, device=skills.device).tril(-1)
        if self.transfer is None:
            reach = same_skill(skills).to(gains.dtype)
        else:
            pair = skills.unsqueeze(1) * self.belief.out_features + skills.unsqueeze(2)
            reach = entries(self.shares().view(-1), pair).to(gains.dtype)
        return torch.where(earlier, reach * gains.unsqueeze(1), 0.0)

    def net_growth(self, gains: Steps, skills: Ids) -> Steps:
        """Net effect of all gains before each step on its logit: their sum, minus what the belief
        subtracts for them."""
        before = self.contributions(gains, skills).sum(-1)
        if self.evidence is None:
            return before
        return before - self.discount * self._evidence_mean(same_skill(skills).tril(-1), before)

    def all_gains(self, value: Vectors, skills: Ids) -> Skills:
        """Gain of each step on every skill."""
        own = self.own_gains(value, skills).unsqueeze(-1)
        return _credible(own * F.embedding(skills, self.shares()).to(own.dtype))

    def _read(
        self, context: Vectors, value: Vectors, skills: Ids, horizon: Horizon
    ) -> tuple[Skills, Skills, Skills]:
        """Belief as a logit, trajectory as believed at `horizon`, and gains."""
        gains = self.all_gains(value, skills)
        before = at_skill(gains.cumsum(dim=1) - gains, skills)
        on = F.one_hot(skills, self.belief.out_features) > 0
        e = self._evidence(context, skills, before)
        belief = _credible(self.belief(context) + self._running_mean(on, e))
        row = torch.arange(len(skills), device=skills.device)
        step = torch.arange(skills.shape[1], device=skills.device)
        known = (step <= horizon.unsqueeze(1)).unsqueeze(-1)
        trajectory = retrospective_mastery(belief[row, horizon], torch.where(known, gains, 0.0))
        return belief, trajectory, gains


def same_skill(skills: Ids) -> Bool[Tensor, "B T T"]:
    """Entry [s, u]: whether steps s and u are on the same skill."""
    return skills.unsqueeze(2) == skills.unsqueeze(1)


def _credible(values: Tensor) -> Tensor:
    """Finite values: infinite ones become the largest number, and NaN becomes 0.

    The guarantees must hold even for weights so large that states overflow. Predictions are then
    not finite either, which training and evaluation report as an error.
    """
    return values.nan_to_num(nan=0.0)
