"""The same seed on the same machine: the same bytes. Other numbers of threads: a tolerance."""

import contextlib
import json

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch

from kt_core import plots
from kt_core.baselines.akt import AKTNetwork
from kt_core.baselines.networks import SAKTNetwork, SimpleKTNetwork
from kt_core.config import ModelConfig, with_overrides
from kt_core.data.registry import read_splits
from kt_core.evaluation.evaluate import evaluate
from kt_core.losses import next_step
from kt_core.mastery import PathTerms
from kt_core.model import GainAKT2
from kt_core.presets import preset
from kt_core.recurrent import DKTNetwork, Shape
from kt_core.report.examine import examine
from kt_core.report.tables import metrics_dict
from kt_core.training.train import train

SKILLS, ITEMS = 12, 30


@contextlib.contextmanager
def threads(n):
    before = torch.get_num_threads()
    torch.set_num_threads(n)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@pytest.fixture(scope="module")
def wide():
    """A training wide enough that torch splits its steps between threads."""
    overrides = {
        "data.learners": 150,
        "model.d_model": 64,
        "model.dropout": 0.1,
        "model.transfer": True,
        "train.tokens_per_batch": 4096,
        "train.progress": False,
        "train.average": 0.0,  # an average forgives what the last steps did
    }
    config = with_overrides(preset("smoke"), overrides)
    return config, read_splits(config)


@pytest.fixture(scope="module")
def runs(wide, tmp_path_factory):
    folder = tmp_path_factory.mktemp("same")
    made = {}
    for name, n in (("first", 3), ("again", 3), ("one", 1)):
        with threads(n):
            made[name] = train(*wide, folder / name)
            examined = examine(made[name].path)
        made[name].write_json("metrics.json", metrics_dict(examined))
        if n > 1:
            draw(made[name], examined)
    return made


def draw(run, examined):
    """Figures of each kind of content; a user's settings of matplotlib change none."""
    if run.name == "again":
        mpl.rcParams |= {"savefig.facecolor": "yellow", "axes.xmargin": 0.3}
    plots.use_style()
    measures, frame = examined.measures, examined.beliefs.frame
    drawn = {
        "training": lambda ax: plots.plot_losses(examined.history, ax),
        "associations": lambda ax: plots.plot_associations(measures.associations, ax),
        "calibration": lambda ax: plots.plot_calibration(
            measures.calibration, measures.miscalibration, ax
        ),
        "recovery": lambda ax: plots.plot_recovery(frame, ax),
        "collapse": lambda ax: plots.plot_collapse(frame["mastery_post"].to_numpy(), "m", ax),
    }
    for name, onto in drawn.items():
        fig, ax = plt.subplots()
        onto(ax)
        plots.save(fig, run.path / "figures", name)


def test_weights_measures_and_figures_are_the_same_bytes(runs):
    first, again = runs["first"].path, runs["again"].path
    names = ["model.safetensors", "metrics.json", "monitor.csv", "uncertainty.json"]
    figures = {f"figures/{path.name}" for path in (first / "figures").iterdir()}
    assert len(figures) == 15
    names += figures
    assert {n for n in names if (first / n).read_bytes() != (again / n).read_bytes()} == set()


def test_another_number_of_threads_is_within_tolerance(runs):
    """Sums of other parts round otherwise, and training carries that on: stated in
    docs/robustness.md."""
    first, one = runs["first"], runs["one"]
    for a, b in zip(first.model.parameters(), one.model.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-4)
    loss = [run.table("history.csv")["valid/loss"].to_numpy() for run in (first, one)]
    np.testing.assert_allclose(*loss, atol=1e-5)
    auc = [measured(run)["valid_auc"]["value"] for run in (first, one)]
    assert auc[0] == pytest.approx(auc[1], abs=1e-4)


def test_reading_on_other_threads(wide, runs):
    frames = []
    for n in (1, 3):
        with threads(n):
            frames.append(evaluate(runs["first"].model, wide[1].test).predicted["predicted"])
    np.testing.assert_allclose(*frames, atol=2e-6)


def measured(run):
    return json.loads((run.path / "metrics.json").read_text())


def baseline(kind):
    return kind(Shape(width=64, dropout=0.0), SKILLS, ITEMS)


def ours(mode, **more):
    config = ModelConfig(mode=mode, d_model=64, heads=2, blocks=1, dropout=0.0, **more)
    return GainAKT2(config, SKILLS, [i % SKILLS for i in range(ITEMS)])


MODELS = {
    "retrospective": lambda: ours("retrospective"),
    "retrospective, transfer": lambda: ours("retrospective", transfer=True),
    "cumulative": lambda: ours("cumulative"),
    "projection": lambda: ours("projection"),
    "absolute positions": lambda: ours("projection", position="absolute"),
    "DKT": lambda: baseline(DKTNetwork),
    "SAKT": lambda: baseline(SAKTNetwork),
    "simpleKT": lambda: baseline(SimpleKTNetwork),
    "AKT": lambda: baseline(AKTNetwork),
}


@pytest.mark.parametrize("name", MODELS)
def test_gradients_are_the_same_bytes(name):
    """On several threads, of a batch that is split between them."""
    torch.manual_seed(0)
    model = MODELS[name]()
    B, T = 40, 60
    skills = torch.randint(0, 4, (B, T))  # few skills: their rows get parts from all threads
    items = skills + SKILLS * torch.randint(0, 2, (B, T)) + 1
    responses = torch.randint(0, 2, (B, T))
    valid = torch.ones(B, T, dtype=torch.bool)

    def gradients():
        model.zero_grad()
        loss = next_step(model(skills, responses, items), responses, valid)
        if getattr(model, "on_path", False):
            path = PathTerms(model.heads, model.encode(skills, responses, items))
            loss = loss + path.forecasts().square().mean() + path.at(valid.sum(1) - 1).mean()
            loss = loss + model.difficulty.prior(items).sum()
        loss.backward()
        return [w.grad.clone() for w in model.parameters() if w.grad is not None]

    with threads(4):
        first = gradients()
        for _ in range(6):
            assert all(map(torch.equal, first, gradients()))
