"""What all figures share: colours, axes, class names, legend and title."""

import io
import itertools
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes as Axes
from matplotlib.figure import Figure as Figure

from alloyk.files import whole_file
from alloyk.runtime.drawing import in_house_style as in_house_style
from alloyk.runtime.drawing import write_png

# The palette of Okabe and Ito, which is safe for colour-blind readers, the pale yellow last. Line
# styles change too, so that overlapping curves and more than eight curves stay distinct.
COLORS = (
    "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#F0E442",
)  # fmt: skip
LINE_STYLES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)))
GRAY = "#666666"

DPI = 150
# Legend spacing in font sizes, and the height in inches that title and x axis take.
LABEL_SPACING = 0.7
AROUND_IN = 1.0


@in_house_style
def new_axes(width: float, height: float) -> Axes:
    """Create a figure of `width` by `height` inches with one pair of axes."""
    axes: Axes = new_figure(width, height).subplots()
    return axes


def new_figure(width: float, height: float, *, w_pad: float = 0.1, h_pad: float = 0.1) -> Figure:
    """Create a figure of `width` by `height` inches without axes, padded by inches."""
    figure = Figure(figsize=(width, height))
    figure.set_layout_engine("constrained", w_pad=w_pad, h_pad=h_pad)
    return figure


def save_figure(ax: Axes, path: Path) -> None:
    """Write the figure of `ax` as PNG; the same figure gives the same bytes."""
    figure = ax.get_figure(root=True)
    assert figure is not None, "axes from new_axes belong to a figure"
    with whole_file(path) as unfinished:
        write_png(figure, unfinished, DPI)


def png_of(ax: Axes) -> bytes:
    """The figure of `ax` as the bytes of a PNG; the same figure gives the same bytes."""
    figure = ax.get_figure(root=True)
    assert figure is not None, "axes from new_axes belong to a figure"
    buffer = io.BytesIO()
    write_png(figure, buffer, DPI)
    return buffer.getvalue()


def readable_names(names: Sequence[str], width: int = 18, lines: int = 3) -> list[str]:
    r"""Prepare names for drawing: wrap them, shorten very long ones, escape `$`.

    >>> readable_names(["A", "a_rather_long_class_name", "$x$"])
    ['A', 'a_rather_long_\nclass_name', '\\$x\\$']
    """
    wrapped = [_wrap(name, width) for name in names]
    for i, name in enumerate(names):
        if wrapped[i].count("\n") >= lines:
            half = width * lines // 2 - width // 4
            wrapped[i] = _wrap(f"{name[:half]}…{name[-half:]}", width)
    if len(set(wrapped)) < len(wrapped):
        parts = _different_parts(names)
        short = len(set(parts)) == len(parts) and max(map(len, parts)) <= width
        wrapped = parts if short else [f"{i + 1}: {name}" for i, name in enumerate(wrapped)]
    return [name.replace("$", r"\$") for name in wrapped]


def _different_parts(names: Sequence[str]) -> list[str]:
    """The names without the words that all of them begin or end with.

    >>> _different_parts(["plates_resnet18_seed_0", "plates_resnet50_seed_0"])
    ['…resnet18_…', '…resnet50_…']
    """
    words = [re.findall(r"[^\s_\-/]+[\s_\-/]?|[\s_\-/]", name) for name in names]
    head = _shared(words)
    tail = _shared([one[head:][::-1] for one in words])
    return [
        "…" * bool(head) + "".join(one[head : len(one) - tail]) + "…" * bool(tail) for one in words
    ]


def _shared(lists: Sequence[list[str]]) -> int:
    """Number of words that all lists begin with."""
    columns = zip(*lists, strict=False)
    return sum(1 for _ in itertools.takewhile(lambda column: len(set(column)) == 1, columns))


def _wrap(name: str, width: int) -> str:
    """Wrap to lines of at most `width` letters, after spaces, underscores, hyphens and slashes."""
    lines = [""]
    for part in re.findall(r"[^\s_\-/]*[\s_\-/]?", name):
        pieces = [part[i : i + width] for i in range(0, len(part), width)]
        for piece in pieces:
            if lines[-1] and len(lines[-1]) + len(piece) > width:
                lines.append("")
            lines[-1] += piece
    return "\n".join(line.strip() for line in lines)


def axes_beside_legend(labels: Sequence[str]) -> Axes:
    """Create square axes in a figure with room for a legend of these labels beside them."""
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
    """Add a legend beside the axes, in as many columns as fit the height."""
    lines = [
        line for line in ax.get_lines()
        if str(line.get_label()) and not str(line.get_label()).startswith("_child")
    ]  # fmt: skip
    labels = [str(line.get_label()) for line in lines]
    figure = ax.get_figure(root=True)
    assert figure is not None, "axes from new_axes belong to a figure"
    ax.legend(
        lines,
        labels,
        loc="upper left",
        bbox_to_anchor=(1.02, 1.0),
        borderaxespad=0,
        frameon=False,
        fontsize=_legend_size(labels),
        labelspacing=LABEL_SPACING,
        ncols=_legend_columns(_legend_height_in(labels), figure.get_figheight()),
    )


def finish(
    ax: Axes, title: str, subtitle: str, x_label: str, y_label: str, *, grid: bool = True
) -> None:
    """Add title, gray subtitle, axis labels and a light grid."""
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
    """Add a title above and a gray subtitle below a figure of several axes."""
    figure.suptitle(title, x=0.02, ha="left", fontsize=12, fontweight="bold")
    if subtitle:
        figure.supxlabel(subtitle.replace("$", r"\$"), x=0.02, ha="left", fontsize=8.5, color=GRAY)
