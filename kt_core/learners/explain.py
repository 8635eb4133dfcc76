"""Why this prediction? The logit of mode `retrospective`, decomposed.

    logit = belief about the start + gains on the skill so far - item difficulty,

and nothing else, so that the parts sum to the logit (docs/method.md, "The three modes"). The part
of the belief that comes from earlier answers on the skill is given answer by answer. The rest is
read from the present state, a black box of all answers so far, and so is the size of each answer's
part. `Measures.conduct` has the share of the logit's variance that the gains account for.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import torch

from kt_core.base.errors import KTError
from kt_core.base.values import convert
from kt_core.data import Sequences, Vocabulary
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
    One row per part, in order: `part` (starting belief; starting belief, evidence; gain;
    transferred gain; item difficulty), `step` (0 if it has none), `skill`, `correct`, and `logit`,
    the part's contribution. The first two kinds together are the belief about the start: what is
    read from the present state, and the evidence of each answer on the skill. The parts sum to the
    predicted logit, which ``frame.attrs`` holds as `logit`, with `probability` and `mastery`.

    Raises
    ------
    KTError
        For another mode, an unknown learner, or a step that is not predicted.
    """
    if not model.on_path:
        raise KTError(
            f"mode {model.config.mode!r}: its predictions do not decompose; train `retrospective`"
        )
    q, r, i = history(sequences, learner)
    step = convert("step", step, int)
    if not 2 <= step <= len(q):
        raise KTError(f"step {step}: learner {learner!r} has predicted answers 2 to {len(q)}")
    model.eval()
    q, r, i = (x[:step] for x in (q, r, i))  # later answers play no role
    skills, responses, items = (torch.from_numpy(x)[None] for x in (q, r, i))
    context, value, d = model.encode(skills, responses, items)
    path = model.heads.terms(context, value, skills, d, every_pair=False)
    t, asked = step - 1, q[step - 1]
    added = model.heads.contributions(path.gains, skills)[0, t, :t].numpy()
    known = (x[:, :t] for x in (context, skills, path.gains_before))
    evidence = model.heads.evidence_shares(*known, int(asked))[0].numpy()
    start = model.heads.belief(context[0, t - 1])[asked].item()
    difficulty = path.difficulty[0, t].item()
    logit = path.next_step()[0, t - 1].item()
    name = vocabulary.skills
    parts = [("starting belief", 0, name[asked], np.nan, start)]
    for u in np.flatnonzero(evidence):
        kind = "starting belief, evidence"
        parts.append((kind, u + 1, name[q[u]], float(r[u]), float(evidence[u])))
    for u in np.flatnonzero(added):
        kind = "gain" if q[u] == asked else "transferred gain"
        parts.append((kind, u + 1, name[q[u]], float(r[u]), float(added[u])))
    if model.difficulty is not None:
        parts.append(("item difficulty", step, name[asked], np.nan, -difficulty))
    frame = pd.DataFrame(parts, columns=["part", "step", "skill", "correct", "logit"])
    frame.attrs = {
        "learner": str(learner),
        "step": step,
        "asked": name[asked],
        "answer": int(r[t]),
        "logit": logit,
        "probability": _sigmoid(logit),
        "mastery": _sigmoid(logit + difficulty),
    }
    return frame


def history(sequences: Sequences, learner: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Skills, responses and items of a learner's whole history, each [T].

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
    rows = slice(whole.starts[at[0]], whole.starts[at[0]] + whole.lengths[at[0]])
    columns = (whole.skill, whole.response, whole.item)  # narrower where they come from disk
    return tuple(column[rows].astype(np.int64) for column in columns)


def _sigmoid(x: float) -> float:
    return float(1 / (1 + np.exp(-x)))
