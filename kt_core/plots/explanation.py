"""Figures that explain one prediction and show how beliefs are revised."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from kt_core.base.errors import KTError, brief
from kt_core.base.values import names_of
from kt_core.plots.style import (
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    PURPLE,
    RED,
    as_text,
    look_of,
    whole_numbers,
)
from kt_core.plots.trajectories import practised


def plot_waterfall(parts: pd.DataFrame, ax: Axes, most: int = 4) -> Axes:
    """Draw the parts of a predicted logit: skill, ability and start on the skill, each gain, what
    was forgotten, what the network adds to mastery and to this answer alone (form), the item's
    difficulty, and what it is worth to have met the item before.

    Parameters
    ----------
    parts : result of `kt_core.learners.explain.explain`.
    most : number of latest gains drawn one by one; all earlier gains are drawn as one bar.
    """
    bars = _bars(parts, most)
    ends = bars["logit"].cumsum()
    colors = {"gain": GREEN, "transferred gain": GREEN}
    colors |= dict.fromkeys(("item difficulty", "item met before"), RED)
    colors |= {"forgotten": ORANGE}
    colors |= dict.fromkeys(("network", "form"), PURPLE)
    for i, (bar, end) in enumerate(zip(bars.to_dict("records"), ends, strict=True)):
        color = colors.get(bar["part"], GREY)
        ax.bar(i, bar["logit"], bottom=end - bar["logit"], color=color, width=0.7)
        _value(bar["logit"], i, end, ax)
    total = parts.attrs["logit"]
    ax.bar(len(bars), total, color=BLUE, width=0.7)
    _value(total, len(bars), total, ax)
    ax.axhline(0, color="black", linewidth=0.6, zorder=0)
    ax.set_xticks(range(len(bars) + 1), [*bars["label"], "prediction"], fontsize=6.5)
    a = parts.attrs
    answer = "right" if a["answer"] else "wrong"
    ax.set_title(
        f"Learner {as_text(a['learner'])}, step {a['step']}\n"
        f"{as_text(a['asked'])}: P(right) = {a['probability']:.2f}, answered {answer}",
        fontsize=8,
    )
    for i, end in enumerate(ends):  # each part begins where the previous one ended
        ax.plot([i + 0.35, i + 0.65], [end, end], color=GREY, linewidth=0.6, zorder=0)
    reach = [0.0, total, *ends]
    room = 0.18 * (max(reach) - min(reach))
    ax.set_ylim(min(reach) - (room if min(reach) < 0 else 0), max(reach) + room)
    ax.set_ylabel("logit")
    return ax


def _value(logit: float, place: int, end: float, ax: Axes) -> None:
    """A bar's value, where the bar ends: above it, or below one that goes down."""
    up = logit >= 0
    text = {"ha": "center", "va": "bottom" if up else "top", "fontsize": 6.5}
    text["bbox"] = {"fc": "white", "ec": "none", "pad": 0.4}  # no line strikes it through
    ax.annotate(
        f"{logit:+.2f}", (place, end), (0, 2 if up else -2), textcoords="offset points", **text
    )


def _bars(parts: pd.DataFrame, most: int) -> pd.DataFrame:
    gains = parts[parts["part"].str.contains("gain")]
    early, late = gains.iloc[: max(len(gains) - most, 0)], gains.iloc[max(len(gains) - most, 0) :]
    labels = {"skill": "skill", "ability": "ability", "start on the skill": "start on\nthe skill"}
    rows = _rows(parts, labels)
    if len(early):
        label = f"{len(early)} earlier\n{'gains' if len(early) > 1 else 'gain'}"
        rows.append(("gain", label, early["logit"].sum()))
    for gain in late.to_dict("records"):
        mark = "right" if gain["correct"] == 1 else "wrong"
        rows.append((gain["part"], f"step {gain['step']}\n({mark})", gain["logit"]))
    rows += _rows(parts, {"forgotten": "forgotten", "network": "network"})
    of_item = {"item difficulty": "item", "item met before": "met\nbefore"}
    rows += _rows(parts, {"form": "form"} | of_item)
    return pd.DataFrame(rows, columns=["part", "label", "logit"])


