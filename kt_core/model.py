"""GainAKT2: the encoder, and what is read from its states, behind one interface.

B learners in a batch, T steps, C skills, D = d_model. Steps count from 0 here: `skills[:, t]`,
`responses[:, t]`.

- `GainAKT2.forward` predicts the next response; it builds no [B, T, C] tensor.
- `GainAKT2.forward_with_states` adds the mastery and the gains of every skill at every step.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from kt_core.base.errors import KTError
from kt_core.config import ModelConfig
from kt_core.difficulty import Difficulty
from kt_core.encoder import Encoder
from kt_core.mastery import GAIN_STEP, MasteryPath, SideHeads, at_skill

HIDDEN = 2  # stands in `responses` where the encoder may not see the answer (`retrospective`)


@dataclass
class States:
    """What one forward pass knows; every field is dated.

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

    logits: Float[Tensor, "B P"]
    context: Float[Tensor, "B T D"]
    value: Float[Tensor, "B T D"]
    filtered: Float[Tensor, "B T C"]
    trajectory: Float[Tensor, "B T C"]
    gains: Float[Tensor, "B T C"]
    belief: Float[Tensor, "B T C"] | None = None


@dataclass
class PathTerms:
    """The pieces of predictions in mode `retrospective`, logits.

    Attributes
    ----------
    heads, context, skills : what single beliefs about the start are read from.
    gains : [B, T], gain of each step on the skill asked there, >= 0.
    grown : [B, T], gains so far, before each step, on the skill asked there.
    difficulty : [B, T], of the item asked at each step; 0 where it is unknown.
    belief : [B, T, T], entry [s, t] is what is believed after step s about the start on the skill
        asked at step t; None where single ones are enough.
    """

    heads: MasteryPath
    context: Float[Tensor, "B T D"]
    skills: Int[Tensor, "B T"]
    gains: Float[Tensor, "B T"]
    gains_before: Float[Tensor, "B T"]
    difficulty: Float[Tensor, "B T"]
    belief: Float[Tensor, "B T T"] | None

    def next_step(self) -> Float[Tensor, "B P"]:
        """Logits of the next responses: l_{t,k|t} - d with k = q_{t+1}."""
        if self.belief is None:
            belief = self.heads.beliefs_before(self.context, self.skills, self.gains_before)
        else:
            belief = self.belief.diagonal(1, 1, 2)
        return belief + self.gains_before[:, 1:] - self.difficulty[:, 1:]

    def at(self, horizon: Int[Tensor, "B"]) -> Float[Tensor, "B T"]:
        """Logits of every response, that of step 0 included, as believed at step `horizon`."""
        if self.belief is None:
            belief = self.heads.beliefs_at(self.context, self.skills, self.gains_before, horizon)
        else:
            belief = self.belief[torch.arange(len(horizon), device=horizon.device), horizon]
        return belief + self.gains_before - self.difficulty

    def forecasts(self) -> Float[Tensor, "B T T"]:
        """Logits of every response as believed at every step; entry [s, t] at step s of step t.

        Gains enter as they are and take no gradient from here: they have seen the answers between.
        """
        return self.belief + (self.gains_before.detach() - self.difficulty).unsqueeze(1)


