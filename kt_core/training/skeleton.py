"""Fits the psychometric skeleton: maximum marginal likelihood of training answers, with priors.

The likelihood of a history is the product of the predictions of its answers, each from the answers
before it (`kt_core.skeleton`). Whether gains transfer, and whether it matters that an item was met
before, is chosen by the log loss on validation learners. It takes seconds and runs on the CPU,
before the network is trained.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Iterator

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.nn import functional as F

from kt_core.data import Batch, Sequences, Splits, loader
from kt_core.data.sequences import rows_of, tally
from kt_core.difficulty import Difficulty
from kt_core.layers import HIDDEN
from kt_core.model import GainAKT2
from kt_core.skeleton import Skeleton
from kt_core.training.fit import one_cycle

MOST_ANSWERS = 500_000  # that a skeleton is fitted to
ANSWERS_A_STEP = 2_500  # of the least number of steps, at most: few steps are for small data
MOST_STEPS = 1000  # of a history at once; longer ones are cut
TOKENS = 4096  # padded steps in a batch
EPOCHS = 8  # passes over the data
RATE = 0.03  # peak learning rate
CLEARLY = 2.0  # standard errors by which what is tried must lower the validation loss
REPEATED = 0.01  # share of answers on known and on new items of a practised skill, at least
SPARSITY = 3e-4  # price of transferred shares, per answer and skill
PRECISION = {  # of priors around their means
    "offset": 1.0,
    "log_gain": 4.0,
    "log_loading": 25.0,
    "retention.log_decay": 4.0,
}


def fit_skeleton(
    model: GainAKT2, splits: Splits, seed: int = 0, steps: int = 400
) -> dict[str, float]:
    """Fit the skeleton and the difficulties of the items, in place.

    Where learners meet items again, and other items of the same skill too, the worth of that is
    tried (`Difficulty.repeat`). It is kept only if an item met once is easier: where items come
    back because they were answered wrong they look harder, which practice has not left.

    Of more than 20,000 learners, 500,000 answers or 2,500 answers a step some learners are drawn at
    random, and histories of more than 1,000 answers are cut into pieces, each of which counts as a
    learner.

    Parameters
    ----------
    steps : of gradient descent, at least; more where that is fewer than `EPOCHS` passes.

    Returns
    -------
    Log loss per answer on validation learners, `without transfer` and, where they were tried,
    `without repeats`, `with repeats`, `with transfer` and `without forgetting`; a cut history
    starts afresh there, too.
    """
    skeleton = model.heads.skeleton
    train, valid = some(splits.train, steps), some(splits.valid, steps)
    if skeleton.retention is not None:
        skeleton.retention.begin(model.config.times and splits.train.dated)
    skeleton.begin(*map(torch.from_numpy, tally(train.skill, train.response, skeleton.n_skills)))
    plain = copy.deepcopy(skeleton)
    plain.raw_transfer = None
    begun = plain, model.difficulty
    tried = {}
    plain, difficulty = _fit(*copy.deepcopy(begun), train, seed, steps)
    before, repeats = _losses(plain, difficulty, valid), False
    tries = model.config.repeats and difficulty is not None
    if tries and told_apart(train):
        other = _fit(*copy.deepcopy(begun), train, seed, steps, repeats=True)
        after = _losses(*other, valid)
        tried |= {"without repeats": _mean(before), "with repeats": _mean(after)}
        if repeats := other[1].repeat[0].item() > 0 and _better(after, before):
            (plain, difficulty), before = other, after
    if skeleton.retention is not None:
        lasting = copy.deepcopy(begun)
        lasting[0].retention = None
        lasting = _fit(*lasting, train, seed, steps, repeats)
        tried["without forgetting"] = _mean(_losses(*lasting, valid))
    tried["without transfer"] = _mean(before)
    skeleton.load_state_dict(plain.state_dict(), strict=False)
    if skeleton.raw_transfer is not None:
        other, harder = copy.deepcopy((skeleton, difficulty))
        other.raw_transfer.fill_(0.05)
        _fit(other, harder, train, seed, steps, repeats)
        after = _losses(other, harder, valid)
        tried["with transfer"] = _mean(after)
        if _better(after, before):
            skeleton.load_state_dict(other.state_dict())
            difficulty = harder
    if difficulty is not None:
        model.difficulty.load_state_dict(difficulty.state_dict())
    return tried


def some(sequences: Sequences, steps: int = 400) -> Sequences:
    """Histories to fit to, within the limits."""
    whole = sequences.some(min(MOST_ANSWERS, ANSWERS_A_STEP * steps)).whole()
    pieces = -(-whole.lengths // MOST_STEPS)
    piece = np.arange(pieces.sum()) - np.repeat(np.cumsum(pieces) - pieces, pieces)
    starts = np.repeat(whole.starts, pieces) + MOST_STEPS * piece
    left = np.repeat(whole.lengths, pieces) - MOST_STEPS * piece
    return dataclasses.replace(
        whole,
        starts=starts,
        lengths=left.clip(max=MOST_STEPS),
        learner=np.repeat(whole.learner, pieces),
        chunk=piece,
    )


def told_apart(sequences: Sequences) -> bool:
    """Whether, of answers on skills that their learners have practised, some are on items that the
    learner has met before and some on others: without both, items and skills are not told apart."""
    rows = rows_of(sequences.starts, sequences.lengths)
    frame = pd.DataFrame({"item": sequences.item[rows], "skill": sequences.skill[rows]})
    frame["history"] = np.repeat(np.arange(len(sequences)), sequences.lengths)
    practised = frame.duplicated(["history", "skill"])
    again = frame.duplicated(["history", "skill", "item"]) & (frame["item"] > 0)
    return bool(REPEATED <= again[practised].mean() <= 1 - REPEATED)


def _fit(
    skeleton: Skeleton,
    difficulty: Difficulty | None,
    train: Sequences,
    seed: int,
    least: int,
    repeats: bool = False,
) -> tuple[Skeleton, Difficulty | None]:
    """Adam on batches of learners; nothing is random but the order of the batches."""
    trained = list(skeleton.parameters())
    if difficulty is not None:
        trained += [difficulty.raw, *([difficulty.repeat] if repeats else [])]
    for p in trained:
        p.requires_grad_(True)
    batches = loader(train, TOKENS, shuffle=True, seed=seed)
    epochs = max(EPOCHS, -(-least // len(batches)))
    optimizer = torch.optim.Adam(trained, RATE)
    total, answers = epochs * len(batches), int(train.lengths.sum())
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda s: one_cycle(s, total))
    with torch.enable_grad():
        for batch in _epochs(batches, epochs):
            terms, valid = _terms(skeleton, difficulty, batch)
            loss = terms[valid].mean() + _penalty(skeleton, answers)
            if difficulty is not None:
                loss = loss + difficulty.prior(batch.items)[valid].mean()
                loss = loss + 0.5 * difficulty.repeat.square().sum() / answers
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    skeleton.requires_grad_(False)
    if difficulty is not None:
        difficulty.repeat.requires_grad_(False)
    optimizer.zero_grad()
    return skeleton, difficulty


def _epochs(batches: torch.utils.data.DataLoader, epochs: int) -> Iterator[Batch]:
    for epoch in range(epochs):
        batches.sampler.set_epoch(epoch)
        yield from batches


def _terms(
    skeleton: Skeleton, difficulty: Difficulty | None, batch: Batch
) -> tuple[Tensor, Tensor]:
    """Log loss of each answer, [B, T], and which are answers."""
    d = None if difficulty is None else difficulty(batch.items)
    responses = torch.where(batch.valid, batch.responses, HIDDEN)
    logits = skeleton.read(batch.skills, responses, d, batch.days).logits
    target = batch.responses.to(logits.dtype)
    return F.binary_cross_entropy_with_logits(logits, target, reduction="none"), batch.valid


def _penalty(skeleton: Skeleton, answers: int) -> Tensor:
    """Minus the logs of the priors, per answer."""
    tables = dict(skeleton.named_parameters())
    penalty = sum(
        0.5 * precision * skeleton.around_mean(tables[name]).square().sum()
        for name, precision in PRECISION.items()
        if name in tables
    )
    if skeleton.raw_transfer is None:
        return penalty / answers
    shares = skeleton.shares()
    return penalty / answers + SPARSITY * (shares.sum() / skeleton.n_skills - 1)


@torch.no_grad()
def _losses(
    skeleton: Skeleton, difficulty: Difficulty | None, valid: Sequences
) -> list[np.ndarray]:
    """Log losses of each learner's answers, all but the first."""
    found: list[np.ndarray] = [np.zeros(0)] * len(valid)
    for batch in loader(valid, TOKENS):
        terms, there = _terms(skeleton, difficulty, batch)
        for row, index in enumerate(batch.index.tolist()):
            found[index] = terms[row, there[row]][1:].double().numpy()
    return found


def _mean(losses: list[np.ndarray]) -> float:
    return float(np.concatenate(losses).mean())


def _better(after: list[np.ndarray], before: list[np.ndarray]) -> bool:
    """Whether losses are lower by more than chance, learners being what varies."""
    gaps = np.array([b.sum() - a.sum() for a, b in zip(after, before, strict=True)])
    return len(gaps) > 1 and bool(gaps.sum() > CLEARLY * gaps.std() * len(gaps) ** 0.5)
