"""What the benchmark trains: all cells of docs/results.md, and where their results are kept."""

from __future__ import annotations

from kt_core.base.places import STORES
from kt_core.studies.cell import Cell
from kt_core.studies.models import OURS

STORE = STORES / "store"
SETTINGS = (("data.learners", 4000), ("report.bootstrap", 500))  # on top of preset `standard`


def cell(dataset: str, model: str, seed: int = 0, fold: int = 0) -> Cell:
    """A cell with the benchmark's settings."""
    return Cell(dataset, model, seed, fold, overrides=SETTINGS)


def cells() -> list[Cell]:
    """All cells of docs/results.md, the most important first."""
    main, others = "assist2015", ("simulated", "assist2009", "statics2011")
    more = ("algebra2005", "memphis", "assist2017")
    every, (ours, *side) = (main, *others), OURS
    found = [cell(main, m, seed) for seed in range(3) for m in (ours, "DKT")]
    ladder = ("skeleton", "Rasch", "AFM", "BKT-correct", "PFA", "Best-LR", "BKT", "skill base rate")
    found += [cell(d, m) for d in (*every, *more) for m in ladder]
    found += [cell(d, m) for d in (*others, *more) for m in (ours, "DKT")]
    found += [cell(d, "retentive") for d in (*others, *more)]
    found += [cell(d, "cumulative") for d in others]
    controls = ("no-learning", "slow", "fast", "forgetting")
    found += [cell(f"simulated-{control}", ours) for control in controls]
    found += [cell(main, m, seed) for seed in range(3) for m in side]
    found += [cell(d, m) for d in every for m in ("SAKT", "simpleKT", "AKT")]
    found += [cell(d, m) for d in others for m in ("projection", "taught")]
    found += [cell(main, m, fold=f) for f in range(1, 5) for m in (ours, "DKT")]
    return list(dict.fromkeys(found))
