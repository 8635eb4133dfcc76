"""From a model and sequences to beliefs: every interaction with what was believed around it.

`evaluate` makes one pass over a split and keeps what the measures need: one row per interaction,
the states at the middle and end of each sequence, and the counts of broken constraints. How
histories longer than a chunk are read: docs/method.md, "Long histories".
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from kt_core.base.devices import for_reading
from kt_core.base.errors import KTError
from kt_core.data import Batch, SequenceDataset, Sequences
from kt_core.data.batches import LengthBuckets, reading_tokens
from kt_core.evaluation.tracer import Trace, from_mastery
from kt_core.mastery import PathTerms, States, at_skill
from kt_core.metrics.invariants import saturation, violations
from kt_core.metrics.nulls import running_counts
from kt_core.model import GainAKT2

NOT_FINITE = (
    "the model's predictions are not finite: training has diverged or the weights are damaged; "
    "train again with a smaller train.learning_rate"
)
STATES_A_STEP = 128  # skills; with more of them batches are smaller, as states are [B, T, C]


@dataclass
class Beliefs:
    """What was believed about a split. N interactions, S sequences, C skills, L learners.

    Attributes
    ----------
    frame : [N] rows, in order within a learner: `learner`, `sequence`, `chunk`, `step`, `skill`,
        `correct`; the fields of `kt_core.evaluation.tracer.Trace` that are known; `opportunity` and
        `successes` on the skill before the step; and the `true_` columns of simulated learners.
    middle, final : [S, C], filtered mastery after half of the steps and after all; NaN before the
        first answer.
    final_deviation : [S, C], standard deviation of the level behind `final`, in logits; None where
        it is not known.
    counts : rows with `learner` and the counts of `kt_core.metrics.invariants`; None where the
        states of all skills are not known.
    """

    frame: pd.DataFrame
    learners: np.ndarray
    middle: np.ndarray | None = None
    final: np.ndarray | None = None
    final_deviation: np.ndarray | None = None
    counts: pd.DataFrame | None = None

    def has(self, column: str) -> bool:
        """Whether the tracer, or the data, gave this column of `frame`."""
        return column in self.frame

    @property
    def predicted(self) -> pd.DataFrame:
        """The rows whose answer was predicted."""
        return self.frame[self.frame["predicted"].notna()]

    @classmethod
    def of(cls, sequences: Sequences, trace: Trace, counts: pd.DataFrame | None = None) -> Beliefs:
        """The beliefs of a trace, next to the answers that it is about."""
        s = sequences
        number = np.repeat(np.arange(len(s)), s.lengths)
        frame = pd.DataFrame(
            {
                "learner": s.learner[number],
                "sequence": number,
                "chunk": s.chunk[number],
                "step": np.arange(s.interactions) - s.starts[number],
                "skill": s.skill,
                **({"item": s.item} if s.item.any() else {}),
                "correct": s.response,
                **trace.columns(),
                **s.truth,
            }
        )
        frame = pd.concat([frame, running_counts(frame)], axis=1)
        states = trace.middle, trace.final, trace.final_deviation
        return cls(frame, s.learners, *states, counts)


def evaluate(
    model: GainAKT2, sequences: Sequences, flips: bool = True, whole: bool = True
) -> Beliefs:
    """What `model` believes about `sequences`; see `read`."""
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
    if not all(weight.isfinite().all() for weight in model.parameters()):
        raise KTError(NOT_FINITE)
    C, steps = model.n_skills, sequences.whole() if model.whole_histories and whole else sequences
    collected, counts = _Collected(sequences, C), []
    with for_reading(model) as device:
        kind = next(model.parameters()).dtype
        ended_in = torch.zeros(len(sequences.learners), C, device=device, dtype=kind)
        most = int(reading_tokens(device) / max(1, C / STATES_A_STEP))
        for number, batch in _in_turn(steps, most):
            index = batch.index.numpy()
            batch = batch.to(device)
            who = torch.from_numpy(steps.learner[index]).to(device)
            start = ended_in[who] if number else None
            responses = model.unpadded(batch.responses, batch.valid)
            states = model.forward_with_states(
                batch.skills, responses, batch.items, batch.valid, start, batch.days
            )
            _check_finite(model, batch, states)
            last = batch.valid.sum(1) - 1
            ended_in[who] = states.filtered[torch.arange(len(last), device=device), last]
            values = _values(model, batch, states)
            if flips:
                values["flip"] = model.flips(states, start)
            collected.add(steps.starts[index], batch, states, values)
            counts.append(_count(batch, states, start).assign(learner=steps.learner[index]))
    return collected.trace(model), pd.concat(counts, ignore_index=True)


def _check_finite(model: GainAKT2, batch: Batch, states: States) -> None:
    logits = [states.logits]
    if model.on_path:  # its states are always finite; the plain predictions are not
        logits.append(model.heads.next_logits(states.encoded))
    if not all(x[batch.valid[:, 1:]].isfinite().all() for x in logits):
        raise KTError(NOT_FINITE)


class _Collected:
    """Arrays over all interactions and sequences, filled batch by batch."""

    def __init__(self, sequences: Sequences, C: int):
        self.sequences = sequences
        self.columns: dict[str, np.ndarray] = {}
        self.middle = np.zeros((len(sequences), C), np.float32)
        self.final, self.deviation = np.zeros_like(self.middle), np.zeros_like(self.middle)

    def add(
        self, starts: np.ndarray, batch: Batch, states: States, values: dict[str, Tensor]
    ) -> None:
        """Write a batch, whose rows begin at the interactions `starts`."""
        valid = batch.valid.cpu().numpy()
        at = (starts[:, None] + np.arange(valid.shape[1]))[valid]
        for name, value in values.items():
            column = self.columns.setdefault(name, np.full(self.sequences.interactions, np.nan))
            column[at] = value[batch.valid].double().cpu().numpy()
        s = self.sequences
        order = np.argsort(starts)
        ends = starts + valid.sum(1)
        row = order[np.searchsorted(starts[order], s.starts, side="right") - 1]
        here = (s.starts >= starts[row]) & (s.starts < ends[row])
        wanted = [(self.middle, s.lengths // 2, states.filtered)]
        wanted.append((self.final, s.lengths, states.filtered))
        if states.deviation is not None:
            wanted.append((self.deviation, s.lengths, states.deviation))
        for target, seen, every in wanted:
            step = (s.starts - starts[row] + seen - 1)[here]
            there = every[row[here], step.clip(min=0)].float().cpu().numpy()
            # Before the first answer there is no state: half of one step is 0 steps.
            target[here] = np.where(step[:, None] >= 0, there, np.nan)

    def trace(self, model: GainAKT2) -> Trace:
        """The finished trace; the first step of a sequence has no pre-response fields."""
        columns = self.columns
        if model.on_path:  # a sigmoid may differ by one bit from place to place
            columns["predicted"] = from_mastery(
                columns["mastery_pre"], columns.get("difficulty", 0.0), columns["form"]
            )
        for name in {"predicted", "mastery_pre", "network", "form"} & set(columns):
            columns[name][self.sequences.starts] = np.nan
        deviation = self.deviation if model.on_path else None
        states = {"middle": self.middle, "final": self.final, "final_deviation": deviation}
        return Trace(**columns, **states)


def _in_turn(sequences: Sequences, most: int) -> Iterator[tuple[int, Batch]]:
    """All first chunks, then all second ones, and so on, each batch with this number; similar
    lengths together, at most `most` padded steps at once."""
    data = SequenceDataset(sequences)
    for number in range(int(sequences.chunk.max()) + 1):
        chosen = np.flatnonzero(sequences.chunk == number)
        for part in LengthBuckets(sequences.lengths[chosen], most, shuffle=False):
            yield number, data[chosen[part]]


def _values(model: GainAKT2, batch: Batch, states: States) -> dict[str, Tensor]:
    """The fields of a trace for a batch, [B, T], except flips."""
    q = batch.skills
    unknown = states.filtered.new_full((len(q), 1), torch.nan)
    values = {
        "predicted": torch.cat([unknown, states.logits.sigmoid()], dim=1),
        "mastery_pre": torch.cat([unknown, states.asked], dim=1),
        "mastery_post": at_skill(states.filtered, q),
        "gain": states.own_gains,
    }
    if states.belief is None:
        return values
    moved = at_skill(states.belief.diff(dim=1), q[:, 1:])
    reading = states.encoded.reading
    level, doubt = reading.before(), reading.doubt(batch.valid.sum(1) - 1)
    values |= {
        "mastery_last": at_skill(states.trajectory, q),
        "gains_before": level.factor * reading.practice,
        "revision": torch.cat([unknown, moved], dim=1),
        "deviation": at_skill(states.deviation, q),
        "deviation_last": doubt.deviation,
        "of_speed_last": doubt.of_speed,
        "log_speed_last": doubt.log_speed,
        "practice": reading.practice,
        "speed": reading.speed(),
        "network": torch.cat([unknown, model.heads.corrections_before(states.encoded)], dim=1),
        "form": torch.cat([unknown, PathTerms(model.heads, states.encoded).form()], dim=1),
    }
    if model.difficulty is not None:
        values["difficulty"] = level.shrink * reading.difficulty
    return values


def _count(batch: Batch, states: States, start: Tensor | None) -> pd.DataFrame:
    q, r, valid = batch.skills, batch.responses, batch.valid
    found = violations(states.trajectory, states.gains, q, r, valid, start, states.rested)
    found |= saturation(states.trajectory, states.gains, valid)
    live = violations(states.filtered, states.gains, q, r, valid, start)
    names = ("monotonicity", "fall_after_correct")
    found |= {f"filtered_{n}{end}": live[n + end] for n in names for end in ("", "_n")}
    return pd.DataFrame({name: value.cpu().numpy() for name, value in found.items()})


def ends(frame: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The first and the last row of each learner on each skill, by learner and skill."""
    groups = frame.groupby(["learner", "skill"])
    rows = groups.head(1), groups.tail(1)
    return tuple(x.set_index(["learner", "skill"]).sort_index() for x in rows)


def believed_last(frame: pd.DataFrame) -> str:
    """The column of mastery along the trajectory; empty where there is none."""
    columns = ("mastery_last", "mastery_post", "mastery_pre")
    return next((c for c in columns if c in frame), "")
