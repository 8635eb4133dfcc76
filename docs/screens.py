"""Pictures of screens: dashboard, explorer, the pages of a class.

python docs/screens.py    # makes them in docs/pictures again, in minutes

They are taken by Debian's Chromium (apt-get install chromium), the first two in a JupyterLab of
its own. The class are simulated learners with names and skills that were made up.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PICTURES = ROOT / "docs" / "pictures"
BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "chrome"))), None)
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-background-networking"]
MINUTE = 60_000  # milliseconds
DONE = r"""() => {
    const prompts = [...document.querySelectorAll('.jp-CodeCell .jp-InputPrompt')];
    return document.querySelector('[data-mime-type="application/vnd.jupyter.error"]')
        || prompts.every(p => /^\[\d+\]:$/.test(p.textContent.trim()));
}"""  # the last code cell has run, or one has failed
CHANGED = "before => document.querySelector('img.widget-image').src !== before"
SKILLS = (
    *("counting", "adding within 20", "adding within 100", "subtracting", "times tables"),
    *("multiplying", "dividing", "fractions: naming", "fractions: adding", "decimals"),
    *("per cent", "negative numbers", "measuring length", "measuring time", "perimeter"),
    *("area", "angles", "coordinates", "reading charts", "word problems"),
)
LEARNERS = (
    *("Ada", "Arne", "Ben", "Birte", "Cem", "Clara", "Dana", "David", "Elif", "Emil"),
    *("Finn", "Greta", "Hana", "Ida", "Jana", "Jonas", "Kaya", "Lena", "Leo", "Milo"),
    *("Nora", "Omar", "Paul", "Rosa", "Sami", "Tara", "Wilma", "Xaver", "Yusuf", "Zoe"),
)


@dataclass(frozen=True)
class Lab:
    """A JupyterLab that is running."""

    address: str
    root: Path
    token: str

    def open(self, page: Any, name: str, parameters: dict[str, Any]) -> None:
        """Open a copy of a notebook of ours with these parameters, and run all its cells."""
        import nbformat

        notebook = nbformat.read(ROOT / "notebooks" / f"{name}.ipynb", 4)
        cell = next(c for c in notebook.cells if "parameters" in c.metadata.get("tags", []))
        cell.source += "\n" + "\n".join(f"{key} = {value!r}" for key, value in parameters.items())
        copy = f"{name}-{secrets.token_hex(3)}.ipynb"
        nbformat.write(notebook, self.root / copy)
        place = f"{self.address}/lab/workspaces/{secrets.token_hex(3)}/tree/{copy}"
        page.goto(f"{place}?token={self.token}")
        page.locator(".jp-Notebook .jp-CodeCell").first.wait_for(timeout=MINUTE)
        page.get_by_text("Python 3 (ipykernel) | Idle").wait_for(timeout=MINUTE)
        page.get_by_text("Run", exact=True).first.click()
        page.get_by_text("Run All Cells", exact=True).click()


@contextlib.contextmanager
def jupyterlab(root: Path) -> Iterator[Lab]:
    """A JupyterLab in this folder, with no configuration of the user's."""
    token = secrets.token_hex(8)
    quiet = root / ".settings" / "@jupyterlab" / "apputils-extension"
    quiet.mkdir(parents=True)
    settings = '{"fetchNews": "false", "checkForUpdates": false}'
    (quiet / "notification.jupyterlab-settings").write_text(settings)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    env = os.environ | {
        "JUPYTER_CONFIG_DIR": str(root / ".config"),
        "JUPYTER_DATA_DIR": str(root / ".data"),
        "JUPYTERLAB_SETTINGS_DIR": str(root / ".settings"),
        "JUPYTERLAB_WORKSPACES_DIR": str(root / ".workspaces"),
        "OMP_NUM_THREADS": "1",
    }
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root"]
    command += [f"--port={port}", f"--IdentityProvider.token={token}", f"--notebook-dir={root}"]
    with (root / "server.log").open("w") as log:
        server = subprocess.Popen(command, cwd=root, env=env, stdout=log, stderr=log)
        address = f"http://127.0.0.1:{port}"
        try:
            _wait_for(f"{address}/api?token={token}", server, root / "server.log")
            yield Lab(address, root, token)
        finally:
            server.terminate()
            server.wait(30)


