"""Worlds: models judged where the truth is known, next to the best that anyone could do.

Each cell is a model in one draw of a world (`kt_core.data.worlds`). The page has, for every world,
the model beside the ceiling and the best rung of the psychometric ladder, and whether the report
warned by itself. Smoothed trajectories are compared with smoothed ones, filters with filters.
Differences are paired on the same learners; means over draws have the interval of the mean.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from kt_core.base.files import make_folder, whole, write_text
from kt_core.base.places import STORES
from kt_core.data.worlds import WORLDS, check_world
from kt_core.data.worlds import worlds as all_worlds
from kt_core.evaluation.recovery import BINS, HELD, PRACTICES
from kt_core.evaluation.turned import RAISED
from kt_core.metrics.bootstrap import Estimate
from kt_core.report.text import estimate, number, percent
from kt_core.studies.benchmark import (
    load,
    markdown,
    of_draws,
    ordered,
    rows_of_measure,
    summary,
)
from kt_core.studies.cell import Cell
from kt_core.studies.results import read_cell, warned

STORE = STORES / "worlds"
FOREIGN = tuple(name for name in WORLDS if name.startswith("world-"))
SHOWN = ("simulated", *FOREIGN, "simulated-no-learning", "simulated-forgetting")
LADDER = ("Rasch", "AFM", "BKT-correct")  # with a smoothed trajectory on the scale of P(correct)
SKELETON = "skeleton"  # of the model: the model without its network
MODELS_SHOWN = ("retrospective", "retentive", SKELETON, *LADDER)
DRAWS = 3
RANK, GROWTH = "mastery, rank correlation", "growth, rank correlation"
RMSE, SIZE = "mastery, RMSE", "growth, mean by the truth's"
COVERED = f"mastery, {HELD}"
COVERED_GROWTH, OFTEN = f"growth, {HELD}", ", 8 or more practices"
BIAS = "mastery, mean error"
FLIPS = "a right answer would lower mastery (share)"
SAME = "growth, rank correlation, same skill and practices"
OFF = "growth, share off by more than 0.1, 8 or more practices"


def plan(
    worlds: tuple[str, ...] = SHOWN,
    models: tuple[str, ...] = MODELS_SHOWN,
    draws: int = DRAWS,
    preset: str = "quick",
) -> list[Cell]:
    """The cells: every model in every draw of every world, one seed a draw.

    Raises
    ------
    KTError
        For a world or a model that does not exist.
    """
    for world in worlds:
        check_world(world)
    return [
        Cell(world, model, draw, 0, preset, (("data.draw", draw), ("report.bootstrap", 200)))
        for draw in range(draws)
        for world in worlds  # models of one world after the other share its ceiling and ladder
        for model in dict.fromkeys(models)
    ]


def thin(store: Path) -> None:
    """Drop from every cell the draws that the page does not use, so that the store stays small."""
    for file in store.glob("*.parquet"):
        cell = read_cell(file)
        used = cell["table"].isin(("recovery", "turned")) | cell["measure"].isin((FLIPS, "AUC"))
        large = ~used & (cell["draws"].map(len) > 0)
        if large.any():
            nothing = [np.zeros(0, np.float32)] * len(cell)
            draws = np.where(used, cell["draws"], pd.Series(nothing, cell.index))
            with whole(file) as temporary:
                cell.assign(draws=draws).to_parquet(temporary, compression="zstd")


def results(store: str | Path = STORE) -> pd.DataFrame:
    """All finished cells, the worlds in the order of `SHOWN`."""
    table = load(store, "worlds")
    order = {name: place for place, name in enumerate(all_worlds())}
    return table.sort_values("dataset", key=lambda s: s.map(order), kind="stable")


def finished(store: str | Path = "") -> pd.DataFrame:
    """All finished cells of a store, or of the usual one; nothing where that has none."""
    if not store and not any(STORE.glob("*.parquet")):
        return pd.DataFrame(columns=["dataset"])
    return results(store or STORE)


def about(found: pd.DataFrame) -> pd.DataFrame:
    """The worlds in words, with the number of draws."""
    lines = []
    for world, rows in found.groupby("dataset", sort=False):
        draws = rows["seed"].nunique()
        lines.append({"world": world, "what is special": all_worlds()[world].about, "draws": draws})
    return pd.DataFrame(lines)


def mastery_table(found: pd.DataFrame, model: str = "retrospective") -> pd.DataFrame:
    """Trajectory and filter in every world: model, ceiling and best rung, and the paired difference
    in RMSE to that rung."""
    lines = []
    for world, rows in _worlds(found, model):
        line = {"world": world, "draws": rows.loc[rows["model"] == model, "seed"].nunique()}
        for name, sees in (("trajectory", "retrospective"), ("filter", "post")):
            line[f"{name}, rank r: model / ceiling / best rung"] = _three(
                rows, RANK, sees, model, best=max
            )
            line[f"{name}, RMSE"] = _three(rows, RMSE, sees, model, best=min)
            rung = best_rung(rows, RMSE, sees, min)
            if rung:
                gap = difference(rows, RMSE, sees, model, rung)
                line[f"{name}, RMSE minus the rung's"] = _told(gap, 4, "+")
        lines.append(line)
    return pd.DataFrame(lines).fillna("")


def conduct_table(found: pd.DataFrame, model: str = "retrospective") -> pd.DataFrame:
    """Calibration, coverage of intervals, and what an answer does, in every world."""
    lines = []
    for world, rows in _worlds(found, model):
        errors = (estimate_of(rows, BIAS, model, sees) for sees in ("retrospective", "post"))
        lines.append(
            {
                "world": world,
                "mean error, trajectory": _told(next(errors)),
                "mean error, filter": _told(next(errors)),
                "95 % intervals that hold the truth": _covered(rows, model, "post"),
                "of the trajectory": _covered(rows, model, "retrospective"),
                "a right answer lowers mastery": percent(_value(rows, FLIPS, model), 1),
                "AUC": number(_value(rows, "AUC", model)),
            }
        )
    return pd.DataFrame(lines)


def growth_table(found: pd.DataFrame, model: str = "retrospective") -> pd.DataFrame:
    """Growth in every world: ranks, size by the number of practices, and large errors."""
    lines = []
    for world, rows in _worlds(found, model):
        line = {"world": world}
        line["rank r: model / ceiling / best rung"] = _three(
            rows, GROWTH, "retrospective", model, best=max
        )
        line["rank r of practices"] = number(_value(rows, GROWTH, model, predictor=PRACTICES))
        line["same skill and practices"] = _three(rows, SAME, "retrospective", model, best=max)
        line["by the truth's"] = _told(estimate_of(rows, SIZE, model), 2)
        for name in BINS:
            line[name] = number(_value(rows, f"{SIZE}, {name}", model), 2)
        for name, more in (("95 % intervals that hold it", ""), ("of 8 or more", OFTEN)):
            line[name] = percent(_value(rows, COVERED_GROWTH + more, model), 1)
        line["off by more than 10 points"] = _shares(rows, OFF, model)
        line["first answer turned right raises it"] = _shares(rows, RAISED, model)
        lines.append(line)
    return pd.DataFrame(lines).fillna("")


def network_table(found: pd.DataFrame, model: str = "retrospective") -> pd.DataFrame:
    """The model minus its skeleton alone, on the same learners, in every world."""
    lines = []
    for world, rows in _worlds(found, model):
        if not (rows["model"] == SKELETON).any():
            continue
        line = {"world": world}
        for name, measure, sees, digits in (
            ("AUC", "AUC", "", 4),
            ("trajectory, RMSE", RMSE, "retrospective", 4),
            ("filter, RMSE", RMSE, "post", 4),
            ("growth, rank r", GROWTH, "retrospective", 3),
        ):
            line[f"{name}: skeleton"] = number(_value(rows, measure, SKELETON, sees), digits)
            line[f"{name}: network"] = _told(
                difference(rows, measure, sees, model, SKELETON), digits, "+"
            )
        lines.append(line)
    return pd.DataFrame(lines)


def warning_table(found: pd.DataFrame, model: str = "retrospective") -> pd.DataFrame:
    """What the report of the model said in every world, and whether it should have warned."""
    said = found[(found["table"] == "verdicts") & (found["model"] == model)]
    lines = []
    for world, rows in said.groupby("dataset", sort=False):
        here = found[found["dataset"] == world]
        failed = [name for name, passed in gates(here, model).items() if passed is False]
        line = {"world": world, "gates missed": "; ".join(failed) or "none"}
        lines.append(line | {"the report warns": warned(rows)})
    return pd.DataFrame(lines)


def gates(rows: pd.DataFrame, model: str = "retrospective") -> dict[str, bool | None]:
    """Which gates a model passes in one world; None where a gate says nothing.

    The trajectory's RMSE is not above the best smoothed rung's (interval of the difference), its
    rank correlation at least 95 % of the ceiling's; growth 0.85 to 1.15 of the truth's, its rank
    correlation at least 85 % of the ceiling's and above that of the number of practices; intervals
    cover 92 to 98 %; a first answer turned right raises growth in at most 10 points more of the
    cases than for the ceiling. Where nobody learns, growth has no gate.
    """
    sees = "retrospective"
    ceiling = _value(rows, RANK, model, sees, "ceiling")
    share = _value(rows, RANK, model, sees) / ceiling
    rung = best_rung(rows, RMSE, sees, min)
    gap = difference(rows, RMSE, sees, model, rung) if rung else None
    covered = _value(rows, COVERED, model, "post")
    result: dict[str, bool | None] = {
        "trajectory RMSE against the ladder": None if gap is None else not gap.low > 0,
        "trajectory rank r": _passed(share >= 0.95, share),
        "coverage": _passed(0.92 <= covered <= 0.98, covered),
    }
    truth = _value(rows, "growth, mean of the truth", model)
    if abs(truth) < 1e-6:
        return result
    size, own = _value(rows, SIZE, model), _value(rows, GROWTH, model)
    ceiling = _value(rows, GROWTH, model, predictor="ceiling")
    practices = _value(rows, GROWTH, model, predictor=PRACTICES)
    raised = _value(rows, RAISED, model) - _value(rows, RAISED, model, predictor="ceiling")
    return result | {
        "growth size": _passed(0.85 <= size <= 1.15, size),
        "growth rank r": _passed(own >= 0.85 * ceiling and own > practices, own),
        "first answer turned": _passed(raised <= 0.10, raised),
    }


def gate_table(found: pd.DataFrame) -> pd.DataFrame:
    """Gates passed by every model that has a cell, of those that say something."""
    lines = []
    for world in found["dataset"].unique():
        rows, line = found[found["dataset"] == world], {"world": world}
        for model in ordered(rows["model"]):
            said = [passed for passed in gates(rows, model).values() if passed is not None]
            line[model] = f"{sum(said)} of {len(said)}"
        lines.append(line)
    return pd.DataFrame(lines).fillna("")


def points(found: pd.DataFrame) -> pd.DataFrame:
    """For the figure: `world`, `model` (or ceiling), `rmse` of the trajectory, `growth` ratio, each
    with `_low` and `_high`."""
    lines = []
    for (world, model), rows in found.groupby(["dataset", "model"], sort=False):
        for predictor in ("", "ceiling"):
            if predictor and model != "retrospective":
                continue
            line = {"world": world, "model": predictor or model}
            for name, measure in (("rmse", RMSE), ("growth", SIZE)):
                e = estimate_of(rows, measure, model, "retrospective", predictor)
                line |= {name: e.value, f"{name}_low": e.low, f"{name}_high": e.high}
            lines.append(line)
    return pd.DataFrame(lines)


def tables(found: pd.DataFrame, model: str = "retrospective") -> dict[str, pd.DataFrame]:
    """All tables of the page, by title."""
    return {
        "The worlds": about(found),
        "Mastery": mastery_table(found, model),
        "Calibration and conduct": conduct_table(found, model),
        "Growth": growth_table(found, model),
        "What the network adds": network_table(found, model),
        "Gates passed": gate_table(found),
        "Warnings": warning_table(found, model),
    }


def write_page(shown: dict[str, pd.DataFrame], folder: str | Path) -> Path:
    """Write the tables to `worlds.md` in `folder`, for docs/evidence.md."""
    parts = [f"### {title}\n\n{markdown(table)}" for title, table in shown.items()]
    path = make_folder(folder) / "worlds.md"
    write_text(path, "\n\n".join(parts) + "\n")
    return path


def _worlds(found: pd.DataFrame, model: str) -> Iterator[tuple[str, pd.DataFrame]]:
    """The rows of each world in which a model has a cell."""
    for world, rows in found.groupby("dataset", sort=False):
        if (rows["model"] == model).any():
            yield world, rows


def best_rung(rows: pd.DataFrame, measure: str, sees: str, best) -> str:
    """The rung of the ladder with the best value; empty where none has a cell."""
    values = {m: _value(rows, measure, m, sees) for m in LADDER}
    known = {m: v for m, v in values.items() if np.isfinite(v)}
    return best(known, key=known.get) if known else ""


def difference(rows: pd.DataFrame, measure: str, sees: str, a: str, b: str) -> Estimate:
    """`a` minus `b` on the same learners, mean over the draws that both have."""
    part = rows_of_measure(rows, measure, "", sees)
    found = {m: part[part["model"] == m].set_index("seed")["draws"] for m in (a, b)}
    both = found[a].index.intersection(found[b].index)
    return of_draws(np.mean([found[a][s] - found[b][s] for s in both], axis=0))


def _passed(passed: bool, value: float) -> bool | None:
    return bool(passed) if np.isfinite(value) else None


def estimate_of(
    rows: pd.DataFrame,
    measure: str,
    model: str,
    sees: str = "",
    predictor: str = "",
) -> Estimate:
    """One measure of one model in one world, over its draws; not a number where it has none."""
    own = summary(rows[rows["model"] == model], measure, sees=sees, predictor=predictor)
    if own.empty:
        return Estimate(np.nan)
    row = own.iloc[0]
    return Estimate(float(row["mean"]), float(row["low"]), float(row["high"]))


def _value(
    rows: pd.DataFrame, measure: str, model: str, sees: str = "", predictor: str = ""
) -> float:
    return estimate_of(rows, measure, model, sees, predictor).value


def _covered(rows: pd.DataFrame, model: str, sees: str) -> str:
    return percent(_value(rows, COVERED, model, sees), 1)


def _three(rows: pd.DataFrame, measure: str, sees: str, model: str, best) -> str:
    own = estimate_of(rows, measure, model, sees)
    ceiling = estimate_of(rows, measure, model, sees, "ceiling").value
    text = f"{number(own.value)} / {number(ceiling)}"
    rung = best_rung(rows, measure, sees, best)
    return f"{text} / {number(_value(rows, measure, rung, sees))} {rung}" if rung else text


def _shares(rows: pd.DataFrame, measure: str, model: str) -> str:
    own, ceiling = (
        estimate_of(rows, measure, model, predictor=predictor).value
        for predictor in ("", "ceiling")
    )
    return f"{own:.0%} / {ceiling:.0%}" if np.isfinite(own) else ""


def _told(e: Estimate, digits: int = 3, sign: str = "") -> str:
    return estimate(e.value, e.low, e.high, digits, sign)
