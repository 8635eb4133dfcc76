"""The pages for teachers: Jinja templates filled with tables, in the words of one language.

The template engine escapes every name, and no page needs a network.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from datetime import date
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from kt_core.base.errors import KTError, brief
from kt_core.base.files import new_folder
from kt_core.base.state import free_folder
from kt_core.data import Dataset
from kt_core.learners.classroom import charts, tables
from kt_core.learners.classroom.rates import rates
from kt_core.learners.classroom.trust import Trust, trust
from kt_core.learners.classroom.words import Words, read
from kt_core.learners.predict import believed, named
from kt_core.learners.standing import (
    GROUPS,
    GROWN,
    MINIMUM,
    READY,
    STILL,
    SURE,
    UNKNOWN,
    WEAK,
    standing,
)
from kt_core.runs.run import Run

TEMPLATES = Path(__file__).resolve().parent / "templates"
SHOWN_LEARNERS, SHOWN_SKILLS = 200, 20  # in the map; the page says what it leaves out
SHOWN_PAIRS = 5000  # rows in the list of learners and skills
ON_PAPER = 300  # rows of a list that is printed
NAMED = 12  # learners of a group who are named for one skill
SHOWN_PRACTISED, SHOWN_COURSES = 20, 6  # on a learner's page: it is one sheet of paper
CURVES = 6
BETWEEN = 0.65  # colours of the map: below 0.5, below this, below 0.8, above
DIGITS = 32  # of a hash, in the name of a learner's page
STATES = {"stuck": "stuck", "learning": "learning", "ready": "ready", tables.FEW: "few"}


def classroom(
    run: Run,
    dataset: Dataset,
    folder: str | Path,
    metrics: dict[str, Any] | None = None,
    title: str = "",
    words: Words | None = None,
) -> Path:
    """Write ``class.html`` and ``learners/``, completely or not at all.

    Parameters
    ----------
    dataset : histories of any length on skills that the run knows; the learners may be new.
    metrics : of the run's report, as in its ``metrics.json``, for what the pages say about
        themselves; without them, they say that the run has not been checked, and show no growth.
    title : of the class page; by default, the name of the data.
    words : of the language, from `words.read`; by default English.

    Returns
    -------
    The class page.

    Raises
    ------
    KTError
        For a run without intervals, an unknown skill, a folder that exists already, or two
        learners who would share a page.
    """
    if run.uncertainty is None:
        raise KTError(
            f"{run.path}: mode {run.config.model.mode!r} does not say how sure it is, and these "
            "pages need that; train mode 'retrospective' or 'retentive'"
        )
    folder = Path(folder).absolute()
    free_folder(folder)
    say, trusted = words or read(), trust(metrics)
    beliefs = believed(run, dataset)
    table = standing(beliefs, run.uncertainty).sort_values(
        ["learner", "answers"], ascending=[True, False], kind="stable"
    )
    table = named(table, beliefs, run).reset_index(drop=True)
    history = named(tables.courses(beliefs, run.uncertainty), beliefs, run)
    most = table.groupby("skill")["answers"].sum().sort_values(ascending=False, kind="stable")
    curves = tables.practice_curves(beliefs, run.vocabulary.skills, list(most.index[:CURVES]))
    files = file_names(table["learner"].unique())
    pages = _environment(say, trusted, run)
    title = title or say("head.class", data=dataset.name)
    with new_folder(folder) as partial:
        (partial / "learners").mkdir()
        page = pages.get_template("learner.html.j2")
        histories = dict(list(history.groupby("learner", sort=False)))
        for learner, part in table.groupby("learner", sort=False):
            text = page.render(title=title, **learner_facts(learner, part, histories[learner]))
            (partial / "learners" / files[learner]).write_text(text, encoding="utf-8")
        facts = class_facts(table, files) | {"curves": charts.practice(curves)}
        text = pages.get_template("class.html.j2").render(title=title, **facts)
        (partial / "class.html").write_text(text, encoding="utf-8")
    return folder / "class.html"


def file_names(learners: Iterable[Any]) -> dict[Any, str]:
    """The name of each learner's page.

    Raises
    ------
    KTError
        When two learners would share a page. It names them as the pages do: by pseudonym, where
        the data has pseudonyms.
    """
    owners: dict[str, Any] = {}
    for learner in learners:
        name = file_name(learner)
        if name in owners:
            both = f"{brief(owners[name])} and {brief(learner)}"
            raise KTError(f"learners {both} would share the page {name}; rename one of them")
        owners[name] = learner
    return {learner: name for name, learner in owners.items()}


def file_name(learner: Any) -> str:
    """A safe file name for a learner's page, different for every id."""
    text = str(learner)
    readable = re.sub(r"[^A-Za-z0-9_-]+", "-", text)[:40].strip("-")
    return f"{readable or 'learner'}-{hashlib.sha256(text.encode()).hexdigest()[:DIGITS]}.html"


