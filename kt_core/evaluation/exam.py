"""The exam inside the data: does mastery before it tell the score in it?

The last quarter of every learner's history is the exam. Mastery believed after the first three
quarters is held against the item-adjusted score in the exam, over learners, next to a ladder of
simple models that have seen the same answers (docs/method.md, "The measures").

E learners take the exam and give M answers in it; C skills, R resamples.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.special import expit

from kt_core.data.sequences import Sequences, rows_of
from kt_core.evaluation.evaluate import Ends, read_ends
from kt_core.metrics.association import Association, rank_correlation
from kt_core.metrics.bootstrap import Bootstrap
from kt_core.metrics.paired import paired_table
from kt_core.model import GainAKT2

PART = 4  # the last of so many equal parts of a history is the exam
BEFORE, ASKED = 10, 5  # answers before and in the exam that a learner needs
PER_SKILL = 3  # answers in the exam that a learner x skill pair needs
FIRST = 3  # skills in the exam that a learner needs, where only the first answer on each counts
RECENT = 10  # answers of "recent percent correct"
PRIOR_SD = 2.0  # logits, about twice the spread of learners: it keeps scores finite, not small

ON_ASKED, AS_IT_IS = "exam, skills asked", "exam, skills asked, not adjusted"
ON_ALL, ON_FIRST = "exam, all skills", "exam, first answer on each skill"
BY_SKILL = {True: "exam, learner x skill, practised", False: "exam, learner x skill, new"}
RATE, PERCENT, LATELY = "skill base rate", "percent correct", "recent percent correct"
OWN_PERCENT, RASCH, AFM = "percent correct on the skill", "Rasch ability", "AFM"
ABILITY = "its own ability"  # of a model that has one: no rung, but what it knows beside mastery


@dataclass(frozen=True)
class Exam:
    """Histories cut before the exam, and the exam.

    Attributes
    ----------
    chunks : the answers before the exam, in the chunks of the data.
    asked : the answers in the exam, one sequence per learner who takes it.

    Learners keep their numbers, so that resamples of all learners of a split are paired with those
    of other measures.
    """

    chunks: Sequences
    asked: Sequences

    @property
    def taker(self) -> np.ndarray:
        """[M], which of the learners who take the exam gave each answer, 0..E-1."""
        return np.repeat(np.arange(len(self.asked)), self.asked.lengths)


def hold_exam(sequences: Sequences) -> Exam:
    """Cut each history before its last quarter (rounded down); learners with fewer than 5 answers
    in it, or fewer than 10 before, do not take the exam."""
    whole = sequences.whole()
    asked = whole.lengths // PART
    before = whole.lengths - asked
    takes = np.flatnonzero((asked >= ASKED) & (before >= BEFORE))
    history = np.searchsorted(whole.starts, sequences.starts, side="right") - 1
    left = (whole.starts + before)[history] - sequences.starts
    lengths = np.clip(left, 0, sequences.lengths)
    kept = np.flatnonzero((lengths > 0) & np.isin(history, takes))
    return Exam(
        _only(sequences, sequences.starts[kept], lengths[kept], kept),
        _only(whole, (whole.starts + before)[takes], asked[takes], takes),
    )


def _only(
    s: Sequences, starts: np.ndarray, lengths: np.ndarray, number: np.ndarray | slice = slice(None)
) -> Sequences:
    """Parts of sequences, packed; `number` says of which ones."""
    rows = rows_of(starts, lengths)
    return dataclasses.replace(
        s,
        **{name: getattr(s, name)[rows] for name in ("skill", "item", "response")},
        starts=np.cumsum(lengths) - lengths,
        lengths=lengths,
        learner=s.learner[number],
        chunk=s.chunk[number],
        truth={name: column[rows] for name, column in s.truth.items()},
        time=None if s.time is None else s.time[rows],
    )


def window(sequences: Sequences, size: int) -> Sequences:
    """The last `size` answers of each learner, for models that read chunk by chunk."""
    whole = sequences.whole()
    lengths = np.minimum(whole.lengths, size)
    return _only(whole, whole.starts + whole.lengths - lengths, lengths)


def last_state(final: np.ndarray, sequences: Sequences) -> np.ndarray:
    """[E, C], the state after each learner's last sequence, from that after every one, [S, C]."""
    return final[np.flatnonzero(np.diff(sequences.learner, append=-1))]


