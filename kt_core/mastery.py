"""Mastery: the mathematics of section 3 of the design, in one file.

- `MasteryPath` (mode `retrospective`): the prediction *is* the mastery of the asked skill.
- `SideHeads` (modes `projection` and `cumulative`): a free prediction head, with mastery and gains
  read off beside it.

B learners in a batch, T steps, C skills, D = d_model. Steps count from 0 here: c_t and v_t, the
encoder's context and value states at step t, have seen the answers 0..t.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from kt_core.config import ModelConfig
from kt_core.layers import SequenceDropout, entries, output, outputs

GAIN_STEP = 0.1  # how much mastery one unit of gain adds in `cumulative` (design, section 3)


def at_skill(states: Float[Tensor, "B T C"], skills: Int[Tensor, "B T"]) -> Float[Tensor, "B T"]:
    """The entry of the skill asked at each step."""
    return states.gather(-1, skills.unsqueeze(-1)).squeeze(-1)


def cumulative_mastery(
    start: Float[Tensor, "B C"], gains: Float[Tensor, "B T C"], carried: bool = False
) -> Float[Tensor, "B T C"]:
    """Mastery as a bounded accumulation of non-negative gains (design, section 3, mode 2).

    ``m_0 = start`` and ``m_t = min(1, m_{t-1} + 0.1 g_t)``: since gains are non-negative this is
    ``min(1, start + 0.1 (g_1 + ... + g_t))``, one cumulative sum and no loop over time.

    Parameters
    ----------
    start : mastery at the first step, in [0, 1].
    gains : non-negative.
    carried : whether `start` is the mastery in which an earlier chunk of the same learner ended;
        the gain of step 0 then counts too.

    Returns
    -------
    Mastery in [0, 1], in the dtype of `gains`, never falling along T: not by one rounding unit.
    """
    dtype = gains.dtype
    if dtype in (torch.float16, torch.bfloat16):
        start, gains = start.float(), gains.float()
    if not carried:
        gains = torch.cat([torch.zeros_like(gains[:, :1]), gains[:, 1:]], dim=1)
    mastery = (start.unsqueeze(1) + GAIN_STEP * gains.cumsum(dim=1)).clamp(0.0, 1.0)
    # A parallel cumulative sum may step down by a rounding unit; the running maximum may not.
    return mastery.cummax(dim=1).values.to(dtype)


def retrospective_mastery(
    belief: Float[Tensor, "B C"], gains: Float[Tensor, "B T C"]
) -> Float[Tensor, "B T C"]:
    """Mastery as believed at one horizon: sigmoid(belief + gains so far) (section 3, mode 3).

    Parameters
    ----------
    belief : about the start, on the logit scale.
    gains : non-negative, on the logit scale; 0 after the horizon.

    Returns
    -------
    Mastery in [0, 1], in the dtype of `gains`, never falling along T: not by one rounding unit.
    """
    dtype = gains.dtype
    if dtype in (torch.float16, torch.bfloat16):
        belief, gains = belief.float(), gains.float()
    mastery = (belief.unsqueeze(1) + gains.cumsum(dim=1)).sigmoid()
    return mastery.cummax(dim=1).values.to(dtype)


class MasteryPath(nn.Module):
    """Mode `retrospective`: P(right) = sigmoid(belief about the start + gains so far - difficulty).

    Gains are read at the skill asked, softplus(W[k] . v_u + b[k]), and so is the belief, W[k] . c_t
    + b[k]. As one state cannot hold the past of every skill, each step also leaves evidence on its
    own skill, e_u = E[k] . c_u + a[k] - discount * (gains on k before u), since an answer speaks of
    the level then, and the belief of the start. The belief on k adds the shrunken mean: the sum of
    e_u over the n steps on k so far, by n + doubt. With transfer, the gain of a step also reaches
    other skills, by shares A[q_u, k] >= 0.
    """

    def __init__(self, config: ModelConfig, n_skills: int):
        super().__init__()
        self.belief = nn.Linear(config.d_model, n_skills)
        self.gain = nn.Linear(config.d_model, n_skills)
        self.evidence = nn.Linear(config.d_model, n_skills) if config.evidence else None
        self.raw_prior_strength = nn.Parameter(torch.tensor(0.5)) if config.evidence else None
        self.raw_discount = nn.Parameter(torch.tensor(0.0)) if config.evidence else None
        pairs = (n_skills, n_skills)
        self.transfer = nn.Parameter(torch.full(pairs, 0.01)) if config.transfer else None

    def beliefs(
        self,
        context: Float[Tensor, "B T D"],
        skills: Int[Tensor, "B T"],
        gains_before: Float[Tensor, "B T"],
    ) -> Float[Tensor, "B T T"]:
        """Entry [s, t]: belief after step s about the start on the skill asked at t, a logit.

        `grown` holds the gains on each step's own skill before it.
        """
        weight, bias = outputs(self.belief, skills)
        belief = context @ weight.transpose(1, 2) + bias.unsqueeze(1)
        if self.evidence is None:
            return belief
        same = same_skill(skills).to(belief.dtype)
        return belief + self._mean_evidence(same, self._evidence(context, skills, gains_before))

    def beliefs_before(
        self,
        context: Float[Tensor, "B T D"],
        skills: Int[Tensor, "B T"],
        gains_before: Float[Tensor, "B T"],
    ) -> Float[Tensor, "B T-1"]:
        """Entries [t - 1, t] of `beliefs` alone, for the steps t from the second on: what the next
        answer is predicted from."""
        belief = output(self.belief, context[:, :-1], skills[:, 1:])
        if self.evidence is None:
            return belief
        earlier = same_skill(skills).tril(-1)
        return belief + self._mean_of(earlier, self._evidence(context, skills, gains_before))[:, 1:]

    def beliefs_at(
        self,
        context: Float[Tensor, "B T D"],
        skills: Int[Tensor, "B T"],
        gains_before: Float[Tensor, "B T"],
        horizon: Int[Tensor, "B"],
    ) -> Float[Tensor, "B T"]:
        """Row [horizon] of `beliefs` alone."""
        state = context[torch.arange(len(horizon), device=horizon.device), horizon]
        weight, bias = outputs(self.belief, skills)
        belief = (weight @ state.unsqueeze(-1)).squeeze(-1) + bias
        if self.evidence is None:
            return belief
        seen = torch.arange(skills.shape[1], device=skills.device) <= horizon.unsqueeze(1)
        on = same_skill(skills) & seen.unsqueeze(1)
        return belief + self._mean_of(on, self._evidence(context, skills, gains_before))

    def belief_at_own(
        self,
        context: Float[Tensor, "B T D"],
        skills: Int[Tensor, "B T"],
        gains_before: Float[Tensor, "B T"],
        earlier: Float[Tensor, "B T D"],
    ) -> Float[Tensor, "B T"]:
        """Belief after each step about the start on its own skill, where the states `earlier` hold
        for the steps before it and `context` for the step itself."""
        belief = output(self.belief, context, skills)
        if self.evidence is None:
            return belief
        same = same_skill(skills).to(belief.dtype).tril(-1)
        total = (same @ self._evidence(earlier, skills, gains_before).unsqueeze(-1)).squeeze(-1)
        total = total + self._evidence(context, skills, gains_before)
        return belief + total / (same.sum(-1) + 1 + self.prior_strength)

    def evidence_shares(
        self,
        context: Float[Tensor, "B T D"],
        skills: Int[Tensor, "B T"],
        gains_before: Float[Tensor, "B T"],
        asked: int,
    ) -> Float[Tensor, "B T"]:
        """What each step adds to the belief on one skill after the last step, a logit: its part of
        the mean evidence, and 0 at steps on other skills."""
        if self.evidence is None:
            return torch.zeros_like(gains_before)
        on = (skills == asked).to(gains_before.dtype)
        said = self._evidence(context, skills, gains_before)
        return on * said / (on.sum(1, keepdim=True) + self.prior_strength)

    @property
    def prior_strength(self) -> Float[Tensor, ""]:
        """How many answers the prior is worth against the evidence on a skill."""
        return F.softplus(self.raw_prior_strength).clamp(min=1e-3)  # not 0, whatever the weights

    @property
    def discount(self) -> Float[Tensor, ""]:
        """Which share of the gains before a step its evidence about the start leaves out."""
        return self.raw_discount.sigmoid()

    def _evidence(
        self,
        context: Float[Tensor, "B T D"],
        skills: Int[Tensor, "B T"],
        gains_before: Float[Tensor, "B T"],
    ) -> Float[Tensor, "B T"]:
        # Detached: gains answer for the trajectory, and do not bend to what suits the belief.
        return output(self.evidence, context, skills) - self.discount * gains_before.detach()

    def _mean_evidence(
        self, on: Float[Tensor, "B T K"], said: Float[Tensor, "B T"]
    ) -> Float[Tensor, "B T K"]:
        """Shrunken mean, up to each step, of what the steps with ``on = 1`` said."""
        wide = torch.promote_types(said.dtype, torch.float32)  # half precision counts to 256
        total = (on * said.unsqueeze(-1)).cumsum(1, dtype=wide)
        return (total / (on.cumsum(1, dtype=wide) + self.prior_strength)).to(said.dtype)

    def _mean_of(
        self, on: Bool[Tensor, "B S T"], said: Float[Tensor, "B T"]
    ) -> Float[Tensor, "B S"]:
        """Shrunken mean of what was said at the steps that are `on`."""
        wide = torch.promote_types(said.dtype, torch.float32)
        on = on.to(wide)
        total = (on @ said.to(wide).unsqueeze(-1)).squeeze(-1)
        return (total / (on.sum(-1) + self.prior_strength)).to(said.dtype)

    def own_gains(
        self, value: Float[Tensor, "B T D"], skills: Int[Tensor, "B T"]
    ) -> Float[Tensor, "B T"]:
        """Gain of each step on the skill asked there, on the logit scale, >= 0."""
        return _credible(F.softplus(output(self.gain, value, skills)))

    def shares(self) -> Float[Tensor, "C C"]:
        """What part of a gain on skill i reaches skill j; 1 on the diagonal."""
        own = torch.eye(self.belief.out_features, device=self.belief.weight.device)
        if self.transfer is None:
            return own
        return torch.where(own > 0, own, self.transfer.relu())

    def contributions(
        self, gains: Float[Tensor, "B T"], skills: Int[Tensor, "B T"]
    ) -> Float[Tensor, "B T T"]:
        """Entry [s, u]: what the gain of step u adds to the asked skill's logit before step s."""
        T = skills.shape[1]
        earlier = torch.ones(T, T, dtype=torch.bool, device=skills.device).tril(-1)
        if self.transfer is None:
            reach = same_skill(skills).to(gains.dtype)
        else:
            pair = skills.unsqueeze(1) * self.belief.out_features + skills.unsqueeze(2)
            reach = entries(self.shares().view(-1), pair).to(gains.dtype)
        return torch.where(earlier, reach * gains.unsqueeze(1), 0.0)

    def net_growth(
        self, gains: Float[Tensor, "B T"], skills: Int[Tensor, "B T"]
    ) -> Float[Tensor, "B T"]:
        """What all gains before each step do to its logit: they add themselves, and the belief
        leaves out its share of them."""
        gains_before = self.contributions(gains, skills).sum(-1)
        if self.evidence is None:
            return gains_before
        return gains_before - self.discount * self._mean_of(
            same_skill(skills).tril(-1), gains_before
        )

    def all_gains(
        self, value: Float[Tensor, "B T D"], skills: Int[Tensor, "B T"]
    ) -> Float[Tensor, "B T C"]:
        """Gain of each step on every skill."""
        own = self.own_gains(value, skills).unsqueeze(-1)
        return _credible(own * F.embedding(skills, self.shares()).to(own.dtype))

    def read(
        self,
        context: Float[Tensor, "B T D"],
        value: Float[Tensor, "B T D"],
        skills: Int[Tensor, "B T"],
        horizon: Int[Tensor, "B"],
    ) -> tuple[Float[Tensor, "B T C"], Float[Tensor, "B T C"], Float[Tensor, "B T C"]]:
        """Belief as a logit, trajectory as believed at `horizon`, and gains."""
        gains = self.all_gains(value, skills)
        belief = self.belief(context)
        if self.evidence is not None:
            on = F.one_hot(skills, belief.shape[-1]).to(belief.dtype)
            gains_before = at_skill(gains.cumsum(dim=1) - gains, skills)
            belief = belief + self._mean_evidence(on, self._evidence(context, skills, gains_before))
        belief = _credible(belief)
        row = torch.arange(len(skills), device=skills.device)
        step = torch.arange(skills.shape[1], device=skills.device)
        known = (step <= horizon.unsqueeze(1)).unsqueeze(-1)
        trajectory = retrospective_mastery(belief[row, horizon], torch.where(known, gains, 0.0))
        return belief, trajectory, gains


