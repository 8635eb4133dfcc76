"""One model of learners: fitted to a table of answers, asked, reported on, saved and loaded.

A fitted model is a run (`kt_core.runs`), trained as by the command line, which can open it too.
"""

from __future__ import annotations

import dataclasses
import difflib
import html
import inspect
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
from IPython import get_ipython
from sklearn.exceptions import NotFittedError

from kt_core.base.errors import KTError, brief
from kt_core.base.files import new_folder
from kt_core.base.log import log
from kt_core.base.state import free_folder
from kt_core.base.values import names_of, path_of
from kt_core.config import RunConfig
from kt_core.data import Dataset, Splits
from kt_core.data.pseudonyms import pseudonyms
from kt_core.data.reading.note import ReadingNote
from kt_core.data.registry import read_splits
from kt_core.evaluation.evaluate import evaluate
from kt_core.evaluation.measures import prediction_of
from kt_core.learners.cohort import learner_frame
from kt_core.learners.explain import explain
from kt_core.learners.predict import LiveLearner, abilities, histories, named, predict
from kt_core.metrics.bootstrap import Bootstrap, tidy
from kt_core.presets import USUAL
from kt_core.report.own import own_learners
from kt_core.report.text import with_interval
from kt_core.runs.answers import answers_for
from kt_core.runs.combinations import knowing
from kt_core.runs.find import open_run, run_folder
from kt_core.runs.run import Run
from kt_core.tracing.card import card, line
from kt_core.tracing.settings import Answers, Columns, configured, settings_of
from kt_core.tracing.training import scratch, trained
from kt_core.tracing.words import in_python, reading

if TYPE_CHECKING:
    from matplotlib.axes import Axes


class NotFitted(KTError, NotFittedError):
    """A model is asked before `fit`; scikit-learn's tools know the error too."""


