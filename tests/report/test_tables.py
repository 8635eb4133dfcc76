"""Tables for people: no name of a column or file of ours reaches them."""

import dataclasses
import re

import pandas as pd
import pytest

from kt_core import report
from kt_core.report.examine import examine
from kt_core.report.tables import KINDS, OF_HISTORY, OF_LIVE, _worded


@pytest.fixture(scope="module")
def examined(trained):
    return examine(trained.path)


def test_falls_that_a_live_user_saw_stand_next_to_the_zeros(examined):
    tables = report.verdict_tables(examined)
    assert list(tables) == [KINDS[kind] for kind in ("guarantee", "evidence", "description")]
    table, states = tables[KINDS["guarantee"]]
    row = table.set_index("measure").loc["Mastery falls between steps"]
    assert row[OF_HISTORY].startswith("0 of ") and "%" in row[OF_LIVE]
    assert (row["target"], row["verdict"]) == ("0, guaranteed", "reached")
    assert states == ["good", "good", "good", "open"]


def test_all_verdicts_are_shown_with_a_state(examined):
    tables = report.verdict_tables(examined)
    for table, states in tables.values():
        assert len(table) == len(states) and set(states) <= {"good", "unsure", "bad", "open"}
    evidence = report.verdicts(examined).query("kind == 'evidence'")
    assert len(tables[KINDS["evidence"]][0]) == len(evidence)


@pytest.mark.parametrize("table", ["skills_text", "provenance_table", "verdict_tables"])
def test_no_raw_names(examined, table):
    shown = getattr(report, table)(examined.measures if table == "skills_text" else examined)
    frames = [t for t, _ in shown.values()] if isinstance(shown, dict) else [shown]
    names = [str(c) for f in frames for c in (*f.columns, *f.iloc[:, 0])]
    assert not [name for name in names if re.search(r"\w_\w|\w/\w", name)]


def test_forgetting_in_words(examined):
    rows = {"skill": [-1], "name": ["all skills, by steps"], "learners": [30], "effect": [-0.2]}
    rows |= {"saved": [0.01], "p": [0.0004], "q": [0.0004], "contradicted": [True]}
    measures = dataclasses.replace(examined.measures, forgetting=pd.DataFrame(rows))
    shown = report.forgetting_text(measures).iloc[0]
    assert shown["no forgetting is"] == "contradicted" and shown["p"] == "0.0004"
    assert shown["change after a break (log-odds)"] == "-0.200"


def test_provenance_keeps_the_names_of_files():
    assert _worded("data_sha256 my_file.csv") == "SHA-256 of the data, my_file.csv"
    assert _worded("training_seconds") == "seconds of training"


def test_five_sentences_of_a_run(examined):
    sentences = report.in_short(examined)
    assert len(sentences) == 5 and "60 learners" not in sentences[0].text
    assert f"{len(examined.beliefs.learners)} test learners, all new to it" in sentences[0].text
    assert "real learners, as these are simulated" in sentences[-1].text
