"""From a model and sequences to evidence: every interaction with what was believed around it.

`evaluate` makes one pass over a split. What it keeps is all that the measures need: a row per
interaction, and per sequence the states at its middle and end and the counts of broken constraints.
A learner's later chunks are read after the earlier ones, from the mastery in which those ended, so
that constraints are counted across the seam too.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from kt_core.data import Batch, SequenceDataset, Sequences
from kt_core.errors import KTError
from kt_core.metrics.invariants import saturation, violations
from kt_core.metrics.nulls import running_counts
from kt_core.model import GainAKT2, States

EVAL_STATES = 2_000_000  # entries of a [B, T, C] tensor that one batch may hold


@dataclass
class Evidence:
    """What a model believed about a split. N interactions, S sequences, C skills, L learners.

    Attributes
    ----------
    frame : [N] rows, in order within a learner: `learner`, `sequence`, `chunk`, `step`, `skill`,
        `correct`; `predicted`, P(correct) from the steps before (NaN at a sequence's first);
        `mastery_pre` and `mastery_post`, mastery of the asked skill before and after the answer;
        `gain` of the asked skill; `opportunity` and `successes` on the skill before the step; and
        the `true_` columns of simulated learners.
    counts : [S] rows, counts of `kt_core.metrics.invariants` by sequence, with `learner`.
    middle, final : [S, C], filtered mastery when half of the steps, and all, have been seen.
    """

    frame: pd.DataFrame
    counts: pd.DataFrame
    middle: np.ndarray
    final: np.ndarray
    learners: np.ndarray

    @property
    def predicted(self) -> pd.DataFrame:
        """The rows whose answer was predicted."""
        return self.frame[self.frame["predicted"].notna()]


@torch.no_grad()
def evaluate(model: GainAKT2, sequences: Sequences) -> Evidence:
    """Run `model` over `sequences` without touching its weights or the random state.

    Raises
    ------
    KTError
        When a prediction is not finite.
    """
    was_training, C = model.training, model.n_skills
    model.eval()
    device = next(model.parameters()).device
    columns = {
        name: np.full(sequences.interactions, np.nan, np.float64)
        for name in ("predicted", "mastery_pre", "mastery_post", "gain")
    }
    middle = np.zeros((len(sequences), C), np.float32)
    final, counts = np.zeros_like(middle), {}
    ended_in = torch.zeros(len(sequences.learners), C, device=device)
    for number in range(int(sequences.chunk.max()) + 1):
        chosen = np.flatnonzero(sequences.chunk == number)
        for batch in _batches(sequences, chosen, C):
            batch = batch.to(device)
            index = batch.index.cpu().numpy()
            who = torch.from_numpy(sequences.learner[index]).to(device)
            start = ended_in[who] if number else None
            states = model.forward_with_states(batch.skills, batch.responses, start)
            if not states.logits[batch.valid[:, 1:]].isfinite().all():
                raise KTError(
                    "the model's predictions are not finite: training has diverged or the weights "
                    "are damaged; train again with a smaller train.learning_rate"
                )
            _scatter(columns, sequences, batch, states)
            last = batch.valid.sum(1) - 1
            row = torch.arange(len(last), device=device)
            ended_in[who] = states.filtered[row, last].to(ended_in.dtype)
            final[index] = states.filtered[row, last].float().cpu()
            middle[index] = states.filtered[row, (last + 1) // 2 - 1].float().cpu()
            _count(counts, index, batch, states, start)
    model.train(was_training)
    return Evidence(
        _frame(sequences, columns),
        _counts_frame(counts, sequences),
        middle,
        final,
        sequences.learners,
    )


def _batches(sequences: Sequences, chosen: np.ndarray, C: int):
    data = SequenceDataset(sequences)
    order = chosen[np.argsort(sequences.lengths[chosen], kind="stable")]
    sizes = sequences.lengths[order]
    begin = 0
    while begin < len(order):
        end = begin + 1
        while end < len(order) and sizes[end] * (end - begin + 1) * C <= EVAL_STATES:
            end += 1
        yield data[order[begin:end]]
        begin = end


def _scatter(
    columns: dict[str, np.ndarray], sequences: Sequences, batch: Batch, states: States
) -> None:
    """Write a batch's values of the asked skill to the rows of its interactions."""
    starts = torch.from_numpy(sequences.starts[batch.index.cpu().numpy()])
    at = (starts[:, None] + torch.arange(batch.valid.shape[1]))[batch.valid.cpu()].numpy()
    asked = batch.skills.unsqueeze(-1)
    own = states.filtered.gather(-1, asked).squeeze(-1)
    before = states.filtered[:, :-1].gather(-1, asked[:, 1:]).squeeze(-1)
    unknown = torch.full_like(own[:, :1], torch.nan)
    values = {
        "predicted": torch.cat([unknown, states.logits.sigmoid()], dim=1),
        "mastery_pre": torch.cat([unknown, before], dim=1),
        "mastery_post": own,
        "gain": states.gains.gather(-1, asked).squeeze(-1),
    }
    for name, value in values.items():
        columns[name][at] = value[batch.valid].double().cpu().numpy()


def _count(
    counts: dict[str, dict[int, int]],
    index: np.ndarray,
    batch: Batch,
    states: States,
    start: Tensor | None,
) -> None:
    broken = violations(
        states.trajectory, states.gains, batch.skills, batch.responses, batch.valid, start
    )
    found = broken | saturation(states.trajectory, states.gains, batch.valid)
    for name, values in found.items():
        counts.setdefault(name, {}).update(zip(index.tolist(), values.tolist(), strict=True))


def _counts_frame(counts: dict[str, dict[int, int]], sequences: Sequences) -> pd.DataFrame:
    frame = pd.DataFrame(counts).sort_index()
    frame.insert(0, "learner", sequences.learner)
    return frame


def _frame(sequences: Sequences, columns: dict[str, np.ndarray]) -> pd.DataFrame:
    s = sequences
    number = np.repeat(np.arange(len(s)), s.lengths)
    frame = pd.DataFrame(
        {
            "learner": s.learner[number],
            "sequence": number,
            "chunk": s.chunk[number],
            "step": np.arange(s.interactions) - s.starts[number],
            "skill": s.skill,
            "correct": s.response,
            **columns,
            **s.truth,
        }
    )
    return pd.concat([frame, running_counts(frame)], axis=1)