class KnowledgeTracer:
    """A model of learners, with scikit-learn's habits: settings here, data in `fit`.

    Learners, skills and items are known by their names, as text. Answers are given as a table with
    one row per answer, or as a file in any format of docs/formats.md.

    Parameters
    ----------
    preset : smoke (seconds, for trying out), quick (minutes), standard, ...; `kt_core.presets` has
        them.
    mode : retrospective, retentive, cumulative or projection; None keeps the preset's.
    seed : of the training.
    fold : the fold of learners that is used for validation.
    columns : meaning -> column, where it is not recognised: `learner`, `skill`, `correct` and,
        where there are any, `item`, `timestamp`, `fold`. An empty name says that there is none.
    out : the run folder to write, a new one; None for a dated one where the command line puts them.
    temporary : write the run into a temporary folder, which is removed when Python ends.
    overrides : any other setting by its dotted name, such as ``**{"train.epochs": 5}``.

    Examples
    --------
    >>> model = kt.KnowledgeTracer(preset="quick", seed=1)
    >>> model.set_params(mode="cumulative").get_params()["mode"]
    'cumulative'
    """

    def __init__(
        self,
        preset: str = USUAL,
        mode: str | None = None,
        seed: int = 0,
        fold: int = 0,
        columns: Columns = None,
        out: str | Path | None = None,
        temporary: bool = False,
        **overrides: Any,
    ):
        self.preset, self.mode, self.seed, self.fold = preset, mode, seed, fold
        self.columns, self.out, self.temporary = columns, out, temporary
        self.overrides = overrides
        self._run: Run | None = None
        self._splits: Splits | None = None
        self._auc = ""

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """The settings by name, as scikit-learn asks for them.

        Examples
        --------
        >>> kt.KnowledgeTracer(seed=3).get_params()["seed"]
        3
        """
        return {name: getattr(self, name) for name in PARAMETERS} | self.overrides

    def set_params(self, **params: Any) -> KnowledgeTracer:
        """Change settings; they are used by the next `fit`.

        Examples
        --------
        >>> model = kt.KnowledgeTracer().set_params(preset="smoke", **{"train.epochs": 5})
        >>> model
        KnowledgeTracer(preset='smoke', train.epochs=5)
        """
        for name, value in params.items():
            if name in PARAMETERS:
                setattr(self, name, value)
            else:
                self.overrides[name] = value
        return self

    @in_python()
    def fit(self, data: Answers, progress: bool = True) -> KnowledgeTracer:
        """Train on a table of answers, a file, or a data set by its name; return the model itself.

        Parameters
        ----------
        data : one row per answer. Learners, not rows, are divided into training, validation and
            test learners.
        progress : print how the data was read, and show a bar.

        Raises
        ------
        KTError
            For an unknown setting, data that cannot be read or has too few learners, or a folder
            that exists.

        Examples
        --------
        >>> columns = {"learner": "Student", "skill": "Topic", "correct": "Right"}
        >>> model = kt.KnowledgeTracer(preset="smoke", columns=columns, temporary=True)
        >>> model.fit(answers, progress=False)
        <KnowledgeTracer retrospective: ... answers of 60 learners on ... skills; ...>
        """
        table, config = self.configured(data)
        if self.temporary and self.out is not None:
            raise KTError(f"out = {brief(self.out)}: leave it out, or temporary")
        if self.temporary:
            folder = run_folder(config, out=str(scratch()))
        elif self.out is None:
            folder = run_folder(config)
        else:
            folder = path_of("out", self.out)
        folder = folder.absolute()
        free_folder(folder)
        splits = read_splits(config, table)
        if progress:
            print(splits.dataset.note)
        return self._set(trained(config, splits, folder, progress))

    def __sklearn_is_fitted__(self) -> bool:
        """For scikit-learn's `check_is_fitted`."""
        return self._run is not None

    def __sklearn_tags__(self) -> Any:
        """What scikit-learn may expect: a table of its own kind, without a target."""
        from sklearn.utils import InputTags, Tags, TargetTags  # from scikit-learn 1.6 on

        table = InputTags(two_d_array=False)
        return Tags(None, TargetTags(required=False), input_tags=table, no_validation=True)

    @property
    def run(self) -> Run:
        """The run folder, with its model, configuration and provenance.

        Raises
        ------
        KTError
            Before `fit`.

        Examples
        --------
        >>> kt.demo().run.config.model.mode
        'retrospective'
        """
        if self._run is None:
            raise NotFitted("this model is not fitted yet: call fit(data), or kt_core.load(folder)")
        return self._run

    @property
    def note(self) -> ReadingNote:
        """How the data was read that the model was fitted to.

        Examples
        --------
        >>> print(kt.demo().note)
        simulated (simulated learners): 11,007 answers of 200 learners on 20 skills, ...
        """
        return self.run.note

    @property
    def splits(self) -> Splits:
        """The data that the model was fitted to, divided by learner.

        Raises
        ------
        KTError
            When it is not there any more.

        Examples
        --------
        >>> kt.demo().splits
        <simulated: 128 training, 32 validation and 40 test learners>
        """
        if self._splits is None:
            path = self.run.path
            try:
                self._splits = open_run(path)[1]
            except KTError as error:
                raise KTError(
                    f"{error}\nThis needs the answers that the model was fitted to. Mastery, "
                    "predictions and trajectories of other answers do without: mastery(answers)"
                ) from None
        return self._splits

    @in_python()
    def mastery(
        self, data: Answers | None = None, columns: Columns = None, every_skill: bool = False
    ) -> pd.DataFrame:
        """How well each learner masters each skill after all answers.

        Parameters
        ----------
        data : answers of any learners, also new ones; None for those that the model was fitted to.
            Answers on skills that the model does not know are left out, which is told.
        columns : as of the model, where `data` has other names.
        every_skill : also skills that a learner never practised.

        Returns
        -------
        One row per learner and skill: `learner`, `skill`, `mastery`, `low`, `high` (95 %; NaN in a
        mode that does not say how sure it is) and `answers`, on this skill.

        Raises
        ------
        KTError
            For data that cannot be read, or has none of the model's skills.

        Examples
        --------
        >>> table = kt.demo().mastery()
        >>> list(table)
        ['learner', 'skill', 'mastery', 'low', 'high', 'answers']
        >>> weak = table[table["high"] < 0.5]  # surely below a half
        >>> bool((weak["mastery"] < 0.5).all())
        True
        """
        table = predict(self.run, self._answers(data, columns, combine=True), every_skill)
        table = table.rename(columns={"opportunities": "answers"})
        names = ["learner", "skill", "mastery", "low", "high", "answers"]
        return table.reindex(columns=names)

    @in_python()
    def ability(self, data: Answers | None = None, columns: Columns = None) -> pd.DataFrame:
        """How able each learner is in all, after all answers.

        Unlike a mean of mastery it does not depend on which skills somebody practised how often.
        Which of the two tells more about an exam depends on the data: the report shows both
        (docs/evidence.md, "An exam inside the data").

        Parameters
        ----------
        data, columns : as of `mastery`.

        Returns
        -------
        One row per learner: `learner`, `ability` (0 for the average training learner, in standard
        deviations between learners), `low`, `high` (95 %, if the skeleton is right) and `answers`.

        Raises
        ------
        KTError
            As of `mastery`; and in a mode without a skeleton.

        Examples
        --------
        >>> table = kt.demo().ability()
        >>> list(table)
        ['learner', 'ability', 'low', 'high', 'answers']
        """
        return abilities(self.run, self._answers(data, columns, combine=True))

    @in_python()
    def predict(self, data: Answers | None = None, columns: Columns = None) -> pd.DataFrame:
        """The probability that each answer is right, from the learner's answers before it.

        Parameters
        ----------
        data, columns : as of `mastery`. Of the learners that the model was fitted to, most were
            trained on; `evaluate` is about those that were not.

        Returns
        -------
        One row per answer, learner by learner in order of time: `learner`, `step` (from 1),
        `skill`, `item` where the data has items, `response` and `probability`. A learner's first
        answer is not predicted (NaN); in `cumulative` and `projection`, which read histories in
        chunks of `data.chunk` answers, nor is the first of each chunk.

        Raises
        ------
        KTError
            For data that cannot be read, or has none of the model's skills.

        Examples
        --------
        >>> table = kt.demo().predict()
        >>> list(table)
        ['learner', 'step', 'skill', 'item', 'response', 'probability']
        >>> first = table["step"] == 1
        >>> bool((table["probability"].isna() == first).all())
        True
        """
        dataset = self._answers(data, columns, combine=True)
        run = knowing(self.run, dataset)
        sequences = histories(run, dataset)
        if run.model.whole_histories:
            sequences = sequences.whole()
        beliefs = evaluate(run.model, sequences, flips=False)
        frame = named(beliefs.frame[["learner", "skill"]], beliefs, run)
        frame.insert(1, "step", frame.groupby("learner", sort=False).cumcount() + 1)
        if "item" in dataset.table:
            frame["item"] = dataset.table["item"].to_numpy()
        values = {"response": beliefs.frame["correct"], "probability": beliefs.frame["predicted"]}
        return frame.assign(**values)

    @in_python()
    def evaluate(
        self, data: Answers | None = None, columns: Columns = None, seen: bool = False
    ) -> pd.DataFrame:
        """How well answers of learners who were not trained on are predicted.

        Parameters
        ----------
        data : answers of other learners; None for the test learners of the fitted data.
        columns : as of `mastery`.
        seen : allow learners on whom the model was trained or chosen.

        Returns
        -------
        One row per measure (AUC, accuracy, log loss, Brier score): `measure`, `value`, `low`,
        `high` (95 % over learners), `answers`, `learners`. The numbers are those of the report: the
        first answer of each chunk is not predicted.

        Raises
        ------
        KTError
            When the fitted data is not there, or learners of `data` were trained on.

        Examples
        --------
        >>> kt.demo().evaluate()["measure"].tolist()
        ['AUC', 'accuracy', 'log loss', 'Brier score']
        """
        splits = self.splits
        if data is not None:
            splits = own_learners(self.run, splits, data, reading(columns), seen)
            _tell(splits.dataset.note)
        beliefs, report = evaluate(self.run.model, splits.test, flips=False), self.run.config.report
        bootstrap = Bootstrap(len(beliefs.learners), report.bootstrap, report.seed)
        table = tidy(prediction_of(beliefs, bootstrap).estimates(), "measure")
        if data is None:
            self._auc = with_interval(table.iloc[0])
        return table.drop(columns="draws").rename(columns={"entries": "answers"})

    @in_python()
    def trajectory(
        self, learner: str, data: Answers | None = None, columns: Columns = None
    ) -> pd.DataFrame:
        """The mastery of one learner, step by step.

        Parameters
        ----------
        learner : as in the data.
        data, columns : as of `mastery`.

        Returns
        -------
        One row for each step and each skill that the learner practises: `step` (from 1), `skill`,
        `mastery` at the time, with `low` and `high` (95 %; NaN where that is not known),
        `in_hindsight` (mastery at that step, as believed after the last answer) and `response` (NaN
        where another skill was asked).

        Raises
        ------
        KTError
            For a learner who is not there.

        Examples
        --------
        >>> model = kt.demo()
        >>> steps = model.trajectory(model.splits.test.learners[4])
        >>> by_skill = steps.groupby("skill")["in_hindsight"]
        >>> bool(by_skill.is_monotonic_increasing.all())  # it never falls
        True
        """
        frame = self._frame(learner, data, columns)
        names = {"filtered": "mastery", "mastery": "in_hindsight", "correct": "response"}
        wanted = ["step", "skill", "mastery", "low", "high", "in_hindsight", "response"]
        return frame.rename(columns=names)[wanted]

    @in_python()
    def explain(
        self, learner: str, step: int, data: Answers | None = None, columns: Columns = None
    ) -> pd.DataFrame:
        """Why this prediction? The parts of its logit, which sum to it (`kt_core.explain`).

        Parameters
        ----------
        step : of the learner's history, from 1; the first answer is not predicted.
        learner, data, columns : as of `trajectory`.

        Raises
        ------
        KTError
            For a learner who is not there, a step that is not predicted, or a mode whose
            predictions do not decompose.

        Examples
        --------
        >>> model = kt.demo()
        >>> parts = model.explain(model.splits.test.learners[4], step=20)
        >>> parts["part"].unique().tolist()
        ['skill', 'ability', 'start on the skill', 'gain', 'network', 'form', 'item difficulty']
        """
        own, name = self._learner(learner, data, columns)
        return explain(self.run.model, own.test, own.vocabulary, name, step)

    @in_python()
    def plot(
        self,
        learner: str,
        data: Answers | None = None,
        columns: Columns = None,
        skills: str | tuple[str, ...] = (),
        ax: Axes | None = None,
    ) -> Axes:
        """Draw the mastery of one learner over steps, at the time and in hindsight; return the
        axes.

        Parameters
        ----------
        skills : one or several; empty for the three most practised.
        ax : to draw on; None for a new figure.
        learner, data, columns : as of `trajectory`.

        Raises
        ------
        KTError
            For a learner who is not there, or a skill that the learner did not practise.

        Examples
        --------
        >>> model = kt.demo()
        >>> ax = model.plot(model.splits.test.learners[4], skills="skill 02")
        >>> ax.get_ylabel()
        'mastery'
        >>> ax.figure.savefig("learner.png")
        """
        import matplotlib.pyplot as plt

        from kt_core import plots

        frame = self._frame(learner, data, columns)
        chosen = names_of("skills", [skills] if isinstance(skills, str) and skills else skills)
        with plt.rc_context():  # the user's own style comes back
            plots.use_style()
            if ax is None:
                _, ax = plt.subplots(figsize=(plots.PAGE, 2.6))
            plots.plot_revision(frame, ax, skills=chosen)
            ax.set_title(f"Learner {plots.as_text(learner)}")
        return ax

    @in_python()
    def report(self, split: str = "test") -> Path:
        """Make the consistency report on test learners (or `valid`, while choices are still being
        made); show it in a notebook, and return the path of its page.

        Raises
        ------
        KTError
            When the fitted data is not there, or the run folder cannot be written.

        Examples
        --------
        >>> kt.demo().report().name  # it takes half a minute  # doctest: +SKIP
        'report.html'
        """
        from kt_core.notebook.reports import write_report

        _ = self.splits  # without its data, this is refused before a notebook is started
        if in_notebook := hasattr(get_ipython(), "kernel"):
            print("making the report: half a minute for a small class, minutes for a school ...")
        page = write_report([self.run.path], split, quiet=True)
        if in_notebook:
            from IPython.display import HTML, display

            from kt_core.notebook.page import framed

            display(HTML(framed(page)))
        return page

    def live(self) -> LiveLearner:
        """A new learner, who is told answer by answer (`kt_core.LiveLearner`).

        Examples
        --------
        >>> kt.demo().live()
        <LiveLearner after 0 answers, of demo>
        """
        return LiveLearner(self.run)

    @in_python()
    def save(self, path: str | Path) -> Path:
        """Copy the run folder to a new place, from which `kt_core.load` opens it; return its path.

        Answers that were a table go with it. A model that was fitted to a file needs the file for
        its report, where it was.

        Raises
        ------
        KTError
            When `path` exists already or cannot be written.

        Examples
        --------
        >>> kt.demo().save("shared-model").name
        'shared-model'
        """
        folder = path_of("path", path).absolute()
        if folder.resolve().is_relative_to(self.run.path.resolve()):
            raise KTError(f"{folder} is inside the run's own folder; name a place outside it")
        free_folder(folder)
        with new_folder(folder) as partial:
            shutil.copytree(self.run.path, partial, dirs_exist_ok=True)
        return folder

    def __repr__(self) -> str:
        if self._run is not None:
            return f"<KnowledgeTracer {line(self._run)}>"
        usual, params = KnowledgeTracer(), self.get_params()
        given = {
            name: value for name, value in params.items() if value != getattr(usual, name, None)
        }
        return f"KnowledgeTracer({', '.join(f'{k}={v!r}' for k, v in given.items())})"

    def _repr_html_(self) -> str:
        if self._run is None:
            return f"<code>{html.escape(repr(self))}</code>"
        return card(self._run, self._auc)

    def configured(self, data: Answers) -> tuple[pd.DataFrame | None, RunConfig]:
        """The answers, where they are in memory, and the settings of a run on them."""
        settings = self.preset, self.mode, self.seed, self.fold, self.columns
        return configured(data, *settings, self.overrides)

    def _set(self, run: Run) -> KnowledgeTracer:
        self._run, self._splits, self._auc = run, None, ""
        return self

    def _answers(self, data: Answers | None, columns: Columns, combine: bool = False) -> Dataset:
        """The answers that are given, or those of the run."""
        if data is not None:
            dataset = answers_for(self.run, data, reading(columns), combine)
            _tell(dataset.note)
            return dataset
        dataset = self.splits.dataset
        if dataset.table.empty:
            raise KTError(f"{dataset.name}: stored on disk, as it is large; name the answers")
        return dataset

    def _learner(self, learner: str, data: Answers | None, columns: Columns) -> tuple[Splits, str]:
        """The history of one learner, in place of every split, and the learner's name in it."""
        dataset, name = self._answers(data, columns), str(learner)
        users = dataset.table["user"]
        if dataset.pseudonyms and not (users == name).any():
            name = pseudonyms().of(pd.Series([name])).item()
        table = dataset.table[users == name].reset_index(drop=True)
        if table.empty:
            near = difflib.get_close_matches(str(learner), users.unique(), 3)
            hint = f"; did you mean {' or '.join(map(repr, near))}?" if near else ""
            raise KTError(
                f"learner {brief(learner)}: not one of {users.nunique():,} learners{hint}"
            )
        own = histories(self.run, dataclasses.replace(dataset, table=table))
        return Splits(dataset, self.run.vocabulary, own, own, own), name

    def _frame(self, learner: str, data: Answers | None, columns: Columns) -> pd.DataFrame:
        own, _ = self._learner(learner, data, columns)
        return learner_frame(self.run.model, own, "test", 0, uncertainty=self.run.uncertainty)


