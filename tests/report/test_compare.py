"""Runs compared: refused before anything is measured, or paired on the same resamples."""

import dataclasses
import json
import shutil

import pandas as pd
import pytest

from kt_core.base.errors import KTError
from kt_core.report import compare
from kt_core.report.compare import by_part, differences, differences_text, examine_all
from kt_core.report.examine import examine


@pytest.fixture(scope="module")
def examined(trained):
    return examine(trained.path)


@pytest.fixture(scope="module")
def another(examined):
    """The same model under another name, with worse predictions of one skill."""
    frame = examined.beliefs.frame.copy()
    frame.loc[(frame["skill"] == 0) & frame["predicted"].notna(), "predicted"] = 0.5
    run = dataclasses.replace(examined.run, path=examined.run.path.with_name("another"))
    beliefs = dataclasses.replace(examined.beliefs, frame=frame)
    return dataclasses.replace(examined, run=run, beliefs=beliefs)


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        (("data", "fold", 1), "other learners"),
        (("data", "chunk", 20), "other answers"),
        (("report", "seed", 5), "other resamples"),
    ],
)
def test_what_cannot_be_compared_is_refused_before_it_is_measured(
    trained, tmp_path, monkeypatch, setting, words
):
    monkeypatch.setattr(compare, "examine", lambda *args: pytest.fail("measured"))
    other = tmp_path / "other"
    shutil.copytree(trained.path, other)
    section, name, value = setting
    config = json.loads((other / "config.json").read_text())
    config["config"][section][name] = value
    (other / "config.json").write_text(json.dumps(config))
    split = "valid" if name == "fold" else "test"
    with pytest.raises(KTError, match=words):
        examine_all([trained.path, other], split)
    with pytest.raises(KTError, match="at least two different"):
        examine_all([trained.path, trained.path])
    same = tmp_path / "copy" / trained.path.name
    shutil.copytree(trained.path, same)
    with pytest.raises(KTError, match="have one name, by which tables and figures tell runs apart"):
        examine_all([trained.path, same])


def test_in_words_it_says_what_the_intervals_say(examined, another):
    (same,) = compare.in_words(differences([examined, another]).assign(gap_low=-0.1, gap_high=0.1))
    assert same.startswith("another next to trained: it tells answers apart as much, as far as")
    table = differences([examined, another])
    table.loc[table["measure"] == "AUC", ["gap_low", "gap_high"]] = -0.2, -0.1
    exam = table["measure"] == "exam, skills asked"
    table.loc[exam, ["gap_low", "gap_high"]] = 0.1, 0.2
    (told,) = compare.in_words(table)
    assert "it tells answers apart worse (" in told and "and of the exam more (" in told


def test_a_run_does_not_differ_from_itself(examined, another):
    table = differences([examined, another])
    gaps = table[table["run"] == "another"]
    assert {"AUC", "log loss", "exam, skills asked"} <= set(gaps["measure"])
    known = gaps[gaps["value"].notna()]
    assert (known[["gap", "gap_low", "gap_high"]].fillna(0) == 0).all(axis=None)
    text = differences_text(table)
    name = examined.run.name
    assert list(text.columns) == ["measure", "sees", name, "another", f"another minus {name}"]
    assert text["another"].tolist() == text[name].tolist()


def test_differences_are_found_where_they_are(examined, another):
    parts = by_part(examined, another)
    skills = parts[parts["kind"] == "skills"].set_index("name")["difference"]
    first = examined.splits.vocabulary.skills[0]
    assert skills[first] != 0 and (skills.drop(first) == 0).all()
    learners = parts[parts["kind"] == "learners"]
    assert set(learners["name"]) <= set(map(str, examined.beliefs.learners))
    whole = examined.beliefs.predicted
    assert learners["answers"].sum() == len(whole)
    assert isinstance(parts, pd.DataFrame) and set(parts["kind"]) == {"skills", "learners"}
