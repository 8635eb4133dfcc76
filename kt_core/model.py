"""GainAKT2: the encoder, and what is read from its states, behind one interface.

B learners in a batch, T steps, C skills, D = d_model. Steps count from 0 here: `skills[:, t]`,
`responses[:, t]`.

- `GainAKT2.forward` predicts the next response; it builds no [B, T, C] tensor.
- `GainAKT2.forward_with_states` adds the mastery and the gains of every skill at every step.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import nn

from kt_core.base.errors import KTError
from kt_core.config import ModelConfig
from kt_core.difficulty import Difficulty
from kt_core.encoder import Encoder
from kt_core.layers import HIDDEN, Horizon, Ids, Next, Start, Steps, Valid
from kt_core.mastery import HistoryEnd, MasteryPath
from kt_core.parts import Parts
from kt_core.reading import FEATURES, WINDOW, Reading
from kt_core.side_heads import SideHeads
from kt_core.states import Encoded, States

HEADS = {
    "retrospective": MasteryPath,
    "retentive": MasteryPath,
    "cumulative": SideHeads,
    "projection": SideHeads,
}


class GainAKT2(nn.Module):
    """Dual-stream transformer for knowledge tracing; the mode decides what mastery is.

    The mode is decided here, once: `heads` has everything in which the modes differ.

    Parameters
    ----------
    config : shape and mode.
    n_skills : C; skill ids run from 0 to C-1.
    item_skill : the skill of each item 1..I; empty where items are unknown. Only `retrospective`
        and `retentive` use items.
    parts : the single skills of each skill, where answers need several (`Vocabulary.parts`); only
        `retrospective` and `retentive` read them.

    Examples
    --------
    >>> model = GainAKT2(ModelConfig(d_model=16, heads=2), n_skills=3).eval()
    >>> skills, responses = torch.tensor([[0, 0, 2]]), torch.tensor([[1, 0, 1]])
    >>> model(skills, responses).shape  # P(right) of steps 1 and 2, as logits
    torch.Size([1, 2])
    >>> model.forward_with_states(skills, responses).trajectory.shape
    torch.Size([1, 3, 3])
    """

    def __init__(
        self,
        config: ModelConfig,
        n_skills: int,
        item_skill: Sequence[int] = (),
        parts: Sequence[Sequence[int]] = (),
    ):
        super().__init__()
        if n_skills < 1:
            raise KTError(f"n_skills = {n_skills}: a model needs at least one skill")
        self.config, self.n_skills = config, n_skills
        kind = HEADS[config.mode]
        with_items = kind.on_path and len(item_skill) > 0
        known = FEATURES if kind.on_path else 0
        self.encoder = Encoder(config, n_skills, kind.answers, with_items, known)
        self.difficulty = Difficulty(item_skill, n_skills) if with_items else None
        self.heads = kind(config, n_skills, *([parts] if kind.on_path else []))
        self.apply(_initialise)

    @property
    def on_path(self) -> bool:
        """Whether predictions are made from mastery (`MasteryPath`)."""
        return self.heads.on_path

    @property
    def parts(self) -> Parts | None:
        """Of which single skills the others are made; None where all are single."""
        return self.heads.skeleton.parts if self.on_path else None

    @property
    def whole_histories(self) -> bool:
        """Whether a learner's whole history is read at once, not chunk by chunk."""
        return self.heads.whole_histories

    @property
    def guaranteed(self) -> bool:
        """Whether bounds, monotonicity and non-negative gains hold for any weights."""
        return self.config.mode != "projection"

    @property
    def timed(self) -> bool:
        """Whether gains fade by the day, so that the times of answers are needed."""
        retention = self.heads.skeleton.retention if self.on_path else None
        return retention is not None and bool(retention.timed)

    def forward(
        self,
        skills: Ids,
        responses: Ids,
        items: Ids | None = None,
        days: Steps | None = None,
    ) -> Next:
        """Logits of the next response; column t predicts step t+1 from steps 0..t.

        Parameters
        ----------
        days : when each answer was given; only `retentive` reads it.

        Raises
        ------
        KTError
            For ids outside 0..C-1, responses other than 0 and 1, or too many steps.
        """
        return self.heads.next_logits(self.encode(skills, responses, items, days))

    def forward_with_states(
        self,
        skills: Ids,
        responses: Ids,
        items: Ids | None = None,
        valid: Valid | None = None,
        start: Start | None = None,
        days: Steps | None = None,
    ) -> States:
        """`forward`, with the states behind it.

        Parameters
        ----------
        valid : true at real steps; the last of them is the horizon of the trajectory.
        start : mastery at the end of each learner's previous chunk; None for a first chunk. Only
            `cumulative` accumulates from one chunk to the next.
        """
        return self.read(self.encode(skills, responses, items, days), valid, start)

    def encode(
        self,
        skills: Ids,
        responses: Ids,
        items: Ids | None = None,
        days: Steps | None = None,
    ) -> Encoded:
        """Context and value states, the difficulties of the items where they are known and, in the
        modes of `MasteryPath`, what the skeleton says."""
        self.check(skills, responses)
        d = None if self.difficulty is None or items is None else self.difficulty(items)
        reading = self.heads.prepare(skills, responses, d, days)
        known = None if reading is None else reading.features(responses)
        context, value = self.encoder(skills, responses, d, known)
        return Encoded(skills, responses, context, value, d, reading)

    def read_skeleton(
        self,
        skills: Ids,
        responses: Ids,
        items: Ids | None = None,
        days: Steps | None = None,
    ) -> Reading:
        """What the skeleton says of histories of any length, for `windows` and `last_states`; only
        in the modes of `MasteryPath`."""
        self.check(skills, responses)
        d = None if self.difficulty is None or items is None else self.difficulty(items)
        return self.heads.prepare(skills, responses, d, days)

    @torch.no_grad()
    def windows(self, reading: Reading, size: int = WINDOW) -> Iterator[States]:
        """The states of histories, window by window: together they are, to float tolerance, those
        of the whole, without trajectory and gains (`MasteryPath.trajectories`). Memory grows with
        the window and not with the history."""
        past = None
        for encoded in self._encoded(reading, size):
            encoded.past = past
            states = self.heads.states(encoded, None)
            past = states.onward
            yield states

    @torch.no_grad()
    def last_states(self, reading: Reading, last: Horizon) -> States:
        """The states of the step `last` of each history alone, [B, 1, C], without trajectory and
        gains."""
        return self.heads.states(self._last(reading, last), None)

    @torch.no_grad()
    def last_network(self, reading: Reading, last: Horizon) -> Start:
        """[B, C], what of the belief after that step is the network's."""
        return self.heads.network(self._last(reading, last))[:, 0]

    def _last(self, reading: Reading, last: Horizon) -> Encoded:
        one = HistoryEnd(self.heads, last)
        for encoded in self._encoded(reading, WINDOW):
            one.add(encoded)
        return one.encoded(reading.at_step(last), self.difficulty is not None)

    def _encoded(self, reading: Reading, size: int) -> Iterator[Encoded]:
        """`encode` in windows; their `past` is left to the caller."""
        memory = self.encoder.memory()
        for window in reading.windows(size):
            d = None if self.difficulty is None else window.difficulty
            known = window.features(window.responses)
            states = self.encoder.onward(memory, window.skills, window.responses, d, known)
            yield Encoded(window.skills, window.responses, *states, d, window)

    def read(
        self,
        encoded: Encoded,
        valid: Valid | None = None,
        start: Start | None = None,
        logits: Next | None = None,
    ) -> States:
        """The second half of `forward_with_states`: all states, from those of the encoder.

        Parameters
        ----------
        logits : of the next responses, if they are known already.
        """
        skills = encoded.skills
        whole = torch.full((len(skills),), skills.shape[1], device=skills.device)
        last = (whole if valid is None else valid.sum(1)) - 1
        return self.heads.states(encoded, last, start, logits)

    def unpadded(self, responses: Ids, valid: Valid) -> Ids:
        """The responses, with padding as hidden answers where there are such: a long run of wrong
        answers that nobody gave would have to be made sense of."""
        return torch.where(valid, responses, HIDDEN) if self.on_path else responses

    @torch.no_grad()
    def flips(self, states: States, start: Start | None = None) -> Steps:
        """Mastery of the asked skill after a right answer minus that after a wrong one, at each
        step on its true history (docs/method.md, "The measures": flips)."""
        if self.on_path:
            return self.heads.flips(states)
        q, r = states.encoded.skills, states.encoded.responses
        return self.heads.flips(states, *self.encoder.flipped(q, r), start)

    def check(self, skills: Ids, responses: Ids) -> None:
        """Raise a KTError for ids, responses or shapes that the model cannot read."""
        if skills.shape != responses.shape or skills.ndim != 2:
            shapes = f"{tuple(skills.shape)} and {tuple(responses.shape)}"
            raise KTError(f"skills and responses must both be [B, T]; got {shapes}")
        if skills.numel() == 0:
            raise KTError(f"nothing to read: skills has shape {tuple(skills.shape)}")
        ends = torch.stack([*torch.aminmax(skills), *torch.aminmax(responses)])
        low, high, wrong, right = ends.tolist()  # one transfer, as it waits for a GPU
        if low < 0 or high >= self.n_skills:
            bad = low if low < 0 else high
            raise KTError(f"skill id {bad} is out of range: the model knows 0..{self.n_skills - 1}")
        if wrong < 0 or right >= self.heads.answers:
            raise KTError(f"response {wrong if wrong < 0 else right} is not 0 or 1")
        limit = self.config.max_steps
        if self.config.position == "absolute" and skills.shape[1] > limit:
            raise KTError(
                f"{skills.shape[1]} steps, but absolute positions end at {limit}: "
                "raise model.max_steps or cut the sequence"
            )


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Embedding):
        nn.init.normal_(module.weight, std=0.1)
