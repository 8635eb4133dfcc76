"""What a teacher reads: the rules, the tables, and pages that are safe and self-contained."""

from __future__ import annotations

import dataclasses
import re

import numpy as np
import pandas as pd
import pytest
from conftest import module_of
from hypothesis import given
from hypothesis import strategies as st

from kt_core.base.errors import KTError
from kt_core.cli.commands import main
from kt_core.config import ON_PATH
from kt_core.data import Dataset, Simulation, simulate
from kt_core.learners import classroom, cohort
from kt_core.learners.classroom import pages, tables, words
from kt_core.learners.classroom import trust as trusted
from kt_core.learners.classroom.rates import TABLE, rates
from kt_core.learners.classroom.trust import CARE, NO, TRUST, UNKNOWN, trust
from kt_core.learners.held import held, shares
from kt_core.learners.predict import believed, named, predict
from kt_core.learners.standing import group, standing, verdict
from kt_core.metrics.bootstrap import Bootstrap
from kt_core.report.verdicts import UNCERTAIN
from kt_core.runs.find import open_run, run_folder
from kt_core.uncertainty import Uncertainty

share = st.floats(0, 1)


@given(answers=st.integers(0, 7), low=share, high=share, growth=share)
def test_nothing_is_said_on_a_handful_of_answers(answers, low, high, growth):
    assert verdict(answers, low, high, growth) == "too few answers"


@given(answers=st.integers(8, 100), ends=st.tuples(share, share), growth=share, less=share)
def test_verdicts_follow_the_stated_rule(answers, ends, growth, less):
    low, high = sorted(ends)
    said = verdict(answers, low, high, growth)
    assert (said == "stuck") == (high < 0.5 and growth < 0.1)
    assert (said == "ready") == (low > 0.8)
    if said == "stuck":  # less mastery does not make anybody less stuck
        assert verdict(answers, low * less, high * less, growth) == "stuck"


def rows(**columns):
    table = pd.DataFrame(columns)
    return table.assign(learner="a", skill=[f"s{i}" for i in range(len(table))])


def test_next_practice_puts_help_first_and_leaves_out_what_is_ready():
    table = rows(
        verdict=["ready", "learning", "too few answers", "stuck", "learning"],
        mastery=[0.95, 0.7, 0.2, 0.3, 0.6],
    )
    found = tables.next_practice(table, 5)
    assert found["skill"].tolist() == ["s3", "s4", "s1", "s2"]
    assert found["verdict"].iloc[0] == "stuck"
    assert tables.next_practice(table[:1]).empty


@pytest.fixture
def a_class():
    """Five learners: stuck, low, on the way, ready, and one with too few answers."""
    columns = ["learner", "skill", "answers", "right", "verdict", "mastery"]
    rows = [
        ("ann", "x", 9, 1, "stuck", 0.3),
        ("ann", "y", 9, 2, "learning", 0.2),
        ("ben", "x", 8, 3, "learning", 0.45),
        ("cem", "x", 9, 6, "learning", 0.7),
        ("cem", "y", 7, 0, "too few answers", 0.1),
        ("dot", "z", 20, 19, "ready", 0.95),
        ("eve", "y", 3, 3, "too few answers", 0.9),
    ]
    table = pd.DataFrame(rows, columns=columns)
    whole = table.groupby("learner")
    steps, right = (whole[c].transform("sum") for c in ("answers", "right"))
    return table.assign(steps=steps, all_right=right)


def test_each_learner_is_in_one_group_by_need(a_class):
    found = tables.learners_of_class(a_class).set_index("learner")
    groups = {"ann": "help", "ben": "help", "cem": "practise", "dot": "ready", "eve": "unknown"}
    assert found["group"].to_dict() == groups  # in this order
    assert found["weakest"].tolist() == ["x", "x", "x", "z", ""]  # stuck comes before low
    assert found["is_stuck"].tolist() == [True, False, False, False, False]
    assert found.loc["cem", ["answers", "right"]].tolist() == [16, 6]


