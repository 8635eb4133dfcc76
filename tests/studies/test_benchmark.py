"""The benchmark: cells are kept, never trained twice, and compared in pairs."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
import pytest

from kt_core.base.errors import KTError
from kt_core.cli.commands import main
from kt_core.presets import preset
from kt_core.studies import benchmark
from kt_core.studies.benchmark import Cell, cells


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    folder = tmp_path_factory.mktemp("benchmark")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cells, "preset", lambda name: preset("smoke"))
        patch.setattr(cells, "SIMULATED_LEARNERS", 60)
        patch.setattr(cells, "RESAMPLES", 40)
        for model, seed in (("retrospective", 0), ("retrospective", 1), ("PFA", 0), ("BKT", 0)):
            benchmark.run_cell(Cell("simulated", model, seed), folder / "store", folder / "runs")
        benchmark.run_cell(Cell("simulated", "PFA", fold=1), folder / "store")
        yield folder / "store"


def test_a_finished_cell_is_not_trained_again(store, monkeypatch):
    monkeypatch.setattr(cells, "_ours", None)
    monkeypatch.setattr(cells, "_baseline", None)
    done = Cell("simulated", "retrospective", 1)
    assert benchmark.run_cell(done, store) == store / f"{done.name}.parquet"
    new = Cell("simulated", "DKT")
    assert benchmark.missing([done, new], store) == [new]
    monkeypatch.setattr(cells, "RESAMPLES", 41)  # other settings: what is there is out of date
    assert benchmark.missing([done, new], store) == [done, new]


def test_differences_are_paired_resample_by_resample(store):
    results = benchmark.load(store)
    gap = benchmark.paired(results, "simulated", "AUC", "retrospective", "PFA")
    rows = results[(results.measure == "AUC") & (results.split == "test") & (results.fold == 0)]
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
    own = results[(results.measure == "AUC") & (results.split == "test")]
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
    for column in ("prospective validity", "degree of agreement", "flips", "filtered falls"):
        assert (table[column] != "").all(), column
    assert table.loc["retrospective", "falls"] == "0.00%" and table.loc["PFA", "falls"] == ""
    recovered = benchmark.recovery_summary(results)
    assert recovered["model"].tolist() == ["retrospective", "BKT", "PFA"]
    assert recovered["mastery, filtered (rank r)"].str.contains("%").all()


def test_the_plan_holds_what_the_results_report():
    plan = benchmark.plan()
    assert len(plan) == len(set(plan))
    main_set = [c for c in plan if c.dataset == "assist2015" and c.fold == 0]
    for model in (*cells.OURS, "DKT"):
        assert sorted(c.seed for c in main_set if c.model == model) == [0, 1, 2]
    for dataset in ("simulated", "assist2009", "statics2011"):
        assert {c.model for c in plan if c.dataset == dataset} == set(benchmark.MODELS)
    for model in ("retrospective", "DKT"):
        folds = {c.fold for c in plan if c.dataset == "assist2015" and c.model == model}
        assert folds == set(range(5))
    with pytest.raises(KTError, match="model 'magic' does not exist"):
        Cell("simulated", "magic")


def test_the_notebook_makes_tables_and_figure_from_the_store(store, tmp_path):
    arguments = ["--print", "--store", str(store), "--out", str(tmp_path)]
    assert main(["benchmark", *arguments]) == 0
    page = (tmp_path / "benchmark.html").read_text(encoding="utf-8")
    assert "minus retrospective" in page and "Best-LR" not in page
    assert (tmp_path / "figures" / "benchmark.png").is_file()
    empty = tmp_path / "empty"
    empty.mkdir()
    assert main(["benchmark", "--print", "--store", str(empty), "--out", str(tmp_path)]) == 2


def test_a_cell_that_fails_is_named_and_does_not_stop_the_others(tmp_path, monkeypatch):
    monkeypatch.setattr(cells, "ProcessPoolExecutor", lambda n, *a, **k: ThreadPoolExecutor(n))
    bad, good = Cell("nowhere", "PFA"), Cell("simulated-slow", "skill base rate")
    with pytest.raises(KTError, match="1 of 2 cells failed; nowhere_PFA_seed0_fold0: data set"):
        benchmark.run_cells([bad, good], tmp_path, jobs=1)
    assert [f.stem for f in tmp_path.iterdir()] == [good.name]


def test_stores_are_small(store):
    for file in store.glob("*.parquet"):
        assert file.stat().st_size < 100_000
        assert isinstance(pd.read_parquet(file), pd.DataFrame)
