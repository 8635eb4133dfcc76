"""Several training processes: how many there are, and values gathered from all of them.

torchrun or SLURM start them (docs/scale.md) and number them in environment variables. With a single
process, these functions do nothing.
"""

from __future__ import annotations

import os
from typing import TypeVar

from kt_core.base.errors import KTError

T = TypeVar("T")
WORLD = ("WORLD_SIZE", "SLURM_NTASKS")
RANK = ("RANK", "SLURM_PROCID")
LOCAL = ("LOCAL_WORLD_SIZE", "SLURM_NTASKS_PER_NODE")


def world() -> int:
    """The number of processes that train together; 1 unless several were started."""
    started = "TORCHELASTIC_RUN_ID" in os.environ or "SLURM_STEP_ID" in os.environ
    return _number(WORLD, 1) if started else 1


def rank() -> int:
    """The number of this process, from 0; only the first one writes files."""
    return _number(RANK, 0) if world() > 1 else 0


def on_this_machine() -> int:
    """The number of processes on this machine."""
    return _number(LOCAL, 1) if world() > 1 else 1


def check_jobs(jobs: int) -> None:
    """Raise a KTError unless at least one process is to share the work."""
    if jobs < 1:
        raise KTError(f"--jobs {jobs}: at least 1")


def gathered(mine: T) -> list[T]:
    """The value of each process, in the order of their ranks.

    Tensors of other processes, also in containers and dataclasses, arrive on the CPU.
    """
    import torch.distributed as dist  # takes seconds to load, as does the next

    if not dist.is_initialized() or dist.get_world_size() == 1:
        return [mine]
    from lightning.fabric.utilities import move_data_to_device

    everyone = [mine] * dist.get_world_size()
    dist.all_gather_object(everyone, move_data_to_device(mine, "cpu"))
    return everyone


def _number(names: tuple[str, ...], default: int) -> int:
    for name in names:
        if text := os.environ.get(name):
            if not text.isdigit():
                raise KTError(f"{name} = {text!r}: expected a number; use torchrun or srun")
            return int(text)
    return default
