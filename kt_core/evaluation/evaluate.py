"""From a model and sequences to what it believes.

`evaluate` makes one pass over a split and keeps what the measures need; `read_ends` only what is
believed at the end. How histories longer than a chunk are read: docs/method.md, "Long histories".
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.nn import functional as F

from kt_core.base.devices import for_reading
from kt_core.base.errors import KTError
from kt_core.data import Batch, SequenceDataset, Sequences
from kt_core.data.batches import LengthBuckets, reading_tokens
from kt_core.evaluation.beliefs import Beliefs
from kt_core.evaluation.collected import Collected
from kt_core.evaluation.tracer import Trace
from kt_core.mastery import level_logits
from kt_core.metrics.invariants import saturation, violations
from kt_core.model import GainAKT2
from kt_core.posterior import Doubt, Shared
from kt_core.reading import WINDOW, Reading
from kt_core.states import States, asked_next, at_skill, latest

NOT_FINITE = (
    "the model's predictions are not finite: training has diverged or the weights are damaged; "
    "train again with a smaller train.learning_rate"
)
STATES_A_STEP = 128  # skills; with more of them batches are smaller, as states are [B, T, C]
SHORTEST = 64  # steps of a window, however many skills there are


def evaluate(
    model: GainAKT2, sequences: Sequences, flips: bool = True, whole: bool = True
) -> Beliefs:
    """What `model` believes about `sequences`; see `read`.

    Examples
    --------
    >>> model = kt.demo()
    >>> kt.evaluate(model.run.model, model.splits.test)
    <beliefs about 2,386 answers of 40 learners>
    """
    return Beliefs.of(sequences, *read(model, sequences, flips, whole))


@torch.no_grad()
def read(
    model: GainAKT2, sequences: Sequences, flips: bool = True, whole: bool = True
) -> tuple[Trace, pd.DataFrame]:
    """Run `model` over `sequences`, on a GPU if there is one: the trace, and `Beliefs.counts`.
    Weights and random state stay as they are.

    Parameters
    ----------
    flips : whether to compute what the other answer would have done, which doubles the work.
    whole : whether `retrospective` and `retentive` read whole histories. If not, each chunk starts
        cold, as in most baselines and in the validation after each epoch.

    Raises
    ------
    KTError
        When a prediction is not finite, or the GPU's memory is too small.
    """
    steps = sequences.whole() if model.whole_histories and whole else sequences
    collected, counts = Collected(sequences, model), []
    with _reading(model) as (device, most, size):
        shape, kind = (len(sequences.learners), model.n_skills), next(model.parameters()).dtype
        ended_in = torch.zeros(shape, device=device, dtype=kind)
        for number, batch in _in_turn(steps, most, size):
            index = batch.index.numpy()
            batch = batch.to(device)
            who = torch.from_numpy(steps.learner[index]).to(device)
            start = ended_in[who] if number else None
            once = _Read(model, batch, start, size)
            for now, states in once.forward():
                values = _values(states)
                if flips:
                    values["flip"] = model.flips(states, start)
                at, window = steps.starts[index] + now.start, batch.window(now)
                collected.add(at, window, values)
                collected.add_states(at, window, states)
                for slot, about in zip(collected.slots, once.parts(now), strict=True):
                    slot.add(at, window, _about(states, about))
            for now, values, of_parts in once.in_hindsight():
                at, window = steps.starts[index] + now.start, batch.window(now)
                collected.add(at, window, values)
                for slot, found in zip(collected.slots, of_parts, strict=True):
                    slot.add(at, window, found)
            ended_in[who] = once.final
            counts.append(once.counts().assign(learner=steps.learner[index]))
    return collected.trace(), pd.concat(counts, ignore_index=True)


@dataclass(frozen=True)
class Ends:
    """What is believed after all answers of each learner; L learners, C skills.

    Attributes
    ----------
    mastery : [L, C], filtered.
    deviation : [L, C], standard deviation of the level behind it, in logits.
    ability, ability_deviation : [L], mean and standard deviation of what a learner's answers on all
        skills have in common (docs/method.md, "The skeleton"): 0 for the average training learner,
        in standard deviations between learners. Unlike a mean of mastery it does not depend on
        which skills were practised how often.

    Only modes with a skeleton know more than mastery; the rest is None.
    """

    mastery: np.ndarray
    deviation: np.ndarray | None = None
    ability: np.ndarray | None = None
    ability_deviation: np.ndarray | None = None

    def of(self, learners: np.ndarray) -> Ends:
        """Of some learners."""
        known = {name: x[learners] for name, x in vars(self).items() if x is not None}
        return Ends(**known)


@torch.no_grad()
def read_ends(model: GainAKT2, sequences: Sequences) -> Ends:
    """The last beliefs about each learner: `mastery` and `deviation` are the last rows of
    `Beliefs.final` and `final_deviation`. Nothing else is computed, which takes a fraction of the
    time of `read`.

    Raises
    ------
    KTError
        As of `read`.
    """
    steps = sequences.whole() if model.whole_histories else sequences
    learners = len(sequences.learners)
    final, deviation = np.zeros((2, learners, model.n_skills), np.float32)
    ability, doubt = np.zeros((2, learners))
    with _reading(model) as (device, most, size):
        if model.on_path:  # only the encoder reads window by window
            most = reading_tokens(device)
        for number, batch in _in_turn(steps, most, size):
            who, batch = steps.learner[batch.index.numpy()], batch.to(device)
            last = batch.valid.sum(1) - 1
            if model.on_path:
                reading = _reading_of(model, batch)
                states = model.last_states(reading, last)
                end = states.filtered[:, 0]
                deviation[who] = states.deviation[:, 0].float().cpu().numpy()
                after = Shared.of(reading.information[torch.arange(len(last)), last + 1])
                ability[who] = after.ability.double().cpu().numpy()
                doubt[who] = after.ability_variance.double().sqrt().cpu().numpy()
            else:
                start = torch.from_numpy(final[who]).to(device) if number else None
                states = model.forward_with_states(
                    batch.skills, batch.responses, batch.items, batch.valid, start
                )
                end = states.filtered[torch.arange(len(last), device=device), last]
            if not (states.logits.isfinite().all() and end.isfinite().all()):
                raise KTError(NOT_FINITE)
            final[who] = end.float().cpu().numpy()
    return Ends(final, deviation, ability, doubt) if model.on_path else Ends(final)


@contextmanager
def _reading(model: GainAKT2) -> Iterator[tuple[torch.device, int, int]]:
    """Where a model reads, the most padded steps of which it has the states of all skills at once,
    and the most steps of one history."""
    if not all(weight.isfinite().all() for weight in model.parameters()):
        raise KTError(NOT_FINITE)
    with for_reading(model) as device:
        most = int(reading_tokens(device) / max(1, model.n_skills / STATES_A_STEP))
        yield device, most, min(WINDOW, max(most, SHORTEST)) if model.on_path else sys.maxsize


def _reading_of(model: GainAKT2, batch: Batch) -> Reading:
    responses = model.unpadded(batch.responses, batch.valid)
    return model.read_skeleton(batch.skills, responses, batch.items, batch.days)


class _Read:
    """A batch read from its first step to its last, window by window where histories are long, and
    then once more for what is believed at the end.

    Attributes
    ----------
    final : [B, C], filtered mastery after all answers.
    """

    def __init__(self, model: GainAKT2, batch: Batch, start: Tensor | None, size: int):
        self.model, self.batch, self.start, self.size = model, batch, start, size
        self.last = batch.valid.sum(1) - 1
        self.reading = _reading_of(model, batch) if model.on_path else None
        self.final = self.belief = self.factor = torch.zeros(0)
        self._counts: Counter = Counter()
        self._parts: list[tuple[Tensor, Tensor, Tensor | None]] = []

    def forward(self) -> Iterator[tuple[slice, States]]:
        """The states of each window."""
        before = None
        for now, states in self._windows():
            _check_finite(self.batch.window(now), states)
            self._count_live(now, states, before)
            before = states.filtered[:, -1:]
            yield now, states
            self._keep_ends(now, states)

    def _windows(self) -> Iterator[tuple[slice, States]]:
        b = self.batch
        if self.reading is None:
            states = self.model.forward_with_states(
                b.skills, b.responses, b.items, b.valid, self.start
            )
            self._parts = [(states.trajectory, states.gains, None)]
            yield slice(0, b.valid.shape[1]), states
            return
        begin = 0
        for states in self.model.windows(self.reading, self.size):
            now = slice(begin, begin + states.filtered.shape[1])
            yield now, states
            begin = now.stop

    def _keep_ends(self, now: slice, states: States) -> None:
        row, at = torch.arange(len(self.last), device=self.last.device), self.last - now.start
        length = now.stop - now.start
        here, at = ((at >= 0) & (at < length)).unsqueeze(1), at.clamp(0, length - 1)
        for name, every in (
            ("final", states.filtered),
            ("belief", states.belief),
            ("factor", states.factor),
        ):
            if every is not None:
                old = getattr(self, name) if now.start else torch.zeros_like(every[:, 0])
                setattr(self, name, torch.where(here, every[row, at], old))

    def parts(self, now: slice) -> list[Tensor]:
        """For each slot (`Parts.slots`) the skill of each step, [B, T]; -1 where there is none."""
        if self.model.parts is None:
            return []
        return list(self.model.parts.slots[self.batch.skills[:, now]].unbind(-1))

    def in_hindsight(
        self,
    ) -> Iterator[tuple[slice, dict[str, Tensor], list[dict[str, Tensor]]]]:
        """What is believed at the end about each window, and about the parts of its skills; after
        `forward`."""
        parts: Iterable = self._parts
        if self.reading is not None:
            ends = self.belief, self.factor, self.last
            parts = self.model.heads.trajectories(self.reading, *ends, self.size)
            doubt = self.reading.doubt(self.last)
            every = slice(0, self.batch.valid.shape[1])
            doubts = [self.reading.doubt(self.last, x.clamp(min=0)) for x in self.parts(every)]
        begin, before, lowest = 0, None, None
        for trajectory, gains, rested in parts:
            now = slice(begin, begin + trajectory.shape[1])
            begin = now.stop
            lowest = rested[:, 0] if rested is not None and lowest is None else lowest
            self._count(now, trajectory, gains, rested, before, lowest)
            before = trajectory[:, -1:]
            if self.reading is None:
                continue
            values = _believed(trajectory, self.batch.skills[:, now], doubt, now)
            of_parts = [
                _only(about, _believed(trajectory, about.clamp(min=0), d, now))
                for about, d in zip(self.parts(now), doubts, strict=True)
            ]
            yield now, values, of_parts

    def _count_live(self, now: slice, states: States, before: Tensor | None) -> None:
        found = self._violations(now, states.filtered, states.filtered, None, before)
        names = ("monotonicity", "fall_after_correct")
        self._counts.update({f"filtered_{n}{e}": found[n + e] for n in names for e in ("", "_n")})

    def _count(
        self,
        now: slice,
        trajectory: Tensor,
        gains: Tensor,
        rested: Tensor | None,
        before: Tensor | None,
        lowest: Tensor | None,
    ) -> None:
        self._counts.update(self._violations(now, trajectory, gains, rested, before, lowest))
        self._counts.update(saturation(trajectory, gains, self.batch.valid[:, now]))

    def _violations(
        self,
        now: slice,
        mastery: Tensor,
        gains: Tensor,
        rested: Tensor | None,
        before: Tensor | None,
        lowest: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """Those of a window, and of the step into it from the state `before`."""
        if before is not None:
            now = slice(now.start - 1, now.stop)
            mastery, gains = (torch.cat([before, x], 1) for x in (mastery, gains))
            rested = None if rested is None else torch.cat([before, rested], 1)
        b = self.batch.window(now)
        start, since = (None, 1) if before is not None else (self.start, 0)
        return violations(
            mastery, gains, b.skills, b.responses, b.valid, start, rested, since, lowest
        )

    def counts(self) -> pd.DataFrame:
        """All that was counted, one row per sequence."""
        return pd.DataFrame({name: value.cpu().numpy() for name, value in self._counts.items()})


def _believed(trajectory: Tensor, skills: Tensor, doubt: Doubt, now: slice) -> dict[str, Tensor]:
    """The fields of a trace about some skills as believed at the end."""
    return {
        "mastery_last": at_skill(trajectory, skills),
        "deviation_last": doubt.deviation[:, now],
        "of_speed_last": doubt.of_speed[:, now],
        "log_speed_last": doubt.log_speed[:, now],
    }


def _about(states: States, about: Tensor) -> dict[str, Tensor]:
    """The same as believed at each step; NaN where a step is about no skill, -1."""
    skills = about.clamp(min=0)
    found = {"mastery_post": states.filtered, "deviation": states.deviation}
    return _only(about, {name: at_skill(x, skills) for name, x in found.items()})


def _only(about: Tensor, values: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: torch.where(about < 0, torch.nan, x) for name, x in values.items()}


def _check_finite(batch: Batch, states: States) -> None:
    logits = states.logits
    if states.network is not None:  # mastery is always finite; what it is made of is not
        reading = states.encoded.reading
        level = level_logits(reading.before(), reading.practice, reading.difficulty)
        logits = logits + latest(level, logits) + states.network + states.form
    if not logits[latest(batch.valid, logits)].isfinite().all():
        raise KTError(NOT_FINITE)


def _in_turn(sequences: Sequences, most: int, size: int) -> Iterator[tuple[int, Batch]]:
    """All first chunks, then all second ones, and so on, each batch with this number; similar
    lengths together, at most `most` padded steps of at most `size` of each at once."""
    data = SequenceDataset(sequences)
    for number in range(int(sequences.chunk.max()) + 1):
        chosen = np.flatnonzero(sequences.chunk == number)
        lengths = sequences.lengths[chosen]
        for part in LengthBuckets(lengths, most, shuffle=False, window=size):
            yield number, data[chosen[part]]


def _values(states: States) -> dict[str, Tensor]:
    """The fields of a trace for the steps of some states, [B, T], as far as they are known then."""
    e = states.encoded
    q, T = e.skills, e.skills.shape[1]

    def padded(x: Tensor) -> Tensor:
        """With the first step of a history, which is not predicted."""
        return x if x.shape[1] == T else F.pad(x, (1, 0), value=torch.nan)

    values = {
        "predicted": padded(states.logits.sigmoid()),
        "mastery_pre": padded(states.asked),
        "mastery_post": at_skill(states.filtered, q),
        "gain": states.own_gains,
    }
    if states.belief is None:
        return values
    before = None if e.past is None else e.past.belief
    was = asked_next(states.belief, q, before)
    level = e.reading.before()
    values |= {
        "gains_before": level.factor * e.reading.practice,
        "revision": padded(latest(at_skill(states.belief, q), was) - was),
        "deviation": at_skill(states.deviation, q),
        "practice": e.reading.practice,
        "speed": e.reading.speed(),
        "network": padded(states.network),
        "form": padded(states.form),
    }
    if e.difficulty is not None:
        values["difficulty"] = level.shrink * e.difficulty
    return values
