"""What one pass over a split collects: values of every answer, and the states of every sequence."""

from __future__ import annotations

import numpy as np
import pandas as pd
from torch import Tensor

from kt_core.data import Batch, Sequences
from kt_core.evaluation.tracer import Trace, from_mastery
from kt_core.model import GainAKT2
from kt_core.states import States


class Columns:
    """Arrays over all interactions, filled batch by batch and window by window."""

    def __init__(self, sequences: Sequences):
        self.sequences = sequences
        self.columns: dict[str, np.ndarray] = {}

    def add(self, starts: np.ndarray, batch: Batch, values: dict[str, Tensor]) -> None:
        """Write some steps of a batch, whose rows begin at the interactions `starts`."""
        valid = batch.valid.cpu().numpy()
        at = (starts[:, None] + np.arange(valid.shape[1]))[valid]
        for name, value in values.items():
            column = self.columns.setdefault(name, np.full(self.sequences.interactions, np.nan))
            column[at] = value[batch.valid].double().cpu().numpy()


class Collected(Columns):
    """The same, with the states of sequences and, in `slots`, the parts of the skills asked."""

    def __init__(self, sequences: Sequences, model: GainAKT2):
        super().__init__(sequences)
        self.model, C = model, model.n_skills
        self.middle = np.full((len(sequences), C), np.nan, np.float32)  # of one step there is none
        self.final, self.deviation = np.zeros_like(self.middle), np.zeros_like(self.middle)
        slots = 0 if model.parts is None else model.parts.slots.shape[1]
        self.slots = [Columns(sequences) for _ in range(slots)]

    def add_states(self, starts: np.ndarray, batch: Batch, states: States) -> None:
        """The states at the middle and end of sequences, where they are among these steps."""
        valid, s = batch.valid.cpu().numpy(), self.sequences
        there = np.flatnonzero(valid[:, 0])
        order = there[np.argsort(starts[there])]
        wanted = [(self.middle, s.lengths // 2, states.filtered)]
        wanted.append((self.final, s.lengths, states.filtered))
        if states.deviation is not None:
            wanted.append((self.deviation, s.lengths, states.deviation))
        for target, seen, every in wanted:
            step = s.starts + seen - 1
            row = order[np.searchsorted(starts[order], step, side="right") - 1]
            place = step - starts[row]
            here = (seen > 0) & (place >= 0) & (place < valid.sum(1)[row])
            target[here] = every[row[here], place[here]].float().cpu().numpy()

    def trace(self) -> Trace:
        """The finished trace; the first step of a sequence has no pre-response fields."""
        columns, model = self.columns, self.model
        if model.on_path:  # a sigmoid may differ by one bit from place to place
            columns["predicted"] = from_mastery(
                columns["mastery_pre"], columns.get("difficulty", 0.0), columns["form"]
            )
        for name in {"predicted", "mastery_pre", "network", "form"} & set(columns):
            columns[name][self.sequences.starts] = np.nan
        deviation = self.deviation if model.on_path else None
        states = {"middle": self.middle, "final": self.final, "final_deviation": deviation}
        return Trace(**columns, **states, made_of=made_of(model), parts=self._parts())

    def _parts(self) -> pd.DataFrame | None:
        if self.model.parts is None:
            return None
        slots = self.model.parts.slots.cpu().numpy()[self.sequences.skill]
        rows = []
        for slot, skill in zip(self.slots, slots.T, strict=True):
            at = np.flatnonzero(skill >= 0)
            columns = {name: column[at] for name, column in slot.columns.items()}
            rows.append(pd.DataFrame({"interaction": at, "skill": skill[at], **columns}))
        return pd.concat(rows, ignore_index=True)


def made_of(model: GainAKT2) -> np.ndarray | None:
    """`Trace.made_of`."""
    return None if model.parts is None else model.parts.has.cpu().numpy()
