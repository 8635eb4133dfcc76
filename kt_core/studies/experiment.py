"""A model judged by a randomised experiment: what it predicts for a post-test, by condition.

Each learner's answers in the post-test are predicted from that learner's practice alone, by a model
trained on the practice of other learners: learners are divided into folds; for each, the next fold
is for validation and the others are for training. Whatever was assigned is not told to the model.
So predicted and observed effects of a condition can be compared: their difference has an interval
over learners, for the models as they were fitted.
"""

from __future__ import annotations

import dataclasses
import itertools
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import pandas as pd

from kt_core.base.errors import KTError
from kt_core.base.files import plain, write_json, write_table
from kt_core.base.values import whole_number
from kt_core.baselines.registry import baselines
from kt_core.config import RunConfig, with_overrides
from kt_core.data import Sequences, Splits, Vocabulary, make_splits
from kt_core.data.folds import divided, groups
from kt_core.data.sequences import rows_of
from kt_core.evaluation.evaluate import evaluate
from kt_core.metrics.bootstrap import Bootstrap, Estimate
from kt_core.metrics.contrast import Terms, contrast
from kt_core.plots import draw_experiment, save, use_style
from kt_core.report.text import estimate
from kt_core.runs.provenance import provenance
from kt_core.runs.run import Run
from kt_core.studies.models import OURS, check_model
from kt_core.studies.outcome import Experiment
from kt_core.training.train import train

STEPS = 2_000_000  # steps of histories that are read at a time
QUANTITIES = ("observed", "predicted", "difference")
WHERE = ("all", "practised", "unpractised", "net")
CLOCKS = ("retentive",)  # models whose prediction depends on when a question is asked
NO_CLOCK = (
    "No model here reads a clock, so each predicts the same before and after a break: its effect "
    "of a condition that is assigned after the practice shows only who is in which arm."
)


def cross_fitted(
    experiment: Experiment,
    models: list[str],
    config: RunConfig,
    folds: int = 5,
    told: Callable[[str], Any] = print,
) -> dict[str, np.ndarray]:
    """Predict every answer of the post-test by models that were not trained on its learner.

    Parameters
    ----------
    models : modes of GainAKT2 and names of baselines.
    config : of the modes; `train.seed` also divides the learners and starts the baselines.
    folds : of learners, at least 3.

    Returns
    -------
    Model -> P(right), [N], one for each row of `experiment.outcome`.

    Raises
    ------
    KTError
        For an unknown model, too few learners, or when a training fails.
    """
    for model in models:
        check_model(model)
        _check_clock(experiment, model, config)
    practice, first = experiment.practice, dataclasses.replace(config.data, fold=0)
    folds = whole_number("--folds", folds, 3, practice.table["user"].nunique())
    group = groups(practice, folds, config.train.seed)
    predicted = {model: np.full(len(experiment.outcome), np.nan) for model in models}
    for fold in range(folds):
        splits = make_splits(divided(practice, group, fold, folds), first, config.parts)
        here = group[experiment.outcome["learner"]].to_numpy() == fold
        for model in models:
            told(f"fold {fold + 1} of {folds}: {model}")
            predict, reach = _fitted(model, splits, config)
            asked = practice.table, experiment.outcome[here], splits.vocabulary
            predicted[model][here] = answers(predict, *asked, reach, practice.note.day)
    return predicted


def _check_clock(experiment: Experiment, model: str, config: RunConfig) -> None:
    by_day = model in CLOCKS and config.model.times and experiment.practice.note.day
    if by_day and "timestamp" not in experiment.outcome:
        raise KTError(
            f"{experiment.name}: the practice has times and the post-test has none, so that "
            f"{model!r} cannot say what was forgotten in between; train it by steps: "
            "--set model.times=false"
        )


class _Silent(L.Callback):
    shows_training = True  # in place of a line per epoch


def _fitted(
    model: str, splits: Splits, config: RunConfig
) -> tuple[Callable[[Sequences], np.ndarray], int]:
    """A function from sequences to the predicted P(right) of each step, and the most steps of a
    history that the model reads as one."""
    everything, chunk = np.iinfo(np.int64).max, config.data.chunk
    if model not in OURS:
        tracer = baselines()[model]()
        tracer.fit(splits, config.train.seed)
        whole = getattr(tracer, "whole", False)
        return lambda sequences: tracer.trace(sequences).predicted, everything if whole else chunk
    config = with_overrides(config, OURS[model])  # with the weights of its own losses
    with tempfile.TemporaryDirectory() as folder:
        run: Run = train(config, splits, Path(folder) / "run", [_Silent()])

    def predict(sequences: Sequences) -> np.ndarray:
        return evaluate(run.model, sequences, flips=False).frame["predicted"].to_numpy()

    return predict, everything if run.model.whole_histories else chunk


