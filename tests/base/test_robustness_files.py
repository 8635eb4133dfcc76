"""Files are written completely or not at all: a full disk, a read-only folder, a kill."""

import ast
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import ROOT
from matplotlib.figure import Figure
from safetensors.torch import save_file

from kt_core import plots
from kt_core.base import files
from kt_core.base.errors import KTError
from kt_core.base.files import write_table
from kt_core.data.store import convert
from kt_core.evaluation.measures import Measures
from kt_core.notebook.page import export_html
from kt_core.runs.run import Run
from kt_core.studies import cells
from kt_core.studies.audit import Audited, write_audit
from kt_core.studies.cell import Cell

LARGE = "ä" * 20_000
TABLE = pd.DataFrame({"learner": np.random.default_rng(0).random(5000).astype(str)})


def weights(path):
    with files.whole(path) as temporary:
        save_file({"w": torch.zeros(10_000)}, temporary)


def copied(path):
    files.copy(ROOT / "README.md", path)


def figure(path):
    fig = Figure()
    fig.subplots().plot(np.random.default_rng(0).random(2000))
    plots.save(fig, path.parent, path.stem)


WRITERS = {
    "text.html": lambda path: files.write_text(path, LARGE),
    "notebook.ipynb": copied,
    "metrics.json": lambda path: Run(path.parent, None, None, {}).write_json(path.name, [LARGE]),
    "history.csv": lambda path: Run(path.parent, None, None, {}).write_table(path.name, TABLE),
    "masteries.csv": lambda path: write_table(TABLE, path),
    "masteries.parquet": lambda path: write_table(TABLE, path),
    "figure.pdf": figure,
    "model.safetensors": weights,
}


@pytest.mark.parametrize("name", WRITERS)
def test_no_room_leaves_the_old_file_and_nothing_else(tmp_path, name):
    path = tmp_path / name
    path.write_text("old")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))  # the system cuts the file off
    try:
        with pytest.raises(KTError, match=r"cannot be written \(.*File too large") as error:
            WRITERS[name](path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert str(path) in str(error.value)
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]
    WRITERS[name](path)
    assert path.stat().st_size > 4096 and not list(tmp_path.glob(".*"))  # with room, it is written


@pytest.mark.parametrize("mask", [0o022, 0o002, 0o077])
def test_files_have_the_modes_of_the_umask(tmp_path, mask):
    before = os.umask(mask)
    try:
        for name, write in WRITERS.items():
            write(tmp_path / name)
        with files.new_folder(tmp_path / "pages") as partial:
            files.write_text(partial / "a.html", "a")
    finally:
        os.umask(before)
    modes = {p: p.stat().st_mode & 0o777 for p in tmp_path.rglob("*")}
    assert modes == {p: (0o777 if p.is_dir() else 0o666) & ~mask for p in modes}


def test_the_other_writers_go_the_same_way(tmp_path, monkeypatch):
    nothing = pd.DataFrame()
    audited = Audited(None, Measures(*[nothing] * 4, 0.0, *[nothing] * 3), "pre", 1.0)
    monkeypatch.setattr(cells, "of_baseline", lambda *_: pd.DataFrame({"value": [1.0]}))
    monkeypatch.setattr(files.os, "fsync", no_room)
    calls = {
        "cell": lambda d: cells.run_cell(Cell("simulated", "BKT"), d, 1, d),
        "conversion": lambda d: convert._write_json(d / "plan.json", {}),
        "report": lambda d: export_html(ROOT / "notebooks" / "01_train.ipynb", d / "r.html", "t"),
        "audit": lambda d: write_audit(audited, d),
    }
    for name, call in calls.items():
        (tmp_path / name).mkdir()
        with pytest.raises((KTError, OSError), match="No space left on device"):
            call(tmp_path / name)
        assert list((tmp_path / name).iterdir()) == [], name


def no_room(_):
    raise OSError(28, os.strerror(28))


def test_a_read_only_folder(tmp_path_factory):
    folder = Path(tempfile.mkdtemp())  # pytest's folder is closed to other users
    (folder / "m.csv").write_text("old")
    folder.chmod(0o555)
    user = os.geteuid()
    try:
        if user == 0:
            os.seteuid(65534)  # root may write anywhere
        for write in (WRITERS["masteries.csv"], WRITERS["text.html"]):
            with pytest.raises(KTError, match=r"m\.csv: cannot be written \(Permission denied\)"):
                write(folder / "m.csv")
        with (
            pytest.raises(KTError, match="cannot be written \\(Permission denied"),
            files.new_folder(folder / "pages"),
        ):
            pass
    finally:
        os.seteuid(user)
        left = [(p.name, p.read_text()) for p in folder.iterdir()]
        shutil.rmtree(folder)
    assert left == [("m.csv", "old")]