def _wait_for(url: str, server: subprocess.Popen[bytes], log: Path) -> None:
    for _ in range(240):
        if server.poll() is not None:
            break
        try:
            urllib.request.urlopen(url, timeout=2)
            return
        except OSError:
            time.sleep(0.25)
    raise RuntimeError(f"JupyterLab does not start:\n{log.read_text()[-2000:]}")


def dashboard(lab: Lab, page: Any) -> None:
    """The dashboard in the tenth epoch of a training, which is then stopped by its button."""
    parameters = {"preset": "quick", "name": "shown", "out": str(lab.root / "runs")}
    parameters["overrides"] = {"train.epochs": 40, "train.patience": 40}
    lab.open(page, "01_train", parameters)
    page.get_by_text(re.compile(r"epoch 1\d of 40")).wait_for(timeout=10 * MINUTE)
    cell = page.locator(".jp-CodeCell", has=page.get_by_role("button", name="Stop and keep"))
    cell.locator(".jp-Cell-outputArea").screenshot(path=PICTURES / "dashboard.png")
    page.get_by_role("button", name="Stop and keep").click()
    page.get_by_text("stopped by hand after").wait_for(timeout=MINUTE)


def explorer(lab: Lab, page: Any) -> None:
    """The explorer, with the slider at three quarters of the history."""
    lab.open(page, "03_mastery_trajectories", {"run": str(lab.root / "runs" / "shown")})
    page.locator("img.widget-image").nth(1).wait_for(timeout=5 * MINUTE)
    page.wait_for_function(DONE, timeout=10 * MINUTE)
    picture = page.locator("img.widget-image").first.get_attribute("src")
    slider = page.get_by_role("slider").first
    slider.focus()
    for _ in range(int(float(slider.get_attribute("aria-valuemax")) / 4)):
        page.keyboard.press("ArrowLeft")
    page.wait_for_function(CHANGED, arg=picture, timeout=5 * MINUTE)
    page.get_by_text("computing ...").wait_for(state="hidden", timeout=MINUTE)
    page.locator(".jp-OutputArea-output", has=slider).screenshot(path=PICTURES / "explorer.png")


def class_pages(folder: Path, page: Any) -> None:
    """A class of thirty, and its learner with most answers, by a model of two hundred learners."""
    from kt_core.cli.commands import main as call
    from kt_core.data import Simulation, simulate

    table = simulate(Simulation(learners=200)).table[["user", "skill", "item", "correct"]]
    table["skill"] = table["skill"].map(dict(zip(sorted(set(table["skill"])), SKILLS, strict=True)))
    table.to_csv(folder / "school.csv", index=False)
    few = table[table["user"].isin(table["user"].unique()[: len(LEARNERS)])].copy()
    few["user"] = few["user"].map(dict(zip(few["user"].unique(), LEARNERS, strict=True)))
    few.to_csv(folder / "7b.csv", index=False)
    title = "7b mathematics, autumn term"
    with contextlib.chdir(folder):
        for words in (
            ["class", "school.csv", "--name", "school", "--out", "school"],
            ["class", "7b.csv", "--run", "runs/school", "--out", "7b", "--title", title],
        ):
            if call(words):
                raise SystemExit(f"failed: {words}")
    page.set_viewport_size({"width": 1000, "height": 1180})
    page.goto((folder / "7b" / "class.html").as_uri())
    page.screenshot(path=PICTURES / "class.png")
    page.get_by_role("link", name=few["user"].value_counts().index[0]).first.click()
    page.screenshot(path=PICTURES / "learner.png")


def main() -> None:
    from playwright.sync_api import sync_playwright

    if BROWSER is None:
        raise SystemExit("no Chromium here (Debian: apt-get install chromium)")
    with (
        tempfile.TemporaryDirectory() as folder,
        jupyterlab(Path(folder)) as lab,
        sync_playwright() as p,
    ):
        browser = p.chromium.launch(executable_path=BROWSER, args=FLAGS)
        page = browser.new_page(viewport={"width": 1500, "height": 1600})
        dashboard(lab, page)
        explorer(lab, page)
        class_pages(Path(folder), page)
        browser.close()


if __name__ == "__main__":
    main()
