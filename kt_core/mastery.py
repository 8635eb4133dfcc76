"""Modes `retrospective` and `retentive`: a psychometric skeleton, and what a network adds to it.

The other modes are in `side_heads.py`. Both kinds of heads have the same methods (`next_logits`,
`states`, `trajectory_at`, `flips`): the mode is decided once, where the model is built. B
learners in a batch, T steps, C skills, D = d_model. Steps count from 0 here: c_t and v_t, the
encoder's context and value states at step t, have seen the answers 0..t. The mathematics in words:
docs/method.md, "The modes".
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from kt_core.config import ModelConfig
from kt_core.layers import (
    HIDDEN,
    Horizon,
    Ids,
    Next,
    Scalar,
    Skills,
    Start,
    Steps,
    Valid,
    output,
    outputs,
)
from kt_core.posterior import Level
from kt_core.reading import WINDOW, Reading
from kt_core.retention import Held, retentive_mastery
from kt_core.skeleton import MOST_SKILLS, Skeleton
from kt_core.states import Encoded, PathPast, States, asked_next, at_skill, credible, latest
from kt_core.sums import by_skill, earlier_on_skill, opportunities, same_skill


class HistoryEnd:
    """What `MasteryPath` has to know of a history to say what is believed at its last step.

    Parameters
    ----------
    heads : of the model.
    last : the last step of each history.
    """

    def __init__(self, heads: MasteryPath, last: Horizon):
        self.heads, self.last, self.begin = heads, last, 0
        self.sums: Tensor | float = 0.0
        self.streams = self.before = torch.zeros(0)

    def add(self, e: Encoded) -> None:
        """The next window."""
        step = torch.arange(self.begin, self.begin + e.skills.shape[1], device=self.last.device)
        self.begin += len(step)
        self.sums = self.sums + self.heads.evidence_of(e, step < self.last.unsqueeze(1))
        both = torch.stack([e.context, e.value], 2)
        if not self.streams.numel():
            self.streams = self.before = both.new_zeros(len(both), 2, both.shape[-1])
        self.streams = self._at(self.last, step, both, self.streams)
        self.before = self._at(self.last - 1, step, both, self.before)

    @staticmethod
    def _at(at: Horizon, steps: Tensor, values: Tensor, old: Tensor) -> Tensor:
        row, place = torch.arange(len(at), device=at.device), at - steps[0]
        here = ((place >= 0) & (place < len(steps))).view(-1, 1, 1)
        return torch.where(here, values[row, place.clamp(0, len(steps) - 1)], old)

    def encoded(self, reading: Reading, items: bool) -> Encoded:
        """The last step, with all before it as its past; `reading` is the skeleton's."""
        context, value = self.streams.unsqueeze(1).unbind(2)
        past = PathPast(*self.sums.unbind(-1), self.before[:, 0])
        d = reading.difficulty if items else None
        return Encoded(reading.skills, reading.responses, context, value, d, reading, past)


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


