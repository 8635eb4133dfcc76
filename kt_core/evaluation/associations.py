"""Correlations and agreement of what was believed with what learners did, with nulls."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from kt_core.evaluation.beliefs import Beliefs
from kt_core.metrics.agreement import degree_of_agreement
from kt_core.metrics.association import Association
from kt_core.metrics.bootstrap import Bootstrap
from kt_core.metrics.nulls import gain_nulls, step_nulls

LATER_PER_SKILL = 3  # later attempts on a skill before a learner x skill pair counts
LATER_PER_LEARNER = 10
GAIN_PERFORMANCE = "gain-performance, held out"
ITEMS, USUAL = "difficulty of the items", "skill's usual improvement"  # its nulls
IF_TRUE = "if its probabilities were true"
HIDDEN = "retrospective, answer hidden"
WITHIN = ("pooled", "within_skill")


@dataclass(frozen=True)
class Question:
    """A score and the outcome that it is compared with, row by row, and other scores for it.

    Attributes
    ----------
    sees : pre or post.
    rows : with `learner` and `skill`; the arrays below have one value for each of them.
    variants : names of methods of `Association`.
    nulls, references : other scores by name, for the same outcome.
    """

    measure: str
    sees: str
    rows: pd.DataFrame
    score: np.ndarray | pd.Series
    outcome: np.ndarray | pd.Series
    variants: tuple[str, ...]
    nulls: dict[str, np.ndarray]
    references: dict[str, np.ndarray] = field(default_factory=dict)


def association_table(
    beliefs: Beliefs,
    base: np.ndarray,
    bootstrap: Bootstrap,
    ladder: dict[str, np.ndarray] | None = None,
) -> pd.DataFrame:
    """All associations that the beliefs support, with nulls and references.

    Parameters
    ----------
    ladder : by name, what simple models believe in the middle of each sequence, [S, C].
    """
    rows, frame = beliefs.predicted, beliefs.frame
    parts = []
    if len(rows) and beliefs.has("mastery_pre"):
        nulls, reference = step_nulls(rows, base, post=False), rows["predicted"]
        before = ("mastery-response", "pre", rows, rows["mastery_pre"], rows["correct"])
        variants = ("pooled", "within_skill", "learner_average")
        question = Question(*before, variants, nulls, {"model's own prediction": reference})
        parts += [_associate(question, bootstrap), _agreement(rows, nulls, bootstrap)]
    if beliefs.middle is not None:
        questions = _prospective(beliefs, base, ladder or {})
        parts += [_associate(question, bootstrap) for question in questions]
    if beliefs.has("gain"):
        references = {"true gain": frame["true_gain"]} if beliefs.has("true_gain") else {}
        gains = ("gain-correctness", "post", frame, frame["gain"], frame["correct"])
        variants, nulls = ("pooled", "within_skill"), gain_nulls(frame, base)
        parts.append(_associate(Question(*gains, variants, nulls, references), bootstrap))
    if len(rows) and beliefs.has("mastery_post"):
        after = ("mastery-prediction", "post", rows, rows["mastery_post"], rows["predicted"])
        variants, nulls = ("skill_average", "pooled"), step_nulls(rows, base, post=True)
        parts.append(_associate(Question(*after, variants, nulls), bootstrap))
    return joined(*parts)


def _agreement(
    rows: pd.DataFrame, nulls: dict[str, np.ndarray], bootstrap: Bootstrap
) -> pd.DataFrame:
    """Degree of agreement, among learners at the same opportunity of a skill, and of an item."""
    # Among learners at the same opportunity, only time index and counter differ; others are ties.
    predictors = {
        "model": ("model", rows["mastery_pre"]),
        "time index": ("null", nulls["time index"]),
        "success counter": ("null", nulls["success counter"]),
        "model's own prediction": ("reference", rows["predicted"]),
    }
    keys = {"same opportunity": ["skill", "opportunity"]}
    if "item" in rows:
        keys["same opportunity and item"] = ["skill", "opportunity", "item"]
    table = []
    everyone = rows
    for variant, columns in keys.items():
        known = (everyone["item"] > 0 if "item" in columns else everyone["skill"] >= 0).to_numpy()
        rows = everyone[known]
        group = rows.groupby(columns, sort=False).ngroup().to_numpy()
        own = None
        for name, (kind, x) in predictors.items():
            values, pairs = degree_of_agreement(
                np.asarray(x)[known], rows["correct"], rows["learner"], group, bootstrap
            )
            own = values if own is None else own
            row = {"measure": "degree of agreement", "variant": variant, "sees": "pre"}
            table.append(row | _against(own, values, name, kind, bootstrap, pairs, rows))
    return pd.DataFrame(table)


def gain_performance(improved: pd.DataFrame | None, bootstrap: Bootstrap) -> pd.DataFrame:
    """Predicted against observed improvement of learners on skills, all six answers hidden.

    The nulls are the usual improvement on the skill, and what the model says of the difficulty of
    the items alone, without growth: only where the model tells more than either does the measure
    say something about learning. The reference is the correlation to be expected if the model's own
    probabilities were true, which is low with so few answers. It is not a limit: where the model
    understates growth or difficulties, the correlation may be higher.

    Parameters
    ----------
    improved : of `improvements`, with the column `usual`, in [-1, 1].
    """
    if improved is None or improved.empty:
        return pd.DataFrame()
    predicted = improved["predicted"]
    nulls = {USUAL: improved["usual"].to_numpy(), ITEMS: improved["items"].to_numpy()}
    question = GAIN_PERFORMANCE, HIDDEN, improved, predicted
    own = _associate(Question(*question, improved["observed"], WITHIN, nulls), bootstrap)
    # Each pair twice, one standard deviation above and below what is predicted: this noise has its
    # variance and no correlation exactly, in every resample, and needs no random numbers.
    sd, both = np.sqrt(improved["variance"]), pd.concat([improved, improved])
    outcome = np.concatenate([predicted + sd, predicted - sd])
    question = GAIN_PERFORMANCE, HIDDEN, both, both["predicted"]
    best = _associate(Question(*question, outcome, WITHIN, {}), bootstrap)
    best = best.assign(predictor=IF_TRUE, kind="reference", entries=best["entries"] // 2)
    gaps = dict.fromkeys(("gap", "gap_low", "gap_high"), np.nan)
    return pd.concat([own, best.assign(**gaps)], ignore_index=True)


def _against(
    own: np.ndarray,
    values: np.ndarray,
    name: str,
    kind: str,
    bootstrap: Bootstrap,
    entries: int,
    rows: pd.DataFrame,
) -> dict[str, object]:
    """A predictor's value, and by how much the model exceeds it on the same resamples."""
    learners = rows["learner"].nunique()
    e = bootstrap.estimate(values, entries, learners)
    gap = bootstrap.estimate(own - values, entries, learners)
    row = {"predictor": name, "kind": kind, "value": e.value, "low": e.low, "high": e.high}
    row |= {"gap": gap.value, "gap_low": gap.low, "gap_high": gap.high}
    return row | {"entries": entries, "learners": learners, "draws": values}


