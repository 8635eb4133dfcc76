"""What the skeleton believes along a batch of histories.

`kt_core.skeleton` reads the answers; this is what it has read, whole or window by window. B
learners, T steps, C skills. Steps count from 0.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from kt_core.layers import HIDDEN, Horizon, Ids, Skills, Steps, precise
from kt_core.posterior import Answers, Doubt, Level, Own, Shared, matched, shrinkage
from kt_core.retention import Fading, Retention, fading
from kt_core.sums import at_skills, by_skill, earlier_like

WINDOW = 256  # steps of a long history of which all is read at once
FEATURES = 3  # of `Reading.features`
Pairs = Float[Tensor, "B T T"]


@dataclass
class Past:
    """The steps before those of a reading, as sums by skill in double precision.

    Attributes
    ----------
    answers : [B, C, 4], what they add to what is known of each start (`Skeleton.terms`).
    gains : [B, C], practice on each skill, all of it.
    shares : of gains that reach other skills; None where none do.
    lost : [B, C], what was lost of it at the last step; in `retentive`.
    fading : how it fades from then on; None where nothing follows.
    """

    answers: Float[Tensor, "B C 4"]
    gains: Float[Tensor, "B C"]
    shares: Float[Tensor, "C C"] | None = None
    lost: Float[Tensor, "B C"] | None = None
    fading: Fading | None = None

    @classmethod
    def before(cls, skeleton: nn.Module, skills: Ids, days: Steps | None) -> Past:
        """Of a history that begins."""
        shape = len(skills), skeleton.n_skills, 4
        answers = skeleton.offset.new_zeros(shape, dtype=torch.float64)
        gains = answers[..., 0]
        shares = skeleton.shares().double() if skeleton.transfers else None
        if skeleton.retention is None:
            return cls(answers, gains, shares)
        fading = Fading.before(skeleton.retention, skills, days)
        return cls(answers, gains, shares, gains, fading)

    def after_gains(self, skills: Ids, gains: Steps, days: Steps | None) -> Past:
        """With the practice of some steps that follow; what they lose is left to the caller."""
        new = by_skill(gains.double().unsqueeze(-1), skills, self.gains.shape[1]).squeeze(-1)
        fading = None if self.fading is None else self.fading.after(skills, gains, days)
        return dataclasses.replace(self, gains=self.gains + self.reached(new), fading=fading)

    def reached(self, values: Tensor) -> Tensor:
        """What of values by skill practised reaches each skill."""
        return values if self.shares is None else values @ self.shares

    def lost_of_asked(self, skills: Ids, days: Steps | None) -> Steps:
        """[B, T], what is lost at each step that follows of the gains that reach its skill."""
        if self.shares is None:
            return self.fading.lost_of_asked(skills, days)
        return self.lost_of_every(skills, days).gather(-1, skills.unsqueeze(-1)).squeeze(-1)

    def lost_of_every(self, skills: Ids, days: Steps | None) -> Skills:
        """[B, T, C], the same of the gains that reach each skill."""
        if self.fading is None:
            return self.lost.unsqueeze(1)
        return self.reached(self.fading.lost(skills, days))


@dataclass
class Reading:
    """What the skeleton believes along a batch.

    Attributes
    ----------
    skeleton : the `kt_core.skeleton.Skeleton` whose it is.
    difficulty : [B, T], of the item asked.
    gains : [B, T], of each step on its own skill, at speed 1.
    opportunity : [B, T], number of earlier steps on the skill.
    practice, total : [B, T], practice before each step: what is left of it, and all of it, which
        says how uncertain the level is. (Were that to fade, a break would make beliefs firmer.)
    added : what each answer adds.
    own : of the skill asked at each step, before it.
    information : [B, T+1, 5], of ability and speed, after 0, 1, ... answers (`Shared.of`).
    mean, variance : [B, T], of the level before each step.
    days : when each answer was given.
    past : what came before, where the steps follow on others.
    """

    skeleton: nn.Module
    skills: Ids
    responses: Ids
    difficulty: Steps
    gains: Steps
    opportunity: Ids
    practice: Steps
    total: Steps
    added: Answers
    own: Own
    information: Float[Tensor, "B S 5"]
    mean: Steps
    variance: Steps
    days: Steps | None = None
    past: Past | None = None

    @property
    def reach(self) -> Pairs:
        """As `Skeleton.reach`, of what is left of the gain at step s."""
        reach = self.skeleton.reach(self.skills)
        return reach if self.fades is None else reach * self.kept

    @property
    def logits(self) -> Steps:
        """[B, T], the prediction of each answer from those before it."""
        return shrinkage(self.variance) * (self.mean - self.difficulty)

    def speed(self) -> Steps:
        """[B, T], by which factor the learner gains more than usual, as believed after a step."""
        return self.skeleton.factor(Shared.of(self.information[:, 1:]).speed)

    def features(self, responses: Ids) -> Float[Tensor, "B T 3"]:
        """For the encoder: the prediction of each answer, how far `responses` are from it (0 where
        hidden), and how sure it was."""
        logits = self.logits
        surprise = torch.where(responses < HIDDEN, responses - logits.sigmoid(), 0.0)
        return torch.stack([logits, surprise, self.variance.sqrt()], -1)

    def before(self) -> Level:
        """[B, T], the level of the skill asked at each step, as believed before it."""
        shared = Shared.of(self.information[:, :-1])
        return self.skeleton.level(self.skills, shared, self.own, self.total)

    @functools.cached_property
    def outcomes(self) -> tuple[tuple[Level, Steps], tuple[Level, Steps]]:
        """`answered`, with all answers right and with all wrong."""
        return tuple(self.answered(torch.full_like(self.responses, r)) for r in (1, 0))

    @precise
    def answered(self, responses: Ids) -> tuple[Level, Steps]:
        """[B, T], the level of the skill asked at each step and the practice on it, as believed
        after it, had it been answered by `responses` after its true history."""
        s, seen, a = self.skeleton, self.responses < HIDDEN, self.added
        shared = Shared.of(self.information[:, :-1])
        variance = s.variance(self.own, shared, a.loading, a.slope)
        moved = s.moved(self.own, shared, a)
        parts = matched(self.mean - self.difficulty, variance, moved, responses == 1)
        parts = (torch.where(seen, x, 0.0) for x in parts)
        added = Answers(*parts, a.slope, a.loading)
        known = self.information[:, :-1] + s.information(self.own, added)
        gained = s.gains(self.skills, responses, self.opportunity)
        own = s.after(self.own, added)
        level = s.level(self.skills, Shared.of(known), own, self.total + gained)
        return level, self.practice + gained

    @precise
    def doubt(self, horizon: Horizon, about: Ids | None = None) -> Doubt:
        """Of the skill asked at each step, or of those that it is `about`, right after the step, as
        believed after step `horizon`. Practice on another skill than the one asked counts as if
        nothing of it had faded."""
        s, asked = self.skeleton, self.skills if about is None else about
        _, shared, own = self._known_at(horizon, asked)
        loading, practice = s._at(s.loading, asked), self.practice + self.gains
        if about is not None:
            reaches = s.shares().T
            earlier = earlier_like(self.gains.unsqueeze(-1), self.skills, reaches, about)
            now = reaches[about, self.skills] * self.gains
            practice = earlier.squeeze(-1) + now
        slope = s.speed * s.factor(shared.speed) * practice
        parts = own, shared, loading, slope
        log_speed = s.speed * shared.speed_variance.sqrt()
        deviation = s.variance(*parts).sqrt()
        return Doubt(deviation, s.with_speed(*parts), log_speed.expand_as(deviation))

    @precise
    def at(self, horizon: Horizon) -> Level:
        """[B, T], the level of the skill asked at each step, as believed after step `horizon`."""
        s, (seen, shared, own) = self.skeleton, self._known_at(horizon, self.skills)
        done = by_skill(torch.where(seen, self.gains, 0.0).unsqueeze(-1), self.skills, s.n_skills)
        practice = (done.transpose(1, 2) @ s.shares().to(done.dtype)).squeeze(1)
        return s.level(self.skills, shared, own, practice.gather(1, self.skills))

    def _known_at(self, horizon: Horizon, about: Ids) -> tuple[Bool[Tensor, "B T"], Shared, Own]:
        """Which answers have been seen, and what they say of the learner and of some skills."""
        step = torch.arange(self.skills.shape[1], device=self.skills.device)
        seen = step <= horizon.unsqueeze(1)
        row = torch.arange(len(horizon), device=horizon.device)
        shared = Shared.of(self.information[row, horizon + 1].unsqueeze(1))

        def total(x: Tensor) -> Tensor:
            each = torch.where(seen.unsqueeze(-1), x.double(), 0.0)
            sums = s.about_starts(by_skill(each, self.skills, s.n_skills))
            return at_skills(sums, about).to(x.dtype)

        s = self.skeleton
        return seen, shared, s.own(self.added, total)

    @precise
    def pairs(self) -> tuple[Level, Pairs]:
        """[B, T, T], entry [s, t]: the level of the skill asked at t, as believed after step s, and
        the practice on it before t; after s, practice counts as if its answers were hidden."""
        s = self.skeleton
        own = s.own(self.added, lambda x: s.each_on(s.alike(self.skills), x).cumsum(1))
        shared = Shared.of(self.information[:, 1:].unsqueeze(2))
        reach = s.reach(self.skills).transpose(1, 2)  # [u, t]
        done = (reach * self.gains.unsqueeze(-1)).cumsum(1)
        level = s.level(self.skills.unsqueeze(1), shared, own, done)
        if self.fades is not None:  # of what is done at s, as much is left at t
            reach = reach * self.kept.transpose(1, 2)
            done = (reach * self.gains.unsqueeze(-1)).cumsum(1)
        usual = reach * s.gains(
            self.skills, torch.full_like(self.skills, HIDDEN), self.opportunity
        ).unsqueeze(-1)
        later = torch.where(_ahead(self.skills), usual, 0.0)  # u < t
        later = later.sum(1, keepdim=True) - later.cumsum(1)  # s < u < t
        now = torch.where(_ahead(self.skills), done + later, self.practice.unsqueeze(1))
        return level, now

    @precise
    def every_skill(self) -> tuple[Level, Skills]:
        """[B, T, C], the levels of all skills and the practice on them, as believed after each
        step."""
        s = self.skeleton
        past, total = self.past, self.all_gains.cumsum(1)

        def sums(x: Tensor) -> Tensor:
            found = s.each_on(s.like(self.skills), x).cumsum(1)
            if past is None:
                return found
            return found + s.about_starts(past.answers).unsqueeze(1).to(x.dtype)

        own = s.own(self.added, sums)
        shared = Shared.of(self.information[:, 1:].unsqueeze(2))
        every = torch.arange(s.n_skills, device=self.skills.device)
        if past is not None:
            total = total + past.gains.unsqueeze(1).to(total.dtype)
        level = s.level(every, shared, own, total)
        return level, total if self.fades is None else total - self.lost

    @functools.cached_property
    def all_gains(self) -> Skills:
        """[B, T, C], gain of each step on every skill, at speed 1."""
        return self.gains.unsqueeze(-1) * F.embedding(self.skills, self.skeleton.shares())

    @property
    def fades(self) -> Retention | None:
        """How gains fade; None where they do not."""
        return self.skeleton.retention

    @functools.cached_property
    def kept(self) -> Pairs:
        """Entry [s, u]: share of the gain at step u that is left at step s; in `retentive`."""
        return self.fades.kept(self.skills, self.days)

    @functools.cached_property
    @precise
    def lost(self) -> Skills:
        """[B, T, C], what is lost at each step of the gains before it, at speed 1."""
        if self.past is None:
            return fading(self.all_gains, self.kept)
        kind, past = self.gains.dtype, self.past
        far = past.lost_of_every(self.skills, self.days).to(kind)
        return fading(self.all_gains, self.kept, far, (past.gains.to(kind), past.lost.to(kind)))

    def windows(self, size: int = WINDOW) -> Iterator[Reading]:
        """The same in windows of `size` steps, one after the other; a short reading is one."""
        if self.skills.shape[1] <= size:
            yield self
            return
        past = Past.before(self.skeleton, self.skills, self.days)
        for a in range(0, self.skills.shape[1], size):
            window = self._part(lambda x, a=a: x[:, a : a + size], past)
            window.information = self.information[:, a : a + size + 1]
            yield window
            past = window.onward()

    def onward(self) -> Past:
        """For the steps that follow."""
        past = self.past or Past.before(self.skeleton, self.skills, self.days)
        past = past.after_gains(self.skills, self.gains, self.days)
        terms = self.skeleton.terms(self.added).double()
        answers = past.answers + by_skill(terms, self.skills, self.skeleton.n_skills)
        lost = None if self.fades is None else self.lost[:, -1].double()
        return dataclasses.replace(past, answers=answers, lost=lost)

    def at_step(self, last: Horizon) -> Reading:
        """Of step `last` alone, [B, 1], with the steps before it as its past."""
        row, C = torch.arange(len(last), device=last.device).unsqueeze(1), self.skeleton.n_skills
        at, step = last.unsqueeze(1), torch.arange(self.skills.shape[1], device=last.device)
        seen = (step < at).double()
        terms = self.skeleton.terms(self.added).double() * seen.unsqueeze(-1)
        past = Past.before(self.skeleton, self.skills, self.days).after_gains(
            self.skills, self.gains * seen, self.days
        )
        past = dataclasses.replace(past, answers=by_skill(terms, self.skills, C), fading=None)
        one = self._part(lambda x: x[row, at], past)
        one.information = torch.cat([self.information[row, at], self.information[row, at + 1]], 1)
        if self.fades is not None:
            fallen = (1 - self.fades.kept_at(self.skills, self.days, last)) * self.gains * seen
            past.lost = past.reached(by_skill(fallen.unsqueeze(-1), self.skills, C).squeeze(-1))
        return one

    def _part(self, of: Callable[[Tensor], Tensor], past: Past) -> Reading:
        """Some of the steps."""
        steps = ("skills", "responses", "difficulty", "gains", "opportunity", "practice", "total")
        found = {name: of(getattr(self, name)) for name in (*steps, "mean", "variance")}
        parts = {
            name: type(x)(*(of(y) for y in vars(x).values()))
            for name, x in (("added", self.added), ("own", self.own))
        }
        days = None if self.days is None else of(self.days)
        return Reading(
            self.skeleton, **found, **parts, information=self.information, days=days, past=past
        )


def merged(found: dict[str, Any], row: Int[Tensor, "N"], others: dict[str, Any]) -> dict[str, Any]:
    """`found` with some rows replaced."""

    def replaced(old: Any, new: Any) -> Any:
        if torch.is_tensor(old):
            return old.index_copy(0, row, new)
        pairs = zip(vars(old).values(), vars(new).values(), strict=True)
        return type(old)(*(replaced(x, y) for x, y in pairs))

    return {name: replaced(old, others[name]) for name, old in found.items()}


def _ahead(skills: Ids) -> Bool[Tensor, "T T"]:
    T = skills.shape[1]
    return torch.ones(T, T, dtype=torch.bool, device=skills.device).triu(1)
