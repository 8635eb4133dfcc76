"""What the benchmark trains: all cells of docs/results.md, and where their results are kept."""

from __future__ import annotations

from kt_core.base.places import STORES
from kt_core.studies.cells import OURS, Cell

STORE = STORES / "store"
SETTINGS = (("data.learners", 4000), ("report.bootstrap", 500))  # on top of preset `standard`


def cell(dataset: str, model: str, seed: int = 0, fold: int = 0) -> Cell:
    """A cell with the benchmark's settings."""
    return Cell(dataset, model, seed, fold, overrides=SETTINGS)


def plan() -> list[Cell]:
    """All cells of docs/results.md, the most important first."""
    main, others = "assist2015", ("simulated", "assist2009", "statics2011")
    more = ("algebra2005", "memphis", "assist2017")
    every, (ours, *side) = (main, *others), OURS
    cells = [cell(main, m, seed) for seed in range(3) for m in (ours, "DKT")]
    ladder = ("skeleton", "Rasch", "AFM", "BKT-correct", "PFA", "Best-LR", "BKT", "skill base rate")
    cells += [cell(d, m) for d in (*every, *more) for m in ladder]
    cells += [cell(d, m) for d in (*others, *more) for m in (ours, "DKT")]
    cells += [cell(d, "retentive") for d in (*others, *more)]
    cells += [cell(d, "cumulative") for d in others]
    controls = ("no-learning", "slow", "fast", "forgetting")
    cells += [cell(f"simulated-{control}", ours) for control in controls]
    cells += [cell(main, m, seed) for seed in range(3) for m in side]
    cells += [cell(d, m) for d in every for m in ("SAKT", "simpleKT", "AKT")]
    cells += [cell(d, m) for d in others for m in ("projection", "taught")]
    cells += [cell(main, m, fold=f) for f in range(1, 5) for m in (ours, "DKT")]
    return list(dict.fromkeys(cells))
