"""Figures of evaluations, comparisons and explanations.

Computing is separate from drawing; most functions take `ax=None` and return the axes. Figures are
made without pyplot and in alloyk's own style: `alloyk.runtime.drawing`.
"""

import alloyk.runtime.drawing  # noqa: F401  before any import of matplotlib

# isort: split

from alloyk.plots.breakdown import plot_breakdown, plot_breakdown_by_class
from alloyk.plots.calibration import plot_coverage, plot_reliability
from alloyk.plots.ceiling import plot_beside_ceiling, plot_ceiling_matrix
from alloyk.plots.comparison import (
    plot_average_precision,
    plot_differences,
    plot_runs,
    plot_seeds,
    plot_standalone_and_voting,
)
from alloyk.plots.confusion import plot_confusion_matrix
from alloyk.plots.curves import (
    plot_precision_recall,
    plot_roc,
    precision_recall_curves,
    roc_curves,
)
from alloyk.plots.estimates import plot_estimates
from alloyk.plots.folds import add_fold_curves, plot_fold_histories, plot_folds
from alloyk.plots.history import plot_history, smoothed
from alloyk.plots.hyperparameters import (
    Hyperparameter,
    plot_parallel_coordinates,
    plot_slice,
)
from alloyk.plots.mistakes import plot_mistakes
from alloyk.plots.saliency import plot_explanation, plot_overview
from alloyk.plots.schedules import plot_schedules
from alloyk.plots.search import plot_best_trials, plot_importance, plot_objective
from alloyk.plots.setups import plot_plan
from alloyk.plots.style import new_axes, readable_names, save_figure

__all__ = [
    "Hyperparameter",
    "add_fold_curves",
    "new_axes",
    "plot_average_precision",
    "plot_beside_ceiling",
    "plot_best_trials",
    "plot_breakdown",
    "plot_breakdown_by_class",
    "plot_ceiling_matrix",
    "plot_confusion_matrix",
    "plot_coverage",
    "plot_differences",
    "plot_estimates",
    "plot_explanation",
    "plot_fold_histories",
    "plot_folds",
    "plot_history",
    "plot_importance",
    "plot_mistakes",
    "plot_objective",
    "plot_overview",
    "plot_parallel_coordinates",
    "plot_plan",
    "plot_precision_recall",
    "plot_reliability",
    "plot_roc",
    "plot_runs",
    "plot_schedules",
    "plot_seeds",
    "plot_slice",
    "plot_standalone_and_voting",
    "precision_recall_curves",
    "readable_names",
    "roc_curves",
    "save_figure",
    "smoothed",
]
