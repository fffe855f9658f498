"""The spread over the folds of a cross-validation."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from alloyk.plots.style import (
    COLORS,
    GRAY,
    add_legend,
    finish,
    in_house_style,
    new_axes,
    readable_names,
)


@in_house_style
def plot_folds(
    spread: dict, names: dict[str, str], *, subtitle: str = "", ax: Axes | None = None
) -> Axes:
    """Metrics of every fold, with mean and standard deviation.

    Args:
        spread: From `alloyk.metrics.fold_spread.fold_spread`.
        names: Metric, between 0 and 1 → its display name.
        subtitle: A line under the title.
        ax: Where to draw; a new figure if None.
    """
    ax = ax or new_axes(7.2, 1.6 + 0.42 * len(names))
    for at, figure in enumerate(names):
        found = spread["figures"][figure]
        values = [np.nan if value is None else value for value in found["values"]]
        ax.plot(values, [at] * len(values), "o", color=COLORS[0], markersize=5, alpha=0.65,
                label="each fold" if not at else None)  # fmt: skip
        if found["mean"] is None:
            continue
        if found["sd"] is not None:
            ends = [found["mean"] - found["sd"], found["mean"] + found["sd"]]
            ax.plot(ends, [at + 0.22] * 2, color=COLORS[1], linewidth=2,
                    label="mean ± standard deviation" if not at else None)  # fmt: skip
        ax.plot([found["mean"]], [at + 0.22], "|", color=COLORS[1], markersize=11,
                markeredgewidth=2)  # fmt: skip
    ax.set_yticks(range(len(names)), readable_names(list(names.values())))
    ax.set_ylim(len(names) - 0.4, -0.6)
    ax.tick_params(axis="y", length=0)
    finish(ax, f"Spread over {len(spread['names'])} folds", subtitle, "", "")
    ax.grid(visible=False, axis="y")
    add_legend(ax)
    return ax


@in_house_style
def add_fold_curves(ax: Axes, curves: Sequence[list]) -> None:
    """Draw the curves of every fold as thin lines under those of all folds together.

    Args:
        ax: From `alloyk.plots.plot_roc` or `plot_precision_recall`.
        curves: For each fold, the curves that were given to these functions.
    """
    style = ax.get_lines()[-1].get_drawstyle()
    for fold in curves:
        for k, curve in enumerate(fold):
            if curve is not None:
                color = COLORS[k % len(COLORS)]
                ax.plot(*curve, color=color, linewidth=0.7, alpha=0.35, zorder=1, drawstyle=style)
    ax.annotate(
        "thin: each fold", (1.02, 0), xycoords="axes fraction", fontsize=8.5, color=GRAY,
        xytext=(4, 2), textcoords="offset points",
    )  # fmt: skip


@in_house_style
def plot_fold_histories(
    histories: Sequence[dict[str, np.ndarray]],
    quantity: str,
    *,
    subtitle: str = "",
    ax: Axes | None = None,
) -> Axes:
    """Training and validation over epochs: each fold thin, the mean bold.

    The mean ends with the shortest training.

    Args:
        histories: For each fold: column of `history.csv` → `(epochs,)`.
        quantity: `accuracy` or `loss`.
        subtitle: A line under the title.
        ax: Where to draw; a new figure if None.
    """
    ax = ax or new_axes(7.2, 4.4)
    shared = min(len(history["epoch"]) for history in histories)
    marker = "o" if shared < 3 else None
    for column, name, color in (
        (quantity, "training", COLORS[0]),
        (f"val_{quantity}", "validation", COLORS[1]),
    ):
        known = [one for one in histories if column in one and np.isfinite(one[column]).any()]
        for history in known:
            ax.plot(history["epoch"], history[column], color=color, linewidth=0.7, alpha=0.45)
        if known:
            mean = np.mean([history[column][:shared] for history in known], axis=0)
            label = f"{name}, mean of folds"
            epochs = known[0]["epoch"][:shared]
            ax.plot(epochs, mean, color=color, linewidth=2.2, marker=marker, label=label)
    if quantity == "loss":
        ax.set_ylim(bottom=0)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    finish(ax, f"{quantity.capitalize()}, each fold thin", subtitle, "Epoch", quantity.capitalize())
    add_legend(ax)
    return ax
