"""Reading learners answer by answer, at a cost that does not grow with the history.

A history as a whole is read in rounds (`kt_core.skeleton`): each round needs only what the round
before has found about earlier steps, so that all rounds can go on from step to step side by side.
Which of two ways of reading holds, all steps at once or in blocks, can change with any answer. Both
are kept: a batch has a row of every learner read the first way, then one of each read the other.
Learners of one batch go on in step, an answer of each at a time. N learners, C skills.
"""

from __future__ import annotations

import dataclasses
from typing import TypeVar

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from kt_core.layers import HIDDEN, Ids, Steps, output
from kt_core.model import GainAKT2
from kt_core.posterior import Answers, Own, Shared, matched, shrinkage
from kt_core.reading import Past, Reading
from kt_core.skeleton import BLOCK, ROUNDS, STILL, Skeleton
from kt_core.states import Encoded, States, credible

Parts = TypeVar("Parts", Answers, Own, Shared)
Each = Int[Tensor, "N"]  # a skill, response or item of each learner
Times = Float[Tensor, "N"]
WAYS = 2  # of reading a history: all steps at once, and in blocks


class SkeletonSteps:
    """`Skeleton.read`, one step at a time. R rounds and a last look: R + 1 levels.

    Attributes
    ----------
    past : the steps so far, [2 N, ...].
    sums : [2 N, R + 1, C, 4], what the answers add on each skill, as each level takes it from the
        round before; the first knows only the blocks before.
    information : [2 N, R + 1, 5], of ability and speed, as each level has it.
    moving : [N], whether the estimates of the first way have moved in the last round at any step,
        so that the second holds.
    """

    def __init__(self, skeleton: Skeleton, learners: int = 1):
        self.skeleton, self.steps, rows = skeleton, 0, WAYS * learners
        new = skeleton.offset.new_zeros
        self.counts = new(rows, skeleton.n_skills, dtype=torch.long)
        self.sums = new(rows, ROUNDS + 1, skeleton.n_skills, 4)
        self.information = new(rows, ROUNDS + 1, 5)
        self.moving = new(learners, dtype=torch.bool)
        self.past: Past | None = None

    def add(self, skills: Ids, responses: Ids, d: Steps, days: Steps | None) -> Reading:
        """The reading of the next step, [2 N, 1], with all steps before it as its past."""
        s, n = self.skeleton, len(self.moving)
        if self.past is None:
            self.past = Past.before(s, skills, days)
        if self.steps and self.steps % BLOCK == 0:  # the blocks before are settled
            self.sums[n:], self.information[n:] = self.sums[n:, -1:], self.information[n:, -1:]
        opportunity = self.counts.gather(1, skills)
        gains = s.gains(skills, responses, opportunity)
        practice, total = (x.to(gains.dtype) for x in self.practice(skills, days))
        loading, offset = s._at(s.loading, skills), s._at(s.offsets, skills)

        at = skills.view(-1, 1, 1, 1).expand(-1, ROUNDS + 1, 1, 4)
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
        self.moving |= ~((mean[:n, -1] - mean[:n, -2]).abs() <= STILL)

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
    """Learners of `MasteryPath`: `GainAKT2.windows`, whose windows are single steps."""

    def __init__(self, model: GainAKT2, learners: int = 1):
        self.model, self.memory = model, model.encoder.memory()
        self.skeleton = SkeletonSteps(model.heads.skeleton, learners)
        self.met: Tensor | None = None  # [N, I+1], how often each item was, where that matters
        if model.difficulty is not None and model.difficulty.repeats:
            items = len(model.difficulty.raw) + 1
            self.met = torch.zeros(learners, items, dtype=torch.int32)
        self.encoded: Encoded | None = None  # the last step
        self._states: States | None = None  # of it, where they have been asked for

    @torch.inference_mode()
    def add(self, skill: Each, response: Each, item: Each, day: Times | None) -> None:
        """An answer of each learner."""
        d = _both(self._difficulty(item))
        q, r, days = (_both(x) for x in (skill, response, day))
        if self.met is not None:
            self.met[torch.arange(len(item)), item] += 1
        nothing = torch.zeros(q.shape, dtype=self.model.heads.skeleton.spread.dtype)
        reading = self.skeleton.add(q, r, nothing if d is None else d.to(nothing.dtype), days)
        states = self.model.encoder.onward(self.memory, q, r, d, reading.features(r))
        past = None if self.encoded is None else self.model.heads.onward(self.encoded)
        self.encoded, self._states = Encoded(q, r, *states, d, reading, past), None

    def mastery(self) -> Float[Tensor, "N C"]:
        """After all answers."""
        return self.states().filtered[self._row, 0]

    def deviation(self) -> Float[Tensor, "N C"]:
        """Standard deviation of the level behind mastery, in logits."""
        return self.states().deviation[self._row, 0]

    @torch.inference_mode()
    def states(self) -> States:
        """[2 N, 1, C], of the last step."""
        if self._states is None:
            self._states = self.model.heads.states(self.encoded, None)
        return self._states

    @torch.inference_mode()
    def logit(self, skill: Each, item: Each, day: Times | None) -> Float[Tensor, "N"]:
        """Of a right answer, if this were asked next."""
        row, heads, s = self._row, self.model.heads, self.states()
        q, days = _both(skill), _both(day)
        practice = self.skeleton.practice(q, days)[0][row, 0].to(s.belief.dtype)
        belief, factor, deviation = (x[row, 0, skill] for x in (s.belief, s.factor, s.deviation))
        logit = belief + credible(factor * practice)
        logit = logit + output(heads.form, self.encoded.context[row], q[row])[:, 0]
        d = self._difficulty(item)
        return logit if d is None else logit - shrinkage(deviation**2) * d

    def _difficulty(self, item: Each) -> Float[Tensor, "N"] | None:
        """Of an item of each learner, if it were asked next."""
        if self.model.difficulty is None:
            return None
        times = torch.zeros_like(item)
        if self.met is not None:
            times = self.met.gather(1, item.unsqueeze(1))[:, 0]
        return self.model.difficulty.of(item, times)

    @property
    def _row(self) -> Int[Tensor, "N"]:
        """Of each learner, read in the way that holds."""
        moving = self.skeleton.moving
        return torch.arange(len(moving)) + len(moving) * moving


