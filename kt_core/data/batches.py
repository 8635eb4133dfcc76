"""Batches of similar lengths under a token budget, so that little of the work is padding."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Int
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from kt_core.base.errors import KTError
from kt_core.data.sequences import Sequences

READING = 4096  # padded steps in a batch without gradients, on a CPU: they stay in its cache ...
READING_ON_GPU = 65536  # ... while a GPU wants more at once


def reading_tokens(device: torch.device) -> int:
    """How many padded steps are best read at once without gradients."""
    return READING if device.type == "cpu" else READING_ON_GPU


@dataclass
class Batch:
    """B sequences padded to the longest of them, T steps.

    Attributes
    ----------
    skills, items, responses : [B, T], 0 where padded.
    valid : [B, T], true at real steps.
    index : [B], numbers of the sequences.
    """

    skills: Int[Tensor, "B T"]
    items: Int[Tensor, "B T"]
    responses: Int[Tensor, "B T"]
    valid: Bool[Tensor, "B T"]
    index: Int[Tensor, "B"]

    def to(self, device: torch.device | str) -> Batch:
        """The batch on another device."""
        return Batch(*(x.to(device) for x in vars(self).values()))


class SequenceDataset(Dataset):
    """Sequences by lists of numbers: one look-up makes one batch."""

    def __init__(self, sequences: Sequences):
        self.sequences = sequences

    def __len__(self) -> int:
        return len(self.sequences)

    def __getitem__(self, index: list[int] | np.ndarray) -> Batch:
        index = np.asarray(index)
        s = self.sequences
        lengths = s.lengths[index]
        step = np.arange(lengths.max())
        valid = step < lengths[:, None]
        at = np.where(valid, s.starts[index][:, None] + step, 0)
        columns = (s.skill, s.item, s.response)  # stored data has them in narrower types
        steps = (np.where(valid, column[at], 0).astype(np.int64, copy=False) for column in columns)
        return Batch(*(torch.from_numpy(x) for x in (*steps, valid, index)))


class LengthBuckets(Sampler[list[int]]):
    """Lists of sequence numbers: neighbours in length, about `tokens` padded steps together.

    Each epoch of `shuffle` mixes learners of similar length anew and then the order of batches, a
    function of the seed and the epoch alone. The sizes of the batches stay the same, so that an
    epoch always has the same number of steps.

    Of several processes, each takes its share. In training all take equally many, and at each step
    batches of neighbouring lengths, so that none waits for another; where the last step lacks
    batches, some of the step before are read twice. Without `shuffle` each sequence is read once.

    Parameters
    ----------
    rank, world : which of how many processes this is.

    Raises
    ------
    KTError
        Where there are fewer sequences than processes.
    """

    def __init__(
        self,
        lengths: np.ndarray,
        tokens: int,
        shuffle: bool,
        seed: int = 0,
        rank: int = 0,
        world: int = 1,
    ):
        self.lengths, self.shuffle, self.seed, self.epoch = lengths, shuffle, seed, 0
        self.rank, self.world = rank, world
        self.place = 0  # how many batches of the epoch have been handed out
        self.begin = 0  # how many of the next epoch to leave out
        self.cuts = _cuts(np.sort(lengths), tokens)
        if len(self.cuts) + 1 < world:  # every process needs something to read
            if len(lengths) < world:
                raise KTError(f"{len(lengths)} sequences cannot be shared by {world} processes")
            self.cuts = np.linspace(0, len(lengths), world + 1)[1:-1].astype(int).tolist()

    def set_epoch(self, epoch: int) -> None:
        """Lightning calls this at the start of every epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        parts = len(self.cuts) + 1
        if self.shuffle:
            return -(-parts // self.world)
        return len(range(self.rank, parts, self.world))

    def __iter__(self) -> Iterator[list[int]]:
        # Nothing is read before the first batch is asked for: Lightning makes the iterator of a
        # resumed epoch first and says then which epoch it is.
        begin, self.begin = self.begin, 0
        for place, part in enumerate(self._batches()[begin:], start=begin + 1):
            self.place = place
            yield part.tolist()

    def _batches(self) -> list[np.ndarray]:
        """All batches of this epoch and process, in order."""
        if not self.shuffle:
            order = np.argsort(self.lengths, kind="stable")
            return np.split(order, self.cuts)[self.rank :: self.world]
        rng = np.random.default_rng((self.seed, self.epoch))
        jitter = rng.uniform(0.9, 1.1, len(self.lengths))
        parts = np.split(np.argsort(self.lengths * jitter, kind="stable"), self.cuts)
        parts += parts[-self.world :]  # for a last step that lacks some
        return [parts[i * self.world + self.rank] for i in rng.permutation(len(self))]


class Batches(DataLoader):
    """A DataLoader that knows its place in the epoch: a training resumed there reads on."""

    def state_dict(self) -> dict[str, int]:
        """For the checkpoint; at the end of an epoch the place is the start of the next."""
        return {"place": self.sampler.place % len(self.sampler)}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """From the checkpoint."""
        self.sampler.begin = state["place"]


def _cuts(ascending: np.ndarray, tokens: int) -> list[int]:
    """Where to cut sequences sorted by length so that size times longest stays within `tokens`."""
    cuts, begin = [], 0
    for i, length in enumerate(ascending.tolist()):
        if i > begin and length * (i - begin + 1) > tokens:
            cuts.append(i)
            begin = i
    return cuts


def loader(
    sequences: Sequences,
    tokens: int,
    shuffle: bool = False,
    seed: int = 0,
    rank: int = 0,
    world: int = 1,
) -> Batches:
    """A DataLoader whose items are `Batch`es, of this process's share."""
    sampler = LengthBuckets(sequences.lengths, tokens, shuffle, seed, rank, world)
    return Batches(SequenceDataset(sequences), sampler=sampler, batch_size=None)
