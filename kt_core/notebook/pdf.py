"""HTML pages as PDF, made with an installed Chromium."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path

from kt_core.base.errors import KTError
from kt_core.base.files import copy

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
# Without a sandbox, because the page is our own, was just made, and needs no network.
FLAGS = ("--headless", "--disable-gpu", "--no-sandbox", "--no-pdf-header-footer")
SECONDS = 120


def browser() -> str:
    """The path of an installed Chromium or Chrome.

    Raises
    ------
    KTError
        When none is installed.
    """
    for name in BROWSERS:
        if path := shutil.which(name):
            return path
    raise KTError(
        "a PDF needs Chromium, and none is installed (Debian: apt-get install chromium); "
        "the HTML page has all of it, and any browser prints it"
    )


def export_pdf(page: str | Path, target: str | Path) -> Path:
    """Print an HTML file to PDF.

    Raises
    ------
    KTError
        When no browser is installed, or it fails.
    """
    page, target = Path(page).absolute(), Path(target).absolute()
    program = browser()
    with tempfile.TemporaryDirectory() as scratch:
        made = Path(scratch) / "page.pdf"
        command = [program, *FLAGS, f"--user-data-dir={scratch}/profile"]
        command += [f"--print-to-pdf={made}", page.as_uri()]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS)
            reason = done.stderr.strip().splitlines()[-1:] or [f"exit code {done.returncode}"]
        except subprocess.TimeoutExpired:
            reason = [f"no answer in {SECONDS} s"]
        if not made.is_file():
            raise KTError(f"{page}: {Path(program).name} made no PDF ({reason[0]})")
        copy(made, target)
    return target
