"""The examples of the reference and the code of the gallery run as they are written."""

from __future__ import annotations

import doctest
import importlib
import re

import numpy as np
import pytest
import torch
from conftest import ROOT
from pages import gallery

import kt_core as kt
from kt_core.base import own
from kt_core.data import Simulation, simulate

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


def test_the_reference_has_every_public_name_with_a_docstring():
    shown = {object_of(name) for name in NAMES}
    public = {getattr(kt, name) for name in kt.__all__ if name not in ("losses", "plots")}
    assert public <= shown and all(thing.__doc__ for thing in shown)


EXAMPLES = [name for name in NAMES if ">>>" in (object_of(name).__doc__ or "")]


@pytest.mark.parametrize("name", EXAMPLES)
def test_examples_run(name, place, monkeypatch):
    folder, answers = place
    monkeypatch.chdir(folder)
    monkeypatch.setattr(own, "_KNOWN", {})
    monkeypatch.setenv(own.VARIABLE, "[]")
    thing = object_of(name)
    names = vars(importlib.import_module(thing.__module__)).copy()
    names |= {"kt": kt, "np": np, "torch": torch, "answers": answers}
    test = doctest.DocTestParser().get_doctest(thing.__doc__, names, name, None, None)
    report = []
    flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    doctest.DocTestRunner(optionflags=flags).run(test, out=report.append)
    assert not report, "".join(report)


def test_the_gallery_is_drawn_by_its_code(tmp_path):
    drawn = gallery(tmp_path)
    assert len(drawn) == 8 and all(path.stat().st_size > 5000 for path in drawn)
