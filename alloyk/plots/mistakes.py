"""The most confident mistakes as a picture sheet."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from alloyk.plots.style import GRAY, finish_sheet, in_house_style, readable_names

ABREAST = 4
MAX_PIXELS = 400


@in_house_style
def plot_mistakes(
    images: Sequence[np.ndarray],
    captions: Sequence[tuple[str, str]],
    *,
    subtitle: str = "",
) -> Axes:
    """Images in rows of four, each scaled from its darkest to its brightest pixel.

    Args:
        images: Raw images `(height, width, channels)`, one or more.
        captions: For each image, a black and a gray line.
        subtitle: A line under the sheet.

    Returns:
        The axes of the first image; the others are in the same figure.
    """
    abreast = min(ABREAST, len(images))
    rows = -(-len(images) // abreast)
    figure = Figure(figsize=(2.6 * abreast + 1.6 * (abreast < 2), 2.95 * rows + 0.8))
    figure.set_layout_engine("constrained", w_pad=0.08, h_pad=0.08)
    panels = figure.subplots(rows, abreast, squeeze=False).ravel()
    for ax, image, (prediction, where) in zip(panels, images, captions, strict=False):
        step = max(1, max(image.shape[:2]) // MAX_PIXELS)
        pixels = image[::step, ::step].astype(np.float64)
        low, high = pixels.min(), pixels.max()
        pixels = (pixels - low) / max(high - low, 1e-12)
        gray = pixels.shape[2] == 1
        ax.imshow(pixels[..., 0] if gray else pixels, cmap="gray", vmin=0, vmax=1)
        (where,) = readable_names([where], 30, 2)
        ax.set_title(prediction.replace("$", r"\$"), fontsize=9)
        ax.set_xlabel(where, fontsize=7, color=GRAY)
        ax.set_xticks([])
        ax.set_yticks([])
    for ax in panels[len(images) :]:
        ax.remove()
    finish_sheet(figure, "The most confident mistakes", subtitle)
    return panels[0]
