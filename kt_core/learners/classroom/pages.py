"""The pages for teachers: Jinja templates filled with tables.

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
from kt_core.data import Dataset
from kt_core.learners.classroom import tables
from kt_core.learners.predict import believed, named
from kt_core.learners.standing import MINIMUM, READY, STILL, SURE, WEAK, standing
from kt_core.runs.run import Run, free_folder

TEMPLATES = Path(__file__).resolve().parent / "templates"
SHOWN_LEARNERS, SHOWN_SKILLS = 200, 20  # in the class table; the page says what it leaves out
SHOWN_PRACTISED = 20  # skills on a learner's page: it is one sheet of paper
CURVES = 6
DIGITS = 32  # of a hash, in the name of a learner's page
RULES = {
    "minimum": MINIMUM,
    "weak": WEAK,
    "still": STILL,
    "ready": READY,
    "sure": SURE,
    "practising": tables.PRACTISING,
}


def classroom(run: Run, dataset: Dataset, folder: str | Path) -> Path:
    """Write ``class.html`` and ``learners/``, completely or not at all.

    Parameters
    ----------
    dataset : histories of any length on skills that the run knows; the learners may be new.

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
    beliefs = believed(run, dataset)
    table = standing(beliefs, run.uncertainty).sort_values(
        ["learner", "answers"], ascending=[True, False], kind="stable"
    )
    table = named(table, beliefs, run).reset_index(drop=True)
    skills = list(table.groupby("skill")["answers"].sum().sort_values(ascending=False).index)
    curves = tables.practice_curves(beliefs, run.vocabulary.skills, skills[:CURVES])
    files = file_names(table["learner"].unique())
    pages = _environment()
    forgets = run.config.model.mode == "retentive"
    facts = {"rules": RULES, "forgets": forgets, "made": date.today().isoformat(), "run": run.name}
    with new_folder(folder) as partial:
        (partial / "learners").mkdir()
        page = pages.get_template("learner.html.j2")
        for learner, part in table.groupby("learner", sort=False):
            text = page.render(**facts, **learner_facts(str(learner), part))
            (partial / "learners" / files[learner]).write_text(text, encoding="utf-8")
        text = pages.get_template("class.html.j2").render(
            **facts, name=dataset.name, **class_facts(table, skills, files), curves=_curves(curves)
        )
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


def learner_facts(learner: str, part: pd.DataFrame) -> dict[str, Any]:
    """The content of a learner's page."""
    return {
        "learner": learner,
        "answers": int(part["answers"].sum()),
        "right": int(part["right"].sum()),
        "rows": part[:SHOWN_PRACTISED].to_dict("records"),
        "left_out": max(len(part) - SHOWN_PRACTISED, 0),
        "next": tables.next_practice(part).to_dict("records"),
        "counts": part["verdict"].value_counts().to_dict(),
    }


def class_facts(table: pd.DataFrame, skills: list[str], files: dict[Any, str]) -> dict[str, Any]:
    """The content of the class page."""
    shown = skills[:SHOWN_SKILLS]
    cells = {
        (row["learner"], row["skill"]): row
        for row in table[table["skill"].isin(shown)].to_dict("records")
    }
    order = table.groupby("learner")["verdict"].agg(lambda v: (v == "stuck").sum())
    learners = list(order.sort_values(ascending=False, kind="stable").index)
    rows = [
        {"name": who, "file": files[who], "cells": [cells.get((who, skill)) for skill in shown]}
        for who in learners[:SHOWN_LEARNERS]
    ]
    stuck = table[table["verdict"] == "stuck"].sort_values("mastery")
    return {
        "skills": shown,
        "rows": rows,
        "n_learners": len(learners),
        "n_skills": len(skills),
        "answers": int(table["answers"].sum()),
        "left_out_learners": max(len(learners) - SHOWN_LEARNERS, 0),
        "left_out_skills": max(len(skills) - SHOWN_SKILLS, 0),
        "stuck": [row | {"file": files[row["learner"]]} for row in stuck.to_dict("records")],
        "next": tables.next_for_class(table).to_dict("records"),
        "judged": int((table["answers"] >= MINIMUM).sum()),
        "pairs": len(table),
    }


def _curves(curves: pd.DataFrame) -> list[dict[str, Any]]:
    """The curve of each skill as points of polylines in a square from 0 to 100."""
    found = []
    for skill, part in curves.groupby("skill", sort=False):
        last = max(int(part["opportunity"].max()), 2)
        x = (part["opportunity"] - 1) / (last - 1) * 100
        lines = {
            name: " ".join(
                f"{a:.1f},{100 - 100 * b:.1f}" for a, b in zip(x, part[name], strict=True)
            )
            for name in ("observed", "expected")
        }
        counts = part["learners"]
        ends = {"first": int(counts.iloc[0]), "remaining": int(counts.iloc[-1])}
        found.append({"skill": skill, "last": last, **lines, **ends})
    return found


def _environment() -> Environment:
    loader = FileSystemLoader(TEMPLATES)
    pages = Environment(loader=loader, autoescape=True, undefined=StrictUndefined)
    pages.filters["percent"] = lambda x: f"{100 * x:.0f} %"
    return pages
