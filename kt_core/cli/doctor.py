"""`doctor`: does everything work here that a run needs? Each check does what a run would do.

A check imports what it needs in its function, so that a package that cannot be loaded is a finding.
"""

from __future__ import annotations

import importlib.metadata
import platform
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from kt_core import __version__
from kt_core.base.errors import KTError, reason
from kt_core.base.places import CHECKOUT, NOTEBOOKS, PACKAGE

AGAIN = "install kt-core again, or restore the checkout (docs/guide.md, Installation)"
INSTALL = "pip install --upgrade kt-core, from its wheel or checkout, brings what is missing"
SHOWN = ("torch", "lightning", "numpy", "pandas", "jupyterlab")
USED = (  # the notebooks that commands run or copy
    *("00_first_hour", "01_train", "02_consistency_report", "03_mastery_trajectories"),
    *("04_benchmark", "05_audit", "06_sweep", "07_worlds", "08_constraints", "09_comparison"),
)


@dataclass(frozen=True)
class Check:
    """A function that says what it found, or raises; what to do then; whether a run needs it."""

    run: Callable[[], str]
    way_out: str
    needed: bool = True


def checks(out: Path) -> dict[str, Check]:
    """All checks by name, in the order in which they build on each other."""
    return {
        "python": Check(_python, "use Linux or macOS, or WSL on Windows"),
        "kt-core": Check(_package, INSTALL),
        "packages": Check(_packages, INSTALL),
        "torch": Check(_torch, "install another build of torch (docs/guide.md, Installation)"),
        "forward and backward": Check(_step, AGAIN),
        "notebooks": Check(_notebooks, AGAIN),
        "a notebook, a page": Check(
            _page, "pip install --force-reinstall ipykernel nbconvert papermill, or start afresh"
        ),
        "run folder": Check(lambda: _writable(out), "choose another folder with --out"),
        "data sets": Check(_data, "correct KT_DATA_DIR"),
        "widgets": Check(
            _widgets, "pip install --force-reinstall ipywidgets jupyterlab_widgets", needed=False
        ),
        "PDF": Check(_pdf, "install Chromium or Chrome", needed=False),
    }  # fmt: skip


def check(out: Path) -> int:
    """Print one line per check, and a way out below each that failed; return 1 if a run would fail
    here."""
    failed, without, every = [], [], checks(out)
    for name, one in every.items():
        try:
            print(f"ok      {name:22s}{one.run()}", flush=True)
        except Exception as error:  # a check that fails for any reason is a finding
            said = str(error) if isinstance(error, KTError) else f"{type(error).__name__}: {error}"
            print(f"{'FAILED' if one.needed else 'absent':8s}{name:22s}{reason(said, 400)}")
            print(f"{'':30s}way out: {one.way_out}", flush=True)
            (failed if one.needed else without).append(name)
    if failed:
        print(f"{len(failed)} of {len(every)} checks failed: {', '.join(failed)}")
    else:
        print("all is well" + (f", without {' and '.join(without)}" if without else ""))
    return int(bool(failed))


def _python() -> str:
    if platform.system() == "Windows":
        raise KTError("Windows cannot lock folders, as kt-core does while a run is written")
    return f"{platform.python_version()}, {platform.system()} {platform.machine()}"


def _package() -> str:
    installed = importlib.metadata.version("kt-core")
    if installed != __version__:
        raise KTError(f"{PACKAGE} is version {__version__}, but pip has installed {installed}")
    return f"{__version__}, {PACKAGE}" + (" (a checkout)" if CHECKOUT else "")


def _packages() -> str:
    from packaging.requirements import Requirement

    needed = [Requirement(text) for text in importlib.metadata.requires("kt-core") or ()]
    needed = [one for one in needed if not one.marker or one.marker.evaluate({"extra": ""})]
    found, wrong = {}, []
    for one in needed:
        try:
            version = found[one.name] = importlib.metadata.version(one.name)
        except importlib.metadata.PackageNotFoundError:
            wrong.append(f"{one} is not installed")
            continue
        if not one.specifier.contains(version, prereleases=True):
            wrong.append(f"{one} is needed, and {version} is installed")
    if wrong:
        raise KTError("; ".join(wrong))
    return f"{len(needed)}, among them " + ", ".join(f"{name} {found[name]}" for name in SHOWN)


