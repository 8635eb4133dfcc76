"""The simulations that have a name: worlds in which models of learning are judged.

Each world breaks an assumption of some model, and each has a known optimum
(`kt_core.evaluation.ceiling`). To add a world, add a line to `WORLDS`, or register one of your own
(`kt_core.register` with kind "world"); a world with another way to learn also adds a function to
`kt_core.data.simulate.LEARNING`, and one with another order of practice a class to
`kt_core.data.practice.ORDERS`. `python -m kt_core worlds` judges models in it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from kt_core.base import own
from kt_core.base.errors import KTError, brief
from kt_core.data.simulate import Hidden, Simulation


def _foreign(about: str, **changed: Any) -> Simulation:
    """What the worlds other than the house have in common: skills differ in how much they depend
    on ability and vary between learners, and nobody stops because answers were right."""
    common = {"loading": (0.9, 1.2), "start_sd": (0.3, 0.5), "steps": (20, 100), "order": "blocks"}
    return Simulation(about=about, **(common | changed))


WORLDS: dict[str, Simulation] = {
    "simulated": Simulation(about="the house: every practice adds a gain, practice stops early"),
    "world-hidden": _foreign("skills are known or not, learnt in one step", hidden=Hidden()),
    "world-general": _foreign(
        "strong general factor, growth by the log of practice, random order",
        loading=(1.2, 1.5),
        start_sd=(0.3, 0.3),
        learns="log",
        order="random",
    ),
    "world-errors": _foreign("only errors teach", learns="errors"),
    "world-transfer": _foreign("practice also helps the next two skills", transfer=(0.6, 0.3)),
    "world-forgetting": _foreign(
        "gains fade between sessions", breaks=(1.0, 3.0, 7.0, 21.0), decay=0.35
    ),
    "world-guessing": _foreign("guesses and slips", guess=0.25, slip=0.10),
    "world-choice": _foreign(
        "learners go where it went well and drop out after errors", order="chosen", dropout=0.1
    ),
    "simulated-no-learning": Simulation(growth=0.0, about="control: nobody learns, early stopping"),
    "world-no-learning": _foreign("control: nobody learns, fixed blocks", growth=0.0),
    "world-breaks": _foreign(
        "control: breaks as in world-forgetting, nothing fades", breaks=(1.0, 3.0, 7.0, 21.0)
    ),
    "simulated-forgetting": Simulation(
        forgetting=0.06, about="control: the house, gains fade while other skills are practised"
    ),
    "simulated-slow": Simulation(growth=0.5, about="the house with half of the gains"),
    "simulated-fast": Simulation(growth=2.0, about="the house with twice the gains"),
}


def worlds() -> dict[str, Simulation]:
    """The worlds of the package and those that a user registered.

    Raises
    ------
    KTError
        When what was registered does not make a `Simulation`.
    """
    return WORLDS | {name: made(name, world.what) for name, world in own.of(own.WORLD).items()}


def made(name: str, world: Callable[[], Any]) -> Simulation:
    """The world that a function of a user's makes.

    Raises
    ------
    KTError
        When it is not a `Simulation`.
    """
    found = world()
    if not isinstance(found, Simulation):
        raise KTError(f"world {name!r}: it returns {brief(found)}, not a kt_core.data.Simulation")
    return found


def check_world(name: str) -> None:
    """Raise a KTError unless a world exists."""
    if name not in (known := worlds()):
        raise KTError(f"world {name!r} does not exist; choose from: {', '.join(known)}")
