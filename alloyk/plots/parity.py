"""An exported file compared with the original."""

import numpy as np
from matplotlib.figure import Figure

from alloyk.plots.style import COLORS, GRAY, add_legend, finish, in_house_style, new_figure

LEAST = 1e-9  # of the logarithmic axis


@in_house_style
def draw_parity(
    expected: np.ndarray, found: np.ndarray, *, limit: float | None = None, subtitle: str = ""
) -> Figure:
    """Draw the probabilities of both models, and the distribution of their differences.

    Args:
        expected: `(n, k)` probabilities of the original.
        found: `(n, k)` of the file.
        limit: Largest difference that the format allows, if it has one.
        subtitle: A line under the title.
    """
    figure = new_figure(10.6, 4.6)
    left, right = figure.subplots(1, 2)
    top = expected.argmax(axis=1)
    rows = np.arange(len(expected))
    same = top == found.argmax(axis=1)
    left.plot([0, 1], [0, 1], color=GRAY, linewidth=1, linestyle=":", zorder=1)
    for some, name, color, marker in (
        (same, "same class", COLORS[0], "o"),
        (~same, "other class", COLORS[1], "X"),
    ):
        left.plot(
            expected[rows, top][some], found[rows, top][some], color=color, marker=marker,
            linestyle="", markersize=4 if marker == "o" else 7, alpha=0.6,
            label=f"{name} ({int(some.sum()):,})",
        )  # fmt: skip
    left.set_xlim(-0.02, 1.02)
    left.set_ylim(-0.02, 1.02)
    left.legend(loc="upper left", frameon=False, fontsize=8.5)
    finish(
        left, "Exported file against the run", subtitle,
        "Probability of the run's class: run", "Exported file",
    )  # fmt: skip
    differences = np.maximum(np.sort(np.abs(expected - found).max(axis=1)), LEAST)
    share = 100 * np.arange(1, len(differences) + 1) / len(differences)
    right.step(differences, share, where="post", color=COLORS[0], linewidth=2, label="images")
    if limit is not None:
        right.axvline(limit, color=COLORS[1], linestyle="--", linewidth=1.4, label="allowed")
    right.set_xscale("log")
    right.set_ylim(0, 101)
    add_legend(right)
    finish(right, "", "", "Largest |Δp| of an image", "Images up to it, %")
    return figure
