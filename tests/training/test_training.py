"""Training: repeatable to the bit, unmoved by the monitor, and it learns."""

import builtins
import importlib.util
import logging
import signal

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import module_of
from lightning.pytorch.loggers.logger import Logger

from kt_core.base.errors import KTError
from kt_core.config import with_overrides
from kt_core.data import load_dataset, make_splits
from kt_core.evaluation.evaluate import evaluate
from kt_core.report.examine import examine
from kt_core.runs.run import Run
from kt_core.training.fit import one_cycle
from kt_core.training.tracking import Forgiving, tracker
from kt_core.training.train import train

GUARANTEED = ("monotonicity", "negative_gains", "bounds")


def weights(run):
    return (run.path / "model.safetensors").read_bytes()


def test_the_same_seed_gives_the_same_bytes(smoke, trained, tmp_path):
    config, splits = smoke
    again = train(config, splits, tmp_path / "again")
    assert weights(again) == weights(trained)
    drop = ["seconds"]
    pd.testing.assert_frame_equal(
        again.table("history.csv").drop(columns=drop),
        trained.table("history.csv").drop(columns=drop),
    )
    other = train(with_overrides(config, {"train.seed": 1}), splits, tmp_path / "other")
    assert weights(other) != weights(trained)


@pytest.mark.parametrize(("mode", "loss"), [("retrospective", "path"), ("cumulative", "enhanced")])
def test_the_monitor_changes_nothing(smoke, tmp_path, mode, loss):
    config, splits = smoke
    config = with_overrides(config, {"model.mode": mode, "model.dropout": 0.2})
    runs = [
        train(
            with_overrides(config, {"loss": loss, "train.monitor": on, "train.monitor_every": 1}),
            splits,
            tmp_path / str(on),
        )
        for on in (True, False)
    ]
    assert weights(runs[0]) == weights(runs[1])
    steps = runs[0].table("monitor.csv")["step"]
    assert steps.tolist() == list(range(len(steps))) and len(steps) > 4
    assert runs[1].table("monitor.csv").empty


def test_monitor_looks_every_nth_step_and_finds_the_guarantees(trained):
    monitor = trained.table("monitor.csv")
    assert (monitor["step"] % trained.config.train.monitor_every == 0).all()
    for name in ("monotonicity", "negative_gains", "bounds"):
        assert (monitor[f"monitor/violations/{name}"] == 0).all()
    assert monitor["monitor/mean/own_mastery"].between(0, 1).all()


def test_every_loss_term_is_logged_apart(trained):
    history = trained.table("history.csv")
    for name in trained.config.loss.active:
        assert history[f"loss/{name}"].notna().all()
    total = history["loss/bce"] + sum(
        weight * history[f"loss/{name}"] for name, weight in trained.config.loss.active.items()
    )
    np.testing.assert_allclose(history["loss/total"], total, rtol=1e-5)


def test_the_saved_weights_are_those_of_the_best_epoch(smoke, tmp_path):
    from sklearn.metrics import roc_auc_score

    config, splits = smoke
    run = train(with_overrides(config, {"train.epochs": 3}), splits, tmp_path / "r")
    rows = evaluate(run.model, splits.valid).predicted
    best = run.table("history.csv")["valid/auc"].max()
    assert roc_auc_score(rows["correct"], rows["predicted"]) == pytest.approx(best, abs=1e-4)


def test_it_learns_what_there_is_to_learn(smoke, tmp_path):
    config, _ = smoke
    config = with_overrides(
        config,
        {
            "data.learners": 500,
            "train.epochs": 14,
            "train.learning_rate": 5e-3,
            "train.tokens_per_batch": 2048,
            "loss": "bce",
        },
    )
    splits = make_splits(load_dataset(config.data), config.data)
    run = train(config, splits, tmp_path / "r")
    assert run.table("history.csv")["valid/auc"].max() > 0.66


