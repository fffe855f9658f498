"""The reference ceiling, alone and beside measured accuracies."""

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes

from alloyk.alloys import display_name
from alloyk.plots.confusion import plot_confusion_matrix
from alloyk.plots.style import (
    COLORS,
    GRAY,
    add_legend,
    finish,
    in_house_style,
    new_axes,
    readable_names,
)

CEILING_COLOR = COLORS[2]


@in_house_style
def plot_ceiling_matrix(ceiling: Mapping, *, subtitle: str = "", ax: Axes | None = None) -> Axes:
    """Confusion matrix of the ideal classifier, in per cent of each true class.

    Args:
        ceiling: As `alloyk.simulator.ceiling.reference.Ceiling.as_dict` gives it.
        subtitle: A line under the title.
        ax: Where to draw; a new figure if None.
    """
    names = [display_name(label) for label in ceiling["classes"]]
    ax = plot_confusion_matrix(
        np.array(ceiling["confusion_matrix"]), names, normalize=True, subtitle=subtitle, ax=ax
    )  # fmt: skip
    ax.set_title(
        f"Reference ceiling {percent(ceiling)}", loc="left", fontsize=12, fontweight="bold", pad=20
    )
    return ax


def add_ceiling(ax: Axes, ceiling: Mapping, direction: str) -> None:
    """Draw a dotted line at the ceiling, horizontal (`h`) or vertical (`v`)."""
    draw = ax.axhline if direction == "h" else ax.axvline
    label = f"reference ceiling\n{percent(ceiling)}"
    draw(ceiling["accuracy"], color=CEILING_COLOR, linestyle=":", linewidth=1.6, label=label,
         zorder=1)  # fmt: skip


@in_house_style
def plot_beside_ceiling(metrics: Mapping, *, subtitle: str = "", ax: Axes | None = None) -> Axes:
    """Accuracy and recalls beside the reference ceiling and the baselines.

    Args:
        metrics: Content of `metrics.json`.
        subtitle: A line under the title.
        ax: Where to draw; a new figure if None.
    """
    ceiling, controls = metrics["ceiling"], metrics["controls"]
    whats = [one["what"] for one in controls.values()]
    intervals, classes = metrics["confidence_intervals"], metrics["classes"]
    rows = [("Accuracy", "this run", metrics["accuracy"], intervals.get("accuracy"), ceiling)]
    rows += [("Accuracy", one["what"], one["accuracy"], one["interval"], ceiling)
             for one in controls.values()]  # fmt: skip
    for label in classes:
        value = metrics["per_class"][label]["recall"]
        # A class without images has neither.
        limit = ceiling and label in ceiling["recall"] and {
            "accuracy": ceiling["recall"][label], "error": ceiling["recall_error"][label]
        }  # fmt: skip
        interval = intervals.get(f"per_class.{label}.recall")
        rows.append(("Recall", display_name(label), value, interval, limit))
    ax = ax or new_axes(8.2, 1.5 + 0.34 * (len(rows) + 2))
    places: list[int] = []
    names: list[str] = []
    headings: list[int] = []
    for heading, name, value, interval, limit in rows:
        if heading not in names:
            headings.append(len(names))
            names.append(heading)
            places.append(len(places))
        place = len(places)
        places.append(place)
        names.append("\n".join(readable_names([name], 38, 2)))
        if limit:
            _draw_limit(ax, place, limit)
        elif ceiling:
            ax.text(
                0.01, place, "no ceiling for this class", transform=ax.get_yaxis_transform(),
                va="center", fontsize=7.5, color=GRAY,
            )  # fmt: skip
        if value is not None:
            _draw_measured(ax, place, value, interval, is_baseline=name in whats)
    ax.axvline(1 / len(classes), color=GRAY, linestyle="--", linewidth=1, label="chance", zorder=0)
    ax.set_yticks(places, names, fontsize=8.5)
    for row in headings:
        ax.get_yticklabels()[row].set_fontweight("bold")
    ax.set_ylim(len(places) - 0.3, -0.7)
    ax.set_xlim(None, 1.02)
    ax.tick_params(axis="y", length=0)
    title = "Beside the reference ceiling" if ceiling else "Beside the baselines"
    finish(ax, title, subtitle, "Share of images classified correctly", "")
    ax.grid(visible=False, axis="y")
    add_legend(ax)
    return ax


def _draw_limit(ax: Axes, place: float, limit: Mapping) -> None:
    value, reach = limit["accuracy"], 2 * limit["error"]
    ax.plot(
        [value, value], [place - 0.32, place + 0.32], color=CEILING_COLOR, linewidth=2,
        solid_capstyle="butt", label=_once(ax, "reference ceiling,\n± 2 Monte Carlo errors"),
    )  # fmt: skip
    ax.barh(place, 2 * reach, left=value - reach, height=0.64, color=CEILING_COLOR, alpha=0.25)


def _draw_measured(ax: Axes, place: float, value: float, interval, *, is_baseline: bool) -> None:
    color, what = (GRAY, "baseline") if is_baseline else (COLORS[0], "this run")
    if interval:
        ax.plot(interval, [place, place], color=color, linewidth=1.8)
    label = _once(ax, f"{what}, 95 % interval")
    ax.plot(value, place, "o", color=color, markersize=5.5, label=label)


def _once(ax: Axes, label: str) -> str:
    """The label, or one that `add_legend` ignores if a line has it already."""
    return "_child" if label in {line.get_label() for line in ax.get_lines()} else label


def percent(ceiling: Mapping) -> str:
    """For example `85.3 ± 0.3 %`."""
    return f"{100 * ceiling['accuracy']:.1f} ± {100 * ceiling['error']:.1f} %"
