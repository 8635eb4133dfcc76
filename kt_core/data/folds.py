"""Learners divided at random, so that each is tested once by a model that has not seen them."""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd

from kt_core.data.table import Dataset


def groups(dataset: Dataset, folds: int, seed: int) -> pd.Series:
    """The group of each learner, 0..folds-1, by name; groups differ by one learner at most."""
    learners = np.sort(dataset.table["user"].unique())
    order = np.random.default_rng(seed).permutation(len(learners))
    return pd.Series(order % folds, index=learners)


def divided(dataset: Dataset, group: pd.Series, fold: int, folds: int) -> Dataset:
    """With group `fold` as the test split, the next one for validation and the others for training;
    without checksums of files, as the folds are in none."""
    number = (group[dataset.table["user"]].to_numpy() - fold) % folds - 1
    return dataclasses.replace(dataset, table=dataset.table.assign(fold=number), sources={})
