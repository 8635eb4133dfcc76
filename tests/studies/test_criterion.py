"""Mastery against scores from outside: the right numbers, the right learners, plain refusals."""

import json

import numpy as np
import pandas as pd
import pytest
from conftest import SECRET
from scipy.stats import pearsonr, spearmanr
from sklearn.metrics import roc_auc_score

import kt_core as kt
from kt_core.base.errors import KTError
from kt_core.cli.commands import main
from kt_core.data.scores import read_scores
from kt_core.learners.predict import predict
from kt_core.studies import criterion
from kt_core.studies.criterion import ALL, AUC, KEYS, OWN, PEARSON, PRACTISED, SPEARMAN, WITHIN

DAY = 86400


def write(tmp_path, table, name="scores.csv"):
    path = tmp_path / name
    table.to_csv(path, index=False)
    return path


@pytest.fixture(scope="module")
def scores(smoke):
    """A score for every learner: their true mastery with noise, and a class."""
    table = smoke[1].dataset.table
    mastery = table.groupby("user")["true_mastery"].mean()
    rng = np.random.default_rng(0)
    score = (100 * mastery + rng.normal(0, 10, len(mastery))).round(1).to_numpy()
    group = [f"c{i % 4}" for i in range(len(mastery))]
    return pd.DataFrame({"learner": mastery.index, "score": score, "group": group})


@pytest.fixture(scope="module")
def timed(smoke, tmp_path_factory):
    """Answers with dates, one a day from 1 January 2020, and estimates after each of them."""
    table = smoke[1].dataset.table[["user", "skill", "correct"]].reset_index(drop=True)
    day = table.groupby("user").cumcount()
    answers = table.assign(timestamp=1577836800 + DAY * day)
    estimates = table.rename(columns={"user": "learner"}).drop(columns="correct")
    seen = table["correct"].groupby([table["user"], table["skill"]])
    share = (1 + seen.cumsum()) / (3 + seen.cumcount())
    estimates = estimates.assign(step=day + 1, mastery=share.to_numpy())
    folder = tmp_path_factory.mktemp("timed")
    return write(folder, answers, "answers.csv"), write(folder, estimates, "estimates.csv")


def row(found, who, summary, measure, predictor="model"):
    t = found.table
    return t.set_index([*KEYS, "predictor"]).loc[(who, summary, measure, predictor)]


def test_the_numbers_of_a_run_are_those_of_its_mastery(trained, smoke, scores, tmp_path):
    found = criterion.of_run(trained.path, write(tmp_path, scores))
    everything = predict(trained, smoke[1].dataset.table, every_skill=True)
    practised = everything[everything["opportunities"] > 0]
    score = scores.set_index("learner")["score"]
    for summary, table in ((ALL, everything), (PRACTISED, practised)):
        mastery = table.groupby("learner")["mastery"].mean()[score.index]
        for measure, r in ((PEARSON, pearsonr), (SPEARMAN, spearmanr)):
            own = row(found, "together", summary, measure)
            assert own["value"] == pytest.approx(r(mastery, score)[0], abs=1e-5)
    ability = kt.load(trained.path).ability(smoke[1].dataset.table).set_index("learner")["ability"]
    own = row(found, "together", OWN, SPEARMAN)
    assert own["value"] == pytest.approx(spearmanr(ability[score.index], score)[0], abs=1e-5)
    right = smoke[1].dataset.table.groupby("user")["correct"].mean()[score.index]
    own = row(found, "together", ALL, PEARSON, "percent correct")
    assert own["value"] == pytest.approx(pearsonr(right, score)[0])
    assert own["learners"] == len(score)
    lead = row(found, "together", ALL, PEARSON)["value"] - own["value"]
    assert own["gap"] == pytest.approx(lead)
    group = scores.set_index("learner")["group"]
    mastery = everything.groupby("learner")["mastery"].mean()[score.index]
    apart = [x - x.groupby(group).transform("mean") for x in (mastery, score)]
    within = row(found, "together", ALL, WITHIN[PEARSON])
    assert within["value"] == pytest.approx(pearsonr(*apart)[0], abs=1e-5)
    assert set(found.table[KEYS[0]]) == {"train", "together"}  # 12 test learners are too few
    assert "12 test learners, too few to be shown apart" in found.notes
    assert found.verdict.startswith("Criterion: 0.") and "60 learners" in found.verdict