@pytest.mark.parametrize("scheduler", ["plateau", "step", "onecycle", "constant"])
def test_schedulers(smoke, tmp_path, scheduler):
    config, splits = smoke
    config = with_overrides(
        config,
        {
            "train.scheduler": scheduler,
            "train.scheduler_step": 1,
            "train.epochs": 6,
            "train.learning_rate": 1e-6,  # nothing is learned: the plateau is there at once
        },
    )
    rates = train(config, splits, tmp_path / "r").table("history.csv")["learning_rate"]
    assert (rates.nunique() > 1) == (scheduler != "constant")


def test_the_plateau_waits_while_auc_rises(smoke, tmp_path, monkeypatch):
    config, splits = smoke
    module = module_of(train)
    monkeypatch.setattr(module, "fit_skeleton", lambda *_: {})  # much to learn
    history = train(
        with_overrides(config, {"train.epochs": 3}),
        splits,
        tmp_path / "r",
    ).table("history.csv")
    assert history["valid/auc"].is_monotonic_increasing
    assert history["learning_rate"].nunique() == 1


def test_one_cycle_rises_and_falls():
    shape = [one_cycle(s, 100) for s in range(120)]
    assert shape[0] == pytest.approx(0.01) and max(shape) == pytest.approx(1.0)
    assert np.argmax(shape) == 30 and shape[-1] == pytest.approx(0.01)


def test_early_stopping(smoke, tmp_path):
    config, splits = smoke
    config = with_overrides(
        config, {"train.epochs": 30, "train.patience": 1, "train.learning_rate": 1e-8}
    )
    assert len(train(config, splits, tmp_path / "r").table("history.csv")) < 30


