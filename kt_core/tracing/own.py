"""Models, loss terms, measures and worlds of one's own, next to those of the package."""

from __future__ import annotations

import inspect
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from kt_core.base import own
from kt_core.base.errors import KTError, brief
from kt_core.base.state import free_folder
from kt_core.base.values import path_of
from kt_core.config import LossConfig
from kt_core.data.registry import DATASETS, read_splits
from kt_core.data.sequences import Splits
from kt_core.data.worlds import made
from kt_core.evaluation.beliefs import Beliefs
from kt_core.evaluation.measures import Measures
from kt_core.evaluation.own import SEES, needs
from kt_core.metrics.bootstrap import Estimate
from kt_core.notebook.reports import write_audit_report
from kt_core.presets import PRESETS
from kt_core.report.text import estimate
from kt_core.studies.models import BASELINES, OURS, check_model
from kt_core.tracing.settings import Answers
from kt_core.tracing.tracer import KnowledgeTracer
from kt_core.tracing.words import in_python


def register(name: str, what: Callable[..., Any], kind: str = own.MODEL, sees: str = "") -> None:
    """Make a model, a loss term, a measure or a world of your own known by a name.

    It is then named like those of the package: a model in `kt.judge`, in the benchmark, in worlds
    and experiments; a loss term with its weight in the setting ``loss.own``; a measure is listed in
    every report and benchmark; a world is a data set, and one of those in which models are judged.
    Processes that are started from here know it too if it is defined in a module; what a notebook
    defines stays in the notebook.

    Parameters
    ----------
    name : a former registration of the same name is replaced.
    what : of a model, its class, or a function without arguments that makes one; it has
        ``fit(splits, seed)`` and ``trace(sequences)``, as `kt_core.evaluation.tracer.Tracer` says.
        A loss term is a function of `PathTerms` (in retrospective and retentive) or `States` (in
        the other modes) and the `Batch`, to a tensor with one number. A measure is a function of
        columns of answers, which it takes by their names (`kt_core.evaluation.beliefs.Beliefs`
        lists them), to one number per answer; its mean and interval are listed. A world is a
        function without arguments that returns a `kt_core.data.Simulation`.
    kind : model, loss, measure or world.
    sees : of a measure, which answers it may see: pre, post, retrospective or truth.

    Raises
    ------
    KTError
        When the name is taken by the package, or `what` does not fit its kind.

    Examples
    --------
    >>> def surprise(predicted, correct):
    ...     return -np.log2(np.where(correct == 1, predicted, 1 - predicted))
    >>> kt.register("surprise, in bits", surprise, kind="measure", sees="pre")
    """
    if kind not in own.KINDS:
        raise KTError(f"kind {brief(kind)}: choose one of {', '.join(own.KINDS)}")
    if not callable(what):
        raise KTError(f"{kind} {brief(name)}: expected a class or a function, not {brief(what)}")
    if (kind == own.MEASURE) != bool(sees):
        raise KTError("sees: a measure says which answers it may see, and nothing else has it")
    own.checked_name(name, _taken(kind))
    if kind == own.MODEL and inspect.isclass(what):
        for method in ("fit", "trace"):
            if not callable(getattr(what, method, None)):
                raise KTError(f"model {name!r}: it has no method {method}()")
    if kind == own.WORLD:
        made(name, what)
    if kind == own.MEASURE:
        if sees not in SEES:
            raise KTError(f"sees {brief(sees)}: choose one of {', '.join(SEES)}")
        needs(what)
    own.add(own.Own(kind, name, what, sees))


def _taken(kind: str) -> tuple[str, ...]:
    """The names that the package itself uses."""
    if kind == own.MODEL:
        return (*OURS, *BASELINES)
    if kind == own.WORLD:
        return tuple(DATASETS)
    return ("bce", "responses", "teacher", "total", *vars(LossConfig())) if kind == own.LOSS else ()


