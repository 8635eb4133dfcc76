"""Interactive twins of figures: the same tidy frames as pages that answer to the mouse.

A page holds its data and the drawing library (Vega), and so needs no network. Charts show
values on hover, are filtered by a menu, a search or the legend, and can be zoomed and moved.
"""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jinja2
import pandas as pd
from markupsafe import Markup

from kt_core.base.files import make_folder, plain, write_text
from kt_core.plots.style import BLUE, GREY, MODELS, SKILLS, WRONG
from kt_core.plots.worlds import CEILING, PANELS

if TYPE_CHECKING:
    from altair import Chart

MANY = (  # the 20 of Tableau, for more skills than our own colours
    *("#4c78a8", "#9ecae9", "#f58518", "#ffbf79", "#54a24b", "#88d27a", "#b79a20", "#f2cf5b"),
    *("#439894", "#83bcb6", "#e45756", "#ff9d98", "#79706e", "#bab0ac", "#d67195", "#fcbfd2"),
    *("#b279a2", "#d6a5c9", "#9e765f", "#d8b5a5"),
)
WIDE, TALL = 760, 340  # pixels
NEAR = {"zero": False, "padding": 8, "nice": False}  # a scale that ends where the data does
BARE = {"source": False, "compiled": False, "editor": False, "export": {"svg": True, "png": True}}
MOVES = "Scroll to zoom, drag to move, double-click to see all again."


def trajectories(table: pd.DataFrame) -> Chart:
    """Mastery of one learner at a time, chosen in a menu; a skill is picked out in the legend.

    Parameters
    ----------
    table : result of `kt_core.learners.curves.trajectories`, or of another tool's estimates, which
        have no `then` and `gain`. Rows without an answer belong to the line, and have no mark.
    """
    alt = _altair()
    share = alt.Scale(domain=[min(0, table["mastery"].min()), max(1, table["mastery"].max())])
    names = list(dict.fromkeys(table["learner"]))
    menu = alt.binding_select(options=names, name="Learner ")
    learner = alt.selection_point(fields=["learner"], bind=menu, value=names[0])
    skill = alt.selection_point(fields=["skill"], bind="legend")
    strong = alt.condition(skill, alt.value(1.0), alt.value(0.12))
    base = (
        alt.Chart(_data(table))
        .transform_filter(learner)
        .encode(
            x=alt.X("step:Q", title="step", scale=alt.Scale(zero=False, nice=False, padding=8)),
            y=alt.Y("mastery:Q", title="mastery", scale=share),
            color=_colors(alt, "skill", _looks(table["skill"])),
            opacity=strong,
        )
    )
    hover = [_tip(alt, n, n) for n in ("learner", "skill", "answer")]
    hover += [_tip(alt, "step:Q", "step", "d"), _tip(alt, "mastery:Q", "mastery", ".2f")]
    more = (("then", "as believed then", ".2f"), ("gain", "gain", ".3f"))
    hover += [_tip(alt, f"{n}:Q", title, form) for n, title, form in more if n in table]
    lines = base.mark_line(strokeWidth=1.6)
    right = base.transform_filter("datum.answer == 'right'").mark_point(filled=True, size=60)
    wrong = base.transform_filter("datum.answer == 'wrong'").mark_point(fill="white", size=45)
    marks = right.encode(tooltip=hover) + wrong.encode(tooltip=hover)
    chart = (lines + marks).properties(width=WIDE, height=TALL)
    return chart.add_params(learner, skill, alt.selection_interval(bind="scales"))


