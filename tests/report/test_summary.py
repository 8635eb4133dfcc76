"""The report in five sentences, in each of the cases that they tell apart."""

import dataclasses

import numpy as np
import pandas as pd
import pytest

from kt_core.report.summary import About, five_sentences
from kt_core.report.verdicts import (
    AUC_CHOSEN,
    AUC_SIMPLE,
    EXAM,
    FLAT,
    GROWTH,
    NAMES,
    NO_FORGETTING,
    PROSPECTIVE,
    UNDEFINED,
    state,
)

ABOUT = About(
    mode="retrospective",
    data="answers.csv",
    skills=12,
    trained=(9000, 150),
    judged=(2345, 40),
    judged_on="",
    auc=(0.74, 0.70, 0.77),
    validity=(0.56, 0.43, 0.66),
)
UNKNOWN = (np.nan,) * 3
BROKEN = NAMES["monotonicity"]
FORGETTING = f"{NO_FORGETTING}, all skills, by time"
USUAL = {
    BROKEN: ("guarantee", "reached", False),
    AUC_CHOSEN: ("evidence", "reached", False),
    AUC_SIMPLE: ("evidence", "better than AFM (+0.010 [+0.004, +0.016])", False),
    f"{PROSPECTIVE} r, pooled": ("evidence", "reached; tells more than AFM", False),
    EXAM: ("evidence", "tells more than the whole ladder (+0.02 [+0.01, +0.03])", False),
    FLAT: ("evidence", "gains are needed", False),
    GROWTH: ("evidence", "of the right size", False),
    FORGETTING: ("evidence", "not contradicted", False),
}


def verdicts(**changes):
    rows = USUAL | {NAMED.get(name, name): row for name, row in changes.items()}
    table = pd.DataFrame(
        [(measure, *row) for measure, row in rows.items() if row],
        columns=["measure", "kind", "verdict", "warns"],
    )
    text = {"value": "0.74", "interval": "[0.70, 0.77]", "target": "> 0.4"}
    return table.assign(**text, sees="pre", **{"best null": "0.731 (AFM)"})


NAMED = {
    "chosen": AUC_CHOSEN,
    "simple": AUC_SIMPLE,
    "validity": f"{PROSPECTIVE} r, pooled",
    "exam": EXAM,
    "flat": FLAT,
    "growth": GROWTH,
    "forgetting": FORGETTING,
    "falls": BROKEN,
}


def said(place, about=ABOUT, **changes):
    return five_sentences(about, verdicts(**changes))[place]


def changed(**facts):
    return dataclasses.replace(ABOUT, **facts)


def test_five_questions_each_with_one_sentence():
    sentences = five_sentences(ABOUT, verdicts())
    assert len(sentences) == 5 and all(s.question.endswith("?") for s in sentences)
    assert all(s.text.endswith(".") and s.text.count(". ") == 0 for s in sentences)
    assert [s.state for s in sentences] == ["open", "good", "good", "good", "open"]


@pytest.mark.parametrize(
    ("about", "words"),
    [
        (ABOUT, "9,000 answers of 150 learners on 12 skills (answers.csv), and judged on 2,345"),
        (ABOUT, "of 40 test learners, all new to it."),
        (changed(split="valid"), "40 validation learners, by whom its epoch was chosen."),
        (changed(seen=True), "some of whom it was trained or chosen on."),
        (changed(judged_on="new.csv"), "40 test learners (new.csv), all new to it."),
    ],
)
def test_what_was_trained_on_what(about, words):
    assert words in said(0, about).text


@pytest.mark.parametrize(
    ("about", "changes", "word", "state", "words"),
    [
        (ABOUT, {}, "Yes.", "good", "the best simple model, AFM (0.731), is clearly below it"),
        (
            ABOUT,
            {"simple": ("evidence", "about as well as AFM", False)},
            "Yes, but no",
            "unsure",
            "",
        ),
        (ABOUT, {"simple": ("evidence", "worse than AFM", True)}, "Worse", "bad", "AFM (0.731)"),
        (ABOUT, {"simple": None}, "Better than guessing.", "unsure", "no simple model"),
        (changed(auc=UNKNOWN), {}, "Not known.", "open", "do not allow"),
        (changed(auc=(0.52, 0.49, 0.55)), {}, "No.", "bad", "cannot be told from guessing"),
        (ABOUT, {"chosen": ("evidence", "WARNING: 0.9", True)}, "Too well", "bad", "a leak"),
    ],
)
def test_does_it_predict(about, changes, word, state, words):
    sentence = said(1, about, **changes)
    assert sentence.word.startswith(word) and sentence.state == state and words in sentence.text


LESS = ("evidence", "reached; tells less than AFM", True)


