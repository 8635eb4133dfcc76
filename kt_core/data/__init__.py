"""Data, in one direction: files -> canonical table -> sequences -> batches."""

from importlib import import_module

from kt_core.data.known import known_answers
from kt_core.data.reading import ReadOptions
from kt_core.data.registry import DATASETS, load_dataset, read_dataset
from kt_core.data.scores import read_scores
from kt_core.data.sequences import Sequences, Splits, Vocabulary, make_splits
from kt_core.data.simulate import Simulation, simulate
from kt_core.data.table import Dataset

_OF_BATCHES = ("Batch", "SequenceDataset", "loader")  # they load torch, which reading does without


def __getattr__(name: str):
    if name not in _OF_BATCHES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.batches"), name)
