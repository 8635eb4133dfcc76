"""How often "stuck" and "ready" are right: `standing` held against the truth of simulated learners.

A page that calls learners stuck owes its reader how often that is so. The truth of stuck: true
mastery after the last answer is below 0.5, and has grown by less than 0.1 since the first answer on
the skill. The truth of ready: it is above 0.8. `benchmarks/stuck_and_ready.py` makes the table that
the pages cite.
"""

from __future__ import annotations

import pandas as pd

from kt_core.data import Dataset
from kt_core.data.simulate import final_mastery
from kt_core.evaluation.beliefs import ends
from kt_core.learners.predict import believed
from kt_core.learners.standing import MINIMUM, READY, STILL, WEAK, standing
from kt_core.metrics.bootstrap import Bootstrap
from kt_core.runs.run import Run

SAID = ("stuck", "ready")


def held(run: Run, dataset: Dataset) -> pd.DataFrame:
    """What a run says of simulated learners, next to the truth.

    Parameters
    ----------
    dataset : whole histories of simulated learners, with their simulation.

    Returns
    -------
    One row per learner and skill with at least 8 answers, by their numbers: `learner`, `skill`,
    `verdict`, `mastery` and `growth` (true), and `stuck` and `ready`, whether they truly are.
    """
    beliefs = believed(run, dataset)
    first, _ = ends(beliefs.told)
    table = standing(beliefs, run.uncertainty)[["learner", "skill", "answers", "verdict"]]
    users = pd.Index(beliefs.learners)[table["learner"]]
    skills = pd.Index(run.vocabulary.skills)[table["skill"]]
    end = final_mastery(dataset.table, dataset.simulation)
    mastery = end.reindex(pd.MultiIndex.from_arrays([users, skills])).to_numpy()
    pairs = pd.MultiIndex.from_frame(table[["learner", "skill"]])
    growth = mastery - first["true_mastery"].reindex(pairs).to_numpy()
    table = table.assign(mastery=mastery, growth=growth)
    table["stuck"] = (table["mastery"] < WEAK) & (table["growth"] < STILL)
    table["ready"] = table["mastery"] > READY
    return table[table["answers"] >= MINIMUM].drop(columns="answers")


def shares(table: pd.DataFrame, bootstrap: Bootstrap) -> pd.DataFrame:
    """How often each word is right, and how many of those who truly are it finds.

    Parameters
    ----------
    table : of `held`, with learners numbered for the bootstrap.

    Returns
    -------
    For ``stuck`` and ``ready``: `verdict`, `said` and `right` (numbers of learners and skills),
    `share` (right of said; NaN where nothing was said) with `low` and `high` (95 % over learners),
    `true` (how many truly are) and `found` (share of them that was said).
    """
    rows = []
    for word in SAID:
        said, true = table["verdict"] == word, table[word]
        right, who = true[said], table.loc[said, "learner"]
        e = bootstrap.row_mean(right.astype(float), who, (0, 1))
        rows.append(
            {
                "verdict": word,
                "said": int(said.sum()),
                "right": int(right.sum()),
                "share": e.value,
                "low": e.low,
                "high": e.high,
                "true": int(true.sum()),
                "found": said[true].mean(),
            }
        )
    return pd.DataFrame(rows)
