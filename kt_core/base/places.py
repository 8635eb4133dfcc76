"""Where things are: next to the package in a checkout, and in the current folder without one."""

from __future__ import annotations

from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1]
CARRIED = PACKAGE / "notebooks"  # a copy, which only a built package has (setup.py)
CHECKOUT = None if CARRIED.is_dir() else PACKAGE.parent
NOTEBOOKS = CARRIED if CHECKOUT is None else CHECKOUT / "notebooks"
STORES = (CHECKOUT or Path()) / "benchmarks"  # the folder of finished cells


def default_out(here: Path | None = None) -> Path:
    """Where runs go by default: into ``runs/`` of the current folder, or of another `here`. In a
    checkout, it is the checkout's, wherever in it.
    """
    here = Path.cwd() if here is None else here
    if CHECKOUT is not None and here.resolve().is_relative_to(CHECKOUT):
        here = CHECKOUT
    return here / "runs"