def test_a_kill_leaves_the_old_file(tmp_path):
    path = tmp_path / "metrics.json"
    path.write_text("old")
    code = (
        "import os, signal, sys\nfrom kt_core.base import files\n"
        "with files.whole(sys.argv[1]) as temporary:\n"
        "    temporary.write_text('half')\n    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, path], cwd=ROOT)
    assert done.returncode == -signal.SIGKILL and path.read_text() == "old"
    left = [p.name for p in tmp_path.iterdir() if p != path]
    assert len(left) == 1 and left[0].startswith(".") and left[0].endswith(".tmp")
    files.write_text(path, "new")
    assert path.read_text() == "new"


def test_two_writers_of_one_file(tmp_path):
    path = tmp_path / "x.txt"
    texts = [str(i) * 50_000 for i in range(4)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda text: files.write_text(path, text), texts * 3))
    assert path.read_text() in texts and list(tmp_path.iterdir()) == [path]


def test_a_new_folder_is_there_whole_or_not_at_all(tmp_path):
    with pytest.raises(ZeroDivisionError), files.new_folder(tmp_path / "pages") as partial:
        files.write_text(partial / "a.html", "a")
        raise ZeroDivisionError
    assert list(tmp_path.iterdir()) == []
    meanwhile = tmp_path / "pages" / "b.html"
    with (
        pytest.raises(KTError, match="pages: cannot be written"),
        files.new_folder(tmp_path / "pages") as partial,
    ):
        files.write_text(partial / "a.html", "a")
        files.write_text(files.make_folder(meanwhile.parent) / meanwhile.name, "another's")
    assert [p.name for p in tmp_path.rglob("*.html")] == ["b.html"]
    with files.new_folder(tmp_path / "more") as partial:
        files.write_text(partial / "a.html", "a")
    assert (tmp_path / "more" / "a.html").read_text() == "a"


def test_a_new_folder_leaves_those_of_others_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "getpid", lambda: 7)  # as in every container
    with files.new_folder(tmp_path / "pages") as first:
        with pytest.raises(ZeroDivisionError), files.new_folder(tmp_path / "pages"):
            raise ZeroDivisionError
        files.write_text(first / "a.html", "a")
    assert (tmp_path / "pages" / "a.html").read_text() == "a"


WRITING = {"write_text", "write_bytes", "to_csv", "to_parquet", "savefig", "save_file", "copyfile"}
WHOLE = {"whole", "renamed", "new_folder"}
ELSEWHERE = {  # in folders that are renamed when complete, or are removed
    "data/store/read.py",
    "data/store/convert.py",
    "notebook/headless.py",
    "tracing/own.py",
}


def test_no_module_writes_a_file_in_place():
    found = []
    for source in (ROOT / "kt_core").rglob("*.py"):
        name = str(source.relative_to(ROOT / "kt_core"))
        if name not in ELSEWHERE:
            found += [f"{name}:{line}" for line in unguarded(ast.parse(source.read_text()), False)]
    assert found == []
    bad = ast.parse("def f(p):\n    with open(p): pass\n    p.write_text('x')\n")
    assert list(unguarded(bad, False)) == [3]


def unguarded(node, inside):
    """Lines that write to a path outside a ``with`` of kt_core.base.files."""
    if isinstance(node, ast.With):
        calls = [item.context_expr for item in node.items]
        inside |= any(isinstance(c, ast.Call) and called(c) in WHOLE for c in calls)
    if isinstance(node, ast.Call) and not inside and called(node) in WRITING:
        ours = isinstance(node.func, ast.Name)  # files.write_text itself
        target = getattr(node.args[0], "id", "") if node.args else "text"  # to_csv() gives text
        if not ours and target not in ("text", "drawn", "buffer"):  # the others are in memory
            yield node.lineno
    for child in ast.iter_child_nodes(node):
        yield from unguarded(child, inside)


def called(call):
    return getattr(call.func, "attr", getattr(call.func, "id", ""))
