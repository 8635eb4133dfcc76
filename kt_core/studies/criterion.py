"""Criterion: mastery at the end of a history against a score from outside, such as of an exam.

The score takes no part in any training. It is held against summaries of mastery and against the
psychometric ladder, over learners, pooled and within groups (docs/method.md, "The measures").
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from kt_core import plots
from kt_core.base.errors import KTError, brief
from kt_core.base.files import make_folder, plain, write_json, write_table
from kt_core.base.values import path_of, whole_number
from kt_core.baselines.ladder import Halves, Ladder
from kt_core.config import RunConfig, with_overrides
from kt_core.data import ReadOptions, Sequences, Vocabulary
from kt_core.data.pseudonyms import pseudonyms
from kt_core.data.registry import read_dataset
from kt_core.data.scores import epoch_seconds, read_scores
from kt_core.data.sequences import SPLITS
from kt_core.evaluation.exam import (
    AFM,
    LATELY,
    PERCENT,
    RASCH,
    Rungs,
    ends_after,
    mean_of,
)
from kt_core.metrics.agreement import degree_of_agreement
from kt_core.metrics.association import Association, rank_correlation
from kt_core.metrics.bootstrap import Bootstrap
from kt_core.metrics.paired import paired_table
from kt_core.report.tables import ladder_text
from kt_core.report.text import against_ladder, with_interval
from kt_core.runs.find import open_run
from kt_core.studies.audit import last_known
from kt_core.studies.estimates import read_mastery

FEWEST = 20  # matched learners
ALL, PRACTISED = "mean over all skills", "mean over practised skills"
OWN = "the model's ability of the learner"  # no mastery: what all answers have in common
TOGETHER = "together"
PEARSON, SPEARMAN, AUC = "Pearson r", "Spearman r", "AUC"
WITHIN = {PEARSON: "Pearson r within groups", AUC: "AUC within groups"}
KEYS = ["learners of", "summary", "measure"]


@dataclass(frozen=True)
class Criterion:
    """Mastery against a score, and what was noticed on the way.

    Attributes
    ----------
    table : `learners of` (a split, or together), `summary` of mastery, `measure`, and the columns
        of `kt_core.metrics.paired.paired_table`.
    learners : one row per learner: `learner`, `split`, `score`, the summaries of mastery, the
        model's ability where it has one, the rungs and, where known, `group`.
    notes : what was left out, and what to be careful about.
    """

    table: pd.DataFrame
    learners: pd.DataFrame
    notes: list[str] = field(default_factory=list)

    @property
    def headline(self) -> pd.DataFrame:
        """The rows that the verdict is about: test learners if there are enough, else all of them
        together; mastery of all skills; Pearson r or AUC."""
        tests = self.table[self.table[KEYS[0]] == "test"]
        rows = self.table[self.table[KEYS[0]] == TOGETHER] if tests.empty else tests
        return rows[(rows[KEYS[1:]] == rows.iloc[0][KEYS[1:]]).all(axis=1)]

    @property
    def who(self) -> str:
        """What the learners of the headline are called."""
        split = self.headline[KEYS[0]].iloc[0]
        return "learners" if split == TOGETHER else f"{split} learners"

    @property
    def verdict(self) -> str:
        """What mastery tells about the score, next to the ladder."""
        own, word = self.headline.iloc[0], against_ladder(self.headline)
        word, who = word or "not defined on this data", f"{own['learners']:,} {self.who}"
        return f"Criterion: {with_interval(own)} ({own['measure']}, {who}): {word}"


def matched(scores: pd.DataFrame, known: pd.Index, what: str) -> tuple[pd.DataFrame, list[str]]:
    """The scores of learners that a model knows, one each, and notes on the others.

    Parameters
    ----------
    scores : of `kt_core.data.scores.read_scores`.
    known : ids of the learners in the data.
    what : the file of scores, for messages.

    Raises
    ------
    KTError
        When a learner has two different scores, fewer than 20 learners remain, or all their scores
        are equal.
    """
    notes = []
    missing = scores["score"].isna()
    if missing.any():
        notes.append(f"{missing.sum():,} learners without a score, left out")
    scores = scores[~missing].drop_duplicates()
    repeated = int((~missing).sum()) - len(scores)
    if repeated:
        notes.append(f"{repeated:,} rows that repeat another one, left out")
    twice = scores["learner"].duplicated(keep=False)
    if twice.any():
        learner = scores.loc[twice.idxmax(), "learner"]
        values = scores.loc[scores["learner"] == learner, "score"].tolist()
        raise KTError(
            f"{what}: learner {brief(learner)} has several rows, with scores {brief(values)}; keep "
            "one row per learner, such as that of one test"
        )
    unknown = ~scores["learner"].isin(known)
    if unknown.any():
        example = brief(scores.loc[unknown.idxmax(), "learner"])
        notes.append(
            f"{unknown.sum():,} learners of the scores have no answers, such as {example}, left out"
        )
    scores = scores[~unknown].reset_index(drop=True)
    if len(scores) < FEWEST:
        example = f", such as {brief(str(known[0]))}" if len(known) else ""
        raise KTError(
            f"{what}: {len(scores)} of its learners are among the {len(known):,} of the "
            f"answers{example}; at least {FEWEST} are needed. Write ids as the answers have them"
        )
    if scores["score"].nunique() == 1:
        raise KTError(
            f"{what}: all {len(scores):,} learners with answers have the score "
            f"{scores['score'].iloc[0]:g}; nothing can be correlated with it"
        )
    rest = len(known) - len(scores)
    if rest:
        notes.append(f"{rest:,} of {len(known):,} learners with answers have no score")
    return scores, notes


def of_run(run: str | Path, scores: str | Path, until_date: bool = False) -> Criterion:
    """Hold the mastery of a run's learners against scores.

    Parameters
    ----------
    run : the run folder; learners of all splits count, and are shown apart and together.
    scores : a file that `read_scores` reads.
    until_date : use the answers up to the date of a learner's score only.

    Raises
    ------
    KTError
        When one of them cannot be read, or scores and answers do not fit.
    """
    saved, splits = open_run(run)
    table = splits.dataset.table
    if table.empty:
        raise KTError(f"{run}: its data is stored on disk; a criterion needs data in memory")
    given, what = read_scores(path_of("scores", scores)), str(scores)
    if splits.dataset.pseudonyms:
        given["learner"] = pseudonyms().of(given["learner"])
    split = {str(u): name for name in SPLITS for u in getattr(splits, name).learners}
    given, notes = matched(given, pd.Index(split), what)
    table, more = _until(table, given, until_date, what)
    config, model = saved.config, saved.model
    day = splits.dataset.note.day
    sequences = Sequences.of(table, splits.vocabulary, config.data.chunk, min_length=1, day=day)
    known = ends_after(model, sequences, config.data.chunk)
    rungs = Ladder.fit(splits).rungs(sequences)
    learners = _summaries(sequences, known.mastery, rungs, known.ability).merge(given, on="learner")
    learners["split"] = learners["learner"].map(split)
    notes += more
    if (learners["split"] == "train").any():
        notes.append(
            "training learners: the model was trained on their answers, never on the scores; those "
            "of the test split are shown first"
        )
    return _criterion(learners, config.report.bootstrap, config.report.seed, notes)


def of_estimates(
    mastery: str | Path,
    answers: str | Path,
    scores: str | Path,
    reading: dict[str, Any] | None = None,
    columns: dict[str, str] | None = None,
    until_date: bool = False,
    resamples: int = 1000,
) -> Criterion:
    """Hold mastery estimates of any tool, the latest per learner and skill, against scores.

    Parameters
    ----------
    reading, columns : as in `kt_core.studies.audit.audit_files`.
    until_date : as in `of_run`.

    Raises
    ------
    KTError
        When a file cannot be read, or they do not fit each other.
    """
    resamples = whole_number("resamples", resamples, 20, 10**5)
    data = with_overrides(RunConfig(), reading or {}).data
    names = pseudonyms() if data.pseudonymise else None
    estimates = read_mastery(path_of("mastery", mastery), columns, names)
    table = read_dataset(path_of("data", answers), ReadOptions.of(data, names)).table
    given, what = read_scores(path_of("scores", scores)), str(scores)
    if names:
        given["learner"] = names.of(given["learner"])
    known = pd.Index(sorted(set(estimates["learner"]) & set(table["user"].astype(str))))
    given, notes = matched(given, known, what)
    everybody = Sequences.of(table, vocabulary := Vocabulary.of(table), max(len(table), 1), 1)
    if (ladder := Halves.fit(everybody, vocabulary)) is None:
        raise KTError(
            f"{answers}: too few answers for the simple models that estimates are held against: "
            "they need 20 learners, and more than one answer of most"
        )
    table, more = _until(table, given, until_date, what)
    sequences = Sequences.of(table, vocabulary, max(len(table), 1), 1)
    latest = estimates.set_index(["learner", "step", "skill"])["mastery"]
    latest = latest[latest.index.get_level_values("learner").isin(sequences.learners.astype(str))]
    state = last_known(latest, sequences, vocabulary, sequences.lengths)
    chosen = pd.Index(everybody.learners).get_indexer(sequences.learners)
    ladder = Halves(ladder.ladders, ladder.half[chosen])
    learners = _summaries(sequences, state, ladder.rungs(sequences)).merge(given, on="learner")
    return _criterion(learners.assign(split="all"), resamples, 0, notes + more)


def _until(
    table: pd.DataFrame, scores: pd.DataFrame, cut: bool, what: str
) -> tuple[pd.DataFrame, list[str]]:
    """The answers of learners with a score, up to its date where `cut`, and a warning about later
    ones where not."""
    user = table["user"].astype(str)
    table = table[user.isin(scores["learner"])].reset_index(drop=True)
    user = table["user"].astype(str)
    if "date" not in scores:
        if cut:
            raise KTError(f"{what}: no column date, and --until-date cuts histories at it")
        return table, []
    time = epoch_seconds(table["timestamp"]) if "timestamp" in table else pd.Series(dtype=float)
    if time.isna().any() or time.empty:
        why = "the answers have no times since 1970, and cannot be compared with the dates"
        if cut:
            raise KTError(f"{what}: {why} of the scores; leave out --until-date")
        return table, [f"WARNING: {why} of the scores: mastery may have seen later answers"]
    late = (time > user.map(scores.set_index("learner")["date"])).to_numpy()
    count = f"{late.sum():,} answers of {user[late].nunique():,} learners are later than the score"
    if not cut:
        warning = f"WARNING: {count}, and mastery has seen them; --until-date leaves them out"
        return table, [warning] if late.any() else []
    gone = user.nunique() - user[~late].nunique()
    if user.nunique() - gone < FEWEST:
        raise KTError(f"{what}: {user.nunique() - gone} learners have answers before their date")
    rest = f"; {gone:,} learners have none before it" if gone else ""
    return table[~late].reset_index(drop=True), [f"{count}, left out{rest}"]


def _summaries(
    sequences: Sequences, mastery: np.ndarray, rungs: Rungs, ability: np.ndarray | None = None
) -> pd.DataFrame:
    """One row per learner: both summaries of mastery, ability where there is one, and the rungs;
    AFM's mastery is summarised on the same skills."""
    known, practised = np.isfinite(mastery), np.isfinite(rungs.own)
    columns = {"learner": sequences.learners.astype(str)}
    for name, mask in ((ALL, known), (PRACTISED, known & practised)):
        columns[name] = mean_of(mastery, mask, 1)
        columns[f"{AFM}, {name}"] = mean_of(rungs.afm, mask, 1)
    if ability is not None:
        columns[OWN] = ability
    columns |= {PERCENT: rungs.percent, LATELY: rungs.recent, RASCH: rungs.ability}
    return pd.DataFrame(columns)


