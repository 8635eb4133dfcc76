"""Audits of exported mastery: the same numbers as the report's, and nothing that was not asked."""

import json

import numpy as np
import pandas as pd
import pytest
import torch

from kt_core.base.errors import KTError
from kt_core.cli.commands import main
from kt_core.data import Dataset
from kt_core.evaluation.evaluate import evaluate
from kt_core.evaluation.measures import measure
from kt_core.studies.audit import (
    audit,
    audit_files,
    read_mastery,
    trajectories,
    write_audit,
)


@pytest.fixture(scope="module")
def exported(smoke, trained):
    """The test learners' answers, and a smoke run's mastery of every skill before each answer."""
    _, splits = smoke
    s, names = splits.test, splits.vocabulary.skills
    table = splits.dataset.table
    table = table[table["user"].isin(s.learners)].reset_index(drop=True)
    beliefs = evaluate(trained.model, s)
    rows = []
    for i in range(len(s)):
        at = slice(s.starts[i], s.starts[i] + s.lengths[i])
        states = trained.model.forward_with_states(
            *(tensor(x[at]) for x in (s.skill, s.response, s.item))
        )
        before = states.filtered[0, :-1].detach().numpy()
        T, C = before.shape
        columns = {"learner": s.learners[s.learner[i]], "step": np.repeat(np.arange(2, T + 2), C)}
        columns |= {"skill": np.tile(names, T), "mastery": before.ravel()}
        rows.append(pd.DataFrame(columns))
    return pd.concat(rows, ignore_index=True), table, beliefs


def tensor(x):
    return torch.from_numpy(x)[None]


def responses(table):
    return Dataset("r", table[["user", "skill", "correct"]])


def test_an_audit_of_our_own_model_says_what_the_report_says(exported, smoke):
    mastery, table, beliefs = exported
    _, splits = smoke
    audited = audit(mastery, responses(table), "pre", resamples=50)
    names = splits.vocabulary.skills
    base = np.array([table.loc[table["skill"] == n, "correct"].mean() for n in names])
    own = measure(beliefs, base, splits.vocabulary.skills, 50)
    keys = ["measure", "variant", "predictor"]
    got = audited.measures.associations.set_index(keys)["value"]
    want = own.associations.set_index(keys)["value"]
    for key in [k for k in got.index if k[2] == "model"]:
        if "item" not in key[1]:  # the audit's table has no items
            assert got[key] == pytest.approx(want[key], abs=1e-5), key
    assert ("prospective validity, learner x skill", "pooled", "model") in got.index
    assert audited.covered == pytest.approx(1 - len(splits.test) / len(table))


@pytest.mark.parametrize("sees", ["pre", "post", "retrospective"])
def test_estimates_of_single_learners_are_those_of_the_table(exported, sees):
    mastery, table, _ = exported
    audited = audit(mastery, responses(table), sees, resamples=30)
    told = trajectories(audited, most=3, longest=20)
    sizes = table.groupby("user").size()
    assert sizes[told["learner"].iloc[0]] == sizes.max()
    assert sizes[told["learner"].iloc[-1]] == sizes.min() and told["learner"].nunique() == 3
    assert told["step"].max() <= 20
    given = mastery.set_index(["learner", "step", "skill"])["mastery"]
    keys = pd.MultiIndex.from_frame(told[["learner", "step", "skill"]])
    assert np.allclose(told["mastery"], given[keys])
    answers = table.assign(step=table.groupby("user").cumcount() + 1)
    right = answers.set_index(["user", "step", "skill"])["correct"][keys] == 1
    assert (right.to_numpy() == (told["answer"] == "right")).all()
    assert trajectories(audited, longest=0).empty


