"""A small search for the size and the optimisation of a network, on validation learners.

Successive halving (Jamieson and Talwalkar 2016) in two rounds: every candidate is trained for a
short time, and the best of each dropout is trained in full. A short training favours little
dropout, which learns fast and overfits later; it therefore decides about width and learning rate
only. Where a full training is short, as with few learners, the first round already trains in full.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass

import pandas as pd

from kt_core.recurrent import Network, Shape

SHORT_STEPS = 600  # of optimisation in the first round


@dataclass(frozen=True)
class Candidate:
    """What is searched for: the size of a network with its dropout, and the learning rate."""

    shape: Shape
    learning_rate: float

    @classmethod
    def of(cls, width: int, dropout: float, learning_rate: float) -> Candidate:
        """The candidate with these values; heads and blocks are not searched."""
        return cls(Shape(width=width, dropout=dropout), learning_rate)


GRID = (
    Candidate.of(64, 0.1, 1e-3),
    Candidate.of(128, 0.1, 3e-4),
    Candidate.of(64, 0.2, 1e-3),
    Candidate.of(128, 0.2, 1e-3),
    Candidate.of(128, 0.3, 1e-3),
    Candidate.of(256, 0.3, 3e-4),
)


@dataclass
class Trained:
    """A training.

    Attributes
    ----------
    network : with the weights of the epoch with the best validation AUC.
    history : one row per epoch, with `valid/auc`.
    complete : whether training stopped by itself; False if only its epochs ran out.
    """

    network: Network
    history: pd.DataFrame
    complete: bool

    @property
    def auc(self) -> float:
        """The best AUC on validation learners."""
        return float(self.history["valid/auc"].max())


def search(
    candidates: tuple[Candidate, ...], train: Callable[[Candidate, int], Trained], short: int
) -> tuple[Trained, pd.DataFrame]:
    """Find the best of several candidates.

    Parameters
    ----------
    candidates : in order; of equally good ones, the first is taken.
    train : trains a candidate for at most as many epochs; 0 means in full.
    short : epochs of the first round.

    Returns
    -------
    The training with the best validation AUC among those in full, and what was tried: one row per
    training, with `round`, `width`, `heads`, `blocks`, `dropout`, `learning_rate`, `epochs`,
    `valid_auc`, `seconds` and `chosen`.
    """
    best: Trained | None = None
    rows: list[dict] = []
    first = {c: _tried(c, train(c, short), 1, rows) for c in candidates}
    for dropout in dict.fromkeys(c.shape.dropout for c in candidates):
        group = [c for c in candidates if c.shape.dropout == dropout]
        chosen = max(group, key=lambda c: first[c].auc)
        trained = first[chosen]
        if not trained.complete:
            trained = _tried(chosen, train(chosen, 0), 2, rows)
        if best is None or trained.auc > best.auc:
            best = trained
    table = pd.DataFrame(rows)
    table["chosen"] = [row is best for row in table.pop("trained")]
    return best, table


def _tried(candidate: Candidate, trained: Trained, number: int, rows: list[dict]) -> Trained:
    rows.append(
        {
            "round": number,
            **asdict(candidate.shape),
            "learning_rate": candidate.learning_rate,
            "epochs": len(trained.history),
            "valid_auc": trained.auc,
            "seconds": float(trained.history["seconds"].sum()),
            "trained": trained,
        }
    )
    return trained
