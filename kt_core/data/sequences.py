"""From the canonical table to splits of learners and chunks of steps (docs/method.md, "The data").

Whole learners are split, not rows. Each learner's history is cut into chunks of `chunk` steps, and
chunks shorter than `min_length` are dropped. A `Vocabulary` maps skills and items to numbers.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np
import pandas as pd

from kt_core.base.errors import KTError
from kt_core.base.log import log
from kt_core.base.values import counted
from kt_core.config import DataConfig
from kt_core.data.table import Dataset

PIECE = 2_000_000  # rows in memory at a time

SPLITS = ("train", "valid", "test")
MOST_LEARNERS = 20_000  # of a split whose answers are kept in memory and reported


@dataclass(frozen=True, repr=False)
class Vocabulary:
    """Names of the skills, in the order of their ids 0..C-1, and of the items, from id 1 on.

    Where answers need several skills, `parts` has the ids of the single skills of each skill, of
    which there may be some on which nobody was asked alone. It is empty where each skill is only
    itself.

    An item belongs to one skill: the same name under another skill is another item. Item id 0 is
    for items that training learners never met, and for data without items.
    """

    skills: tuple[str, ...]
    items: tuple[str, ...] = ()
    item_skill: tuple[int, ...] = ()
    parts: tuple[tuple[int, ...], ...] = ()

    def __repr__(self) -> str:
        return f"<{counted('skill', len(self.skills))}, {counted('item', len(self.items))}>"

    @classmethod
    def of(
        cls,
        table: pd.DataFrame,
        training: pd.Series | np.ndarray | None = None,
        several: dict[str, tuple[str, ...]] | None = None,
    ) -> Vocabulary:
        """All skills of a table, and the items in its `training` rows (a mask; default all).

        Numbers sort as numbers.

        Parameters
        ----------
        several : as of `with_parts`.
        """
        skills = cls(_sorted(set(table["skill"].unique()))).with_parts(several or {})
        if "item" not in table:
            return skills
        rows = table if training is None else table[training]
        known = rows.loc[rows["item"] != "", ["skill", "item"]].drop_duplicates()
        known["skill"] = skills.ids(known["skill"])
        known = known.sort_values(["skill", "item"])
        items = tuple(known["item"]), tuple(known["skill"].tolist())
        return cls(skills.skills, *items, skills.parts)

    def with_parts(self, several: dict[str, tuple[str, ...]]) -> Vocabulary:
        """The vocabulary with the parts of its skills; single skills on which nobody was asked
        alone come last.

        Parameters
        ----------
        several : names of answers on several skills -> these (`ReadingNote.several`).
        """
        several = {name: of for name, of in several.items() if name in self.skills}
        if not several:
            return self
        skills = (*self.skills, *_sorted(set().union(*several.values()) - set(self.skills)))
        return dataclasses.replace(self, skills=skills, parts=parts_by_id(skills, several))

    def ids(self, skills: pd.Series) -> np.ndarray:
        """Ids of named skills.

        Raises
        ------
        KTError
            For a skill on which the model was not trained.
        """
        index = pd.Index(self.skills).get_indexer(skills)
        if (index < 0).any():
            bad = skills.iloc[int(np.argmax(index < 0))]
            raise KTError(
                f"skill {bad!r} is not one of the {len(self.skills)} skills of the model; "
                "train on data that has it, or drop its rows"
            )
        return index.astype(np.int64)

    def item_ids(self, table: pd.DataFrame) -> np.ndarray:
        """Item ids of the rows of a table, 0 where the item is unknown."""
        if "item" not in table or not self.items:
            return np.zeros(len(table), np.int64)
        known = pd.MultiIndex.from_arrays([self.item_skill, self.items])
        asked = pd.MultiIndex.from_arrays([self.ids(table["skill"]), table["item"]])
        return known.get_indexer(asked).astype(np.int64) + 1


def _sorted(names: set[str]) -> tuple[str, ...]:
    return tuple(sorted(names, key=lambda s: (len(s), s)))


def parts_by_id(
    skills: tuple[str, ...], several: dict[str, tuple[str, ...]]
) -> tuple[tuple[int, ...], ...]:
    """`Vocabulary.parts`, from names."""
    number = {name: i for i, name in enumerate(skills)}
    return tuple(tuple(number[p] for p in several.get(name, (name,))) for name in skills)


@dataclass(frozen=True, repr=False)
class Sequences:
    """Chunks of interactions as flat arrays.

    Attributes
    ----------
    skill, item, response : [N], all interactions, chunk after chunk; item 0 is unknown.
    starts, lengths : [S], first interaction and number of steps of each chunk.
    learner : [S], index of the learner in `learners`.
    chunk : [S], 0 for a learner's first chunk, 1 for the next.
    learners : ids of the learners, as in the data.
    truth : true values of simulated learners, each [N].
    time : [N], when each answer was given, in days (`time_unit`); None where that is not known.
    dated : whether `time` is in real days, not in usual breaks.

    Examples
    --------
    >>> kt.demo().splits.test
    <2,386 answers of 40 learners>
    """

    skill: np.ndarray
    item: np.ndarray
    response: np.ndarray
    starts: np.ndarray
    lengths: np.ndarray
    learner: np.ndarray
    chunk: np.ndarray
    learners: np.ndarray
    truth: dict[str, np.ndarray]
    time: np.ndarray | None = None
    dated: bool = False

    def __len__(self) -> int:
        return len(self.starts)

    def __repr__(self) -> str:
        learners = counted("learner", len(self.learners))
        return f"<{counted('answer', self.interactions)} of {learners}>"

    def whole(self) -> Sequences:
        """The same interactions, with the chunks of each learner joined to one sequence."""
        first = np.flatnonzero(np.diff(self.learner, prepend=-1))
        return dataclasses.replace(
            self,
            starts=self.starts[first],
            lengths=np.add.reduceat(self.lengths, first),
            learner=self.learner[first],
            chunk=np.zeros(len(first), np.int64),
        )

    def sample(self, learners: int, seed: int = 0) -> Sequences:
        """All interactions of at most `learners` learners, drawn at random."""
        if len(self.learners) <= learners:
            return self
        drawn = np.random.default_rng(seed).choice(len(self.learners), learners, replace=False)
        return self.of_learners(np.sort(drawn))

    def some(self, answers: int) -> Sequences:
        """At most 20,000 learners, drawn at random, with about so many answers together."""
        share = min(1.0, answers / self.interactions)
        return self.sample(min(MOST_LEARNERS, max(1, int(share * len(self.learners)))))

    def of_learners(self, chosen: np.ndarray) -> Sequences:
        """All interactions of some learners, by their numbers in ascending order, who get new
        numbers in that order."""
        kept = np.isin(self.learner, chosen)
        starts, lengths = self.starts[kept], self.lengths[kept]
        rows = rows_of(starts, lengths)
        return Sequences(
            *(column[rows] for column in (self.skill, self.item, self.response)),
            starts=np.cumsum(lengths) - lengths,
            lengths=lengths,
            learner=np.searchsorted(chosen, self.learner[kept]),
            chunk=self.chunk[kept],
            learners=self.learners[chosen],
            truth={name: column[rows] for name, column in self.truth.items()},
            time=None if self.time is None else self.time[rows],
            dated=self.dated,
        )

    @classmethod
    def joined(cls, parts: list[Sequences]) -> Sequences:
        """Several sets of learners as one, in this order; no learner is in two of them."""
        answers = np.cumsum([0, *(part.interactions for part in parts)])
        people = np.cumsum([0, *(len(part.learners) for part in parts)])
        names = ("skill", "item", "response", "lengths", "chunk", "learners")
        timed = all(part.time is not None for part in parts)
        return cls(
            **{name: np.concatenate([getattr(part, name) for part in parts]) for name in names},
            starts=np.concatenate([p.starts + n for p, n in zip(parts, answers, strict=False)]),
            learner=np.concatenate([p.learner + n for p, n in zip(parts, people, strict=False)]),
            truth={
                name: np.concatenate([part.truth[name] for part in parts])
                for name in parts[0].truth
            },
            time=np.concatenate([part.time for part in parts]) if timed else None,
            dated=parts[0].dated,
        )

    @property
    def interactions(self) -> int:
        """N, the number of interactions."""
        return len(self.skill)

    @classmethod
    def of(
        cls,
        table: pd.DataFrame,
        vocabulary: Vocabulary,
        chunk: int = 200,
        min_length: int = 3,
        day: float = 0.0,
        dated: bool = True,
    ) -> Sequences:
        """Cut each learner's rows (adjacent, in order) into chunks. A `day` has so many units of
        the column `timestamp`; with 0, times are left out. `dated`: whether it is a real day."""
        learner, learners = pd.factorize(table["user"])
        step = table.groupby(learner, sort=False).cumcount().to_numpy()
        begins = np.flatnonzero(step % chunk == 0)
        lengths = np.diff(np.append(begins, len(table)))
        kept = lengths >= min_length
        rows = np.repeat(kept, lengths)
        starts = np.cumsum(np.append(0, lengths[kept]))[:-1]
        # A learner whose chunks were all dropped is not in this split.
        present, renumbered = np.unique(learner[begins][kept], return_inverse=True)
        truth = {c: table[c].to_numpy()[rows] for c in table if c.startswith("true_")}
        return cls(
            skill=vocabulary.ids(table["skill"])[rows],
            item=vocabulary.item_ids(table)[rows],
            response=table["correct"].to_numpy(np.int64)[rows],
            starts=starts,
            lengths=lengths[kept],
            learner=renumbered,
            chunk=(step // chunk)[begins][kept],
            learners=np.asarray(learners)[present],
            truth=truth,
            time=table["timestamp"].to_numpy(float)[rows] / day if day else None,
            dated=bool(day) and dated,
        )


@dataclass(frozen=True, repr=False)
class Splits:
    """Training, validation and test sequences over one vocabulary.

    Examples
    --------
    >>> splits = kt.demo().splits
    >>> splits.describe()["learners"].tolist()
    [128, 32, 40]
    """

    dataset: Dataset
    vocabulary: Vocabulary
    train: Sequences
    valid: Sequences
    test: Sequences

    def __repr__(self) -> str:
        train, valid, test = (f"{len(getattr(self, name).learners):,}" for name in SPLITS)
        learners = f"{train} training, {valid} validation and {test} test learners"
        return f"<{self.dataset.name}: {learners}>"

    def describe(self) -> pd.DataFrame:
        """Learners, chunks, interactions and share of right answers of each split."""
        rows = []
        for name in SPLITS:
            part: Sequences = getattr(self, name)
            rows.append(
                {
                    "split": name,
                    "learners": len(np.unique(part.learner)),
                    "sequences": len(part),
                    "interactions": part.interactions,
                    "correct": part.response.mean(),
                    "median length": float(np.median(part.lengths)),
                }
            )
        return pd.DataFrame(rows)


def make_splits(dataset: Dataset, config: DataConfig, parts: bool = False) -> Splits:
    """Split by learner: by the folds of the data if it has them, otherwise by a seeded shuffle.

    Parameters
    ----------
    parts : whether the single skills of answers on several are skills, too.

    Raises
    ------
    KTError
        When a learner is in two folds, or a split has no sequence.
    """
    table = dataset.table
    fold = learner_folds(dataset, config)
    row_fold = fold.reindex(table["user"]).to_numpy()
    masks = split_masks(row_fold, config)
    vocabulary = Vocabulary.of(table, masks["train"], dataset.note.several if parts else None)
    parts, known = {}, bool(dataset.note.day)
    day = time_unit(table, dataset.note.day)
    for name, mask in masks.items():
        part = table[mask].reset_index(drop=True)
        parts[name] = Sequences.of(part, vocabulary, config.chunk, config.min_length, day, known)
        if len(parts[name]) == 0:
            raise KTError(
                f"{dataset.name}: no sequence of at least {config.min_length} steps for the "
                f"{name} split; it needs more learners, or other data.fold / data.test_fraction"
            )
    steps = table.groupby("user", sort=False).size().to_numpy()
    note = dataset.note.with_counts(out_of_protocol(steps, config))
    return Splits(dataclasses.replace(dataset, note=note), vocabulary, **parts)


def time_unit(table: pd.DataFrame, day: float) -> float:
    """Units of `timestamp` that count as a day.

    Where the unit of the times is not known (`day` is 0), the median time between two answers of a
    learner stands for a day: longer breaks are still told from shorter ones. 0 where there are no
    times, or where all answers of a learner are equally far apart.
    """
    if "timestamp" not in table:
        return 0.0
    gap = table.groupby("user", sort=False)["timestamp"].diff()
    gap = gap[gap > 0]
    if gap.nunique() < 2:
        return 0.0
    return float(day or gap.median())


def out_of_protocol(steps: np.ndarray, config: DataConfig) -> dict[str, int]:
    """Counts of answers that are in no chunk, from the number of answers of each learner."""
    least = config.min_length
    short = steps < least
    tail = np.where(short, 0, steps % config.chunk)
    tail = np.where(tail < least, tail, 0)
    learners = f"answers of {short.sum():,} learners with fewer than {least}, left out"
    chunks = f"answers in {(tail > 0).sum():,} last chunks of fewer than {least}, left out"
    return {learners: int(steps[short].sum()), chunks: int(tail.sum())}


def rows_of(starts: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """The rows of chunks that begin at `starts`, one chunk after the other."""
    own = np.cumsum(lengths) - lengths
    return np.repeat(starts - own, lengths) + np.arange(lengths.sum())


def split_masks(fold: np.ndarray, config: DataConfig) -> dict[str, np.ndarray]:
    """A mask for each split, from the folds of rows or of learners."""
    return {
        "train": (fold >= 0) & (fold != config.fold),
        "valid": fold == config.fold,
        "test": fold == -1,
    }


def given_folds(fold: pd.Series, name: str, valid: int) -> pd.Series:
    """The folds of the data; without a test split, the next fold is used as one."""
    numbers = sorted(set(fold[fold >= 0]))
    if valid not in numbers:
        raise KTError(f"{name}: no fold {valid}; it has {[int(n) for n in numbers]}")
    if (fold == -1).any():
        return fold
    after = numbers[(numbers.index(valid) + 1) % len(numbers)]
    log.info("%s: has folds but no test split; fold %s is used as the test split", name, after)
    return fold.where(fold != after, -1)


def learner_folds(dataset: Dataset, config: DataConfig) -> pd.Series:
    """The fold of each learner (index: learner id); -1 is the test split."""
    table = dataset.table
    if "fold" in table and table["fold"].notna().all():
        return given_folds(fold_of_learners(table, dataset.name), dataset.name, config.fold)
    return drawn_folds(table["user"].unique(), config)


def fold_of_learners(table: pd.DataFrame, name: str) -> pd.Series:
    """The `fold` of each learner; it is an error if a learner has two."""
    per_learner = table.groupby("user", sort=False)["fold"]
    several = per_learner.nunique() > 1
    if several.any():
        user = several.idxmax()
        folds = sorted(table.loc[table["user"] == user, "fold"].unique().tolist())
        raise KTError(
            f"{name}: learner {user!r} is in the folds {folds}, but must be in one; "
            "correct the column, or drop it to have learners split at random"
        )
    return per_learner.first().astype(int)


def drawn_folds(users: np.ndarray, config: DataConfig) -> pd.Series:
    """A fold for each learner by a seeded shuffle."""
    users = np.sort(users)
    rng = np.random.default_rng(config.split_seed)
    order = rng.permutation(len(users))
    n_test = max(1, round(config.test_fraction * len(users)))
    fold = np.empty(len(users), int)
    fold[order[:n_test]] = -1
    fold[order[n_test:]] = np.arange(len(users) - n_test) % config.folds
    return pd.Series(fold, index=users)


def tally(keys: np.ndarray, response: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Numbers of answers and of right answers by key 0..n-1, each [n]. The columns are read in
    pieces, as they may be larger than memory."""
    answers, right = np.zeros(n, np.int64), np.zeros(n, np.int64)
    for begin in range(0, len(keys), PIECE):
        key, correct = (column[begin : begin + PIECE] for column in (keys, response))
        answers += np.bincount(key, minlength=n)
        right += np.bincount(key[correct == 1], minlength=n)
    return answers, right
