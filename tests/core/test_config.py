"""Configuration: what exists can be set, what does not is an error that helps."""

import dataclasses

import pytest

from kt_core.base.errors import KTError
from kt_core.config import (
    BCE_ONLY,
    ENHANCED,
    MASTERY_PATH,
    MONITORED,
    DataConfig,
    LossConfig,
    ModelConfig,
    TrainConfig,
    from_dict,
    options,
    with_overrides,
)
from kt_core.presets import PRESETS, preset


def test_presets_are_as_published():
    assert set(PRESETS) == {
        "smoke", "quick", "standard", "taught", "correlation_focused", "intensive", "monitored",
    }  # fmt: skip
    epochs = {name: preset(name).train.epochs for name in PRESETS}
    assert epochs["quick"] == 20 and epochs["standard"] == 50
    assert epochs["correlation_focused"] == 75 and epochs["intensive"] == 100
    monitored = preset("monitored")
    assert (monitored.model.d_model, monitored.model.blocks) == (256, 4)
    assert monitored.train.scheduler == "step" and monitored.loss == MONITORED
    for name in PRESETS:
        t = preset(name).train
        assert (t.learning_rate, t.weight_decay, t.clip) == (1e-3, 1e-4, 1.0)


def test_a_mode_brings_its_own_loss_weights_unless_they_are_named():
    base = preset("standard")
    assert base.model.mode == "retrospective" and base.loss == MASTERY_PATH
    side = with_overrides(base, {"model.mode": "cumulative"})
    assert side.loss == ENHANCED
    assert with_overrides(side, {"model.mode": "projection"}).loss == MONITORED
    assert with_overrides(side, {"model.mode": "retrospective"}).loss == MASTERY_PATH
    named = {"model.mode": "cumulative", "loss": "bce", "loss.sparsity": 0.5}
    assert with_overrides(base, named).loss == dataclasses.replace(BCE_ONLY, sparsity=0.5)
    for mode, term in (("retrospective", "sparsity"), ("projection", "forecast")):
        with pytest.raises(KTError, match=f"loss.{term} is not a term of mode '{mode}'"):
            with_overrides(base, {"model.mode": mode, f"loss.{term}": 0.1})


def test_overrides_take_text_and_keep_types():
    config = with_overrides(
        preset("quick"),
        {
            "model.d_model": "32",
            "train.learning_rate": "1e-4",
            "train.monitor": "false",
            "model.mode": "projection",
            "loss": "monitored",
            "loss.sparsity": 0.5,
        },
    )
    assert config.model.d_model == 32 and config.train.learning_rate == 1e-4
    assert config.train.monitor is False and config.model.mode == "projection"
    assert config.loss == dataclasses.replace(MONITORED, sparsity=0.5)
    assert config.preset == "quick"


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        ({"model.d_modle": 3}, "unknown parameter 'model.d_modle'; did you mean 'model.d_model'"),
        ({"epochs": 3}, "unknown parameter 'epochs'"),
        ({"train.epochs": 0}, "train.epochs = 0: must be at least 1"),
        ({"train.epochs": "many"}, "train.epochs = 'many': expected int"),
        ({"train.epochs": 2.5}, "train.epochs = 2.5: expected int"),
        ({"train.epochs": True}, "train.epochs = True: expected int"),
        ({"train.monitor": "perhaps"}, "expected true or false"),
        ({"train.learning_rate": -1}, "train.learning_rate"),
        ({"train.learning_rate": "nan"}, "train.learning_rate"),
        ({"model.heads": 3}, "model.heads = 3: must be a divisor"),
        (
            {"model.mode": "magic"},
            "choose one of: retrospective, retentive, cumulative",
        ),
        ({"model.dropout": 1}, "model.dropout"),
        ({"loss.sparsity": float("inf")}, "loss.sparsity"),
        ({"loss": "wild"}, "loss weighting 'wild'"),
        ({"data.fold": 5}, "data.fold = 5: must be between 0 and 4"),
        ({"data.columns": "user"}, "expected a mapping"),
    ],
)
def test_impossible_values_are_named(overrides, words):
    with pytest.raises(KTError, match=words):
        with_overrides(preset("quick"), overrides)


def test_columns_are_kept_under_one_name_for_each_meaning():
    columns = {"learner": "Student", "skill": "Topic", "response": "Right", "time": "When"}
    config = with_overrides(preset("quick"), {"data.columns": columns})
    expected = {"user": "Student", "skill": "Topic", "correct": "Right", "timestamp": "When"}
    assert config.data.columns == expected
    twice = {"data.columns": {"learner": "Student", "user": "Id"}}
    with pytest.raises(KTError, match="columns: 'learner' and 'user' mean the same"):
        with_overrides(preset("quick"), twice)


def test_unknown_preset():
    with pytest.raises(KTError, match="preset 'fast' does not exist; choose one of: smoke, quick"):
        preset("fast")


@pytest.mark.parametrize("name", PRESETS)
def test_a_saved_configuration_reads_back(name):
    config = with_overrides(preset(name), {"data.columns": {"user": "Wer"}})
    assert from_dict(config.to_dict()) == config


def test_damaged_saved_configuration():
    raw = preset("smoke").to_dict()
    with pytest.raises(KTError, match="unknown parameter 'model.colour'"):
        from_dict(raw | {"model": {"colour": "red"}})
    with pytest.raises(KTError, match="unknown configuration section 'extras'"):
        from_dict(raw | {"extras": {}})
    with pytest.raises(KTError, match="must be a JSON object"):
        from_dict([])


def test_every_field_can_be_overridden():
    names = set(options())
    for section, kind in (
        ("data", DataConfig), ("model", ModelConfig), ("loss", LossConfig), ("train", TrainConfig)
    ):  # fmt: skip
        for field in dataclasses.fields(kind):
            assert f"{section}.{field.name}" in names
