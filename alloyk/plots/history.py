"""Training and validation over epochs."""

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from alloyk.plots.ceiling import add_ceiling
from alloyk.plots.style import COLORS, GRAY, add_legend, finish, in_house_style, new_axes

SMOOTHING_EPOCHS = 5


def smoothed(values: np.ndarray, epochs: int = SMOOTHING_EPOCHS) -> np.ndarray:
    """Centred moving average over `epochs` (odd), over fewer towards both ends.

    >>> smoothed(np.array([0.0, 3.0, 9.0, 9.0]), epochs=3)
    array([0., 4., 7., 9.])
    """
    last = len(values) - 1
    reach = [min(i, last - i, epochs // 2) for i in range(len(values))]
    return np.array([np.mean(values[i - r : i + r + 1]) for i, r in enumerate(reach)])


@in_house_style
def plot_history(
    history: dict[str, np.ndarray],
    quantity: str,
    *,
    best_epoch: int | None = None,
    ceiling: Mapping | None = None,
    subtitle: str = "",
    ax: Axes | None = None,
) -> Axes:
    """Training and validation over epochs: raw values thin, smoothed bold, best epoch marked.

    Args:
        history: Column of `history.csv` → `(epochs,)`.
        quantity: `accuracy` or `loss`.
        best_epoch: The epoch to mark.
        ceiling: The reference ceiling, drawn beside accuracies.
        subtitle: A line under the title.
        ax: Where to draw; a new figure if None.
    """
    ax = ax or new_axes(7.2, 4.4)
    epoch = history["epoch"]
    # A line through one or two points is easily overlooked.
    marker = "o" if len(epoch) < 3 else None
    drawn = []
    for column, name, color in (
        (quantity, "training", COLORS[0]),
        (f"val_{quantity}", "validation", COLORS[1]),
    ):
        values = history.get(column)
        if values is None or not np.isfinite(values).any():
            continue
        drawn.append(values[np.isfinite(values)])
        ax.plot(epoch, values, color=color, linewidth=0.8, alpha=0.6, label=f"{name}, each epoch")
        label = f"{name}, mean of {SMOOTHING_EPOCHS}"
        ax.plot(epoch, smoothed(values), color=color, linewidth=2.2, marker=marker, label=label)
    if best_epoch is not None:
        label = f"best epoch: {best_epoch}"
        ax.axvline(best_epoch, color=GRAY, linestyle="--", linewidth=1.2, label=label, zorder=1)
    if ceiling and quantity == "accuracy":
        add_ceiling(ax, ceiling, "h")
    everything = np.concatenate(drawn) if drawn else np.ones(1)
    if quantity == "loss" and everything.min() > 0:
        # An outlier such as the first epoch would flatten all others.
        if everything.max() > 20 * np.median(everything):
            ax.set_yscale("log")
        else:
            ax.set_ylim(0, 1.06 * everything.max())
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    if len(epoch) == 1:
        ax.set_xticks(epoch)
    finish(ax, quantity.capitalize(), subtitle, "Epoch", quantity.capitalize())
    add_legend(ax)
    return ax