def _rows(parts: pd.DataFrame, labels: dict[str, str]) -> list[tuple[str, str, float]]:
    sums = parts.groupby("part")["logit"].sum()
    return [(part, label, sums[part]) for part, label in labels.items() if part in sums]


def plot_revision(
    learner: pd.DataFrame,
    ax: Axes,
    most: int = 3,
    skills: Sequence[str] = (),
    looks: dict[str, dict[str, str]] | None = None,
) -> Axes:
    """Draw filtered mastery (dashed: as believed at each step) and the trajectory (thick: as
    believed at the horizon), with a 95 % interval at the horizon.

    Parameters
    ----------
    learner : result of `kt_core.learners.cohort.learner_frame`.
    most : number of skills drawn, the most practised first.
    skills : draw these skills instead.
    looks : as in `plot_learner`.
    """
    known = practised(learner)
    order = names_of("skills", skills) or known[:most]
    for skill in order:
        if skill not in known:
            raise KTError(
                f"skill {brief(skill)}: this learner practised {brief(known)}; choose from them"
            )
    looks = look_of(order) | (looks or {})
    horizon = int(learner.loc[learner["mastery"].notna(), "step"].max())
    for number, skill in enumerate(order):
        color = looks[skill]["color"]
        line = learner[learner["skill"] == skill]
        past = line[line["step"] <= horizon]
        ax.plot(line["step"], line["mastery"], color=color, linewidth=2, label=as_text(skill))
        ax.plot(past["step"], past["filtered"], color=color, linewidth=0.8, linestyle="--")
        for part, strength in ((past, 1.0), (line[line["step"] > horizon], 0.25)):
            _answers(part[part["asked"]], color, strength, ax)
        now = past.iloc[-1]
        if pd.notna(now["low"]):
            reach = [[now["filtered"] - now["low"]], [now["high"] - now["filtered"]]]
            place = horizon + 0.012 * learner["step"].max() * (number + 1)  # side by side
            ax.errorbar(place, now["filtered"], reach, color=color, capsize=2, linewidth=1)
    ax.plot([], [], color="black", linewidth=2, label=f"as believed after step {horizon}")
    ax.plot([], [], color="black", linewidth=0.8, linestyle="--", label="as believed then")
    if learner["low"].notna().any():
        ax.errorbar([], [], [], color="black", capsize=2, linewidth=1, label="95 %")
    if horizon < learner["step"].max():
        ax.axvline(horizon + 0.5, color=GREY, linewidth=0.6, linestyle=":")
    ax.legend(fontsize=6.5, loc="upper left", bbox_to_anchor=(1, 1))
    whole_numbers(ax)
    ax.set_xlim(left=0.4)
    ax.set(xlabel="step (filled: right answer, open: wrong)", ylabel="mastery", ylim=(0, 1.02))
    return ax


def _answers(marks: pd.DataFrame, color: str, strength: float, ax: Axes) -> None:
    right = marks["correct"] == 1
    dots = {"color": color, "markersize": 3.5, "alpha": strength}
    ax.plot(marks["step"][right], marks["filtered"][right], "o", **dots)
    ax.plot(marks["step"][~right], marks["filtered"][~right], "o", **dots, markerfacecolor="white")


def plot_transfer(shares: pd.DataFrame, ax: Axes) -> Axes:
    """Draw the share of a gain on one skill (row) that reaches another (column).

    Parameters
    ----------
    shares : square table, named by skill; the diagonal, 1 by definition, is left blank.
    """
    grid = shares.to_numpy(float).copy()
    np.fill_diagonal(grid, np.nan)
    image = ax.imshow(grid, cmap="YlGnBu", vmin=0, interpolation="nearest")
    ax.set_xticks(range(len(shares)), map(as_text, shares.columns), rotation=90, fontsize=6)
    ax.set_yticks(range(len(shares)), map(as_text, shares.index), fontsize=6)
    ax.set(xlabel="reaches", ylabel="gain on")
    ax.figure.colorbar(image, ax=ax, label="share of the gain", shrink=0.8)
    return ax
