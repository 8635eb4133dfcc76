"""Decisions: what a model costs a class in lessons, in worlds where the truth is known.

In each world a simulated class practises under every policy (`kt_core.studies.policies`): a
trained model, the psychometric ladder, common rules, and an oracle that knows the true parameters.
A policy that stops too late wastes tasks; one that stops too early passes skills that are not
mastered. All policies meet the same learners and the same luck, so their differences to the oracle
are paired; intervals are over learners, with the models as they were fitted.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from kt_core import plots
from kt_core.base.errors import KTError
from kt_core.base.files import make_folder, plain, write_json, write_table
from kt_core.base.log import log
from kt_core.baselines.bkt import BKT
from kt_core.baselines.factors import AFM, Rasch
from kt_core.data import Splits
from kt_core.data.same import check_named_once
from kt_core.metrics.bootstrap import Bootstrap, Estimate
from kt_core.runs.find import open_run
from kt_core.runs.provenance import git_commit
from kt_core.runs.run import Run
from kt_core.studies.policies import (
    CERTAIN,
    LOWER,
    ORACLE,
    STREAK,
    TEN,
    OraclePolicy,
    RulePolicy,
    RunPolicy,
    TracerPolicy,
)
from kt_core.studies.practising import (
    USUAL,
    Policy,
    Practice,
    Rules,
    SimulatedClass,
    practise,
)

CURVE = (0.1, 0.25, 0.5, 0.75, 0.9)  # P(mastered) from which other oracles pass, for the figure
TASKS, OVER = "tasks per learner", "over-practice, tasks per learner"
EARLY, NEVER = "passed unmastered, share of skills", "never passed, share of skills"
REACHED = "truly mastered at some time, share of skills"
UNTIL = "tasks on a skill until it is truly mastered, where it is"
STANDING = "true mastery of a skill when it is passed, by the line"
SHOWN = {TASKS: "tasks", OVER: "over-practice", EARLY: "unmastered, %", NEVER: "never passed, %"}
MODEL, LADDER, RULE, BEST, OTHER = "model", "ladder", "rule", "oracle", "oracle's curve"


def decide(
    runs: list[str | Path], rules: Rules = USUAL, resamples: int = 1000, seed: int = 0
) -> pd.DataFrame:
    """Let a class of each run's world practise under every policy.

    Parameters
    ----------
    runs : finished runs on simulated learners. Runs of one world and draw share a class and a
        ladder; where two have the same mode, they are called by their folders' names.

    Returns
    -------
    One row per world, draw, policy and measure: `world`, `draw`, `policy`, `kind` (model, ladder,
    rule, oracle, or oracle's curve, which is for the figure), `measure`, `value`, `low`, `high`,
    and `gap`, `gap_low`, `gap_high`, the same minus the oracle's, paired.

    Raises
    ------
    KTError
        If a run is not about simulated learners, two have one name, or runs of one world and draw
        were trained on different learners of it.
    """
    check_named_once([Path(path) for path in runs])
    groups: dict[tuple[str, int], list[tuple[Run, Splits]]] = {}
    for path in runs:
        run, splits = open_run(path)
        data = run.config.data
        if splits.dataset.simulation is None:
            raise KTError(
                f"{path}: its data {splits.dataset.name!r} are not simulated learners, and only "
                "of those the true mastery is known; train a run with --dataset simulated"
            )
        group = groups.setdefault((data.dataset, data.draw), [])
        if group and group[0][0].config.data != data:
            raise KTError(f"{path}: other data settings than {group[0][0].path}, in the same world")
        group.append((run, splits))
    bootstrap, parts = Bootstrap(rules.learners, resamples, seed), []
    for (world, draw), group in groups.items():
        room = SimulatedClass(group[0][1].dataset.simulation, rules)
        found = {}
        for kind, policy in policies(room, [run for run, _ in group], group[0][1]):
            found[kind, policy.name] = practise(room, policy)
            log.info("%s: the class has practised under %s", world, policy.name)
        parts.append(measures(found, bootstrap).assign(world=world, draw=draw))
    table = pd.concat(parts, ignore_index=True)
    return table[["world", "draw", *(c for c in table if c not in ("world", "draw"))]]


def policies(room: SimulatedClass, runs: list[Run], splits: Splits) -> Iterator[tuple[str, Policy]]:
    """Every policy with its kind, the oracle first; the ladder is fitted on training learners."""
    yield BEST, OraclePolicy(ORACLE, room)
    yield BEST, OraclePolicy(ORACLE + LOWER, room, CERTAIN)
    for sure in CURVE:
        yield OTHER, OraclePolicy(f"{ORACLE}, {sure:.0%} sure", room, sure)
    modes = [run.config.model.mode for run in runs]
    for run, mode in zip(runs, modes, strict=True):
        name = mode if modes.count(mode) == 1 else run.name
        yield MODEL, RunPolicy(name, room, run)
        if run.uncertainty is not None:
            yield MODEL, RunPolicy(name + LOWER, room, run, lower=True)
    known = np.full(room.rules.skills, room.rules.mastered)
    for name, tracer, line in (
        ("AFM", AFM(), room.line),
        ("Rasch", Rasch(), room.line),
        ("BKT", BKT(), known),
        ("BKT-correct", BKT(read="correct"), room.line),
    ):
        tracer.fit(splits)
        yield LADDER, TracerPolicy(name, room, splits.vocabulary, tracer, line)
    for name in (TEN, STREAK):
        yield RULE, RulePolicy(name, room)


def measures(found: dict[tuple[str, str], Practice], bootstrap: Bootstrap) -> pd.DataFrame:
    """The rows of `decide` about one world.

    Parameters
    ----------
    found : kind and name of a policy -> what became of the class; the oracle is among them.
    """
    estimates = {who: _estimates(p, bootstrap) for who, p in found.items()}
    best = estimates[BEST, ORACLE]
    rows = []
    for (kind, name), own in estimates.items():
        for measure, e in own.items():
            apart = e.draws - best[measure].draws
            gap = bootstrap.estimate(apart, e.entries, e.learners)
            row = {"policy": name, "kind": kind, "measure": measure}
            row |= {"value": e.value, "low": e.low, "high": e.high}
            rows.append(row | {"gap": gap.value, "gap_low": gap.low, "gap_high": gap.high})
    return pd.DataFrame(rows)


def _estimates(p: Practice, bootstrap: Bootstrap) -> dict[str, Estimate]:
    reached, pairs = np.isfinite(p.reached), np.full(len(p.tasks), p.tasks.shape[1])
    each = np.ones(len(p.tasks))
    share = (0.0, 1.0)
    return {
        TASKS: bootstrap.ratio(p.tasks.sum(1), each),
        OVER: bootstrap.ratio(p.over.sum(1), each),
        EARLY: bootstrap.ratio(p.unmastered.sum(1), pairs, share),
        NEVER: bootstrap.ratio((~p.passed).sum(1), pairs, share),
        REACHED: bootstrap.ratio(reached.sum(1), pairs, share),
        UNTIL: bootstrap.ratio(np.nansum(p.reached, axis=1), reached.sum(1)),
        STANDING: bootstrap.ratio(np.nansum(p.at_passing, axis=1), p.passed.sum(1)),
    }


def text(table: pd.DataFrame) -> str:
    """The main measures, a block per world, each with its interval and minus the oracle."""
    shown, lines = table[table["kind"] != OTHER], []
    for (world, draw), part in shown.groupby(["world", "draw"], sort=False):
        rows = []
        for policy, own in part.groupby("policy", sort=False):
            row = {"policy": policy}
            for measure, name in SHOWN.items():
                r = own[own["measure"] == measure].iloc[0]
                factor = 100 if name.endswith("%") else 1
                value, low, high, *gap = factor * r[
                    ["value", "low", "high", "gap", "gap_low", "gap_high"]
                ].to_numpy(float)
                row[name] = f"{value:.0f} [{low:.0f}, {high:.0f}]"
                apart = "{:+.0f} [{:+.0f}, {:+.0f}]".format(*gap)
                row[f"{name} - oracle"] = "" if policy == ORACLE else apart
            rows.append(row)
        lines += ["", f"{world}, draw {draw}", pd.DataFrame(rows).to_string(index=False)]
    return "\n".join(lines)


def notes(rules: Rules) -> list[str]:
    """What has to be known to read the table."""
    return [
        f"A class of {rules.learners} new learners and {rules.skills} skills. The next task is on "
        f"the weakest open skill, in blocks of {rules.block}. A skill is passed when the policy "
        f"believes that it is mastered, and given up after {rules.most} tasks.",
        f"Mastered: P(right) on an item of average difficulty is at least {rules.mastered:g} of "
        "what can be reached (1 - slip). Beliefs about P(right) are held against the same line, "
        f"P(known) against {rules.mastered:g}.",
        "Over-practice: tasks on a skill that was truly mastered already. Unmastered: passed, "
        "although it was not truly mastered; like never passed, in % of all learners x skills.",
        "Intervals: 95 % over learners, with the models as they were fitted. Minus the oracle: "
        "paired, the same learners, items and luck.",
        "The oracle passes a skill when the posterior mean of its mastery under the true "
        "parameters is at the line. That leaves it unsure: in worlds of levels, many of the skills "
        "that it passes are still a little below. Its lower end is that of the 95 % interval. The "
        "line in the figure joins oracles that are 10 to 98 % sure; it is not a bound.",
    ]


def write(
    table: pd.DataFrame, rules: Rules, folder: str | Path, runs: list[str | Path] = ()
) -> Path:
    """Write `decisions.csv`, `decisions.json` and the figure."""
    folder = make_folder(folder)
    content = {"notes": notes(rules), "rules": dataclasses.asdict(rules), "commit": git_commit()}
    content |= {"runs": [Path(run).name for run in runs], "measures": table.to_dict("records")}
    write_json(folder / "decisions.json", plain(content))
    write_table(table, folder / "decisions.csv")
    plots.use_style()
    plots.save(plots.draw_decisions(points(table)), folder / "figures", "decisions")
    return folder


def points(table: pd.DataFrame) -> pd.DataFrame:
    """For the figure: one row per world, draw and policy with `tasks` and `unmastered`, each with
    `_low` and `_high`, and `kind`."""
    keys, parts = ["world", "draw", "policy", "kind"], []
    for measure, name in ((TASKS, "tasks"), (EARLY, "unmastered")):
        own = table[table["measure"] == measure].set_index(keys)[["value", "low", "high"]]
        parts.append(own.set_axis([name, f"{name}_low", f"{name}_high"], axis=1))
    return parts[0].join(parts[1]).reset_index()