def answers(
    predict: Callable[[Sequences], np.ndarray],
    table: pd.DataFrame,
    outcome: pd.DataFrame,
    vocabulary: Vocabulary,
    reach: int,
    day: float = 0.0,
) -> np.ndarray:
    """Predicted P(right) of each answer of a post-test, [N], from the learner's practice alone.

    Each is asked as one more step after the practice. Without skills, all skills are asked, and the
    mean is the prediction.

    Parameters
    ----------
    predict : from sequences to the predictions of all steps.
    table : the practice, canonical.
    reach : steps that the model reads as one history, with the question; earlier ones are left out.
    day : units of `timestamp` in a day; 0 where there are no times.
    """
    asked, each = outcome, 1
    if "skill" not in outcome:
        each = len(vocabulary.skills)
        kept = [name for name in ("learner", "timestamp") if name in outcome]
        asked = outcome.loc[outcome.index.repeat(each), kept]
        asked = asked.assign(skill=np.tile(vocabulary.skills, len(outcome)))
    found = []
    for part in _pieces(asked, table, reach):
        sequences = with_question(table, part, vocabulary, reach, day)
        last = sequences.starts + sequences.lengths - 1
        found.append(np.asarray(predict(sequences), float)[last])
    return np.concatenate(found).reshape(-1, each).mean(axis=1)