PARAMETERS = [name for name in inspect.signature(KnowledgeTracer).parameters if name != "overrides"]


def fit(data: Answers, *, progress: bool = True, **settings: Any) -> KnowledgeTracer:
    """Train a model on a table of answers, a file, or a data set by its name.

    Parameters
    ----------
    data, progress : as of `KnowledgeTracer.fit`.
    settings : of `KnowledgeTracer`: preset, mode, seed, fold, columns, out, temporary, and any
        other setting by its dotted name, such as ``**{"train.epochs": 5}``.

    Raises
    ------
    KTError
        For an unknown setting, data that cannot be read or has too few learners, or a folder that
        exists.

    Examples
    --------
    >>> import kt_core as kt
    >>> columns = {"learner": "Student", "skill": "Topic", "correct": "Right"}
    >>> model = kt.fit(answers, preset="smoke", columns=columns, temporary=True, progress=False)
    >>> list(model.mastery())
    ['learner', 'skill', 'mastery', 'low', 'high', 'answers']
    """
    return KnowledgeTracer(**settings).fit(data, progress)


def load(path: str | Path) -> KnowledgeTracer:
    """The model in a run folder, also of one that was trained by the command line.

    Raises
    ------
    KTError
        When the folder is not a finished run, or is damaged.

    Examples
    --------
    >>> kt.load("runs/mine")
    <KnowledgeTracer retrospective: simulated, 11,007 answers of 200 learners on 20 skills; ...>
    """
    run = Run.load(path_of("path", path).absolute())
    return KnowledgeTracer(**settings_of(run.config))._set(run)


def _tell(note: ReadingNote) -> None:
    """Warn of answers that a model cannot be asked about."""
    for what, count in note.counts.items():
        if "the model does not know" in what or "it knows, left out" in what:
            log.warning("%s: %s %s", note.source, f"{count:,}", what)
