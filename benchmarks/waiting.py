"""What notebooks without a screen cost beyond the work in their cells.

python benchmarks/waiting.py      # a run, and a sweep of 8 cells, one at a time and two

The same cells as a script, in one process, are the measure: it loads the same libraries, trains the
same model and draws the same figures. Processor seconds include all child processes; the wall clock
is of use only where nothing else runs. Every process has one thread, as threads that wait for each
other on a busy machine use up processor time.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import nbformat
import pandas as pd
import papermill
from start import _of_children

from kt_core.base.places import NOTEBOOKS
from kt_core.studies.benchmark import markdown

KT = [sys.executable, "-m", "kt_core"]
INLINE = "module://matplotlib_inline.backend_inline"  # as in a kernel


def measured(command: list[str], **environment: str) -> dict[str, float]:
    """Wall clock and processor time of a command."""
    begin, before = time.perf_counter(), _of_children()
    env = os.environ | {"OMP_NUM_THREADS": "1"} | environment
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=env)
    return {"wall, s": time.perf_counter() - begin, "processor, s": _of_children() - before}


def script(folder: Path) -> dict[str, float]:
    """The cells of the notebooks of a run, in one process without a kernel."""
    run = {"run": str(folder / "script")}
    training = {"preset": "smoke", "name": "script", "out": str(folder)}
    training["overrides"] = {"train.progress": False}
    given: dict[str, dict[str, Any]] = {"01_train": training}
    given |= {"02_consistency_report": run, "03_mastery_trajectories": run}
    for name, parameters in given.items():
        source, target = NOTEBOOKS / f"{name}.ipynb", folder / f"{name}.ipynb"
        papermill.execute_notebook(source, target, parameters, prepare_only=True)
    lines = "\n".join(f"%run {folder / name}.ipynb" for name in given)
    return measured([sys.executable, "-m", "IPython", "-c", lines], MPLBACKEND=INLINE)


def in_cells(folder: Path) -> float:
    """Seconds that the cells of executed notebooks took, by the wall clock."""
    notebooks = [nbformat.read(path, 4) for path in folder.rglob("notebooks/*.ipynb")]
    cells = (cell for notebook in notebooks for cell in notebook.cells)
    return sum(cell.metadata.papermill.get("duration") or 0.0 for cell in cells)


def table(cells: int, jobs: list[int]) -> pd.DataFrame:
    """One row per command. `beyond` is what the wall clock shows beyond the cells of notebooks,
    whose libraries are loaded, and `ratio` is to the script, in processor time."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        grid = folder / "grid.yaml"
        grid.write_text(f"preset: smoke\nseed: {[*range(cells)]}\n", encoding="utf-8")
        rows = {"the cells as a script": script(folder)}
        run = [*KT, "run", "--preset", "smoke", "--name", "run", "--out", str(folder)]
        rows["run"] = measured(run)
        rows["run"]["in cells, s"] = in_cells(folder / "run")
        for number in jobs:
            out = folder / f"sweep-{number}"
            sweep = [*KT, "sweep", "--grid", str(grid), "--out", str(out), "--jobs", str(number)]
            name = f"sweep of {cells} cells, --jobs {number}"
            rows[name] = measured(sweep)
            rows[name]["in cells, s"] = in_cells(out) / number
    found = pd.DataFrame(rows).T
    found["beyond, s"] = found["wall, s"] - found["in cells, s"]
    found["ratio"] = found["processor, s"] / found["processor, s"].iloc[0]
    return found.rename_axis("command").reset_index()


if __name__ == "__main__":
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--cells", type=int, default=8)
    arguments.add_argument("--jobs", type=int, nargs="+", default=[1, 2])
    given = arguments.parse_args()
    print(markdown(table(given.cells, given.jobs), digits=1))