@given(mastery=share, low=share, high=share, growth=share)
def test_groups_agree_with_verdicts(mastery, low, high, growth):
    low, mastery, high = sorted((low, mastery, high))
    said = verdict(8, low, high, growth)
    assert said != "stuck" or group(mastery) == "help"
    assert said != "ready" or group(mastery) == "ready"


def test_skills_are_counted_over_learners_with_enough_answers(a_class):
    found = tables.skills_of_class(a_class).set_index("skill")
    assert found.index.tolist() == ["x", "y", "z"]
    assert found["learners"].tolist() == [3, 1, 1] and found["below"].tolist() == [2, 1, 0]
    assert found["stuck"].tolist() == [1, 0, 0] and found["ready"].tolist() == [0, 0, 1]
    assert found["answers"].tolist() == [26, 19, 20]
    alone = a_class[a_class["learner"] == "eve"]
    assert tables.skills_of_class(alone)["mastery"].isna().all()
    assert tables.learners_of_class(alone)["group"].tolist() == ["unknown"]


def test_a_share_below_a_limit_looks_so():
    assert [pages.whole(x) for x in (0.4999, 0.5, 0.29, 1.0)] == [49, 50, 29, 100]
    assert words.read().percent(5 / 28) == "18 %"  # a share of answers has no limit
    assert [pages.band(x) for x in (0.49, 0.5, 0.65, 0.8)] == ["below", "middle", "above", "well"]


@pytest.fixture(scope="module")
def run_and_data(trained):
    run, splits = open_run(trained.path)
    return run, splits.dataset


def test_standing_is_what_predict_says_and_what_was_answered(run_and_data):
    run, data = run_and_data
    beliefs = believed(run, data)
    table = named(standing(beliefs, run.uncertainty), beliefs, run)
    now = predict(run, data)
    assert len(table) == len(now)
    both = table.merge(now, on=["learner", "skill"], suffixes=("", "_now"))
    np.testing.assert_allclose(both["mastery"], both["mastery_now"], atol=1e-6)
    np.testing.assert_array_equal(both["answers"], both["opportunities"])
    one = table.iloc[0]
    answered = data.table[(data.table["user"] == one["learner"])]
    answered = answered[answered["skill"].astype(str) == one["skill"]]
    assert one["answers"] == len(answered) and one["right"] == answered["correct"].sum()
    assert (table["growth"] >= -1e-6).all()


def test_a_teacher_and_a_researcher_see_the_same_learners_stuck(run_and_data):
    run, data = run_and_data
    beliefs = believed(run, data)
    sure = Uncertainty(0.05)  # so that somebody is
    table = standing(beliefs, sure)
    stuck = table[table["verdict"] == "stuck"]
    ranked = cohort.rank_learners(beliefs, "stuck", minimum=1, uncertainty=sure)
    assert len(stuck) and {*beliefs.frame.groupby("sequence")["learner"].first()[ranked]} == {
        *stuck["learner"]
    }
    names = run.vocabulary.skills
    growth = cohort.skill_growth(beliefs, names, len(names), 20, sure).set_index("skill")
    counts = (growth["stuck"] * growth["practised"]).dropna()
    for skill, count in counts.items():
        assert round(count) == (stuck["skill"] == names.index(skill)).sum(), skill


def test_curves_end_where_few_are_left(run_and_data, monkeypatch):
    run, data = run_and_data
    skill = data.table["skill"].astype(str).value_counts().index[0]
    shown = believed(run, data), run.vocabulary.skills, [skill]
    every = tables.practice_curves(*shown)
    assert (every["learners"] >= tables.PRACTISING).all()
    monkeypatch.setattr(tables, "PRACTISING", 1)
    assert len(tables.practice_curves(*shown)) >= len(every)


@given(ids=st.lists(st.text(max_size=300), unique=True, max_size=20))
def test_file_names_are_safe_and_different(ids):
    names = [pages.file_name(i) for i in ids]
    assert len(set(names)) == len(ids)
    assert all(re.fullmatch(r"[A-Za-z0-9_-]{1,73}\.html", name) for name in names)


