"""Work is not lost: trainings that are killed go on, and half-runs are called what they are."""

import json
import os
import pickle
import shutil
import subprocess
import sys
import time

import pytest
import torch

from kt_core.base import digests
from kt_core.base.errors import KTError
from kt_core.base.locks import in_use, locked
from kt_core.cli import commands as cli
from kt_core.config import with_overrides
from kt_core.runs import resume as halfruns
from kt_core.runs.run import Run
from kt_core.training import checkpoints
from kt_core.training.module import KTModule
from kt_core.training.train import History, train
from tests.conftest import ROOT


@pytest.mark.parametrize(
    "trainings", [("retrospective", "plateau", "0", "8"), ("cumulative", "onecycle", "1", "3")]
)
def test_a_killed_training_comes_to_the_same_bits(tmp_path, trainings):
    command = [sys.executable, "-m", "tests.training.killed", str(tmp_path), *trainings]
    env = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    *rows, (_, _, _, left) = [
        json.loads(line) for line in done.stdout.splitlines() if line.startswith("[")
    ]
    assert len(rows) > 2 and "checkpoints" not in left
    for name, reached, differs, files in rows:
        assert reached, f"{name}: training was over before it"
        assert differs == [], name
        assert files == left, name


class Stop(BaseException):
    """Not an error of the training's own."""


def stop(*_):
    raise Stop


@pytest.fixture
def half(smoke, tmp_path, monkeypatch):
    """A training that was stopped after its first epoch."""
    config, splits = smoke
    config = with_overrides(config, {"train.epochs": 3})
    with monkeypatch.context() as patch:
        real = History.on_train_epoch_start

        def stop_in_the_second(self, trainer, module):
            if trainer.current_epoch == 1:
                raise Stop
            real(self, trainer, module)

        patch.setattr(History, "on_train_epoch_start", stop_in_the_second)
        with pytest.raises(Stop):
            train(config, splits, tmp_path / "half")
    return tmp_path / "half", config, splits


def test_a_half_run_is_refused_with_the_way_on(half, capsys):
    folder, _, _ = half
    assert json.loads((folder / "state.json").read_text()) == {"state": "stopped", "why": "Stop"}
    words = f"--resume {folder}"
    with pytest.raises(KTError, match=f"its training was stopped .Stop.*{words}"):
        Run.load(folder)
    out = str(folder.parent / "out.csv")
    for command in (
        ["validate", str(folder)],
        ["visualise", str(folder)],
        ["predict", str(folder), "--data", __file__, "--out", out],
        ["classroom", str(folder), "--out", out],
        ["train", "--name", folder.name, "--out", str(folder.parent)],
    ):
        assert cli.main(command) == 2
        assert words in capsys.readouterr().err


def test_a_run_may_end_where_it_stopped(half):
    folder, config, splits = half
    run = train(config, splits, folder, end=True)
    assert len(run.table("history.csv")) == 1 and "by hand" in run.provenance["ended"]
    assert len(run.provenance["resumed"]) == 1
    with pytest.raises(KTError, match="is a finished run: there is nothing to resume"):
        train(config, splits, folder, resume=True)


def test_a_run_cannot_end_before_its_first_validation(smoke, tmp_path, monkeypatch):
    config, splits = smoke
    config = with_overrides(config, {"train.checkpoint_minutes": 0})
    monkeypatch.setattr(checkpoints, "LOOK", 1)
    with monkeypatch.context() as patch, pytest.raises(Stop):
        patch.setattr(checkpoints.Checkpoints, "on_validation_epoch_start", stop)
        train(config, splits, tmp_path / "r")
    with pytest.raises(KTError, match="(?s)no epoch has been validated yet.*--resume"):
        train(config, splits, tmp_path / "r", end=True)
    assert len(train(config, splits, tmp_path / "r", resume=True).table("history.csv")) == 2


def test_a_folder_in_use_is_refused(half, smoke, capsys):
    folder, config, splits = half
    with locked(folder):
        assert in_use(folder)
        with pytest.raises(KTError, match="in use by another process"):
            train(config, splits, folder, resume=True)
        Run(folder, config, splits.vocabulary, {}).write_state("training")
        with pytest.raises(KTError, match="is being trained by another process"):
            Run.load(folder)
    with pytest.raises(KTError, match="its training was killed"):
        Run.load(folder)


def test_two_reports_at_once(trained, capsys):
    with locked(trained.path):
        assert cli.main(["validate", str(trained.path)]) == 2
    assert "in use by another process" in capsys.readouterr().err


class Evil:
    def __reduce__(self):
        return (os.mkdir, (str(self.target),))


