"""What goes beside the verdicts: the table of skills, signs of collapse, recovery of the truth."""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd
from scipy.stats import rankdata
from sklearn.metrics import roc_auc_score

from kt_core.evaluate import Evidence
from kt_core.metrics.association import Association
from kt_core.metrics.bootstrap import Bootstrap, Estimate, tidy


def skill_table(evidence: Evidence, base: np.ndarray, names: tuple[str, ...]) -> pd.DataFrame:
    """Per skill: practice, correctness, AUC, mastery, gains and growth."""
    frame, rows = evidence.frame, evidence.predicted

    def auc(part: pd.DataFrame) -> float:
        if part["correct"].nunique() < 2:
            return np.nan
        return roc_auc_score(part["correct"], part["predicted"])

    per = frame.groupby("skill")
    pairs = frame.groupby(["skill", "learner"])["mastery_post"]
    growth = (pairs.last() - pairs.first()).groupby("skill").mean()
    table = pd.DataFrame(
        {
            "learners": per["learner"].nunique(),
            "answers": per.size(),
            "correct": per["correct"].mean(),
            "correct_train": pd.Series(base).reindex(per.size().index),
            "auc": rows.groupby("skill")[["correct", "predicted"]].apply(auc),
            "mastery": per["mastery_post"].mean(),
            "gain": per["gain"].mean(),
            "growth": growth,
        }
    )
    table.insert(0, "name", [names[i] for i in table.index])
    return table.reset_index().sort_values("answers", ascending=False, ignore_index=True)


def collapse_table(evidence: Evidence) -> pd.DataFrame:
    """Signs that mastery or gains say nothing: no spread, everything at the bounds, no gains."""
    counts, frame = evidence.counts, evidence.frame
    practised = frame.groupby(["sequence", "skill"]).size().index
    final = evidence.final[practised.get_level_values(0), practised.get_level_values(1)]
    skill = practised.get_level_values(1)
    gains = frame.groupby("skill")["gain"].mean()
    entries = counts["entries"].sum()
    values = {
        "spread of mean own gain over skills (sd)": gains.std(),
        "mean own gain": frame["gain"].mean(),
        "spread of final mastery over learners, mean over skills (sd)": pd.Series(final)
        .groupby(skill)
        .std()
        .mean(),
        "mean final mastery of practised skills": final.mean(),
        "share of mastery at the bounds, all skills": counts["at_bounds"].sum() / entries,
        "share of gains exactly zero, all skills": counts["zero_gains"].sum() / entries,
        "share of own gains exactly zero": (frame["gain"] == 0).mean(),
    }
    return pd.DataFrame({"quantity": list(values), "value": [float(v) for v in values.values()]})


def recovery_table(evidence: Evidence, bootstrap: Bootstrap) -> pd.DataFrame:
    """Simulated learners only: mastery and growth against the truth; empty otherwise.

    Rank correlations are Pearson's on ranks over the whole split, so that resampling learners
    does not rank again. Growth is mastery after the last minus after the first opportunity.
    """
    frame = evidence.frame
    if "true_mastery" not in frame:
        return pd.DataFrame()
    pairs = frame.groupby(["learner", "skill"])
    both = pairs[["mastery_post", "true_mastery"]]
    growth = (both.last() - both.first())[pairs.size() >= 2].reset_index()
    squared = (frame["mastery_post"] - frame["true_mastery"]) ** 2
    n = bootstrap.n
    total, count = (np.bincount(frame["learner"], w, n) for w in (squared, np.ones(len(frame))))
    mse = (bootstrap.weights @ total) / (bootstrap.weights @ count)
    sums = [np.bincount(growth["learner"], growth[c], n) for c in ("mastery_post", "true_mastery")]
    estimates = {
        "mastery, rank correlation": _rank_correlation(frame, bootstrap),
        "mastery, RMSE": bootstrap.estimate(np.sqrt(mse), len(frame), n),
        "growth, rank correlation": _rank_correlation(growth, bootstrap),
        "growth, mean of the model": bootstrap.ratio(
            sums[0], np.bincount(growth["learner"], minlength=n).astype(float)
        ),
        "growth, mean of the truth": bootstrap.ratio(
            sums[1], np.bincount(growth["learner"], minlength=n).astype(float)
        ),
        "growth, model by truth": dataclasses.replace(
            bootstrap.ratio(sums[0], sums[1]), entries=len(growth)
        ),
    }
    return tidy(estimates, "quantity")


def _rank_correlation(table: pd.DataFrame, bootstrap: Bootstrap) -> Estimate:
    x, y = rankdata(table["mastery_post"]), rankdata(table["true_mastery"])
    learner, skill = table["learner"].to_numpy(), table["skill"].to_numpy()
    return Association(x, y, learner, skill, bootstrap).estimate("pooled")
