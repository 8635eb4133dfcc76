"""Notebooks without a screen: nothing of the user's own Jupyter reaches them, and they end well."""

import json

import nbformat
import pytest
from nbformat import v4

from kt_core.notebook import headless


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Run code as a notebook; returns what it printed."""
    monkeypatch.setattr(headless, "NOTEBOOKS", tmp_path / "notebooks")
    monkeypatch.setenv("TMPDIR", str(tmp_path / "scratch"))
    monkeypatch.setattr(headless.tempfile, "tempdir", str(tmp_path / "scratch"))
    for name in ("notebooks", "scratch"):
        (tmp_path / name).mkdir()
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}

    def execute(code):
        parameters = v4.new_code_cell("", metadata={"tags": ["parameters"]})
        notebook = v4.new_notebook(cells=[parameters, v4.new_code_cell(code)])
        notebook.metadata.kernelspec = kernel
        nbformat.write(notebook, tmp_path / "notebooks" / "x.ipynb")
        with headless.executed("x", {}) as made:
            cells = nbformat.read(made, 4).cells
        return "".join(out.get("text", "") for cell in cells for out in cell.get("outputs", []))

    return execute


def test_a_users_own_configuration_does_not_reach_a_notebook(run, tmp_path, monkeypatch):
    profile = tmp_path / "ipython" / "profile_default"
    (profile / "startup").mkdir(parents=True)
    (profile / "startup" / "00.py").write_text("hacked = 'startup'")
    (profile / "ipython_config.py").write_text(
        "c.InteractiveShellApp.exec_lines = ['hacked = 1']\n"
    )
    (tmp_path / "start.py").write_text("hacked = 'PYTHONSTARTUP'")
    kernel = tmp_path / "jupyter" / "kernels" / "python3"
    kernel.mkdir(parents=True)
    spec = {"argv": ["/bin/false"], "display_name": "another Python", "language": "python"}
    (kernel / "kernel.json").write_text(json.dumps(spec))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    monkeypatch.setenv("PYTHONSTARTUP", str(tmp_path / "start.py"))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "jupyter"))
    assert run("print(globals().get('hacked', 'as it should be'))") == "as it should be\n"
    assert list((tmp_path / "scratch").iterdir()) == []
    assert not list(profile.glob("history*"))


def test_a_kernel_that_is_killed_is_one_message(run, tmp_path, capfd):
    with pytest.raises(headless.NotebookFailed, match="x stopped, perhaps because memory was shor"):
        run("import os, signal; os.kill(os.getpid(), signal.SIGKILL)")
    assert list((tmp_path / "scratch").iterdir()) == []
    assert "Traceback" not in capfd.readouterr().err