def learner_facts(learner: Any, part: pd.DataFrame, history: pd.DataFrame) -> dict[str, Any]:
    """The content of a learner's page.

    Parameters
    ----------
    part : rows of `standing`, most practised skill first.
    history : rows of `tables.courses`.
    """
    known, few = part[part["answers"] >= MINIMUM], part[part["answers"] < MINIMUM]
    drawn = tables.pairs_of_class(part)
    by_skill = dict(list(history.groupby("skill", sort=False)))
    return {
        "learner": str(learner),
        "answers": int(part["steps"].iloc[0]),
        "right": int(part["all_right"].iloc[0]),
        "rows": known[:SHOWN_PRACTISED].to_dict("records"),
        "left_out": max(len(known) - SHOWN_PRACTISED, 0),
        "few": few.to_dict("records"),
        "next": tables.next_practice(part).to_dict("records"),
        "counts": {STATES[v]: int(n) for v, n in part["verdict"].value_counts().items()},
        "courses": [
            row | charts.course(by_skill[row["skill"]])
            for row in drawn[:SHOWN_COURSES].to_dict("records")
        ],
    }


def class_facts(table: pd.DataFrame, files: dict[Any, str]) -> dict[str, Any]:
    """The content of the class page but its curves.

    Parameters
    ----------
    table : rows of `standing`.
    files : learner -> page.
    """
    skills, learners = tables.skills_of_class(table), tables.learners_of_class(table)
    pairs = tables.pairs_of_class(table)
    people = [row | {"file": files[row["learner"]]} for row in learners.to_dict("records")]
    practised = skills.nlargest(SHOWN_SKILLS, "answers", keep="first").index
    shown = skills.loc[sorted(practised)].to_dict("records")
    listed = pairs[:SHOWN_PAIRS].to_dict("records")
    return {
        "n": {
            "learners": len(learners),
            "skills": len(skills),
            "answers": int(learners["answers"].sum()),
            "judged": len(pairs),
            "pairs": len(table),
        },
        "skills": skills.to_dict("records"),
        "shown_skills": shown,
        "map": _map(table, people[:SHOWN_LEARNERS], [row["skill"] for row in shown]),
        "left_out_learners": max(len(learners) - SHOWN_LEARNERS, 0),
        "left_out_skills": max(len(skills) - SHOWN_SKILLS, 0),
        "groups": [_group(name, people) for name in GROUPS],
        "people": people,
        "pairs": [row | {"file": files[row["learner"]]} for row in listed],
        "left_out_pairs": max(len(pairs) - SHOWN_PAIRS, 0),
    }


def _map(
    table: pd.DataFrame, people: list[dict[str, Any]], skills: list[str]
) -> dict[str, list[dict[str, Any]]]:
    """The rows of the map, by group."""
    part = table[table["skill"].isin(skills)]
    cells = {(row["learner"], row["skill"]): row for row in part.to_dict("records")}
    rows: dict[str, list[dict[str, Any]]] = {}
    for person in people:
        own = [cells.get((person["learner"], skill)) for skill in skills]
        rows.setdefault(person["group"], []).append(person | {"cells": own})
    return rows


def _group(name: str, people: list[dict[str, Any]]) -> dict[str, Any]:
    """A group: its learners, and the skills that they should work on, with the first of them."""
    members = [person for person in people if person["group"] == name]
    by_skill: dict[str, list[dict[str, Any]]] = {}
    for person in members:
        by_skill.setdefault(person["weakest"], []).append(person)
    together = sorted(by_skill.items(), key=lambda item: -len(item[1]))
    return {
        "name": name,
        "members": members,
        "together": together if name not in ("ready", UNKNOWN) else [("", members)],
    }


def whole(share: float) -> int:
    """A share in whole per cent, rounded down, so that what is below a limit looks so too."""
    return int(100 * share + 1e-9)


def band(mastery: float) -> str:
    """The colour of a mastery in the map."""
    limits = ((WEAK, "below"), (BETWEEN, "middle"), (READY, "above"))
    return next((name for limit, name in limits if mastery < limit), "well")


def _environment(say: Words, trusted: Trust, run: Run) -> Environment:
    """The templates, with all that every page needs."""
    loader = FileSystemLoader(TEMPLATES)
    pages = Environment(
        loader=loader,
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    pages.filters |= {"whole": whole, "band": band, "state": STATES.__getitem__}
    pages.filters["percent"] = lambda share: say.percent(whole(share) / 100)
    pages.filters["rounded"] = say.percent  # of answers, for which there are no limits
    percents = {"weak": WEAK, "between": BETWEEN, "ready": READY}
    limits = {name: say.percent(share) for name, share in percents.items()}
    points = {"still": STILL, "sure": SURE, "grown": GROWN}
    limits |= {name: whole(share) for name, share in points.items()}
    limits |= {"minimum": MINIMUM, "practising": tables.PRACTISING}
    pages.globals |= {
        "say": lambda name, **values: say(name, **(limits | values)),
        "trust": trusted,
        "rates": rates(run.config.model.mode),
        "forgets": run.config.model.mode == "retentive",
        "made": date.today().isoformat(),
        "run": run.name,
        "on_paper": ON_PAPER,
        "named": NAMED,
        "grown": GROWN,
        "wide": charts.WIDE,
        "high": charts.HIGH,
    }
    return pages