def two_learners(data, first, second):
    table = data.table.copy()
    ids = table["user"].unique()[:2]
    table = table[table["user"].isin(ids)].replace(
        {"user": dict(zip(ids, (first, second), strict=True))}
    )
    return Dataset(data.name, table.reset_index(drop=True), data.note)


def test_two_learners_never_share_a_page(run_and_data, tmp_path, monkeypatch):
    run, data = run_and_data
    alike = "且他", "丮俲"  # the SHA-256 of both begins with 07add142
    page = classroom.classroom(run, two_learners(data, *alike), tmp_path / "class")
    texts = [file.read_text(encoding="utf-8") for file in (page.parent / "learners").iterdir()]
    assert len(texts) == 2 and {who for who in alike for t in texts if who in t} == {*alike}
    monkeypatch.setattr(pages, "DIGITS", 8)
    with pytest.raises(
        KTError, match="learners '丮俲' and '且他' would share the page learner-07add"
    ):
        classroom.classroom(run, two_learners(data, *alike[::-1]), tmp_path / "other")
    assert not (tmp_path / "other").exists()


def hostile(data):
    """The same answers of a class whose names are markup and paths."""
    table = data.table.copy()
    table["user"] = "<script>alert('" + table["user"].astype(str) + "')</script>/../x"
    return Dataset("<b>4c</b>", table, data.note)


def test_pages_are_escaped_whole_and_need_no_network(run_and_data, tmp_path):
    run, data = run_and_data
    page = classroom.classroom(run, hostile(data), tmp_path / "class")
    files = [page, *(page.parent / "learners").iterdir()]
    assert len(files) == 1 + data.table["user"].nunique()
    for file in files:
        text = file.read_text(encoding="utf-8")
        assert text.count("<script") == (file == page) and "<b>4c" not in text  # our own one
        assert "://" not in text and "default-src 'none'" in text and "fewer than 8" in text
    links = re.findall(r'href="(learners/[^"]+)"', page.read_text(encoding="utf-8"))
    assert links and all((page.parent / link).is_file() for link in links)
    with pytest.raises(KTError, match="exists already"):
        classroom.classroom(run, data, tmp_path / "class")


def test_a_large_class_says_what_it_leaves_out(run_and_data, tmp_path, monkeypatch):
    run, data = run_and_data
    monkeypatch.setattr(pages, "SHOWN_LEARNERS", 5)
    monkeypatch.setattr(pages, "SHOWN_SKILLS", 3)
    text = classroom.classroom(run, data, tmp_path / "class").read_text(encoding="utf-8")
    assert f"5 learners are shown; {data.table['user'].nunique() - 5} more" in text
    assert "The 3 most practised skills are shown" in text


def test_a_run_that_cannot_say_how_sure_it_is(run_and_data, tmp_path):
    run, data = run_and_data
    unsure = dataclasses.replace(run, uncertainty=None)
    with pytest.raises(KTError, match="does not say how sure it is"):
        classroom.classroom(unsure, data, tmp_path / "class")
    assert not (tmp_path / "class").exists()


def said(*rows, inflated=False):
    """Metrics with these verdicts: the start of a measure, the verdict, whether it warns."""
    verdicts = [{"measure": m, "verdict": v, "warns": w} for m, v, w in rows]
    return {"verdicts": verdicts, "prediction": [{"learners": 40}], "inflated": inflated}


MASTERY = "prospective validity, learner x skill r, pooled"
NEEDED, SIZE = (
    "Loss of hidden answers if the trajectory were flat",
    "Growth that hidden answers miss",
)
GOOD = (
    (MASTERY, "reached; tells more than AFM", False),
    (NEEDED, "gains are needed", False),
    (SIZE, "of the right size", False),
    ("No forgetting, all skills, by steps", "not contradicted", False),
    ("No forgetting: skills whose hidden answers", "not contradicted", False),
    ("Exam: r of mastery before it", "tells more than the whole ladder", False),
)


def changed(*rows):
    starts = {row[0] for row in rows}
    return said(*[row for row in GOOD if row[0] not in starts], *rows)


