"""Pictures of a radiograph for the page: raw, equalised, and the regions that drove the class."""

import base64
import io
from collections.abc import Callable
from typing import Any

import numpy as np
from PIL import Image

from alloyk.errors import AlloykError
from alloyk.imaging.drawing import equalised, overlay, shown_gray
from alloyk.imaging.gray import to_gray
from alloyk.inference import Classifier

MAX_SIDE = 720

Picture = str
"""A PNG as a `data:` URL."""


def raw_picture(image: np.ndarray) -> Picture:
    """Draw the counts between their 0.5th and 99.5th percentile from black to white."""
    return _url(shown_gray(_small(image)))


def equalised_picture(image: np.ndarray) -> Picture:
    """Draw each count by the share of pixels that are not brighter."""
    return _url(equalised(to_gray(_small(image))[..., 0]))


def _small(image: np.ndarray) -> np.ndarray:
    """Every k-th pixel of a large image."""
    step = -(-max(image.shape[:2]) // MAX_SIDE)
    return image[::step, ::step]


def _url(drawn: np.ndarray) -> Picture:
    """Return values in [0, 1], `(h, w)` or `(h, w, 3)`."""
    content = io.BytesIO()
    Image.fromarray((255 * drawn).round().astype(np.uint8)).save(content, "png")
    return "data:image/png;base64," + base64.b64encode(content.getvalue()).decode()


def gradcam_of(classifier: Classifier) -> Callable[[np.ndarray, int], Picture] | None:
    """Return what draws the regions that drove a class of an image; None if it cannot be known.

    It is for Keras models of convolutional networks; it must be called on the model's thread.
    """
    if getattr(classifier.backend, "model", None) is None:
        return None
    from alloyk.explanation.gradcam import GradCAM, enlarged
    from alloyk.explanation.model_parts import opened

    try:
        parts = opened(classifier)
        maps_of: Any = GradCAM(parts.network)
    except AlloykError:  # no feature map, or an ensemble
        return None

    def draw(image: np.ndarray, number: int) -> Picture:
        seen = parts.seen(image)
        heat = enlarged(maps_of(seen[None], np.array([number])), seen.shape)[0]
        return _url(overlay(np.clip(seen, 0, 1), heat, float(heat.max()) or 1.0))

    return draw
