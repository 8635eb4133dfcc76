"""The psychometric skeleton: what is believed of a learner before a network has said anything.

An additive factor model (docs/method.md, "The skeleton"). The level of skill k before step s is

    offset_k + loading_k a + spread o_k + exp(speed z) P_{s,k}

with an ability a, a start o_k on each skill and a speed z of the learner, all of them static and
N(0, 1) before the first answer. The practice P_{s,k} is a sum of gains >= 0, one for each step on k
before s: exp(gain_k) times a power of the number of the opportunity times a factor for the answer.
In mode `retentive` each is multiplied by the share of it that is left (`kt_core.retention`).

What the answers up to t say about (a, o, z) is a normal distribution, updated answer by answer by
moment matching (assumed-density filtering). As they are static, the belief at t is also the
smoothed belief about every step before t. All steps are computed together: each needs the estimates
before it, which a few rounds over the whole sequence settle.

B learners, T steps, C skills. Steps count from 0; step s is answered after steps 0..s-1 were seen.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from kt_core.layers import Horizon, Ids, Skills, Steps, entries
from kt_core.parts import Parts
from kt_core.posterior import Answers, Doubt, Level, Own, Shared, matched, shrinkage, together
from kt_core.retention import Fading, Retention, fading
from kt_core.sums import (
    Earlier,
    at_skills,
    by_skill,
    earlier_like,
    earlier_on_skill,
    opportunities,
    pairs,
    plain,
    same_skill,
)

HIDDEN = 2  # the response of an answer that may not be seen
ROUNDS = 4  # over a sequence, until the estimates have settled
STILL = 0.1  # logits by which a level may move in the last round
WINDOW = 256  # steps of a long history of which all is read at once
BLOCK = 16  # steps at once, where they do not settle: long runs of surprising answers
FEATURES = 3  # of `Reading.features`
MOST_SKILLS = 300  # among which gains may transfer: the shares are a table of C x C
LARGEST = 30.0  # of a logarithm, so that squares and sums of its exponential stay finite
Pairs = Float[Tensor, "B T T"]
Table = Float[Tensor, "C"]
Counts = Int[Tensor, "C"]


def precise(method: Callable) -> Callable:
    """Mixed precision off: sums over a history need all digits."""

    @functools.wraps(method)
    def called(*args: Any, **more: Any) -> Any:
        kind = next(x.device.type for x in args[1:] or (args[0].skills,) if torch.is_tensor(x))
        with torch.autocast(kind, enabled=False):
            return method(*args, **more)

    return called


class Skeleton(nn.Module):
    """The parameters of the skeleton, and how they read answers.

    They are fitted before the network (`kt_core.training.skeleton`), which never changes them.

    Parameters
    ----------
    transfer : whether gains may also reach other skills.
    retentive : whether gains fade.
    parts : the single skills that each skill is made of; empty where all are single.

    Attributes
    ----------
    offset, log_loading, log_gain : [C]; of a combination of skills, what it differs by from the
        mean of its parts.
    log_answer : [2], factor of a gain by a wrong and by a right answer.
    raw_decay : how fast gains fall with the number of the opportunity.
    log_spread, log_speed : standard deviations of starts and of log speed.
    raw_transfer : [C, C], shares of a gain on the skill of the row; None where there are none.
    raw_passed : how much of a gain passes between skills with common parts; None without such.
    retention : how gains fade; None where they do not.

    References
    ----------
    MacKay, D. J. C. (1992). The evidence framework applied to classification networks. Neural
    Computation, 4, 720-736.
    Minka, T. (2001). A family of algorithms for approximate Bayesian inference. PhD thesis, MIT.
    """

    def __init__(
        self,
        n_skills: int,
        transfer: bool = False,
        retentive: bool = False,
        parts: Sequence[Sequence[int]] = (),
    ):
        super().__init__()
        self.n_skills = n_skills
        self.parts = Parts(parts) if parts else None
        self.offset = nn.Parameter(torch.zeros(n_skills))
        self.log_loading = nn.Parameter(torch.zeros(n_skills))
        self.log_gain = nn.Parameter(torch.full((n_skills,), -2.0))
        self.log_answer = nn.Parameter(torch.zeros(2))
        self.raw_decay = nn.Parameter(torch.tensor(0.0))
        self.log_spread = nn.Parameter(torch.tensor(-1.0))
        self.log_speed = nn.Parameter(torch.tensor(-1.5))
        pairs = (n_skills, n_skills)
        self.raw_transfer = nn.Parameter(torch.zeros(pairs)) if transfer else None
        self.retention = Retention(n_skills) if retentive else None
        self.raw_passed = None
        if self.parts is not None:
            self.raw_passed = nn.Parameter(torch.tensor(0.0))
            self.log_gain.data[~self.parts.single] = 0.0
        self.requires_grad_(False)

    @torch.no_grad()
    def begin(self, answers: Counts, right: Counts) -> None:
        """Set the offsets by the numbers of answers and of right answers on each skill."""
        if self.parts is None:
            self.offset.copy_(((right + 1) / (answers + 2)).logit())
            return
        has = self.parts.has
        known = (right.to(has.dtype) @ has + 1) / (answers.to(has.dtype) @ has + 2)
        self.offset.copy_(torch.where(self.parts.single, known.logit(), 0.0))
        apart = ((right + 1) / (answers + 2)).logit() - self.offsets
        self.offset.copy_(torch.where(self.parts.single, self.offset, apart))

    def around_mean(self, table: Table) -> Table:
        """What a prior holds small: the distance from the mean of all single skills; of a
        combination its own number."""
        if self.parts is None:
            return table - table.mean()
        single = self.parts.single
        return torch.where(single, table - table[single].mean(), table)

    @precise
    def read(
        self,
        skills: Ids,
        responses: Ids,
        difficulty: Steps | None = None,
        days: Steps | None = None,
    ) -> Reading:
        """What the answers of each learner say.

        Parameters
        ----------
        responses : 0 wrong, 1 right, 2 hidden.
        difficulty : of the items; None where they are unknown.
        days : when each answer was given; None where that is not known.

        Raises
        ------
        KTError
            When gains fade by the day and `days` is None.
        """
        d = torch.zeros_like(skills, dtype=self.spread.dtype)
        d = d if difficulty is None else difficulty.to(d.dtype)
        opportunity = opportunities(skills)
        gains = self.gains(skills, responses, opportunity)
        practice, total, kept = self.practised(skills, gains, days)
        asked = skills, responses, d, practice, total
        found, moving = self._settled(*asked, skills.shape[1])
        if moving.any():
            row = moving.nonzero().squeeze(1)
            found = merged(found, row, self._settled(*(x[row] for x in asked), BLOCK)[0])
        parts = d, gains, opportunity, practice, total
        reading = Reading(self, skills, responses, *parts, **found, days=days)
        if kept is not None:
            reading.kept = kept
        return reading

    def _settled(
        self, skills: Ids, responses: Ids, d: Steps, practice: Steps, total: Steps, block: int
    ) -> tuple[dict[str, Any], Bool[Tensor, "B"]]:
        """What the answers add and what is known before each, a `block` of steps at once; and whose
        estimates still moved in the last round."""
        loading, offset = self._at(self.loading, skills), self._at(self.offsets, skills)
        B, T = skills.shape
        earlier = Earlier(skills, self.n_skills, self.likeness)
        information = [offset.new_zeros(B, 1, 5)]
        known: list[Answers] = []
        parts, moving = [], torch.zeros(B, dtype=torch.bool, device=skills.device)
        for a in range(0, T, block):
            now = slice(a, min(a + block, T))
            own_loading, own_practice = loading[:, now], practice[:, now]
            seen, right = responses[:, now] < HIDDEN, responses[:, now] == 1
            nothing = torch.zeros_like(own_loading)
            added, mean = Answers(nothing, nothing, nothing, own_loading), nothing
            for number in range(ROUNDS + 1):
                whole = added if earlier.mask is None else together([*known, added])
                own = self.own(whole, lambda x, now=now: earlier.sums(now, x))
                more = information[-1][:, -1:] + self.information(own, added).cumsum(1)
                before = Shared.of(torch.cat([information[-1][:, -1:], more[:, :-1]], 1))
                start, factor = self.spread * own.start(before), self.factor(before.speed)
                old, slope = mean, self.speed * factor * own_practice
                mean = offset[:, now] + own_loading * before.ability + start + factor * own_practice
                variance = self.variance(own, before, own_loading, slope)
                if number == ROUNDS:
                    break
                moved = self.moved(own, before, dataclasses.replace(added, slope=slope))
                found = matched(mean - d[:, now], variance, moved, right)
                found = (torch.where(seen, x, 0.0) for x in found)
                added = Answers(*found, slope, own_loading)
            moving |= ~((mean - old).abs() <= STILL).all(1)
            # A level is as uncertain as if nothing had faded: see `Reading`.
            slope = self.speed * factor * total[:, now]
            parts.append((own, mean, self.variance(own, before, own_loading, slope)))
            known.append(added)
            earlier.add(now, self.terms(added))
            information.append(more)
        owns, means, variances = zip(*parts, strict=True)
        found = {"added": together(known), "own": together(owns)}
        found |= {"information": torch.cat(information, 1)}
        return found | {"mean": torch.cat(means, 1), "variance": torch.cat(variances, 1)}, moving

    def practised(
        self, skills: Ids, gains: Steps, days: Steps | None
    ) -> tuple[Steps, Steps, Pairs | None]:
        """[B, T], what is left of the practice before each step, and all of it; and the shares that
        are left (`Reading.kept`), where they were made."""
        if not plain(skills.shape[1]):
            return *self._practised(skills, gains, days), None
        reach, kept = self.reach(skills), None
        total = practice = self._sum(reach, gains)
        if self.retention is not None:
            kept = self.retention.kept(skills, days)
            practice = self._sum(reach * kept, gains)
        return practice, total, kept

    def _practised(self, skills: Ids, gains: Steps, days: Steps | None) -> tuple[Steps, Steps]:
        """The same of a long history."""
        if self.retention is None and not self.transfers:
            total = earlier_on_skill(gains.double().unsqueeze(-1), skills).squeeze(-1)
            return (total.to(gains.dtype),) * 2
        past, parts = Past.before(self, skills, days), []
        for a in range(0, skills.shape[1], WINDOW):
            now = slice(a, a + WINDOW)
            q, g, when = skills[:, now], gains[:, now], None if days is None else days[:, now]
            total = self._sum(self.reach(q), g) + past.gains.gather(1, q)
            practice = total
            if self.retention is not None:
                fallen = self.reach(q) * (1 - self.retention.kept(q, when))
                lost = self._sum(fallen, g) + past.lost_of_asked(q, when)
                practice = total - torch.minimum(lost, total)
            parts.append((practice, total))
            past = past.after_gains(q, g, when)
        practice, total = (torch.cat(x, 1).to(gains.dtype) for x in zip(*parts, strict=True))
        return practice, total

    @staticmethod
    def _sum(reach: Pairs, gains: Steps) -> Steps:
        """[B, T], practice before each step."""
        return (reach.tril(-1) @ gains.unsqueeze(-1)).squeeze(-1)

    def gains(self, skills: Ids, responses: Ids, opportunity: Ids) -> Steps:
        """[B, T], gain of each step on its own skill at speed 1, >= 0. A hidden answer counts as
        right and wrong in the shares of a learner of average ability who begins."""
        decay = F.softplus(self._wide(self.raw_decay)) * opportunity.log1p()
        factor = _exp(self._wide(self.log_answer))
        rate = self._at(self.offsets, skills).sigmoid()
        usual = rate * factor[1] + (1 - rate) * factor[0]
        given = torch.where(responses == 1, factor[1], factor[0])
        factor = torch.where(responses < HIDDEN, given, usual)
        return _exp(self._at(self._mixed(self.log_gain), skills) - decay) * factor

    def moved(self, own: Own, shared: Shared, added: Answers) -> Tensor:
        """How far the learner has moved the mean of a level, to first order."""
        by_speed = added.slope * shared.speed
        return added.loading * shared.ability + self.spread * own.start(shared) + by_speed

    def own(self, added: Answers, total: Callable[[Tensor], Tensor]) -> Own:
        """What some answers on a skill say about its start; `total` sums [B, T, 4] over them."""
        spread = self.spread
        precision, *others = total(self.terms(added)).unbind(-1)
        return Own(1 + spread**2 * precision, *(spread * x for x in others))

    @staticmethod
    def terms(a: Answers) -> Float[Tensor, "*at 4"]:
        """What each answer adds to what is known of the start on its skill."""
        return torch.stack([a.weight, a.weight * a.loading, a.weight * a.slope, a.pull], -1)

    def about_starts(self, answers: Float[Tensor, "B C 4"]) -> Float[Tensor, "B C 4"]:
        """`terms` by the skill asked, as they count for the start of each skill."""
        return answers if self.parts is None else self.parts.about_starts(answers)

    @property
    def likeness(self) -> Float[Tensor, "C C"] | None:
        """Of the starts of two skills; None where none of two is like another."""
        return None if self.parts is None else self.parts.likeness

    def like(self, skills: Ids) -> Skills:
        """[B, T, C], likeness of the skill of each step and every skill."""
        if self.parts is None:
            return F.one_hot(skills, self.n_skills)
        return F.embedding(skills, self.parts.likeness)

    def alike(self, skills: Ids) -> Pairs:
        """Likeness of the skills of two steps."""
        return same_skill(skills) if self.parts is None else pairs(self.parts.likeness, skills)

    def each_on(self, likeness: Tensor, terms: Float[Tensor, "B T 4"]) -> Float[Tensor, "B T K 4"]:
        """`terms` of each step, as they count for the starts of K skills."""
        on = likeness.to(terms.dtype).unsqueeze(-1)
        if self.parts is not None:
            on = torch.cat([on.square(), on, on, on], -1)
        return on * terms.unsqueeze(2)

    def after(self, own: Own, added: Answers) -> Own:
        """`own` with one more answer."""
        one = self.own(added, lambda x: x)
        one.precision = one.precision - 1
        pairs = zip(vars(own).values(), vars(one).values(), strict=True)
        return Own(*(x + y for x, y in pairs))

    def information(self, own: Own, added: Answers) -> Float[Tensor, "B T 5"]:
        """What each answer adds to what is known of ability and speed (see `Shared.of`), the start
        on its skill being unknown."""
        a, w = added, added.weight
        by_ability, by_speed = w * a.loading, w * a.slope
        first = torch.stack([a.loading, a.loading, a.slope, a.loading, a.slope], -1)
        second = torch.stack([by_ability, by_speed, by_speed, a.pull, a.pull], -1)
        return first * second - self.after(own, added).products() + own.products()

    def variance(self, own: Own, shared: Shared, loading: Tensor, slope: Tensor) -> Tensor:
        """Of a level whose derivatives by ability and speed are `loading` and `slope`."""
        a, z = self._derivatives(own, loading, slope)
        both = 2 * a * z * shared.covariance
        known = a**2 * shared.ability_variance + z**2 * shared.speed_variance + both
        return known.clamp(min=0) + self.spread**2 / own.precision

    def with_speed(self, own: Own, shared: Shared, loading: Tensor, slope: Tensor) -> Tensor:
        """Covariance of such a level with the speed, by the speed's standard deviation."""
        a, z = self._derivatives(own, loading, slope)
        return (a * shared.covariance + z * shared.speed_variance) / shared.speed_variance.sqrt()

    def _derivatives(self, own: Own, loading: Tensor, slope: Tensor) -> tuple[Tensor, Tensor]:
        """By ability and speed, where the start goes along with them as the answers say."""
        a = loading - self.spread * own.ability / own.precision
        return a, slope - self.spread * own.speed / own.precision

    def level(
        self, skills: Int[Tensor, "..."], shared: Shared, own: Own, practice: Tensor
    ) -> Level:
        """The level of skills after `practice`; all arguments broadcast."""
        loading, factor = self._at(self.loading, skills), self.factor(shared.speed)
        variance = self.variance(own, shared, loading, self.speed * factor * practice)
        shrink = shrinkage(variance)
        return Level(
            shrink * self._at(self.offsets, skills),
            shrink * loading * shared.ability,
            shrink * self.spread * own.start(shared),
            shrink * factor,
            shrink,
            variance,
        )

    def factor(self, speed: Tensor) -> Tensor:
        """By how much gains are larger than at speed 0."""
        return _exp(self.speed * speed)

    def shares(self) -> Float[Tensor, "C C"]:
        """Share of a gain on skill i that reaches skill j; 1 on the diagonal."""
        if self.parts is not None:
            own = self.parts.shares(self._wide(self.raw_passed).sigmoid())
        else:
            own = torch.eye(self.n_skills, device=self.offset.device, dtype=self.spread.dtype)
        if self.raw_transfer is None:
            return own
        return torch.where(own > 0, own, self._wide(self.raw_transfer).relu())

    def reach(self, skills: Ids) -> Pairs:
        """Entry [s, u]: share of a gain at step u that reaches the skill asked at step s."""
        if self.raw_transfer is None and self.parts is None:
            return same_skill(skills).to(self.spread.dtype)
        if self.raw_transfer is None:
            return pairs(self.shares().T, skills)
        # A product with ones and zeros: its gradient is far cheaper than that of looking up.
        given = F.embedding(skills, self.shares())
        return F.one_hot(skills, self.n_skills).to(given.dtype) @ given.transpose(1, 2)

    @property
    def transfers(self) -> bool:
        """Whether any gain reaches another skill."""
        if self.raw_transfer is None and self.parts is None:
            return False
        return bool(((shares := self.shares()) > 0).sum() > shares.diagonal().count_nonzero())

    @property
    def offsets(self) -> Table:
        """Of each skill."""
        return self._mixed(self.offset)

    @property
    def loading(self) -> Table:
        """What a unit of ability adds, > 0."""
        return _exp(self._mixed(self.log_loading))

    @property
    def spread(self) -> Float[Tensor, ""]:
        """Standard deviation of starts, in logits."""
        return _exp(self._wide(self.log_spread))

    @property
    def speed(self) -> Float[Tensor, ""]:
        """Standard deviation of log speed."""
        return _exp(self._wide(self.log_speed))

    def _at(self, table: Table, skills: Int[Tensor, "..."]) -> Tensor:
        return entries(self._wide(table), skills)

    def _mixed(self, table: Table) -> Table:
        """The numbers in use, of every skill."""
        table = self._wide(table)
        return table if self.parts is None else self.parts.mixed(table)

    def _wide(self, values: Tensor) -> Tensor:
        """In half precision sums over a history would lose their last answers."""
        return values.to(torch.promote_types(values.dtype, torch.float32))


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
    def before(cls, skeleton: Skeleton, skills: Ids, days: Steps | None) -> Past:
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

    skeleton: Skeleton
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


def _exp(logarithm: Tensor) -> Tensor:
    return logarithm.clamp(max=LARGEST).exp()
