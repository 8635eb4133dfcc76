"""The house: which room may import which, what the front door shows, and where docstrings point."""

import ast
import re
import subprocess
import sys

import pytest
from conftest import ROOT
from rooms import PACKAGE, imports, modules, reached, rooms

import kt_core

MAY_IMPORT = {  # from the ground up; a room imports nothing but these
    "base": "",
    "layers": "",
    "posterior": "layers",
    "sums": "layers",
    "parts": "",
    "retention": "base layers sums",
    "uncertainty": "posterior",
    "config": "base",
    "data": "base config",
    "presets": "base config data",
    "metrics": "data layers",
    "encoder": "config layers",
    "difficulty": "layers sums",
    "reading": "layers posterior retention sums",
    "skeleton": "layers parts posterior reading retention sums",
    "states": "layers reading",
    "mastery": "config layers posterior reading retention skeleton states sums",
    "side_heads": "config layers states",
    "model": "base config difficulty encoder layers mastery parts reading side_heads states",
    "stepwise": "layers model posterior reading skeleton states",
    "losses": "base config data layers mastery model side_heads states",
    "monitor": "base layers metrics states",
    "evaluation": "base data layers mastery metrics model posterior reading states sums "
    "uncertainty",
    "runs": "base config data model uncertainty",
    "recurrent": "layers",
    "training": "base config data difficulty evaluation layers losses mastery model monitor "
    "recurrent runs skeleton states uncertainty",
    "baselines": "base config data evaluation layers metrics model recurrent training",
    "plots": "base config metrics",
    "report": "base baselines config data evaluation metrics runs",
    "learners": "base data evaluation mastery metrics model runs stepwise uncertainty",
    "notebook": "base config data evaluation learners monitor plots runs training",
    "studies": "base baselines config data evaluation metrics notebook plots presets "
    "report runs stepwise training",
    "tracing": "base baselines config data evaluation learners metrics notebook plots "
    "presets report runs studies training",
    "cli": "base config data learners losses model notebook presets report runs studies tracing "
    "training",
    "__main__": "cli",
}
PUBLIC = {
    *("KnowledgeTracer", "audit", "compare", "cross_validate", "demo", "fit", "load"),
    *("GainAKT2", "KTError", "LiveLearner", "Monitor", "RunConfig", "configure", "evaluate"),
    *("examine", "explain", "judge", "losses", "open_run", "plots", "predict", "read_splits"),
    *("register", "to_csv", "to_latex", "train"),
}


def test_each_room_imports_what_the_table_says():
    assert rooms() == {room: set(others.split()) for room, others in MAY_IMPORT.items()}


def test_imports_run_downwards_only():
    order = list(MAY_IMPORT)
    for room, others in MAY_IMPORT.items():
        assert all(order.index(other) < order.index(room) for other in others.split()), room
    graph = imports()
    assert [name for name in graph if name in reached(graph, name)] == []


def test_every_room_says_what_it_is_for():
    for folder in {path.parent for path in modules().values()} - {PACKAGE}:
        tree = ast.parse((folder / "__init__.py").read_text(encoding="utf-8"))
        assert ast.get_docstring(tree), folder


def test_tests_mirror_the_rooms():
    folders = {path.parent.name for path in (ROOT / "tests").glob("*/test_*.py")}
    assert folders - {"core"} <= set(MAY_IMPORT)


def test_the_front_door_shows_the_public_names_and_nothing_else():
    assert set(dir(kt_core)) == PUBLIC | {"__version__"} and set(kt_core.__all__) == PUBLIC
    for name in PUBLIC:
        assert getattr(kt_core, name) is not None
    tree = ast.parse((PACKAGE / "__init__.py").read_text(encoding="utf-8"))
    told = [a.name for n in ast.walk(tree) if isinstance(n, ast.ImportFrom) for a in n.names]
    assert set(told) - {"import_module"} == PUBLIC  # what type checkers read
    with pytest.raises(AttributeError, match="no attribute 'workflow'"):
        kt_core.workflow  # noqa: B018


def test_the_front_door_loads_nothing_before_it_is_asked():
    code = "import sys; before = set(sys.modules); import kt_core; print(set(sys.modules) - before)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert ast.literal_eval(done.stdout) == {"kt_core"}


def test_docstrings_point_to_headings_that_exist():
    text = (ROOT / "docs" / "method.md").read_text(encoding="utf-8")
    headings = set(re.findall(r"^#+ (.+)$", text, re.MULTILINE))
    named = set()
    for path in PACKAGE.rglob("*.py"):
        source = " ".join(path.read_text(encoding="utf-8").split())
        named |= set(re.findall(r'docs/method\.md, "([^"]+)"', source))
        assert not re.search(r"design, section|of the design", source), path
    assert len(named) > 5 and named <= headings
