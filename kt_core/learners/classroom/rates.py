"""How often "stuck" and "ready" are right where the truth is known: the table that pages cite."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

TABLE = Path(__file__).with_name("rates.csv")  # made by benchmarks/stuck_and_ready.py
FEW = 20  # a world in which a word is said less often is never the hardest one


def rates(mode: str) -> dict[str, int] | None:
    """How often the words were right over all simulated worlds, for the pages.

    Parameters
    ----------
    mode : of the model.

    Returns
    -------
    `worlds` and `learners` (how many), `stuck` and `ready` (right of 100, the mean over worlds),
    `stuck_least` and `ready_least` (in the world where that is lowest), and `found` (of 100 who
    truly were stuck, the mean over worlds); None for a mode that has not been measured.
    """
    table = pd.read_csv(TABLE)
    table = table[table["mode"] == mode]
    if table.empty:
        return None
    found = {"worlds": table["world"].nunique()}
    found["learners"] = int(table.drop_duplicates(["world", "learners"])["learners"].sum())
    for word, part in table.groupby("verdict"):
        sums = part.groupby("world")[["said", "right", "true"]].sum()
        share = sums["right"] / sums["said"]
        found[word] = int(100 * share.mean())
        found[f"{word}_least"] = int(100 * share[sums["said"] >= FEW].min())
        if word == "stuck":
            found["found"] = int(100 * (sums["right"] / sums["true"]).mean())
    return found
