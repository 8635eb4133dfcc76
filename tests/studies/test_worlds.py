"""The page of worlds: cells run and read back, gates and warnings on numbers that are known."""

import numpy as np
import pandas as pd
import pytest

from kt_core.base.errors import KTError
from kt_core.cli.commands import main
from kt_core.evaluation.recovery import BINS, PRACTICES
from kt_core.evaluation.turned import RAISED, growth_raised, turn
from kt_core.metrics.bootstrap import Bootstrap
from kt_core.studies import worlds
from kt_core.studies.worlds import COVERED, GROWTH, RANK, RMSE, SAME, SIZE

GOOD = {
    (RANK, "retrospective"): (0.93, 0.95),
    (RMSE, "retrospective"): (0.08, 0.07),
    (GROWTH, "retrospective"): (0.80, 0.90),
    (SIZE, "retrospective"): (1.02, 1.0),
    (SAME, "retrospective"): (0.5, 0.6),
    ("growth, mean of the truth", "retrospective"): (0.2, 0.2),
    (COVERED, "post"): (0.95, np.nan),
    (RAISED, "intervention"): (0.12, 0.10),
}


def rows_of(values, model="retrospective", world="simulated", seed=0, spread=0.004):
    """Rows of a store: the model's values with draws around them, and the ceiling's."""
    rng, lines = np.random.default_rng(0), []
    for (measure, sees), both in values.items():
        for predictor, value in zip(("model", "ceiling"), both, strict=True):
            draws = np.append(value, value + spread * rng.normal(size=100))
            lines.append((measure, sees, predictor, value, draws))
    lines.append((GROWTH, "retrospective", PRACTICES, 0.5, np.full(101, 0.5)))
    table = pd.DataFrame(lines, columns=["measure", "sees", "predictor", "value", "draws"])
    table = table[table["value"].notna()]
    axes = {"dataset": world, "model": model, "seed": seed, "fold": 0, "variant": ""}
    return table.assign(table="recovery", text="", **axes)


def test_a_good_model_passes_all_gates_and_each_fault_fails_its_own():
    rung = rows_of({(RMSE, "retrospective"): (0.09, 0.07)}, "AFM")
    assert set(worlds.gates(pd.concat([rows_of(GOOD), rung])).values()) == {True}
    faults = {
        "trajectory RMSE against the ladder": {(RMSE, "retrospective"): (0.11, 0.07)},
        "trajectory rank r": {(RANK, "retrospective"): (0.90, 0.95)},
        "coverage": {(COVERED, "post"): (0.90, np.nan)},
        "growth size": {(SIZE, "retrospective"): (0.7, 1.0)},
        "growth rank r": {(GROWTH, "retrospective"): (0.7, 0.9)},
        "first answer turned": {(RAISED, "intervention"): (0.3, 0.1)},
    }
    for name, change in faults.items():
        found = worlds.gates(pd.concat([rows_of(GOOD | change), rung]))
        assert {k: v for k, v in found.items() if not v} == {name: False}
    little = {(GROWTH, "retrospective"): (0.45, 0.5)}  # most of the ceiling, less than the null
    assert worlds.gates(rows_of(GOOD | little))["growth rank r"] is False
    still = {("growth, mean of the truth", "retrospective"): (0.0, 0.0)}
    assert len(worlds.gates(rows_of(GOOD | still))) == 3
    assert worlds.gates(rows_of(GOOD))["trajectory RMSE against the ladder"] is None


def test_a_difference_is_paired_within_draws_and_averaged_over_them():
    a = [
        rows_of({(RMSE, "retrospective"): (v, 0.07)}, "retrospective", seed=s)
        for s, v in enumerate((0.10, 0.12))
    ]
    b = [
        rows_of({(RMSE, "retrospective"): (v, 0.07)}, "AFM", seed=s)
        for s, v in enumerate((0.11, 0.11, 0.5))
    ]
    gap = worlds.difference(pd.concat(a + b), RMSE, "retrospective", "retrospective", "AFM")
    assert gap.value == pytest.approx(0.0)
    assert gap.high - gap.low < 0.01  # the same resamples, and only draws that both have


def test_warnings_are_those_of_the_report():
    said = pd.DataFrame(
        {
            "measure": ["Growth that hidden answers miss", "Exam: r", "AUC on validation learners"],
            "text": ["understated: 39%", "AFM tells as much", "misses"],
            "value": [1.0, 0.0, 1.0],
        }
    )
    axes = {"dataset": "world-errors", "model": "retrospective", "seed": 0, "fold": 0}
    said = said.assign(table="verdicts", variant="", predictor="", sees="", **axes)
    said["draws"] = [np.zeros(0)] * 3
    bad = {(SIZE, "retrospective"): (0.6, 1.0)}
    table = worlds.warning_table(pd.concat([rows_of(GOOD | bad, world="world-errors"), said]))
    assert table["gates missed"].item() == "growth size"
    assert table["the report warns"].item() == "growth: understated: 39% (1 of 1)"


def test_turning_first_answers(smoke):
    s = smoke[1].test
    turned = turn(s)
    first = s.starts[s.chunk == 0]
    assert (turned.response[first] == 1).all()
    rest = np.setdiff1d(np.arange(s.interactions), first)
    assert (turned.response[rest] == s.response[rest]).all()
    frame = pd.DataFrame(
        {
            "learner": [0, 0, 0, 1, 1, 2, 2],
            "skill": [0, 1, 0, 0, 0, 1, 1],
            "chunk": 0,
            "step": [0, 1, 2, 0, 1, 0, 1],
            "correct": [0, 1, 1, 1, 0, 0, 0],
            "m": [0.2, 0.5, 0.6, 0.4, 0.5, 0.3, 0.4],
        }
    )
    after = [0.5, 0.5, 0.7, 0.4, 0.9, 0.3, 0.6]  # growth of 0.4 becomes 0.2, of 0.1 becomes 0.3
    e = growth_raised(frame, after, "m", Bootstrap(3, 30))
    assert e.value == 0.5 and e.learners == 2  # learner 1 began with a right answer


def test_worlds_are_run_and_shown(tmp_path, capsys):
    call = ["worlds", "--world", "world-hidden", "--models", "Rasch", "BKT-correct", "--draws", "1"]
    call += [
        "--preset",
        "smoke",
        "--store",
        str(tmp_path / "store"),
        "--out",
        str(tmp_path / "out"),
    ]
    assert main(call) == 0
    page = (tmp_path / "out" / "worlds.html").read_text(encoding="utf-8")
    assert "BKT-correct" in page and "learnt in one step" in page
    assert (tmp_path / "out" / "figures" / "worlds.png").is_file()
    text = (tmp_path / "out" / "worlds.md").read_text(encoding="utf-8")
    assert "| world-hidden |" in text
    found = worlds.results(tmp_path / "store")
    table = worlds.growth_table(found, "BKT-correct")
    assert "/" in table["rank r: model / ceiling / best rung"].item() and set(BINS) <= set(table)
    assert main([*call, "--print"]) == 0
    assert main(["worlds", "--world", "mine"]) == 2
    assert "world 'mine' does not exist; choose from: simulated" in capsys.readouterr().err
    with pytest.raises(KTError, match="no finished cell; run python -m kt_core worlds"):
        worlds.results(tmp_path / "nothing")
