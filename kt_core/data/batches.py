"""Batches of sequences of similar lengths, with a limit on their size and little padding."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from kt_core.base.errors import KTError
from kt_core.data.sequences import Sequences

READING = 4096  # padded steps in a batch without gradients on a CPU, which fit its cache
READING_ON_GPU = 65536  # a GPU is faster with more
MOST_STEPS = 262_144  # padded steps in a batch that is read window by window


def reading_tokens(device: torch.device) -> int:
    """The best number of padded steps to read at once without gradients."""
    return READING if device.type == "cpu" else READING_ON_GPU


@dataclass
class Batch:
    """B sequences padded to the longest of them, T steps.

    Attributes
    ----------
    skills, items, responses : [B, T], 0 where padded.
    valid : [B, T], true at real steps.
    index : [B], index of each sequence.
    days : [B, T], since the first step of the sequence; None where that is not known.
    """

    skills: Int[Tensor, "B T"]
    items: Int[Tensor, "B T"]
    responses: Int[Tensor, "B T"]
    valid: Bool[Tensor, "B T"]
    index: Int[Tensor, "B"]
    days: Float[Tensor, "B T"] | None = None

    def window(self, now: slice) -> Batch:
        """Some of the steps."""
        steps = (self.skills, self.items, self.responses, self.valid)
        days = None if self.days is None else self.days[:, now]
        return Batch(*(x[:, now] for x in steps), self.index, days)

    def rows(self, chosen: Bool[Tensor, "B"]) -> Batch:
        """Some of the sequences."""
        return Batch(*(None if x is None else x[chosen] for x in vars(self).values()))

    def to(self, device: torch.device | str) -> Batch:
        """The batch on another device."""
        return Batch(*(None if x is None else x.to(device) for x in vars(self).values()))


class SequenceDataset(Dataset):
    """Sequences, indexed by lists of numbers: each look-up is a batch."""

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
        columns = (s.skill, s.item, s.response)  # narrower types in stored data
        steps = (np.where(valid, column[at], 0).astype(np.int64, copy=False) for column in columns)
        last = np.maximum.accumulate(at, axis=1)  # no time passes in padding
        return Batch(*(torch.from_numpy(x) for x in (*steps, valid, index)), days(s, last))


def days(sequences: Sequences, rows: np.ndarray) -> Float[Tensor, "B T"] | None:
    """From the first of each line of interactions to the others; None where that is not known."""
    if not sequences.dated:
        return None
    times = sequences.time[rows]
    return torch.from_numpy((times - times[:, :1]).astype(np.float32))


class LengthBuckets(Sampler[list[int]]):
    """Lists of sequence numbers: sequences of similar length, with about `tokens` padded steps.

    With `shuffle`, each epoch mixes learners of similar length and then the order of the batches;
    both depend only on seed and epoch. The sizes of the batches stay the same, so that every epoch
    has the same number of steps.

    Each of several processes takes its share. In training all take the same number of batches, and
    at each step batches of similar lengths, so that none waits for another. If the last step lacks
    batches, some others are read twice. Without `shuffle` each sequence is read once.

    Parameters
    ----------
    rank, world : number of this process, from 0, and how many processes there are.
    window : the most steps of a sequence that are read at once; only these count then.

    Raises
    ------
    KTError
        When there are fewer sequences than processes.
    """

    def __init__(
        self,
        lengths: np.ndarray,
        tokens: int,
        shuffle: bool,
        seed: int = 0,
        rank: int = 0,
        world: int = 1,
        window: int = sys.maxsize,
    ):
        self.lengths, self.shuffle, self.seed, self.epoch = lengths, shuffle, seed, 0
        self.rank, self.world = rank, world
        self.place = 0  # number of batches of the epoch handed out so far
        self.begin = 0  # number of batches of the next epoch to skip
        self.cuts = _cuts(np.sort(lengths), tokens, window)
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
        # Nothing is read before the first batch is requested: when resuming, Lightning makes the
        # iterator before it sets the epoch.
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
        parts += parts[-self.world :]  # in case the last step lacks some
        return [parts[i * self.world + self.rank] for i in rng.permutation(len(self))]


class Batches(DataLoader):
    """A DataLoader that knows its place in the epoch, from which training resumes."""

    def state_dict(self) -> dict[str, int]:
        """State for the checkpoint; the end of an epoch is the start of the next."""
        return {"place": self.sampler.place % len(self.sampler)}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Continue from a checkpoint."""
        self.sampler.begin = state["place"]


def _cuts(ascending: np.ndarray, tokens: int, window: int = sys.maxsize) -> list[int]:
    """Where to cut sequences sorted by length so that size times longest stays within `tokens`.
    Where they are read in windows, so does size times window, and size times longest within
    `MOST_STEPS`."""
    cuts, begin = [], 0
    for i, length in enumerate(ascending.tolist()):
        size = i - begin + 1
        full = min(length, window) * size > tokens or length * size > max(tokens, MOST_STEPS)
        if i > begin and full:
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
    """A DataLoader of the `Batch`es that this process reads."""
    sampler = LengthBuckets(sequences.lengths, tokens, shuffle, seed, rank, world)
    return Batches(SequenceDataset(sequences), sampler=sampler, batch_size=None)
