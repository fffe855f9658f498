"""Figures of the values that a search has tried: parallel coordinates, and slices."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.collections import LineCollection
from matplotlib.colors import Normalize

from alloyk.plots.search import BEST_COLOR, LOST_COLOR, is_wide, objective_name
from alloyk.plots.style import COLORS, GRAY, finish, in_house_style, new_axes, readable_names

Array = npt.NDArray[np.float64]
ROW_IN, WIDTH_IN = 0.62, 9.6
# Where a trial without a value of a row is drawn, and the letters that fit into the row.
ABSENT, LETTERS = -0.09, 100
MAX_CHOICE_LENGTH = 16


@dataclass(frozen=True)
class Hyperparameter:
    """The values that the trials have of one hyperparameter.

    Attributes:
        name: Its key.
        values: `(n,)` number, or place of the choice; NaN where a trial does not have it.
        choices: Names of the choices; empty for a range.
        low: Lower end of a range.
        high: Upper end of a range.
        log: Whether a range is logarithmic.
        condition: When it exists; empty if always.
    """

    name: str
    values: Array
    choices: tuple[str, ...] = ()
    low: float = 0.0
    high: float = 1.0
    log: bool = False
    condition: str = ""

    def places(self, rng: np.random.Generator) -> Array:
        """Values between 0 and 1; those of one choice are spread a little."""
        if self.choices:
            jitter = rng.uniform(-0.32, 0.32, len(self.values))
            spread: Array = (self.values + 0.5 + jitter) / len(self.choices)
            return spread
        return _scaled(self.values, self.low, self.high, log=self.log)

    def marks(self) -> list[tuple[float, str]]:
        """Places between 0 and 1 with their labels, as many as fit."""
        if not self.choices:
            return _range_marks(self.low, self.high, log=self.log)
        names = [_short(name) for name in self.choices]
        k = len(names)
        step = int(np.ceil((max(map(len, names)) + 3) * k / LETTERS))
        return [((i + 0.5) / k, names[i]) for i in range(0, k, step)]


def _scaled(values: Array, low: float, high: float, *, log: bool) -> Array:
    if log:
        values, low, high = np.log(values), float(np.log(low)), float(np.log(high))
    if high == low:
        return np.where(np.isnan(values), np.nan, 0.5)
    scaled: Array = (values - low) / (high - low)
    return scaled


def _range_marks(low: float, high: float, *, log: bool) -> list[tuple[float, str]]:
    if low == high:
        return [(0.5, f"{low:.4g}")]
    middle = float(np.sqrt(low * high)) if log else (low + high) / 2
    return [(0.0, f"{low:.4g}"), (0.5, f"{middle:.3g}"), (1.0, f"{high:.4g}")]


def _short(name: str, longest: int = MAX_CHOICE_LENGTH) -> str:
    """A name in few letters.

    >>> _short("class_balanced_focal_loss")
    'class_b…cal_loss'
    """
    if len(name) <= longest:
        return name
    half = (longest - 1) // 2
    return f"{name[:half]}…{name[-(longest - 1 - half) :]}"


@in_house_style
def plot_parallel_coordinates(
    hyperparameters: Sequence[Hyperparameter],
    results: npt.ArrayLike,
    *,
    monitor: str,
    falling: bool,
    subtitle: str = "",
) -> Axes:
    """Every trial as a line through its values, from one hyperparameter to the next.

    Colours follow the rank of the objective, the best trials lie above the others. Trials without
    a result are dashed and black.

    Args:
        hyperparameters: One row each, from top to bottom.
        results: `(n,)` objective, NaN without one.
        monitor: Name of the objective, the last row.
        falling: Whether smaller is better.
        subtitle: A line under the title.
    """
    values = np.asarray(results, dtype=float)
    finite = values[np.isfinite(values)]
    objective = Hyperparameter(monitor, values, low=float(finite.min()), high=float(finite.max()),
                               log=is_wide(values))  # fmt: skip
    rows = [*hyperparameters, objective]
    ax = new_axes(WIDTH_IN, 1.9 + ROW_IN * len(rows))
    rng = np.random.default_rng(0)
    x = np.stack([row.places(rng) for row in rows], axis=1)
    x = np.where(np.isnan(x), ABSENT, x)
    lines = np.stack([x, np.broadcast_to(np.arange(len(rows)), x.shape)], axis=2)
    _add_lines(ax, lines, values, falling=falling)
    for at, row in enumerate(rows):
        _draw_row(ax, at, row, none="no result" if row is objective else "absent")
    names = readable_names([row.name for row in rows], 26, 2)
    ax.set_yticks(range(len(rows)), names, fontsize=9)
    ax.get_yticklabels()[-1].set_fontweight("bold")
    ax.set_xticks([])
    ax.set_xlim(ABSENT - 0.06, 1.02)
    ax.set_ylim(len(rows) - 0.4, -0.3)
    ax.tick_params(axis="y", length=0)
    finish(ax, "Parallel coordinates", subtitle, "", "", grid=False)
    for spine in ax.spines.values():
        spine.set_visible(False)
    return ax


def _add_lines(ax: Axes, lines: Array, values: Array, *, falling: bool) -> None:
    """Draw the trials, worst first, with a bar that explains the colours."""
    found = np.flatnonzero(np.isfinite(values))
    best_first = np.argsort(values[found] if falling else -values[found], kind="stable")
    order = found[best_first[::-1]]
    lost = np.flatnonzero(~np.isfinite(values))
    n = len(order)
    rank = np.linspace(0, 1, n) if n > 1 else np.ones(1)
    colours = ScalarMappable(Normalize(0, 1), "viridis_r")
    # Of many trials the best few dozen stand out, and the others are a faint background.
    many = n > 60
    alpha = 0.05 + 0.6 * rank ** (n / 40) if many else np.full(n, 0.7)
    ax.add_collection(
        LineCollection(
            list(lines[order]),
            colors=colours.to_rgba(rank, alpha=alpha),
            linewidths=1.0 if many else 1.5,
        )
    )
    if len(lost):
        ax.add_collection(
            LineCollection(
                list(lines[lost]),
                colors=LOST_COLOR,
                linewidths=0.9,
                linestyles="--",
                alpha=float(np.clip(8 / len(lost), 0.12, 0.7)),
            )
        )
    best = lines[order[-1]]
    ax.plot(best[:, 0], best[:, 1], color=BEST_COLOR, linewidth=2.6, marker="o", markersize=5,
            label="best trial")  # fmt: skip
    if len(lost):
        ax.plot([], [], color=LOST_COLOR, linestyle="--", linewidth=0.9, label="no result")
    ax.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=2, frameon=False, fontsize=9,
              borderaxespad=0.1)  # fmt: skip
    if n > 1:
        figure = ax.get_figure(root=True)
        assert figure is not None
        bar = figure.colorbar(colours, ax=ax, location="bottom", shrink=0.5, aspect=35, pad=0.02)
        at = [values[order[i]] for i in (0, (n - 1) // 2, n - 1)]
        bar.set_ticks([0, 0.5, 1], labels=[f"{word}\n{value:.4g}" for word, value in zip(
            ("worst", "median", "best"), at, strict=True)])  # fmt: skip
        bar.ax.tick_params(labelsize=8.5, length=0)


def _draw_row(ax: Axes, at: int, row: Hyperparameter, none: str) -> None:
    """The axis of one row, with its labels below."""
    ax.plot([0, 1], [at, at], color="#999999", linewidth=0.8, zorder=1)
    marks = row.marks()
    if np.isnan(row.values).any():
        marks = [(ABSENT, none), *marks]
    ends = {0.0: "left", 1.0: "right"}
    for place, label in marks:
        ax.plot([place, place], [at - 0.05, at + 0.05], color="#999999", linewidth=0.8, zorder=1)
        ax.annotate(
            label.replace("$", r"\$"), (place, at), xytext=(0, -4), textcoords="offset points",
            va="top", ha=ends.get(place, "center"), fontsize=7.5, color="black", zorder=5,
            bbox={"facecolor": "white", "alpha": 0.75, "linewidth": 0, "pad": 0.6},
        )  # fmt: skip


@in_house_style
def plot_slice(
    one: Hyperparameter,
    results: npt.ArrayLike,
    *,
    monitor: str,
    falling: bool,
    subtitle: str = "",
) -> Axes:
    """The objective against one hyperparameter, of the trials that have it.

    A range has its value on the horizontal axis. Choices are rows, with the median of each.

    Args:
        one: The hyperparameter.
        results: `(n,)` objective, NaN without one.
        monitor: Name of the objective.
        falling: Whether smaller is better.
        subtitle: A line under the title.
    """
    values = np.asarray(results, dtype=float)
    label = objective_name(monitor)
    title = readable_names([one.name], 44, 1)[0]
    if one.choices:
        return _plot_choices(one, values, label, title, falling=falling, subtitle=subtitle)
    ax = new_axes(5.4, 3.6)
    shown = np.isfinite(one.values) & np.isfinite(values)
    lost = np.isfinite(one.values) & ~np.isfinite(values)
    ax.plot(one.values[shown], values[shown], "o", color=COLORS[0], markersize=_size(shown),
            markeredgewidth=0, alpha=0.6)  # fmt: skip
    _star(ax, one.values, np.where(shown, values, np.nan), values, shown, falling=falling)
    if lost.any():
        ax.plot(one.values[lost], np.full(lost.sum(), 0.97 if falling else 0.03), "x",
                color=LOST_COLOR, markersize=5, transform=ax.get_xaxis_transform())  # fmt: skip
    if one.log:
        ax.set_xscale("log")
        ax.set_xlim(one.low / (one.high / one.low) ** 0.04, one.high * (one.high / one.low) ** 0.04)
    elif one.high > one.low:
        margin = 0.04 * (one.high - one.low)
        ax.set_xlim(one.low - margin, one.high + margin)
    if is_wide(values):
        ax.set_yscale("log")
    finish(ax, title, subtitle, "", label)
    return ax


def _plot_choices(
    one: Hyperparameter, values: Array, label: str, title: str, *, falling: bool, subtitle: str
) -> Axes:
    k = len(one.choices)
    ax = new_axes(5.4, max(1.4 + 0.27 * k, 2.2))
    rows = one.values + np.random.default_rng(0).uniform(-0.22, 0.22, len(values))
    shown = np.isfinite(one.values) & np.isfinite(values)
    lost = np.isfinite(one.values) & ~np.isfinite(values)
    ax.plot(values[shown], rows[shown], "o", color=COLORS[0], markersize=_size(shown),
            markeredgewidth=0, alpha=0.6)  # fmt: skip
    for at in range(k):
        here = values[shown & (one.values == at)]
        if len(here):
            ax.plot([np.median(here)] * 2, [at - 0.36, at + 0.36], color="black", linewidth=1.6)
    _star(ax, np.where(shown, values, np.nan), rows, values, shown, falling=falling)
    if lost.any():
        ax.plot(np.full(lost.sum(), 0.975 if falling else 0.025), rows[lost], "x",
                color=LOST_COLOR, markersize=5, transform=ax.get_yaxis_transform())  # fmt: skip
    ax.set_yticks(range(k), readable_names([_short(name, 24) for name in one.choices], 26, 1),
                  fontsize=8.5)  # fmt: skip
    ax.set_ylim(k - 0.45, -0.55)
    ax.tick_params(axis="y", length=0)
    if is_wide(values):
        ax.set_xscale("log")
    finish(ax, title, subtitle, label, "")
    ax.grid(visible=False, axis="y")
    return ax


def _size(shown: npt.NDArray[np.bool_]) -> float:
    return float(np.clip(80 / np.sqrt(max(shown.sum(), 1)), 2.8, 6))


def _star(
    ax: Axes, x: Array, y: Array, values: Array, shown: npt.NDArray[np.bool_], *, falling: bool
) -> None:
    """Mark the best trial, if it has the hyperparameter."""
    if not np.isfinite(values).any():
        return
    best = int(np.nanargmin(values) if falling else np.nanargmax(values))
    if shown[best]:
        ax.plot(x[best], y[best], "*", color=BEST_COLOR, markersize=12, markeredgecolor=GRAY)