def test_estimates_are_held_against_a_ladder_of_other_learners():
    """Shares of right answers so far, from the first step on, of learners who differ."""
    rng = np.random.default_rng(0)
    learners, steps = 40, 24
    table = pd.DataFrame({"user": np.repeat([f"u{i:02d}" for i in range(learners)], steps)})
    table["skill"] = rng.choice(["x", "y"], len(table))
    level = np.repeat(rng.normal(size=learners) * 1.5, steps)
    table["correct"] = (rng.random(len(table)) < 1 / (1 + np.exp(-level))).astype(int)
    step, right = table.groupby("user").cumcount(), table.groupby("user")["correct"].cumsum()
    share = (right - table["correct"] + 1) / (step + 2)
    mastery = pd.DataFrame({"learner": table["user"], "step": step + 1, "skill": table["skill"]})
    m = audit(mastery.assign(mastery=share), responses(table), "pre", resamples=50).measures
    simple = m.simple.set_index("predictor")
    assert list(simple.index) == ["model", "Rasch ability", "AFM", "BKT"]
    # First answers are predicted by the estimates alone; all are compared on the others.
    assert (simple["entries"] == learners * (steps - 1)).all()
    assert m.quality("AUC")["entries"] == learners * steps
    assert simple.loc["Rasch ability", "value"] > 0.65
    later = m.associations[m.associations["measure"] == "prospective validity, learner"]
    assert {"Rasch ability", "AFM"} <= set(later["predictor"])
    assert later.set_index("predictor").loc["AFM", "value"] > 0.5
    seen = audit(mastery.assign(mastery=share), responses(table), "post", resamples=30).measures
    assert seen.simple.empty and len(seen.exam)


@pytest.mark.parametrize("sees", ["post", "retrospective"])
def test_only_pre_estimates_have_pre_measures(exported, sees):
    mastery, table, _ = exported
    m = audit(mastery, responses(table), sees, resamples=30).measures
    for frame in (m.prediction, m.associations, m.conduct):
        assert frame.empty or "pre" not in set(frame["sees"])
    assert not m.violations.empty and np.isnan(m.miscalibration)


def test_rows_of_the_asked_skill_are_enough(exported):
    mastery, table, _ = exported
    step = table.groupby("user").cumcount() + 1
    asked = mastery.merge(
        pd.DataFrame({"learner": table["user"], "step": step, "skill": table["skill"]})
    )
    a, b = (audit(m, responses(table), "pre", 30).measures for m in (mastery, asked))
    for measure_name in ("mastery-response", "prospective validity, learner x skill"):
        values = [m.association(measure_name)["value"] for m in (a, b)]
        if measure_name == "mastery-response":
            assert values[0] == pytest.approx(values[1])
        else:  # the state in the middle is then the latest known, and some skills have none
            assert np.isfinite(values).all()
            entries = [m.association(measure_name)["entries"] for m in (a, b)]
            assert entries[1] < entries[0]


def test_falls_and_bounds_are_counted_on_what_is_there():
    table = pd.DataFrame(
        {"user": ["a"] * 4, "skill": ["x", "x", "y", "x"], "correct": [1, 0, 1, 1]}
    )
    mastery = pd.DataFrame(
        {"learner": "a", "step": [1, 2, 3, 4], "skill": ["x", "x", "y", "x"]}
    ).assign(mastery=[0.5, 0.4, 1.2, 0.6])
    v = audit(mastery, responses(table), "retrospective", 30).measures.violations
    v = v.set_index("constraint")
    assert v.loc["monotonicity", ["broken", "places"]].tolist() == [1, 2]
    assert v.loc["bounds", ["broken", "places"]].tolist() == [1, 4]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda m: m.drop(columns="mastery"), "no column mastery"),
        (lambda m: m.assign(mastery="high"), "row 1: mastery 'high' is not a number"),
        (lambda m: m.assign(step=m["step"] - 2), "at step 0, but the responses have"),
        (
            lambda m: m.assign(learner=m["learner"] + "x"),
            "have no answers of that learner",
        ),
        (lambda m: pd.concat([m, m]), "two values for learner"),
        (lambda m: m.assign(skill=m["skill"] + "x"), "no estimate belongs to an answer"),
    ],
)
def test_estimates_that_do_not_fit_are_named(exported, tmp_path, change, words):
    mastery, table, _ = exported
    change(mastery).to_csv(tmp_path / "m.csv", index=False)
    with pytest.raises(KTError, match=words):
        audit(read_mastery(tmp_path / "m.csv"), responses(table), "pre")