def _both(of_each: Tensor | None) -> Tensor | None:
    """For both ways of reading, [2 N, 1]."""
    return None if of_each is None else of_each.repeat(WAYS).unsqueeze(1)


class SideSteps:
    """Learners of `SideHeads`, read in chunks.

    Parameters
    ----------
    chunk : answers after which the encoder begins afresh.
    """

    def __init__(self, model: GainAKT2, chunk: int):
        self.model, self.chunk, self.steps = model, chunk, 0
        self.states: States | None = None

    @torch.inference_mode()
    def add(self, skill: Each, response: Each, item: Each, day: Times | None) -> None:
        """An answer of each learner."""
        if self.steps % self.chunk == 0:
            self.memory = self.model.encoder.memory()
        q, r = skill.unsqueeze(1), response.unsqueeze(1)
        encoded = Encoded(q, r, *self.model.encoder.onward(self.memory, q, r))
        start = None if self.states is None else self.states.filtered[:, -1]
        self.states = self.model.heads.states(encoded, torch.zeros_like(skill), start)
        self.steps += 1

    def mastery(self) -> Float[Tensor, "N C"]:
        """After all answers."""
        return self.states.filtered[:, 0]

    @torch.inference_mode()
    def logit(self, skill: Each, item: Each, day: Times | None) -> Float[Tensor, "N"]:
        """Of a right answer, if this were asked next."""
        e = self.states.encoded
        asked = self.model.heads.embed_skill(skill.unsqueeze(1))
        return self.model.heads.predict(torch.cat([e.context, e.value, asked], -1)).view(-1)


def live_steps(model: GainAKT2, chunk: int, learners: int = 1) -> PathSteps | SideSteps:
    """A reader of a model's learners.

    Parameters
    ----------
    chunk : of the model's training; modes with mastery on the path read on without end.
    """
    return PathSteps(model, learners) if model.on_path else SideSteps(model, chunk)
