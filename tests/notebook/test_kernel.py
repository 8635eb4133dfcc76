"""Notebooks one after the other in one kernel: each begins as in a new one, and they end well."""

import os
import signal
import subprocess
import sys
import tempfile
import time

import nbformat
import psutil
import pytest
from conftest import ROOT
from nbformat import v4

from kt_core.base.errors import KTError
from kt_core.notebook import headless
from kt_core.notebook.headless import OUTPUT, NotebookFailed, executed
from kt_core.notebook.kernel import Kernel


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Run code as a notebook; returns what its cells printed."""
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr(headless.tempfile, "tempdir", str(scratch))

    def execute(kernel, *code, **more):
        parameters = v4.new_code_cell("", metadata={"tags": ["parameters"]})
        notebook = v4.new_notebook(cells=[parameters, *map(v4.new_code_cell, code)])
        notebook.metadata.kernelspec = {"name": "python3", "display_name": "", "language": ""}
        nbformat.write(notebook, tmp_path / "x.ipynb")
        with executed(str(tmp_path / "x"), {}, kernel=kernel, **more) as made:
            cells = nbformat.read(made, 4).cells
        assert [cell.execution_count for cell in cells[1:]] == [*range(1, len(cells))]
        return "".join(out.get("text", "") for cell in cells for out in cell.get("outputs", []))

    yield execute
    assert not [path for path in scratch.iterdir() if not [*path.glob("x.ipynb")]]


PROCESS = "import os; print(os.getpid())"
MEMORY = "import psutil; print(psutil.Process().memory_info().rss)"


def test_a_notebook_finds_nothing_of_the_one_before(run, monkeypatch):
    with Kernel(["numpy"], {"KT_A": "1"}) as kernel:
        drawn = "import matplotlib.pyplot as plt\nplt.ioff()\nfig = plt.figure()\nx = [fig]; x"
        held = "import numpy\nheld = numpy.ones(60_000_000)"
        first, before = run(kernel, PROCESS, drawn, held, MEMORY).split()[:2]
        kernel.environment["KT_A"] = "2"
        monkeypatch.setenv("KT_B", "3")
        left = "print([n for n in ('fig', 'x', 'held', '_2', '_') if n in globals()])"
        figures = "import sys; print(sys.modules['matplotlib.pyplot'].get_fignums())"
        told = "print(os.environ['KT_A'], os.environ['KT_B'])"
        second = run(kernel, left, figures, PROCESS, told, MEMORY).splitlines()
        assert second[:4] == ["[]", "[]", first, "2 3"]
        assert int(before) - int(second[4]) > 400_000_000
    assert not psutil.pid_exists(int(first))


@pytest.mark.parametrize(
    ("code", "error", "words"),
    [
        ("1 / 0", NotebookFailed, "x stopped with ZeroDivisionError: division by zero"),
        ("from kt_core import KTError\nraise KTError('no data')", KTError, "no data"),
        ("import os, signal\nos.kill(os.getpid(), signal.SIGKILL)", NotebookFailed, "Kernel died"),
    ],
)
def test_a_failure_is_kept_and_reaches_no_other_notebook(run, tmp_path, code, error, words):
    kept = tmp_path / "kept"
    kept.mkdir()
    with Kernel() as kernel:
        first = run(kernel, PROCESS)
        with pytest.raises(error, match=words):
            run(kernel, "print('before')\nlost = 1", code, folder=kept)
        second = run(kernel, PROCESS, "'lost' in globals()")
    assert first != second and not psutil.pid_exists(int(first))
    cells = nbformat.read(kept / "x.ipynb", 4).cells
    assert any("before" in str(out) for cell in cells for out in cell.get("outputs", []))
    assert "before\n" in (kept / OUTPUT).read_text()


def test_a_kernel_that_died_between_two_notebooks_is_replaced(run):
    with Kernel() as kernel:
        first = int(run(kernel, PROCESS))
        os.kill(first, signal.SIGKILL)
        psutil.wait_procs([psutil.Process(first)], timeout=5)
        assert int(run(kernel, PROCESS)) != first


def test_a_kernel_that_is_not_used_ends_with_its_block(monkeypatch):
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:  # short, as names of sockets must be
        monkeypatch.setattr(tempfile, "tempdir", folder)
        before = psutil.Process().children()
        with Kernel() as kernel:
            kernel.start()
            (started,) = set(psutil.Process().children()) - set(before)
            assert os.listdir(folder)
        assert not started.is_running() and not os.listdir(folder)


def test_a_notebook_that_is_stopped_may_clean_up(tmp_path):
    cell = (
        "import pathlib, time\ntry:\n    pathlib.Path('begun').touch()\n    time.sleep(60)\n"
        "finally:\n    pathlib.Path('cleaned').touch()"
    )
    notebook = v4.new_notebook(cells=[v4.new_code_cell(cell)])
    notebook.metadata.kernelspec = {"name": "python3", "display_name": "", "language": "python"}
    nbformat.write(notebook, tmp_path / "x.ipynb")
    parent = (
        "from pathlib import Path\nfrom kt_core.base.signals import Sigterm\n"
        "from kt_core.notebook.kernel import Kernel\n"
        "with Sigterm(), Kernel() as kernel:\n"
        "    kernel.execute(Path('x.ipynb'), Path('y.ipynb'), {}, None)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", parent],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stderr=subprocess.DEVNULL,
    )
    while not (tmp_path / "begun").exists() and process.poll() is None:
        time.sleep(0.05)
    (kernel,) = psutil.Process(process.pid).children()
    process.send_signal(signal.SIGTERM)
    process.wait(timeout=30)
    assert (tmp_path / "cleaned").exists() and not kernel.is_running()