class SideHeads(nn.Module):
    """Modes `projection` and `cumulative`: predictions depend on no mastery."""

    def __init__(self, config: ModelConfig, n_skills: int):
        super().__init__()
        D = config.d_model
        self.cumulative = config.mode == "cumulative"
        self.embed_skill = nn.Embedding(n_skills, D)
        self.predict = nn.Sequential(
            nn.Linear(3 * D, config.d_ff),
            nn.ReLU(),
            SequenceDropout(config.dropout),
            nn.Linear(config.d_ff, 1),
        )
        self.mastery = nn.Linear(D, n_skills)
        self.gain = nn.Linear(D, n_skills)

    def forward(
        self,
        context: Float[Tensor, "B P D"],
        value: Float[Tensor, "B P D"],
        asked: Int[Tensor, "B P"],
    ) -> Float[Tensor, "B P"]:
        """Logits of the responses to the skills asked next: a head on [c_t, v_t, e(q_{t+1})]."""
        return self.predict(torch.cat([context, value, self.embed_skill(asked)], -1)).squeeze(-1)

    def read(
        self,
        context: Float[Tensor, "B T D"],
        value: Float[Tensor, "B T D"],
        start: Float[Tensor, "B C"] | None = None,
    ) -> tuple[Float[Tensor, "B T C"], Float[Tensor, "B T C"]]:
        """Mastery and gains of every skill at every step, by the model's mode."""
        if not self.cumulative:
            return self.mastery(context), self.gain(value)
        gains = self.gain(value).relu().nan_to_num(nan=0.0)
        carried = start is not None
        if start is None:
            start = self.mastery(context[:, 0]).sigmoid().nan_to_num(nan=0.0)
        return cumulative_mastery(start.to(gains.dtype), gains, carried), gains


def same_skill(skills: Int[Tensor, "B T"]) -> Bool[Tensor, "B T T"]:
    """Which pairs of steps are on the same skill."""
    return skills.unsqueeze(2) == skills.unsqueeze(1)


def _credible(values: Tensor) -> Tensor:
    """Weights so large that states overflow must not break a guarantee: infinite becomes the
    largest number, and what is no number says nothing. Predictions are no numbers then either, and
    that is an error in training and evaluation."""
    return values.nan_to_num(nan=0.0)
