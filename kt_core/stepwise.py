"""Reading one learner answer by answer, at a cost that does not grow with the history.

A history as a whole is read in rounds (`kt_core.skeleton`): each round needs only what the round
before has found about earlier steps, so that all rounds can go on from step to step side by side.
Which of two ways of reading holds, all steps at once or in blocks, can change with any answer. Both
are kept, as the two rows of a batch.
"""

from __future__ import annotations

import dataclasses
from typing import TypeVar

import torch
from torch import Tensor
from torch.nn import functional as F

from kt_core.layers import HIDDEN, Ids, Steps, output
from kt_core.mastery import Encoded, States, credible
from kt_core.model import GainAKT2
from kt_core.posterior import Answers, Own, Shared, matched, shrinkage
from kt_core.reading import Past, Reading
from kt_core.skeleton import BLOCK, ROUNDS, STILL, Skeleton

Parts = TypeVar("Parts", Answers, Own, Shared)
WAYS = 2  # of reading a history: all steps at once, and in blocks


class SkeletonSteps:
    """`Skeleton.read`, one step at a time. R rounds and a last look: R + 1 levels.

    Attributes
    ----------
    past : the steps so far, [2, ...], the two ways.
    sums : [2, R + 1, C, 4], what the answers add on each skill, as each level takes it from the
        round before; the first knows only the blocks before.
    information : [2, R + 1, 5], of ability and speed, as each level has it.
    moving : whether the estimates of the first way have moved in the last round at any step, so
        that the second holds.
    """

    def __init__(self, skeleton: Skeleton):
        self.skeleton, self.steps, self.moving = skeleton, 0, False
        new = skeleton.offset.new_zeros
        self.counts = new(WAYS, skeleton.n_skills, dtype=torch.long)
        self.sums = new(WAYS, ROUNDS + 1, skeleton.n_skills, 4)
        self.information = new(WAYS, ROUNDS + 1, 5)
        self.past: Past | None = None

    def add(self, skills: Ids, responses: Ids, d: Steps, days: Steps | None) -> Reading:
        """The reading of the next step, [2, 1], with all steps before it as its past."""
        s = self.skeleton
        if self.past is None:
            self.past = Past.before(s, skills, days)
        if self.steps and self.steps % BLOCK == 0:  # the blocks before are settled
            self.sums[1], self.information[1] = self.sums[1, -1], self.information[1, -1]
        opportunity = self.counts.gather(1, skills)
        gains = s.gains(skills, responses, opportunity)
        practice, total = (x.to(gains.dtype) for x in self.practice(skills, days))
        loading, offset = s._at(s.loading, skills), s._at(s.offsets, skills)

        at = skills.view(WAYS, 1, 1, 1).expand(-1, ROUNDS + 1, 1, 4)
        found = self.sums.gather(2, at).squeeze(2)
        own = Own(
            1 + s.spread**2 * found[..., 0], *(s.spread * x for x in found[..., 1:].unbind(-1))
        )
        before = Shared.of(self.information)
        factor = s.factor(before.speed)
        slope = s.speed * factor * practice
        mean = offset + loading * before.ability + s.spread * own.start(before) + factor * practice
        variance = s.variance(own, before, loading, slope)
        nothing = torch.zeros_like(mean)
        given = Answers(nothing, nothing, slope, loading.expand_as(mean))
        weight, pull = matched(mean - d, variance, s.moved(own, before, given), responses == 1)
        seen = responses < HIDDEN
        added = dataclasses.replace(
            given, weight=torch.where(seen, weight, 0.0), pull=torch.where(seen, pull, 0.0)
        )
        earlier = Answers(*(F.pad(x[:, :-1], (1, 0)) for x in vars(added).values()))
        earlier.loading = given.loading  # of a step of which nothing has been found, too
        information = self.information + s.information(own, earlier)
        if not (mean[0, -1] - mean[0, -2]).abs() <= STILL:
            self.moving = True

        last = _last(own)
        slope = s.speed * factor[:, -1:] * total
        reading = Reading(
            s,
            skills,
            responses,
            d,
            gains,
            opportunity,
            practice,
            total,
            added=_last(earlier),
            own=last,
            information=torch.stack([self.information[:, -1], information[:, -1]], 1),
            mean=mean[:, -1:],
            variance=s.variance(last, _last(before), loading, slope),
            days=days,
            past=self.past,
        )
        self.sums = self.sums + s.each_on(s.like(skills), s.terms(earlier))
        self.counts = self.counts.scatter_add(1, skills, torch.ones_like(skills))
        self.information, self.steps = information, self.steps + 1
        self.past = reading.onward()
        return reading

    def practice(self, skills: Ids, days: Steps | None) -> tuple[Steps, Steps]:
        """What is left of the practice on some skills before the next step, and all of it."""
        total = self.past.gains.gather(1, skills)
        if self.skeleton.retention is None:
            return total, total
        lost = torch.minimum(self.past.lost_of_asked(skills, days), total)
        return total - lost, total


