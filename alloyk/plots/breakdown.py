"""Accuracy by the values of manifest columns."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes

from alloyk.metrics.breakdown import Breakdown
from alloyk.plots.style import (
    COLORS,
    GRAY,
    finish,
    finish_sheet,
    in_house_style,
    new_axes,
    new_figure,
    readable_names,
)

PANELS_ABREAST = 2
# Cells with a larger share are dark and get white text.
DARK = 0.6


@in_house_style
def plot_breakdown(tables: Sequence[Breakdown], overall: float, *, subtitle: str = "") -> Axes:
    """Accuracy with its 95 % interval for each value of each column, one panel per column.

    Args:
        tables: From `alloyk.metrics.breakdown.breakdown`, one per column, one or more.
        overall: The accuracy on all images, drawn as a line.
        subtitle: A line under the title.

    Returns:
        The first panel; the others are in the same figure.
    """
    abreast = min(PANELS_ABREAST, len(tables))
    rows = -(-len(tables) // abreast)
    heights = [
        0.9 + 0.24 * max(len(table.metrics) for table in tables[r * abreast : (r + 1) * abreast])
        for r in range(rows)
    ]
    width = 4.6 * abreast + 0.8 * (abreast == 1)
    figure = new_figure(width, 0.8 + sum(heights), h_pad=0.08)
    panels = figure.subplots(
        rows, abreast, squeeze=False, sharex=True, gridspec_kw={"height_ratios": heights}
    ).ravel()
    for ax, table in zip(panels, tables, strict=False):
        _draw_panel(ax, table, overall)
        ax.tick_params(labelbottom=True)
    panels[0].locator_params(axis="x", nbins=4)  # shared; labels near 1 have four digits
    for ax in panels[len(tables) :]:
        ax.remove()
    finish_sheet(figure, "Accuracy by condition, 95 % intervals", subtitle)
    return panels[0]


def _draw_panel(ax: Axes, table: Breakdown, overall: float) -> None:
    """Draw dots and intervals of one column, the first value on top."""
    (column,), metrics = table.columns, table.metrics
    place = np.arange(len(metrics))
    known = np.isfinite(metrics["low"].to_numpy())
    ax.hlines(
        place[known], metrics["low"][known], metrics["high"][known], color=COLORS[0],
        linewidth=1.6, alpha=0.7,
    )  # fmt: skip
    ax.plot(metrics["accuracy"], place, "o", color=COLORS[0], markersize=5)
    ax.axvline(overall, color=GRAY, linestyle="--", linewidth=1, zorder=1)
    names = readable_names([str(value) for value in table.conditions[column]], 24, 1)
    shown = [f"{name}  (n = {n:,})" for name, n in zip(names, metrics["images"], strict=True)]
    ax.set_yticks(place, shown, fontsize=8)
    ax.set_ylim(len(metrics) - 0.4, -0.6)
    ax.tick_params(axis="y", length=0)
    ax.tick_params(axis="x", labelsize=8)
    (title,) = readable_names([column], 40, 1)
    finish(ax, "", "", "", "")
    ax.set_title(title, loc="left", fontsize=9.5, fontweight="bold")
    ax.grid(visible=False, axis="y")


@in_house_style
def plot_breakdown_by_class(
    table: Breakdown,
    names: dict[str, str],
    *,
    subtitle: str = "",
    ax: Axes | None = None,
) -> Axes:
    """Recall of each class under each condition, in per cent.

    Args:
        table: From `alloyk.metrics.breakdown.breakdown` by `label` and another column.
        names: Label → display name of the class.
        subtitle: A line under the title.
        ax: Where to draw; a new figure if None.
    """
    column, rows = table.columns[1], [table.conditions[name] for name in table.columns]
    labels, values = (list(one.cat.categories) for one in rows)
    shown = readable_names([names.get(label, label) for label in labels])
    ax = ax or new_axes(2.4 + 0.95 * max(len(values), 4), 1.6 + 0.5 * len(labels))
    share = np.full((len(labels), len(values)), np.nan)
    cells = zip(*rows, table.metrics["accuracy"], table.metrics["images"], strict=True)
    for label, value, accuracy, images in cells:
        place = labels.index(label), values.index(value)
        share[place] = float(accuracy)
        dark = float(accuracy) > DARK
        text = f"{100 * float(accuracy):.1f}\nn = {int(images):,}"
        ax.text(place[1], place[0], text, ha="center", va="center", fontsize=8,
                color="white" if dark else "black")  # fmt: skip
    ax.imshow(share, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    ax.set_xticks(range(len(values)), _few_lines(values))
    ax.set_yticks(range(len(labels)), shown)
    ax.tick_params(length=0)
    (title,) = readable_names([column], 40, 1)
    finish(ax, "Correct, % of each class", subtitle, title, "", grid=False)
    return ax


def _few_lines(values: Sequence[str]) -> list[str]:
    return readable_names([str(value) for value in values], 11)
