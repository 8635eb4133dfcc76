"""The report in five sentences, in plain words and from its own numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd

from kt_core.report.examine import Examined
from kt_core.report.text import called, estimate
from kt_core.report.verdicts import (
    AUC_CHOSEN,
    AUC_SIMPLE,
    EXAM,
    FLAT,
    GROWTH,
    NO_FORGETTING,
    PROSPECTIVE,
    UNDEFINED,
    verdicts,
)

GUESSING = 0.5  # the AUC of a coin
NEVER_BACK = "too few learners return after a break to test for forgetting"
MOST_LIMITS = 3  # in the last sentence
Value = tuple[float, float, float]  # value, low, high


class Sentence(NamedTuple):
    """An answer to one question: a word that carries its colour, and the sentence after it.

    `state` is good, unsure, bad or open.
    """

    question: str
    word: str
    text: str
    state: str


@dataclass(frozen=True)
class About:
    """What the sentences need besides the verdicts.

    Attributes
    ----------
    trained, judged : number of answers and of learners.
    auc, validity : value, low and high of AUC on the learners judged, and of prospective validity
        (learner x skill, pooled); NaN where not defined.
    seen : whether some of the learners judged were trained or chosen on.
    intervals : whether mastery has intervals.
    """

    mode: str
    data: str
    skills: int
    trained: tuple[int, int]
    judged: tuple[int, int]
    judged_on: str
    auc: Value
    validity: Value
    split: str = "test"
    seen: bool = False
    intervals: bool = True
    inflated: bool = False
    simulated: bool = False


def in_short(examined: Examined) -> tuple[Sentence, ...]:
    """The five sentences about a run."""
    return five_sentences(about(examined), verdicts(examined))


def about(examined: Examined) -> About:
    """The facts of a run that its sentences name."""
    e, m, splits = examined, examined.measures, examined.splits
    own, train = getattr(splits, e.split), splits.train
    met = {str(u) for part in (splits.train, splits.valid) for u in np.asarray(part.learners)}
    tests = m.associations
    known = len(tests) and (tests["measure"] == PROSPECTIVE).any()
    data = str(e.run.provenance.get("data", splits.dataset.name))
    return About(
        mode=e.run.config.model.mode,
        data=data,
        skills=len(splits.vocabulary.skills),
        trained=(train.interactions, len(train.learners)),
        judged=(len(e.beliefs.predicted), len(e.beliefs.learners)),
        judged_on="" if splits.dataset.name == data else splits.dataset.name,
        auc=_value(m.quality("AUC") if len(m.prediction) else None),
        validity=_value(m.association(PROSPECTIVE) if known else None),
        split=e.split,
        seen=e.split == "test" and any(str(u) in met for u in np.asarray(own.learners)),
        intervals=e.run.uncertainty is not None,
        inflated=e.inflated,
        simulated=e.beliefs.has("true_mastery"),
    )


def _value(row: pd.Series | None) -> Value:
    return (np.nan,) * 3 if row is None else (row["value"], row["low"], row["high"])


def five_sentences(about: About, table: pd.DataFrame) -> tuple[Sentence, ...]:
    """What was trained on what, whether it predicts, whether its mastery may be shown to people,
    whether growth is real, and what not to do with it.

    Parameters
    ----------
    table : result of `kt_core.report.verdicts`.
    """
    found = (_predicts(about, table), _may_be_shown(about, table), _growth(table))
    return (_trained(about), *found, _limits(about, table, *found))


def _trained(about: About) -> Sentence:
    who = f"{about.judged[0]:,} answers of {about.judged[1]:,}"
    if about.split == "valid":
        who += " validation learners, by whom its epoch was chosen"
    else:
        who += f" {about.split} learners"
        who += f" ({about.judged_on})" if about.judged_on else ""
        who += ", some of whom it was trained or chosen on" if about.seen else ", all new to it"
    text = (
        f"A model of mode {about.mode} was trained on {about.trained[0]:,} answers of "
        f"{about.trained[1]:,} learners on {about.skills:,} skills ({about.data}), and judged on "
        f"{who}."
    )
    return Sentence("What was trained on what?", "", text, "open")


def _predicts(about: About, table: pd.DataFrame) -> Sentence:
    question, simple = "Does it predict?", _row(table, AUC_SIMPLE)
    value, low, _ = about.auc
    auc = f"Its AUC is {estimate(*about.auc)} ({GUESSING:g} is guessing, 1 is perfect)"
    if not np.isfinite(value):
        return Sentence(question, "Not known.", "These answers do not allow an AUC.", "open")
    if _verdict(table, AUC_CHOSEN).startswith("WARNING"):
        text = f"{auc}, above the best ever published on this data: look for a leak first."
        return Sentence(question, "Too well to be true.", text, "bad")
    if not low > GUESSING:
        return Sentence(question, "No.", f"{auc}, which cannot be told from guessing.", "bad")
    word = "" if simple is None else simple["verdict"]
    if word.startswith("better"):
        text = f"{auc}; the best simple model, {_best(simple)}, is clearly below it."
        return Sentence(question, "Yes.", text, "good")
    if word.startswith("about as well"):
        text = f"{auc}; {_best(simple)} predicts about as well."
        return Sentence(question, "Yes, but no better than a simple model.", text, "unsure")
    if word.startswith("worse"):
        text = f"{auc}; {_best(simple)} predicts better."
        return Sentence(question, "Worse than a simple model.", text, "bad")
    text = f"{auc}; no simple model was fitted to the same answers."
    return Sentence(question, "Better than guessing.", text, "unsure")


def _may_be_shown(about: About, table: pd.DataFrame) -> Sentence:
    question, validity = "May its mastery be shown to people?", _row(table, f"{PROSPECTIVE} r")
    broken = table[(table["kind"] == "constraint") & table["warns"]]
    later = f"(r = {estimate(*about.validity)})"
    if len(broken):
        first = broken.iloc[0]
        text = f"It breaks what mastery must keep: {_lower(first['measure'])}, {first['value']}."
        return Sentence(question, "No.", text, "bad")
    if validity is None or not np.isfinite(about.validity[1]):
        text = "These histories cannot tell whether mastery says anything about later answers."
        return Sentence(question, "Not known.", text, "open")
    if not about.validity[1] > 0:
        text = f"Mastery halfway through a history says nothing certain about later ones {later}."
        return Sentence(question, "No.", text, "bad")
    says = f"Mastery halfway through a history agrees with later answers {later}"
    if (behind := _behind(table)) is not None:
        where = "in the exam" if behind["measure"].startswith(EXAM) else "about later answers"
        text = f"{says}, but {_best(behind)} says more {where}."
        return Sentence(question, "With care.", text, "unsure")
    if not validity["verdict"].startswith("reached"):
        text = f"{says}, but the target ({validity['target']}) is not surely reached."
        return Sentence(question, "With care.", text, "unsure")
    if not about.intervals:
        text = f"{says}, but this mode does not say how sure a value is."
        return Sentence(question, "With care.", text, "unsure")
    level = "tells as much" in validity["verdict"]
    end = f"{_best(validity)} says as much" if level else "no simple estimate says more"
    return Sentence(question, "Yes, with its interval.", f"{says}; {end}.", "good")


def _growth(table: pd.DataFrame) -> Sentence:
    question, flat, size = "Is its growth real?", _row(table, FLAT), _verdict(table, GROWTH)
    if flat is None:
        text = "In this mode no prediction depends on growth, so it cannot be tested."
        return Sentence(question, "Not tested.", text, "open")
    if UNDEFINED in (flat["verdict"], size):
        text = "Too few answers to predict hidden ones with and without the growth."
        return Sentence(question, "Not known.", text, "open")
    if flat["warns"] and size.startswith("hardly"):
        text = "Hardly any growth is told, and hidden answers do not miss any."
        return Sentence(question, "There is hardly any.", text, "open")
    if flat["warns"]:
        text = "Hidden answers are predicted as well by trajectories that are flat at their level."
        return Sentence(question, "There is no evidence for it.", text, "bad")
    needed = "Without it, hidden answers are predicted worse"
    if size.startswith(("understated", "overstated")):
        text = f"{needed}, but it is not of the right size: {size}."
        return Sentence(question, "In part.", text, "unsure")
    if against := _forgotten(table):
        text = f"{needed}, and its size is right, but answers after breaks show more forgetting "
        return Sentence(question, "While it lasts.", f"{text}than it tells ({against}).", "unsure")
    tested = not _verdict(table, NO_FORGETTING).startswith(UNDEFINED)
    breaks = "breaks do not contradict it" if tested else NEVER_BACK
    text = f"{needed}, its size is right, and {breaks}."
    return Sentence(question, "Yes.", text, "good")


def _limits(
    about: About, table: pd.DataFrame, predicts: Sentence, shown: Sentence, grows: Sentence
) -> Sentence:
    """The last sentence: the most serious limits first, and then what holds for every model."""
    limits = {
        "use any number of it before the leak is found": predicts.word.startswith("Too well"),
        "compare its numbers with those of others, as one answer stands in several rows": (
            about.inflated
        ),
        "publish these numbers as those of new learners": about.split == "valid" or about.seen,
        "show its mastery to learners or teachers": shown.state == "bad",
        "show its mastery before that is known": shown.state == "open",
        "prefer its mastery to a simple estimate without another reason": (
            _behind(table) is not None and shown.state == "unsure"
        ),
        "report its growth as learning": grows.state in ("bad", "open"),
        "report how large its growth is": grows.word.startswith("In part"),
        "read mastery after a break as what is still known": bool(_forgotten(table)),
        "expect the same from real learners, as these are simulated": about.simulated,
        "decide about a learner by one value without its interval": about.intervals,
        "decide about a learner by one value, as it has no interval": not about.intervals,
        "take the zeros of the guarantees as evidence that mastery is right": (
            (table["kind"] == "guarantee").any()
        ),
        "read a gain as the effect of a task, as nobody was assigned to tasks by chance": True,
    }
    chosen = [text for text, holds in limits.items() if holds][:MOST_LIMITS]
    text = f"Do not {', do not '.join(chosen[:-1])}, and do not {chosen[-1]}."
    return Sentence("What should not be done with it?", "", text, "open")


def _row(table: pd.DataFrame, measure: str) -> pd.Series | None:
    rows = table[table["measure"].str.startswith(measure)]
    return rows.iloc[0] if len(rows) else None


def _verdict(table: pd.DataFrame, measure: str) -> str:
    row = _row(table, measure)
    return UNDEFINED if row is None else row["verdict"]


def _forgotten(table: pd.DataFrame) -> str:
    """By what forgetting shows: the time, the steps, or skills; empty where it does not."""
    rows = table[table["measure"].str.startswith(NO_FORGETTING) & table["warns"]]
    if rows.empty:
        return ""
    measure = rows.iloc[0]["measure"].removeprefix(NO_FORGETTING)
    if measure.startswith(":"):
        return f"on {rows.iloc[0]['value']}"
    return measure.removeprefix(", ")


def _best(row: pd.Series) -> str:
    """The best simple predictor of a verdict: its name, and its value."""
    value, name = row["best null"].rstrip(")").split(" (", 1)
    return f"{called(name)} ({value})"


def _behind(table: pd.DataFrame) -> pd.Series | None:
    """The first verdict by which a simple estimate says more than mastery, if there is one."""
    rows = table[table["measure"].str.startswith((f"{PROSPECTIVE} r", EXAM))]
    rows = rows[rows["verdict"].str.contains("tells less than")]
    return rows.iloc[0] if len(rows) else None


def _lower(text: str) -> str:
    return text[:1].lower() + text[1:]
