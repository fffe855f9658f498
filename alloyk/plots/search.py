"""Figures of a hyperparameter search: its objective, the best trials, what mattered."""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from alloyk.plots.style import COLORS, GRAY, finish, in_house_style, new_axes, readable_names

# A positive objective whose largest value is this many times its smallest has a log axis.
WIDE = 100.0
ROW_HEIGHT = 0.3
FINISHED_COLOR, BEST_COLOR, TIED_COLOR, LOST_COLOR = COLORS[5], COLORS[1], COLORS[0], "black"


def is_wide(values: npt.ArrayLike) -> bool:
    """Whether finite values need a logarithmic axis.

    >>> is_wide([0.1, 0.2]), is_wide([0.1, 1e5]), is_wide([0, 1e5])
    (False, True, False)
    """
    found = np.asarray(values, dtype=float)
    found = found[np.isfinite(found)]
    return bool(len(found) and found.min() > 0 and found.max() > WIDE * found.min())


@in_house_style
def plot_objective(
    x: npt.ArrayLike,
    results: npt.ArrayLike,
    *,
    monitor: str,
    falling: bool,
    x_label: str,
    tied: npt.ArrayLike = (),
    interval: tuple[float, float] | None = None,
    lost: Mapping[str, npt.ArrayLike] | None = None,
    whole: bool = False,
    subtitle: str = "",
) -> Axes:
    """Objective of each finished trial, and the best one so far.

    Args:
        x: `(n,)` place of each finished trial: its number, or when it ended.
        results: `(n,)` their objective.
        monitor: Name of the objective.
        falling: Whether smaller is better.
        x_label: Label of the axis of `x`.
        tied: `(n,)` which trials cannot be told apart from the best one.
        interval: 95 % interval of the best trial.
        lost: What became of the trials without a result → their places.
        whole: Whether places are whole numbers.
        subtitle: A line under the title.
    """
    ax = new_axes(8.4, 4.4)
    places, values = np.asarray(x, dtype=float), np.asarray(results, dtype=float)
    order = np.argsort(places, kind="stable")
    best = int(np.argmin(values) if falling else np.argmax(values))
    running = (np.minimum if falling else np.maximum).accumulate(values[order])
    ends = [places, *(np.asarray(at, dtype=float) for at in (lost or {}).values())]
    last = max(float(at.max()) for at in ends if len(at))
    if interval is not None:
        ax.axhspan(*interval, color=BEST_COLOR, alpha=0.13, linewidth=0,
                   label="95 % interval of the best")  # fmt: skip
    size = float(np.clip(90 / np.sqrt(len(values)), 3, 6.5))
    ax.plot(places, values, "o", color=FINISHED_COLOR, markersize=size, markeredgewidth=0,
            alpha=0.75, label="trial")  # fmt: skip
    equal = np.asarray(tied, dtype=bool)
    if equal.any():
        ax.plot(places[equal], values[equal], "o", color=TIED_COLOR, markersize=size,
                markeredgewidth=0, label="cannot be told apart from the best")  # fmt: skip
    ax.plot(np.append(places[order], last), np.append(running, running[-1]), color=GRAY,
            linewidth=1.4, drawstyle="steps-post", label="best so far", zorder=1)  # fmt: skip
    ax.plot(places[best], values[best], "*", color=BEST_COLOR, markersize=13,
            markeredgecolor="white", label="best")  # fmt: skip
    _add_lost(ax, lost or {}, falling=falling)
    if is_wide(values):
        ax.set_yscale("log")
    if whole:
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
        if len({*places, last}) == 1:
            ax.set_xticks([last])
    finish(
        ax, f"{objective_name(monitor)} of each trial", subtitle, x_label, objective_name(monitor)
    )
    _legend_below(ax)
    return ax


def _add_lost(ax: Axes, lost: Mapping[str, npt.ArrayLike], *, falling: bool) -> None:
    """Mark trials without a result at the worse edge."""
    edge = 0.985 if falling else 0.015
    for (state, places), marker in zip(lost.items(), "x+1234", strict=False):
        at = np.asarray(places, dtype=float)
        if len(at):
            ax.plot(at, np.full(len(at), edge), marker, color=LOST_COLOR, markersize=6,
                    transform=ax.get_xaxis_transform(), label=f"{state}, no result")  # fmt: skip


def _legend_below(ax: Axes) -> None:
    ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=3, frameon=False, fontsize=9)


def objective_name(monitor: str) -> str:
    """Name of an objective for an axis.

    >>> objective_name("val_loss")
    'Validation loss'
    """
    return monitor.replace("val_", "validation ").replace("_", " ").capitalize()


@in_house_style
def plot_best_trials(
    names: Sequence[str],
    values: Sequence[float],
    intervals: Sequence[tuple[float, float] | None],
    tied: Sequence[bool],
    *,
    metric: str,
    subtitle: str = "",
) -> Axes:
    """The best trials with their 95 % intervals, the best on top.

    Args:
        names: Trial numbers, the best first.
        values: Metric of each on the validation images.
        intervals: 95 % interval of each; None where there is none.
        tied: Whether each cannot be told apart from the best.
        metric: Name of the metric.
        subtitle: A line under the title.
    """
    ax = new_axes(8.4, 1.5 + ROW_HEIGHT * len(names))
    colors = [BEST_COLOR, *(TIED_COLOR if one else GRAY for one in tied[1:])]
    for at, (value, interval, color) in enumerate(zip(values, intervals, colors, strict=True)):
        if interval is not None:
            ax.plot(interval, [at, at], color=color, linewidth=1.8, alpha=0.6)
        ax.plot([value], [at], "*" if at == 0 else "o", color=color,
                markersize=11 if at == 0 else 5.5)  # fmt: skip
    ax.axvline(values[0], color=BEST_COLOR, linewidth=0.8, linestyle=":", zorder=1)
    ax.set_yticks(range(len(names)), names, fontsize=9)
    ax.set_ylim(len(names) - 0.5, -0.5)
    ax.tick_params(axis="y", length=0)
    if is_wide([*values, *(end for interval in intervals if interval for end in interval)]):
        ax.set_xscale("log")
    finish(ax, "The best trials, 95 % intervals", subtitle, metric, "Trial")
    ax.grid(visible=False, axis="y")
    return ax


@in_house_style
def plot_importance(shares: Mapping[str, float], *, subtitle: str = "") -> Axes:
    """Share of the variance of the objective that each hyperparameter explains by itself.

    Args:
        shares: Hyperparameter → share, the largest first.
        subtitle: A line under the title.
    """
    ax = new_axes(8.4, 1.6 + ROW_HEIGHT * len(shares))
    place = np.arange(len(shares))
    ax.barh(place, list(shares.values()), height=0.66, color=COLORS[0])
    for at, share in enumerate(shares.values()):
        ax.annotate(f"{100 * share:.1f} %", (share, at), xytext=(4, 0), fontsize=8.5,
                    textcoords="offset points", va="center")  # fmt: skip
    ax.set_yticks(place, readable_names(list(shares), 34, 1), fontsize=9)
    ax.set_ylim(len(shares) - 0.5, -0.5)
    ax.set_xlim(0, 1.12)
    ax.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0", "25", "50", "75", "100"])
    ax.tick_params(axis="y", length=0)
    finish(ax, "Importance of each hyperparameter", subtitle, "Share of the variance, %", "")
    ax.grid(visible=False, axis="y")
    return ax