def _prospective(
    beliefs: Beliefs, base: np.ndarray, ladder: dict[str, np.ndarray]
) -> list[Question]:
    """The state at the middle of a sequence, compared with correctness in its second half: of all
    skills, of those practised before and of new ones, and over learners."""
    frame = beliefs.frame
    half = frame.groupby("sequence")["step"].transform("size") // 2
    later = frame[frame["step"] >= half].copy()
    later["state"] = beliefs.middle[later["sequence"], later["skill"]]
    later["half"] = half[later.index]
    pairs = later.groupby(["sequence", "skill"], sort=False).agg(
        learner=("learner", "first"),
        attempts=("correct", "size"),
        outcome=("correct", "mean"),
        state=("state", "first"),
        opportunity=("opportunity", "first"),
        successes=("successes", "first"),
        step=("half", "first"),
    )
    pairs = pairs.reset_index()
    known = pairs["state"].notna()  # an audit may know only some skills
    pairs = pairs[known].reset_index(drop=True)
    pairs["correct"] = 0  # not used: these nulls see no later answer
    nulls = pd.DataFrame(step_nulls(pairs, base, post=False), index=pairs.index)
    for name, middle in ladder.items():
        nulls[name] = middle[pairs["sequence"], pairs["skill"]]
    often, practised = pairs["attempts"] >= LATER_PER_SKILL, pairs["opportunity"] > 0
    name, parts = "prospective validity, learner", {"": often}
    parts |= {", practised": often & practised, ", new": often & ~practised}
    questions = []
    for which, chosen in parts.items():
        rows, free = pairs[chosen], dict(nulls[chosen].items())
        pair = f"{name} x skill{which}", "pre", rows, rows["state"], rows["outcome"], WITHIN
        questions.append(Question(*pair, free))
    share = pairs["attempts"] / pairs.groupby("sequence")["attempts"].transform("sum")
    whole = pd.concat([pairs[["state", "outcome"]], nulls], axis=1).mul(share, axis=0)
    whole = whole.groupby(pairs["sequence"]).sum()
    groups = pairs.groupby("sequence")
    whole = whole.assign(learner=groups["learner"].first(), attempts=groups["attempts"].sum())
    whole = whole[whole["attempts"] >= LATER_PER_LEARNER].assign(skill=0)
    scores = whole["state"], whole["outcome"], ("pooled",), dict(whole[[*nulls]].items())
    return [*questions, Question(name, "pre", whole, *scores)]


def _associate(question: Question, bootstrap: Bootstrap) -> pd.DataFrame:
    """The association of each score with the outcome, and the model's lead over it."""
    rows, outcome = question.rows, np.asarray(question.outcome, float)
    learner, skill = rows["learner"].to_numpy(), rows["skill"].to_numpy()
    scores = [("model", "model", question.score)]
    scores += [(name, "null", x) for name, x in question.nulls.items()]
    scores += [(name, "reference", x) for name, x in question.references.items()]
    table, own = [], {}
    for name, kind, x in scores:
        association = Association(np.asarray(x, float), outcome, learner, skill, bootstrap)
        for variant in question.variants:
            values = getattr(association, variant)()
            own.setdefault(variant, values)
            row = {"measure": question.measure, "variant": variant, "sees": question.sees}
            against = _against(
                own[variant], values, name, kind, bootstrap, association.entries, rows
            )
            table.append(row | against)
    return pd.DataFrame(table)


def joined(*tables: pd.DataFrame) -> pd.DataFrame:
    """One table of those that are not empty."""
    kept = [table for table in tables if not table.empty]
    return pd.concat(kept, ignore_index=True) if kept else pd.DataFrame()
