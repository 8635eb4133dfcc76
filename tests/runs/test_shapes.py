"""Shapes without memory are those of the real thing."""

import pytest

from kt_core.config import ModelConfig
from kt_core.model import GainAKT2
from kt_core.runs.shapes import shapes


@pytest.mark.parametrize(
    "config",
    [
        ModelConfig(d_model=16, heads=2),
        ModelConfig(d_model=16, heads=2, transfer=False),
        ModelConfig(d_model=16, heads=2, mode="cumulative", start_token=False),
        ModelConfig(d_model=16, heads=2, mode="projection", position="absolute"),
    ],
    ids=lambda config: config.mode,
)
def test_they_are_the_models_own(config):
    found, real = (make(config, 3, [0, 1, 2, 2]) for make in (shapes, GainAKT2))
    real = real.state_dict()
    assert list(found) == list(real)
    for name, value in found.items():
        assert (value.shape, value.dtype) == (real[name].shape, real[name].dtype), name


def test_they_take_no_memory():
    found = shapes(ModelConfig(d_model=16_384, heads=8, d_ff=16_384, blocks=100), 10**6)
    assert sum(value.numel() for value in found.values()) > 10**11