class GainAKT2(nn.Module):
    """Dual-stream knowledge tracing with a mastery that is predicted from, accumulated or read off.

    Parameters
    ----------
    config : shape and mode.
    n_skills : C; skill ids run from 0 to C-1.
    item_skill : the skill of each item 1..I; empty where items are unknown. Only `retrospective`
        uses items.
    """

    def __init__(self, config: ModelConfig, n_skills: int, item_skill: Sequence[int] = ()):
        super().__init__()
        if n_skills < 1:
            raise KTError(f"n_skills = {n_skills}: a model needs at least one skill")
        self.config, self.n_skills = config, n_skills
        self.on_path = config.mode == "retrospective"
        with_items = self.on_path and len(item_skill) > 0
        self.answers = 3 if self.on_path else 2
        self.encoder = Encoder(config, n_skills, self.answers, with_items)
        self.difficulty = Difficulty(item_skill, n_skills) if with_items else None
        self.heads = (MasteryPath if self.on_path else SideHeads)(config, n_skills)
        self.apply(_initialise)
        if self.on_path:
            nn.init.constant_(self.heads.gain.bias, -3.0)  # gains start small, about 0.05
            if self.heads.evidence is not None:  # and evidence as none
                nn.init.zeros_(self.heads.evidence.weight)
                nn.init.zeros_(self.heads.evidence.bias)

    @property
    def guaranteed(self) -> bool:
        """Whether bounds, monotonicity and non-negative gains hold whatever the weights."""
        return self.config.mode != "projection"

    def forward(
        self,
        skills: Int[Tensor, "B T"],
        responses: Int[Tensor, "B T"],
        items: Int[Tensor, "B T"] | None = None,
    ) -> Float[Tensor, "B T-1"]:
        """Logits of the next response; column t predicts step t+1 from steps 0..t.

        Raises
        ------
        KTError
            For ids outside 0..C-1, responses other than 0 and 1, or too many steps.
        """
        context, value, d = self.encode(skills, responses, items)
        return self.predict_next(context, value, skills, d)

    def forward_with_states(
        self,
        skills: Int[Tensor, "B T"],
        responses: Int[Tensor, "B T"],
        items: Int[Tensor, "B T"] | None = None,
        valid: Bool[Tensor, "B T"] | None = None,
        start: Float[Tensor, "B C"] | None = None,
    ) -> States:
        """`forward`, with the states behind it.

        Parameters
        ----------
        valid : true at real steps; the last of them is the horizon of the trajectory.
        start : mastery in which each learner's previous chunk ended; None for a first chunk.
            Only `cumulative` accumulates from one chunk to the next.
        """
        context, value, d = self.encode(skills, responses, items)
        if not self.on_path:
            logits = self.predict_next(context, value, skills, d)
            mastery, gains = self.heads.read(context, value, start)
            return States(logits, context, value, mastery, mastery, gains)
        belief, trajectory, gains = self.heads.read(
            context, value, skills, self._last(skills, valid)
        )
        level = belief + gains.cumsum(dim=1)
        # From the very numbers that mastery is made of: without items, predictions equal it.
        logits = at_skill(level[:, :-1], skills[:, 1:])
        logits = logits if d is None else logits - d[:, 1:]
        return States(logits, context, value, level.sigmoid(), trajectory, gains, belief)

    def encode(
        self,
        skills: Int[Tensor, "B T"],
        responses: Int[Tensor, "B T"],
        items: Int[Tensor, "B T"] | None = None,
    ) -> tuple[Float[Tensor, "B T D"], Float[Tensor, "B T D"], Float[Tensor, "B T"] | None]:
        """Context and value states, and the items' difficulties where there are any."""
        self.check(skills, responses)
        d = None if self.difficulty is None or items is None else self.difficulty(items)
        return *self.encoder(skills, responses, d), d

    def predict_next(
        self,
        context: Float[Tensor, "B T D"],
        value: Float[Tensor, "B T D"],
        skills: Int[Tensor, "B T"],
        difficulty: Float[Tensor, "B T"] | None = None,
    ) -> Float[Tensor, "B T-1"]:
        """Logits from the states of each step for the skill asked at the next."""
        if not self.on_path:
            return self.heads(context[:, :-1], value[:, :-1], skills[:, 1:])
        return self.path(context, value, skills, difficulty, every_pair=False).next_step()

    def path(
        self,
        context: Float[Tensor, "B T D"],
        value: Float[Tensor, "B T D"],
        skills: Int[Tensor, "B T"],
        difficulty: Float[Tensor, "B T"] | None = None,
        every_pair: bool = True,
    ) -> PathTerms:
        """The pieces of all predictions; `retrospective` only.

        Parameters
        ----------
        every_pair : whether beliefs are read for every pair of steps, as the forecast term wants;
            without, `PathTerms.next_step` and `PathTerms.at` read those that they need, which is less work
            than all of them and more than picking from all of them.
        """
        gains = self.heads.own_gains(value, skills)
        gains_before = self.heads.contributions(gains, skills).sum(-1)
        d = torch.zeros_like(gains) if difficulty is None else difficulty
        belief = self.heads.beliefs(context, skills, gains_before) if every_pair else None
        return PathTerms(self.heads, context, skills, gains, gains_before, d, belief)

    def read(
        self,
        context: Float[Tensor, "B T D"],
        value: Float[Tensor, "B T D"],
        skills: Int[Tensor, "B T"],
        valid: Bool[Tensor, "B T"] | None = None,
        start: Float[Tensor, "B C"] | None = None,
    ) -> tuple[Float[Tensor, "B T C"], Float[Tensor, "B T C"], Float[Tensor, "B T C"]]:
        """Filtered mastery, trajectory and gains of every skill at every step."""
        if not self.on_path:
            mastery, gains = self.heads.read(context, value, start)
            return mastery, mastery, gains
        belief, trajectory, gains = self.heads.read(
            context, value, skills, self._last(skills, valid)
        )
        return (belief + gains.cumsum(dim=1)).sigmoid(), trajectory, gains

    @staticmethod
    def _last(skills: Int[Tensor, "B T"], valid: Bool[Tensor, "B T"] | None) -> Int[Tensor, "B"]:
        whole = torch.full((len(skills),), skills.shape[1], device=skills.device)
        return (whole if valid is None else valid.sum(1)) - 1

    def trajectory_at(
        self,
        states: States,
        skills: Int[Tensor, "B T"],
        horizon: Int[Tensor, "B"],
    ) -> Float[Tensor, "B T C"]:
        """Mastery at every step as believed at step `horizon`; after it, as it stood there."""
        if self.on_path:
            return self.heads.read(states.context, states.value, skills, horizon)[1]
        step = torch.arange(skills.shape[1], device=skills.device)
        at = torch.minimum(step, horizon.unsqueeze(1)).unsqueeze(-1)
        return states.filtered.gather(1, at.expand_as(states.filtered))

    @torch.no_grad()
    def flips(
        self,
        states: States,
        skills: Int[Tensor, "B T"],
        responses: Int[Tensor, "B T"],
        items: Int[Tensor, "B T"] | None = None,
        start: Float[Tensor, "B C"] | None = None,
    ) -> Float[Tensor, "B T"]:
        """Mastery of the asked skill after a right answer minus that after a wrong one, at each
        step on its true history (section 6, counterfactual flips)."""
        d = None if self.difficulty is None or items is None else self.difficulty(items)
        context, value = self.encoder.flipped(skills, responses, d)
        true = at_skill(states.filtered, skills)
        if self.on_path:
            gains_before = self.heads.contributions(at_skill(states.gains, skills), skills).sum(-1)
            level = (
                self.heads.belief_at_own(context, skills, gains_before, states.context)
                + gains_before
            )
            other = (level + self.heads.own_gains(value, skills)).sigmoid()
        elif self.config.mode == "projection":
            other = at_skill(self.heads.mastery(context), skills)
        else:
            gain = at_skill(self.heads.gain(value).relu(), skills)
            first = start if start is not None else self.heads.mastery(context[:, 0]).sigmoid()
            before = torch.cat([first.unsqueeze(1), states.filtered[:, :-1]], 1)
            other = (at_skill(before, skills) + GAIN_STEP * gain).clamp(max=1.0)
            if start is None:
                other[:, 0] = at_skill(before[:, :1], skills[:, :1])[:, 0]
        return torch.where(responses == 1, true - other, other - true)

    def check(self, skills: Int[Tensor, "B T"], responses: Int[Tensor, "B T"]) -> None:
        """Raise a KTError for input that the embeddings have no place for."""
        if skills.shape != responses.shape or skills.ndim != 2:
            shapes = f"{tuple(skills.shape)} and {tuple(responses.shape)}"
            raise KTError(f"skills and responses must both be [B, T]; got {shapes}")
        if skills.numel() == 0:
            raise KTError(f"nothing to read: skills has shape {tuple(skills.shape)}")
        ends = torch.stack([*torch.aminmax(skills), *torch.aminmax(responses)])
        low, high, wrong, right = ends.tolist()  # at once: a GPU is waited for here
        if low < 0 or high >= self.n_skills:
            bad = low if low < 0 else high
            raise KTError(f"skill id {bad} is out of range: the model knows 0..{self.n_skills - 1}")
        if wrong < 0 or right >= self.answers:
            raise KTError(f"response {wrong if wrong < 0 else right} is not 0 or 1")
        limit = self.config.max_steps
        if self.config.position == "absolute" and skills.shape[1] > limit:
            raise KTError(
                f"{skills.shape[1]} steps, but absolute positions end at {limit}: "
                "raise model.max_steps or cut the sequence"
            )


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Embedding):
        nn.init.normal_(module.weight, std=0.1)
