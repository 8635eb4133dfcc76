"""What answers say of a learner's ability, speed and starts: the pieces of a normal posterior.

`kt_core.skeleton` puts them together; its notation holds here.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from kt_core.layers import Steps


@dataclass
class Shared:
    """What is believed of ability and speed: means, variances and covariance, of any one shape."""

    ability: Tensor
    speed: Tensor
    ability_variance: Tensor
    speed_variance: Tensor
    covariance: Tensor

    @classmethod
    def of(cls, information: Float[Tensor, "*at 5"]) -> Shared:
        """From what answers have added to the prior's precision and to the pull on both means."""
        a, both, z, pull_a, pull_z = information.unbind(-1)
        a, z = a + 1, z + 1
        whole = a * z - both**2
        ability = (z * pull_a - both * pull_z) / whole
        speed = (a * pull_z - both * pull_a) / whole
        return cls(ability, speed, z / whole, a / whole, -both / whole)


@dataclass
class Own:
    """What the answers on one skill say about its start, given ability and speed.

    Attributes
    ----------
    precision : of the start, its prior's included.
    ability, speed : how much of the pull is due to ability and speed, per unit of them.
    pull : towards which start, times precision.
    """

    precision: Tensor
    ability: Tensor
    speed: Tensor
    pull: Tensor

    def start(self, shared: Shared) -> Tensor:
        """Mean of the start, in its standard deviations."""
        known = self.ability * shared.ability + self.speed * shared.speed
        return (self.pull - known) / self.precision

    def products(self) -> Tensor:
        """[..., 5], what the start takes from the information on ability and speed."""
        a, z, pull = self.ability, self.speed, self.pull
        first, second = torch.stack([a, a, z, a, z], -1), torch.stack([a, z, z, pull, pull], -1)
        return first * second / self.precision.unsqueeze(-1)


@dataclass
class Level:
    """The level of a skill as believed at one horizon, in parts that add up.

    All parts are *shrunk*: answers on a level that is uncertain are about as extreme as if the
    level were certain and `shrink` times its mean (MacKay 1992). It is one number for a whole
    trajectory, so that a trajectory rises wherever practice does.

    Attributes
    ----------
    offset, ability, start : what practice does not change.
    factor : what a unit of practice adds, >= 0.
    shrink : in (0, 1].
    variance : of the level, before it is shrunk.
    """

    offset: Tensor
    ability: Tensor
    start: Tensor
    factor: Tensor
    shrink: Tensor
    variance: Tensor

    @property
    def belief(self) -> Tensor:
        """The level without practice."""
        return self.offset + self.ability + self.start


@dataclass
class Doubt:
    """How uncertain the levels of a trajectory are, as believed at one horizon.

    Attributes
    ----------
    deviation : [B, T], standard deviation of the level right after each step, in logits.
    of_speed : [B, T], the part of it that goes with the learner's speed: covariance of the level
        and the speed, by the standard deviation of the speed.
    log_speed : [B, T], standard deviation of the logarithm of all gains; the same at all steps.
    """

    deviation: Steps
    of_speed: Steps
    log_speed: Steps


@dataclass
class Answers:
    """What answers add: [B, T] each.

    Attributes
    ----------
    weight : to the precision of their level.
    pull : to its mean, times precision.
    slope, loading : derivative of the level by speed and by ability.
    """

    weight: Steps
    pull: Steps
    slope: Steps
    loading: Steps


Steply = TypeVar("Steply", Own, Answers)


def together(parts: Sequence[Steply]) -> Steply:
    """`Own` or `Answers` of steps one after the other, [B, T] each, as one."""
    fields = zip(*(vars(part).values() for part in parts), strict=True)
    return type(parts[0])(*(torch.cat(x, 1) for x in fields))


def matched(
    mean: Steps, variance: Steps, moved: Steps, right: Bool[Tensor, "B T"]
) -> tuple[Steps, Steps]:
    """What an answer adds to the precision of a level and, times precision, to its mean, so that
    mean and variance become those of its posterior.

    Parameters
    ----------
    mean, variance : of the level less the item's difficulty.
    moved : how far the learner has moved the mean from where every learner begins.
    """
    shrink = shrinkage(variance)
    p = (shrink * mean).sigmoid()
    push, curve = shrink * (right.to(p.dtype) - p), shrink**2 * p * (1 - p)
    weight = curve / (1 - curve * variance)  # curve * variance < 2 / pi
    return weight, weight * moved + push * (1 + weight * variance)


def shrinkage(variance: Tensor | np.ndarray) -> Tensor | np.ndarray:
    """How much less extreme a prediction is for a level that is so uncertain, in (0, 1]."""
    return (1 + math.pi / 8 * variance) ** -0.5
