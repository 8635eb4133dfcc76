"""The rooms of `kt_core` and their imports: read from the source, and drawn.

python docs/rooms.py    # makes docs/pictures/rooms.png again
"""

from __future__ import annotations

import ast
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "kt_core"
PICTURE = ROOT / "docs" / "pictures" / "rooms.png"


def modules() -> dict[str, Path]:
    """Every module of the package by dotted name, without the public face."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        found[".".join(parts).removesuffix(".__init__")] = path
    return {name: path for name, path in found.items() if name.count(".")}


def room(module: str) -> str:
    """The folder in which a module is, or the module itself where it is at the top."""
    return module.split(".")[1]


def imports() -> dict[str, set[str]]:
    """The modules of the package that each module imports, anywhere in its source."""
    names = modules()
    found: dict[str, set[str]] = {name: set() for name in names}
    for name, path in names.items():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                targets = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.module:
                whole = [f"{node.module}.{alias.name}" for alias in node.names]
                targets = [target if target in names else node.module for target in whole]
            else:
                continue
            found[name] |= {target for target in targets if target in names}
    return found


def rooms() -> dict[str, set[str]]:
    """The other rooms that each room imports."""
    found: dict[str, set[str]] = {room(name): set() for name in modules()}
    for name, targets in imports().items():
        found[room(name)] |= {room(target) for target in targets} - {room(name)}
    return found


def reached(graph: dict[str, set[str]], start: str) -> set[str]:
    """All that can be reached from `start` along one or more arrows."""
    seen: set[str] = set()
    waiting = list(graph[start])
    while waiting:
        if (here := waiting.pop()) not in seen:
            seen.add(here)
            waiting += graph[here]
    return seen


def floors(graph: dict[str, set[str]]) -> dict[str, int]:
    """The floor of each room: above all rooms that it imports; 0 is the ground."""
    floor = dict.fromkeys(graph, 0)
    for _ in graph:
        for here, below in graph.items():
            floor[here] = max([floor[here], *(floor[other] + 1 for other in below)])
    for _ in graph:  # and as close as possible to those that import it
        for here in graph:
            above = [floor[other] - 1 for other, below in graph.items() if here in below]
            floor[here] = max(floor[here], min(above, default=0))
    return floor


def direct(graph: dict[str, set[str]]) -> Iterable[tuple[str, str]]:
    """The arrows that no longer way implies."""
    for here, below in graph.items():
        implied = set().union(*(reached(graph, other) for other in below))
        yield from ((here, other) for other in sorted(below - implied))


def _places(arrows: list[tuple[str, str]], floor: dict[str, int]) -> dict[str, tuple[float, float]]:
    """Where each room is drawn: on its floor, in an order in which arrows rarely cross."""
    order = {name: float(i % 5) for i, name in enumerate(sorted(floor))}
    for _ in range(50):
        for level in range(max(floor.values()) + 1):
            here = [name for name in floor if floor[name] == level]
            near = {n: [order[a if b == n else b] for a, b in arrows if n in (a, b)] for n in here}
            here.sort(key=lambda n: sum(near[n]) / max(len(near[n]), 1))
            order |= {name: i - (len(here) - 1) / 2 for i, name in enumerate(here)}
    return {name: (x + 0.2 * (floor[name] % 2), floor[name]) for name, x in order.items()}


def draw() -> Path:
    """Draw every room on its floor, as large as its code, with the direct arrows."""
    from matplotlib.figure import Figure

    graph = rooms()
    graph.pop("__main__", None)
    floor, lines = floors(graph), dict.fromkeys(graph, 0)
    for name, path in modules().items():
        if room(name) in lines:
            lines[room(name)] += len(path.read_text(encoding="utf-8").splitlines())
    place = _places(list(direct(graph)), floor)
    figure = Figure(figsize=(7.2, 8.6), layout="constrained")
    ax = figure.subplots()
    boxes = {}
    for name, at in place.items():
        core = (PACKAGE / f"{name}.py").is_file()
        label = f"{name if core else name + '/'}\n{lines[name]:,}"
        style = {"boxstyle": "round,pad=0.35", "fc": "#cfe3f1" if core else "white", "ec": "0.3"}
        text = ax.text(*at, label, ha="center", va="center", fontsize=8, bbox=style)
        boxes[name] = text.get_bbox_patch()
    for start, end in direct(graph):
        arrow = {"arrowstyle": "->", "color": "0.55", "shrinkA": 1, "shrinkB": 1}
        ends = {"patchA": boxes[start], "patchB": boxes[end]}
        ax.annotate("", place[end], place[start], arrowprops=arrow | ends, zorder=1)
    left, right = (end(x for x, _ in place.values()) for end in (min, max))
    ax.set(xlim=(left - 0.5, right + 0.5), ylim=(-0.6, max(floor.values()) + 0.6))
    ax.set_axis_off()
    figure.savefig(PICTURE, dpi=150, metadata={"Software": None})
    return PICTURE


if __name__ == "__main__":
    print(draw())
