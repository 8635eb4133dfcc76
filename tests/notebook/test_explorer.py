"""The explorer follows its controls without falling behind, and shows its run as it is now."""

from __future__ import annotations

import asyncio
import shutil

import numpy as np
import pytest
from conftest import stir

from kt_core.evaluation.evaluate import evaluate
from kt_core.notebook.explorer import Explorer
from kt_core.notebook.latest import WORD, Latest
from kt_core.runs.find import open_run
from kt_core.runs.run import Run


@pytest.fixture
def explorer(trained, tmp_path):
    """Over a run of its own."""
    shutil.copytree(trained.path, tmp_path / "run")
    run, splits = open_run(tmp_path / "run")
    return Explorer(run, splits, "test", evaluate(run.model, splits.test))


async def quiet(explorer):
    """Until nothing is computed any more."""
    while explorer.busy.value:
        await asyncio.sleep(0.01)


def test_of_a_dragged_slider_only_the_newest_place_is_drawn(explorer, monkeypatch):
    read, look = [], explorer._read
    monkeypatch.setattr(explorer, "_read", lambda step: read.append(step) or look(step))
    words = []
    explorer.busy.observe(lambda change: words.append(change["new"]), "value")

    async def drag():
        for step in range(1, 15):
            explorer.horizon.value = step
            await asyncio.sleep(0)
        explorer.step.value = 3
        assert explorer.busy.value == WORD
        await quiet(explorer)

    before = bytes(explorer.waterfall.value)
    asyncio.run(drag())
    assert read == [14] and words == [WORD, ""]
    assert explorer.frame["mastery"].notna().tolist() == (explorer.frame["step"] <= 14).tolist()
    assert bytes(explorer.waterfall.value) != before


def test_what_is_asked_meanwhile_is_done_once_afterwards():
    done, said = [], []

    def work(things):
        done.append(things)
        if len(done) == 1:
            for thing in "abab":
                latest.ask(thing)

    latest = Latest(work, said.append)

    async def ask():
        latest.ask("first")
        while latest._task:
            await asyncio.sleep(0.01)

    asyncio.run(ask())
    assert done == [["first"], ["a", "b"]] and said[-1] == ""


def test_without_an_event_loop_it_is_done_at_once():
    done = []
    Latest(done.append, str).ask("x")
    assert done == [["x"]]


def test_an_error_ends_the_word_and_not_the_explorer():
    said, fails = [], [True, False]

    def work(things):
        if fails.pop(0):
            raise ValueError(things)

    latest = Latest(work, said.append)

    async def ask():
        latest.ask("x")
        with pytest.raises(ValueError, match="x"):
            await latest._task
        latest.ask("y")
        await latest._task

    asyncio.run(ask())
    assert said[-1] == "" and fails == []


def test_a_run_that_was_trained_again_is_shown_anew(explorer):
    explorer.horizon.value = 3
    old, model = explorer.frame, explorer.run.model
    again = Run.load(explorer.run.path)
    again.finish(stir(again.model))
    explorer.horizon.value = 4
    assert explorer.run.model is not model
    assert len(explorer.frame) and explorer.horizon.value == explorer.horizon.max
    same = evaluate(explorer.run.model, explorer.splits.test).frame["predicted"]
    np.testing.assert_array_equal(explorer.beliefs.frame["predicted"], same)
    explorer.horizon.value = 3
    assert not np.allclose(old["filtered"].head(3), explorer.frame["filtered"].head(3))


def test_a_run_that_cannot_be_opened_is_told_and_one_in_training_is_left(explorer):
    model = explorer.run.model
    explorer.run.write_state("training")
    explorer.horizon.value = 3
    assert explorer.run.model is model
    explorer.run.write_state("finished", weights_sha256="0" * 64)  # not those that are there
    explorer.horizon.value = 4
    assert explorer.run.model is model
    assert explorer.note.value.startswith("the run has changed, and cannot be shown: ")