def flip(path, where, before=1):
    """Change one bit at a share of the file."""
    data = bytearray(path.read_bytes())
    data[int(where * (len(data) - before))] ^= 4
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (
            lambda path: path.write_bytes(path.read_bytes()[:5000]),
            "it cannot be resumed from this file",
        ),
        (lambda path: path.write_bytes(b""), "it cannot be resumed from this file"),
        (lambda path: torch.save({"callbacks": torch.ones(2)}, path), "not a checkpoint"),
        (lambda path: path.unlink(), "there is no checkpoint to resume from"),
        (lambda path: path.write_bytes(b"\x1b[2J" * 10**5), "damaged, or not a checkpoint at all"),
        (lambda path: flip(path, 0.1), "damaged: its SHA-256 is not what it was"),
        (lambda path: flip(path, 0.5), "damaged: its SHA-256 is not what it was"),
        (lambda path: flip(path, 1.0), "damaged: its SHA-256 is not what it was"),
        (lambda path: flip(path, 1.0, digests.TAIL), "damaged: its SHA-256 is not what it was"),
        (lambda path: (path.unlink(), os.mkfifo(path)), "there is no checkpoint to resume from"),
    ],
)
def test_a_damaged_checkpoint_is_refused(half, damage, words):
    folder, _, _ = half
    damage(folder / "checkpoints" / "resume.ckpt")
    with pytest.raises(KTError, match=words):
        halfruns.half_run(folder)


@pytest.mark.parametrize("write", [torch.save, lambda x, path: path.write_bytes(pickle.dumps(x))])
def test_a_checkpoint_from_elsewhere_runs_nothing(half, tmp_path, write):
    folder, config, splits = half
    evil = Evil()
    evil.target = tmp_path / "hacked"
    write({"loops": evil, "callbacks": evil}, folder / "checkpoints" / "resume.ckpt")
    with pytest.raises(KTError, match="it cannot be resumed from this file"):
        train(config, splits, folder, resume=True)
    assert not evil.target.exists()


@pytest.mark.parametrize(
    ("section", "key", "value"), [("train", "epochs", 9), ("loss", "forecast", 0.5)]
)
def test_settings_changed_after_the_kill_are_refused(half, section, key, value):
    folder, _, _ = half
    saved = json.loads((folder / "config.json").read_text())
    before = saved["config"][section][key]
    saved["config"][section][key] = value
    (folder / "config.json").write_text(json.dumps(saved))
    with pytest.raises(KTError, match=r"config\.json: it has been changed since its training stop"):
        halfruns.half_run(folder)
    saved["config"][section][key] = before
    saved["config"]["data"]["path"] = "moved.csv"  # its checksum is compared, not its place
    (folder / "config.json").write_text(json.dumps(saved))
    halfruns.half_run(folder)


def test_a_checkpoint_of_version_0_1_is_resumed(half):
    folder, config, splits = half
    path = folder / "checkpoints" / "resume.ckpt"
    content = torch.load(path, weights_only=True)
    del content["config_sha256"]
    torch.save(content, path)
    assert digests.intact(path) is None
    run = train(config, splits, folder, resume=True)
    assert len(run.table("history.csv")) == 3


@pytest.mark.parametrize("part", ["loops", "callbacks", "optimizer_states", "state_dict"])
def test_a_checkpoint_with_junk_inside_is_refused(half, part):
    folder, config, splits = half
    path = folder / "checkpoints" / "resume.ckpt"
    torch.save(torch.load(path, weights_only=True) | {part: {"x": [3]}}, path)
    digests.seal(path)
    with pytest.raises(KTError, match="(?s)resume.ckpt: it cannot be resumed from this file"):
        train(config, splits, folder, resume=True)


@pytest.mark.parametrize("name", ["checkpoints", "figures", "notebooks"])
def test_links_out_of_a_half_run_are_refused(half, tmp_path, name):
    folder, config, splits = half
    outside = tmp_path / "outside"
    if (folder / name).is_dir():
        (folder / name).rename(outside)
    outside.mkdir(exist_ok=True)
    (folder / name).symlink_to(outside)
    before = sorted(outside.iterdir())
    with pytest.raises(KTError, match=f"{name}: a link to .*remove the link"):
        train(config, splits, folder, resume=True)
    assert sorted(outside.iterdir()) == before


def test_other_data_is_refused_and_changes_nothing(half, smoke):
    folder, config, splits = half
    facts = json.loads((folder / "provenance.json").read_text())
    (folder / "provenance.json").write_text(json.dumps(facts | {"data_sha256": {"table": "0"}}))
    before = (folder / "state.json").read_text()
    with pytest.raises(KTError, match="its data has changed since"):
        train(config, splits, folder, resume=True)
    assert (folder / "state.json").read_text() == before


def test_going_on_with_other_versions_is_said(half, caplog):
    folder, config, splits = half
    facts = json.loads((folder / "provenance.json").read_text())
    (folder / "provenance.json").write_text(json.dumps(facts | {"packages": {"torch": "1.0"}}))
    run = train(config, splits, folder, resume=True)
    assert "packages is not what the run began with" in caplog.text
    (entry,) = run.provenance["resumed"]
    assert set(entry) == {"created", "packages"} and run.provenance["packages"] == {"torch": "1.0"}


