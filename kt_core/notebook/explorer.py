"""The trajectory explorer for JupyterLab: choose a learner, skills and a moment.

Its pictures are drawn by the functions behind the static figures of `03_mastery_trajectories`.
They follow a slider while it is dragged; where drawing takes longer than moving, only the newest
place is drawn. Where the run has been trained again meanwhile, it is read anew.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import ipywidgets as widgets
import pandas as pd
from matplotlib.figure import Figure

from kt_core.base.errors import KTError
from kt_core.base.state import weights_of
from kt_core.data import Splits
from kt_core.data.sequences import SPLITS
from kt_core.evaluation.beliefs import Beliefs
from kt_core.evaluation.evaluate import evaluate
from kt_core.learners.cohort import (
    RULES,
    learner_frame,
    learner_name,
    only,
    rank_learners,
    telling_step,
)
from kt_core.learners.explain import explain
from kt_core.notebook.latest import Latest
from kt_core.plots.explanation import plot_revision, plot_waterfall
from kt_core.plots.style import PAGE, as_text
from kt_core.runs.find import open_run
from kt_core.runs.run import Run

LISTED = 200  # learners in the list, at most


class Explorer:
    """Controls and two pictures: mastery over steps, and one prediction taken apart.

    Learners of the split are ranked by a rule; a search also finds those of other splits. Each
    change of a control first looks whether the run's weights are still those that are shown.

    Attributes
    ----------
    widget : what to display.
    frame : of `kt_core.learners.cohort.learner_frame`, for the chosen learner and horizon.
    """

    def __init__(self, run: Run, splits: Splits, split: str, beliefs: Beliefs):
        self.frame = pd.DataFrame()
        wide = {"layout": widgets.Layout(width="22em")}
        long = {"layout": widgets.Layout(width="98%")}
        self.rule = widgets.Dropdown(
            options=RULES, value="steepest", description="ranked by", **wide
        )
        self.search = widgets.Text(description="search", placeholder="part of any id", **wide)
        self.learner = widgets.Select(description="learner", rows=6, **wide)
        self.skills = widgets.SelectMultiple(description="skills", rows=9, **wide)
        self.horizon = widgets.IntSlider(1, 1, 1, description="after step", **long)
        self.step = widgets.IntSlider(2, 2, 2, description="explain step", **long)
        self.trajectory, self.waterfall = widgets.Image(), widgets.Image()
        self.note, self.busy = widgets.Label(), widgets.Label()
        self._changing = False
        self._latest = Latest(self._react, lambda word: setattr(self.busy, "value", word))
        self._on(self._list_learners, self.rule, self.search)
        self._on(self._open_learner, self.learner)
        self._on(self._look, self.skills, self.horizon)
        self._on(self._explain, self.step)
        chosen = [self.rule, self.search, self.learner, self.skills]
        left = widgets.VBox(chosen, layout={"flex": "0 0 23em"})
        self._right = widgets.VBox(layout={"flex": "1 1 0", "min_width": "0"})
        self.widget = widgets.HBox([left, self._right])
        self.show(run, splits, split, beliefs)

    def show(self, run: Run, splits: Splits, split: str, beliefs: Beliefs) -> None:
        """Show a run, in place of the one before."""
        self.run, self.splits, self.split, self.beliefs = run, splits, split, beliefs
        self._weights = weights_of(run.path)
        pictures = [self.horizon, self.trajectory, widgets.HBox([self.note, self.busy])]
        if run.model.on_path:
            pictures += [self.step, self.waterfall]
        self._right.children = pictures
        self._ranked: dict[str, list[int]] = {}
        self._shown = splits, 0
        others = (getattr(splits, other).learners for other in SPLITS if other != split)
        self._others = [str(name) for part in others for name in part]
        self._list_learners()

    def _on(self, action: Callable[[], None], *controls: Any) -> None:
        def act(change: Any) -> None:
            if not self._changing:
                self._latest.ask(action)

        for control in controls:
            control.observe(act, "value")

    def _react(self, actions: list[Callable[[], None]]) -> None:
        """Do what controls ask for, or show the run anew where it has changed."""
        if weights_of(self.run.path) in ("", self._weights):  # "" while it is trained
            for action in actions:
                action()
            return
        try:
            run, splits = open_run(self.run.path, self.split)
        except KTError as error:
            self.note.value = f"the run has changed, and cannot be shown: {error}"
            return
        self.show(run, splits, self.split, evaluate(run.model, getattr(splits, self.split)))

    def _list_learners(self) -> None:
        rule = self.rule.value
        if rule not in self._ranked:
            self._ranked[rule] = rank_learners(self.beliefs, rule, uncertainty=self.run.uncertainty)
        names = [(learner_name(self.splits, self.split, i), i) for i in self._ranked[rule]]
        wanted = self.search.value.strip()
        found = [pair for pair in names if wanted in pair[0]]
        if wanted:
            found += [(name, name) for name in self._others if wanted in name]

        def fill() -> None:
            self.learner.options = found[:LISTED]
            self.learner.value = found[0][1] if found else None

        self._quietly(fill)
        more = f", the first {LISTED} listed" if len(found) > LISTED else ""
        self.note.value = f"{len(found):,} learners{more}"
        if found:
            self._open_learner()

    def _open_learner(self) -> None:
        chosen = self.learner.value
        if chosen is None:
            return
        elsewhere = isinstance(chosen, str)  # a name, not the number of a sequence in the split
        self._shown = (only(self.splits, [chosen]), 0) if elsewhere else (self.splits, chosen)
        self._read(horizon=0)
        steps = int(self.frame["step"].max())
        counts = self.frame[self.frame["asked"]]["skill"].value_counts(sort=True)
        named = [(f"{skill} ({n} answers)", skill) for skill, n in counts.items()]

        def fill() -> None:
            self.skills.options = named
            self.skills.value = tuple(counts.index[:3])
            self.horizon.max = self.horizon.value = steps
            self.step.max = steps
            self.step.value = telling_step(self.frame)

        self._quietly(fill)
        self._draw()
        self._explain()

    def _look(self) -> None:
        self._read(self.horizon.value)
        self._draw()

    def _read(self, horizon: int) -> None:
        splits, sequence = self._shown
        who = (splits, self.split, sequence)
        self.frame = learner_frame(self.run.model, *who, horizon, self.run.uncertainty)

    def _draw(self) -> None:
        figure = Figure(figsize=(PAGE, 2.9), layout="constrained")
        ax = plot_revision(self.frame, figure.subplots(), skills=self.skills.value)
        ax.set_title(f"Learner {as_text(self._name)}")
        self.trajectory.value = _png(figure)

    def _explain(self) -> None:
        if not self.run.model.on_path:
            return
        splits, _ = self._shown
        sequences = getattr(splits, self.split)
        parts = explain(self.run.model, sequences, splits.vocabulary, self._name, self.step.value)
        figure = Figure(figsize=(PAGE, 2.6), layout="constrained")
        plot_waterfall(parts, figure.subplots())
        self.waterfall.value = _png(figure)

    @property
    def _name(self) -> str:
        splits, sequence = self._shown
        return learner_name(splits, self.split, sequence)

    def _quietly(self, action: Callable[[], None]) -> None:
        """Change controls without their reactions: one picture per change, not five."""
        self._changing = True
        try:
            action()
        finally:
            self._changing = False


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    return buffer.getvalue()
