"""Figures: what they say, and that nothing hides it."""

import itertools

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from kt_core import plots
from kt_core.base.values import counted
from kt_core.plots.style import MODELS, SKILLS, look_of, whole_numbers


def learner(skills, steps=12):
    """One learner who practises these skills in turn."""
    asked = [skills[i % len(skills)] for i in range(steps)]
    rows = [
        {"step": i + 1, "skill": s, "mastery": 0.5, "asked": s == q, "correct": i % 2, "gain": 0.1}
        for i, q in enumerate(asked)
        for s in skills
    ]
    return pd.DataFrame(rows)


def test_a_skill_has_one_colour_in_all_panels():
    first, second = learner(["a", "b"]), learner(["b", "c"])
    looks = look_of(["a", "b", "c"])
    axes = Figure().subplots(1, 2)
    colors = []
    for frame, ax in zip((first, second), axes, strict=True):
        plots.plot_learner(frame, ax, looks=looks)
        colors.append({line.get_label(): line.get_color() for line in ax.lines})
    assert colors[0]["b"] == colors[1]["b"] == looks["b"]["color"]


def test_looks_differ_until_there_are_no_more():
    looks = look_of(str(i) for i in range(3 * len(SKILLS)))
    assert len({tuple(look.values()) for look in looks.values()}) == 3 * len(SKILLS)
    assert len({look["color"] for look in list(looks.values())[: len(SKILLS)]}) == len(SKILLS)


@pytest.mark.parametrize(("skills", "words"), [(3, "1 more skill not"), (4, "2 more skills not")])
def test_what_is_left_out_is_counted_in_words(skills, words):
    ax = plots.plot_learner(learner([f"s{i}" for i in range(skills)]), Figure().subplots(), 2)
    assert words in ax.get_legend().get_title().get_text()
    assert counted("skill", 1) == "1 skill" and counted("skill", 1200) == "1,200 skills"


@pytest.mark.parametrize("last", [2, 5, 12, 66, 160, 5000])
def test_steps_are_counted_from_one(last):
    ax = Figure().subplots()
    whole_numbers(ax, last)
    ticks = [t for t in ax.get_xticks() if ax.get_xlim()[0] <= t <= ax.get_xlim()[1]]
    assert ticks[0] == 1 and all(t == int(t) for t in ticks)
    assert all(b > a for a, b in itertools.pairwise(ticks))


def test_no_model_is_drawn_in_a_colour_that_white_swallows():
    for color in MODELS.values():
        if color != "black":
            red, green, blue = (int(color[i : i + 2], 16) / 255 for i in (1, 3, 5))
            assert 0.2126 * red + 0.7152 * green + 0.0722 * blue < 0.75, color


def test_each_loss_has_a_scale_of_its_own():
    names = {"loss/bce": [0.6, 0.5], "loss/total": [0.7, 0.6], "loss/difficulty": [0.01, 0.02]}
    history = pd.DataFrame({"epoch": [0, 1], "valid/loss": [0.6, 0.55]} | names)
    figure = Figure(layout="constrained")
    plots.plot_losses(history, figure.subplots())
    panels = figure.axes[1:]
    text = [a.get_text() for ax in panels for a in ax.texts]
    assert text == ["binary cross-entropy (dotted: validation)", "size of difficulties"]
    assert panels[1].get_ylim()[1] < 0.1 < panels[0].get_ylim()[0]


def test_no_line_goes_through_the_values_of_an_explanation():
    parts = pd.DataFrame(
        {
            "part": ["skill", "ability", "start on the skill", "gain", "item difficulty"],
            "step": [0, 0, 0, 1, 0],
            "correct": [np.nan, np.nan, np.nan, 1, np.nan],
            "logit": [-0.43, -0.4, -0.04, 0.99, 0.18],
        }
    )
    parts.attrs = {"logit": 0.3, "probability": 0.57, "learner": "x", "step": 3, "asked": "s"}
    parts.attrs["answer"] = 1
    ax = plots.plot_waterfall(parts, Figure().subplots())
    below = {t.get_text(): t.get_va() == "top" for t in ax.texts}
    assert below["-0.43"] and below["-0.04"] and not below["+0.99"] and not below["+0.30"]
    assert all(text.get_bbox_patch() is not None for text in ax.texts)
    crossing = [line for line in ax.lines if line.get_color() == "#7F7F7F"]
    assert all(line.get_xdata()[1] - line.get_xdata()[0] < 0.5 for line in crossing)


def test_the_values_of_a_comparison_stand_above_the_intervals():
    row = {"run": "a", "mode": "projection", "constraint": "monotonicity"}
    table = pd.DataFrame([row | {"share": 0.4, "low": 0.3, "high": 0.5}])
    ax = plots.plot_comparison(table, Figure().subplots())
    assert ax.texts[0].xy[1] == pytest.approx(50) and ax.get_ylim()[0] == 0


def test_a_sweep_has_a_column_for_each_setting():
    table = pd.DataFrame({"mode": ["a", "a", "b"], "seed": [0, 1, 0], "AUC": [0.7, 0.8, 0.6]})
    axes = plots.plot_sweep(
        table, ["mode", "seed"], ["AUC"], Figure().subplots(1, 2, squeeze=False)
    )
    left, right = axes[0]
    assert [t.get_text() for t in left.get_xticklabels()] == ["a", "b"]
    assert (left.get_ylabel(), right.get_ylabel()) == ("AUC", "")
    assert (left.get_xlabel(), right.get_xlabel()) == ("mode", "seed")