def retrospective_mastery(belief: Start, gains: Skills, held: Held | None = None) -> Skills:
    """Mastery as believed at one horizon: sigmoid(belief + gains so far).

    Parameters
    ----------
    belief : about the start, a logit.
    gains : non-negative, in logits; 0 after the horizon.
    held : at the step before, where the steps follow on others.

    Returns
    -------
    Mastery in [0, 1], in the dtype of `gains`. It never falls along T, not even by rounding.
    """
    dtype = gains.dtype
    if dtype in (torch.float16, torch.bfloat16):
        belief, gains = belief.float(), gains.float()
    start, total = belief.sigmoid().unsqueeze(1), gains.cumsum(dim=1)
    if held is not None:
        total, start = total + held.total.unsqueeze(1), held.mastery.unsqueeze(1)
    mastery = (belief.unsqueeze(1) + total).sigmoid()
    mastery = torch.where(gains > 0, mastery, start)
    if held is not None:
        mastery = torch.maximum(mastery, start)
    return mastery.cummax(dim=1).values.to(dtype)


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

    def __init__(self, config: ModelConfig, n_skills: int, parts: Sequence[Sequence[int]] = ()):
        super().__init__()
        transfer = config.transfer and n_skills <= MOST_SKILLS
        self.skeleton = Skeleton(n_skills, transfer, config.mode == "retentive", parts)
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
        last: Horizon | None,
        start: Start | None = None,
        logits: Next | None = None,
    ) -> States:
        """All states.

        Parameters
        ----------
        last : the horizon of the trajectory; None for a window of a history, which has none.
        start, logits : not used in this mode.
        """
        e, past, q = encoded, encoded.past, encoded.skills
        every, practice = e.reading.every_skill()
        before = self._before(e)
        belief, factor, network = self._read(e, every, before)
        level = belief + credible(factor * practice.to(factor.dtype))
        known, form = self._asked(e, belief, factor, level), self._form(e)
        logits = known + form
        if e.difficulty is not None:
            harder = (e.reading.before().shrink * e.difficulty).to(logits.dtype)
            logits = logits - latest(harder, logits)
        right, wrong = self._own(e, before)
        seen = None, None, None
        if last is not None:
            seen = self._believed(e.reading, belief, factor, last)
        own = at_skill(factor, q) * e.reading.gains.to(factor.dtype)
        return States(
            logits,
            e,
            known.sigmoid(),
            self._filtered(e, level, right, wrong),
            *seen[:2],
            credible(own),
            belief,
            factor,
            credible(every.variance.sqrt()).to(level.dtype),
            seen[2],
            asked_next(network, q, None if past is None else past.network),
            form,
            right - wrong,
            self.onward(e, belief[:, -1], factor[:, -1], network[:, -1]),
        )

    def _asked(self, e: Encoded, belief: Skills, factor: Skills, level: Skills) -> Next:
        """The level of each skill asked, before its step. From the same numbers as mastery, so that
        predictions equal it exactly but for the rest."""
        q, past, reading = e.skills, e.past, e.reading
        predicted = past is not None and past.belief is not None
        if not predicted and reading.fades is None:
            return asked_next(level, q)
        gains = reading.all_gains.cumsum(1).to(factor.dtype)
        done, first = None, (None, None)
        if reading.past is not None:
            gains = gains + reading.past.gains.unsqueeze(1).to(factor.dtype)
        if predicted:
            done, first = reading.past.gains.to(factor.dtype), (past.belief, past.factor)
        practice = asked_next(gains, q, done)
        if reading.fades is not None:  # the break before the question has passed, too
            lost = at_skill(reading.lost, q).to(factor.dtype)
            practice = practice - latest(lost, practice)
        grown = credible(asked_next(factor, q, first[1]) * practice)
        return asked_next(belief, q, first[0]) + grown

    def _form(self, e: Encoded) -> Next:
        """What affects only the answer of each step and is not part of mastery."""
        context, skills = e.context[:, :-1], e.skills[:, 1:]
        if e.past is not None and e.past.belief is not None:
            context = torch.cat([e.past.context.unsqueeze(1), context], 1)
            skills = e.skills
        return output(self.form, context, skills)

    def onward(
        self,
        e: Encoded,
        belief: Start | None = None,
        factor: Start | None = None,
        network: Start | None = None,
    ) -> PathPast:
        """For the steps that follow; the prediction of the next one needs all three."""
        sums = self.evidence_of(e)
        if e.past is not None:
            sums = sums + torch.stack([e.past.evidence, e.past.steps], -1)
        return PathPast(*sums.unbind(-1), e.context[:, -1], belief, factor, network)

    def evidence_of(self, e: Encoded, seen: Valid | None = None) -> Float[Tensor, "B C 2"]:
        """What the steps (those that were seen) leave on each skill, and their number."""
        left = self._left(e).double()
        each = torch.stack([left, torch.ones_like(left)], -1)
        if seen is not None:
            each = each * seen.unsqueeze(-1)
        return by_skill(each, e.skills, self.skeleton.n_skills)

    def _filtered(self, e: Encoded, level: Skills, right: Steps, wrong: Steps) -> Skills:
        """Mastery after each step, in the order that `flips` promises."""
        mastery, asked = level.sigmoid(), e.skills.unsqueeze(-1)
        hidden = at_skill(mastery, e.skills)
        own = torch.where(e.responses == 1, right, torch.where(e.responses == 0, wrong, hidden))
        return mastery.scatter(-1, asked, own.unsqueeze(-1))

    def trajectory_at(self, states: States, horizon: Horizon) -> Skills:
        """Mastery at every step as believed at step `horizon`; after it, as it stood there."""
        e = states.encoded
        belief, factor, _ = self._read(e, e.reading.every_skill()[0], self._before(e))
        return self._believed(e.reading, belief, factor, horizon)[0]

    def trajectories(
        self, reading: Reading, belief: Start, factor: Start, last: Horizon, size: int = WINDOW
    ) -> Iterator[tuple[Skills, Skills, Skills | None]]:
        """The trajectory, gains and, in `retentive`, mastery before each step of a long history, in
        windows of `size` steps.

        Parameters
        ----------
        belief, factor : as believed at the horizon, the step `last`.
        """
        held, begin = None, 0
        for window in reading.windows(size):
            found, held = self._window(window, belief, factor, last - begin, held)
            begin += window.skills.shape[1]
            yield found

    def flips(self, states: States) -> Steps:
        """Mastery of the asked skill after a right answer minus that after a wrong one, never below
        0."""
        return states.flip

    def _own(self, e: Encoded, before: Steps) -> tuple[Steps, Steps]:
        """Mastery of the asked skill after each step, had it been answered right, and wrong: of
        what the skeleton believes after either answer, the higher, and the lower. The network's
        correction does not know the answer yet."""
        right, wrong = (credible(x + before).sigmoid() for x in self._after(e))
        return torch.maximum(right, wrong), torch.minimum(right, wrong)

    def _before(self, e: Encoded) -> Steps:
        """What the network adds to the belief about the skill of each step, before its answer."""
        left = self._left(e)
        wide = torch.promote_types(left.dtype, torch.float32)
        total = earlier_on_skill(left.double().unsqueeze(-1), e.skills).squeeze(-1).to(wide)
        n = opportunities(e.skills).to(wide)
        context = _earlier(e.context)
        if e.past is not None:
            context = torch.cat([e.past.context.unsqueeze(1), e.context[:, :-1]], 1)
            total, n = (
                x + y.gather(1, e.skills).to(wide)
                for x, y in ((total, e.past.evidence), (n, e.past.steps))
            )
        mean = (total / (n + self.prior_strength)).to(left.dtype)
        correction = output(self.correction, context, e.skills) + mean
        begun = torch.zeros(len(n), dtype=torch.bool, device=n.device)
        if e.past is not None:
            begun = e.past.steps.sum(1) > 0
        correction[:, 0] = torch.where(begun, correction[:, 0], 0.0)  # nothing is known yet
        return correction

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

    def _running_mean(
        self, mask: Bool[Tensor, "B T K"], left: Steps, past: PathPast | None = None
    ) -> Float[Tensor, "B T K"]:
        """`_evidence_mean` up to each step, for K questions at once: the mask says which steps
        belong to each. Running sums take T times less memory than one mask per step."""
        wide = torch.promote_types(left.dtype, torch.float32)
        mask = mask.to(wide)
        total, n = (mask * left.unsqueeze(-1)).cumsum(1), mask.cumsum(1)
        if past is not None:
            total = total + past.evidence.unsqueeze(1).to(wide)
            n = n + past.steps.unsqueeze(1).to(wide)
        return (total / (n + self.prior_strength)).to(left.dtype)

    def _read(self, e: Encoded, level: Level, before: Steps) -> tuple[Skills, Skills, Skills]:
        """Belief about the start, what a unit of practice adds to it, and what of the belief is the
        network's."""
        dtype, network = e.context.dtype, self.network(e, before)
        belief = credible(level.belief.to(dtype) + network)
        return belief, credible(level.factor).to(dtype), network

    def network(self, e: Encoded, before: Steps | None = None) -> Skills:
        """What the network adds to the belief about each skill after each step.

        Parameters
        ----------
        before : of `_before`, where it is known.
        """
        before = self._before(e) if before is None else before
        on = F.one_hot(e.skills, self.skeleton.n_skills) > 0
        network = self.correction(e.context) + self._running_mean(on, self._left(e), e.past)
        own = (before + self._order(e)).to(network.dtype)
        return network.scatter(-1, e.skills.unsqueeze(-1), own.unsqueeze(-1))

    def _believed(
        self, reading: Reading, belief: Skills, factor: Skills, horizon: Horizon
    ) -> tuple[Skills, Skills, Skills | None]:
        """Trajectory, gains and, in `retentive`, mastery before each step, as believed at
        `horizon`."""
        row = torch.arange(len(horizon), device=horizon.device)
        at = belief[row, horizon], factor[row, horizon]
        return self._window(reading, *at, horizon, None)[0]

    def _window(
        self, reading: Reading, belief: Start, factor: Start, horizon: Horizon, held: Held | None
    ) -> tuple[tuple[Skills, Skills, Skills | None], Held]:
        """The same of the steps that follow on others; and where they have come to."""
        gains = credible(factor.unsqueeze(1) * reading.all_gains.to(factor.dtype))
        step = torch.arange(gains.shape[1], device=gains.device)
        known = (step <= horizon.unsqueeze(1)).unsqueeze(-1)
        done = torch.where(known, gains, 0.0)
        lost, rested = torch.zeros_like(belief), None
        if reading.fades is None:
            trajectory = retrospective_mastery(belief, done, held)
        else:
            lost = credible(factor.unsqueeze(1) * reading.lost.to(factor.dtype))
            lost = torch.where(known, lost, 0.0).cummax(1).values  # the last known one remains
            if held is not None:
                lost = torch.maximum(lost, held.lost.unsqueeze(1))
            trajectory, rested = retentive_mastery(belief, done, lost, held)
            lost = lost[:, -1]
        total = done.sum(1) if held is None else held.total + done.sum(1)
        return (trajectory, gains, rested), Held(total, lost, trajectory[:, -1])


def _earlier(values: Float[Tensor, "B T K"]) -> Float[Tensor, "B T K"]:
    """Those of the step before; 0 at the first step."""
    return F.pad(values, (0, 0, 1, 0))[:, :-1]
