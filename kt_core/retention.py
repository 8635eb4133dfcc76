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

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from kt_core.base.errors import KTError
from kt_core.layers import Ids, Skills, Start, Steps, entries

DAYS, STEPS = 1.0, 20.0  # where the clock starts
LARGEST = 30.0  # of a logarithm
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
        x = (self._days(days) if self.timed else other_steps(skills)).clamp(min=0)
        wide = torch.promote_types(self.log_decay.dtype, torch.float32)
        decay = entries(self.log_decay.to(wide).clamp(max=LARGEST).exp(), skills).unsqueeze(1)
        clock = self.log_clock.to(wide).clamp(-LARGEST, LARGEST).exp()
        return (-decay * (x.to(wide) / clock).log1p()).exp()

    @staticmethod
    def _days(days: Steps | None) -> Pairs:
        if days is None:
            raise KTError(
                "this model was trained with the times of the answers, and these answers have none "
                "whose unit is known: give a column of times (docs/formats.md), or train with "
                "model.times = false"
            )
        return days.unsqueeze(2) - days.unsqueeze(1)


def other_steps(skills: Ids) -> Float[Tensor, "B T T"]:
    """Entry [s, u]: the number of steps after u, up to s, on other skills than that of u."""
    same = (skills.unsqueeze(2) == skills.unsqueeze(1)).float()
    on = same.cumsum(1)  # steps up to s on the skill of u
    step = torch.arange(skills.shape[1], device=skills.device, dtype=on.dtype)
    return step.unsqueeze(1) - step - (on - on.diagonal(dim1=1, dim2=2).unsqueeze(1))


def fading(gains: Skills, kept: Pairs) -> Skills:
    """[B, T, C], what is lost at each step of the gains before it; it never falls along T.

    Parameters
    ----------
    gains : of each step on every skill, >= 0.
    kept : of `Retention.kept`.
    """
    lost = ((1 - kept).tril(-1) @ gains).cummax(1).values
    return torch.minimum(lost, F.pad(gains.cumsum(1), (0, 0, 1, 0))[:, :-1])


def retentive_mastery(belief: Start, gains: Skills, lost: Skills) -> tuple[Skills, Skills]:
    """Mastery as believed at one horizon: sigmoid(belief + gains so far - what is lost of them).

    Parameters
    ----------
    belief : about the start, a logit.
    gains : non-negative, in logits; 0 after the horizon.
    lost : of the gains before each step, at the moment of the step; it never falls along T.

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
    total = (belief.unsqueeze(1) + gains.cumsum(1)).clamp(max=most)
    lost, start = lost.clamp(max=most), belief.sigmoid()
    earlier = torch.cat([belief.unsqueeze(1), total[:, :-1]], 1)
    high, low = (total - lost).sigmoid(), (earlier - lost).sigmoid()
    rises, held = gains > 0, lost == F.pad(lost, (0, 0, 1, 0))[:, :-1]
    after, before, now = [], [], start
    for s in range(gains.shape[1]):
        faded = torch.maximum(torch.minimum(low[:, s], now), start)
        before.append(torch.where(held[:, s], now, faded))
        now = torch.where(rises[:, s], torch.maximum(high[:, s], before[-1]), before[-1])
        after.append(now)
    return torch.stack(after, 1).to(dtype), torch.stack(before, 1).to(dtype)
