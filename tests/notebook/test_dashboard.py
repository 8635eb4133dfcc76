"""The live dashboard: it changes nothing, tells the truth, and its button ends training well."""

from __future__ import annotations

import asyncio
import itertools
import time
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

import kt_core as kt
from kt_core.config import TargetConfig, with_overrides
from kt_core.notebook import dashboard as live
from kt_core.notebook.dashboard import Dashboard, clock
from kt_core.notebook.headless import in_jupyterlab
from kt_core.plots.training import curves_of, draw_training
from kt_core.runs.run import Run
from kt_core.training.train import train


class Screen:
    """Stands in for a notebook's output."""

    def __init__(self, monkeypatch):
        self.shown, self.pictures = [], []
        monkeypatch.setattr(live, "display", self.shown.append)
        monkeypatch.setattr(live, "DisplayHandle", lambda: self)

    def display(self, image):
        self.pictures.append(image.data)

    update = display


@pytest.fixture
def screen(monkeypatch):
    return Screen(monkeypatch)


def test_it_changes_no_weight(smoke, trained, screen, tmp_path):
    config, splits = smoke
    run = asyncio.run(Dashboard(config).watch(train, config, splits, tmp_path / "watched"))
    weights = (run.path / "model.safetensors").read_bytes()
    assert weights == (trained.path / "model.safetensors").read_bytes()
    assert run.provenance["ended"] == "all epochs"
    assert len(screen.pictures) >= 1
    assert all(picture.startswith(b"\x89PNG") for picture in screen.pictures)


def test_it_tells_how_far_training_is(smoke, screen, tmp_path, monkeypatch):
    monkeypatch.setattr(live, "SECONDS", 0.0)
    config, splits = smoke
    board = Dashboard(config)
    board._line.observe(lambda change: screen.shown.append(change["new"]), "value")
    train(config, splits, tmp_path / "run", [board])
    lines = [text for text in screen.shown if isinstance(text, str)]
    assert any(line.startswith("epoch 2 of 2, best validation AUC 0.") for line in lines)
    assert lines[-1].startswith("done after 2 epochs")
    assert board._bar.value == 1.0


@pytest.mark.parametrize("after", [1, 7])
def test_stop_keeps_the_best_so_far(smoke, screen, tmp_path, after):
    config, splits = smoke
    config = with_overrides(config, {"train.epochs": 50, "train.tokens_per_batch": 256})

    class Impatient(Dashboard):
        def on_train_batch_end(self, trainer, *args):
            if trainer.global_step == after:
                self._button.click()
            super().on_train_batch_end(trainer, *args)

    run = train(config, splits, tmp_path / "run", [Impatient(config)])
    assert run.model is not None
    assert len(run.table("history.csv")) < 50
    assert run.table("history.csv")["valid/auc"].notna().all()
    assert run.provenance["ended"].startswith("stopped by hand in epoch")


def test_an_interrupted_cell_stops_training_and_keeps_the_best(smoke, screen, tmp_path):
    config, splits = smoke
    config = with_overrides(config, {"train.epochs": 5000, "train.patience": 5000})
    board = Dashboard(config)

    async def cell():
        task = asyncio.ensure_future(board.watch(train, config, splits, tmp_path / "run"))
        while len(board.history) < 2:
            await asyncio.sleep(0.05)
        task.cancel()
        await task

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(cell())
    assert Run.load(tmp_path / "run").provenance["ended"].startswith("stopped by hand")


@pytest.mark.parametrize("fitting", [True, False])
def test_it_is_renewed_every_few_seconds_and_takes_its_share_and_no_more(
    smoke, screen, monkeypatch, fitting
):
    now, shown, drawn = [0.0], [], []
    monkeypatch.setattr(live, "time", SimpleNamespace(perf_counter=lambda: now[0]))
    board = Dashboard(smoke[0])
    board.monitor = [{"step": 0}]

    class Slow:
        epochs, fits = True, fitting

        def whole(self, history, monitor, room):
            now[0] += 0.5
            shown.append(now[0])
            drawn.append(now[0])
            return b"\x89PNG"

        def renewed(self, history, monitor):
            now[0] += 0.04
            shown.append(now[0])
            return b"\x89PNG"

    board._picture = Slow()
    monkeypatch.setattr(Dashboard, "_tell", lambda *args: None)
    for _ in range(100_000):
        now[0] += 0.01
        board.on_train_batch_end(None, None, None, None, 0)
    assert max(b - a for a, b in itertools.pairwise(shown)) < 5
    assert len(drawn) > 10
    whole, every = 0.5 * len(drawn) / now[0], board.seconds_drawing / now[0]
    assert whole < 0.012 and every < 0.03 if fitting else whole > 0.012 and 0.02 < every < 0.024