def ends_after(model: GainAKT2, sequences: Sequences, chunk: int) -> Ends:
    """What a model believes after the answers of the learners who have some, E of them.

    `projection` reads the last `chunk` of them, other modes all.
    """
    carried = model.whole_histories or model.config.mode == "cumulative"
    sequences = sequences if carried else window(sequences, chunk)
    return read_ends(model, sequences).of(sequences.whole().learner)


def ability_scores(
    level: np.ndarray, response: np.ndarray, group: np.ndarray, n: int
) -> np.ndarray:
    """The ability that the answers of each group show: the mode of a Rasch model's posterior under
    the prior N(0, 2), in logits, [n].

    The maximum of the likelihood is infinite where all answers are right. A prior as narrow as the
    learners' own spread would pull short exams to the mean, and make the score one of length; this
    one is wide enough to do so a little only.

    Parameters
    ----------
    level : [M], log-odds of a right answer at ability 0: easiness of skill and item.
    response, group : [M], 0 or 1, and 0..n-1.
    """
    score = np.zeros(n)
    for _ in range(100):  # Newton's method; the steps are short enough for it to converge
        p = expit(score[group] + level)
        slope = np.bincount(group, response - p, n) - score / PRIOR_SD**2
        curvature = np.bincount(group, p * (1 - p), n) + 1 / PRIOR_SD**2
        step = np.clip(slope / curvature, -1, 1)
        score += step
        if np.abs(step).max(initial=0) < 1e-12:
            break
    return score


@dataclass(frozen=True)
class Rungs:
    """What simple models say after the same answers; E learners, C skills.

    Attributes
    ----------
    percent, recent : [E], share of right answers, among all and among the last 10.
    ability : [E], posterior mean of a Rasch ability.
    rasch, afm : [E, C], mastery of every skill.
    own : [E, C], share of right answers on the skill; NaN where it was not practised.
    rates : [E, C], share of right answers on the skill among training learners.
    """

    percent: np.ndarray
    recent: np.ndarray
    ability: np.ndarray
    rasch: np.ndarray
    afm: np.ndarray
    own: np.ndarray
    rates: np.ndarray


@dataclass(frozen=True)
class Difficulties:
    """Of the exam, by a Rasch model of training learners.

    Attributes
    ----------
    level : [M], log-odds of a right answer at ability 0.
    skill : [E, C], the part of it that is the skill's.
    """

    level: np.ndarray
    skill: np.ndarray


def exam_table(
    exam: Exam,
    mastery: np.ndarray,
    difficulties: Difficulties,
    rungs: Rungs,
    bootstrap: Bootstrap,
    ability: np.ndarray | None = None,
) -> pd.DataFrame:
    """Mastery before the exam against the score in it, next to the rungs.

    Parameters
    ----------
    mastery : [E, C], before the exam; NaN where it is not known.
    bootstrap : resamples of all learners of the split.
    ability : [E], what the model believes of the learners themselves.

    Returns
    -------
    `measure`, `variant`, `sees`, and the columns of `kt_core.metrics.paired.paired_table`, in which
    the row of the model's ability is of kind `own`. Empty if nobody takes the exam.
    """
    if not len(exam.asked):
        return pd.DataFrame()
    parts = _over_learners(exam, mastery, difficulties, rungs, bootstrap, ability)
    parts += _over_pairs(exam, mastery, difficulties, rungs, bootstrap)
    return pd.concat(parts, ignore_index=True).assign(sees="pre")


def _over_learners(
    exam: Exam,
    mastery: np.ndarray,
    difficulties: Difficulties,
    rungs: Rungs,
    bootstrap: Bootstrap,
    ability: np.ndarray | None,
) -> list[pd.DataFrame]:
    """Three summaries of mastery per learner, against the score. The score is adjusted for
    difficulty, and so is the first of them: where learners are asked other skills, having been
    asked easier ones would pass for higher mastery.

    The first summary is also held against the first answers on each skill alone: later ones show
    what was learnt in the exam, on new skills above all.
    """
    asked, n = exam.asked, len(exam.asked)
    every, first = np.ones(len(exam.taker), bool), first_answers(exam)
    alike = {PERCENT: rungs.percent, LATELY: rungs.recent, RASCH: rungs.ability}
    known = np.isfinite(mastery)
    states = {"model": mastery, AFM: rungs.afm}
    adjusted = {name: x - mean_of(x, known, 0) for name, x in states.items()}
    on_all = {name: mean_of(x, known, 1) for name, x in states.items()}
    states[RATE] = rungs.rates
    on_every = {ON_ASKED: adjusted, AS_IT_IS: states, ON_ALL: on_all}
    parts = []
    for rows, least, summaries in ((every, ASKED, on_every), (first, FIRST, {ON_FIRST: adjusted})):
        taker = exam.taker[rows]
        takes = np.bincount(taker, minlength=n) >= least
        if not takes.any():
            continue
        score = ability_scores(difficulties.level[rows], asked.response[rows], taker, n)[takes]
        whose = asked.learner[takes], np.zeros(takes.sum(), int)
        for measure, summary in summaries.items():
            told = {
                k: x if x.ndim == 1 else _on_asked(exam, x, known, rows) for k, x in summary.items()
            }
            scores = {"model": told.pop("model"), **alike, **told}
            if ability is not None:
                scores[ABILITY] = ability
            scores = {name: x[takes] for name, x in scores.items()}
            found = _correlations(scores, score, *whose, bootstrap, ("pooled", "rank"))
            found.loc[found["predictor"] == ABILITY, "kind"] = "own"
            parts.append(found.assign(measure=measure))
    return parts