@dataclass(repr=False)
class Judged:
    """A model other than GainAKT2 on the test learners of one data set.

    Attributes
    ----------
    tracer : the fitted model.
    splits : the data, divided by learner.
    beliefs : what it believed about every answer of a test learner.
    measures : the report's measures, as tables; `measures.simple` has its AUC next to that of
        simple models.
    valid_auc : AUC on validation learners.

    Examples
    --------
    >>> columns = {"learner": "Student", "skill": "Topic", "correct": "Right"}
    >>> judged = kt.judge("Rasch", answers, columns=columns)
    >>> bool(judged.measures.quality("AUC")["value"] > 0.5)
    True
    """

    model: str
    tracer: Any
    splits: Splits
    beliefs: Beliefs
    measures: Measures
    valid_auc: Estimate

    def __repr__(self) -> str:
        e = self.measures.quality("AUC")
        auc = estimate(e["value"], e["low"], e["high"], 4)
        return f"Judged({self.model}: AUC {auc} on {len(self.beliefs.learners):,} test learners)"

    def estimates(self) -> pd.DataFrame:
        """One row per answer that the model predicted: `learner`, `step`, `skill`, `mastery` (or
        the prediction, where it has none) and `predicted`, as of `kt.audit`.

        Examples
        --------
        >>> columns = {"learner": "Student", "skill": "Topic", "correct": "Right"}
        >>> judged = kt.judge("Rasch", answers, columns=columns)
        >>> list(judged.estimates())
        ['learner', 'step', 'skill', 'mastery', 'predicted']
        """
        frame = self._frame()
        mastery = "mastery_pre" if "mastery_pre" in frame else "predicted"
        table = frame[["learner", "step", "skill"]].assign(
            mastery=frame[mastery], predicted=frame["predicted"]
        )
        return table.dropna().reset_index(drop=True)

    def answers(self) -> pd.DataFrame:
        """The test learners' answers, in the same order: `learner`, `skill`, `correct`.

        Examples
        --------
        >>> columns = {"learner": "Student", "skill": "Topic", "correct": "Right"}
        >>> judged = kt.judge("Rasch", answers, columns=columns)
        >>> list(judged.answers())
        ['learner', 'skill', 'correct']
        """
        return self._frame()[["learner", "skill", "correct"]]

    @in_python()
    def report(self, folder: str | Path) -> Path:
        """Write the page of an audit into a new folder: constraints, prediction, correlations with
        nulls, exam; return its path.

        Raises
        ------
        KTError
            When the folder exists or cannot be written.

        Examples
        --------
        >>> columns = {"learner": "Student", "skill": "Topic", "correct": "Right"}
        >>> judged = kt.judge("Rasch", answers, columns=columns)
        >>> judged.report("rasch").name  # it takes a while  # doctest: +SKIP
        'report.html'
        """
        folder = path_of("folder", folder).absolute()
        free_folder(folder)
        with tempfile.TemporaryDirectory(prefix="kt_core-") as scratch:
            told, given = Path(scratch) / "mastery.parquet", Path(scratch) / "answers.parquet"
            self.estimates().to_parquet(told)
            self.answers().to_parquet(given)
            parameters: dict[str, Any] = {"mastery": str(told), "responses": str(given)}
            parameters |= {"sees": "pre", "columns": {"predicted": "predicted"}}
            return write_audit_report(parameters, folder, f"Audit: {self.model}", quiet=True)

    def _frame(self) -> pd.DataFrame:
        """`beliefs.frame` with names instead of numbers, and steps counted from 1."""
        frame, names = self.beliefs.frame, self.splits.vocabulary.skills
        learner = pd.Series(self.beliefs.learners[frame["learner"]], frame.index).astype(str)
        skill = pd.Series(list(names))[frame["skill"].to_numpy()].to_numpy()
        step = frame.groupby("learner", sort=False).cumcount() + 1
        return frame.assign(learner=learner, skill=skill, step=step)


@in_python()
def judge(model: str, data: Answers, **settings: Any) -> Judged:
    """Fit a registered model, or a baseline of the package, and measure it on test learners.

    Parameters
    ----------
    model : its name.
    data : as of `kt.fit`.
    settings : of `KnowledgeTracer` that are about data and report: seed, fold, columns, and others
        by dotted name, such as ``**{"report.bootstrap": 200}``.

    Raises
    ------
    KTError
        For an unknown model, data that cannot be read, or a model whose trace has another form than
        promised, or sees the answers that it predicts.

    Examples
    --------
    >>> columns = {"learner": "Student", "skill": "Topic", "correct": "Right"}
    >>> kt.judge("PFA", answers, columns=columns)
    Judged(PFA: AUC ... on 12 test learners)
    """
    from kt_core.baselines.registry import baselines  # it loads every model
    from kt_core.studies.results import examined_baseline

    check_model(model)
    if model in OURS:
        way = "preset" if model in PRESETS else "mode"
        raise KTError(f"model {model!r}: fit it with kt_core.fit(data, {way}={model!r})")
    table, config = KnowledgeTracer(**settings).configured(data)
    splits = read_splits(config, table)
    tracer = baselines()[model]()
    tracer.fit(splits, config.train.seed)
    return Judged(model, tracer, splits, *examined_baseline(tracer, splits, config))
