"""What all figures share: colours, canvas, names, legend and title."""

import re
from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from alloyk.files import whole_file

# Okabe and Ito's colours, told apart without colour vision, the pale yellow last; the line style
# changes too, so that a curve hidden under another shows, and more than eight stay distinct.
COLORS = (
    "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#F0E442",
)  # fmt: skip
LINE_STYLES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)))
GRAY = "#666666"
DPI = 150


def new_axes(width: float, height: float) -> Axes:
    """Axes alone in a figure of `width` by `height` inches."""
    figure = Figure(figsize=(width, height), layout="constrained")
    figure.get_layout_engine().set(w_pad=0.1, h_pad=0.1)
    return figure.subplots()


def save_figure(ax: Axes, path: Path) -> None:
    """Write the figure of `ax` as PNG; the same figure gives the same bytes."""
    with whole_file(path) as unfinished:
        ax.figure.savefig(unfinished, format="png", dpi=DPI, metadata={"Software": None})


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


def add_legend(ax: Axes) -> None:
    """Name the lines beside the axes, where none can be covered."""
    lines = [line for line in ax.get_lines() if len(line.get_label()) and
             not line.get_label().startswith("_child")]  # fmt: skip
    ax.legend(
        lines,
        [line.get_label() for line in lines],
        loc="upper left",
        bbox_to_anchor=(1.02, 1.0),
        borderaxespad=0,
        frameon=False,
        fontsize=9 if len(lines) < 8 else 7.5,
        labelspacing=0.7,
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