def first_answers(exam: Exam) -> np.ndarray:
    """[M], whether an answer in the exam is the learner's first one in it on its skill."""
    asked = pd.DataFrame({"taker": exam.taker, "skill": exam.asked.skill})
    return ~asked.duplicated().to_numpy()


def _on_asked(exam: Exam, state: np.ndarray, known: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """[E], mean over these answers in the exam of a state of the skill asked, where it is known."""
    taker, skill = exam.taker[rows], exam.asked.skill[rows]
    here, n = known[taker, skill], len(exam.asked)
    with np.errstate(invalid="ignore"):
        total = np.bincount(taker[here], state[taker, skill][here], n)
        return total / np.bincount(taker[here], minlength=n)


def _over_pairs(
    exam: Exam, mastery: np.ndarray, difficulties: Difficulties, rungs: Rungs, bootstrap: Bootstrap
) -> list[pd.DataFrame]:
    """Mastery of a skill against the level on it that the answers in the exam show: its ability and
    the skill's easiness, in logits."""
    asked, C = exam.asked, mastery.shape[1]
    pairs, group, count = np.unique(
        exam.taker * C + asked.skill, return_inverse=True, return_counts=True
    )
    at = taker, skill = pairs // C, pairs % C
    score = ability_scores(difficulties.level, asked.response, group, len(pairs))
    score += difficulties.skill[at]
    scores = {"model": mastery[at], RATE: rungs.rates[at], PERCENT: rungs.percent[taker]}
    scores |= {LATELY: rungs.recent[taker], OWN_PERCENT: rungs.own[at]}
    scores |= {RASCH: rungs.rasch[at], AFM: rungs.afm[at]}
    counts, practised = count >= PER_SKILL, np.isfinite(rungs.own[at])
    parts = []
    for seen, measure in BY_SKILL.items():
        rows = np.flatnonzero(counts & (practised == seen) & np.isfinite(mastery[at]))
        if not len(rows):
            continue
        own = {k: x[rows] for k, x in scores.items() if seen or k != OWN_PERCENT}
        whose, variants = (asked.learner[taker[rows]], skill[rows]), ("pooled", "within_skill")
        found = _correlations(own, score[rows], *whose, bootstrap, variants)
        parts.append(found.assign(measure=measure))
    return parts


def _correlations(
    scores: dict[str, np.ndarray],
    outcome: np.ndarray,
    learner: np.ndarray,
    skill: np.ndarray,
    bootstrap: Bootstrap,
    variants: tuple[str, ...],
) -> pd.DataFrame:
    """Correlations of all scores with the outcome, where the first one is known. The base rate has
    none within a skill."""
    known = np.isfinite(next(iter(scores.values())))
    outcome, learner, skill = outcome[known], learner[known], skill[known]
    parts = []
    for variant in variants:
        draws = {}
        for name, score in scores.items():
            x = np.asarray(score, float)[known]
            if variant == "rank":
                draws[name] = rank_correlation(x, outcome, learner, bootstrap)
            elif variant == "pooled" or name != RATE:
                association = Association(x, outcome, learner, skill, bootstrap)
                draws[name] = getattr(association, variant)()
        size = len(outcome), len(np.unique(learner))
        parts.append(paired_table(draws, *size, bootstrap).assign(variant=variant))
    return pd.concat(parts, ignore_index=True)


def mean_of(state: np.ndarray, known: np.ndarray, axis: int) -> np.ndarray:
    """Mean of a state, [E, C], along an axis, where it is known; NaN where it never is."""
    with np.errstate(invalid="ignore"):
        return np.where(known, state, 0).sum(axis=axis) / known.sum(axis=axis)
