"""The psychometric ladder at the level of learners: what simple models know after some answers.

Fitted on training learners, it says for others how many answers were right, their Rasch ability,
and mastery by Rasch and AFM (docs/method.md, "The psychometric ladder"). Where there are no
training learners, each half of the learners is judged by a ladder fitted on the other half.

E learners, C skills, M answers.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np
import pandas as pd

from kt_core.baselines.ability import beliefs, grid, mean
from kt_core.baselines.bkt import BKT
from kt_core.baselines.counts import sequence_of, step_of
from kt_core.baselines.factors import AFM, Rasch, levels
from kt_core.data.sequences import Sequences, Splits, Vocabulary
from kt_core.data.table import Dataset
from kt_core.evaluation.exam import AFM as AFM_RUNG
from kt_core.evaluation.exam import (
    RASCH,
    RECENT,
    Difficulties,
    Exam,
    Rungs,
    exam_table,
    last_state,
    window,
)
from kt_core.evaluation.tracer import Trace, Tracer
from kt_core.metrics.bootstrap import Bootstrap
from kt_core.metrics.nulls import base_rates

BKT_RUNG = "BKT"
FEWEST = 20  # learners that can be cut into halves
MOST_ANSWERS = 500_000  # that a ladder is fitted on: about a GB of memory, and minutes


class _Judge:
    """What a ladder says about exams."""

    def judge(
        self,
        exam: Exam,
        mastery: np.ndarray | None,
        bootstrap: Bootstrap,
        ability: np.ndarray | None = None,
    ) -> pd.DataFrame:
        """`exam_table` of a model's mastery before an exam, [E, C]; empty without mastery."""
        if mastery is None or not len(exam.asked):
            return pd.DataFrame()
        rungs, difficulties = self.rungs(exam.chunks), self.difficulties(exam)
        return exam_table(exam, mastery, difficulties, rungs, bootstrap, ability)

    def compared(self, sequences: Sequences) -> dict[str, dict[str, np.ndarray]]:
        """What simple models say of the same answers, as `measure` takes it, by their names:
        `ladder`, mastery of every skill after half of each sequence, [S, C], by Rasch and by AFM;
        `rungs`, predictions in [0, 1], [N], by BKT too."""
        traces = self.traces(sequences)
        middles = {name: traces[name].middle for name in (RASCH, AFM_RUNG)}
        return {"ladder": middles, "rungs": {name: t.predicted for name, t in traces.items()}}


@dataclass(frozen=True)
class Ladder(_Judge):
    """Simple models, fitted on training learners.

    Attributes
    ----------
    rates : [C], share of right answers per skill.
    """

    rasch: Rasch
    afm: AFM
    bkt: BKT
    rates: np.ndarray

    @classmethod
    def fit(cls, splits: Splits) -> Ladder:
        """Fit all rungs; of more than 20,000 learners or 500,000 answers, some learners are drawn
        at random."""
        train, valid = (part.some(MOST_ANSWERS) for part in (splits.train, splits.valid))
        tracers = Rasch(), AFM(), BKT(read="correct")
        small = dataclasses.replace(splits, train=train, valid=valid)
        for tracer in tracers:
            tracer.fit(small)
        rates = base_rates(train.skill, train.response, len(splits.vocabulary.skills))
        return cls(*tracers, rates)

    def difficulties(self, exam: Exam) -> Difficulties:
        """How difficult an exam is, by the Rasch model of training learners."""
        effects, asked = self.rasch.effects, exam.asked
        level = effects.skill[asked.skill] - effects.difficulty(asked)
        return Difficulties(level, np.tile(effects.skill, (len(asked), 1)))

    def rungs(self, sequences: Sequences) -> Rungs:
        """What every rung says after these answers, chunk after chunk, of each learner."""
        whole = sequences.whole()
        which, right = sequence_of(whole), whole.response
        n, C = len(whole), len(self.rates)
        late = step_of(whole) >= (whole.lengths - RECENT)[which]
        pair = which * C + whole.skill
        answers, correct = (
            np.bincount(pair, w, n * C).reshape(n, C) for w in (np.ones(len(pair)), right)
        )
        with np.errstate(invalid="ignore"):
            own = correct / answers
        return Rungs(
            percent=np.bincount(which, right, n) / whole.lengths,
            recent=np.bincount(which[late], right[late], n) / np.minimum(whole.lengths, RECENT),
            ability=self._abilities(whole),
            rasch=last_state(self.rasch.trace(sequences).final, sequences),
            afm=last_state(self.afm.trace(sequences).final, sequences),
            own=own,
            rates=np.tile(self.rates, (n, 1)),
        )

    def traces(self, sequences: Sequences) -> dict[str, Trace]:
        """What Rasch, AFM and BKT believe, chunk after chunk."""
        tracers = {RASCH: self.rasch, AFM_RUNG: self.afm, BKT_RUNG: self.bkt}
        return {name: tracer.trace(sequences) for name, tracer in tracers.items()}

    def _abilities(self, whole: Sequences) -> np.ndarray:
        """Posterior mean of the Rasch ability after each whole history, in logits."""
        effects, ability = self.rasch.effects, np.empty(len(whole))
        nodes = grid(effects.sd)[0]
        level = levels(whole, effects)[1] - effects.difficulty(whole)
        for b in beliefs(whole, effects, level):
            last = b.states[np.arange(len(b.sequence)), b.lengths]
            ability[b.sequence] = mean(last, nodes)
        return ability


