"""Small layers: rows of a table by id, dropout per sequence, and what came just before.

Rows by id go through `F.embedding`. Plain indexing, ``table[ids]``, gives the same values, but with
several threads its gradient is summed in whatever order the parts arrive, so that two trainings
with one seed would differ. An embedding's gradient is summed in a fixed order.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

# Shapes in signatures. B learners, T steps, P = T - 1 predictions, C skills, D = d_model.
Ids = Int[Tensor, "B T"]  # skills, responses or items
Valid = Bool[Tensor, "B T"]  # true at real steps, false at padding
Steps = Float[Tensor, "B T"]  # a value per step
Next = Float[Tensor, "B P"]  # a value per predicted response: column t is about step t + 1
Vectors = Float[Tensor, "B T D"]  # states of the encoder
Skills = Float[Tensor, "B T C"]  # a value per step and skill
Start = Float[Tensor, "B C"]  # a value per skill
Horizon = Int[Tensor, "B"]  # a step of each sequence
Scalar = Float[Tensor, ""]


HIDDEN = 2  # the response of an answer that may not be seen


def precise(method: Callable) -> Callable:
    """Mixed precision off: sums over a history need all digits."""

    @functools.wraps(method)
    def called(*args: Any, **more: Any) -> Any:
        kind = next(x.device.type for x in args[1:] or (args[0].skills,) if torch.is_tensor(x))
        with torch.autocast(kind, enabled=False):
            return method(*args, **more)

    return called


def entries(table: Float[Tensor, "N"], ids: Int[Tensor, "*at"]) -> Float[Tensor, "*at"]:
    """The entry of each id."""
    return F.embedding(ids, table.unsqueeze(-1)).squeeze(-1)


def outputs(
    head: nn.Linear, ids: Int[Tensor, "*at"]
) -> tuple[Float[Tensor, "*at D"], Float[Tensor, "*at"]]:
    """Weights and bias of one output of a linear head for each id."""
    return F.embedding(ids, head.weight), entries(head.bias, ids)


def output(
    head: nn.Linear, states: Float[Tensor, "*at D"], ids: Int[Tensor, "*at"]
) -> Float[Tensor, "*at"]:
    """One output of a linear head at each place, without computing the others."""
    weight, bias = outputs(head, ids)
    return (states * weight).sum(-1) + bias


class SequenceDropout(nn.Module):
    """Dropout with one mask per sequence and feature, the same at every step.

    The steps of a learner stay comparable, and T times fewer random numbers are drawn (Gal and
    Ghahramani 2016).
    """

    def __init__(self, p: float):
        super().__init__()
        self.p = p

    def forward(self, x: Float[Tensor, "B T D"]) -> Float[Tensor, "B T D"]:
        if not self.training or self.p == 0:
            return x
        drawn = torch.rand(x.shape[0], 1, x.shape[-1], device=x.device)
        return x * ((drawn >= self.p) / (1 - self.p)).to(x.dtype)


class Lags(torch.autograd.Function):
    """Adds the last inputs, feature by feature: ``x_t + sum over lags of weight_lag x_{t-lag}``.

    A function of its own because the plain sum copies x, and its gradient, once per lag.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Float[Tensor, "B T D"], weight: Float[Tensor, "L D"]
    ) -> Float[Tensor, "B T D"]:
        """`weight` holds lag 1 first; lags longer than the sequence add nothing."""
        ctx.save_for_backward(x, weight)
        out = x.clone()
        for lag, w in enumerate(weight[: x.shape[1] - 1], start=1):
            out[:, lag:].addcmul_(x[:, :-lag], w)
        return out

    @staticmethod
    def backward(
        ctx: Any, gradient: Float[Tensor, "B T D"]
    ) -> tuple[Float[Tensor, "B T D"], Float[Tensor, "L D"]]:
        """Gradients of `x` and of `weight`."""
        x, weight = ctx.saved_tensors
        of_x, of_weight = gradient.clone(), torch.zeros_like(weight)
        for lag, w in enumerate(weight[: x.shape[1] - 1], start=1):
            of_x[:, :-lag].addcmul_(gradient[:, lag:], w)
            of_weight[lag - 1] = (gradient[:, lag:] * x[:, :-lag]).sum((0, 1))
        return of_x, of_weight


@dataclass
class Tail:
    """What `Recent` keeps of a history that continues.

    Attributes
    ----------
    last : [B, L, D], the last inputs; zeros before the first.
    faded : [B, D], the fading sums that the next step gets.
    """

    last: Float[Tensor, "B L D"]
    faded: Float[Tensor, "B D"]


class Recent(nn.Module):
    """Adds the last few inputs and fading sums of all earlier ones.

    Attention averages, so that a streak of right answers, or their number, is easier to read
    directly. Each feature gets learnable shares of the last few inputs. Through a linear map, each
    group of features also gets the sum of all earlier inputs, which fades at a learnable rate
    (compare Ma et al. 2023, who put a moving average before attention).
    """

    def __init__(self, d_model: int, steps: int, groups: int):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(steps, d_model))
        self.groups = groups
        if groups:
            half_lives = torch.logspace(0, 2, groups)  # 1 to 100 steps
            self.log_rate = nn.Parameter((math.log(2) / half_lives).log())
            self.mix = nn.Linear(d_model, d_model)
            nn.init.zeros_(self.mix.weight)
            nn.init.zeros_(self.mix.bias)

    def forward(self, x: Float[Tensor, "B T D"]) -> Float[Tensor, "B T D"]:
        out = Lags.apply(x, self.weight)
        return out + self.mix(self._faded(x)) if self.groups else out

    def onward(
        self, x: Float[Tensor, "B T D"], tail: Tail | None
    ) -> tuple[Float[Tensor, "B T D"], Tail]:
        """The same for steps that follow on others (None: on none), and what the next ones need."""
        B, T, D = x.shape
        lags = len(self.weight)
        if tail is None:
            tail = Tail(x.new_zeros(B, lags, D), x.new_zeros(B, D))
        known = torch.cat([tail.last, x], 1)
        out, last = Lags.apply(known, self.weight)[:, lags:], known[:, T:]
        if not self.groups:
            return out, Tail(last, tail.faded)
        rate = self.log_rate.exp().repeat_interleave(D // self.groups).to(x.dtype)
        step = torch.arange(T, device=x.device, dtype=x.dtype).unsqueeze(-1)
        faded = self._faded(x) + tail.faded.unsqueeze(1) * torch.exp(-rate * step)
        later = faded[:, -1] * torch.exp(-rate) + rate.sqrt() * x[:, -1]
        return out + self.mix(faded), Tail(last, later)

    def _faded(self, x: Float[Tensor, "B T D"]) -> Float[Tensor, "B T D"]:
        """Sum over s < t of x_s exp(-rate (t - 1 - s)); the root of the rate evens out sizes."""
        rate = self.log_rate.exp().view(-1, 1, 1)
        step = torch.arange(x.shape[1], device=x.device)
        since = step[:, None] - step - 1
        kernel = rate.sqrt() * torch.exp(-rate * since.clamp(min=0)) * (since >= 0)
        B, T, D = x.shape
        # One product per group over all learners at once, so that the kernel's gradient is one
        # product too, and not a sum over learners of [T, T] matrices.
        parts = x.view(B, T, self.groups, -1).permute(2, 1, 0, 3).reshape(self.groups, T, -1)
        faded = torch.bmm(kernel.to(x.dtype), parts).view(self.groups, T, B, -1)
        return faded.permute(2, 1, 0, 3).reshape(B, T, D)