def test_passed_or_failed_is_an_auc(trained, scores, tmp_path):
    passed = scores.assign(score=(scores["score"] > scores["score"].median()).astype(int))
    found = criterion.of_run(trained.path, write(tmp_path, passed))
    learners = found.learners
    want = roc_auc_score(learners["score"], learners[ALL])
    assert row(found, "together", ALL, AUC)["value"] == pytest.approx(want)
    pairs, above = 0, 0.0
    for _, part in learners.groupby("group"):
        a, b = (part.loc[part["score"] == s, ALL].to_numpy() for s in (1, 0))
        pairs += len(a) * len(b)
        above += (a[:, None] > b).sum() + (a[:, None] == b).sum() / 2
    assert row(found, "together", ALL, WITHIN[AUC])["value"] == pytest.approx(above / pairs)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda s: s.head(15), "15 of its learners are among the 60 of the answers, such as"),
        (lambda s: s.assign(learner=s["learner"] + "x"), "0 of its learners are among"),
        (lambda s: s.assign(score=3), "all 60 learners with answers have the score 3"),
        (
            lambda s: pd.concat([s, s.head(1).assign(score=-1)]),
            r"learner '.*' has several rows, with scores \[.*-1.0\]",
        ),
        (lambda s: s.assign(score="good"), "line 2: score 'good' is not a number"),
        (lambda s: s.drop(columns="score"), "no column score; .* The file has learner, group"),
        (lambda s: s.assign(date="soon"), "line 2: date 'soon' is not a date such as"),
        (lambda s: s.assign(learner=""), "line 2: the learner is empty"),
        (lambda s: s.assign(user=s["learner"]).drop(columns="learner"), None),
        (lambda s: s.assign(user=1, student=2).drop(columns="learner"), "can both be the learner"),
    ],
)
def test_scores_that_do_not_fit_are_refused(trained, scores, tmp_path, change, words):
    path = write(tmp_path, change(scores))
    if words is None:
        assert len(criterion.of_run(trained.path, path).learners) == 60
        return
    with pytest.raises(KTError, match=words) as error:
        criterion.of_run(trained.path, path)
    assert str(path) in str(error.value)


def test_what_is_left_out_is_told(trained, scores, tmp_path):
    table = pd.concat([scores, scores.head(2)])
    table = pd.concat([table, pd.DataFrame({"learner": ["x", "y"], "score": [1, 2]})])
    table.loc[table["learner"] == scores["learner"].iloc[5], "score"] = np.nan
    notes = criterion.of_run(trained.path, write(tmp_path, table)).notes
    for words in (
        "1 learners without a score, left out",
        "2 rows that repeat another one, left out",
        "2 learners of the scores have no answers, such as 'x', left out",
        "1 of 60 learners with answers have no score",
    ):
        assert words in notes


def test_answers_after_the_score_are_counted_or_left_out(timed, scores, tmp_path):
    answers, estimates = timed
    table = pd.read_csv(answers)
    early = write(tmp_path, scores.assign(date="2020-01-11"))  # ten days of answers before it
    late = int((table.groupby("user").cumcount() > 10).sum())
    seen = criterion.of_estimates(estimates, answers, early, resamples=30)
    assert any(note.startswith(f"WARNING: {late:,} answers of") for note in seen.notes)
    cut = criterion.of_estimates(estimates, answers, early, until_date=True, resamples=30)
    first = table[table.groupby("user").cumcount() <= 10]
    own = cut.learners.set_index("learner")["percent correct"]
    want = first.groupby("user")["correct"].mean()[own.index]
    np.testing.assert_allclose(own, want)
    state = pd.read_csv(estimates).query("step <= 11").groupby(["learner", "skill"])["mastery"]
    want = state.last().groupby("learner").mean()[own.index]
    np.testing.assert_allclose(cut.learners.set_index("learner")[ALL], want, atol=1e-6)
    same_day = write(tmp_path, scores.assign(date=1577836800 * 1000), "ms.csv")  # the first answer
    first_day = criterion.of_estimates(estimates, answers, same_day, until_date=True, resamples=30)
    assert set(first_day.learners["percent correct"]) <= {0.0, 1.0}
    later = write(tmp_path, scores.assign(date="2030-01-01"), "later.csv")
    assert not any("WARNING" in n for n in criterion.of_estimates(estimates, answers, later).notes)