@pytest.mark.parametrize(
    ("metrics", "topic", "level", "headline", "grown"),
    [
        (said(*GOOD), "mastery", TRUST, "all", True),
        (None, "mastery", UNKNOWN, "unchecked", False),
        (said(), "growth", UNKNOWN, "unchecked", False),
        (said(*GOOD, inflated=True), "inflated", NO, "not", True),
        (changed((MASTERY, "misses the target by 0.100", True)), "mastery", NO, "not", True),
        (changed((MASTERY, "reached; AFM tells as much", True)), "mastery", CARE, "some", True),
        (changed((NEEDED, "no evidence that", True)), "growth", NO, "some", False),
        (changed((SIZE, "overstated: 40% of the growth", True)), "growth", NO, "some", False),
        (changed((SIZE, "understated: 40% of the", True)), "growth", CARE, "some", True),
        (changed((SIZE, "hardly any growth is told", False)), "growth", NO, "some", False),
        (changed((GOOD[4][0], "contradicted for a, b", True)), "lost", CARE, "some", True),
        (changed((GOOD[3][0], "contradicted", True)), "memory", CARE, "some", True),
        (changed((GOOD[5][0], "AFM tells as much", True)), "marks", CARE, "all", True),
    ],
)
def test_what_may_be_relied_on_follows_the_verdicts(metrics, topic, level, headline, grown):
    found = trust(metrics)
    assert {s.topic: s.level for s in found.statements}[topic] == level
    assert found.headline == f"trust.{headline}" and found.shows_growth == grown
    for language in words.languages():
        say = words.read(language)
        assert say(found.headline)
        for s in found.statements:
            assert say(s.words, grown=5, **s.values) and say(f"trust.mark_{s.level}")


@pytest.mark.parametrize(
    ("start", "verdict", "name"),
    [
        (MASTERY, "reached; tells less than AFM", "mastery_less"),
        (MASTERY, "reached; AFM tells as much", "mastery_same"),
        (MASTERY, f"{UNCERTAIN.format('below')}; AFM tells as much", "mastery_same"),
        (MASTERY, f"{UNCERTAIN.format('below')}; tells more than AFM", "mastery_unsure"),
        (MASTERY, "uncertain: there is no interval", "mastery_unsure"),
        (GOOD[5][0], "tells less than AFM (-0.020 [-0.030, -0.010])", "marks_less"),
        (GOOD[5][0], "AFM tells as much (+0.001 [-0.010, +0.012])", "marks_same"),
    ],
)
def test_the_words_for_care_say_what_the_verdict_says(start, verdict, name):
    found = trust(changed((start, verdict, True))).statements
    (statement,) = [s for s in found if s.topic == name.split("_")[0]]
    assert statement.level == CARE and statement.words == f"trust.{name}"
    assert "simple count" not in words.read()("trust.marks_same")


def test_a_share_of_answers_is_rounded(run_and_data, tmp_path):
    run, data = run_and_data
    one = two_learners(data, "ada", "ben")
    page = classroom.classroom(run, one, tmp_path / "pages").read_text(encoding="utf-8")
    for _, correct in one.table.groupby("user")["correct"]:
        share = correct.mean()
        assert f'data-value="{share}">{100 * share:.0f} %</td></tr>' in page


def test_growth_is_shown_where_it_is_supported_alone(run_and_data, tmp_path):
    run, data = run_and_data
    one = two_learners(data, "ada", "ben")
    for metrics, there in ((said(*GOOD), True), (None, False)):
        folder = tmp_path / str(there)
        page = classroom.classroom(run, one, folder, metrics)
        for file in (page, *(folder / "learners").iterdir()):
            assert ("Grown by" in file.read_text(encoding="utf-8")) == there


@pytest.mark.parametrize("code", words.languages())
def test_every_language_has_every_word_and_no_other(code):
    say = words.read(code)  # checks it against English
    assert say("code") == code and "{" not in say("learner.stuck", n=2)
    assert say("learner.stuck", n=1) != say("learner.stuck", n=2)


