"""Has the trajectory the right shape? Tests on hidden answers, whose trajectory is an offset.

Hidden answers (`kt_core.evaluation.masked.hidden_answers`) are predicted by a logistic regression
that starts from the trajectory and may bend it (docs/method.md, "The measures"):

- *forgetting*: should it sink while a skill is not practised?
- *growth calibration*: should it rise more, or less, from one opportunity to the next, apart from
  what breaks take away?

What the order of practice says about a hidden answer is added to the trajectory first
(`kt_core.evaluation.schedule`): practice often stops *because* answers were right. N rows, J ways
to bend, C skills.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from pandas.api.typing import DataFrameGroupBy
from scipy.optimize import minimize
from scipy.special import expit
from scipy.stats import false_discovery_control, norm, ttest_1samp

from kt_core.evaluation.masked import log_loss
from kt_core.evaluation.schedule import schedule_evidence
from kt_core.metrics.bootstrap import Bootstrap, Estimate, tidy

APART = {"practice": 1.0, "away": 0.1, "days": 0.1}  # prior sd of skills' slopes around the common
CLOCKS = ("away", "days")  # of `_breaks`
BY_TIME, BY_STEPS = "all skills, by time", "all skills, by steps"
COLUMNS = ["skill", "name", "learners", "effect", "saved", "p", "q", "contradicted"]
MINIMUM = 20  # learners who returned to a skill, before it is judged
MISSING_GROWTH = "growth still missing, per unit of log(1 + opportunity)"
BELIEVED_GROWTH = "growth as believed, per unit of log(1 + opportunity)"
STRICT = 0.001  # level of the tests of all skills together


def forgetting(
    frame: pd.DataFrame, names: tuple[str, ...], level: float = 0.05, seed: int = 0
) -> pd.DataFrame:
    """Are hidden answers after a break worse than the trajectory says?

    All skills together: a regression has a slope on log(1 + steps on other skills since the skill
    was last practised), another one on log(1 + days) where answers have times. Beside it the
    trajectory may rise more or less with practice, as in `growth_calibration`: where a model tells
    too little growth, breaks would else look harmless. Tested is whether the slope is below 0, by
    its standard error over learners.

    Single skills: each has a slope on practice and slopes on both kinds of breaks, shrunken towards
    common ones. They are fitted on one half of the learners and judged on the other, and vice
    versa: are hidden answers predicted better than without the slopes on breaks?

    Parameters
    ----------
    frame : of `hidden_answers`, for learners who were not trained on.
    level : of false discoveries among the skills.

    Returns
    -------
    `skill` (-1 for all together); `name`; `learners`; `effect`, the mean change of the logit after
    a break (negative: sinking); `saved`, log loss per answer after a break, without the slopes
    minus with them, fitted on the other half; `p`, one-sided; `q`; `contradicted`. First all skills
    together, by time where it is known and by steps, each judged at 0.001. Then one row per skill
    with at least 20 learners who returned to it, judged on `q` (Benjamini and Hochberg 1995). Empty
    without such a skill.
    """
    frame = _breaks(_practice(_with_offset(frame)))
    timed = "days" in frame and frame["days"].max() > 0
    tests = {"steps": ["away"]} | ({"time": ["days"], "both": ["away", "days"]} if timed else {})
    half = np.random.default_rng(seed).permutation(len(pd.unique(frame["learner"])))
    frame = frame.assign(half=half[pd.factorize(frame["learner"])[0]] % 2)
    parts = []
    for judged in (0, 1):
        part = frame[frame["half"] == judged]
        fit = frame[frame["half"] != judged]
        bound = _Bend.fit(fit, ["practice"], len(names))
        kept = log_loss(part["offset"] + bound.effect(part), part["correct"])
        for name, ways in tests.items():
            bend = _Bend.fit(fit, ["practice", *ways], len(names))
            loss = log_loss(part["offset"] + bend.effect(part), part["correct"])
            found = {name: kept - loss, f"{name} effect": bend.effect(part, ways)}
            part = part.assign(**found)
        parts.append(part)
    every = pd.concat(parts)
    whole = "both" if timed else "steps"
    returns = every[tests[whole]].max(axis=1)
    came_back = returns.groupby([every["learner"], every["skill"]]).transform("max") > 0
    every = every.assign(returned=returns > 0)[came_back]
    table = [
        {"skill": skill, "name": names[skill]} | _judge(part, whole)
        for skill, part in every.groupby("skill")
        if part["learner"].nunique() >= MINIMUM
    ]
    single = pd.DataFrame(table, columns=COLUMNS[:6])
    if single.empty:
        return pd.DataFrame(columns=COLUMNS).astype({"contradicted": bool, "skill": int})
    single["q"] = false_discovery_control(single["p"])
    single = single.assign(contradicted=single["q"] < level)
    together = {BY_TIME: "time", BY_STEPS: "steps"} if timed else {BY_STEPS: "steps"}
    first = [
        {"skill": -1, "name": name} | _judge(every, t) | {"p": _sinks(frame, tests[t][0])}
        for name, t in together.items()
    ]
    first = pd.DataFrame(first)
    first = first.assign(q=first["p"], contradicted=first["p"] < STRICT)
    return pd.concat([first, single.sort_values("p")], ignore_index=True)


def _judge(part: pd.DataFrame, test: str) -> dict[str, float]:
    """Test over learners whether the loss falls if the trajectory may sink."""
    per_learner = part.groupby("learner")[test].sum()
    found = ttest_1samp(per_learner, 0.0, alternative="greater")
    after = part[part["returned"]]
    effect = after.groupby("half")[f"{test} effect"].mean()
    sinks = effect.max() < 0 and np.isfinite(found.pvalue)
    row = {"learners": len(per_learner), "effect": float(effect.mean())}
    return row | {"saved": after[test].mean(), "p": float(found.pvalue) if sinks else 1.0}


def _sinks(frame: pd.DataFrame, clock: str) -> float:
    """One-sided p of a slope below 0 on the length of a break by this clock, for all skills."""
    design = np.column_stack([frame[clock], *_growing(frame)])
    slope, influence = _first_coefficient(frame, design)
    error = np.sqrt((influence**2).sum())
    return float(norm.cdf(slope / error)) if error > 0 else 1.0


def growth_calibration(frame: pd.DataFrame, bootstrap: Bootstrap) -> pd.DataFrame:
    """By how much growth should be larger, in logits: 0 if it is of the right size.

    The regression has an intercept, the mean of log(1 + opportunity) over a learner's answers on
    the skill, and how far the answer is from that mean: the coefficient of the last is reported.
    The mean takes up that learners who practise more are believed to be weaker or stronger than
    they are. Breaks so far on the skill (the sum of log(1 + steps) and, where answers have times,
    of log(1 + days), each from its mean over the learner's answers on the skill) take up what was
    lost meanwhile: growth that fades again would else look as if it had never been.

    Parameters
    ----------
    frame : of `hidden_answers`.

    Returns
    -------
    `quantity`, `value`, `low`, `high`: the coefficient (above 0: growth is understated), and the
    mean growth of the belief on the same scale, for comparison. The interval is by the one-step
    bootstrap: each resample of learners moves the estimate by one Newton step.
    """
    frame = _breaks(_practice(_with_offset(frame)))
    x, gained = frame["practice"].to_numpy(float), frame["gains_before"].to_numpy(float)
    so_far = [_centred(frame, _of_skill(frame)[c].cumsum()) for c in CLOCKS if c in frame]
    so_far = [lost / max(lost.std(ddof=0), 1e-9) for lost in so_far]
    design = np.column_stack([*_growing(frame), *so_far])
    found, influence = _first_coefficient(frame, design, bootstrap.n)
    draws = found + (bootstrap.weights - 1) @ influence
    missing = bootstrap.estimate(draws, len(frame), frame["learner"].nunique())
    believed = Estimate(float(x @ gained / (x @ x)) if x.any() else np.nan)
    table = tidy({MISSING_GROWTH: missing, BELIEVED_GROWTH: believed}, "quantity")
    return table.assign(sees="retrospective, answer hidden")


def _growing(frame: pd.DataFrame) -> list[np.ndarray]:
    """Columns by which the trajectory may be steeper or flatter, and higher or lower."""
    return [frame["practice"].to_numpy(), frame["usual"].to_numpy(), np.ones(len(frame))]


def _first_coefficient(
    frame: pd.DataFrame, design: np.ndarray, learners: int = 0
) -> tuple[float, np.ndarray]:
    """The first coefficient of a logistic regression on top of the trajectory, and how far each
    learner, of at least so many, moves it, [learners]."""
    offset, y = frame["offset"].to_numpy(float), frame["correct"].to_numpy(float)
    prior = np.full(design.shape[1], 1e-6)  # where a column is empty

    def objective(x: np.ndarray) -> tuple[float, np.ndarray]:
        logits = offset + design @ x
        gradient = design.T @ (expit(logits) - y) + prior * x
        return log_loss(logits, y).sum() + 0.5 * (prior * x * x).sum(), gradient

    found = minimize(objective, np.zeros(design.shape[1]), jac=True, method="BFGS").x
    p = expit(offset + design @ found)
    inverse = np.linalg.pinv((design.T * (p * (1 - p))) @ design + np.diag(prior))
    influence = (design @ inverse[0]) * (y - p)
    return float(found[0]), np.bincount(frame["learner"], influence, learners)


def _with_offset(frame: pd.DataFrame) -> pd.DataFrame:
    """Add `offset`: the trajectory's logit, and what the order of practice says."""
    return frame.assign(offset=frame["believed"] + schedule_evidence(frame))


def _practice(frame: pd.DataFrame) -> pd.DataFrame:
    """Add `usual`, the mean of log(1 + opportunity) over a learner's answers on the skill, and
    `practice`, how far the answer is from that mean."""
    n = np.log1p(_of_skill(frame).cumcount())
    away_from_mean = _centred(frame, n)
    return frame.assign(usual=n - away_from_mean, practice=away_from_mean)


def _breaks(frame: pd.DataFrame) -> pd.DataFrame:
    """Add `away`, log(1 + steps on other skills since the last one on this), and `days`, log(1 +
    days) since then."""
    groups = _of_skill(frame)
    elsewhere = (groups["step"].diff() - 1).fillna(0)
    frame = frame.assign(away=np.log1p(elsewhere))
    if "time" in frame:
        passed = groups["time"].diff().fillna(0)
        frame = frame.assign(days=np.log1p(passed.clip(lower=0)))
    return frame


def _of_skill(frame: pd.DataFrame) -> DataFrameGroupBy:
    """A learner's answers on a skill."""
    return frame.groupby(["learner", "skill"], sort=False)


def _centred(frame: pd.DataFrame, values: pd.Series) -> pd.Series:
    """How far values are from their mean over the learner's answers on the skill."""
    return values - values.groupby([frame["learner"], frame["skill"]], sort=False).transform("mean")


@dataclass(frozen=True)
class _Bend:
    """A logistic regression on top of the trajectory, with normal priors.

    Attributes
    ----------
    ways : columns along which the trajectory may bend.
    slope : [C, J], per skill.
    """

    ways: list[str]
    slope: np.ndarray

    @classmethod
    def fit(cls, frame: pd.DataFrame, ways: list[str], skills: int) -> _Bend:
        """Slopes have a common part and, narrower, each skill's distance from it."""
        y, offset = frame["correct"].to_numpy(float), frame["offset"].to_numpy(float)
        x, J = [frame[way].to_numpy(float) for way in ways], len(ways)
        skill = frame["skill"].to_numpy()
        prior = np.append(np.ones(J), np.tile([APART[way] ** -2.0 for way in ways], skills))

        def objective(w: np.ndarray) -> tuple[float, np.ndarray]:
            slope = w[:J] + w[J:].reshape(skills, J)
            bends = (slope[:, j].take(skill) * x[j] for j in range(J))
            logits = sum(bends, start=offset)
            residual = expit(logits) - y
            steep = np.column_stack([np.bincount(skill, residual * z, skills) for z in x])
            loss = log_loss(logits, y).sum() + 0.5 * (prior * w * w).sum()
            return loss, np.concatenate([steep.sum(axis=0), steep.ravel()]) + prior * w

        w = minimize(objective, np.zeros(len(prior)), jac=True, method="L-BFGS-B").x
        return cls(ways, w[:J] + w[J:].reshape(skills, J))

    def effect(self, frame: pd.DataFrame, ways: list[str] | None = None) -> np.ndarray:
        """[N], what bending, or some `ways` of it, does to each answer's logit."""
        chosen = [self.ways.index(way) for way in ways or self.ways]
        x = frame[self.ways].to_numpy(float)[:, chosen]
        return (self.slope[frame["skill"].to_numpy()][:, chosen] * x).sum(axis=1)
