"""Modes `projection` and `cumulative`: mastery and gains read off next to a free prediction head.

`projection` is the unconstrained original. In `cumulative` mastery accumulates non-negative gains
and stays in [0, 1], whatever the weights. Notation as in `states.py`; docs/method.md, "The modes".
"""

from __future__ import annotations

import torch
from torch import nn

from kt_core.config import ModelConfig
from kt_core.layers import Horizon, Ids, Next, SequenceDropout, Skills, Start, Steps, Vectors
from kt_core.states import Encoded, States, asked_next, at_skill

GAIN_STEP = 0.1  # how much mastery one unit of gain adds in `cumulative`


def cumulative_mastery(start: Start, gains: Skills, carried: bool = False) -> Skills:
    """Mastery as a bounded accumulation of non-negative gains.

    ``m_0 = start`` and ``m_t = min(1, m_{t-1} + 0.1 g_t)``. As gains are non-negative, this equals
    ``min(1, start + 0.1 (g_1 + ... + g_t))``: one cumulative sum, without a loop over time.

    Parameters
    ----------
    start : mastery at the first step, in [0, 1].
    gains : non-negative.
    carried : whether `start` is the mastery at the end of the learner's previous chunk; the gain of
        step 0 then counts too.

    Returns
    -------
    Mastery in [0, 1], in the dtype of `gains`. It never falls along T, not even by rounding.
    """
    dtype = gains.dtype
    if dtype in (torch.float16, torch.bfloat16):
        start, gains = start.float(), gains.float()
    if not carried:
        gains = torch.cat([torch.zeros_like(gains[:, :1]), gains[:, 1:]], dim=1)
    mastery = (start.unsqueeze(1) + GAIN_STEP * gains.cumsum(dim=1)).clamp(0.0, 1.0)
    # A parallel cumulative sum may fall by a rounding unit; the running maximum cannot.
    return mastery.cummax(dim=1).values.to(dtype)


class SideHeads(nn.Module):
    """Modes `projection` and `cumulative`: no prediction depends on mastery.

    Attributes
    ----------
    answers, on_path, whole_histories : as in `MasteryPath`.
    """

    answers, on_path, whole_histories = 2, False, False

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

    def prepare(
        self, skills: Ids, responses: Ids, difficulty: Steps | None, days: Steps | None
    ) -> None:
        """Nothing is known before the encoder has read."""

    def next_logits(self, encoded: Encoded) -> Next:
        """Logits of the next responses: a head on [c_t, v_t, e(q_{t+1})]."""
        asked = self.embed_skill(encoded.skills[:, 1:])
        states = encoded.context[:, :-1], encoded.value[:, :-1]
        return self.predict(torch.cat([*states, asked], -1)).squeeze(-1)

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
        last : not used.
        start : mastery at the end of the learner's previous chunk; only `cumulative` uses it.
        logits : those of `next_logits`, if they are known already.
        """
        context, value = encoded.context, encoded.value
        logits = self.next_logits(encoded) if logits is None else logits
        if not self.cumulative:
            mastery, gains = self.mastery(context), self.gain(value)
            return self._states(logits, encoded, mastery, gains)
        gains = self.gain(value).relu().nan_to_num(nan=0.0)
        carried = start is not None
        if start is None:
            start = self.mastery(context[:, 0]).sigmoid().nan_to_num(nan=0.0)
        mastery = cumulative_mastery(start.to(gains.dtype), gains, carried)
        return self._states(logits, encoded, mastery, gains)

    @staticmethod
    def _states(logits: Next, encoded: Encoded, mastery: Skills, gains: Skills) -> States:
        asked, own = asked_next(mastery, encoded.skills), at_skill(gains, encoded.skills)
        return States(logits, encoded, asked, mastery, mastery, gains, own)

    def trajectory_at(self, states: States, horizon: Horizon) -> Skills:
        """Mastery at every step up to `horizon`; after it, as it stood there."""
        step = torch.arange(states.filtered.shape[1], device=horizon.device)
        at = torch.minimum(step, horizon.unsqueeze(1)).unsqueeze(-1)
        return states.filtered.gather(1, at.expand_as(states.filtered))

    def flips(
        self, states: States, context: Vectors, value: Vectors, start: Start | None = None
    ) -> Steps:
        """Mastery of the asked skill after a right answer minus that after a wrong one: `context`
        and `value` are the states of each step, had it been answered otherwise."""
        true = at_skill(states.filtered, states.encoded.skills)
        other = self._own(states, context, value, start)
        return torch.where(states.encoded.responses == 1, true - other, other - true)

    def _own(self, states: States, context: Vectors, value: Vectors, start: Start | None) -> Steps:
        """Mastery of the asked skill after each step: `context` and `value` are the states at the
        step itself, and `states` holds the history before it."""
        skills = states.encoded.skills
        if not self.cumulative:
            return at_skill(self.mastery(context), skills)
        gain = at_skill(self.gain(value).relu(), skills)
        first = start if start is not None else self.mastery(context[:, 0]).sigmoid()
        before = torch.cat([first.unsqueeze(1), states.filtered[:, :-1]], 1)
        own = (at_skill(before, skills) + GAIN_STEP * gain).clamp(max=1.0)
        if start is None:
            own[:, 0] = at_skill(before[:, :1], skills[:, :1])[:, 0]
        return own
