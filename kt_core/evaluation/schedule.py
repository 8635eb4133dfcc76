"""What the order of practice says about an answer that is hidden.

Learners, or their tutor, go on to another skill *because* answers were right, or stop altogether
because they were wrong. A hidden answer then shows in what came after it: an answer without which a
run of practice would not have ended was right. A belief that has not seen the answer must not be
blamed for missing that. `schedule_evidence` is what the order adds, by Bayes' rule:

    log-odds given all but the answer = log-odds believed + log P(order | right) / P(order | wrong).

What learners do after an answer (stay on the skill, leave it, end) is counted, as a function of
how many answers were right or wrong in a row and of the place in the run of practice; for each
learner on other learners, so that an answer does not testify for itself.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

STREAK = 4  # right or wrong answers in a row that are told apart
PLACES = 16  # places in a run of practice that are told apart
AHEAD = 12  # answers after the hidden one in whose streak it can take part
# Answers that a streak's choices must outweigh to differ from those of its place; the prior under
# which each half of the learners predicts the choices of the other best.
PRIORS = (1.0, 10.0, 100.0, 1e3, 1e5)
STAY, LEAVE, END = range(3)


def schedule_evidence(frame: pd.DataFrame) -> np.ndarray:
    """Log-likelihood ratio of what a learner did after an answer, had it been right against wrong.

    Parameters
    ----------
    frame : rows in order within a learner, with `learner`, `skill` and `correct` [N].

    Returns
    -------
    [N], 0 on average where the order of practice does not depend on answers.
    """
    learner, skill = frame["learner"].to_numpy(), frame["skill"].to_numpy()
    right = frame["correct"].to_numpy() == 1
    N = len(frame)
    last = np.append(learner[1:] != learner[:-1], True)[:N]
    new = np.append(True, (learner[1:] != learner[:-1]) | (skill[1:] != skill[:-1]))[:N]
    run = np.cumsum(new) - 1
    start = np.flatnonzero(new)
    place = np.arange(N) - start[run]
    does = np.where(last, END, np.where(np.append(new[1:], True)[:N], LEAVE, STAY))
    streak = _streaks(right, new)
    # Two halves of the learners; each is judged by the table of the other.
    half, at = learner % 2, (_bin(streak), place.clip(max=PLACES - 1))
    counts = np.zeros((2, 2 * STREAK + 1, PLACES, 3))
    np.add.at(counts, (1 - half, *at, does), 1.0)
    tables = max(
        (_chances(counts, prior) for prior in PRIORS), key=lambda t: _likelihood(t, counts)
    )

    earlier = np.where(new, 0, np.append(0, streak[:-1])[:N])
    if_right, if_wrong = np.maximum(earlier, 0) + 1, np.minimum(earlier, 0) - 1
    evidence = np.zeros(N)
    same, at = np.ones(N, bool), np.arange(N)
    kind = np.zeros(N, int)  # of the answers since: +1 all right, -1 all wrong
    for ahead in range(AHEAD + 1):
        if ahead:
            at = np.minimum(at + 1, N - 1)
            answer = np.where(right[at], 1, -1)
            same = same & (np.arange(N) + ahead < N) & (run[at] == run)
            same &= (ahead == 1) | (answer == kind)
            kind = answer
            one = np.where(kind > 0, if_right + ahead, -ahead)
            other = np.where(kind > 0, ahead, if_wrong - ahead)
        else:
            one, other = if_right, if_wrong
        here = np.flatnonzero(same)
        now = place[at[here]].clip(max=PLACES - 1), does[at[here]]
        chances = (tables[half[here], _bin(s[here]), *now] for s in (one, other))
        evidence[here] += np.subtract(*map(np.log, chances))
    return evidence


def _streaks(right: np.ndarray, new: np.ndarray) -> np.ndarray:
    """[N], answers of the same kind in a row up to each, within a run: positive where right."""
    changed = new | np.append(True, right[1:] != right[:-1])[: len(right)]
    start = np.flatnonzero(changed)
    length = np.arange(len(right)) - start[np.cumsum(changed) - 1] + 1
    return np.where(right, length, -length)


def _bin(streak: np.ndarray) -> np.ndarray:
    return np.clip(streak, -STREAK, STREAK) + STREAK


def _chances(counts: np.ndarray, prior: float) -> np.ndarray:
    """[2, streaks, places, 3], chance of each choice, shrunken towards that of the place."""
    usual = counts.sum(axis=1, keepdims=True) + 1.0
    table = counts + prior * usual / usual.sum(axis=-1, keepdims=True)
    return table / table.sum(axis=-1, keepdims=True)


def _likelihood(table: np.ndarray, counts: np.ndarray) -> float:
    """Log-likelihood of each half's choices under the other's chances."""
    return float((counts[::-1] * np.log(table)).sum())
