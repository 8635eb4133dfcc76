"""Trainings that are killed at chosen moments and resumed until they end: for test_resume.py.

A process of its own, so that forks begin with one thread. It prints what each resumed run and the
one that nobody killed have in common.
"""

import itertools
import json
import os
import signal
import sys
from pathlib import Path

import torch

from kt_core.base.files import read_json
from kt_core.config import with_overrides
from kt_core.data import load_dataset, make_splits
from kt_core.presets import preset
from kt_core.runs.run import Run
from kt_core.training import checkpoints
from kt_core.training.checkpoints import Checkpoints, WholeFiles
from kt_core.training.module import KTModule
from kt_core.training.train import History, train

SETTINGS = {
    "data.learners": 60,
    "model.dropout": 0.2,
    "train.checkpoint_minutes": 0,
    "train.epochs": 5,
    "train.hide_in": 0.5,
    "train.learning_rate": 0.02,
    "train.monitor_every": 2,
    "train.patience": 2,
    "train.tokens_per_batch": 400,
}


def kill(*_):
    os.kill(os.getpid(), signal.SIGKILL)


def at_call(owner, name, number, before=None):
    """Kill this process at the `number`-th call; `before` it dies, do that."""
    real, calls = getattr(owner, name), itertools.count(1)

    def counted(*args, **more):
        if next(calls) == number:
            if before:
                before(*args, **more)
            kill()
        return real(*args, **more)

    setattr(owner, name, counted)


def half_a_file(io, checkpoint, path, storage_options=None):
    temporary = path.with_name(".half.tmp")
    torch.save(checkpoint, temporary)
    content = temporary.read_bytes()
    temporary.write_bytes(content[: len(content) // 2])


def points(seed):
    """(a name, what arms it): steps at random, and the moments at which files are written."""
    generator = torch.Generator().manual_seed(seed)
    for step in torch.randint(2, 18, (3,), generator=generator).tolist():
        yield f"step {step}", lambda n=step: at_call(KTModule, "training_step", n)
    for number in (2, 7):
        yield (
            f"checkpoint {number}, half of it written",
            lambda n=number: at_call(WholeFiles, "save_checkpoint", n, half_a_file),
        )
    yield "before history is written", lambda: at_call(History, "write", 2)
    yield "in a validation", lambda: at_call(Checkpoints, "on_validation_epoch_start", 2)
    yield "weights written, state not", lambda: at_call(Run, "write_state", 2)


def in_fork(work):
    """Whether a process came to the end of `work`."""
    pid = os.fork()
    if not pid:
        work()
        os._exit(0)
    return os.waitpid(pid, 0)[1] == 0


def content(folder):
    """What has to be the same, to the bit."""
    history = Run.load(folder).table("history.csv").drop(columns="seconds")
    parts = {"history": history.to_csv(), "provenance": read_json(folder / "provenance.json")}
    for name in ("model.safetensors", "monitor.csv", "uncertainty.json"):
        path = folder / name
        parts[name] = path.read_bytes().hex() if path.is_file() else ""
    parts["ended"] = parts.pop("provenance")["ended"]
    return parts


def main(out, mode, scheduler, seed, most):
    torch.set_num_threads(1)
    checkpoints.LOOK = 3
    overrides = SETTINGS | {"model.mode": mode, "train.scheduler": scheduler}
    config = with_overrides(preset("smoke"), overrides)
    splits = make_splits(load_dataset(config.data), config.data)
    assert in_fork(lambda: train(config, splits, out / "whole"))
    whole = content(out / "whole")
    for number, (name, arm) in enumerate(itertools.islice(points(seed), most)):
        folder = out / str(number)

        def begin(arm=arm, folder=folder):
            arm()
            train(config, splits, folder)

        reached, half = not in_fork(begin), (folder / "checkpoints" / "resume.ckpt").is_file()
        ended = half and in_fork(lambda f=folder: train(config, splits, f, resume=True))
        differs = [k for k, v in content(folder).items() if v != whole[k]] if ended else ["all"]
        left = sorted(p.name for p in folder.iterdir())
        print(json.dumps([name, reached, differs, left]), flush=True)
    print(json.dumps(["whole", True, [], sorted(p.name for p in (out / "whole").iterdir())]))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], sys.argv[3], *map(int, sys.argv[4:]))
