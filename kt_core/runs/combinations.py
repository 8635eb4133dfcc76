"""A run that is asked about answers on new combinations of skills that it knows."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor
from torch.nn import functional as F

from kt_core.data import Dataset, Vocabulary
from kt_core.data.known import new_combinations
from kt_core.data.sequences import parts_by_id
from kt_core.model import GainAKT2
from kt_core.runs.run import Run

OWN = ("offset", "log_loading", "log_gain")  # of a combination: what it differs by from its parts


def knowing(run: Run, dataset: Dataset) -> Run:
    """The run with further skills: the combinations of its skills that a data set has and it does
    not know. Each is the mean of its parts.

    A run that was trained with `model.parts` off, or in a mode without parts, stays as it is.
    """
    v, several = run.vocabulary, dataset.note.several
    new = new_combinations(dataset, v)
    if not new or not run.config.parts:
        return run
    names = (*v.skills, *new)
    parts = parts_by_id(names, {name: several[name] for name in new})
    parts = (*(v.parts or parts[: len(v.skills)]), *parts[len(v.skills) :])
    vocabulary = Vocabulary(names, v.items, v.item_skill, parts)
    return dataclasses.replace(run, vocabulary=vocabulary, trained=_grown(run.model, vocabulary))


def _grown(model: GainAKT2, v: Vocabulary) -> GainAKT2:
    kind = next(model.parameters()).dtype
    grown = GainAKT2(model.config, len(v.skills), v.item_skill, v.parts).to(kind)
    if model.heads.skeleton.raw_transfer is None:
        grown.heads.skeleton.raw_transfer = None
    old, parts = model.state_dict(), v.parts[model.n_skills :]
    tables = {
        name: _with_rows(name, old[name], model.n_skills, parts)
        if name in old and old[name].shape != like.shape
        else old.get(name, like)
        for name, like in grown.state_dict().items()
    }
    grown.load_state_dict(tables)
    return grown.eval()


def _with_rows(
    name: str, table: Tensor, n_skills: int, parts: tuple[tuple[int, ...], ...]
) -> Tensor:
    """A table with rows for further skills."""
    last = name.rpartition(".")[2]
    if last == "raw_transfer":
        return F.pad(table, (0, len(parts), 0, len(parts)))
    if last in OWN:
        return F.pad(table, (0, len(parts)))
    by_answer = table.unflatten(0, (-1, n_skills))  # the encoder has a row for each kind of answer
    means = torch.stack([by_answer[:, list(of)].mean(1) for of in parts], 1)
    return torch.cat([by_answer, means], 1).flatten(0, 1)
