"""Saliency maps over the image that they explain."""

from collections.abc import Iterable, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LinearSegmentedColormap, Normalize
from matplotlib.figure import Figure

from alloyk.imaging.drawing import overlay, shown_gray
from alloyk.plots.style import GRAY, in_house_style, readable_names

# Single pixels of a SHAP map can be many times stronger than all others.
STRONGEST_PERCENTILE = {True: 99.5, False: 100}


def strongest(values: np.ndarray, *, signed: bool) -> float:
    """The absolute value drawn at full opacity; 1 for an empty map."""
    return float(np.percentile(np.abs(values), STRONGEST_PERCENTILE[signed])) or 1.0


@in_house_style
def plot_explanation(
    raw: np.ndarray,
    seen: np.ndarray,
    over_seen: np.ndarray,
    over_raw: np.ndarray,
    *,
    signed: bool,
    title: str,
    subtitle: str = "",
) -> Axes:
    """The raw image, and the map over the preprocessed and over the raw image.

    Args:
        raw: `(h, w)` or `(h, w, c)`, of any depth.
        seen: `(H, W)`, the preprocessed image.
        over_seen: `(H, W)`, the map at that size.
        over_raw: `(h, w)`, the map at the raw image's size.
        signed: Whether the map has positive and negative values.
        title: The prediction.
        subtitle: A line under the title.
    """
    raw = shown_gray(raw)
    seen = np.clip(seen, 0, 1)
    most = strongest(over_seen, signed=signed)
    pictures = (
        (raw, f"raw image, {raw.shape[1]}×{raw.shape[0]}"),
        (overlay(seen, over_seen, most),
         f"preprocessed, {seen.shape[1]}×{seen.shape[0]}"),
        (overlay(raw, over_raw, most), "the same map over the raw image"),
    )  # fmt: skip
    ratios = [picture.shape[1] / picture.shape[0] for picture, _ in pictures]
    figure = Figure(figsize=(float(np.clip(3 * sum(ratios) + 0.9, 7, 16)), 4), layout="constrained")
    axes = figure.subplots(1, 3, width_ratios=ratios)
    for ax, (picture, name) in zip(axes, pictures, strict=True):
        ax.imshow(picture, cmap="gray", vmin=0, vmax=1)
        ax.set_title(name, fontsize=9)
        ax.set_xticks([])
        ax.set_yticks([])
    if not over_seen.any():
        axes[1].set_xlabel("empty: no region supports the class", color=GRAY)
    _add_scale(figure, axes, most, signed)
    _add_titles(figure, title, subtitle)
    return axes[0]


@in_house_style
def plot_overview(
    images: Sequence[np.ndarray],
    maps: np.ndarray,
    captions: Sequence[str],
    *,
    signed: bool,
    columns: int,
    title: str,
    subtitle: str = "",
) -> Axes:
    """All maps over the preprocessed images, each scaled separately.

    Args:
        images: n of `(H, W)`.
        maps: `(n, H, W)`.
        captions: n short texts.
        signed: Whether the maps have positive and negative values.
        columns: Images in a row.
        title: The kind of map.
        subtitle: A line under the title.
    """
    rows = -(-len(images) // columns)
    figure = Figure(figsize=(max(1.9 * columns, 5.6), 2.3 * rows + 0.8), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False)
    for ax in axes.ravel():
        ax.set_axis_off()
    for ax, image, values, caption in zip(axes.ravel(), images, maps, captions, strict=False):
        most = strongest(values, signed=signed)
        ax.imshow(overlay(np.clip(image, 0, 1), values, most))
        lines = [readable_names([line], width=22, lines=2)[0] for line in caption.split("\n")]
        ax.set_title("\n".join(lines), fontsize=8)
    _add_titles(figure, title, subtitle)
    return axes[0, 0]


def _add_titles(figure: Figure, title: str, subtitle: str) -> None:
    for add, text, style in (
        (figure.suptitle, title, {"fontsize": 12, "fontweight": "bold"}),
        (figure.supxlabel, subtitle, {"fontsize": 8.5, "color": GRAY}),
    ):
        add(text.replace("$", r"\$"), x=0.01, ha="left", **style)


def _add_scale(figure: Figure, axes: Iterable[Axes], most: float, signed: bool) -> None:
    """Add a colour bar in units of log-odds, as drawn over medium gray."""
    low = -most if signed else 0.0
    ramp = np.linspace(low, most, 256)[None]
    colours = overlay(np.full(ramp.shape, 0.5), ramp, most)[0]
    shades = LinearSegmentedColormap.from_list("map", colours)
    bar = figure.colorbar(
        ScalarMappable(Normalize(low, most), shades), ax=list(axes), shrink=0.75, pad=0.01
    )
    bar.set_label("log-odds, for the class" + (" or against it" if signed else ""), fontsize=8)
    bar.ax.tick_params(labelsize=7)
    bar.outline.set_visible(False)