def _criterion(learners: pd.DataFrame, resamples: int, seed: int, notes: list[str]) -> Criterion:
    lost = learners[ALL].isna() | learners[PRACTISED].isna()
    if lost.any():
        notes.append(f"{lost.sum():,} learners without any estimate, left out")
    learners = learners[~lost].reset_index(drop=True)
    parts = []
    groups = [(name, learners[learners["split"] == name]) for name in reversed(SPLITS)]
    groups += [(TOGETHER, learners)]
    for name, part in groups:
        if 0 < len(part) < FEWEST:
            notes.append(f"{len(part)} {name} learners, too few to be shown apart")
        elif len(part):
            parts.append(_held(part, resamples, seed).assign(**{KEYS[0]: name}))
    if not parts:
        raise KTError(f"only {len(learners)} learners with an estimate; {FEWEST} are needed")
    return Criterion(pd.concat(parts, ignore_index=True), learners, notes)


def _held(learners: pd.DataFrame, resamples: int, seed: int) -> pd.DataFrame:
    """Every summary of what the model says and the ladder against the score, by every measure."""
    bootstrap = Bootstrap(len(learners), resamples, seed)
    score, number = learners["score"].to_numpy(float), np.arange(len(learners))
    binary = set(learners["score"].unique()) <= {0, 1}
    group = learners["group"].to_numpy() if "group" in learners else np.full(len(learners), "")
    grouped = np.flatnonzero(group != "")
    code = pd.factorize(group)[0]

    def correlation(x: np.ndarray) -> np.ndarray:
        return Association(x, score, number, code, bootstrap).pooled()

    def ranks(x: np.ndarray) -> np.ndarray:
        return rank_correlation(x, score, number, bootstrap)

    def auc(x: np.ndarray) -> np.ndarray:
        return degree_of_agreement(x, score, number, np.zeros_like(number), bootstrap)[0]

    def within(x: np.ndarray) -> np.ndarray:
        x, y, n, g = x[grouped], score[grouped], grouped, code[grouped]
        if binary:
            return degree_of_agreement(x, y, n, g, bootstrap)[0]
        return Association(x, y, n, g, bootstrap).within_skill()

    measures = {AUC: auc} if binary else {PEARSON: correlation, SPEARMAN: ranks}
    if len(grouped):
        measures[WITHIN[AUC if binary else PEARSON]] = within
    parts = []
    for summary in (s for s in (ALL, PRACTISED, OWN) if s in learners):
        scores = {"model": summary, PERCENT: PERCENT, LATELY: LATELY, RASCH: RASCH}
        if f"{AFM}, {summary}" in learners:
            scores[AFM] = f"{AFM}, {summary}"
        values = {name: learners[column].to_numpy(float) for name, column in scores.items()}
        for measure, compute in measures.items():
            n = len(grouped) if compute is within else len(learners)
            draws = {name: compute(x) for name, x in values.items()}
            rows = paired_table(draws, n, n, bootstrap)
            parts.append(rows.assign(summary=summary, measure=measure))
    return pd.concat(parts, ignore_index=True)


def text(criterion: Criterion) -> str:
    """The result for a terminal."""
    table = ladder_text(criterion.table, KEYS).drop(columns="entries")
    lines = [f"note: {note}" for note in criterion.notes]
    return "\n".join([*lines, "", table.to_string(index=False), "", criterion.verdict])


def write(criterion: Criterion, folder: str | Path) -> Path:
    """Write `criterion.json`, `criterion.csv` and the figure; they have no learner's id."""
    folder = make_folder(folder)
    columns = [*KEYS, *(c for c in criterion.table if c not in (*KEYS, "draws", "entries"))]
    rows = criterion.table[columns]
    content = {"verdict": criterion.verdict, "notes": criterion.notes}
    content["learners"] = len(criterion.learners)
    content["measures"] = rows.to_dict("records")
    write_json(folder / "criterion.json", plain(content))
    write_table(rows, folder / "criterion.csv")
    plots.use_style()
    rows, learners = criterion.headline, criterion.learners
    shown = learners[learners["split"] == rows[KEYS[0]].iloc[0]]
    shown = learners if shown.empty else shown
    figure = plots.draw_criterion(shown, ALL, rows, criterion.who)
    plots.save(figure, folder / "figures", "criterion")
    return folder
