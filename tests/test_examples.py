"""The examples of the reference and the code of the gallery run as they are written."""

from __future__ import annotations

import doctest
import importlib
import inspect
import re

import numpy as np
import pytest
import torch
from conftest import ROOT
from pages import gallery

import kt_core as kt
from kt_core.base import own
from kt_core.data import Simulation, simulate
from kt_core.tracing.own import Judged

NAMES = re.findall(
    r"^::: (\S+)$", (ROOT / "docs" / "reference.md").read_text(encoding="utf-8"), re.MULTILINE
)
COLUMNS = {"user": "Student", "skill": "Topic", "correct": "Right"}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with two runs, and a table whose columns nobody could recognise."""
    folder = tmp_path_factory.mktemp("place")
    for name in ("mine", "other"):
        kt.demo().save(folder / "runs" / name)
    table = simulate(Simulation(learners=60)).table[[*COLUMNS]]
    return folder, table.rename(columns=COLUMNS)


def object_of(name):
    module, _, attribute = name.rpartition(".")
    return getattr(importlib.import_module(module), attribute)


def methods_of(name):
    """The public methods and properties of a class that is used by them, by name."""
    members = inspect.getmembers_static(object_of(name))
    return {
        f"{name}.{n}": inspect.unwrap(m.fget if isinstance(m, property) else m)
        for n, m in members
        if not n.startswith("_") and (callable(m) or isinstance(m, property | classmethod))
    }


def test_the_reference_has_every_public_name_with_a_docstring():
    shown = {object_of(name) for name in NAMES}
    public = {getattr(kt, name) for name in kt.__all__ if name not in ("losses", "plots")}
    assert public <= shown and all(thing.__doc__ for thing in shown)


SHOWN = {name: object_of(name) for name in NAMES}
for used in (kt.KnowledgeTracer, kt.LiveLearner, Judged):
    SHOWN |= methods_of(f"{used.__module__}.{used.__name__}")
SHOWN.pop("kt_core.tracing.tracer.KnowledgeTracer.configured")  # for the package's own use


def test_all_that_the_reference_shows_has_an_example():
    assert [name for name, thing in SHOWN.items() if ">>>" not in (thing.__doc__ or "")] == []


RUN = SHOWN | {  # other classes' methods need no example, but one that is there is run
    name: method
    for shown in NAMES
    if inspect.isclass(object_of(shown))
    for name, method in methods_of(shown).items()
    if (getattr(method, "__module__", "") or "").startswith("kt_core.")  # not torch's own
    and ">>>" in (method.__doc__ or "")
}


@pytest.mark.parametrize("name", RUN)
def test_examples_run(name, place, monkeypatch):
    folder, answers = place
    monkeypatch.chdir(folder)
    monkeypatch.setattr(own, "_KNOWN", {})
    monkeypatch.setenv(own.VARIABLE, "[]")
    thing = RUN[name]
    names = vars(importlib.import_module(thing.__module__)).copy()
    names |= {"kt": kt, "np": np, "torch": torch, "answers": answers}
    test = doctest.DocTestParser().get_doctest(thing.__doc__, names, name, None, None)
    report = []
    flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    doctest.DocTestRunner(optionflags=flags).run(test, out=report.append)
    assert not report, "".join(report)


def test_the_gallery_is_drawn_by_its_code(tmp_path):
    drawn = gallery(tmp_path)
    assert len(drawn) > 20 and all(path.stat().st_size > 5000 for path in drawn)