def skills(growth: pd.DataFrame, curves: pd.DataFrame) -> Chart:
    """Growth by skill, found by a search; a click on a skill shows its learning curve.

    Parameters
    ----------
    growth : result of `kt_core.learners.cohort.skill_growth`.
    curves : result of `kt_core.learners.curves.skill_curves`, of the same skills.
    """
    alt = _altair()
    search = alt.param(name="part", value="", bind=alt.binding(input="search", name="Find skill "))
    picked = alt.selection_point(
        fields=["skill"], on="click", empty=False, value=growth["skill"][0]
    )
    order = alt.EncodingSortField("growth", order="descending")
    y = alt.Y("skill:N", sort=order, title=None)
    dim = alt.condition(picked, alt.value(1.0), alt.value(0.45))
    base = alt.Chart(_data(growth)).transform_filter(
        "indexof(lower(datum.skill), lower(part)) >= 0"
    )
    hover = [_tip(alt, "skill:N", "skill"), _tip(alt, "growth:Q", "growth", ".3f")]
    hover += [_tip(alt, "low:Q", "95 % from", ".3f"), _tip(alt, "high:Q", "95 % to", ".3f")]
    hover += [_tip(alt, "learners:Q", "learners", ",d"), _tip(alt, "stuck:Q", "stuck", ".0%")]
    x = alt.X("growth:Q", title="growth of mastery, first to last answer")
    left = base.mark_rule(color=BLUE, strokeWidth=2).encode(
        x="low:Q", x2="high:Q", y=y, opacity=dim
    )
    left += base.mark_point(color=BLUE, filled=True, size=80).encode(
        x=x, y=y, opacity=dim, tooltip=hover
    )
    zoom = alt.selection_interval(bind="scales", encodings=["x"])
    left = left.properties(width=360, height=alt.Step(17)).add_params(search, picked, zoom)
    return alt.hconcat(left, _curve(alt, curves, picked)).resolve_scale(y="independent")


def _curve(alt: Any, curves: pd.DataFrame, picked: Any) -> Chart:
    """The learning curve of the skill that is picked."""
    x = alt.X("opportunity:Q", title="opportunity", axis=alt.Axis(tickMinStep=1))
    share = alt.Scale(domain=[0, 1])
    base = alt.Chart(_data(curves)).transform_filter(picked).encode(x=x)
    hover = [_tip(alt, "skill:N", "skill"), _tip(alt, "observed:Q", "observed", ".2f")]
    hover += [_tip(alt, "predicted:Q", "fitted by the model", ".2f")]
    hover += [
        _tip(alt, "mastery:Q", "mastery before", ".2f"),
        _tip(alt, "answers:Q", "answers", ",d"),
    ]
    y = alt.Y("observed:Q", title="share right", scale=share)
    band = base.mark_area(color=GREY, opacity=0.25).encode(
        y=alt.Y("low:Q", scale=share), y2="high:Q"
    )
    fitted = base.mark_line(color=BLUE).encode(y=alt.Y("predicted:Q", scale=share))
    dots = base.mark_point(color="black", filled=True, size=60).encode(y=y, tooltip=hover)
    name = base.transform_filter("datum.opportunity < 3").transform_aggregate(groupby=["skill"])
    title = name.mark_text(align="left", fontWeight="bold", fontSize=13).encode(
        text="skill:N", x=alt.value(8), y=alt.value(12)
    )
    return (band + fitted + dots + title).properties(width=320, height=TALL)


def benchmark(table: pd.DataFrame) -> Chart:
    """AUC against prospective validity on one data set at a time; models are picked in the legend.

    Parameters
    ----------
    table : columns `dataset`, and those of `kt_core.plots.plot_benchmark`.
    """
    alt = _altair()
    names = list(dict.fromkeys(table["dataset"]))
    menu = alt.binding_select(options=names, name="Data set ")
    dataset = alt.selection_point(fields=["dataset"], bind=menu, value=names[0])
    model = alt.selection_point(fields=["model"], bind="legend")
    looks = {name: MODELS.get(name, GREY) for name in dict.fromkeys(table["model"])}
    near = alt.Scale(zero=False, padding=16)
    base = (
        alt.Chart(_data(table))
        .transform_filter(dataset)
        .encode(
            color=_colors(alt, "model", looks),
            opacity=alt.condition(model, alt.value(1.0), alt.value(0.1)),
        )
    )
    few = alt.Axis(tickCount=8)
    x = alt.X("validity:Q", title="prospective validity of mastery (r, pre)", scale=near, axis=few)
    y = alt.Y("auc:Q", title="AUC (pre)", scale=near, axis=few)
    hover = [_tip(alt, "model:N", "model")]
    for name, title in (("auc", "AUC"), ("validity", "prospective validity")):
        hover += [_tip(alt, f"{name}:Q", title, ".4f")]
        hover += [_tip(alt, f"{name}_{end}:Q", f"95 %, {end}", ".4f") for end in ("low", "high")]
    low = alt.X("validity_low:Q", scale=near, axis=few), alt.Y("auc_low:Q", scale=near, axis=few)
    across = base.mark_rule().encode(x=low[0], x2="validity_high:Q", y=y)
    up = base.mark_rule().encode(y=low[1], y2="auc_high:Q", x=x)
    dots = base.mark_point(filled=True, size=90).encode(x=x, y=y, tooltip=hover)
    chart = (across + up + dots).properties(width=WIDE, height=1.2 * TALL)
    return chart.add_params(dataset, model, alt.selection_interval(bind="scales"))