@pytest.mark.parametrize(
    ("about", "changes", "state", "words"),
    [
        (ABOUT, {}, "good", "no simple estimate says more"),
        (ABOUT, {"validity": ("evidence", "reached; AFM tells as much", True)}, "good", "as much"),
        (ABOUT, {"validity": LESS}, "unsure", "AFM (0.731) says more about later answers"),
        (ABOUT, {"exam": LESS}, "unsure", "AFM (0.731) says more in the exam"),
        (ABOUT, {"validity": ("evidence", "uncertain: ...", True)}, "unsure", "(> 0.4) is not"),
        (changed(intervals=False), {}, "unsure", "does not say how sure"),
        (changed(validity=(0.03, -0.02, 0.08)), {}, "bad", "nothing certain"),
        (changed(validity=UNKNOWN), {}, "open", "cannot tell"),
        (ABOUT, {"validity": None}, "open", "cannot tell"),
        (ABOUT, {"falls": ("constraint", "misses", True)}, "bad", "mastery falls between steps"),
        (ABOUT, {"falls": ("constraint", "reached", False)}, "good", ""),
    ],
)
def test_may_mastery_be_shown(about, changes, state, words):
    sentence = said(2, about, **changes)
    assert sentence.state == state and words in sentence.text


NEEDLESS = ("evidence", "no evidence that gains are needed", True)


@pytest.mark.parametrize(
    ("changes", "word", "state"),
    [
        ({}, "Yes.", "good"),
        ({"flat": None, "growth": None, "forgetting": None}, "Not tested.", "open"),
        ({"flat": ("evidence", UNDEFINED, False)}, "Not known.", "open"),
        ({"growth": ("evidence", UNDEFINED, False)}, "Not known.", "open"),
        ({"flat": NEEDLESS}, "There is no evidence for it.", "bad"),
        (
            {"flat": NEEDLESS, "growth": ("evidence", "hardly any growth is told", False)},
            "There is hardly any.",
            "open",
        ),
        ({"growth": ("evidence", "understated: 30 % of it", True)}, "In part.", "unsure"),
        ({"growth": ("evidence", "overstated: 30 % of it", True)}, "In part.", "unsure"),
        ({"forgetting": ("evidence", "contradicted", True)}, "While it lasts.", "unsure"),
    ],
)
def test_is_growth_real(changes, word, state):
    sentence = said(3, **changes)
    assert (sentence.word, sentence.state) == (word, state)


def test_forgetting_that_was_not_tested_is_not_denied():
    assert "breaks do not contradict it" in said(3).text
    untested = {"forgetting": ("evidence", f"{UNDEFINED}: too few", False)}
    assert "too few learners return" in said(3, **untested).text


@pytest.mark.parametrize(
    ("about", "changes", "words"),
    [
        (ABOUT, {}, "decide about a learner by one value without its interval"),
        (ABOUT, {}, "take the zeros of the guarantees as evidence"),
        (ABOUT, {"falls": None}, "read a gain as the effect of a task"),
        (changed(intervals=False), {}, "as it has no interval"),
        (changed(simulated=True), {}, "from real learners"),
        (changed(inflated=True), {}, "one answer stands in several rows"),
        (changed(split="valid"), {}, "as those of new learners"),
        (changed(seen=True), {}, "as those of new learners"),
        (changed(validity=(0.03, -0.02, 0.08)), {}, "show its mastery to learners or teachers"),
        (ABOUT, {"validity": None}, "show its mastery before that is known"),
        (ABOUT, {"validity": LESS}, "prefer its mastery to a simple estimate"),
        (ABOUT, {"flat": NEEDLESS}, "report its growth as learning"),
        (ABOUT, {"growth": ("evidence", "understated", True)}, "report how large its growth is"),
        (ABOUT, {"forgetting": ("evidence", "contradicted", True)}, "after a break as what is"),
        (ABOUT, {"chosen": ("evidence", "WARNING", True)}, "before the leak is found"),
    ],
)
def test_what_not_to_do_with_it(about, changes, words):
    sentence = said(4, about, **changes)
    assert words in sentence.text and 2 <= sentence.text.lower().count("do not") <= 3


@pytest.mark.parametrize(
    ("kind", "verdict", "warns", "expected"),
    [
        ("guarantee", "reached", False, "good"),
        ("guarantee", "not guaranteed, and not judged", False, "open"),
        ("constraint", "misses the target by 2.00%", True, "bad"),
        ("evidence", "uncertain: the interval includes values below the target", True, "unsure"),
        ("evidence", "misses the target by 0.049, but not the minimum", True, "unsure"),
        ("evidence", "misses the target by 0.3; AFM tells as much", True, "bad"),
        ("evidence", "reached; tells less than AFM", True, "bad"),
        ("evidence", "AFM tells as much (-0.007 [-0.07, +0.04])", True, "unsure"),
        ("evidence", "contradicted", True, "bad"),
        ("evidence", f"{UNDEFINED}: too few learners return to a skill", False, "open"),
        ("description", "not judged: compares two outputs of the model", False, "open"),
    ],
)
def test_the_colour_of_a_verdict(kind, verdict, warns, expected):
    assert state(pd.Series({"kind": kind, "verdict": verdict, "warns": warns})) == expected
