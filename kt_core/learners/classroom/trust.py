"""What of the pages may be relied on, from the verdicts of the report, in a teacher's words.

Each statement has a topic and one of four levels: *trust*, *care*, *no* and *unknown*. The words
for each are those of the language (`words.py`), by the name ``trust.TOPIC_LEVEL``, or by the reason
for care, ``trust.TOPIC_REASON``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

TRUST, CARE, NO, UNKNOWN = "trust", "care", "no", "unknown"
LESS, SAME, UNSURE = "less", "same", "unsure"  # reasons for care, next to simpler calculations
# How the report's measures begin that the statements are made from.
MASTERY = "prospective validity, learner x skill"
EXAM = "Exam"
NEEDED = "Loss of hidden answers"
SIZE = "Growth that hidden answers miss"
LOST = "No forgetting: skills"
LOST_TOGETHER = "No forgetting, all skills"
UNDEFINED = "not defined"  # how a verdict begins on which nothing is known
NAMED = "contradicted for "  # how one begins that names skills
METRICS = {"verdicts", "prediction", "inflated"}  # what `trust` reads of ``metrics.json``
TELLS_LESS, AS_MUCH = "tells less than", "tells as much"  # what one says of simpler calculations


@dataclass(frozen=True)
class Statement:
    """One line of the banner: a topic, how far to rely on it, values for its words, and the reason
    for care where there are several."""

    topic: str
    level: str
    values: dict[str, Any]
    reason: str = ""

    @property
    def words(self) -> str:
        """The name of its words."""
        return f"trust.{self.topic}_{self.reason or self.level}"


@dataclass(frozen=True)
class Trust:
    """All statements about a run, the most important first."""

    statements: tuple[Statement, ...]

    @property
    def shows_growth(self) -> bool:
        """Whether growth may be shown."""
        return any(s.topic == "growth" and s.level in (TRUST, CARE) for s in self.statements)

    @property
    def headline(self) -> str:
        """The name of the words above the statements. Nobody should give marks, so those do not
        count."""
        levels = {s.topic: s.level for s in self.statements}
        if NO in (levels["mastery"], levels.get("inflated")):
            return "trust.not"
        if levels["mastery"] == UNKNOWN:
            return "trust.unchecked"
        passed = all(level == TRUST for topic, level in levels.items() if topic != "marks")
        return "trust.all" if passed else "trust.some"


def trust(metrics: dict[str, Any] | None) -> Trust:
    """The statements about a run.

    Parameters
    ----------
    metrics : of its report, as in ``metrics.json``; None where it has not been checked.
    """
    found = metrics or {"verdicts": [], "prediction": [{"learners": 0}], "inflated": False}
    rows, learners = found["verdicts"], int(found["prediction"][0]["learners"])
    statements = [Statement("inflated", NO, {})] if found["inflated"] else []
    statements += [
        _compared("mastery", _row(rows, MASTERY), {"learners": learners}),
        Statement("growth", _growth(_row(rows, NEEDED), _row(rows, SIZE)), {}),
        _memory(rows),
        _compared("marks", _row(rows, EXAM), {}),
    ]
    return Trust(tuple(statements))


def _row(rows: list[dict[str, Any]], start: str) -> dict[str, Any]:
    """The verdict whose measure begins so; one on which nothing is known where there is none."""
    here = (row for row in rows if row["measure"].startswith(start))
    return next(here, {"verdict": UNDEFINED, "warns": False})


def _compared(topic: str, row: dict[str, Any], values: dict[str, Any]) -> Statement:
    """On what was held against simpler calculations."""
    verdict = row["verdict"]
    if verdict.startswith(UNDEFINED):
        return Statement(topic, UNKNOWN, values)
    if verdict.startswith("misses"):
        return Statement(topic, NO, values)
    if not row["warns"]:
        return Statement(topic, TRUST, values)
    reason = LESS if TELLS_LESS in verdict else SAME if AS_MUCH in verdict else UNSURE
    return Statement(topic, CARE, values, reason)


def _growth(needed: dict[str, Any], size: dict[str, Any]) -> str:
    words = needed["verdict"], size["verdict"]
    if any(word.startswith(UNDEFINED) for word in words):
        return UNKNOWN
    if needed["warns"] or not words[1].startswith(("understated", "of the right size")):
        return NO
    return CARE if words[1].startswith("understated") else TRUST


def _memory(rows: list[dict[str, Any]]) -> Statement:
    single, together = _row(rows, LOST), [r for r in rows if r["measure"].startswith(LOST_TOGETHER)]
    if single["verdict"].startswith(NAMED):
        return Statement("lost", CARE, {"skills": single["verdict"].removeprefix(NAMED)})
    if any(row["warns"] for row in together):
        return Statement("memory", CARE, {})
    return Statement("memory", UNKNOWN if single["verdict"].startswith(UNDEFINED) else TRUST, {})
