"""Answers that are hidden from the belief: what it says about them, and whether gains are needed.

Each answer of a split is hidden once: the split is read K times, each time with another K-th of
every history hidden from the encoder. The belief at the end of the history, from the remaining
answers, then predicts the hidden ones. The trajectory at that horizon is a fixed curve through the
whole history, so the hidden answers judge its shape (docs/method.md, "The measures"). *Gain
necessity* compares it with no gains, with gains that are flat at their mean level, and with gains
that are shuffled in time; `kt_core.evaluation.shape` has the other tests.

Only the modes `retrospective` and `retentive` have a belief from which answers can be hidden.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from kt_core.base.devices import for_reading
from kt_core.base.errors import KTError
from kt_core.data import Batch, SequenceDataset, Sequences
from kt_core.data.batches import LengthBuckets, reading_tokens
from kt_core.evaluation.schedule import schedule_evidence
from kt_core.layers import HIDDEN
from kt_core.mastery import level_logits
from kt_core.metrics.bootstrap import Bootstrap, tidy
from kt_core.model import GainAKT2
from kt_core.reading import WINDOW
from kt_core.sums import at_skills, by_skill

FOLDS = 5  # K: each pass hides one answer in five


@torch.no_grad()
def hidden_answers(
    model: GainAKT2, sequences: Sequences, seed: int = 0, passes: np.ndarray | None = None
) -> pd.DataFrame:
    """Every answer, with what the trajectory says about it when the belief has not seen it.

    Parameters
    ----------
    passes : [N], the pass in which each answer is hidden, from 0; -1 for never. Default: at random,
        each answer once in `FOLDS` passes.

    Returns
    -------
    One row per interaction: `learner`, `skill`, `step`, `correct`, `time` (days, where known),
    `believed` (logit as believed at the end), and the part of it due to gains before the step:
    `gains_before` as it is, `flat` (its mean over the learner's steps on the skill) and `shuffled`
    (gains in random order of the steps).

    Raises
    ------
    KTError
        For a model of another mode.
    """
    if not model.on_path:
        raise KTError(f"mode {model.config.mode!r} has no belief that an answer can be hidden from")
    whole = sequences.whole()
    fold = _folds(whole, seed) if passes is None else passes
    turns = int(fold.max(initial=0)) + 1
    # Drawn per answer, not per batch: batches have other sizes on other machines.
    order = np.random.default_rng((seed, 1)).random((turns, whole.interactions), np.float32)
    columns = {
        name: np.full(whole.interactions, np.nan)
        for name in ("believed", "gains_before", "flat", "shuffled")
    }
    data = SequenceDataset(whole)
    with for_reading(model) as device:
        for chosen in _in_batches(whole.lengths, device):
            batch = data[chosen]
            at, valid = _places(whole, batch), batch.valid
            batch = batch.to(device)
            for number in np.unique(fold[at][fold[at] >= 0]):
                now = torch.zeros(valid.shape, dtype=torch.bool)
                now[valid] = torch.from_numpy(fold[at] == number)
                key = torch.full(valid.shape, 2.0)  # padding comes last
                key[valid] = torch.from_numpy(order[number, at])
                rows = at[now[valid].numpy()]
                read = now.any(1)  # the others have nothing hidden
                now, key = now[read], key[read]
                values = _read(model, batch.rows(read.to(device)), now.to(device), key.to(device))
                for name, value in values.items():
                    columns[name][rows] = value.cpu()[now].double().numpy()
    number = np.repeat(np.arange(len(whole)), whole.lengths)
    return pd.DataFrame(
        {
            "learner": whole.learner[number],
            "skill": whole.skill,
            "step": np.arange(whole.interactions) - whole.starts[number],
            "correct": whole.response,
            **({} if whole.time is None else {"time": whole.time}),
            **columns,
        }
    )


def gain_necessity(frame: pd.DataFrame, bootstrap: Bootstrap) -> pd.DataFrame:
    """Log loss of hidden answers with the gains as they are, and what changed gains add to it.

    Each loss is that of the trajectory and of what the order of practice says of a hidden answer
    (`kt_core.evaluation.schedule`): where practice stops because answers were right, later answers
    are better without any growth.

    Returns
    -------
    `quantity`, `value`, `low`, `high`: the log loss, and the differences without gains, flat, and
    shuffled. A difference above 0 means that the gains carry information.
    """
    order = schedule_evidence(frame)
    base = log_loss(frame["believed"] + order, frame["correct"])
    learner = frame["learner"].to_numpy()
    own = bootstrap.row_mean(base, learner, (0, np.inf))
    estimates = {"log loss, gains as they are": own}
    start = frame["believed"] - frame["gains_before"] + order
    for name, gains_before in (
        ("no gains, minus as they are", 0.0),
        ("flat at the same level, minus as they are", frame["flat"]),
        ("shuffled in time, minus as they are", frame["shuffled"]),
    ):
        more = log_loss(start + gains_before, frame["correct"]) - base
        estimates[name] = bootstrap.row_mean(more, learner)
    return tidy(estimates, "quantity").assign(sees="retrospective, answer hidden")


def _folds(whole: Sequences, seed: int) -> np.ndarray:
    """[N], the pass in which each answer is hidden: a random order within every K neighbours."""
    rng = np.random.default_rng(seed)
    blocks = -(-whole.interactions // FOLDS)
    order = rng.permuted(np.tile(np.arange(FOLDS), (blocks, 1)), axis=1)
    return order.ravel()[: whole.interactions]


def _in_batches(lengths: np.ndarray, device: torch.device) -> LengthBuckets:
    return LengthBuckets(lengths, reading_tokens(device), shuffle=False, window=WINDOW)


def _places(whole: Sequences, batch: Batch) -> np.ndarray:
    starts = torch.from_numpy(whole.starts[batch.index.numpy()])
    at = starts[:, None] + torch.arange(batch.valid.shape[1])
    return at[batch.valid].numpy()


def _read(model: GainAKT2, batch: Batch, hidden: Tensor, key: Tensor) -> dict[str, Tensor]:
    q, valid = batch.skills, batch.valid
    responses = torch.where(hidden | ~valid, HIDDEN, batch.responses)
    reading = model.read_skeleton(q, responses, batch.items, batch.days)
    last = valid.sum(1) - 1
    level, network = reading.at(last), model.last_network(reading, last).gather(1, q)
    logits = level_logits(level, reading.practice, reading.difficulty)
    gains_before = level.factor * reading.practice
    mixed = reading.gains.gather(1, key.argsort(1))
    return {
        "believed": logits.to(network.dtype) + network,
        "gains_before": gains_before,
        "flat": _mean_on_skill(gains_before, q, valid),
        "shuffled": level.factor * reading.skeleton.practised(q, mixed, batch.days)[0],
    }


def _mean_on_skill(values: Tensor, skills: Tensor, valid: Tensor) -> Tensor:
    """[B, T], mean over the steps of the same sequence and skill."""
    n_skills = int(skills.max()) + 1
    each = torch.stack([values.double(), torch.ones_like(values).double()], -1)
    total, n = at_skills(by_skill(each * valid.unsqueeze(-1), skills, n_skills), skills).unbind(-1)
    return (total / n.clamp(min=1)).to(values.dtype)


def log_loss(logits: np.ndarray, correct: np.ndarray) -> np.ndarray:
    logits = np.asarray(logits, float)
    return np.logaddexp(0.0, logits) - np.asarray(correct) * logits