def comparison(table: pd.DataFrame) -> Chart:
    """Differences between two runs, of one kind at a time, against how many answers they rest on.

    Parameters
    ----------
    table : columns `kind` (skills, learners, ...), `name`, `answers`, `first`, `second`,
        `difference` (second minus first).
    """
    alt = _altair()
    names = list(dict.fromkeys(table["kind"]))
    menu = alt.binding_select(options=names, name="Show ")
    kind = alt.selection_point(fields=["kind"], bind=menu, value=names[0])
    search = alt.param(name="part", value="", bind=alt.binding(input="search", name="Find "))
    hover = [_tip(alt, "name:N", "name"), _tip(alt, "answers:Q", "answers", ",d")]
    hover += [_tip(alt, f"{n}:Q", n, ".4f") for n in ("first", "second", "difference")]
    found = "indexof(lower(datum.name), lower(part)) >= 0"
    base = alt.Chart(_data(table)).transform_filter(kind).transform_filter(found)
    sides = alt.condition("datum.difference < 0", alt.value(BLUE), alt.value(WRONG))
    dots = base.mark_point(filled=True, size=70, opacity=0.7).encode(
        x=alt.X("answers:Q", title="answers", scale=alt.Scale(type="log", padding=12, nice=False)),
        y=alt.Y("difference:Q", title="log loss, second run minus first"),
        color=sides,
        tooltip=hover,
    )
    dots = dots.add_params(kind, search, alt.selection_interval(bind="scales"))
    zero = alt.Chart(alt.InlineData(values=[{"zero": 0}])).mark_rule(color=GREY).encode(y="zero:Q")
    return (zero + dots).properties(width=WIDE, height=TALL)


def training(table: pd.DataFrame) -> Chart:
    """Curves of a training, a panel for each group; a curve is picked out in its legend.

    Parameters
    ----------
    table : result of `kt_core.plots.training_curves`.
    """
    alt = _altair()
    panels = []
    for number, (group, part) in enumerate(table.groupby("group", sort=False)):
        curve = alt.selection_point(f"curve{number}", fields=["curve"], bind="legend")
        zoom = alt.selection_interval(f"zoom{number}", bind="scales")
        over = part["over"].iloc[0]
        hover = [_tip(alt, "curve:N", "curve"), _tip(alt, "at:Q", over, ",d")]
        hover += [_tip(alt, "value:Q", "value", ".4f")]
        lines = (
            alt.Chart(_data(part), title=group)
            .mark_line(strokeWidth=1.6, point=alt.OverlayMarkDef(size=22))
            .encode(
                x=alt.X("at:Q", title=over, axis=alt.Axis(tickMinStep=1), scale=NEAR),
                y=alt.Y("value:Q", title=None, scale=NEAR),
                color=_colors(alt, "curve", _looks(part["curve"])),
                opacity=alt.condition(curve, alt.value(1.0), alt.value(0.12)),
                tooltip=hover,
            )
            .properties(width=0.75 * WIDE, height=0.45 * TALL)
        )
        panels.append(lines.add_params(curve, zoom))
    return alt.vconcat(*panels).resolve_scale(color="independent")


