"""Measures that describe and are not judged: skills, signs of collapse, conduct."""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd
from scipy.special import logit
from sklearn.metrics import roc_auc_score

from kt_core.evaluation.beliefs import Beliefs, believed_last
from kt_core.evaluation.own import own_measures
from kt_core.evaluation.tracer import from_mastery
from kt_core.metrics.bootstrap import TINY, Bootstrap, Estimate
from kt_core.metrics.prediction import Prediction


def skill_table(beliefs: Beliefs, base: np.ndarray, names: tuple[str, ...]) -> pd.DataFrame:
    """Per skill: practice, correctness, AUC and, where known, mastery, gains and growth.

    Growth is mastery after a learner's last opportunity minus that after the first, along the
    trajectory as believed at the learner's last step.
    """
    frame, rows = beliefs.frame, beliefs.predicted

    def auc(part: pd.DataFrame) -> float:
        if part["correct"].nunique() < 2:
            return np.nan
        return roc_auc_score(part["correct"], part["predicted"])

    per = frame.groupby("skill")
    columns = {
        "learners": per["learner"].nunique(),
        "answers": per.size(),
        "correct": per["correct"].mean(),
        "correct_train": pd.Series(base).reindex(per.size().index),
    }
    if len(rows):
        columns["auc"] = rows.groupby("skill")[["correct", "predicted"]].apply(auc)
    final = believed_last(frame)
    if final:
        pairs = frame.groupby(["skill", "learner"])[final]
        columns["mastery"] = per[final].mean()
        if final != "mastery_pre":
            columns["growth"] = (pairs.last() - pairs.first()).groupby("skill").mean()
    if beliefs.has("gain"):
        columns["gain"] = per["gain"].mean()
    table = pd.DataFrame(columns)
    table.insert(0, "name", [names[i] for i in table.index])
    return table.reset_index().sort_values("answers", ascending=False, ignore_index=True)


def collapse_table(beliefs: Beliefs) -> pd.DataFrame:
    """Signs that mastery or gains carry nothing: no spread, everything at a bound, no gains."""
    counts, frame, values = beliefs.counts, beliefs.frame, {}
    if beliefs.has("gain"):
        gains = frame.groupby("skill")["gain"].mean()
        values["spread of mean own gain over skills (sd)"] = gains.std()
        values["mean own gain"] = frame["gain"].mean()
        values["share of own gains exactly zero"] = (frame["gain"] == 0).mean()
    if beliefs.final is not None:
        practised = frame.groupby(["sequence", "skill"]).size().index
        sequence, skill = practised.get_level_values(0), practised.get_level_values(1)
        final = pd.Series(beliefs.final[sequence, skill])
        spread = final.groupby(skill).std().mean()
        values["spread of final mastery over learners, mean over skills (sd)"] = spread
        values["mean final mastery of practised skills"] = final.mean()
    if counts is not None:
        entries = counts["entries"].sum()
        at_bounds, zero = counts["at_bounds"].sum(), counts["zero_gains"].sum()
        values["share of mastery at the bounds, all skills"] = at_bounds / entries
        values["share of gains exactly zero, all skills"] = zero / entries
    return pd.DataFrame({"quantity": list(values), "value": [float(v) for v in values.values()]})


def conduct_table(beliefs: Beliefs, bootstrap: Bootstrap) -> pd.DataFrame:
    """How far predictions depend on mastery, what an answer does to it, how far beliefs move.

    - AUC of predictions from mastery (and item difficulty) alone, and the cost in AUC;
    - share of steps at which a right answer would have left mastery lower than a wrong one;
    - shares of the variance of the predicted logit that past gains account for, what only the
      network knows, and form (the rest is skill, ability, start and item);
    - mean size of the revision of the belief about the start by an answer on the skill;
    - the measures that a user has registered.
    """
    rows, frame = beliefs.predicted, beliefs.frame
    table = []

    def add(quantity: str, sees: str, e: Estimate) -> None:
        table.append({"quantity": quantity, "sees": sees, **dataclasses.asdict(e)})

    if len(rows) and beliefs.has("mastery_pre"):
        answers = (rows["correct"].to_numpy(), rows["learner"].to_numpy(), bootstrap)
        own = Prediction(rows["predicted"], *answers).auc()
        path = from_mastery(rows["mastery_pre"].to_numpy(), rows.get("difficulty"))
        path = Prediction(path, *answers).auc()
        size = (len(rows), rows["learner"].nunique())
        add("AUC of predictions from mastery alone", "pre", bootstrap.estimate(path, *size))
        add("what that costs in AUC", "pre", bootstrap.estimate(own - path, *size))
    if beliefs.has("flip"):
        flip, learner = frame["flip"], frame["learner"]
        lowered = bootstrap.row_mean(flip < 0, learner, (0, 1))
        add("a right answer would lower mastery (share)", "intervention", lowered)
        effect = bootstrap.row_mean(flip, learner, (-1, 1))
        add("mean effect of right against wrong", "intervention", effect)
    if beliefs.has("gains_before"):
        for column, whose in (
            ("gains_before", "gains'"),
            ("network", "network's"),
            ("form", "form's"),
        ):
            if beliefs.has(column):
                share = share_of_variance(rows, column, bootstrap)
                add(f"{whose} share of the logit's variance", "pre", share)
        seen = frame[frame["revision"].notna()]
        size = bootstrap.row_mean(seen["revision"].abs(), seen["learner"], (0, np.inf))
        add("mean revision of the belief about the start (logits)", "post", size)
    for name, sees, mean in own_measures(frame, bootstrap):
        add(name, sees, mean)
    return pd.DataFrame(table)


def share_of_variance(rows: pd.DataFrame, column: str, bootstrap: Bootstrap) -> Estimate:
    """Which share of the variance of the predicted logit one of its parts accounts for."""
    part = rows[column].to_numpy(float)
    level = np.clip(logit(rows["predicted"].to_numpy(float)), -30, 30)
    if len(rows):
        level = level - level.mean()  # so that sums of squares stay accurate
    learner, n = rows["learner"].to_numpy(), bootstrap.n
    terms = (np.ones_like(level), part, level, part * level, level * level)
    parts = np.stack([np.bincount(learner, t, n) for t in terms])
    with np.errstate(invalid="ignore", divide="ignore"):
        count, g, v, gv, vv = parts @ bootstrap.weights.T
        g, v = g / count, v / count
        varied = vv - count * v * v
        varied = np.where(varied > TINY * vv, varied, np.nan)  # rounding is not variance
        share = (gv - count * g * v) / varied
        by_sums = (g - share * v) * v, -v, 2 * share * v - g, np.ones_like(share), -share
        errors = bootstrap.errors(np.column_stack(by_sums) / varied[:, None], parts)
    return bootstrap.estimate(share, len(rows), rows["learner"].nunique(), errors)
