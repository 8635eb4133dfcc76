"""Figures. Each function draws a tidy frame on an `ax` and returns the `ax`; `interactive` has
pages that answer to the mouse, from the same frames."""

from kt_core.plots import interactive
from kt_core.plots.constraints import plot_broken, plot_evidence
from kt_core.plots.decisions import draw_decisions, plot_decisions
from kt_core.plots.experiment import draw_experiment, plot_effects, plot_shares
from kt_core.plots.explanation import plot_revision, plot_transfer, plot_waterfall
from kt_core.plots.ladder import draw_criterion, plot_criterion, plot_exam, plot_ladder
from kt_core.plots.measures import (
    plot_associations,
    plot_benchmark,
    plot_calibration,
    plot_collapse,
    plot_comparison,
    plot_differences,
    plot_parts,
    plot_recovery,
)
from kt_core.plots.overview import draw_advantages, plot_advantages
from kt_core.plots.practice import (
    draw_skill_curves,
    plot_after_breaks,
    plot_before_after,
    plot_skill_curve,
)
from kt_core.plots.style import COLUMN, PAGE, as_text, look_of, save, shared_legend, use_style
from kt_core.plots.sweep import plot_sweep
from kt_core.plots.training import (
    draw_training,
    plot_history,
    plot_losses,
    plot_monitor,
    training_curves,
)
from kt_core.plots.trajectories import (
    plot_gains,
    plot_heatmap,
    plot_learner,
    plot_learning_curves,
    plot_mastery_distribution,
    plot_skill_growth,
    practised,
)
from kt_core.plots.worlds import plot_worlds
