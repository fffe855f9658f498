"""The reference ceiling against one or two set-up parameters."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes

from alloyk.alloys import display_name
from alloyk.plots.style import (
    COLORS,
    GRAY,
    LINE_STYLES,
    add_legend,
    finish,
    in_house_style,
    new_axes,
)

if TYPE_CHECKING:
    from matplotlib.patches import Rectangle

    from alloyk.simulator.ceiling.design import Plan

LOG_RANGE = 30
"""Values with a larger ratio of largest to smallest get a logarithmic axis."""


@in_house_style
def plot_plan(plan: "Plan", *, subtitle: str = "", ax: Axes | None = None) -> Axes:
    """Accuracy over one parameter, with the recall of each class; or a map over two.

    Args:
        plan: From `alloyk.simulator.ceiling.design.plan_setups`.
        subtitle: A line under the title.
        ax: Where to draw; a new figure if None.
    """
    return (_plot_line if len(plan.sweeps) == 1 else _plot_map)(plan, subtitle, ax)


def _plot_line(plan: "Plan", subtitle: str, ax: Axes | None) -> Axes:
    (sweep,) = plan.sweeps
    ax = ax or new_axes(7.6, 4.6)
    place, numeric = _places(sweep.values)
    order = np.argsort(place)
    for number, label in enumerate(plan.classes):
        recall = np.array([100 * p.ceiling.recall.get(label, np.nan) for p in plan.points])
        # A line has no part where a set-up lacks the class.
        marker = "." if np.isnan(recall).any() else ""
        style = LINE_STYLES[(number + 1) % len(LINE_STYLES)]
        color, name = COLORS[(number + 1) % len(COLORS)], f"recall of {display_name(label)}"
        ax.plot(
            place[order], recall[order], color=color, linestyle=style, linewidth=1.1,
            marker=marker, label=name,
        )  # fmt: skip
    accuracy = np.array([100 * point.ceiling.accuracy for point in plan.points])[order]
    reach = np.array([200 * point.ceiling.error for point in plan.points])[order]
    ax.fill_between(place[order], accuracy - reach, accuracy + reach, color=COLORS[0], alpha=0.2)
    ax.plot(place[order], accuracy, "o-", color=COLORS[0], linewidth=2.4,
            label="accuracy,\n± 2 Monte Carlo errors")  # fmt: skip
    ax.axhline(100 * plan.base.accuracy, color=GRAY, linestyle="--", linewidth=1.2,
               label="base set-up", zorder=1)  # fmt: skip
    if numeric and place.min() > 0 and place.max() / place.min() > LOG_RANGE:
        ax.set_xscale("log")
    else:
        ax.set_xticks(place, sweep.values)
    finish(ax, "Reference ceiling", subtitle, sweep.key, "Per cent")
    add_legend(ax)
    return ax


def _plot_map(plan: "Plan", subtitle: str, ax: Axes | None) -> Axes:
    import seaborn

    rows, columns = plan.sweeps
    shape = (len(rows.values), len(columns.values))
    accuracy = np.array([100 * point.ceiling.accuracy for point in plan.points]).reshape(shape)
    ax = ax or new_axes(max(1.0 * shape[1] + 2.6, 4.8), 0.7 * shape[0] + 1.8)
    seaborn.heatmap(
        accuracy, annot=True, fmt=".1f", cmap="Blues", cbar=False, linewidths=0.5,
        linecolor="#DDDDDD", xticklabels=columns.values, yticklabels=rows.values, ax=ax,
    )  # fmt: skip
    at = np.unravel_index(accuracy.argmax(), shape)
    ax.add_patch(_frame(at))
    ax.tick_params(length=0)
    ax.set_yticks(ax.get_yticks(), rows.values, rotation=0)
    base = f"base set-up: {100 * plan.base.accuracy:.1f} %"
    note = f"{subtitle}; {base}" if subtitle else base
    finish(ax, "Reference ceiling, %", note, columns.key, rows.key, grid=False)
    return ax


def _frame(at: Sequence[Any]) -> "Rectangle":
    """A frame around a cell."""
    from matplotlib.patches import Rectangle

    row, column = at
    return Rectangle((column, row), 1, 1, fill=False, edgecolor=COLORS[1], linewidth=2.5)


def _places(values: Sequence[str]) -> tuple[np.ndarray, bool]:
    """Positions on the axis, evenly spaced for words, and whether the values are numbers."""
    try:
        return np.array([float(value) for value in values]), True
    except ValueError:
        return np.arange(len(values), dtype=float), False
