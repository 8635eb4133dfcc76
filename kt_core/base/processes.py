"""Several training processes: how many there are, and what all of them have seen.

They are started from outside, by torchrun or by SLURM (docs/scale.md), which say in the environment
who each one is. With a single process all of this is nothing.
"""

from __future__ import annotations

import os
from typing import TypeVar

import torch.distributed as dist

from kt_core.base.errors import KTError

T = TypeVar("T")
WORLD = ("WORLD_SIZE", "SLURM_NTASKS")
RANK = ("RANK", "SLURM_PROCID")
LOCAL = ("LOCAL_WORLD_SIZE", "SLURM_NTASKS_PER_NODE")


def world() -> int:
    """How many processes train together; 1 where nothing has started several."""
    started = "TORCHELASTIC_RUN_ID" in os.environ or "SLURM_STEP_ID" in os.environ
    return _number(WORLD, 1) if started else 1


def rank() -> int:
    """Which of them this is, from 0; the first alone writes files."""
    return _number(RANK, 0) if world() > 1 else 0


def on_this_machine() -> int:
    """How many of them run on this machine."""
    return _number(LOCAL, 1) if world() > 1 else 1


def gathered(mine: T) -> list[T]:
    """What each process has, in the order of their ranks; a list of one where there is one.

    Tensors of others, also inside containers and dataclasses, come on the CPU.
    """
    if not dist.is_initialized() or dist.get_world_size() == 1:
        return [mine]
    from lightning.fabric.utilities import move_data_to_device  # takes seconds to load

    everyone = [mine] * dist.get_world_size()
    dist.all_gather_object(everyone, move_data_to_device(mine, "cpu"))
    return everyone


def _number(names: tuple[str, ...], default: int) -> int:
    for name in names:
        if text := os.environ.get(name):
            if not text.isdigit():
                raise KTError(f"{name} = {text!r}: a number is wanted; use torchrun or srun")
            return int(text)
    return default
