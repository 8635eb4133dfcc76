"""The benchmark: cells are kept, never trained twice, and compared in pairs."""

import io
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from kt_core import plots
from kt_core.base.errors import KTError
from kt_core.baselines.registry import BASELINES
from kt_core.baselines.search import Candidate
from kt_core.cli.commands import main
from kt_core.data.registry import read_splits
from kt_core.recurrent import Shape
from kt_core.studies import benchmark, cells, models, overview
from kt_core.studies import plan as planned
from kt_core.studies.cell import LATER, Cell, stored
from kt_core.training.train import train


def tiny(model, seed=0, fold=0, resamples=40):
    small = (("data.learners", 60), ("report.bootstrap", resamples))
    return Cell("simulated", model, seed, fold, "smoke", small)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    folder = tmp_path_factory.mktemp("benchmark")

    def here(cell, out, threads, report):  # test_sweeps.py has trainings in processes of their own
        train(cell.config, read_splits(cell.config), out / cell.folder)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cells, "_in_notebooks", here)
        for model, seed in (("retrospective", 0), ("retrospective", 1), ("PFA", 0), ("BKT", 0)):
            cells.run_cell(tiny(model, seed), folder / "runs", 1, folder / "store")
    cells.run_cell(tiny("PFA", fold=1), folder / "runs", 1, folder / "store")
    return folder / "store"


def test_a_finished_cell_is_not_trained_again(store, tmp_path, monkeypatch):
    monkeypatch.setattr(cells, "_executor", None)
    done = tiny("retrospective", 1)
    assert cells.finished(done, tmp_path, store)
    assert not cells.finished(tiny("DKT"), tmp_path, store)
    assert not cells.finished(tiny("retrospective", 1, resamples=41), tmp_path, store)
    other = Cell("simulated", "PFA", preset="smoke", overrides=(("data.learners", 61),))
    assert not cells.finished(other, tmp_path, store)  # other settings: out of date


def test_what_a_model_does_not_read_does_not_make_it_out_of_date():
    for model, name, value, same in (
        ("PFA", "model.d_model", 32, True),
        ("PFA", "data.learners", 32, False),
        ("cumulative", "train.hide", 0.5, True),
        ("retrospective", "train.hide", 0.5, False),
    ):
        plain = Cell("simulated", model)
        assert (plain.fingerprint == replace(plain, overrides=((name, value),)).fingerprint) == same


def test_what_a_search_tried_is_kept_and_another_grid_makes_its_cells_out_of_date(
    tmp_path, monkeypatch
):
    cell = tiny("SAKT")
    before, other = cell.fingerprint, tiny("PFA").fingerprint
    grid = tuple(Candidate(Shape(8, 2, 1, dropout), 0.01) for dropout in (0.1, 0.2))
    monkeypatch.setattr("kt_core.baselines.neural.NeuralTracer.grid", grid)
    monkeypatch.setattr("kt_core.baselines.neural.SHORT_STEPS", 1)
    assert cell.fingerprint != before and tiny("PFA").fingerprint == other
    cells.run_cell(cell, tmp_path / "runs", 1, tmp_path)
    table = cells.read_cell(stored(cell, tmp_path))
    tried = pd.read_json(io.StringIO(table["search"].iloc[0]))
    assert tried["dropout"].tolist() == [0.1, 0.2] * 2 and tried["chosen"].sum() == 1
    valid = table.loc[table["measure"] == "AUC, validation", "value"].item()
    assert tried.loc[tried["chosen"], "valid_auc"].item() == pytest.approx(valid, abs=1e-4)


def test_settings_that_came_later_leave_finished_cells_valid(monkeypatch):
    cell = Cell("simulated", "DKT")
    before = cell.fingerprint
    monkeypatch.setitem(LATER, ("data", "pseudonymise"), True)
    assert cell.fingerprint == before  # it is not what it stood for
    monkeypatch.setitem(LATER, ("data", "pseudonymise"), False)
    assert cell.fingerprint != before


def test_differences_are_paired_resample_by_resample(store):
    results = benchmark.load(store)
    gap = benchmark.paired(results, "simulated", "AUC", "retrospective", "PFA")
    own = results.predictor == "model"
    rows = results[(results.measure == "AUC") & own & (results.fold == 0)]
    ours = np.mean(np.stack(rows.loc[rows.model == "retrospective", "draws"]), axis=0)
    other = rows.loc[rows.model == "PFA", "draws"].iloc[0]
    assert len(ours) == 41 and gap.value == pytest.approx(ours[0] - other[0], abs=1e-6)
    low, high = np.quantile((ours - other)[1:], (0.025, 0.975))
    assert (gap.low, gap.high) == pytest.approx((low, high), abs=1e-6)
    separate = np.quantile(ours[1:], 0.975) - np.quantile(other[1:], 0.025)
    assert gap.high < separate  # pairing is worth something


def test_summary_is_over_seeds_of_fold_0(store):
    results = benchmark.load(store)
    table = benchmark.summary(results, "AUC").set_index("model")
    own = results[(results.measure == "AUC") & (results.predictor == "model")]
    seeds = own[own.model == "retrospective"]["value"]
    row = table.loc["retrospective"]
    assert row["seeds"] == 2 and row["mean"] == pytest.approx(seeds.mean())
    assert row["spread"] == pytest.approx(seeds.max() - seeds.min())
    assert table.loc["PFA", "seeds"] == 1 and np.isnan(table.loc["PFA", "spread"])
    folds = benchmark.fold_table(results)
    assert folds["model"].tolist() == ["PFA"] and folds["folds"].tolist() == [2]


