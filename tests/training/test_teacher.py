"""A teacher: predictions that belong to their answers, their loss, and a training that goes on."""

import dataclasses

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from kt_core import losses
from kt_core.config import with_overrides
from kt_core.data import loader
from kt_core.evaluation.evaluate import evaluate
from kt_core.presets import preset
from kt_core.studies.cell import Cell
from kt_core.training.teacher import Teacher, predictions
from kt_core.training.train import History, train
from tests.conftest import module_of, random_batch


class Stop(BaseException):
    """Not an error of the training's own."""


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_the_loss_is_that_of_a_mixed_target(share):
    _, responses, valid = random_batch()
    logits = torch.randn(responses[:, 1:].shape, generator=torch.Generator().manual_seed(1))
    likely = torch.rand(responses.shape, generator=torch.Generator().manual_seed(2))
    own = losses.next_step(logits, responses, valid)
    mixed = torch.lerp(own, losses.teacher(logits, likely, valid), share)
    target, keep = (1 - share) * responses + share * likely, valid[:, 1:]
    expected = F.binary_cross_entropy_with_logits(logits[keep], target[:, 1:][keep])
    torch.testing.assert_close(mixed, expected)
    torch.testing.assert_close(losses.teacher(logits, responses.float(), valid), own)


def test_predictions_lie_where_their_answers_are(smoke, trained):
    train_split = smoke[1].train
    likely = predictions(trained.model, train_split)
    first = train_split.starts
    assert (likely[first] == 0.5).all()
    frame = evaluate(trained.model, train_split, flips=False).frame
    if (train_split.chunk == 0).all():  # whole histories are sequences here
        known = ~np.isin(np.arange(len(likely)), first)
        np.testing.assert_allclose(likely[known], frame["predicted"][known], atol=1e-5)
    teacher = Teacher(torch.arange(len(likely)).float(), torch.from_numpy(first))
    for batch in loader(train_split, 500):
        steps = teacher.of_batch(batch).long()
        rows = train_split.skill[steps[batch.valid]]
        np.testing.assert_array_equal(rows, batch.skills[batch.valid])


def test_a_taught_training_goes_on_to_the_same_bits(smoke, trained, tmp_path, monkeypatch):
    config, splits = smoke
    config = with_overrides(config, {"train.teachers": 1})
    whole = train(config, splits, tmp_path / "whole")
    real = History.on_train_epoch_start

    def stop_in_the_second(self, trainer, module):
        if trainer.current_epoch == 1:
            raise Stop
        real(self, trainer, module)

    with monkeypatch.context() as patch, pytest.raises(Stop):
        patch.setattr(History, "on_train_epoch_start", stop_in_the_second)
        train(config, splits, tmp_path / "half")
    with monkeypatch.context() as patch:
        patch.setattr(module_of(train), "teacher", None)  # it is not trained again
        half = train(config, splits, tmp_path / "half", resume=True)
    columns = ["loss/bce", "loss/teacher", "valid/auc"]
    assert whole.table("history.csv")[columns].equals(half.table("history.csv")[columns])
    for (name, a), b in zip(
        whole.model.state_dict().items(), half.model.state_dict().values(), strict=True
    ):
        assert torch.equal(a, b), name
    alone = trained.table("history.csv")["loss/bce"]
    assert not np.allclose(alone, whole.table("history.csv")["loss/bce"], rtol=1e-6)


def test_its_cell_is_that_of_its_preset():
    cell, named = Cell("assist2015", "taught"), preset("taught")
    named = with_overrides(named, {"data.dataset": "assist2015"})
    assert dataclasses.replace(cell.config, preset="taught") == named
    assert cell.fingerprint != dataclasses.replace(cell, model="retrospective").fingerprint
