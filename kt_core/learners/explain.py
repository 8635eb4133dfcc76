"""Why this prediction? The logit of modes `retrospective` and `retentive`, decomposed.

    logit = skill + ability + start on the skill + gains so far - what was forgotten of them
            + network + form - item difficulty + item met before,

and nothing else, so that the parts sum to the logit (docs/method.md, "The modes"). The first
five are the psychometric skeleton's; gains are given one by one. Mastery is all but form and the
two of the item. What the network knows is a black box of all answers so far; `Measures.conduct` has
the shares of the logit's variance that gains, network and form account for.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import torch
from scipy.special import expit

from kt_core.base.errors import KTError
from kt_core.base.values import convert
from kt_core.data import Sequences, Vocabulary
from kt_core.data.batches import days
from kt_core.mastery import PathTerms
from kt_core.model import GainAKT2


@torch.no_grad()
def explain(
    model: GainAKT2, sequences: Sequences, vocabulary: Vocabulary, learner: str, step: int
) -> pd.DataFrame:
    """The parts of the prediction of one answer.

    Parameters
    ----------
    learner : id, as in the data.
    step : of the learner's whole history, from 1; the first answer is not predicted.

    Returns
    -------
    One row per part, in order: `part` (skill; ability; start on the skill; gain; transferred gain;
    forgotten, of all gains, in `retentive` only; network; form; item difficulty; item met before,
    where the learner has met it and that matters), `step` (0 if it has none), `skill`, `correct`,
    and `logit`, the part's contribution. The parts of skeleton and item are shrunk by the factor
    `shrink`, as they are uncertain. All parts sum to the predicted logit, which ``frame.attrs``
    holds as `logit`, with `shrink`, `probability` and `mastery`.

    Raises
    ------
    KTError
        For another mode, an unknown learner, or a step that is not predicted.

    Examples
    --------
    >>> model = kt.demo()
    >>> given = model.run.model, model.splits.test, model.run.vocabulary
    >>> parts = explain(*given, model.splits.test.learners[4], step=20)
    >>> parts["part"].iloc[-1]
    'item difficulty'
    """
    if not model.on_path:
        raise KTError(
            f"mode {model.config.mode!r}: its predictions do not decompose; train `retrospective` "
            "or `retentive`"
        )
    whole, rows = history(sequences, learner)
    # Narrower types where they come from disk.
    q, r, i = (x[rows].astype(np.int64) for x in (whole.skill, whole.response, whole.item))
    step = convert("step", step, int)
    if len(q) < 2:
        raise KTError(f"learner {learner!r} has one answer, and the first is never predicted")
    if not 2 <= step <= len(q):
        raise KTError(f"step {step}: learner {learner!r} has predicted answers 2 to {len(q)}")
    model.eval()
    q, r, i, at = (x[:step] for x in (q, r, i, rows))  # later answers play no role
    skills, responses, items = (torch.from_numpy(x)[None] for x in (q, r, i))
    encoded = model.encode(skills, responses, items, days(whole, at[None]))
    t, asked, name = step - 1, q[step - 1], vocabulary.skills
    path, reading = PathTerms(model.heads, encoded), encoded.reading
    level = reading.before()
    reach = reading.skeleton.reach(skills)[0, t, :t]
    added = (level.factor[0, t] * reach * reading.gains[0, :t]).numpy()
    left = (level.factor * reading.practice)[0, t].item()
    logit, form = (x[0, t - 1].item() for x in (path.next_step(), path.form()))
    network = model.heads.corrections_before(encoded)[0, t - 1].item()
    difficulty = (level.shrink * reading.difficulty)[0, t].item()
    parts = [
        (part, 0, name[asked], np.nan, value[0, t].item())
        for part, value in (
            ("skill", level.offset),
            ("ability", level.ability),
            ("start on the skill", level.start),
        )
    ]
    for u in np.flatnonzero(added):
        kind = "gain" if q[u] == asked else "transferred gain"
        parts.append((kind, u + 1, name[q[u]], float(r[u]), float(added[u])))
    if reading.fades is not None:
        parts.append(("forgotten", 0, name[asked], np.nan, left - float(added.sum())))
    parts += [("network", 0, name[asked], np.nan, network), ("form", 0, name[asked], np.nan, form)]
    if model.difficulty is not None:
        first = (level.shrink[0, t] * model.difficulty.table()[i[t]]).item()  # as if never met
        parts.append(("item difficulty", step, name[asked], np.nan, -first))
        if easier := first - difficulty:
            parts.append(("item met before", step, name[asked], np.nan, easier))
    frame = pd.DataFrame(parts, columns=["part", "step", "skill", "correct", "logit"])
    frame.attrs = {
        "learner": str(learner),
        "step": step,
        "asked": name[asked],
        "answer": int(r[t]),
        "logit": logit,
        "probability": float(expit(logit)),
        "mastery": float(expit(logit + difficulty - form)),
        "shrink": level.shrink[0, t].item(),
    }
    return frame


def history(sequences: Sequences, learner: str) -> tuple[Sequences, np.ndarray]:
    """Whole histories, and the rows of one learner's.

    Raises
    ------
    KTError
        For an unknown learner.
    """
    whole = sequences.whole()
    number = np.flatnonzero(sequences.learners.astype(str) == str(learner))
    at = np.flatnonzero(whole.learner == number[0]) if len(number) else number
    if len(at) == 0:
        raise KTError(f"learner {learner!r} is not in this split")
    return whole, whole.starts[at[0]] + np.arange(whole.lengths[at[0]])