def test_renewed_curves_are_those_of_a_whole_picture():
    history, monitor = (kt.demo().run.table(f"{name}.csv") for name in ("history", "monitor"))
    picture = live.Picture(TargetConfig())
    before = picture.whole(history, monitor.head(2), room=2.0)
    curves = {c.get_gid(): c for c in picture._curves}
    assert len(curves["step:gradient_norm"].get_xdata()) == 2
    after = picture.renewed(history, monitor)
    assert before.startswith(b"\x89PNG") and before != after
    figure = draw_training(history, monitor, TargetConfig(), Figure())
    whole = {c.get_gid(): c for c in curves_of(figure)}
    assert whole.keys() == curves.keys() and any(n.startswith("epoch:loss/") for n in whole)
    for name, curve in whole.items():
        np.testing.assert_array_equal(curves[name].get_xydata(), curve.get_xydata())
    left, right = curves["step:gradient_norm"].axes.get_xlim()
    assert 1.9 < right / monitor["step"].head(2).max() < 2.3 and left < 1


def test_a_picture_knows_whether_its_curves_have_left_their_axes():
    history, monitor = (kt.demo().run.table(f"{name}.csv") for name in ("history", "monitor"))
    picture = live.Picture(TargetConfig())
    picture.whole(history, monitor.head(2))
    picture.renewed(history, monitor)
    assert not picture.fits  # there are more steps than there was room for
    picture.whole(history, monitor, room=2.0)
    assert picture.fits
    for change, fits in ((1.0, True), (1.05, True), (1e-3, False), (1e3, False)):
        norm = monitor["gradient_norm"]
        picture.renewed(history, monitor.assign(gradient_norm=change * norm))
        assert picture.fits == fits
    picture.renewed(history.assign(**{"valid/auc": float("nan")}), monitor)
    assert picture.fits  # what is not known is not drawn


def test_the_first_epoch_is_shown_at_once(smoke, screen, monkeypatch):
    board = Dashboard(smoke[0])
    board.monitor, drawn = [{"step": 0}], []
    monkeypatch.setattr(Dashboard, "_tell", lambda *args: None)
    monkeypatch.setattr(Dashboard, "_rows", lambda self: (len(self.history), None))

    def whole(history, monitor, room):
        drawn.append(history)
        return b""

    board._picture = SimpleNamespace(fits=True, epochs=False, whole=whole)
    board._whole, board._drawn = 1, time.perf_counter()
    board._renewed = board._drawn
    board.on_train_batch_end(None, None, None, None, 0)
    assert drawn == []
    board.history = [{"epoch": 0}]
    board.on_train_batch_end(None, None, None, None, 0)
    assert drawn == [1]


def test_nobody_looks_here(monkeypatch):
    monkeypatch.setenv("JPY_SESSION_NAME", "notebooks/01_train.ipynb")
    assert not in_jupyterlab()  # a session's name alone is no kernel


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(5, "5 s"), (89, "89 s"), (180, "3 min"), (7500, "2 h 5 min")],
)
def test_clock(seconds, words):
    assert clock(seconds) == words


def test_the_figure_before_anything_is_known():
    figure = draw_training(pd.DataFrame(), pd.DataFrame(), TargetConfig(), Figure())
    assert len(figure.axes) == 6


def test_the_figure_of_a_training(trained):
    tables = (trained.table("history.csv"), trained.table("monitor.csv"))
    figure = draw_training(*tables, TargetConfig(), Figure())
    titles = {ax.get_title(loc="left") or ax.get_title() for ax in figure.axes}
    wanted = {"Broken constraints", "Correlations", "The asked skill"}
    assert wanted | {"Gradients and learning rate"} <= titles
