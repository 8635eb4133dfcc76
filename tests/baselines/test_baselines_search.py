"""The search trains each candidate briefly, the best of each dropout in full, keeps the best on
validation learners, and records what it tried."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.metrics import roc_auc_score

from kt_core.baselines.neural import AKT, DKT, SAKT, TRAINING, SimpleKT
from kt_core.baselines.search import GRID, Candidate, Trained, search
from kt_core.config import DataConfig
from kt_core.data import load_dataset, make_splits
from kt_core.recurrent import Shape

SMALL = tuple(Candidate(Shape(16, 2, 1, dropout), 0.02) for dropout in (0.1, 0.2))
QUICK = replace(TRAINING, epochs=4, tokens_per_batch=512, average=0.9)


def candidates(*pairs):
    return tuple(Candidate(Shape(width=width, dropout=p), 0.1) for width, p in pairs)


def trainer(short, full, complete=()):
    """A training whose AUCs are given by width; `complete` widths stop by themselves at once."""
    calls = []

    def train(candidate, most):
        width = candidate.shape.width
        calls.append((width, most))
        auc = short[width] if most else full[width]
        history = pd.DataFrame({"seconds": [1.0, 2.0], "valid/auc": [auc - 0.1, auc]})
        return Trained(None, history, complete=not most or width in complete)

    return train, calls


def test_the_best_of_each_dropout_is_trained_in_full():
    four = candidates((8, 0.1), (16, 0.1), (32, 0.2), (64, 0.2))
    train, calls = trainer({8: 0.6, 16: 0.7, 32: 0.5, 64: 0.4}, {16: 0.71, 32: 0.72})
    best, tried = search(four, train, short=3)
    assert calls == [(8, 3), (16, 3), (32, 3), (64, 3), (16, 0), (32, 0)]
    assert best.auc == 0.72  # it was the worse of the two after the short training
    assert tried["round"].tolist() == [1, 1, 1, 1, 2, 2]
    assert tried["valid_auc"].tolist() == [0.6, 0.7, 0.5, 0.4, 0.71, 0.72]
    assert tried["chosen"].tolist() == [False] * 5 + [True]
    assert tried["width"].tolist() == [8, 16, 32, 64, 16, 32]
    assert (tried["seconds"] == 3).all() and (tried["epochs"] == 2).all()


def test_what_has_ended_is_not_trained_again_and_ties_go_to_the_first():
    three = candidates((8, 0.1), (16, 0.1), (32, 0.2))
    train, calls = trainer({8: 0.7, 16: 0.7, 32: 0.7}, {}, complete=(8, 16, 32))
    best, tried = search(three, train, short=9)
    assert len(calls) == 3 and best.auc == 0.7
    assert tried["chosen"].tolist() == [True, False, False]


def test_the_grid_covers_what_it_should():
    assert {c.shape.width for c in GRID} == {64, 128, 256}
    assert {c.shape.dropout for c in GRID} == {0.1, 0.2, 0.3}
    assert {c.learning_rate for c in GRID} == {3e-4, 1e-3}
    assert all(cls.grid == GRID for cls in (DKT, SAKT, SimpleKT, AKT))


@pytest.fixture(scope="module")
def splits():
    config = DataConfig(learners=200)
    return make_splits(load_dataset(config), config)


@pytest.mark.parametrize("cls", [DKT, AKT])
def test_a_tracer_without_a_shape_is_tuned_and_repeats_itself(cls, splits, monkeypatch):
    monkeypatch.setattr(cls, "grid", SMALL)
    monkeypatch.setattr("kt_core.baselines.neural.SHORT_STEPS", 1)
    monkeypatch.setattr("kt_core.baselines.neural.SHORT_EPOCHS", 2)
    first, again = cls(training=QUICK), cls(training=QUICK)
    first.fit(splits, seed=5)
    again.fit(replace(splits, test=splits.valid), seed=5)  # test learners play no part
    assert first.tried["epochs"].tolist() == [2, 2, 4, 4]
    columns = first.tried.columns.drop("seconds")
    pd.testing.assert_frame_equal(first.tried[columns], again.tried[columns])
    for name, weight in again.network.state_dict().items():
        assert torch.equal(weight, first.network.state_dict()[name]), name
    chosen = first.tried[first.tried["chosen"]]
    assert len(chosen) == 1 and chosen["valid_auc"].item() == first.history["valid/auc"].max()
    predicted, label = first.trace(splits.valid).predicted, splits.valid.response
    scored = ~np.isnan(predicted)
    auc = roc_auc_score(label[scored], predicted[scored])
    assert auc == pytest.approx(chosen["valid_auc"].item(), abs=1e-5)
    assert auc > 0.55
    given = cls(Shape(16, 2, 1, 0.1), replace(QUICK, learning_rate=0.02))
    given.fit(splits, seed=5)  # the same training without a search
    assert given.tried.empty
    same = first.tried.query("round == 2 and dropout == 0.1")["valid_auc"].item()
    assert given.history["valid/auc"].max() == same
