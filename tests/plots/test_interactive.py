"""Interactive figures: valid charts in pages that hold everything, and run only their own."""

import json
import re

import pandas as pd
import pytest

from kt_core.plots import interactive, training_curves
from kt_core.plots.worlds import CEILING, PANELS

ESTIMATES = ["learner", "step", "skill", "answer", "mastery"]
TRAP = "</script><script>window.hacked=1</script>"


def training():
    """What a training of two epochs leaves behind, and its monitor."""
    history = {"epoch": [0, 1], "valid/auc": [0.6, 0.7], "valid/loss": [0.7, 0.6]}
    history |= {"loss/total": [1.0, 0.9], "loss/bce": [0.7, 0.6]}
    monitor = {"step": [0, 5, 10], "loss": [1.0, 1.0, 0.9]}
    monitor |= {f"monitor/{name}": [0.1, 0.2, 0.3] for name in ("mean/own_gain", "collapse/x")}
    return pd.DataFrame(history), pd.DataFrame(monitor)


@pytest.fixture
def charts():
    steps = {"learner": [TRAP, TRAP, "b"], "step": [1, 2, 1], "skill": ["s", "t", "s"]}
    steps |= {"answer": ["right", "wrong", "right"], "mastery": [0.2, 0.4, 0.5]}
    steps |= {"then": [0.2, 0.3, float("nan")], "gain": [0.1, 0.1, 0.2]}
    growth = {"skill": ["s", "t"], "growth": [0.2, 0.1], "low": [0.1, 0.0], "high": [0.3, 0.2]}
    growth |= {"learners": [5, 6], "stuck": [float("nan"), 0.5], "practised": [2, 10]}
    curve = {"skill": ["s", "s"], "opportunity": [1, 2], "observed": [0.4, 0.6], "low": [0.2, 0.3]}
    curve |= {"high": [0.7, 0.8], "predicted": [0.4, 0.5], "mastery": [0.4, 0.5], "answers": [9, 9]}
    plane = {"dataset": ["d"], "model": ["DKT"]}
    for name in ("auc", "validity"):
        plane |= {name: [0.7], f"{name}_low": [0.6], f"{name}_high": [0.8]}
    parts = {"kind": ["skills"], "name": [TRAP], "answers": [9]}
    parts |= {"first": [0.6], "second": [0.5], "difference": [-0.1]}
    points = {"world": ["w", "v"], "model": [CEILING, "DKT"]}
    for name in PANELS:
        points |= {name: [0.7, float("nan")], f"{name}_low": [0.6] * 2, f"{name}_high": [0.8] * 2}
    return {
        "trajectories": interactive.trajectories(pd.DataFrame(steps)),
        "skills": interactive.skills(pd.DataFrame(growth), pd.DataFrame(curve)),
        "benchmark": interactive.benchmark(pd.DataFrame(plane)),
        "comparison": interactive.comparison(pd.DataFrame(parts)),
        "estimates": interactive.trajectories(pd.DataFrame(steps)[ESTIMATES].assign(mastery=1.5)),
        "training": interactive.training(training_curves(*training())),
        "worlds": interactive.worlds(pd.DataFrame(points)),
    }


def test_pages_hold_data_and_library_and_no_name_ends_the_script(charts, tmp_path):
    for name, chart in charts.items():
        path = interactive.save_page(
            chart, tmp_path, name, f"<b>{name}</b> & {{spec}}", "What to do."
        )
        page = path.read_text(encoding="utf-8")
        assert page.count("<script") == page.count("</script") == 2  # the library and the chart
        assert "&lt;b&gt;" in page and "<b>" not in page.split("<script")[0]
        assert not re.search(r"""(?:src|href)\s*=\s*["']""", page.split("<script")[0])
        assert len(page) < 2_000_000
        spec = json.loads(re.search(r"const spec = (.*);\n", page).group(1))
        assert spec["$schema"].endswith(".json") and "NaN" not in json.dumps(spec)
    assert TRAP in json.dumps(charts["comparison"].to_dict())


def test_charts_are_filtered_and_zoomed(charts):
    text = {name: json.dumps(chart.to_dict()) for name, chart in charts.items()}
    assert '"bind": "legend"' in text["trajectories"] and '"input": "select"' in text["benchmark"]
    assert '"input": "search"' in text["skills"] and '"input": "search"' in text["comparison"]
    assert all('"bind": "scales"' in chart and '"tooltip"' in chart for chart in text.values())


def test_a_training_as_one_table():
    table = training_curves(*training())
    told = {name: list(part["value"]) for name, part in table.groupby("curve")}
    entropy = "binary cross-entropy"
    assert told == {
        "validation AUC": [0.6, 0.7],
        entropy: [0.7, 0.6],
        f"{entropy}, validation": [0.7, 0.6],
        "gain": [0.1, 0.2, 0.3],
    }
    assert set(table.loc[table["over"] == "epoch", "at"]) == {1, 2}
    assert list(table.loc[table["curve"] == "gain", "at"]) == [0, 5, 10]
    assert set(training_curves(training()[0], pd.DataFrame())["over"]) == {"epoch"}


def test_estimates_outside_of_the_unit_interval_are_in_sight(charts):
    text = json.dumps(charts["estimates"].to_dict())
    assert '"domain": [0, 1.5]' in text and "as believed then" not in text