def test_the_pages_use_every_word():
    """A word that no page asks for would be translated for nothing."""
    sources = [*pages.TEMPLATES.iterdir(), *pages.TEMPLATES.parent.glob("*.py")]
    source = "".join(file.read_text(encoding="utf-8") for file in sources)
    put_together = (
        *("trust.mark_", "trust.mastery_", "trust.marks_", "trust.growth_", "trust.memory_"),
        *("trust.lost_", "trust.inflated_", "states.", "groups.", "reading.", "learner.next_"),
        *("learner.ready", "learner.stuck", "learner.few"),
    )
    unused = [n for n in words.read().texts if n not in source and not n.startswith(put_together)]
    assert unused == []


def test_words_as_a_language_writes_them():
    german, english = words.read("de"), words.read()
    assert german("groups.n", n=1234) == "1.234 Lernende" and german("groups.n", n=1) == "1 Person"
    assert english("groups.n", n=1234) == "1,234 learners" and english.percent(0.5) == "50 %"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("[lists]", "[list]"), "lacks lists.about"),
        (('language = "English"', 'language = "English"\nmore = "x"'), "unknown: more"),
        (
            ("{n} of {all} rows", "{n} of {total} rows"),
            r"lists.shown has \{total\}.*give it all, n",
        ),
        (
            ('n = { one = "{n} learner"', 'n = { few = "{n} learner"'),
            'groups.n = .*"one" and "many"',
        ),
        (('search = "search"', "search = 3"), "lists.search = 3: expected a text"),
        (("{n} of {all} rows", "{n of {all} rows"), "lists.shown: .*write a brace as"),
        (('heading = "Lists"', "heading = Lists"), "not a TOML file"),
    ],
)
def test_a_file_of_words_that_cannot_be_used(tmp_path, change, message):
    own = tmp_path / "xx.toml"
    text = (words.FOLDER / "en.toml").read_text(encoding="utf-8")
    own.write_text(text, encoding="utf-8")
    assert words.read(str(own)) == words.read()
    assert change[0] in text
    own.write_text(text.replace(*change), encoding="utf-8")
    with pytest.raises(KTError, match=message):
        words.read(str(own))


def test_a_language_that_is_not_there(tmp_path):
    with pytest.raises(KTError, match="language 'fr': choose de or en, or name a .toml file"):
        words.read("fr")
    with pytest.raises(KTError, match="fr.toml: cannot be read"):
        words.read(str(tmp_path / "fr.toml"))


@pytest.mark.parametrize("mode", ON_PATH)
def test_how_often_the_words_are_right_comes_from_the_table(mode):
    table = pd.read_csv(TABLE)
    assert (table["right"] <= table["said"]).all() and (table["right"] <= table["true"]).all()
    assert table["verdict"].isin(["stuck", "ready"]).all()
    own = table[table["mode"] == mode]
    stuck = own[own["verdict"] == "stuck"].set_index("world")
    found = rates(mode)
    assert found["stuck"] == int(100 * stuck["share"].mean())
    assert found["worlds"] == own["world"].nunique() == len(stuck)
    often = stuck[stuck["said"] >= 20]
    assert found["stuck_least"] == int(100 * (often["right"] / often["said"]).min())
    assert found["ready_least"] <= found["ready"] and found["found"] < 100
    assert rates("projection") is None


def test_what_is_said_is_held_against_the_truth(run_and_data):
    run, data = run_and_data
    table = held(run, data)
    assert set(table["verdict"]) <= {"stuck", "learning", "ready"}
    assert (table["ready"] == (table["mastery"] > 0.8)).all()
    assert (table["stuck"] == ((table["mastery"] < 0.5) & (table["growth"] < 0.1))).all()
    by_hand = pd.DataFrame(
        {
            "learner": [0, 1, 2, 3],
            "verdict": ["stuck", "stuck", "ready", "learning"],
            "stuck": [True, False, False, True],
            "ready": [False, False, True, True],
        }
    )
    stuck, ready = shares(by_hand, Bootstrap(4, 100)).to_dict("records")
    assert (stuck["said"], stuck["right"], stuck["share"]) == (2, 1, 0.5)
    assert (stuck["true"], stuck["found"]) == (2, 0.5) and stuck["low"] <= 0.5 <= stuck["high"]
    assert (ready["share"], ready["found"]) == (1.0, 0.5)


