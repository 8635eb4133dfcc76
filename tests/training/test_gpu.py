"""What is true on a processor is true on a GPU; skipped where there is none."""

import copy

import numpy as np
import pytest
import torch
from conftest import random_batch, stir
from invariants import DTYPES, MODES, WEIGHTS, Case, checked

from kt_core.base import devices
from kt_core.base.errors import KTError
from kt_core.config import ModelConfig, with_overrides
from kt_core.evaluation.evaluate import evaluate
from kt_core.evaluation.masked import hidden_answers
from kt_core.model import GainAKT2
from kt_core.report.examine import examine
from kt_core.training.train import train

on_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no GPU")
EVERY_MODE = ("retrospective", "cumulative", "projection")


@on_gpu
@pytest.mark.parametrize("mode", EVERY_MODE)
@pytest.mark.parametrize(("width", "heads", "fading"), [(32, 4, 8), (28, 2, 4)])
def test_states_are_those_of_the_processor(mode, width, heads, fading):
    config = ModelConfig(mode=mode, d_model=width, heads=heads, blocks=2, d_ff=48, fading=fading)
    model = stir(GainAKT2(config, 7)).double()
    q, r, valid = random_batch(T=40)
    there = copy.deepcopy(model).to("cuda")
    with torch.no_grad():
        a = model.forward_with_states(q, r, valid=valid)
        b = there.forward_with_states(q.cuda(), r.cuda(), valid=valid.cuda())
        flips = model.flips(a, q, r)
        torch.testing.assert_close(there.flips(b, q.cuda(), r.cuda()).cpu(), flips)
    for name, value in vars(a).items():
        if value is not None:
            torch.testing.assert_close(getattr(b, name).cpu(), value)


@on_gpu
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("weights", WEIGHTS)
def test_no_weights_break_a_guarantee(mode, weights):
    for seed, dtype in enumerate(DTYPES):
        case = Case(mode, weights, dtype, steps=40, skills=7, seed=seed, device="cuda")
        assert {name: n for name, n in checked(case).items() if n[0]} == {}


@on_gpu
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("mode", EVERY_MODE)
def test_a_run_trained_on_a_gpu_is_measured_like_any_other(smoke, tmp_path, precision, mode):
    config, splits = smoke
    wanted = {"train.accelerator": "gpu", "train.precision": precision, "model.mode": mode}
    config = with_overrides(config, wanted)
    run = train(config, splits, tmp_path / "run")
    assert all(w.device.type == "cpu" for w in run.model.parameters())
    assert len(run.table("monitor.csv")) and run.table("history.csv")["valid/auc"].notna().all()
    counts = examine(run.path).beliefs.counts
    if run.model.guaranteed:
        assert counts[["monotonicity", "negative_gains", "bounds"]].to_numpy().sum() == 0


@on_gpu
def test_a_report_reads_on_the_gpu_what_the_processor_reads(trained, smoke, monkeypatch):
    test = smoke[1].test
    there, hidden = evaluate(trained.model, test).frame, hidden_answers(trained.model, test)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    here = evaluate(trained.model, test).frame
    np.testing.assert_allclose(there, here, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(hidden, hidden_answers(trained.model, test), rtol=1e-4, atol=1e-5)


@on_gpu
def test_a_batch_too_large_for_the_gpu_is_one_clear_error(smoke, tmp_path):
    config, splits = smoke
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction(1e-4)
    try:
        with pytest.raises(KTError, match="GPU's memory is too small .*tokens_per_batch"):
            train(config, splits, tmp_path / "run")
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)


def full(*args, **more):
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB. GPU 0 has ...")


def test_too_little_memory_while_training(smoke, tmp_path, monkeypatch):
    config, splits = smoke
    monkeypatch.setattr(GainAKT2, "encode", full)
    with pytest.raises(KTError, match=r"too small \(CUDA out of memory\); choose fewer train\."):
        train(config, splits, tmp_path / "run")


def test_too_little_memory_while_reading(trained, smoke, monkeypatch):
    monkeypatch.setattr(GainAKT2, "read_skeleton", full)
    with pytest.raises(KTError, match="hide it with CUDA_VISIBLE_DEVICES= "):
        evaluate(trained.model, smoke[1].test)


def test_reading_leaves_a_model_as_it_was(trained):
    model = copy.deepcopy(trained.model).train()
    with devices.for_reading(model):
        assert not model.training
    assert model.training and next(model.parameters()).device.type == "cpu"