def _last(parts: Parts) -> Parts:
    """Of the last level."""
    return type(parts)(*(x[:, -1:] for x in vars(parts).values()))


class PathSteps:
    """A learner of `MasteryPath`: `GainAKT2.windows`, whose windows are single steps."""

    def __init__(self, model: GainAKT2):
        self.model, self.memory = model, model.encoder.memory()
        self.skeleton = SkeletonSteps(model.heads.skeleton)
        self.encoded: Encoded | None = None  # the last step
        self._states: States | None = None  # of it, where they have been asked for

    @torch.inference_mode()
    def add(self, skill: int, response: int, item: int, day: float | None) -> None:
        """An answer."""
        q, r, i = (torch.full((WAYS, 1), x) for x in (skill, response, item))
        days = None if day is None else torch.full((WAYS, 1), day)
        d = None if self.model.difficulty is None else self.model.difficulty(i)
        nothing = torch.zeros((WAYS, 1), dtype=self.model.heads.skeleton.spread.dtype)
        reading = self.skeleton.add(q, r, nothing if d is None else d.to(nothing.dtype), days)
        states = self.model.encoder.onward(self.memory, q, r, d, reading.features(r))
        past = None if self.encoded is None else self.model.heads.onward(self.encoded)
        self.encoded, self._states = Encoded(q, r, *states, d, reading, past), None

    def mastery(self) -> Tensor:
        """[C], after all answers."""
        return self.states().filtered[self._way, 0]

    @torch.inference_mode()
    def states(self) -> States:
        """[2, 1, C], of the last step."""
        if self._states is None:
            self._states = self.model.heads.states(self.encoded, None)
        return self._states

    @torch.inference_mode()
    def logit(self, skill: int, item: int, day: float | None) -> float:
        """Of a right answer, if this were asked next."""
        way, heads, s = self._way, self.model.heads, self.states()
        q = torch.full((WAYS, 1), skill)
        days = None if day is None else torch.full((WAYS, 1), day)
        practice = self.skeleton.practice(q, days)[0][way, 0].to(s.belief.dtype)
        belief, factor, deviation = (x[way, 0, skill] for x in (s.belief, s.factor, s.deviation))
        logit = belief + credible(factor * practice)
        logit = logit + output(heads.form, self.encoded.context[way], q[way])[0]
        if self.model.difficulty is not None:
            d = self.model.difficulty(torch.tensor([[item]]))[0, 0]
            logit = logit - shrinkage(deviation**2) * d
        return logit.item()

    @property
    def _way(self) -> int:
        """Which of the two ways of reading holds."""
        return int(self.skeleton.moving)


class SideSteps:
    """A learner of `SideHeads`, read in chunks.

    Parameters
    ----------
    chunk : answers after which the encoder begins afresh.
    """

    def __init__(self, model: GainAKT2, chunk: int):
        self.model, self.chunk, self.steps = model, chunk, 0
        self.states: States | None = None

    @torch.inference_mode()
    def add(self, skill: int, response: int, item: int, day: float | None) -> None:
        """An answer."""
        if self.steps % self.chunk == 0:
            self.memory = self.model.encoder.memory()
        q, r = torch.tensor([[skill]]), torch.tensor([[response]])
        encoded = Encoded(q, r, *self.model.encoder.onward(self.memory, q, r))
        start = None if self.states is None else self.states.filtered[:, -1]
        self.states = self.model.heads.states(encoded, torch.tensor([0]), start)
        self.steps += 1

    def mastery(self) -> Tensor:
        """[C], after all answers."""
        return self.states.filtered[0, 0]

    @torch.inference_mode()
    def logit(self, skill: int, item: int, day: float | None) -> float:
        """Of a right answer, if this were asked next."""
        e = self.states.encoded
        asked = self.model.heads.embed_skill(torch.tensor([[skill]]))
        return self.model.heads.predict(torch.cat([e.context, e.value, asked], -1)).item()
