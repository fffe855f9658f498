"""Estimated against true numbers."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes

from alloyk.plots.style import (
    COLORS,
    GRAY,
    add_legend,
    finish,
    in_house_style,
    new_axes,
    readable_names,
)
from alloyk.runs.predictions import Predictions

MARKERS = "osD^vP*X"


@in_house_style
def plot_estimates(
    predictions: Predictions,
    column: str,
    errors: dict,
    names: Sequence[str],
    *,
    subtitle: str = "",
    ax: Axes | None = None,
) -> Axes:
    """Estimated against true value of each image; exact estimates lie on the diagonal.

    Args:
        predictions: The predictions; images without a true value are left out.
        column: One of its estimates.
        errors: From `alloyk.metrics.regression_metrics`, the source of the numbers in the legend.
        names: Display names of the k classes.
        subtitle: A line under the title.
        ax: Where to draw; a new figure if None.
    """
    ax = ax or new_axes(7.2, 4.8)
    estimate = predictions.estimates[column]
    known = np.isfinite(estimate.true)
    everything = np.concatenate([estimate.true[known], estimate.predicted[known]])
    low, high = float(everything.min()), float(everything.max())
    margin = 0.04 * (high - low) or 1.0
    ends = [low - margin, high + margin]
    line = f"predicted = true\nall: MAE {errors['mae']:.3g}"
    if errors["r2"] is not None:
        line += f", R² {errors['r2']:.3f}"
    ax.plot(ends, ends, color=GRAY, linewidth=1, linestyle=":", zorder=1, label=line)
    size = float(np.clip(90 / np.sqrt(known.sum()), 2.5, 7))
    for k, (label, shown) in enumerate(
        zip(predictions.classes, readable_names(names), strict=True)
    ):
        of_class = known & (predictions.y_true == k)
        mae = errors["per_class"][label]["mae"]
        error = "no image" if mae is None else f"MAE {mae:.3g}"
        # A line without a stroke, because the legend shows lines.
        ax.plot(
            estimate.true[of_class],
            estimate.predicted[of_class],
            linestyle="none",
            marker=MARKERS[k % len(MARKERS)],
            markersize=size,
            markeredgewidth=0,
            color=COLORS[k % len(COLORS)],
            alpha=0.6,
            label=f"{shown}\n{error}",
        )
    ax.set_xlim(*ends)
    ax.set_ylim(*ends)
    ax.set_aspect("equal")
    add_legend(ax)
    title = f"Predicted against true: {readable_names([column], width=40)[0]}"
    finish(ax, title, subtitle, "True value", "Predicted value")
    return ax
