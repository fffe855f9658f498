"""Confusion matrix in images and in per cent of each true class."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes

from alloyk.plots.style import GRAY, finish, in_house_style, new_axes, readable_names

# Larger matrices get smaller cells: the number of pixels grows with the square of the side.
MAX_SIDE_IN = 30
MAX_ANNOTATED = 30
LETTER_IN = 0.085
"""Width of a letter of a label."""


@in_house_style
def plot_confusion_matrix(
    matrix: np.ndarray,
    names: Sequence[str],
    *,
    normalize: bool = False,
    subtitle: str = "",
    ax: Axes | None = None,
) -> Axes:
    """Confusion matrix, rows true: counts, or per cent of each row.

    Args:
        matrix: `(k, k)` counts; or shares, for which no n is shown, if `normalize` is set.
        names: Display names of the k classes.
        normalize: Show per cent of each true class; a class without images stays blank.
        subtitle: A line under the title.
        ax: Where to draw; a new figure if None.
    """
    matrix = np.asarray(matrix)
    shown = readable_names(names)
    layout = _layout(len(matrix), shown)
    if ax is None:
        ax = new_axes(layout.width, layout.height)
    support = matrix.sum(axis=1)
    if normalize:
        shares = np.full(matrix.shape, np.nan)
        np.divide(matrix, support[:, None], out=shares, where=support[:, None] > 0)
        _draw_cells(ax, shares, np.vectorize(_percent)(shares), 1, layout.cell)
        _mark_empty_rows(ax, support)
    else:
        texts = np.vectorize("{:,}".format)(matrix)
        _draw_cells(ax, matrix, texts, max(matrix.max(), 1), layout.cell)
    rows = shown
    if normalize and matrix.dtype.kind in "iu":
        rows = [f"{name}\n(n = {n:,})" for name, n in zip(shown, support, strict=True)]
    place = np.arange(0, len(matrix), layout.every) + 0.5
    ax.set_xticks(place, shown[:: layout.every], **layout.rotation)
    ax.set_yticks(place, rows[:: layout.every], rotation=0)
    ax.tick_params(length=0)
    title = "Confusion matrix, % of true class" if normalize else "Confusion matrix, images"
    finish(ax, title, subtitle, "Predicted", "True", grid=False)
    return ax


class _Layout(NamedTuple):
    """Sizes of a matrix in inches.

    Attributes:
        cell: Side of a cell.
        every: Every n-th class is labelled, as many as fit.
        rotation: Keyword arguments of the labels below the matrix.
        width: Width of a new figure.
        height: Height of a new figure.
    """

    cell: float
    every: int
    rotation: dict[str, Any]
    width: float
    height: float


def _layout(k: int, names: Sequence[str]) -> _Layout:
    """Choose sizes for `k` classes with these names."""
    cell = float(np.clip(7.0 / k, 0.5, 1.3)) if k * 0.5 < MAX_SIDE_IN else MAX_SIDE_IN / k
    longest = max(len(line) for name in names for line in name.split("\n"))
    most_lines = max(name.count("\n") for name in names) + 1
    slanted = longest * LETTER_IN > cell
    rotation: dict[str, Any] = {}
    if slanted and most_lines > 1:
        rotation = {"rotation": 90}
    elif slanted:
        rotation = {"rotation": 40, "ha": "right", "rotation_mode": "anchor"}
    below = LETTER_IN * longest if slanted else 0.2 * most_lines
    width = max(k * cell + 0.9 + LETTER_IN * longest, 4.8)
    return _Layout(cell, int(np.ceil(0.5 / cell)), rotation, width, k * cell + 1.2 + below)


def _draw_cells(
    ax: Axes, values: np.ndarray, texts: np.ndarray, largest: float, cell: float
) -> None:
    """Draw the cells, with texts if there are few enough."""
    import seaborn

    letters = max(len(text) for text in texts.ravel())
    seaborn.heatmap(
        values,
        annot=texts if len(values) <= MAX_ANNOTATED else False,
        fmt="",
        annot_kws={"fontsize": float(np.clip(cell * 72 / (letters * 0.75), 5, 13))},
        cmap="Blues",
        vmin=0,
        vmax=largest,
        mask=np.isnan(values),
        cbar=len(values) > MAX_ANNOTATED,
        cbar_kws={"shrink": 0.6, "pad": 0.02},
        square=True,
        linewidths=min(0.5, cell),
        linecolor="#DDDDDD",
        xticklabels=False,
        yticklabels=False,
        ax=ax,
    )


def _mark_empty_rows(ax: Axes, support: np.ndarray) -> None:
    """Mark classes without images."""
    for row in np.flatnonzero(support == 0):
        ax.text(len(support) / 2, row + 0.5, "no image", ha="center", va="center", color=GRAY)


def _percent(share: float) -> str:
    if np.isnan(share) or share in (0, 1):
        return {0.0: "0", 1.0: "100"}.get(share, "")
    # Rounding must not hide errors.
    return ">99.9" if share >= 0.9995 else f"{100 * share:.1f}" if share >= 0.0005 else "<0.1"
