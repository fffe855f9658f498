"""Confusion matrix in images and in per cent of each true class."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from alloyk.plots.style import GRAY, finish, in_house_style, new_axes, readable_names

# Larger matrices get smaller cells: the number of pixels grows with the square of the side.
MOST_SIDE_IN = 30


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
    import seaborn

    matrix = np.asarray(matrix)
    k = len(matrix)
    shown = readable_names(names)
    support = matrix.sum(axis=1, keepdims=True)
    cell = float(np.clip(7.0 / k, 0.5, 1.3)) if k * 0.5 < MOST_SIDE_IN else MOST_SIDE_IN / k
    every = int(np.ceil(0.5 / cell))  # label every n-th class, as many as fit
    longest = max(len(line) for name in shown for line in name.split("\n"))
    most_lines = max(name.count("\n") for name in shown) + 1
    slanted = longest * 0.085 > cell
    if ax is None:
        margin = 0.9 + 0.085 * longest
        upright = 0.085 * longest if slanted else 0.2 * most_lines
        ax = new_axes(max(k * cell + margin, 4.8), k * cell + 1.2 + upright)
    if normalize:
        values = np.divide(matrix, support, out=np.full(matrix.shape, np.nan), where=support > 0)
        texts = np.vectorize(_percent)(values)
        shown_rows = shown
        if matrix.dtype.kind in "iu":
            numbers = zip(shown, support[:, 0], strict=True)
            shown_rows = [f"{name}\n(n = {n:,})" for name, n in numbers]
    else:
        values, shown_rows = matrix, shown
        texts = np.vectorize("{:,}".format)(matrix)
    letters = max(len(text) for text in texts.ravel())
    seaborn.heatmap(
        values,
        annot=texts if k <= 30 else False,
        fmt="",
        annot_kws={"fontsize": float(np.clip(cell * 72 / (letters * 0.75), 5, 13))},
        cmap="Blues",
        vmin=0,
        vmax=1 if normalize else max(matrix.max(), 1),
        mask=np.isnan(values),
        cbar=False,
        square=True,
        linewidths=min(0.5, cell),
        linecolor="#DDDDDD",
        xticklabels=False,
        yticklabels=False,
        ax=ax,
    )
    for row in np.flatnonzero(support[:, 0] == 0) if normalize else ():
        ax.text(k / 2, row + 0.5, "no image", ha="center", va="center", color=GRAY)
    rotation: dict[str, Any] = {}
    if slanted and most_lines > 1:
        rotation = {"rotation": 90}
    elif slanted:
        rotation = {"rotation": 40, "ha": "right", "rotation_mode": "anchor"}
    place = np.arange(0, k, every) + 0.5
    ax.set_xticks(place, shown[::every], **rotation)
    ax.set_yticks(place, shown_rows[::every], rotation=0)
    ax.tick_params(length=0)
    title = "Confusion matrix, % of true class" if normalize else "Confusion matrix, images"
    finish(ax, title, subtitle, "Predicted", "True", grid=False)
    return ax


def _percent(share: float) -> str:
    if np.isnan(share) or share in (0, 1):
        return {0.0: "0", 1.0: "100"}.get(share, "")
    # Rounding must not hide errors.
    return ">99.9" if share >= 0.9995 else f"{100 * share:.1f}" if share >= 0.0005 else "<0.1"
