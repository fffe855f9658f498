"""Reliability of probabilities, and error rate against coverage."""

import numpy as np
from matplotlib.axes import Axes

from alloyk.metrics.calibration import Reliability
from alloyk.metrics.selective import Coverage
from alloyk.plots.style import COLORS, GRAY, add_legend, finish, in_house_style, new_axes


@in_house_style
def plot_reliability(
    reliability: Reliability,
    *,
    scaled: Reliability | None = None,
    subtitle: str = "",
    ax: Axes | None = None,
) -> Axes:
    """Accuracy against confidence; a calibrated classifier lies on the diagonal.

    Args:
        reliability: From `alloyk.metrics.calibration.reliability`.
        scaled: The same after temperature scaling, if that is used.
        subtitle: A line under the title.
        ax: Where to draw; a new figure if None.
    """
    ax = ax or new_axes(7.2, 4.8)
    ax.plot([0, 1], [0, 1], color=GRAY, linewidth=1, linestyle=":", zorder=1)
    for found, name, color, marker in (
        (reliability, "as predicted", COLORS[0], "o"),
        (scaled, "temperature-scaled", COLORS[1], "s"),
    ):
        if found is None:
            continue
        some = found.count > 0
        error = found.expected_calibration_error
        label = f"{name}\nECE {error:.4f}"
        points = (found.confidence[some], found.accuracy[some])
        ax.plot(*points, color=color, linewidth=0.8, alpha=0.4)
        # The area of a point is proportional to its number of images.
        size = 4 + 320 * found.count[some] / found.count.sum()
        ax.scatter(*points, s=size, color=color, marker=marker, alpha=0.75, linewidth=0,
                   clip_on=False)  # fmt: skip
        ax.plot([], [], color=color, linestyle="", marker=marker, label=label)
    ax.set_xlim(-0.02, 1.02)
    ax.set_ylim(-0.02, 1.02)
    ax.set_aspect("equal")
    add_legend(ax)
    finish(ax, "Reliability", subtitle, "Confidence", "Accuracy")
    return ax


@in_house_style
def plot_coverage(coverage: Coverage, *, subtitle: str = "", ax: Axes | None = None) -> Axes:
    """Error rate and its upper bound against coverage, the most confident images first.

    Args:
        coverage: From `alloyk.metrics.selective.accuracy_over_coverage`.
        subtitle: A line under the title.
        ax: Where to draw; a new figure if None.
    """
    ax = ax or new_axes(7.8, 4.4)
    error, bound = 100 * (1 - coverage.accuracy), 100 * coverage.error_bound
    marker = "o" if len(error) < 20 else None
    decided = 100 * coverage.coverage
    ax.plot(decided, error, color=COLORS[0], linewidth=2, marker=marker, label="found")
    ax.plot(decided, bound, color=COLORS[1], linewidth=1.4, linestyle="--",
            label="upper bound,\n95 % confidence")  # fmt: skip
    ax.set_xlim(0, 101)
    # Bounds of few images are wide and may lie outside the axes.
    ax.set_ylim(0, min(max(1.08 * float(np.max(error)), 2 * float(bound[-1]), 1.0), 101))
    add_legend(ax)
    finish(
        ax, "Abstaining on uncertain images", subtitle,
        "Images classified, %", "Errors among them, %",
    )  # fmt: skip
    return ax