def test_every_model_with_mastery_has_the_audit(store):
    results = benchmark.load(store)
    table = benchmark.mastery_table(results, "simulated").set_index("model")
    assert list(table.index) == ["retrospective", "BKT", "PFA"]  # in the benchmark's order
    for column in (
        "prospective validity",
        "degree of agreement",
        "flips",
        "filtered falls",
        "exam",
    ):
        assert (table[column] != "").all(), column
    assert table.loc["retrospective", "falls"] == "0.00%" and table.loc["PFA", "falls"] == ""
    recovered = benchmark.recovery_summary(results)
    assert recovered["model"].tolist() == ["retrospective", "BKT", "PFA"]
    assert recovered["mastery, filtered (rank r)"].str.contains("%").all()


def test_all_baselines_are_known_by_name_before_they_are_loaded():
    assert tuple(BASELINES) == models.BASELINES


def test_the_plan_holds_what_the_results_report():
    plan = planned.cells()
    assert len(plan) == len(set(plan))
    main_set = [c for c in plan if c.dataset == "assist2015" and c.fold == 0]
    for model in (*models.OURS, "DKT"):
        assert sorted(c.seed for c in main_set if c.model == model) == [0, 1, 2]
    for dataset in ("simulated", "assist2009", "statics2011"):
        assert {c.model for c in plan if c.dataset == dataset} == set(models.models())
    for model in ("retrospective", "DKT"):
        folds = {c.fold for c in plan if c.dataset == "assist2015" and c.model == model}
        assert folds == set(range(5))
    with pytest.raises(KTError, match="model 'magic' does not exist"):
        Cell("simulated", "magic")


@pytest.mark.whole
def test_the_notebook_makes_tables_and_figure_from_the_store(store, tmp_path):
    arguments = ["--print", "--store", str(store), "--out", str(tmp_path)]
    assert main(["benchmark", *arguments]) == 0
    page = (tmp_path / "benchmark.html").read_text(encoding="utf-8")
    assert "minus retrospective" in page and "Best-LR" not in page
    assert (tmp_path / "figures" / "benchmark.png").is_file()
    empty = tmp_path / "empty"
    empty.mkdir()
    assert main(["benchmark", "--print", "--store", str(empty), "--out", str(tmp_path)]) == 2


@pytest.mark.whole
def test_a_cell_that_fails_is_named_and_does_not_stop_the_others(tmp_path, monkeypatch, capsys):
    bad = Cell("assist2009", "PFA", fold=4, overrides=(("data.path", str(tmp_path / "gone.csv")),))
    good = Cell("simulated-slow", "skill base rate", preset="smoke")
    failed = cells.run_cells([bad, good], tmp_path / "out", store=tmp_path / "store")
    assert set(failed) == {bad.name} and "gone.csv" in failed[bad.name]
    assert list((tmp_path / "store").iterdir()) == [stored(good, tmp_path / "store")]
    monkeypatch.setattr("kt_core.studies.plan.cells", lambda: [bad, good])
    call = ["benchmark", "--store", str(tmp_path / "store"), "--out", str(tmp_path / "out")]
    assert main(call) == 1
    said = capsys.readouterr()
    assert f"failed: {bad.name}" in said.err and "2 cells, 1 of them finished" in said.out


def test_stores_are_small(store):
    for file in store.glob("*.parquet"):
        assert file.stat().st_size < 100_000
        assert isinstance(pd.read_parquet(file), pd.DataFrame)


def test_next_to_simple_models_the_model_stands_with_its_paired_difference(store):
    results = benchmark.load(store).assign(dataset="memphis")  # as if learners were real
    table = overview.real_table(results).set_index("measure")
    gap = benchmark.paired(results, "memphis", "AUC", "retrospective", "PFA")
    assert table.loc["test AUC", "minus the best simple model"].startswith(f"{gap.value:+.4f} [")
    assert table.loc["test AUC", "minus the best simple model"].endswith("(PFA)")
    points = overview.advantages(results, pd.DataFrame(columns=["dataset"]))
    assert set(points["panel"]) <= set(overview.JUDGED)
    row = points.set_index("panel").loc["test AUC"]
    assert (row["value"], row["low"], row["high"]) == (gap.value, gap.low, gap.high)
    simulated = benchmark.load(store)
    assert overview.real_table(simulated).empty
    assert overview.advantages(simulated, pd.DataFrame(columns=["dataset"])).empty


def test_in_worlds_an_advantage_is_a_smaller_error(store):
    results = benchmark.load(store)
    worse = results[results["model"] == "retrospective"].assign(model="AFM")
    larger = worse["measure"].eq("mastery, RMSE")
    worse["draws"] = worse["draws"].where(~larger, worse["draws"] + 0.1)
    found = pd.concat([results[results["model"] == "retrospective"], worse])
    points = overview.advantages(results, found).set_index("panel")
    row = points.loc[overview.TRAJECTORY]
    assert row["rung"] == "AFM" and row["value"] == pytest.approx(0.1, abs=1e-5)
    assert row["low"] <= row["value"] <= row["high"]
    assert points.loc[overview.GROWTH, "rung"] == ""


def test_colours_of_advantages_follow_the_interval():
    def shown(low, high, ratio=False):
        row = {"place": "x", "rung": "AFM", "value": (low + high) / 2, "low": low, "high": high}
        ax = plots.plot_advantages(pd.DataFrame([row]), Figure().subplots(), ratio=ratio)
        return next(line.get_marker() for line in ax.lines if line.get_marker() != "None")

    assert (shown(0.1, 0.2), shown(-0.1, 0.2), shown(-0.2, -0.1)) == ("o", "s", "D")
    assert (shown(0.9, 1.1, True), shown(0.5, 0.7, True)) == ("o", "D")