def test_a_run_that_fails_leaves_nothing(smoke, tmp_path, monkeypatch):
    config, splits = smoke
    monkeypatch.setattr("kt_core.losses.next_step", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        train(config, splits, tmp_path / "r")
    assert list(tmp_path.iterdir()) == []


def test_an_interrupt_stays_one(smoke, tmp_path, monkeypatch):
    config, splits = smoke

    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("kt_core.losses.next_step", stop)
    with pytest.raises(KeyboardInterrupt):
        train(config, splits, tmp_path / "r")
    assert list(tmp_path.iterdir()) == []
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_an_existing_or_unwritable_folder(smoke, tmp_path):
    config, splits = smoke
    (tmp_path / "r").mkdir()
    with pytest.raises(KTError, match="exists already; choose another --name"):
        train(config, splits, tmp_path / "r")
    (tmp_path / "file").write_text("")
    with pytest.raises(KTError, match="cannot be written"):
        train(config, splits, tmp_path / "file" / "r")


def test_a_model_beyond_memory_is_refused_before_it_is_built(smoke, tmp_path):
    config, splits = smoke
    huge = with_overrides(config, {"model.d_model": 16_384, "model.d_ff": 16_384})
    huge = with_overrides(huge, {"model.heads": 8, "model.blocks": 200})
    with pytest.raises(KTError, match=r"weights: training takes .* GiB .* this machine has"):
        train(huge, splits, tmp_path / "r")
    assert not (tmp_path / "r").exists()


def test_no_gpu_where_one_is_asked_for(smoke, tmp_path):
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    config, splits = smoke
    with pytest.raises(KTError, match="torch finds no GPU"):
        train(with_overrides(config, {"train.accelerator": "gpu"}), splits, tmp_path / "r")


@pytest.mark.parametrize(
    ("name", "damage", "words"),
    [
        ("model.safetensors", lambda b: b[: len(b) // 2], "model.safetensors: damaged"),
        ("model.safetensors", lambda b: b"", "model.safetensors: damaged"),
        ("config.json", lambda b: b[:100], "cannot be read as JSON"),
        ("config.json", lambda b: b"{}", "'config' is missing"),
        ("config.json", lambda b: b.replace(b'"d_model": 16', b'"d_model": 32'), "damaged"),
        ("provenance.json", lambda b: b"[]", "expected a JSON object"),
    ],
)
def test_damaged_runs_are_refused(trained, tmp_path, name, damage, words):
    import shutil

    copy = tmp_path / "copy"
    shutil.copytree(trained.path, copy)
    (copy / name).write_bytes(damage((copy / name).read_bytes()))
    with pytest.raises(KTError, match=words):
        Run.load(copy)


def test_a_folder_that_is_no_run(tmp_path):
    with pytest.raises(KTError, match="is not a finished run: it has no config.json"):
        Run.load(tmp_path)


def test_tracking_is_optional_and_checked_at_the_start(smoke, tmp_path, monkeypatch):
    config, splits = smoke
    assert tracker(config) is False
    if importlib.util.find_spec("wandb"):
        pytest.skip("wandb is installed")
    real = builtins.__import__
    asked = []
    monkeypatch.setattr(
        builtins, "__import__", lambda name, *a, **k: (asked.append(name), real(name, *a, **k))[1]
    )
    with pytest.raises(KTError, match=r"pip install 'kt-core\[wandb\]'"):
        train(with_overrides(config, {"train.wandb": True}), splits, tmp_path / "r")
    assert not any(name.split(".")[0] == "wandb" for name in asked)
    assert list(tmp_path.iterdir()) == []


class Broken(Logger):
    name = property(lambda self: "broken")
    version = property(lambda self: 0)
    calls = 0

    def log_metrics(self, metrics, step=None):
        self.calls += 1
        if self.calls > 3:
            raise ConnectionError("the service is gone")

    def log_hyperparams(self, *args, **kwargs):
        pass


def test_tracking_that_fails_later_warns_once_and_training_goes_on(
    smoke, trained, tmp_path, monkeypatch, caplog
):
    config, splits = smoke
    broken = Broken()
    monkeypatch.setattr(module_of(train), "tracker", lambda config: Forgiving(broken))
    with caplog.at_level(logging.WARNING):
        run = train(config, splits, tmp_path / "r")
    assert weights(run) == weights(trained)
    assert broken.calls == 4 and caplog.text.count("the service is gone") == 1


def test_half_precision_breaks_no_guarantee(smoke, tmp_path):
    config, splits = smoke
    run = train(with_overrides(config, {"train.precision": "bfloat16"}), splits, tmp_path / "r")
    assert next(run.model.parameters()).dtype == torch.float32  # products alone are shorter
    counts = evaluate(run.model, splits.valid).counts
    monitor = run.table("monitor.csv").filter(regex=f"violations/({'|'.join(GUARANTEED)})$")
    assert monitor.shape[1] == 3 and (monitor == 0).all(axis=None)
    assert (counts[list(GUARANTEED)] == 0).all(axis=None)


def test_without_a_better_epoch_the_skeleton_is_kept(smoke, tmp_path, monkeypatch):
    config, splits = smoke
    module = module_of(train)
    monkeypatch.setattr(module, "validation_auc", lambda *_: 0.999)
    run = train(config, splits, tmp_path / "r")
    assert run.provenance["skeleton"]["validation AUC"] == 0.999
    heads = run.model.heads
    for head in (heads.correction, heads.evidence, heads.form):
        assert not head.weight.any() and not head.bias.any()
    examined = examine(run.path)
    assert examined.best_epoch["epoch"] == -1 and len(run.table("history.csv")) == 2


def test_the_skeleton_is_validated_as_epochs_are(smoke, tmp_path):
    config, splits = smoke
    still = with_overrides(config, {"train.learning_rate": 1e-12, "train.epochs": 1})
    run = train(still, splits, tmp_path / "r")
    after = run.table("history.csv")["valid/auc"].item()
    assert run.provenance["skeleton"]["validation AUC"] == pytest.approx(after, abs=1e-6)