def worlds(points: pd.DataFrame) -> Chart:
    """Models judged in worlds, a row for each world; a model is picked out in the legend.

    Parameters
    ----------
    points : as of `kt_core.plots.plot_worlds`.
    """
    alt = _altair()
    picked = alt.selection_point(fields=["model"], bind="legend")
    looks = {name: MODELS.get(name, GREY) for name in dict.fromkeys(points["model"])}
    looks = {name: "black" if name == CEILING else color for name, color in looks.items()}
    rows = alt.Scale(domain=list(dict.fromkeys(points["world"])))
    above = alt.Legend(title=None, orient="top", columns=8)
    sides = []
    for name, title in PANELS.items():
        hover = [_tip(alt, "world:N", "world"), _tip(alt, "model:N", "model")]
        hover += [_tip(alt, f"{name}:Q", title, ".3f")]
        hover += [_tip(alt, f"{name}_{end}:Q", f"95 %, {end}", ".3f") for end in ("low", "high")]
        base = alt.Chart(_data(points[points[name].notna()])).encode(
            y=alt.Y("world:N", scale=rows, title=None, axis=alt.Axis(labels=not sides)),
            yOffset=alt.YOffset("model:N", scale=alt.Scale(domain=list(looks))),
            color=_colors(alt, "model", looks).legend(above),
            opacity=alt.condition(picked, alt.value(1.0), alt.value(0.1)),
        )
        ends = alt.X(f"{name}_low:Q", title=title, scale=NEAR)
        rules = base.mark_rule().encode(x=ends, x2=f"{name}_high:Q")
        dots = base.mark_point(filled=True, size=45).encode(x=f"{name}:Q", tooltip=hover)
        zoom = alt.selection_interval(f"zoom_{name}", bind="scales", encodings=["x"])
        side = (rules + dots).properties(width=0.5 * WIDE, height=alt.Step(9, **{"for": "offset"}))
        sides.append(side.add_params(zoom))
    sides[0] = sides[0].add_params(picked)
    return alt.hconcat(*sides)


def save_page(chart: Chart, folder: str | Path, name: str, title: str, about: str) -> Path:
    """Write a chart as `name`.html: one file with its data and the drawing library inside."""
    spec = json.dumps(plain(chart.to_dict()), ensure_ascii=False)
    for letter in "<\u2028\u2029":  # which could end the script, or a line of it
        spec = spec.replace(letter, f"\\u{ord(letter):04x}")
    pages = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"), autoescape=True
    )
    ours = {"library": _library(), "spec": spec, "bare": json.dumps(BARE)}
    text = pages.get_template("interactive.html.j2").render(
        title=title, about=f"{about} {MOVES}", **{k: Markup(v) for k, v in ours.items()}
    )
    path = make_folder(folder) / f"{name}.html"
    write_text(path, text)
    return path


def _altair() -> Any:
    import altair  # takes a second to load

    return altair


@functools.cache
def _library() -> str:
    """Vega, Vega-Lite and Vega-Embed, in the versions that belong to altair."""
    import vl_convert

    version = ".".join(_altair().SCHEMA_VERSION.lstrip("v").split(".")[:2])
    return vl_convert.javascript_bundle(vl_version=version).replace("</script", "<\\/script")


def _data(table: pd.DataFrame) -> Any:
    """The rows of a table inside a chart; what is not defined is null."""
    return _altair().InlineData(values=plain(table.to_dict("records")))


def _looks(names: pd.Series) -> dict[str, str]:
    order = list(dict.fromkeys(names))
    colors = SKILLS if len(order) <= len(SKILLS) else MANY
    return {name: colors[i % len(colors)] for i, name in enumerate(order)}


def _colors(alt: Any, field: str, looks: dict[str, str]) -> Any:
    scale = alt.Scale(domain=list(looks), range=list(looks.values()))
    return alt.Color(f"{field}:N", scale=scale, legend=alt.Legend(title=field, symbolLimit=60))


def _tip(alt: Any, field: str, title: str, form: str = "") -> Any:
    field = field if ":" in field else f"{field}:N"
    return alt.Tooltip(field, title=title, **({"format": form} if form else {}))
