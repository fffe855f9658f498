"""Pictures of a radiograph for the page: raw, equalised, and the regions that drove the class."""

import base64
import io
from collections.abc import Callable
from typing import Any

import numpy as np
from PIL import Image

from alloyk.errors import AlloykError
from alloyk.imaging.gray import to_gray
from alloyk.inference import Classifier

LONGEST_SIDE = 720

# Grad-CAM's colour, an orange that is seen on gray by readers with any colour vision.
_HEAT = np.array([255, 122, 0], np.float32)
_MOST_OPAQUE = 0.75

Picture = str
"""A PNG as a `data:` URL."""


def raw_picture(image: np.ndarray) -> Picture:
    """Draw the counts between their 0.5th and 99.5th percentile from black to white."""
    gray = _small(image)
    low, high = np.percentile(gray, (0.5, 99.5))
    return _url(255 * np.clip((gray - low) / max(float(high - low), 1e-9), 0, 1))


def equalised_picture(image: np.ndarray) -> Picture:
    """Draw each count by the share of pixels that are not brighter."""
    gray = _small(image)
    values = np.sort(gray, axis=None)
    return _url(255 * np.searchsorted(values, gray, side="right") / gray.size)


def _small(image: np.ndarray) -> np.ndarray:
    """The image as gray, `(height, width)` float32, every k-th pixel of a large one."""
    step = -(-max(image.shape[:2]) // LONGEST_SIDE)
    return to_gray(image[::step, ::step])[..., 0]


def _url(pixels: np.ndarray) -> Picture:
    content = io.BytesIO()
    Image.fromarray(pixels.round().astype(np.uint8)).save(content, "png")
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
    except AlloykError:  # no feature map, or a vote
        return None

    def draw(image: np.ndarray, number: int) -> Picture:
        seen = parts.seen(image)
        heat = enlarged(maps_of(seen[None], np.array([number])), seen.shape)[0]
        share = heat / max(float(heat.max()), 1e-9)
        gray = np.repeat(255 * np.clip(seen, 0, 1)[..., None], 3, axis=2)
        opaque = _MOST_OPAQUE * np.clip(share, 0, 1)[..., None]
        return _url(gray * (1 - opaque) + _HEAT * opaque)

    return draw