@dataclass(frozen=True)
class Halves(_Judge):
    """Two ladders, each for the learners that it was not fitted on.

    Attributes
    ----------
    half : for each learner, by number, which of the ladders is for them, 0 or 1.
    """

    ladders: tuple[Ladder, Ladder]
    half: np.ndarray

    @classmethod
    def fit(cls, sequences: Sequences, vocabulary: Vocabulary, seed: int = 0) -> Halves | None:
        """Cut the learners into halves at random; None with fewer than 20 of them, or where
        those that a ladder is fitted or checked on have one answer each: nothing to predict."""
        n = len(sequences.learners)
        if n < FEWEST:
            return None
        place = np.random.default_rng(seed).permutation(n)
        ladders = []
        for own in (0, 1):
            others = np.flatnonzero(place % 2 != own)
            checked = place[others] // 2 % 5 == 0  # a fifth chooses the priors
            train, valid = (sequences.of_learners(others[m]) for m in (~checked, checked))
            if min(train.lengths.max(), valid.lengths.max()) < 2:
                return None
            dataset = Dataset("other half", pd.DataFrame())
            ladders.append(Ladder.fit(Splits(dataset, vocabulary, train, valid, valid)))
        return cls(tuple(ladders), place % 2)

    def difficulties(self, exam: Exam) -> Difficulties:
        """How difficult the exam of each learner is, by the other half."""
        whose = self.half[exam.asked.learner]
        first, second = (ladder.difficulties(exam) for ladder in self.ladders)
        level = np.where(whose[exam.taker] == 0, first.level, second.level)
        return Difficulties(level, np.where(whose[:, None] == 0, first.skill, second.skill))

    def rungs(self, sequences: Sequences) -> Rungs:
        """What the rungs of the other half say after these answers of each learner."""
        whose = self.half[sequences.whole().learner]
        first, second = (vars(ladder.rungs(sequences)) for ladder in self.ladders)
        return Rungs(
            **{
                name: np.where(whose.reshape(-1, *[1] * (a.ndim - 1)) == 0, a, second[name])
                for name, a in first.items()
            }
        )

    def traces(self, sequences: Sequences) -> dict[str, Trace]:
        """What Rasch, AFM and BKT of the other half predict, and believe in the middle."""
        here = self.half[sequences.learner] == 0
        each = np.repeat(here, sequences.lengths)
        first, second = (ladder.traces(sequences) for ladder in self.ladders)
        return {
            name: Trace(
                np.where(each, a.predicted, second[name].predicted),
                middle=np.where(here[:, None], a.middle, second[name].middle),
            )
            for name, a in first.items()
        }


def mastery_after(tracer: Tracer, sequences: Sequences, chunk: int) -> np.ndarray | None:
    """[E, C], a baseline's mastery after each learner's answers; None if it has no mastery.

    Tracers of whole histories (`whole`) read all of them, others the last `chunk`.
    """
    whole = getattr(tracer, "whole", False)
    sequences = sequences if whole else window(sequences, chunk)
    final = tracer.trace(sequences).final if len(sequences) else None
    return None if final is None else last_state(final, sequences)
