"""How often "stuck" and "ready" are right where the truth is known: the table that pages cite."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

TABLE = Path(__file__).with_name("rates.csv")  # made by benchmarks/stuck_and_ready.py
FEW = 20  # a world in which a word was said less often is no hardest one


def rates(mode: str) -> dict[str, int] | None:
    """How often the words were right over all simulated worlds, for the pages.

    Parameters
    ----------
    mode : of the model.

    Returns
    -------
    `worlds` and `learners` (how many), `stuck` and `ready` (right of 100), `stuck_least` and
    `ready_least` (in the world where that is lowest), and `found` (of 100 who truly were stuck);
    None for a mode that has not been measured.
    """
    table = pd.read_csv(TABLE)
    table = table[table["mode"] == mode]
    if table.empty:
        return None
    classes = table.drop_duplicates(["world", "learners"])
    found = {"worlds": classes["world"].nunique(), "learners": int(classes["learners"].sum())}
    for word, part in table.groupby("verdict"):
        often = part.groupby("world")[["said", "right"]].sum()
        often = often[often["said"] >= FEW]
        found[word] = _of_hundred(part["right"].sum(), part["said"].sum())
        found[f"{word}_least"] = int((100 * often["right"] / often["said"]).min())
    stuck = table[table["verdict"] == "stuck"]
    return found | {"found": _of_hundred(stuck["right"].sum(), stuck["true"].sum())}


def _of_hundred(part: int, whole: int) -> int:
    return int(100 * part / whole)
