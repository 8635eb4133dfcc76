"""A user's program, as a type checker reads it in `make lint`; nothing runs it."""

from typing import assert_type

import pandas as pd

import kt_core as kt
from kt_core.data.sequences import Sequences, Splits
from kt_core.evaluation.tracer import Trace, Tracer


class Mine:
    name = "mine"

    def fit(self, splits: Splits, seed: int = 0) -> None: ...

    def trace(self, sequences: Sequences) -> Trace:
        return Trace(sequences.response / 2)


def use(answers: pd.DataFrame) -> None:
    model = kt.fit(answers, preset="quick", columns={"learner": "Student"})
    assert_type(model, kt.KnowledgeTracer)
    assert_type(kt.demo(), kt.KnowledgeTracer)
    assert_type(model.set_params(seed=1).fit("answers.csv"), kt.KnowledgeTracer)
    assert_type(kt.load("runs/mine").run.config, kt.RunConfig)
    assert_type(model.run.model, kt.GainAKT2)
    live: kt.LiveLearner = model.live()
    live.answer("skill", True)
    tracer: Tracer = Mine()
    tracer.trace(model.splits.test)
    kt.register("mine", Mine)
    judged = kt.judge("mine", answers, seed=1)
    auc: float = kt.audit(judged.estimates(), judged.answers(), "pre").measures.miscalibration
    print(auc, kt.compare(model, model).shape, kt.cross_validate(answers).shape)
    kt.fits  # type: ignore[attr-defined]  # noqa: B018
    model.mastery(columns="Topic")  # type: ignore[arg-type]
