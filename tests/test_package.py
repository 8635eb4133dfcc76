"""The package as it is installed from a wheel, where there is no checkout: nothing is missing."""

import os
import shutil
import subprocess
import sys
import zipfile

import pytest
from conftest import ROOT

pytest.importorskip("setuptools", "77", reason="the build backend, setuptools >= 77, is not here")
FILES = ("pyproject.toml", "setup.py", "MANIFEST.in", "README.md", "LICENSE", "CITATION.cff")
NO_CACHE = shutil.ignore_patterns("__pycache__")


def call(*command, cwd, code=0, **env):
    """Run a command; return what it printed on both streams."""
    done = subprocess.run(
        [*map(str, command)],
        capture_output=True,
        text=True,
        cwd=cwd,
        env=os.environ | env,
        timeout=300,
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """A wheel that was built from a source archive."""
    source, made = (tmp_path_factory.mktemp(name) for name in ("source", "made"))
    for name in FILES:
        shutil.copyfile(ROOT / name, source / name)
    for name in ("kt_core", "notebooks"):
        shutil.copytree(ROOT / name, source / name, ignore=NO_CACHE)
    backend = f"from setuptools.build_meta import build_sdist; build_sdist({str(made)!r})"
    call(sys.executable, "-c", backend, cwd=source)
    (archive,) = made.glob("*.tar.gz")
    pip = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-index", "--no-build-isolation"]
    call(*pip, archive, cwd=made)
    (built,) = made.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """A function that runs a command in an empty folder, where the wheel is installed."""
    target, empty = (tmp_path_factory.mktemp(name) for name in ("installed", "empty"))
    pip = [sys.executable, "-m", "pip", "install", "--no-deps", "--no-index", "--target", target]
    call(*pip, wheel, cwd=empty)

    def run(*command, code=0):
        return call(*command, cwd=empty, code=code, PYTHONPATH=str(target))

    run.script, run.target, run.folder = target / "bin" / "kt-core", target, empty
    return run


def test_a_wheel_holds_the_whole_package_and_the_notebooks(wheel):
    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if name.startswith("kt_core/")}
    package = [path for path in (ROOT / "kt_core").rglob("*") if "__pycache__" not in path.parts]
    expected = {path.relative_to(ROOT).as_posix() for path in package if path.is_file()}
    assert held == expected | {f"kt_core/notebooks/{p.name}" for p in notebooks()}
    assert wheel.stat().st_size < 2_000_000


def test_the_doctor_finds_all_that_a_run_needs(installed):
    said = installed(installed.script, "doctor")
    assert "FAILED" not in said and "all is well" in said
    assert f"{installed.target}/kt_core\n" in said.replace(os.sep, "/")  # and not a checkout


def test_copies_of_the_notebooks_are_for_changing(installed):
    assert installed(installed.script, "--version").startswith("kt-core 0.")
    said = installed(installed.script, "notebooks", "mine")
    mine = installed.folder / "mine"
    assert f"their runs: {mine / 'runs'}" in said
    assert {p.name: p.read_bytes() for p in mine.iterdir()} == {
        p.name: p.read_bytes() for p in notebooks()
    }
    (mine / "01_train.ipynb").write_text("changed")
    said = installed(installed.script, "notebooks", "mine", code=2)
    assert "mine exists already, and nothing was copied; name a new folder" in said
    assert (mine / "01_train.ipynb").read_text() == "changed"


def test_a_demo_and_its_report_in_an_empty_folder(installed):
    lines = (
        "import kt_core as kt",
        "from kt_core.base.places import STORES",
        "from kt_core.runs.find import default_out, find_runs",
        "assert str(STORES) == 'benchmarks'  # of the current folder",
        "model = kt.demo()",
        "assert len(model.mastery()) > 100",
        "model.save(default_out() / 'demo')",
        "print(kt.load(find_runs([])[0]).report())",
    )
    run = installed.folder / "runs" / "demo"
    assert str(run / "report.html") in installed(sys.executable, "-c", "\n".join(lines))
    assert "Consistency report: demo" in (run / "report.html").read_text(encoding="utf-8")


def notebooks():
    return sorted((ROOT / "notebooks").glob("*.ipynb"))
