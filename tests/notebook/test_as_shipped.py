"""Notebooks as they are shipped, in an empty folder: they run, and say what is shown instead."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest

from kt_core.base.errors import KTError
from kt_core.notebook import headless
from kt_core.notebook.headless import executed
from kt_core.notebook.kernel import Kernel
from kt_core.studies import plan, worlds
from kt_core.tracing import examples

SAID = {
    "02_consistency_report": "No run of your own in ",
    "03_mastery_trajectories": "No run of your own in ",
    "05_audit": "No estimates are named: ",
    "06_sweep": "No sweep in sweep/: ",
    "08_constraints": "No comparison in constraints/: ",
    "09_comparison": "No runs are named: ",
}
LEFT = {"05_audit": ["audit"]}  # what they leave in the folder


@pytest.fixture(scope="module")
def kernel(tmp_path_factory):
    """One kernel for all of them, which starts in a folder of its own."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("empty")
        patch.chdir(folder)
        with Kernel(["kt_core.tracing", "kt_core.report.examine"]) as kernel:
            yield kernel, folder


@pytest.mark.parametrize("name", SAID)
def test_it_runs_as_it_is_shipped(kernel, name):
    kernel, folder = kernel
    before = set(folder.iterdir())
    with executed(name, {}, quiet=True, kernel=kernel) as done:
        cells = nbformat.read(done, 4).cells
    source = nbformat.read(headless.NOTEBOOKS / f"{name}.ipynb", 4)
    assert not any(c.get("outputs") or c.get("execution_count") for c in source.cells)
    outputs = [o for c in cells if c.cell_type == "code" for o in c.outputs]
    printed = "".join(o.get("text", "") for o in outputs)
    assert printed.count(SAID[name]) == 1 and "epoch " not in printed
    assert any("image/" in str(o.get("data", "")) for o in outputs)
    assert [p.name for p in sorted(set(folder.iterdir()) - before)] == LEFT.get(name, [])


@pytest.mark.parametrize(("name", "study"), [("04_benchmark", plan), ("07_worlds", worlds)])
def test_studies_run_where_there_are_no_finished_cells(kernel, name, study, monkeypatch, capsys):
    kernel, folder = kernel
    monkeypatch.setattr(study, "STORE", folder / "none")
    small = examples.benchmark_or_example("") if study is plan else examples.worlds_or_example("")
    assert f"No finished cells in {folder / 'none'}: " in capsys.readouterr().out
    with executed(name, {"store": str(small), "out": name}, quiet=True, kernel=kernel) as done:
        cells = nbformat.read(done, 4).cells
    outputs = [o for c in cells if c.cell_type == "code" for o in c.outputs]
    assert sum("image/" in str(o.get("data", "")) for o in outputs) >= 1
    assert (folder / name / "figures").is_dir()


def test_what_is_named_is_what_is_shown(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sweep").mkdir()
    assert examples.sweep_or_example("") == "sweep" and examples.sweep_or_example("x") == "x"
    assert examples.constraints_or_example("x") == "x"
    assert examples.benchmark_or_example("x") == examples.worlds_or_example("x") == Path("x")
    assert examples.run_or_demo("x").name == "x"
    assert [run.name for run in examples.runs_or_example(["x", "y"])] == ["x", "y"]
    assert examples.estimates_or_demo("x", "", "") == ("x", "", "")
    for named in (5, [""]):
        with pytest.raises(KTError, match="runs"):
            examples.runs_or_example(named)
    assert capsys.readouterr().out == ""