def _torch() -> str:
    import torch

    cuda = torch.version.cuda
    built = f"a build for CUDA {cuda}" if cuda else "a build without CUDA"
    if torch.cuda.is_available():
        return f"{built}; computes on {torch.cuda.get_device_name()}"
    finds = ", which finds no GPU" if cuda else ""
    return f"{built}{finds}; computes on the processor, threads: {torch.get_num_threads()}"


def _step() -> str:
    import torch

    from kt_core.losses import next_step
    from kt_core.model import GainAKT2
    from kt_core.presets import preset

    model = GainAKT2(preset("smoke").model, n_skills=5)
    skills, responses = torch.randint(0, 5, (4, 12)), torch.randint(0, 2, (4, 12))
    loss = next_step(model(skills, responses), responses, torch.ones(4, 12, dtype=torch.bool))
    loss.backward()
    if not torch.isfinite(loss):
        raise KTError(f"the loss is {loss}")
    return f"loss {loss.item():.3f}"


def _notebooks() -> str:
    import nbformat

    missing = [name for name in USED if not (NOTEBOOKS / f"{name}.ipynb").is_file()]
    if missing:
        raise KTError(f"{NOTEBOOKS}: {', '.join(missing)} missing")
    for name in USED:
        nbformat.read(NOTEBOOKS / f"{name}.ipynb", as_version=4)
    return f"{len(USED)} in {NOTEBOOKS}"


def _page() -> str:
    """Run a notebook in a kernel as reports do, with a figure, and make the page of it."""
    import nbformat

    from kt_core.notebook.headless import executed
    from kt_core.notebook.page import export_html

    code = "import kt_core\nfrom kt_core import notebook\nnotebook.begin()\nprint(kt_core.__file__)"
    drawn = "import matplotlib.pyplot as plt\nplt.plot([0, 1])\nplt.show()"
    notebook = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell(code), nbformat.v4.new_code_cell(drawn)],
        metadata={"kernelspec": {"name": "python3", "display_name": "Python 3"}},
    )
    with tempfile.TemporaryDirectory(prefix="kt_core-") as scratch:
        source = Path(scratch, "check")
        nbformat.write(notebook, source.with_suffix(".ipynb"))
        with executed(str(source), {}, quiet=True) as done:
            page = export_html(done, Path(scratch, "page.html"), "Check")
        text = page.read_text(encoding="utf-8")
    if str(PACKAGE) not in text:
        raise KTError(f"the kernel does not use {PACKAGE}, but another kt_core")
    if "data:image/png" not in text:
        raise KTError("the page does not show the figure of its notebook")
    return "a kernel has drawn a figure, and it is in a page"


def _writable(out: Path) -> str:
    parent = next(path for path in (out, *out.absolute().parents) if path.exists())
    with tempfile.TemporaryFile(dir=parent) as file:
        file.write(bytes(1_000_000))
    return f"{out}, {shutil.disk_usage(parent).free / 1e9:.0f} GB free"


def _data() -> str:
    from kt_core.data.public import PUBLIC
    from kt_core.data.registry import found

    return "simulated: built in; " + "; ".join(f"{name}: {found(name)}" for name in PUBLIC)


def _widgets() -> str:
    from jupyter_core.paths import jupyter_path

    places = [Path(path, "@jupyter-widgets") for path in jupyter_path("labextensions")]
    if not any((place / "jupyterlab-manager").is_dir() for place in places):
        raise KTError("JupyterLab would not show the dashboard and the explorer")
    return "JupyterLab shows the dashboard and the explorer"


def _pdf() -> str:
    from kt_core.notebook.pdf import browser

    return browser()
