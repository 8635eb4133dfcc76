"""Training in several processes: what they log is what one process with all batches would log."""

import os
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import torch

from kt_core.base import processes
from kt_core.base.errors import KTError
from kt_core.config import with_overrides
from kt_core.data.batches import LengthBuckets
from kt_core.data.registry import read_splits
from kt_core.monitor import BatchSums, batch_metrics, batch_sums
from kt_core.presets import preset
from kt_core.runs.run import Run
from kt_core.training.train import train
from tests.conftest import ROOT, random_batch, states_of

STILL = {  # weights that hardly move, and nothing random: epochs are then sums over batches
    "data.learners": 80,
    "loss.difficulty": 0,
    "loss.forecast": 0,
    "model.dropout": 0,
    "train.average": 0,
    "train.epochs": 1,
    "train.hide": 0,
    "train.learning_rate": 1e-12,
    "train.monitor_every": 1,
    "train.teachers": 1,
    "train.tokens_per_batch": 300,
}


def together(*arguments, module="kt_core"):
    """Two processes with the same arguments; the exit code, and what they said."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    command += ["-m", module, "train", *arguments]
    env = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=env, timeout=300)
    return done.returncode, done.stderr


def new(folder, chosen):
    given = [f"--set={name}={value}" for name, value in chosen.items()]
    return ["--preset", "smoke", "--name", folder.name, "--out", str(folder.parent), *given]


@pytest.mark.parametrize("mode", ["retrospective", "cumulative"])
def test_two_processes_log_what_one_does(tmp_path, mode):
    chosen = STILL | {"model.mode": mode}
    config = with_overrides(preset("smoke"), chosen | {"train.progress": False})
    one = train(config, read_splits(config), tmp_path / "one")
    code, errors = together(*new(tmp_path / "two" / "run", chosen))
    assert code == 0, errors[-3000:]
    two = Run.load(tmp_path / "two" / "run")
    assert two.provenance["processes"] == 2 and one.provenance["processes"] == 1
    a, b = one.table("history.csv"), two.table("history.csv")
    steps = len(one.table("monitor.csv"))
    assert steps % 2 == 0 and steps == 2 * len(two.table("monitor.csv"))
    means = ["valid/auc", "valid/loss", "loss/bce"]
    np.testing.assert_allclose(a[means], b[means], rtol=1e-5)
    for run in (one, two):
        assert (run.table("monitor.csv")["monitor/violations/bounds"] == 0).all()
    assert [p.name for p in (tmp_path / "two").iterdir()] == ["run"]


def test_two_processes_go_on_where_they_were_killed(tmp_path):
    chosen = {"model.mode": "cumulative", "train.epochs": 2, "train.tokens_per_batch": 300}
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    code, errors = together(*new(whole, chosen))
    assert code == 0, errors[-3000:]
    code, errors = together(*new(killed, chosen), module="tests.training.killed_beside")
    assert code != 0 and (killed / "checkpoints" / "resume.ckpt").is_file(), errors[-3000:]
    code, errors = together("--resume", str(killed))
    assert code == 0, errors[-3000:]
    for name in ("model.safetensors", "monitor.csv"):
        assert (whole / name).read_bytes() == (killed / name).read_bytes(), name
    histories = [Run.load(folder).table("history.csv") for folder in (whole, killed)]
    a, b = (history.drop(columns="seconds") for history in histories)
    pd.testing.assert_frame_equal(a, b)


def test_glances_of_parts_are_the_glance_of_the_whole():
    q, r, valid = random_batch(B=6, T=10, C=4)
    g = torch.Generator().manual_seed(2)
    m, trajectory, gains = (torch.rand(6, 10, 4, generator=g) for _ in range(3))
    own, logits = torch.rand(6, 10, generator=g), torch.randn(6, 9, generator=g)
    fields = (m, trajectory, gains - 0.1, own, logits, q)

    def sums(rows):
        return batch_sums(states_of(*(x[rows] for x in fields)), r[rows], valid[rows])

    whole = batch_metrics(sums(slice(None)), 4)
    parts = [sums(rows) for rows in (slice(0, 2), slice(2, 6))]
    together = batch_metrics(BatchSums.together(parts), 4)
    for name, value in whole.items():
        torch.testing.assert_close(together[name], value, equal_nan=True, msg=name)


@pytest.mark.parametrize("world", [2, 3, 7])
def test_shares_are_whole_and_balanced(world):
    lengths = np.random.default_rng(0).integers(3, 200, 3000)
    shares = [list(LengthBuckets(lengths, 1000, True, 1, r, world)) for r in range(world)]
    assert len({len(share) for share in shares}) == 1
    read = [i for share in shares for part in share for i in part]
    assert set(read) == set(range(3000))
    assert len(read) - 3000 < world * max(len(part) for share in shares for part in share)
    uneven = []
    for step in zip(*shares, strict=True):
        longest = np.array([lengths[part].max() for part in step])
        assert (longest * [len(part) for part in step]).max() <= 1300  # tokens, with the jitter
        uneven.append(longest.max() / longest.min())
    assert np.median(uneven) < 1.3
    once = [list(LengthBuckets(lengths, 1000, False, rank=r, world=world)) for r in range(world)]
    assert sorted(i for share in once for part in share for i in part) == list(range(3000))


def test_one_process_is_as_before():
    lengths = np.random.default_rng(0).integers(3, 200, 50)
    alone, shared = LengthBuckets(lengths, 500, True, 1), LengthBuckets(lengths, 500, True, 1, 0, 1)
    assert list(alone) == list(shared)


def test_the_environment_says_who_this_is(monkeypatch):
    assert (processes.world(), processes.rank(), processes.on_this_machine()) == (1, 0, 1)
    monkeypatch.setenv("WORLD_SIZE", "8")  # not of a training that torchrun started
    assert processes.world() == 1
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "x")
    monkeypatch.setenv("RANK", "5")
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    assert (processes.world(), processes.rank(), processes.on_this_machine()) == (8, 5, 4)
    monkeypatch.setenv("RANK", "five")
    with pytest.raises(KTError, match="RANK = 'five'"):
        processes.rank()


def test_reports_are_for_one_process(monkeypatch, capsys):
    from kt_core.cli.commands import main

    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "x")
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert main(["run", "--preset", "smoke"]) == 2
    assert "start train with torchrun" in capsys.readouterr().err
