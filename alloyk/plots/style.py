"""What all figures share: colours, canvas, names, legend and title."""

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes as Axes
from matplotlib.figure import Figure as Figure

from alloyk.files import whole_file
from alloyk.runtime.drawing import in_house_style as in_house_style
from alloyk.runtime.drawing import write_png

# Okabe and Ito's colours, told apart without colour vision, the pale yellow last; the line style
# changes too, so that a curve hidden under another shows, and more than eight stay distinct.
COLORS = (
    "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#F0E442",
)  # fmt: skip
LINE_STYLES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)))
GRAY = "#666666"

DPI = 150
# Of a legend, in letters; and what title and axis take of a figure's height.
LABEL_SPACING = 0.7
AROUND_IN = 1.0


@in_house_style
def new_axes(width: float, height: float) -> Axes:
    """Axes alone in a figure of `width` by `height` inches."""
    figure = Figure(figsize=(width, height), layout="constrained")
    figure.get_layout_engine().set(w_pad=0.1, h_pad=0.1)
    return figure.subplots()


def save_figure(ax: Axes, path: Path) -> None:
    """Write the figure of `ax` as PNG; the same figure gives the same bytes."""
    with whole_file(path) as unfinished:
        write_png(ax.get_figure(root=True), unfinished, DPI)


def readable_names(names: Sequence[str], width: int = 18, lines: int = 3) -> list[str]:
    r"""Names as matplotlib should draw them: wrapped, the very long ones cut, no formulas.

    >>> readable_names(["A", "a_rather_long_class_name", "$x$"])
    ['A', 'a_rather_long_\nclass_name', '\\$x\\$']
    """
    wrapped = [_wrap(name, width) for name in names]
    for i, name in enumerate(names):
        if wrapped[i].count("\n") >= lines:
            half = width * lines // 2 - width // 4
            wrapped[i] = _wrap(f"{name[:half]}…{name[-half:]}", width)
    if len(set(wrapped)) < len(wrapped):
        wrapped = [f"{i + 1}: {name}" for i, name in enumerate(wrapped)]
    return [name.replace("$", r"\$") for name in wrapped]


def _wrap(name: str, width: int) -> str:
    """Lines of at most `width` letters, broken after spaces, underscores, hyphens and slashes."""
    lines = [""]
    for part in re.findall(r"[^\s_\-/]*[\s_\-/]?", name):
        pieces = [part[i : i + width] for i in range(0, len(part), width)]
        for piece in pieces:
            if lines[-1] and len(lines[-1]) + len(piece) > width:
                lines.append("")
            lines[-1] += piece
    return "\n".join(line.strip() for line in lines)


def axes_beside_legend(labels: Sequence[str]) -> Axes:
    """Square axes alone in a figure that has room for a legend of these labels beside them."""
    legend_in = _legend_height_in(labels)
    height = float(np.clip(AROUND_IN + np.sqrt(1.5 * legend_in), 4.8, 9))
    columns = _legend_columns(legend_in, height)
    longest = max(len(line) for label in labels for line in label.split("\n"))
    column_in = _legend_size(labels) / 72 * (4.8 + 0.63 * longest)  # handle, gaps, letters
    return new_axes(height + 0.3 + columns * column_in, height)


def _legend_height_in(labels: Sequence[str]) -> float:
    """Height of a legend in one column."""
    lines = sum(label.count("\n") + 1 for label in labels)
    return _legend_size(labels) * (1.25 * lines + LABEL_SPACING * len(labels)) / 72


def _legend_size(labels: Sequence[str]) -> float:
    return 9 if len(labels) < 8 else 7.5


def _legend_columns(legend_in: float, height_in: float) -> int:
    return max(int(np.ceil(legend_in / (height_in - AROUND_IN))), 1)


def add_legend(ax: Axes) -> None:
    """Name the lines beside the axes, where none can be covered, in columns that are not cut."""
    lines = [line for line in ax.get_lines() if len(line.get_label()) and
             not line.get_label().startswith("_child")]  # fmt: skip
    labels = [line.get_label() for line in lines]
    ax.legend(
        lines,
        labels,
        loc="upper left",
        bbox_to_anchor=(1.02, 1.0),
        borderaxespad=0,
        frameon=False,
        fontsize=_legend_size(labels),
        labelspacing=LABEL_SPACING,
        ncols=_legend_columns(_legend_height_in(labels), ax.figure.get_figheight()),
    )


def finish(
    ax: Axes, title: str, subtitle: str, x_label: str, y_label: str, *, grid: bool = True
) -> None:
    """Title, a gray line under it, axis labels and the quiet grid that all figures share."""
    ax.set_title(title, loc="left", fontsize=12, fontweight="bold", pad=20 if subtitle else 8)
    if subtitle:
        ax.annotate(
            subtitle.replace("$", r"\$"),
            (0, 1),
            xytext=(0, 6),
            xycoords="axes fraction",
            textcoords="offset points",
            fontsize=8.5,
            color=GRAY,
        )
    ax.set_xlabel(x_label)
    ax.set_ylabel(y_label)
    if grid:
        ax.spines[["top", "right"]].set_visible(False)
        ax.grid(color="#E5E5E5", linewidth=0.8)
        ax.set_axisbelow(True)


def finish_sheet(figure: Figure, title: str, subtitle: str) -> None:
    """Title above and a gray line below a figure of several axes."""
    figure.suptitle(title, x=0.02, ha="left", fontsize=12, fontweight="bold")
    if subtitle:
        figure.supxlabel(subtitle.replace("$", r"\$"), x=0.02, ha="left", fontsize=8.5, color=GRAY)
