"""Comparisons of runs: metrics with intervals, differences, seeds."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from alloyk.plots.style import (
    COLORS,
    GRAY,
    add_legend,
    finish,
    in_house_style,
    new_axes,
    new_figure,
    readable_names,
)

MARKERS = "osD^vP*X"
ROW_HEIGHT = 0.34


@in_house_style
def plot_runs(rows: Sequence[dict], *, subtitle: str = "") -> Axes:
    """Accuracy with its interval, and training and validation loss, one row per run.

    Args:
        rows: `runs` of `alloyk.comparison.compare_runs`.
        subtitle: A line under the title.

    Returns:
        The axes of the accuracies; those of the losses are in the same figure, if a run has one.
    """
    losses = {key: [_or_nan(row[key]) for row in rows] for key in ("loss", "val_loss")}
    has_losses = not np.isnan(list(losses.values())).all()
    figure = new_figure(9.6 if has_losses else 6.4, 1.6 + ROW_HEIGHT * len(rows))
    panels = figure.subplots(1, 2 if has_losses else 1, squeeze=False)[0]
    left = panels[0]
    for at, row in enumerate(rows):
        _dot(left, at, row["accuracy"], row["accuracy_interval"], COLORS[0])
    _name_rows(left, [row["name"] for row in rows])
    finish(left, "Accuracy, 95 % intervals", subtitle, "Accuracy", "")
    if has_losses:
        _draw_losses(panels[1], losses, left.get_ylim())
    for ax in panels:
        ax.grid(visible=False, axis="y")
        ax.tick_params(axis="y", length=0)
    return left


def _draw_losses(ax: Axes, losses: dict[str, list[float]], row_limits: tuple[float, float]) -> None:
    """Draw the training and validation loss of each row."""
    rows = len(losses["loss"])
    for key, name, color, marker in (
        ("loss", "training", COLORS[0], "o"),
        ("val_loss", "validation", COLORS[1], "s"),
    ):
        ax.plot(losses[key], np.arange(rows), marker, color=color, markersize=5.5, label=name)
    ax.set_yticks(np.arange(rows), [""] * rows)
    ax.set_ylim(row_limits)
    finish(ax, "Loss, last epoch", " ", "Loss", "")
    # Beyond the largest value, so that its marker is not clipped.
    ax.set_xlim(0, 1.05 * ax.dataLim.x1)
    add_legend(ax)


def _dot(
    ax: Axes,
    at: float,
    value: float | None,
    interval: Sequence[float] | None,
    color: str,
    marker: str = "o",
) -> None:
    if value is None:
        return
    if interval:
        ax.plot(interval, [at, at], color=color, linewidth=1.8, alpha=0.6)
    ax.plot([value], [at], marker, color=color, markersize=5.5)


def _name_rows(ax: Axes, names: Sequence[str]) -> None:
    """Label the rows, the first on top."""
    ax.set_yticks(range(len(names)), readable_names(names, 26, 1), fontsize=9)
    ax.set_ylim(len(names) - 0.5, -0.5)


@in_house_style
def plot_average_precision(
    rows: Sequence[dict], names: dict[str, str], *, subtitle: str = "", ax: Axes | None = None
) -> Axes:
    """Average precision per class, and the mean AUC, of each run.

    Args:
        rows: `runs` of `alloyk.comparison.compare_runs`.
        names: Label → display name of the class.
        subtitle: A line under the title.
        ax: Where to draw; a new figure if None.
    """
    ax = ax or new_axes(7.6, 1.8 + ROW_HEIGHT * max(len(rows), 0.5 * len(names) + 1))
    place = np.arange(len(rows))
    shown = readable_names(list(names.values()))
    for k, (label, name) in enumerate(zip(names, shown, strict=True)):
        values = [_or_nan(row["average_precision"][label]) for row in rows]
        marker, color = MARKERS[k % len(MARKERS)], COLORS[k % len(COLORS)]
        ax.plot(values, place, marker, color=color, markersize=6, alpha=0.85, label=f"AP {name}")
    areas = [_or_nan(row["roc_auc"]) for row in rows]
    ax.plot(areas, place, "|", color="black", markersize=13, markeredgewidth=1.6, label="mean AUC")
    _name_rows(ax, [row["name"] for row in rows])
    ax.tick_params(axis="y", length=0)
    finish(ax, "Average precision per class", subtitle, "Average precision, AUC", "")
    ax.grid(visible=False, axis="y")
    add_legend(ax)
    return ax


def _or_nan(value: float | None) -> float:
    return np.nan if value is None else value


@in_house_style
def plot_differences(pairs: Sequence[dict], *, subtitle: str = "", ax: Axes | None = None) -> Axes:
    """Difference in accuracy between every two runs, with intervals and corrected p values.

    Args:
        pairs: `pairs` of `alloyk.comparison.compare_runs`.
        subtitle: A line under the title.
        ax: Where to draw; a new figure if None.
    """
    ax = ax or new_axes(8.2, 1.5 + 0.3 * len(pairs))
    for at, pair in enumerate(pairs):
        p = pair["p_score_holm"]
        sure = p is not None and p < 0.05
        _dot(ax, at, pair["difference"], pair["interval"], COLORS[0] if sure else GRAY)
    ax.axvline(0, color="black", linewidth=0.8, zorder=1)
    runs = list(dict.fromkeys(pair[end] for pair in pairs for end in ("first", "second")))
    shown = dict(zip(runs, readable_names(runs, 24, 1), strict=True))
    names = [f"{shown[pair['second']]} − {shown[pair['first']]}" for pair in pairs]
    ax.set_yticks(range(len(pairs)), names, fontsize=8.5)
    ax.set_ylim(len(pairs) - 0.4, -0.6)
    ax.tick_params(axis="y", length=0)
    beside: dict[str, Any] = {
        "transform": ax.get_yaxis_transform(),
        "fontsize": 8.5,
        "va": "center",
    }
    for at, pair in enumerate(pairs):
        ax.text(1.02, at, _p(pair["p_score_holm"]), **beside)
    ax.text(1.02, -0.85, "p, Holm", color=GRAY, **beside)
    finish(ax, "Difference in accuracy, 95 % intervals", subtitle, "Difference in accuracy", "")
    ax.grid(visible=False, axis="y")
    return ax


def _p(p: float | None) -> str:
    return "–" if p is None else f"{p:.3f}" if p >= 0.001 else "<0.001"


@in_house_style
def plot_standalone_and_voting(
    rows: Sequence[dict], *, subtitle: str = "", ax: Axes | None = None
) -> Axes:
    """Bars of the accuracy of each run, voted runs in another colour.

    Args:
        rows: `runs` of `alloyk.comparison.compare_runs`, one or more with a `vote`.
        subtitle: A line under the title.
        ax: Where to draw; a new figure if None.
    """
    ordered = sorted(rows, key=lambda row: bool(row["vote"]))
    ax = ax or new_axes(max(1.6 + 0.95 * len(rows), 5.2), 4.4)
    lowest = min((row["accuracy_interval"] or [row["accuracy"]])[0] for row in rows)
    # If all bars are high the axis does not begin at 0; its label states this.
    bottom = max(0.0, np.floor(20 * (lowest - 0.05)) / 20) if lowest > 0.55 else 0.0
    seen: set[str] = set()
    for at, row in enumerate(ordered):
        kind = "voting" if row["vote"] else "standalone"
        ax.bar(
            at,
            row["accuracy"] - bottom,
            bottom=bottom,
            width=0.62,
            color=COLORS[1] if row["vote"] else COLORS[0],
            hatch="//" if row["vote"] else None,
            edgecolor="white",
            label=None if kind in seen else kind,
        )
        seen.add(kind)
        top = row["accuracy"]
        if row["accuracy_interval"]:
            ax.plot([at, at], row["accuracy_interval"], color="black", linewidth=1.2)
            top = row["accuracy_interval"][1]
        ax.annotate(
            f"{row['accuracy']:.4f}", (at, top), xytext=(0, 3), textcoords="offset points",
            ha="center", fontsize=8.5,
        )  # fmt: skip
    names = readable_names([row["name"] for row in ordered], 12)
    ax.set_xticks(range(len(ordered)), names, fontsize=8.5)
    ax.tick_params(axis="x", length=0)
    span = max((row["accuracy_interval"] or [0, row["accuracy"]])[1] for row in rows) - bottom
    ax.set_ylim(bottom, bottom + 1.1 * span)
    cut = f" (the axis begins at {bottom:.2f})" if bottom else ""
    finish(ax, "Standalone against voting", subtitle, "", f"Accuracy{cut}")
    ax.grid(visible=False, axis="x")
    handles, labels = ax.get_legend_handles_labels()
    ax.legend(handles, labels, loc="upper left", bbox_to_anchor=(1.01, 1), frameon=False)
    return ax


@in_house_style
def plot_seeds(groups: Sequence[dict], *, subtitle: str = "", ax: Axes | None = None) -> Axes:
    """Accuracy of every seed, with mean and standard deviation.

    Args:
        groups: `groups` of `seeds` of `alloyk.comparison.compare_runs`.
        subtitle: A line under the title.
        ax: Where to draw; a new figure if None.
    """
    ax = ax or new_axes(7.2, 1.5 + ROW_HEIGHT * len(groups))
    for at, group in enumerate(groups):
        values = group["accuracies"]
        ax.plot(values, [at] * len(values), "o", color=COLORS[0], markersize=4.5, alpha=0.7)
        if group["sd"] is not None:
            ends = [group["mean"] - group["sd"], group["mean"] + group["sd"]]
            ax.plot(ends, [at, at], color=COLORS[1], linewidth=1.8, alpha=0.7, zorder=1)
            ax.plot([group["mean"]], [at], "|", color=COLORS[1], markersize=14, markeredgewidth=2)
    shown = [f"{group['name']} (n = {len(group['runs'])})" for group in groups]
    _name_rows(ax, shown)
    ax.tick_params(axis="y", length=0)
    finish(ax, "Accuracy over seeds, mean ± standard deviation", subtitle, "Accuracy", "")
    ax.grid(visible=False, axis="y")
    return ax