def test_resume_takes_no_settings(half, capsys):
    folder, _, _ = half
    assert cli.main(["train", "--resume", str(folder), "--seed", "1", "--preset", "quick"]) == 2
    assert "leave out --preset, --seed" in capsys.readouterr().err
    assert cli.main(["train", "--end"]) == 2
    assert "--end goes with --resume" in capsys.readouterr().err
    assert cli.main(["train", "--resume", str(folder / "nowhere")]) == 2
    assert "is not a run: it has no config.json" in capsys.readouterr().err


def test_the_command_goes_on(half, capsys):
    folder, _, _ = half
    assert cli.main(["train", "--resume", str(folder)]) == 0
    run = Run.load(folder)
    assert len(run.table("history.csv")) == 3
    assert (folder / "notebooks" / "01_train.ipynb").is_file()


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_loss_that_is_no_number_stops_and_keeps_the_last_good_checkpoint(
    smoke, tmp_path, monkeypatch, value
):
    config, splits = smoke
    config = with_overrides(config, {"train.epochs": 3, "train.monitor": False})
    real, calls = KTModule.terms, []

    def spoiled(self, batch):
        terms = real(self, batch)
        calls.append(batch)
        return terms | ({"bce": terms["bce"] * value} if len(calls) == 9 else {})

    with monkeypatch.context() as patch:
        patch.setattr(KTModule, "terms", spoiled)
        with pytest.raises(
            KTError, match=r"not finite in step 9, epoch \d, batch \d \(bce (nan|inf)"
        ):
            train(config, splits, tmp_path / "r")
    kept = torch.load(tmp_path / "r" / "checkpoints" / "resume.ckpt", weights_only=True)
    assert all(w.isfinite().all() for w in kept["state_dict"].values())
    state = json.loads((tmp_path / "r" / "state.json").read_text())
    assert state["state"] == "stopped" and "step 9" in state["why"]
    train(config, splits, tmp_path / "r", resume=True)  # what has spoiled it is gone


def test_weights_that_are_no_numbers_are_never_saved(smoke, tmp_path, monkeypatch):
    config, splits = smoke
    real = History.on_train_epoch_end

    def spoil(self, trainer, module):
        real(self, trainer, module)
        with torch.no_grad():
            next(module.parameters()).fill_(float("nan"))

    monkeypatch.setattr(History, "on_train_epoch_end", spoil)
    with pytest.raises(KTError, match="are not finite after step"):
        train(config, splits, tmp_path / "r")
    assert not (tmp_path / "r").exists()


def test_a_full_disk_keeps_the_checkpoint_before(half, monkeypatch):
    folder, config, splits = half
    before = (folder / "checkpoints" / "resume.ckpt").read_bytes()

    def full(checkpoint, path):
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoints.torch, "save", full)
    with pytest.raises(KTError, match="No space left on device"):
        train(config, splits, folder, resume=True)
    assert [p.name for p in (folder / "checkpoints").iterdir()] == ["resume.ckpt"]
    assert (folder / "checkpoints" / "resume.ckpt").read_bytes() == before


def test_a_folder_put_in_the_place_of_a_run_is_left_alone(smoke, tmp_path, monkeypatch):
    config, splits = smoke
    folder = tmp_path / "r"

    def replaced(*_):
        folder.rename(tmp_path / "moved")
        folder.mkdir()
        (folder / "mine.txt").write_text("mine")

    monkeypatch.setattr(History, "on_train_epoch_start", replaced)
    with pytest.raises(KTError, match="cannot be written .No such file or directory.$"):
        train(config, splits, folder)
    assert (folder / "mine.txt").read_text() == "mine" and not (folder / "state.json").exists()


def test_a_folder_that_becomes_read_only_is_one_message(smoke, tmp_path):
    command = [sys.executable, "-m", "kt_core", "train", "--preset", "smoke", "--name", "r"]
    command = ["setpriv", "--bounding-set", "-dac_override,-dac_read_search", *command]  # for root
    process = subprocess.Popen(
        [*(command if os.geteuid() == 0 else command[3:]), "--out", str(tmp_path)],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
    )
    while not (tmp_path / "r" / "provenance.json").exists() and process.poll() is None:
        time.sleep(0.002)
    for path in (tmp_path / "r" / "checkpoints", tmp_path / "r"):
        path.chmod(0o555)
    errors = process.communicate(timeout=120)[1]
    (tmp_path / "r").chmod(0o755)
    assert process.returncode == 2 and "Traceback" not in errors
    assert errors.count("error: ") == 1 and "cannot be written (Permission denied)" in errors


def test_a_folder_without_its_state_is_refused(trained, tmp_path):
    shutil.copytree(trained.path, tmp_path / "lost")
    (tmp_path / "lost" / "state.json").unlink()
    with pytest.raises(KTError, match="not a finished run: it has no state.json"):
        Run.load(tmp_path / "lost")
