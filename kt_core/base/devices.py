"""Where a model computes: on a GPU if there is one, otherwise on the CPU, and on which cores."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TypeVar

import torch
from threadpoolctl import threadpool_limits
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from kt_core.base.errors import KTError

Name = TypeVar("Name")
Result = TypeVar("Result")
ANY_LENGTH = [SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH]


def accelerator(wanted: str) -> str:
    """`gpu` or `cpu`, for a requested `gpu`, `cpu` or `auto`.

    Raises
    ------
    KTError
        When a GPU is requested and there is none.
    """
    if wanted == "gpu" and not torch.cuda.is_available():
        raise KTError("train.accelerator = 'gpu', but torch finds no GPU; use auto or cpu")
    return ("gpu" if torch.cuda.is_available() else "cpu") if wanted == "auto" else wanted


@contextmanager
def for_reading(model: nn.Module) -> Iterator[torch.device]:
    """The model in evaluation mode, on a GPU if there is one; afterwards it is as before.

    Raises
    ------
    KTError
        When the GPU's memory is too small.
    """
    was, was_training = next(model.parameters()).device, model.training
    device = torch.device("cuda") if was.type == "cpu" and torch.cuda.is_available() else was
    try:
        with memory_enough("hide it with CUDA_VISIBLE_DEVICES= to use the CPU"):
            model.to(device).eval()
            yield device
    finally:
        model.to(was).train(was_training)


@contextmanager
def memory_enough(way_out: str) -> Iterator[None]:
    """Turn an error about too little GPU memory in the block into a KTError."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        why = str(error).split(". ")[0]
        raise KTError(f"the GPU's memory is too small ({why}); {way_out}") from None


def attention_of_any_length(device: torch.device) -> AbstractContextManager[None]:
    """On a GPU, attention without cuDNN's kernels. These take milliseconds of planning for every
    new length of a batch, and the others are as fast."""
    if device.type == "cpu":
        return nullcontext()
    return sdpa_kernel(ANY_LENGTH)


def side_by_side(jobs: dict[Name, Callable[[], Result]]) -> dict[Name, Result]:
    """The result of each function, several of them at a time with a share of the cores each: what
    reads batch by batch hardly gains from a second core. On a GPU, one after the other.

    Raises
    ------
    Exception
        The first error of a function, in the order of the jobs.
    """
    cores = torch.get_num_threads()
    workers = min(cores, len(jobs))
    if workers < 2 or torch.cuda.is_available():
        return {name: job() for name, job in jobs.items()}
    share = cores // workers
    pool = ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(share,))
    try:
        with threadpool_limits(share):  # of NumPy's products
            begun = {name: pool.submit(job) for name, job in jobs.items()}
            return {name: future.result() for name, future in begun.items()}
    finally:
        pool.shutdown(wait=False, cancel_futures=True)  # jobs that have begun run on
        torch.set_num_threads(cores)  # of threads to come