@pytest.fixture(scope="module")
def class_page(run_and_data, tmp_path_factory):
    run, data = run_and_data
    folder = tmp_path_factory.mktemp("pages") / "class"
    return classroom.classroom(run, data, folder, said(*GOOD), "7b & friends", words.read("de"))


def test_a_title_and_a_language_of_ones_own(class_page, run_and_data):
    text = class_page.read_text(encoding="utf-8")
    assert "<h1>7b &amp; friends</h1>" in text and '<html lang="de">' in text
    assert "Zuerst helfen" in text and "learners" not in re.sub(r'href="learners/', "", text)


def test_a_learners_course_has_a_mark_for_each_answer(class_page, run_and_data):
    _, data = run_and_data
    counts = data.table.groupby("user")["skill"].value_counts()
    who, _ = counts.idxmax()
    text = (class_page.parent / "learners" / pages.file_name(who)).read_text(encoding="utf-8")
    drawn = sorted(counts[who][counts[who] >= 8])
    figures = [figure.count("<circle") for figure in text.split("<figure>")[1:]]
    assert figures and all(n in drawn for n in figures) and len(figures) == min(len(drawn), 6)
    shown = text.count('fill="#fff"')  # wrong answers
    assert 0 < shown < sum(figures)


def test_the_commands_find_or_make_a_run(trained, tmp_path, capsys):
    answers, out = tmp_path / "answers.csv", str(tmp_path / "c")
    answers.write_text("user,skill,correct\n" + "ada,skill 03,1\n" * 9, encoding="utf-8")
    call = ["classroom", str(trained.path), "--data", str(answers), "--out", out]
    assert main(call) == 0
    assert "ada" in (tmp_path / "c" / "class.html").read_text(encoding="utf-8")
    assert main(call) == 2  # the folder is there
    answers.write_text("user,skill\nada,1\n", encoding="utf-8")
    other = ["--out", str(tmp_path / "d")]
    assert main([*call[:-2], *other]) == 2
    assert main(["class", *other]) == 2
    assert main(["class", "--run", str(trained.path), "--preset", "quick", *other]) == 2
    assert main(["class", str(answers), "--mode", "cumulative", *other]) == 2
    answers.write_text("user,skill,correct\n" + "ada,skill 03,1\n" * 9, encoding="utf-8")
    assert main(["class", str(answers), "--language", "fr", *other]) == 2
    errors = capsys.readouterr().err
    for words_ in (
        "correct",
        "name a file of answers",
        "leave out --preset",
        "say how sure it is",
        "'fr'",
    ):
        assert words_ in errors
    assert not (tmp_path / "d").exists()


def test_one_command_from_a_file_to_the_pages(tmp_path, monkeypatch):
    """It trains, checks, and says what the checks say: none of them is missed."""
    table = simulate(Simulation(learners=80)).table
    table = table.rename(columns={"user": "Wer", "skill": "Was", "correct": "Richtig"})
    table[["Wer", "Was", "Richtig"]].to_csv(tmp_path / "answers.csv", index=False)
    columns = ("learner=Wer", "skill=Was", "correct=Richtig")
    call = ["class", str(tmp_path / "answers.csv"), "--preset", "smoke", "--name", "seven"]
    call += [word for column in columns for word in ("--column", column)]
    monkeypatch.setattr(module_of(run_folder), "default_out", lambda: tmp_path / "runs")
    metrics = []
    monkeypatch.setattr(pages, "trust", lambda found: metrics.append(found) or trust(found))
    assert main([*call, "--out", str(tmp_path / "class"), "--title", "7b"]) == 0
    assert (tmp_path / "runs" / "seven" / "model.safetensors").is_file()
    assert len(list((tmp_path / "class" / "learners").iterdir())) == table["Wer"].nunique()
    for start in (trusted.MASTERY, trusted.EXAM, trusted.NEEDED, trusted.SIZE, trusted.LOST):
        assert any(row["measure"].startswith(start) for row in metrics[0]["verdicts"]), start