def test_dates_need_times(trained, scores, tmp_path):
    dated = write(tmp_path, scores.assign(date="2020-01-11"))
    notes = criterion.of_run(trained.path, dated).notes
    assert any("WARNING: the answers have no times since 1970" in note for note in notes)
    with pytest.raises(KTError, match="leave out --until-date"):
        criterion.of_run(trained.path, dated, until_date=True)
    with pytest.raises(KTError, match="no column date, and --until-date cuts histories at it"):
        criterion.of_run(trained.path, write(tmp_path, scores, "plain.csv"), until_date=True)


def test_from_the_command_line(trained, timed, scores, tmp_path, capsys):
    path, out = str(write(tmp_path, scores)), tmp_path / "out"
    assert main(["criterion", str(trained.path), "--scores", path, "--out", str(out)]) == 0
    said = capsys.readouterr().out
    assert "Criterion: " in said and str(out / "criterion.csv") in said
    content = json.loads((out / "criterion.json").read_text())
    table = pd.read_csv(out / "criterion.csv")
    assert content["verdict"] in said and len(content["measures"]) == len(table)
    assert (out / "figures" / "criterion.png").is_file()
    for file in ("criterion.json", "criterion.csv"):
        assert scores["learner"].iloc[0] not in (out / file).read_text()
    answers, estimates = map(str, timed)
    files = ["--mastery", estimates, "--data", answers, "--scores", path]
    assert main(["criterion", *files, "--out", str(tmp_path / "tool")]) == 0
    for call, words in (
        (["--scores", path], "name a run, or estimates"),
        ([str(trained.path), *files], "name a run, or estimates"),
        (["--mastery", estimates, "--scores", path], "name the answers"),
        ([str(trained.path), "--data", answers, "--scores", path], "go with --mastery"),
    ):
        assert main(["criterion", *call]) == 2
        assert words in capsys.readouterr().err


def test_one_answer_of_each_learner_is_too_little_for_the_simple_models(timed, scores, tmp_path):
    table = pd.read_csv(timed[0]).groupby("user").head(1)
    table.to_csv(tmp_path / "first.csv", index=False)
    with pytest.raises(KTError, match=r"first\.csv: too few answers for the simple models"):
        criterion.of_estimates(timed[1], tmp_path / "first.csv", write(tmp_path, scores))


def test_scores_are_read_by_their_usual_names(tmp_path):
    table = pd.DataFrame({"student_id": [" 7", "8"], "Score": ["1.5", ""], "Class": ["a", ""]})
    got = read_scores(write(tmp_path, table.assign(date=["2020-01-01T00:00:10Z", ""])))
    assert got["learner"].tolist() == ["7", "8"] and got["group"].tolist() == ["a", ""]
    np.testing.assert_array_equal(got["score"], [1.5, np.nan])
    np.testing.assert_array_equal(got["date"], [1577836810, np.nan])
    (tmp_path / "bad.csv").write_bytes(b'"a,b\n1')
    with pytest.raises(KTError, match=r"bad\.csv, line 1: a quote that opens"):
        read_scores(tmp_path / "bad.csv")


def test_pseudonyms_change_names_only(timed, scores, tmp_path, monkeypatch):
    monkeypatch.setenv("KT_PSEUDONYM_KEY", SECRET)
    (answers, estimates), path = timed, write(tmp_path, scores)
    plain, hidden = (
        criterion.of_estimates(estimates, answers, path, reading, resamples=30)
        for reading in ({}, {"data.pseudonymise": True})
    )
    names = set(plain.learners["learner"])
    assert not names & set(hidden.learners["learner"]) and len(names) == 60
    values = (x.table.loc[x.table["kind"] == "model", "value"] for x in (plain, hidden))
    np.testing.assert_allclose(*values)
