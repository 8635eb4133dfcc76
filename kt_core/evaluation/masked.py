"""Tests with answers that are hidden from the belief: are gains needed, and is anything forgotten?

Each answer of a split is hidden once: the split is read K times, each time with another K-th of
every history hidden from the encoder. The belief at the end of the history, from the remaining
answers, then predicts the hidden ones. The trajectory at that horizon is a fixed curve through the
whole history, so the hidden answers judge its shape (docs/method.md, "The measures"):

- *gain necessity*: with the gains as they are, without them, flat at their mean level, and shuffled
  in time;
- *forgetting*: with the trajectory as it is, and allowed to sink while a skill is not practised.

Only mode `retrospective` has a belief from which answers can be hidden.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import torch
from scipy.optimize import minimize
from scipy.special import expit
from scipy.stats import false_discovery_control, ttest_1samp
from torch import Tensor

from kt_core.base.devices import for_reading
from kt_core.base.errors import KTError
from kt_core.data import Batch, SequenceDataset, Sequences
from kt_core.data.batches import LengthBuckets, reading_tokens
from kt_core.mastery import same_skill
from kt_core.metrics.bootstrap import Bootstrap, tidy
from kt_core.model import HIDDEN, GainAKT2

FOLDS = 5  # K: each pass hides one answer in five
RUN_END = 3  # places at the end of a run of practice that have their own offset
APART = 0.1  # prior sd of skills' slopes around the common one, in the forgetting test
TOGETHER = "all skills together"
MINIMUM = 20  # learners who returned to a skill, before it is judged


@torch.no_grad()
def hidden_answers(model: GainAKT2, sequences: Sequences, seed: int = 0) -> pd.DataFrame:
    """Every answer, with what the trajectory says about it when the belief has not seen it.

    Returns
    -------
    One row per interaction: `learner`, `skill`, `step`, `correct`, `believed` (logit as believed at
    the end), and the part of it due to gains before the step: `gains_before` as it is, `flat` (its
    mean over the learner's steps on the skill) and `shuffled` (gains in random order of the steps).

    Raises
    ------
    KTError
        For a model of another mode.
    """
    if not model.on_path:
        raise KTError(f"mode {model.config.mode!r} has no belief that an answer can be hidden from")
    whole = sequences.whole()
    fold = _folds(whole, seed)
    # Drawn per answer, not per batch: batches have other sizes on other machines.
    order = np.random.default_rng((seed, 1)).random((FOLDS, whole.interactions), np.float32)
    columns = {
        name: np.full(whole.interactions, np.nan)
        for name in ("believed", "gains_before", "flat", "shuffled")
    }
    data = SequenceDataset(whole)
    with for_reading(model) as device:
        for chosen in LengthBuckets(whole.lengths, reading_tokens(device), shuffle=False):
            batch = data[chosen]
            at, valid = _places(whole, batch), batch.valid
            batch = batch.to(device)
            for number in range(FOLDS):
                now = torch.zeros(valid.shape, dtype=torch.bool)
                now[valid] = torch.from_numpy(fold[at] == number)
                key = torch.full(valid.shape, 2.0)  # padding comes last
                key[valid] = torch.from_numpy(order[number, at])
                values = _read(model, batch, now.to(device), key.to(device))
                rows = at[now[valid].numpy()]
                for name, value in values.items():
                    columns[name][rows] = value.cpu()[now].double().numpy()
    number = np.repeat(np.arange(len(whole)), whole.lengths)
    return pd.DataFrame(
        {
            "learner": whole.learner[number],
            "skill": whole.skill,
            "step": np.arange(whole.interactions) - whole.starts[number],
            "correct": whole.response,
            **columns,
        }
    )


def gain_necessity(frame: pd.DataFrame, bootstrap: Bootstrap) -> pd.DataFrame:
    """Log loss of hidden answers with the gains as they are, and what changed gains add to it.

    Returns
    -------
    `quantity`, `value`, `low`, `high`: the log loss, and the differences without gains, flat, and
    shuffled. A difference above 0 means that the gains carry information.
    """
    base = _loss(frame["believed"], frame["correct"])
    learner = frame["learner"].to_numpy()
    own = bootstrap.row_mean(base, learner, (0, np.inf))
    estimates = {"log loss, gains as they are": own}
    start = frame["believed"] - frame["gains_before"]
    for name, gains_before in (
        ("no gains, minus as they are", 0.0),
        ("flat at the same level, minus as they are", frame["flat"]),
        ("shuffled in time, minus as they are", frame["shuffled"]),
    ):
        more = _loss(start + gains_before, frame["correct"]) - base
        estimates[name] = bootstrap.row_mean(more, learner)
    return tidy(estimates, "quantity").assign(sees="retrospective, answer hidden")


def forgetting(
    frame: pd.DataFrame, names: tuple[str, ...], level: float = 0.05, seed: int = 0
) -> pd.DataFrame:
    """Per skill: are hidden answers predicted better if the trajectory may sink during breaks?

    The trajectory's logit is an offset. Each skill has a slope on log(1 + steps since the skill was
    last practised), shrunken towards a common one. With the constraint the slopes are 0; without it
    they are fitted on one half of the learners and judged on the other, and vice versa. As practice
    often stops *because* answers were right, the last places of a run of practice have their own
    offsets in both.

    Parameters
    ----------
    frame : of `hidden_answers`, for learners who were not trained on.

    Returns
    -------
    A first row for all skills together, which describes and is not judged: with so many answers,
    the traces of a stopping rule are enough for a small p. Then one row per skill with at least 20
    learners who returned to it: `slope` (negative: sinking), `saved` (log loss per answer after a
    break, with minus without the constraint), `p` (one-sided t test over learners), `q`
    (Benjamini and Hochberg 1995, over the skills), `contradicted`. Empty without such a skill.
    """
    frame = _breaks(frame)
    learners = frame["learner"].max() + 1 if len(frame) else 0
    half = np.random.default_rng(seed).permutation(learners)[frame["learner"]] % 2
    parts, slopes = [], []
    for judged in (0, 1):
        fit, part = frame[half != judged], frame[half == judged]
        bound, _ = _fit_slopes(fit.assign(away=0.0), len(names))
        places, slope = _fit_slopes(fit, len(names))
        kept = part["believed"].to_numpy() + _end_effect(part, bound)
        sunk = part["believed"].to_numpy() + _end_effect(part, places)
        sunk = sunk + slope[part["skill"]] * part["away"].to_numpy()
        saved = _loss(kept, part["correct"]) - _loss(sunk, part["correct"])
        parts.append(part.assign(saved=saved))
        slopes.append(slope)
    every = pd.concat(parts)
    came_back = every.groupby(["learner", "skill"])["away"].transform("max") > 0
    table = []
    for skill, part in every[came_back].groupby("skill"):
        if part["learner"].nunique() >= MINIMUM:
            own = [s[skill] for s in slopes]
            table.append({"skill": skill, "name": names[skill]} | _judge(part, own))
    columns = ["skill", "name", "learners", "slope", "saved", "p"]
    result = pd.DataFrame(table, columns=columns)
    if result.empty:
        return result.assign(q=[], contradicted=pd.Series(dtype=bool))
    result["q"] = false_discovery_control(result["p"])
    result = result.sort_values("p", ignore_index=True)
    together = _judge(every[came_back], [s.mean() for s in slopes])
    first = pd.DataFrame([{"skill": -1, "name": TOGETHER} | together]).assign(q=together["p"])
    result = pd.concat([first, result], ignore_index=True)
    result["contradicted"] = (result["q"] < level) & (result["skill"] >= 0)
    return result


def _judge(part: pd.DataFrame, slopes: list[float]) -> dict[str, float]:
    """Test over learners whether the loss falls if the trajectory may sink."""
    per_learner = part.groupby("learner")["saved"].sum()
    test = ttest_1samp(per_learner, 0.0, alternative="greater")
    sinks = max(slopes) < 0 and np.isfinite(test.pvalue)
    after = part.loc[part["away"] > 0, "saved"]
    row = {"learners": len(per_learner), "slope": float(np.mean(slopes)), "saved": after.mean()}
    return row | {"p": float(test.pvalue) if sinks else 1.0}


def _folds(whole: Sequences, seed: int) -> np.ndarray:
    """[N], the pass in which each answer is hidden: a random order within every K neighbours."""
    rng = np.random.default_rng(seed)
    blocks = -(-whole.interactions // FOLDS)
    order = rng.permuted(np.tile(np.arange(FOLDS), (blocks, 1)), axis=1)
    return order.ravel()[: whole.interactions]


def _places(whole: Sequences, batch: Batch) -> np.ndarray:
    starts = torch.from_numpy(whole.starts[batch.index.numpy()])
    at = starts[:, None] + torch.arange(batch.valid.shape[1])
    return at[batch.valid].numpy()


def _read(model: GainAKT2, batch: Batch, hidden: Tensor, key: Tensor) -> dict[str, Tensor]:
    q, valid = batch.skills, batch.valid
    context, value, d = model.encode(q, torch.where(hidden, HIDDEN, batch.responses), batch.items)
    path = model.heads.terms(context, value, q, d, every_pair=False)
    mixed = path.gains.gather(1, key.argsort(1))
    return {
        "believed": path.at(valid.sum(1) - 1),
        "gains_before": path.gains_before,
        "flat": _mean_on_skill(path.gains_before, q, valid),
        "shuffled": model.heads.contributions(mixed, q).sum(-1),
    }


def _mean_on_skill(values: Tensor, skills: Tensor, valid: Tensor) -> Tensor:
    """[B, T], mean over the steps of the same sequence and skill."""
    same = (same_skill(skills) & valid.unsqueeze(1)).to(values.dtype)
    return (same @ values.unsqueeze(-1)).squeeze(-1) / same.sum(-1).clamp(min=1)


def _breaks(frame: pd.DataFrame) -> pd.DataFrame:
    """Add `away`, log(1 + steps on other skills since the last one on this), and `left`, the number
    of steps until the run of practice on the skill ends."""
    groups = frame.groupby(["learner", "skill"], sort=False)["step"]
    elsewhere = (groups.diff() - 1).fillna(0)
    leaves = (-groups.diff(-1)).fillna(np.inf) > 1
    following = frame["learner"].shift(-1) == frame["learner"]
    leaves &= following  # the end of a history is not a stop
    run = frame["skill"].ne(frame["skill"].shift()) | ~frame["learner"].eq(frame["learner"].shift())
    run = run.cumsum()
    left = frame.groupby(run).cumcount(ascending=False)
    stopped = leaves.groupby(run).transform("last")
    return frame.assign(away=np.log1p(elsewhere), left=left.where(stopped, RUN_END))


def _end_effect(frame: pd.DataFrame, places: np.ndarray) -> np.ndarray:
    return np.append(places, 0.0)[frame["left"].clip(upper=RUN_END).astype(int)]


def _fit_slopes(frame: pd.DataFrame, skills: int) -> tuple[np.ndarray, np.ndarray]:
    """Offsets of the last places of a run, [3], and slopes per skill, [C].

    A logistic regression with the trajectory's logit as offset, and normal priors on the offsets,
    on a slope common to all skills and, narrower, on each skill's distance from it.
    """
    y, offset = frame["correct"].to_numpy(float), frame["believed"].to_numpy()
    away, skill = frame["away"].to_numpy(), frame["skill"].to_numpy()
    place = frame["left"].clip(upper=RUN_END).astype(int).to_numpy()
    prior = np.append(np.ones(RUN_END + 1), np.full(skills, APART**-2.0))

    def objective(x: np.ndarray) -> tuple[float, np.ndarray]:
        slope = x[RUN_END] + x[RUN_END + 1 :]
        logits = offset + np.append(x[:RUN_END], 0.0)[place] + slope[skill] * away
        residual = expit(logits) - y
        steep = np.bincount(skill, residual * away, skills)
        ends = np.bincount(place, residual, RUN_END + 1)[:RUN_END]
        loss = _loss(logits, y).sum() + 0.5 * (prior * x * x).sum()
        return loss, np.concatenate([ends, [steep.sum()], steep]) + prior * x

    start = np.zeros(RUN_END + 1 + skills)
    x = minimize(objective, start, jac=True, method="L-BFGS-B").x
    return x[:RUN_END], x[RUN_END] + x[RUN_END + 1 :]


def _loss(logits: np.ndarray, correct: np.ndarray) -> np.ndarray:
    logits = np.asarray(logits, float)
    return np.logaddexp(0.0, logits) - np.asarray(correct) * logits
