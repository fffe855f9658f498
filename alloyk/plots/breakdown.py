"""Accuracy by the values of manifest columns."""

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes

from alloyk.plots.style import COLORS, GRAY, finish, new_axes, readable_names

if TYPE_CHECKING:
    import pandas as pd


def plot_breakdown(
    tables: "list[pd.DataFrame]",
    overall: float,
    *,
    subtitle: str = "",
    ax: Axes | None = None,
) -> Axes:
    """Accuracy and its 95 % interval for each value of each column, one under the other.

    Args:
        tables: Of `alloyk.breakdown.breakdown`, one per column or combination.
        overall: The accuracy on all images, drawn as a line.
        subtitle: A line under the title.
        ax: Where to draw; a new figure if None.
    """
    rows = sum(len(table) + 1 for table in tables)
    ax = ax or new_axes(7.2, 1.3 + 0.27 * rows)
    places, names, headings, place = [], [], [], 0
    for number, table in enumerate(tables):
        columns = list(table.columns[: list(table.columns).index("images")])
        places.append(place)
        names.append(" × ".join(readable_names(columns, width=40)))
        headings.append(len(names) - 1)
        for row in table.itertuples(index=False):
            place += 1
            low, high = row.low, row.high
            color = COLORS[number % 2]
            if np.isfinite(low):
                ax.plot([low, high], [place, place], color=color, linewidth=1.6, alpha=0.7)
            ax.plot([row.accuracy], [place], "o", color=color, markersize=5)
            value = " × ".join(readable_names([str(part) for part in row[: len(columns)]], 30, 1))
            places.append(place)
            names.append(f"{value}  (n = {row.images:,})")
        place += 1
    ax.axvline(overall, color=GRAY, linestyle="--", linewidth=1, zorder=1)
    ax.set_yticks(places, names, fontsize=8.5)
    for heading in headings:
        ax.get_yticklabels()[heading].set_fontweight("bold")
    ax.set_ylim(place - 0.3, -0.7)
    ax.tick_params(axis="y", length=0)
    finish(ax, "Accuracy by condition, 95 % intervals", subtitle, "Accuracy", "")
    ax.grid(visible=False, axis="y")
    return ax