def test_from_files_to_a_report(exported, tmp_path, capsys):
    mastery, table, _ = exported
    mastery.to_parquet(tmp_path / "m.parquet")
    table[["user", "skill", "correct"]].to_csv(tmp_path / "r.csv", index=False)
    files = ["--mastery", str(tmp_path / "m.parquet"), "--responses", str(tmp_path / "r.csv")]
    out = tmp_path / "out"
    assert main(["audit", *files, "--sees", "pre", "--out", str(out)]) == 0
    content = json.loads((out / "metrics.json").read_text())
    assert content["sees"] == "pre" and content["associations"]
    assert "Audit of mastery estimates" in (out / "report.html").read_text(encoding="utf-8")
    assert (out / "figures" / "associations.png").is_file()
    with pytest.raises(SystemExit):
        main(["audit", *files])  # what it sees has to be said
    assert main(["audit", *files, "--sees", "pre", "--out", str(out)]) == 2
    assert "exists already" in capsys.readouterr().err


def pybkt(table, mastery):
    """As pyBKT's `predict` writes it: one row per answer, in the order of `order_id`."""
    n = np.arange(len(table))
    columns = {"user_id": table["user"], "skill_name": table["skill"], "correct": table["correct"]}
    frame = pd.DataFrame(columns | {"order_id": n, "state_predictions": mastery["mastery"]})
    return frame.sample(frac=1, random_state=0)


def test_pybkts_predictions_by_their_columns(exported, tmp_path, rng):
    _, table, _ = exported
    mastery = table[["user", "skill"]].rename(columns={"user": "learner"})
    mastery["step"] = table.groupby("user").cumcount() + 1
    mastery["mastery"] = rng.random(len(table)).round(6)
    path = tmp_path / "pybkt.csv"
    pybkt(table, mastery).to_csv(path, index=False)
    columns = {"mastery": "state_predictions"}
    audited = audit_files(path, path, "pre", columns=columns, resamples=30)
    own = audit(mastery, responses(table), "pre", 30)
    assert audited.covered == own.covered
    got, want = (m.measures.prediction["value"] for m in (audited, own))
    pd.testing.assert_series_equal(got, want)  # learners come in another order, as resamples do
    assert audited.steps == "rows of a learner, counted in the order of order_id"
    assert audited.note.uses[0].column == "user_id"
    with pytest.raises(KTError, match="no column mastery; .*--mastery-column mastery=NAME"):
        read_mastery(path)
    with pytest.raises(KTError, match="no column 'x'; it has: user_id"):
        read_mastery(path, {"mastery": "x"})
    with pytest.raises(KTError, match="--mastery-column teacher: choose from"):
        read_mastery(path, {"teacher": "x"})
    fewer = tmp_path / "fewer.csv"
    pybkt(table, mastery).iloc[1:].to_csv(fewer, index=False)
    with pytest.raises(KTError, match="without a column step there must be one row per answer"):
        audit_files(fewer, path, "pre", columns=columns, resamples=30)
    pybkt(table, mastery).assign(order_id="x").to_csv(fewer, index=False)
    with pytest.raises(KTError, match="row 1: order_id 'x' is not a number"):
        read_mastery(fewer, columns)


def test_estimates_handed_over_are_checked(exported):
    mastery, table, _ = exported
    for change, words in (
        (mastery.assign(mastery=np.nan), "mastery, row 1: mastery nan is not a number"),
        (mastery.assign(step=0.5), "row 1: step 0.5 is not a whole number"),
        (mastery.drop(columns="skill"), "no column skill"),
    ):
        with pytest.raises(KTError, match=words):
            audit(change, responses(table), "pre")


def test_from_files_without_the_report(exported, tmp_path):
    mastery, table, _ = exported
    mastery.to_parquet(tmp_path / "m.parquet")
    table[["user", "skill", "correct"]].to_csv(tmp_path / "r.csv", index=False)
    audited = audit_files(tmp_path / "m.parquet", tmp_path / "r.csv", "pre", resamples=30)
    content = json.loads((write_audit(audited, tmp_path / "out") / "metrics.json").read_text())
    own = audit(mastery, responses(table), "pre", 30)
    assert content["covered"] == own.covered and content["sees"] == "pre"
    auc = next(row for row in content["prediction"] if row["quality"] == "AUC")
    assert auc["value"] == own.measures.quality("AUC")["value"]
    (tmp_path / "m.parquet").write_bytes(b"no table")
    with pytest.raises(KTError, match=r"m\.parquet: not a readable Parquet file"):
        read_mastery(tmp_path / "m.parquet")
    with pytest.raises(KTError, match="sees 'all': choose pre, post, retrospective"):
        audit(mastery, responses(table), "all")
