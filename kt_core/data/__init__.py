"""Data, in one direction: files -> canonical table -> sequences -> batches."""

from kt_core.data.batches import Batch, SequenceDataset, loader
from kt_core.data.known import known_answers
from kt_core.data.reading import ReadOptions
from kt_core.data.registry import DATASETS, load_dataset, read_dataset
from kt_core.data.scores import read_scores
from kt_core.data.sequences import Sequences, Splits, Vocabulary, make_splits
from kt_core.data.simulate import Simulation, simulate
from kt_core.data.table import Dataset
