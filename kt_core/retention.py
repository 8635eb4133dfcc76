"""How much of a gain a break leaves: mode `retentive`.

Of a gain at step u, the share

    R = (1 + x / clock) ** -d

is left after x: the days since u where times are known, else the steps since u on other skills. R
is 1 at once, never rises, and with d = 0 it is 1 for ever (docs/method.md, "Forgetting"). B
learners, T steps, C skills.

References
----------
Wixted, J. T., & Ebbesen, E. B. (1991). On the form of forgetting. Psychological Science, 2,
409-415.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from kt_core.base.errors import KTError
from kt_core.layers import Horizon, Ids, Skills, Start, Steps, entries
from kt_core.sums import at_skills, by_skill, opportunities

DAYS, STEPS = 1.0, 20.0  # where the clock starts
LARGEST = 30.0  # of a logarithm
FASTEST = 256.0  # decay of a gain of an earlier window
SLOWEST = 1e-10  # per clock: the slowest of the rates that stand in for a power law
Pairs = Float[Tensor, "B T T"]


class Retention(nn.Module):
    """How fast gains fade.

    Attributes
    ----------
    log_decay : [C], logarithm of d, of the skill that was practised.
    log_clock : logarithm of the days, or steps, within which little is lost.
    timed : whether x is in days; it is decided by the training data.
    """

    def __init__(self, n_skills: int):
        super().__init__()
        self.log_decay = nn.Parameter(torch.full((n_skills,), -2.0))
        self.log_clock = nn.Parameter(torch.tensor(STEPS).log())
        self.register_buffer("timed", torch.tensor(False))

    @torch.no_grad()
    def begin(self, timed: bool) -> None:
        """Set the clock for days or for steps."""
        self.timed.fill_(timed)
        self.log_clock.copy_(torch.tensor(DAYS if timed else STEPS).log())

    def kept(self, skills: Ids, days: Steps | None) -> Pairs:
        """Entry [s, u]: the share of the gain at step u that is left at step s; 1 for u >= s.

        Raises
        ------
        KTError
            When the decay is by days and `days` is None.
        """
        return self._left(self._days(days) if self.timed else other_steps(skills), skills)

    def _left(self, x: Tensor, skills: Ids) -> Tensor:
        """The share left after `x`, of which the last dimension is the step of the gain."""
        wide = torch.promote_types(self.log_decay.dtype, torch.float32)
        decay = entries(self.log_decay.to(wide).clamp(max=LARGEST).exp(), skills)
        decay = decay if x.ndim == decay.ndim else decay.unsqueeze(1)
        clock = self.log_clock.to(wide).clamp(-LARGEST, LARGEST).exp()
        return (-decay * (x.clamp(min=0).to(wide) / clock).log1p()).exp()

    def kept_at(self, skills: Ids, days: Steps | None, last: Horizon) -> Steps:
        """[B, T], the row of step `last` of `kept`."""
        row = torch.arange(len(last), device=last.device)
        step = torch.arange(skills.shape[1], device=last.device)
        if self.timed:
            x = days[row, last].unsqueeze(1) - self.known(days)
        else:  # steps on the same skill after u, up to the last, do not count
            ended = step <= last.unsqueeze(1)
            on = by_skill(ended.unsqueeze(-1).long(), skills, len(self.log_decay)).squeeze(-1)
            x = last.unsqueeze(1) - step - (on.gather(1, skills) - opportunities(skills) - 1)
        return self._left(x, skills)

    def mixture(self) -> tuple[Float[Tensor, "M"], Float[Tensor, "C M"]]:
        """The power law as a mixture of exponentials, whose sums over a history go on from step to
        step: rates, per day or step, and the weights of each skill, which are >= 0 and sum to 1.

        (1 + x) ** -d is the mean of exp(-r x) over rates r from a gamma distribution of shape d:
        the trapezoid rule in log r, with what is slower than every rate at rate 0. It is off by at
        most 1e-7 for 10 ** 5 days or steps.
        """
        d = self.log_decay.double().clamp(max=math.log(FASTEST)).exp().unsqueeze(1)
        fastest = d.max().item()
        width = min(0.4, 0.8 * max(fastest, 1e-9) ** -0.5)
        highest = fastest + 10 * fastest**0.5 + 40
        at = torch.arange(math.log(SLOWEST), math.log(highest), width, dtype=d.dtype)
        at = at.to(d.device)
        weights = width * (d * at - at.exp() - d.lgamma()).exp()
        weights = weights / weights.sum(1, keepdim=True).clamp(min=1)
        slow = 1 - weights.sum(1, keepdim=True)
        clock = self.log_clock.double().clamp(-LARGEST, LARGEST).exp()
        rates = torch.cat([at.new_zeros(1), at.exp() / clock])
        return rates, torch.cat([slow, weights], 1)

    @staticmethod
    def known(days: Steps | None) -> Steps:
        """The times, which are needed."""
        if days is None:
            raise KTError(
                "this model was trained with the times of the answers, and these answers have none "
                "whose unit is known: give a column of times (docs/formats.md), or train with "
                "model.times = false"
            )
        return days

    @classmethod
    def _days(cls, days: Steps | None) -> Pairs:
        days = cls.known(days)
        return days.unsqueeze(2) - days.unsqueeze(1)


def other_steps(skills: Ids) -> Float[Tensor, "B T T"]:
    """Entry [s, u]: the number of steps after u, up to s, on other skills than that of u."""
    same = (skills.unsqueeze(2) == skills.unsqueeze(1)).float()
    on = same.cumsum(1)  # steps up to s on the skill of u
    step = torch.arange(skills.shape[1], device=skills.device, dtype=on.dtype)
    return step.unsqueeze(1) - step - (on - on.diagonal(dim1=1, dim2=2).unsqueeze(1))


@dataclass
class Fading:
    """What is left, and what is lost, of the gains of the windows before, at their last step.

    Attributes
    ----------
    rates, weights : of `Retention.mixture`.
    left, gone : [B, C, M], of the gains on each skill, if they faded at each of the rates.
    day : [B], of the last step; None where gains fade by steps.
    """

    rates: Float[Tensor, "M"]
    weights: Float[Tensor, "C M"]
    left: Float[Tensor, "B C M"]
    gone: Float[Tensor, "B C M"]
    day: Float[Tensor, "B"] | None

    @classmethod
    def before(cls, retention: Retention, skills: Ids, days: Steps | None) -> Fading:
        """Of a history that begins."""
        rates, weights = retention.mixture()
        none = weights.new_zeros(len(skills), *weights.shape)
        timed = bool(retention.timed)
        return cls(rates, weights, none, none, Retention.known(days)[:, 0] if timed else None)

    def lost(self, skills: Ids, days: Steps | None) -> Skills:
        """[B, T, C], at each step of the next window, of the gains on each skill."""
        total = (self.weights * self.gone).sum(-1).unsqueeze(1)
        if self.day is not None:
            fallen = -torch.expm1(-self.rates * (days - self.day.unsqueeze(1)).unsqueeze(-1))
            return total + fallen @ (self.weights * self.left).transpose(1, 2)
        on = F.one_hot(skills, len(self.weights)).cumsum(1)
        step = torch.arange(1, skills.shape[1] + 1, device=skills.device)
        x = (step.unsqueeze(-1) - on).to(total.dtype)
        total = total.expand_as(x)
        for m, rate in enumerate(self.rates.tolist()):  # all rates at once would fill memory
            weight = (self.weights[:, m] * self.left[..., m]).unsqueeze(1)
            total = total - weight * torch.expm1(-rate * x)
        return total

    def lost_of_asked(self, skills: Ids, days: Steps | None) -> Steps:
        """[B, T], the entries of `lost` of the skill of each step."""
        if self.day is not None:
            x = days.double() - self.day.unsqueeze(1)
        else:
            x = torch.arange(skills.shape[1], device=skills.device) - opportunities(skills).double()
        weights = F.embedding(skills, self.weights)
        left, gone = (at_skills(y, skills) for y in (self.left, self.gone))
        fallen = -torch.expm1(-self.rates * x.unsqueeze(-1))
        return (weights * (gone + left * fallen)).sum(-1)

    def after(self, skills: Ids, gains: Steps, days: Steps | None) -> Fading:
        """At the last step of the next window."""
        C, now = len(self.weights), None
        if self.day is not None:
            now = days[:, -1].double()
            since, own = (now - self.day).unsqueeze(-1), now.unsqueeze(1) - days
        else:
            T, on = skills.shape[1], F.one_hot(skills, C).sum(1)
            since = (T - on).double()
            step = torch.arange(T, device=skills.device)
            later = on.gather(1, skills) - opportunities(skills) - 1
            own = (T - 1 - step - later).double()
        fallen = -torch.expm1(-self.rates * since.unsqueeze(-1))
        new = -torch.expm1(-self.rates * own.unsqueeze(-1))
        each = gains.double().unsqueeze(-1)
        gone = self.gone + self.left * fallen + by_skill(each * new, skills, C)
        left = self.left * (1 - fallen) + by_skill(each * (1 - new), skills, C)
        return Fading(self.rates, self.weights, left, gone, now)


def fading(
    gains: Skills, kept: Pairs, far: Skills | None = None, past: tuple[Start, Start] | None = None
) -> Skills:
    """[B, T, C], what is lost at each step of the gains before it; it never falls along T.

    Parameters
    ----------
    gains : of each step on every skill, >= 0.
    kept : of `Retention.kept`.
    far : what is lost of the gains of earlier windows.
    past : all of these gains, and what was lost at their last step.
    """
    lost, total = (1 - kept).tril(-1) @ gains, F.pad(gains.cumsum(1), (0, 0, 1, 0))[:, :-1]
    if past is not None:
        lost = torch.maximum(lost + far, past[1].unsqueeze(1))
        total = total + past[0].unsqueeze(1)
    return torch.minimum(lost.cummax(1).values, total)


@dataclass
class Held:
    """Where a trajectory has come to, for the steps that follow: [B, C] each.

    Attributes
    ----------
    total, lost : gains so far, and what is lost of them.
    mastery : after the last step; None before the first.
    """

    total: Start
    lost: Start
    mastery: Start | None = None


def retentive_mastery(
    belief: Start, gains: Skills, lost: Skills, held: Held | None = None
) -> tuple[Skills, Skills]:
    """Mastery as believed at one horizon: sigmoid(belief + gains so far - what is lost of them).

    Parameters
    ----------
    belief : about the start, a logit.
    gains : non-negative, in logits; 0 after the horizon.
    lost : of the gains before each step, at the moment of the step; it never falls along T.
    held : at the step before, where the steps follow on others.

    Returns
    -------
    Mastery after and before each step, in [0, 1], in the dtype of `gains`. To the last bit, a step
    never lowers it, a break never raises it, and it is never below the start. Where nothing is
    lost, the first is `kt_core.mastery.retrospective_mastery`, bit for bit.
    """
    dtype = gains.dtype
    if dtype in (torch.float16, torch.bfloat16):
        belief, gains, lost = belief.float(), gains.float(), lost.float()
    most = torch.finfo(gains.dtype).max
    held = held or Held(torch.zeros_like(belief), torch.zeros_like(belief))
    sums = held.total.to(gains.dtype).unsqueeze(1) + F.pad(gains.cumsum(1), (0, 0, 1, 0))
    total = (belief.unsqueeze(1) + sums).clamp(max=most)
    lost, start = lost.clamp(max=most), belief.sigmoid()
    high, low = (total[:, 1:] - lost).sigmoid(), (total[:, :-1] - lost).sigmoid()
    earlier = torch.cat([held.lost.to(lost.dtype).clamp(max=most).unsqueeze(1), lost[:, :-1]], 1)
    rises, same = gains > 0, lost == earlier
    after, before = [], []
    now = start if held.mastery is None else held.mastery.to(start.dtype)
    for s in range(gains.shape[1]):
        faded = torch.maximum(torch.minimum(low[:, s], now), start)
        before.append(torch.where(same[:, s], now, faded))
        now = torch.where(rises[:, s], torch.maximum(high[:, s], before[-1]), before[-1])
        after.append(now)
    return torch.stack(after, 1).to(dtype), torch.stack(before, 1).to(dtype)
