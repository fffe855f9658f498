"""The pictures of an evaluation. Computing is apart from drawing; each takes ``ax=None``.

Figures are made without pyplot, so no backend is chosen for the program that calls us.
"""

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from alloyk.predictions import Predictions, whole_file

# Okabe and Ito's colours, told apart without colour vision, the pale yellow last; the line style
# changes too, so that a curve hidden under another shows, and more than eight stay distinct.
COLORS = (
    "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#F0E442",
)  # fmt: skip
LINE_STYLES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)))
GRAY = "#666666"
DPI = 150
SMOOTHING_EPOCHS = 5


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


def smoothed(values: np.ndarray, epochs: int = SMOOTHING_EPOCHS) -> np.ndarray:
    """Centred moving average over `epochs` (odd); towards both ends over as many as fit.

    >>> smoothed(np.array([0.0, 3.0, 9.0, 9.0]), epochs=3)
    array([0., 4., 7., 9.])
    """
    last = len(values) - 1
    reach = [min(i, last - i, epochs // 2) for i in range(len(values))]
    return np.array([np.mean(values[i - r : i + r + 1]) for i, r in enumerate(reach)])


def plot_history(
    history: dict[str, np.ndarray],
    quantity: str,
    *,
    best_epoch: int | None = None,
    subtitle: str = "",
    ax: Axes | None = None,
) -> Axes:
    """Training and validation over epochs: raw thin, smoothed bold, the best epoch marked.

    Args:
        history: Column of ``history.csv`` → `(epochs,)`.
        quantity: ``accuracy`` or ``loss``.
        best_epoch: The epoch to mark.
        subtitle: A line under the title.
        ax: Where to draw; a new figure if None.
    """
    ax = ax or new_axes(7.2, 4.4)
    epoch = history["epoch"]
    # A line through one or two points is easily missed.
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
    everything = np.concatenate(drawn) if drawn else np.ones(1)
    if quantity == "loss" and everything.min() > 0:
        # A first epoch that went astray would flatten all others.
        if everything.max() > 20 * np.median(everything):
            ax.set_yscale("log")
        else:
            ax.set_ylim(0, 1.06 * everything.max())
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    if len(epoch) == 1:
        ax.set_xticks(epoch)
    _finish(ax, quantity.capitalize(), subtitle, "Epoch", quantity.capitalize())
    _legend(ax)
    return ax


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
        matrix: `(k, k)` counts.
        names: The k classes as they are shown.
        normalize: Show per cent of the images of each true class; a class without images stays
            blank.
        subtitle: A line under the title.
        ax: Where to draw; a new figure if None.
    """
    import seaborn

    matrix = np.asarray(matrix)
    k = len(matrix)
    shown = readable_names(names)
    support = matrix.sum(axis=1, keepdims=True)
    cell = float(np.clip(7.0 / k, 0.5, 1.3))
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
        shown_rows = [f"{name}\n(n = {n:,})" for name, n in zip(shown, support[:, 0], strict=True)]
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
        linewidths=0.5,
        linecolor="#DDDDDD",
        xticklabels=shown,
        yticklabels=shown_rows,
        ax=ax,
    )
    for row in np.flatnonzero(support[:, 0] == 0) if normalize else ():
        ax.text(k / 2, row + 0.5, "no image", ha="center", va="center", color=GRAY)
    rotation = {}
    if slanted and most_lines > 1:
        rotation = {"rotation": 90}
    elif slanted:
        rotation = {"rotation": 40, "ha": "right", "rotation_mode": "anchor"}
    ax.set_xticks(ax.get_xticks(), shown, **rotation)
    ax.set_yticks(ax.get_yticks(), shown_rows, rotation=0)
    ax.tick_params(length=0)
    title = "Confusion matrix, % of true class" if normalize else "Confusion matrix, images"
    _finish(ax, title, subtitle, "Predicted", "True", grid=False)
    return ax


def _percent(share: float) -> str:
    if np.isnan(share) or share in (0, 1):
        return {0.0: "0", 1.0: "100"}.get(share, "")
    # Rounding must not hide an error that the counts show.
    return ">99.9" if share >= 0.9995 else f"{100 * share:.1f}" if share >= 0.0005 else "<0.1"


def precision_recall_curves(predictions: Predictions) -> list[tuple[np.ndarray, np.ndarray] | None]:
    """Recall and precision of each class against the rest; None for a class without images."""
    from sklearn.metrics import precision_recall_curve

    curves: list = []
    for k in range(len(predictions.classes)):
        of_class, probability = predictions.one_hot[:, k], predictions.probabilities[:, k]
        if not of_class.any():
            curves.append(None)
            continue
        precision, recall, _ = precision_recall_curve(of_class, probability, drop_intermediate=True)
        curves.append((recall, precision))
    return curves


def roc_curves(predictions: Predictions) -> list[tuple[np.ndarray, np.ndarray] | None]:
    """False and true positive rate of each class; None where one of them is undefined."""
    from sklearn.metrics import roc_curve

    curves: list = []
    for k in range(len(predictions.classes)):
        of_class, probability = predictions.one_hot[:, k], predictions.probabilities[:, k]
        if of_class.all() or not of_class.any():
            curves.append(None)
            continue
        false_positive, true_positive, _ = roc_curve(of_class, probability)
        curves.append((false_positive, true_positive))
    return curves


def plot_precision_recall(
    curves: list, figures: dict, names: Sequence[str], *, subtitle: str = "", ax: Axes | None = None
) -> Axes:
    """Precision over recall of each class, its average precision in the legend.

    Args:
        curves: Of `precision_recall_curves`.
        figures: Of `alloyk.metrics.classification_metrics`, where the legend's numbers are from.
        names: The k classes as they are shown.
        subtitle: A line under the title.
        ax: Where to draw; a new figure if None.
    """
    ax = ax or new_axes(7.2, 4.8)
    _draw_curves(ax, curves, figures, names, "average_precision", "AP", drawstyle="steps-post")
    _finish(ax, "Precision and recall", subtitle, "Recall", "Precision")
    return ax


def plot_roc(
    curves: list, figures: dict, names: Sequence[str], *, subtitle: str = "", ax: Axes | None = None
) -> Axes:
    """True over false positive rate of each class, its AUC in the legend.

    Args:
        curves: Of `roc_curves`.
        figures: Of `alloyk.metrics.classification_metrics`, where the legend's numbers are from.
        names: The k classes as they are shown.
        subtitle: A line under the title.
        ax: Where to draw; a new figure if None.
    """
    ax = ax or new_axes(7.2, 4.8)
    ax.plot([0, 1], [0, 1], color=GRAY, linewidth=1, linestyle=":", zorder=1)
    _draw_curves(ax, curves, figures, names, "roc_auc", "AUC")
    _finish(ax, "ROC, each class against the rest", subtitle,
            "False positive rate", "True positive rate")  # fmt: skip
    return ax


def _draw_curves(ax, curves, figures, names, figure, short, **style):
    shown = readable_names(names)
    for k, (curve, label) in enumerate(zip(curves, figures["classes"], strict=True)):
        value = figures["per_class"][label][figure]
        text = f"{shown[k]}\n{short} {value:.4f}" if value is not None else f"{shown[k]}\nundefined"
        x, y = curve if curve is not None else ([], [])
        ax.plot(
            x,
            y,
            color=COLORS[k % len(COLORS)],
            linestyle=LINE_STYLES[k % len(LINE_STYLES)],
            # Later curves thinner: what lies under them still shows.
            linewidth=2.4 - 0.9 * min(k, 9) / 9,
            label=text,
            **style,
        )
    ax.set_xlim(-0.02, 1.02)
    ax.set_ylim(-0.02, 1.02)
    ax.set_aspect("equal")
    _legend(ax)


def _legend(ax):
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


def _finish(ax, title, subtitle, x_label, y_label, grid=True):
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
