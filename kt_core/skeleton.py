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
from collections.abc import Callable, Sequence
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from kt_core.layers import HIDDEN, Ids, Skills, Steps, entries, precise
from kt_core.parts import Parts
from kt_core.posterior import Answers, Level, Own, Shared, matched, shrinkage, together
from kt_core.reading import WINDOW, Past, Reading, merged
from kt_core.retention import Retention
from kt_core.sums import (
    Earlier,
    earlier_on_skill,
    opportunities,
    pairs,
    plain,
    same_skill,
    weighted,
)

ROUNDS = 4  # over a sequence, until the estimates have settled
STILL = 0.1  # logits by which a level may move in the last round
BLOCK = 16  # steps at once, where they do not settle: long runs of surprising answers
MOST_SKILLS = 300  # among which gains may transfer: the shares are a table of C x C
LARGEST = 30.0  # of a logarithm, so that squares and sums of its exponential stay finite
Pairs = Float[Tensor, "B T T"]
Table = Float[Tensor, "C"]
Counts = Int[Tensor, "C"]


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
        if self.likeness is None:
            return answers
        return weighted(self.likeness.to(answers.dtype), answers)

    @property
    def likeness(self) -> Float[Tensor, "C C"] | None:
        """Of the starts of two skills; None where none of two is like another."""
        return None if self.parts is None else self.parts.likeness

    def like(self, skills: Ids) -> Skills:
        """[B, T, C], likeness of the skill of each step and every skill."""
        if self.likeness is None:
            return F.one_hot(skills, self.n_skills)
        return F.embedding(skills, self.likeness)

    def alike(self, skills: Ids) -> Pairs:
        """Likeness of the skills of two steps."""
        return same_skill(skills) if self.likeness is None else pairs(self.likeness, skills)

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
        if self.raw_transfer is None or not _fitted(self.raw_transfer):
            return pairs(self.shares().T, skills)
        # A product with ones and zeros is slower, but its gradient far cheaper than that of looking
        # up.
        given = F.embedding(skills, self.shares())
        return F.one_hot(skills, self.n_skills).to(given.dtype) @ given.transpose(1, 2)

    @property
    def transfers(self) -> bool:
        """Whether any gain reaches another skill."""
        if self.raw_transfer is None and self.parts is None:
            return False
        return bool(self.shares().count_nonzero() > self.n_skills)  # all reach their own skill

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


def _fitted(parameter: Tensor) -> bool:
    """Whether a gradient is taken by it."""
    return torch.is_grad_enabled() and parameter.requires_grad


def _exp(logarithm: Tensor) -> Tensor:
    return logarithm.clamp(max=LARGEST).exp()