def _pieces(asked: pd.DataFrame, table: pd.DataFrame, reach: int) -> Iterator[pd.DataFrame]:
    longest = min(int(table["user"].value_counts().max()) + 1, reach)
    size = max(1, STEPS // longest)
    return (asked.iloc[at : at + size] for at in range(0, len(asked), size))


def with_question(
    table: pd.DataFrame,
    asked: pd.DataFrame,
    vocabulary: Vocabulary,
    reach: int,
    day: float = 0.0,
) -> Sequences:
    """One sequence per row of `asked`: the practice of its `learner`, and the question at the end,
    at its time, where both have times and `day` says in which unit.

    The response to the question is 0 in each: a prediction must not depend on it.
    """
    begins = np.flatnonzero(table["user"].ne(table["user"].shift()))
    own = pd.Index(table["user"].iloc[begins]).get_indexer(asked["learner"])
    ends = np.append(begins[1:], len(table))[own]
    length = np.minimum(ends - begins[own], reach - 1)
    rows, starts = rows_of(ends - length, length), np.cumsum(length + 1) - (length + 1)
    question = starts + length

    def column(before: np.ndarray, last: np.ndarray | int, kind: type = np.int64) -> np.ndarray:
        values = np.empty(len(rows) + len(asked), kind)
        values[question] = last
        values[np.delete(np.arange(len(values)), question)] = before[rows]
        return values

    number = np.arange(len(asked))
    timed = bool(day) and all("timestamp" in part for part in (table, asked))
    times = [part["timestamp"].to_numpy(float) / day for part in (table, asked) if timed]
    return Sequences(
        skill=column(vocabulary.ids(table["skill"]), vocabulary.ids(asked["skill"])),
        item=column(vocabulary.item_ids(table), vocabulary.item_ids(asked)),
        response=column(table["correct"].to_numpy(), 0),
        starts=starts,
        lengths=length + 1,
        learner=number,
        chunk=np.zeros(len(asked), np.int64),
        learners=number,
        truth={},
        time=column(*times, float) if timed else None,
        dated=timed,
    )


def compare(
    experiment: Experiment, predicted: dict[str, np.ndarray], resamples: int = 1000, seed: int = 0
) -> pd.DataFrame:
    """Observed and predicted shares and effects.

    Returns
    -------
    One row per model and quantity. `kind` is cell or effect; `condition`, `level` and, of an
    effect, `against` say what; `on` says for which answers: all, practised or unpractised skills,
    or net, the effect on practised minus that on unpractised ones. `observed`, `predicted` and
    `difference` (predicted minus observed, paired) have `_low` and `_high` over learners; `inside`
    says whether the predicted effect is in the observed one's interval. `answers`, `learners`.
    """
    outcome = experiment.outcome
    learner, learners = pd.factorize(outcome["learner"])
    bootstrap = Bootstrap(len(learners), resamples, seed)
    observed = outcome["correct"].to_numpy(float)
    rows = []
    for what, terms in (*_cells(experiment), *_effects(experiment)):
        seen = contrast(bootstrap, observed, learner, terms)
        for model, values in predicted.items():
            told = contrast(bootstrap, values, learner, terms)
            apart = contrast(bootstrap, values - observed, learner, terms)
            inside = bool(seen.low <= told.value <= seen.high)
            row = {"model": model, **what, **_ends("observed", seen), **_ends("predicted", told)}
            row |= _ends("difference", apart) | {"inside": inside}
            rows.append(row | {"answers": seen.entries, "learners": seen.learners})
    return pd.DataFrame(rows)


def _ends(name: str, estimate: Estimate) -> dict[str, float]:
    return {name: estimate.value, f"{name}_low": estimate.low, f"{name}_high": estimate.high}


def _cells(experiment: Experiment) -> Iterator[tuple[dict[str, str], Terms]]:
    """The share right at each level of each condition, and at each combination of levels."""
    outcome, conditions = experiment.outcome, experiment.conditions
    names = list(conditions)
    several = [tuple(names)] if len(names) > 1 else []
    for chosen in (*((name,) for name in names), *several):
        for levels in itertools.product(*(conditions[name] for name in chosen)):
            mask = np.logical_and.reduce(
                [(outcome[n] == v).to_numpy() for n, v in zip(chosen, levels, strict=True)]
            )
            what = {"kind": "cell", "condition": " x ".join(chosen), "level": " x ".join(levels)}
            if mask.any():
                yield what | {"against": "", "on": "all"}, [(1.0, mask)]


def _effects(experiment: Experiment) -> Iterator[tuple[dict[str, str], Terms]]:
    """Each level against the first, for those answers that both levels have."""
    outcome = experiment.outcome
    parts = {"all": np.ones(len(outcome), bool)}
    if experiment.by_skill:
        parts["practised"] = outcome["practised"].to_numpy(bool)
        parts["unpractised"] = ~parts["practised"]
    for name, (first, *others) in experiment.conditions.items():
        for level in others:
            at = [(outcome[name] == value).to_numpy() for value in (level, first)]
            terms = {
                part: [(1.0, at[0] & mask), (-1.0, at[1] & mask)]
                for part, mask in parts.items()
                if (at[0] & mask).any() and (at[1] & mask).any()
            }
            if len(terms) == len(WHERE) - 1:
                minus = [(-sign, mask) for sign, mask in terms["unpractised"]]
                terms["net"] = [*terms["practised"], *minus]
            elif len(terms) == 2:  # all of them are in one part
                terms = {"all": terms["all"]}
            what = {"kind": "effect", "condition": name, "level": level, "against": first}
            for part, signs in terms.items():
                yield what | {"on": part}, signs


def effects_text(table: pd.DataFrame) -> str:
    """The effects as lines of text, one block per model."""
    lines = []
    effects = table[table["kind"] == "effect"]
    for model, part in effects.groupby("model", sort=False):
        text = pd.DataFrame(
            {
                "effect": [
                    f"{r['condition']}: {r['level']} against {r['against']}, {r['on']}"
                    for r in part.to_dict("records")
                ],
                **{name: _numbers(part, name) for name in QUANTITIES},
                "predicted is": np.where(part["inside"], "inside", "outside"),
            }
        )
        lines += ["", model, text.to_string(index=False)]
    return "\n".join(lines)


def notes(experiment: Experiment, models: list[str]) -> list[str]:
    """What has to be known to read the table."""
    found = [
        "Intervals: 95 % over learners, with the models as they were fitted. Difference: predicted "
        "minus observed, paired. Inside: the predicted effect is in the observed one's interval.",
    ]
    if not set(models) & set(CLOCKS):
        found.append(NO_CLOCK)
    if experiment.by_skill:
        found.append(
            "Net: the effect on practised skills minus that on skills that the learner had not "
            "practised."
        )
    found.append(
        "An effect whose observed interval includes 0 does not separate a model that has it from "
        "one that does not."
    )
    return found


def _numbers(part: pd.DataFrame, name: str) -> list[str]:
    columns = (part[n] for n in (name, f"{name}_low", f"{name}_high"))
    return [estimate(*ends, sign="+") for ends in zip(*columns, strict=True)]


def write_experiment(
    experiment: Experiment,
    predicted: dict[str, np.ndarray],
    table: pd.DataFrame,
    config: RunConfig,
    folds: int,
    folder: Path,
) -> None:
    """Write `experiment.json`, `experiment.csv`, `predictions.csv` and the figure into a folder."""
    origin = provenance(config, experiment.practice)
    content = {
        "experiment": experiment.name,
        "conditions": experiment.conditions,
        "remarks": experiment.remarks,
        "notes": notes(experiment, list(predicted)),
        "folds": folds,
        "config": config.to_dict(),
        "provenance": origin,
        "table": table.to_dict("records"),
    }
    write_json(folder / "experiment.json", plain(content))
    write_table(table, folder / "experiment.csv")
    rows = experiment.outcome.rename(columns={"correct": "observed"})
    write_table(rows.assign(**predicted), folder / "predictions.csv")
    use_style()
    save(draw_experiment(table, experiment.conditions), folder / "figures", "experiment")
