"""The first notebook, as it is shipped: it runs, and what it says about the numbers is so."""

from __future__ import annotations

import nbformat
import pandas as pd
from conftest import ROOT

from kt_core.notebook.headless import executed


def test_the_first_hour_runs_as_it_is_shipped(tmp_path):
    with executed("00_first_hour", {"out": str(tmp_path / "tables")}, quiet=True) as done:
        notebook = nbformat.read(done, 4)
    outputs = [o for c in notebook.cells if c.cell_type == "code" for o in c.outputs]
    text = "\n".join(str(o.get("text", "") or o.get("data", "")) for o in outputs)
    assert "11,007 answers of 200 learners" in text and r"\caption{Prediction of test" in text
    assert all(name in text for name in ("Rasch ability", "AFM", "BKT", "item difficulty"))
    assert sum("image/png" in o.get("data", {}) for o in outputs) == 2
    quality = pd.read_csv(tmp_path / "tables" / "quality.csv").set_index("measure")
    assert quality.loc["AUC", "value"] > 0.7 and quality.loc["AUC", "learners"] == 40
    assert len(pd.read_csv(tmp_path / "tables" / "mastery.csv")) > 1000


def test_every_question_has_an_answer():
    cells = nbformat.read(ROOT / "notebooks" / "00_first_hour.ipynb", 4).cells
    words = "\n".join(c.source for c in cells if c.cell_type == "markdown")
    asked, answers = words.split("## Answers")
    assert [f"**Question {n}.**" in asked and f"\n{n}. " in answers for n in range(1, 6)] == [
        True
    ] * 5
