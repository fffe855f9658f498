"""Precision-recall and ROC curves of each class against the rest."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from alloyk.plots.style import (
    COLORS,
    GRAY,
    LINE_STYLES,
    add_legend,
    axes_beside_legend,
    finish,
    in_house_style,
    readable_names,
)
from alloyk.runs.predictions import Predictions


def precision_recall_curves(predictions: Predictions) -> list[tuple[np.ndarray, np.ndarray] | None]:
    """Recall and precision of each class against the rest; None for a class without images."""
    from sklearn.metrics import precision_recall_curve

    curves: list = []
    for k in range(len(predictions.classes)):
        of_class, probability = predictions.one_hot[:, k], predictions.probabilities[:, k]
        if not of_class.any():
            curves.append(None)
            continue
        precision, recall, _ = precision_recall_curve(of_class, probability, drop_intermediate=True)
        curves.append((recall, precision))
    return curves


def roc_curves(predictions: Predictions) -> list[tuple[np.ndarray, np.ndarray] | None]:
    """False and true positive rate of each class; None where one of them is undefined."""
    from sklearn.metrics import roc_curve

    curves: list = []
    for k in range(len(predictions.classes)):
        of_class, probability = predictions.one_hot[:, k], predictions.probabilities[:, k]
        if of_class.all() or not of_class.any():
            curves.append(None)
            continue
        false_positive, true_positive, _ = roc_curve(of_class, probability)
        curves.append((false_positive, true_positive))
    return curves


@in_house_style
def plot_precision_recall(
    curves: list,
    metrics: Mapping[str, Any],
    names: Sequence[str],
    *,
    subtitle: str = "",
    ax: Axes | None = None,
) -> Axes:
    """Precision against recall of each class, its average precision in the legend.

    Args:
        curves: Result of `precision_recall_curves`.
        metrics: From `alloyk.metrics.classification_metrics`; the legend shows them.
        names: Display names of the k classes.
        subtitle: A line under the title.
        ax: Where to draw; a new figure if None.
    """
    labels = _labels(metrics, names, "average_precision", "AP")
    ax = ax or axes_beside_legend(labels)
    _draw_curves(ax, curves, labels, drawstyle="steps-post")
    finish(ax, "Precision and recall", subtitle, "Recall", "Precision")
    return ax


@in_house_style
def plot_roc(
    curves: list,
    metrics: Mapping[str, Any],
    names: Sequence[str],
    *,
    subtitle: str = "",
    ax: Axes | None = None,
) -> Axes:
    """True against false positive rate of each class, its AUC in the legend.

    Args:
        curves: Result of `roc_curves`.
        metrics: From `alloyk.metrics.classification_metrics`; the legend shows them.
        names: Display names of the k classes.
        subtitle: A line under the title.
        ax: Where to draw; a new figure if None.
    """
    labels = _labels(metrics, names, "roc_auc", "AUC")
    ax = ax or axes_beside_legend(labels)
    ax.plot([0, 1], [0, 1], color=GRAY, linewidth=1, linestyle=":", zorder=1)
    _draw_curves(ax, curves, labels)
    finish(ax, "ROC, each class against the rest", subtitle,
            "False positive rate", "True positive rate")  # fmt: skip
    return ax


def _labels(metrics: Mapping[str, Any], names: Sequence[str], metric: str, short: str) -> list[str]:
    """Legend labels: each class with its metric."""
    values = [metrics["per_class"][label][metric] for label in metrics["classes"]]
    return [
        f"{name}\n{short} {value:.4f}" if value is not None else f"{name}\nundefined"
        for name, value in zip(readable_names(names), values, strict=True)
    ]


def _draw_curves(ax: Axes, curves: list, labels: Sequence[str], **style: Any) -> None:
    for k, (curve, label) in enumerate(zip(curves, labels, strict=True)):
        x, y = curve if curve is not None else ([], [])
        ax.plot(
            x,
            y,
            color=COLORS[k % len(COLORS)],
            linestyle=LINE_STYLES[k % len(LINE_STYLES)],
            # Later curves are thinner, so that earlier ones show beneath them.
            linewidth=2.4 - 0.9 * min(k, 9) / 9,
            label=label,
            **style,
        )
    ax.set_xlim(-0.02, 1.02)
    ax.set_ylim(-0.02, 1.02)
    ax.set_aspect("equal", anchor="W")  # the legend takes the remaining room
    add_legend(ax)
