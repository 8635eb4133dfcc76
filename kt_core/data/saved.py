"""What a saved run says about its data, read without its model; the folder may come from anywhere.

The configuration goes through `kt_core.config` as if a user had typed it, and names must be text.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pandas as pd

from kt_core.base.errors import KTError, brief, reason
from kt_core.base.files import is_there, read_json
from kt_core.base.values import is_text
from kt_core.config import FORMER, RunConfig, from_dict
from kt_core.data.kept import IN_RUN, KEPT
from kt_core.data.pseudonyms import same_key
from kt_core.data.sequences import Splits, Vocabulary, parts_by_id
from kt_core.data.table import data_checksums

RETIRED = {  # settings that are gone, and the value that did nothing
    "loss.revision": 0.0,
    "loss.drift": 0.0,
    "loss.price": 0.0,
    "train.horizon": "last",
    "train.compile": False,
    "loss.retrospective": 0.0,
    "loss.transfer": 0.0,
    "model.evidence": True,
}
YOUNGER = {"model.parts": False}  # what a run did that does not name the setting


def read_configuration(folder: Path) -> tuple[RunConfig, Vocabulary]:
    """The configuration and vocabulary of a run, from `config.json` and `items.csv`. Answers in the
    run's own folder are named by where they are now.

    Raises
    ------
    KTError
        When a file is damaged, has another schema, or holds an impossible value.
    """
    path = folder / "config.json"
    saved = read_json(path)
    try:
        raw = saved["config"]
        config = from_dict(_without_retired(raw))
        skills = _skills(saved["skills"])
    except KTError as error:
        raise KTError(f"{path}: {error}") from None
    except (KeyError, TypeError, AttributeError) as error:
        raise KTError(f"{path}: {error} is missing or of the wrong type") from None
    if config.data.path == IN_RUN:
        here = dataclasses.replace(config.data, path=str((folder / KEPT).absolute()))
        config = dataclasses.replace(config, data=here)
    items = _items(folder / "items.csv", len(skills))
    return config, Vocabulary(skills, *items, _parts(saved.get("parts", {}), skills, path))


def check_unchanged(
    folder: Path, splits: Splits, vocabulary: Vocabulary, provenance: dict[str, Any]
) -> None:
    """Raise a KTError unless the data of a run is what it was trained on.

    Parameters
    ----------
    vocabulary, provenance : of the run.
    """
    same_key(provenance.get("pseudonyms", ""), splits.dataset.pseudonyms, str(folder))
    was, now = provenance.get("data_sha256"), data_checksums(splits.dataset)
    if was != now:
        raise KTError(
            f"{folder}: the data {splits.dataset.name!r} is not what this run was trained on "
            f"(checksums {brief(was)} then, {now} now); restore it, or train again"
        )
    if vocabulary.skills != splits.vocabulary.skills:
        raise KTError(
            f"{folder / 'config.json'}: its skills are not those of the data, in that order; "
            "restore it, or train again"
        )


def _without_retired(raw: dict[str, Any]) -> dict[str, Any]:
    """The configuration of an older run in today's settings."""
    targets = raw["targets"] if isinstance(raw.get("targets"), dict) else {}
    for name, former in FORMER.items():
        if former in targets:
            targets[name] = targets.pop(former)
    for name, neutral in RETIRED.items():
        section, key = name.split(".")
        part = raw.get(section)
        value = part.pop(key, neutral) if isinstance(part, dict) else neutral
        if value != neutral:
            raise KTError(
                f"{name} = {brief(value)}: this setting is gone; "
                "read the run with the version that wrote it, or train again without it"
            )
    for name, value in YOUNGER.items():
        section, key = name.split(".")
        if isinstance(raw.get(section), dict):
            raw[section].setdefault(key, value)
    return raw


def _skills(names: Any) -> tuple[str, ...]:
    if not isinstance(names, list) or not all(isinstance(name, str | int) for name in names):
        raise KTError(f"skills = {brief(names)}: expected a list of names")
    skills = tuple(map(str, names))
    if not skills or len(set(skills)) < len(skills):
        raise KTError(f"skills = {brief(names)}: expected at least one name, and each name once")
    for name in skills:
        if not is_text(name):
            raise KTError(f"skill {brief(name)}: not Unicode text")
    return skills


def _parts(several: Any, skills: tuple[str, ...], path: Path) -> tuple[tuple[int, ...], ...]:
    ok = isinstance(several, dict) and all(
        isinstance(of, list) and len(of) > 1 and {name, *map(str, of)} <= set(skills)
        for name, of in several.items()
    )
    if not ok or any(part in several for of in several.values() for part in of):
        raise KTError(
            f"{path}: parts = {brief(several)}: expected skills of the run, each with a list of at "
            "least two single skills of the run"
        )
    return parts_by_id(skills, several) if several else ()


def _items(file: Path, n_skills: int) -> tuple[tuple[str, ...], tuple[int, ...]]:
    if not is_there(file):
        return (), ()
    try:
        table = pd.read_csv(file, dtype={"item": str}, keep_default_na=False)
        skills, items = table["skill"], tuple(table["item"])
    except (OSError, ValueError) as error:  # pandas' parsing errors are ValueErrors
        raise KTError(f"{file}: cannot be read as a table ({reason(error)})") from None
    except KeyError as error:
        raise KTError(f"{file}: no column {error}") from None
    if len(items) and (skills.dtype.kind != "i" or not skills.between(0, n_skills - 1).all()):
        raise KTError(f"{file}: skill must be numbers between 0 and {n_skills - 1}")
    return items, tuple(skills.tolist())
