"""The psychometric ladder at the level of learners: what simple models know after some answers.

Fitted on training learners, it says for others how many answers were right, their Rasch ability,
and mastery by Rasch and AFM (docs/method.md, "The psychometric ladder").
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from kt_core.baselines.ability import beliefs, grid, mean
from kt_core.baselines.counts import sequence_of, step_of
from kt_core.baselines.factors import AFM, Rasch, levels
from kt_core.data.sequences import MOST_LEARNERS, Sequences, Splits
from kt_core.evaluation.exam import RECENT, Difficulties, Exam, Rungs, exam_table, last_state
from kt_core.evaluation.tracer import Tracer
from kt_core.metrics.bootstrap import Bootstrap
from kt_core.metrics.nulls import base_rates


@dataclass(frozen=True)
class Ladder:
    """Simple models, fitted on training learners.

    Attributes
    ----------
    rates : [C], share of right answers per skill.
    """

    rasch: Rasch
    afm: AFM
    rates: np.ndarray

    @classmethod
    def fit(cls, splits: Splits) -> Ladder:
        """Fit all rungs; of more than 20,000 training learners, so many are drawn at random."""
        train, rasch, afm = splits.train.sample(MOST_LEARNERS), Rasch(), AFM()
        small = Splits(splits.dataset, splits.vocabulary, train, splits.valid, splits.test)
        rasch.fit(small)
        afm.fit(small)
        rates = base_rates(train.skill, train.response, len(splits.vocabulary.skills))
        return cls(rasch, afm, rates)

    def judge(self, exam: Exam, mastery: np.ndarray | None, bootstrap: Bootstrap) -> pd.DataFrame:
        """`exam_table` of a model's mastery before an exam, [E, C]; empty without mastery."""
        if mastery is None or not len(exam.asked):
            return pd.DataFrame()
        rungs, difficulties = self.rungs(exam.chunks), self.difficulties(exam)
        return exam_table(exam, mastery, difficulties, rungs, bootstrap)

    def difficulties(self, exam: Exam) -> Difficulties:
        """How difficult an exam is, by the Rasch model of training learners."""
        effects, asked = self.rasch.effects, exam.asked
        level = effects.skill[asked.skill] - effects.difficulty(asked)
        return Difficulties(level, effects.skill)

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
            rates=self.rates,
        )

    def _abilities(self, whole: Sequences) -> np.ndarray:
        """Posterior mean of the Rasch ability after each whole history, in logits."""
        effects, ability = self.rasch.effects, np.empty(len(whole))
        nodes = grid(effects.sd)[0]
        level = levels(whole, effects)[1] - effects.difficulty(whole)
        for b in beliefs(whole, effects, level):
            last = b.states[np.arange(len(b.sequence)), b.lengths]
            ability[b.sequence] = mean(last, nodes)
        return ability


def mastery_before(tracer: Tracer, exam: Exam, chunk: int) -> np.ndarray | None:
    """[E, C], a baseline's mastery before an exam; None if it has no mastery.

    Tracers of whole histories (`whole`) read all answers before the exam, others the last `chunk`.
    """
    sequences = exam.chunks if getattr(tracer, "whole", False) else exam.window(chunk)
    final = tracer.trace(sequences).final if len(sequences) else None
    return None if final is None else last_state(final, sequences)
