"""From the canonical table to splits of learners and chunks of steps (design, section 7).

Learners are split, never rows. Each learner's history is cut into chunks of `chunk` steps; chunks
under `min_length` are dropped. Skills (and items) become numbers by a `Vocabulary`.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

import numpy as np
import pandas as pd

from kt_core.config import DataConfig
from kt_core.data.table import Dataset
from kt_core.errors import KTError

log = logging.getLogger("kt_core")

SPLITS = ("train", "valid", "test")


@dataclass(frozen=True)
class Vocabulary:
    """Names of the skills, in the order of their ids 0..C-1."""

    skills: tuple[str, ...]

    @classmethod
    def of(cls, table: pd.DataFrame) -> Vocabulary:
        """All skills of a table; numbers sort as numbers."""
        return cls(tuple(sorted(table["skill"].unique(), key=lambda s: (len(s), s))))

    def ids(self, skills: pd.Series) -> np.ndarray:
        """Ids of named skills.

        Raises
        ------
        KTError
            For a skill that the model was not trained with.
        """
        index = pd.Index(self.skills).get_indexer(skills)
        if (index < 0).any():
            bad = skills.iloc[int(np.argmax(index < 0))]
            raise KTError(
                f"skill {bad!r} is not one of the {len(self.skills)} skills of the model; "
                "train on data that has it, or drop its rows"
            )
        return index.astype(np.int64)


@dataclass(frozen=True)
class Sequences:
    """Chunks of interactions as flat arrays.

    Attributes
    ----------
    skill, response : [N], all interactions of all chunks, one chunk after the other.
    starts, lengths : [S], where each chunk begins and how many steps it has.
    learner : [S], number of the learner in `learners`.
    chunk : [S], 0 for a learner's first chunk, 1 for the next.
    learners : ids of the learners as they stand in the data.
    truth : for simulated learners, true values per interaction, each [N].
    """

    skill: np.ndarray
    response: np.ndarray
    starts: np.ndarray
    lengths: np.ndarray
    learner: np.ndarray
    chunk: np.ndarray
    learners: np.ndarray
    truth: dict[str, np.ndarray]

    def __len__(self) -> int:
        return len(self.starts)

    @property
    def interactions(self) -> int:
        """N, the number of interactions."""
        return len(self.skill)

    @classmethod
    def of(
        cls, table: pd.DataFrame, vocabulary: Vocabulary, chunk: int = 200, min_length: int = 3
    ) -> Sequences:
        """Cut each learner's rows (adjacent, in order) into chunks."""
        learner, learners = pd.factorize(table["user"])
        step = table.groupby(learner, sort=False).cumcount().to_numpy()
        begins = np.flatnonzero(step % chunk == 0)
        lengths = np.diff(np.append(begins, len(table)))
        kept = lengths >= min_length
        rows = np.repeat(kept, lengths)
        starts = np.cumsum(np.append(0, lengths[kept]))[:-1]
        # Learners all of whose chunks were dropped are not learners of this split.
        present, renumbered = np.unique(learner[begins][kept], return_inverse=True)
        truth = {c: table[c].to_numpy()[rows] for c in table if c.startswith("true_")}
        return cls(
            skill=vocabulary.ids(table["skill"])[rows],
            response=table["correct"].to_numpy(np.int64)[rows],
            starts=starts,
            lengths=lengths[kept],
            learner=renumbered,
            chunk=(step // chunk)[begins][kept],
            learners=np.asarray(learners)[present],
            truth=truth,
        )


@dataclass(frozen=True)
class Splits:
    """Training, validation and test sequences over one vocabulary."""

    dataset: Dataset
    vocabulary: Vocabulary
    train: Sequences
    valid: Sequences
    test: Sequences

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


def make_splits(dataset: Dataset, config: DataConfig) -> Splits:
    """Split by learner: by the data's own folds where it has them, else by a seeded shuffle.

    Raises
    ------
    KTError
        When a learner stands in two folds, or a split has no sequence.
    """
    table = dataset.table
    fold = learner_folds(dataset, config)
    row_fold = fold.reindex(table["user"]).to_numpy()
    vocabulary = Vocabulary.of(table)
    masks = {
        "train": (row_fold >= 0) & (row_fold != config.fold),
        "valid": row_fold == config.fold,
        "test": row_fold == -1,
    }
    parts = {}
    for name, mask in masks.items():
        part = table[mask].reset_index(drop=True)
        parts[name] = Sequences.of(part, vocabulary, config.chunk, config.min_length)
        if len(parts[name]) == 0:
            raise KTError(
                f"{dataset.name}: no sequence of at least {config.min_length} steps for the "
                f"{name} split; it needs more learners, or other data.fold / data.test_fraction"
            )
    return Splits(dataset, vocabulary, **parts)


def _given_folds(fold: pd.Series, name: str, valid: int) -> pd.Series:
    numbers = sorted(set(fold[fold >= 0]))
    if valid not in numbers:
        raise KTError(f"{name}: no fold {valid}; it has {[int(n) for n in numbers]}")
    if (fold == -1).any():
        return fold
    after = numbers[(numbers.index(valid) + 1) % len(numbers)]
    log.info("%s: folds but no test split; fold %s is the test split", name, after)
    return fold.where(fold != after, -1)


def learner_folds(dataset: Dataset, config: DataConfig) -> pd.Series:
    """Fold of each learner (index: learner id); -1 is the test split."""
    table = dataset.table
    if "fold" in table and table["fold"].notna().all():
        per_learner = table.groupby("user", sort=False)["fold"]
        several = per_learner.nunique() > 1
        if several.any():
            user = several.idxmax()
            folds = sorted(table.loc[table["user"] == user, "fold"].unique().tolist())
            raise KTError(
                f"{dataset.name}: learner {user!r} stands in the folds {folds}; a learner belongs "
                "into one: mend the column, or drop it to have learners split at random"
            )
        return _given_folds(per_learner.first().astype(int), dataset.name, config.fold)
    users = np.sort(table["user"].unique())
    rng = np.random.default_rng(config.split_seed)
    order = rng.permutation(len(users))
    n_test = max(1, round(config.test_fraction * len(users)))
    fold = np.empty(len(users), int)
    fold[order[:n_test]] = -1
    fold[order[n_test:]] = np.arange(len(users) - n_test) % config.folds
    return pd.Series(fold, index=users)
