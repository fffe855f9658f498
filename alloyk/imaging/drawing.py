"""How radiographs and maps over them are drawn, in figures and on the page of `alloyk serve`."""

import numpy as np

# Vermilion for and blue against the class, of the palette of Okabe and Ito, which is safe for
# colour-blind readers; the opacity shows the strength. A scale of many hues would mix with the
# brightness of the image.
FOR, AGAINST = np.array([213, 94, 0]) / 255, np.array([0, 114, 178]) / 255
MAX_OPAQUE = 0.85
SHOWN_PERCENTILES = (0.5, 99.5)


def shown_gray(image: np.ndarray) -> np.ndarray:
    """An image of any depth as gray in [0, 1], `(h, w)`, without its few most extreme pixels.

    >>> shown_gray(np.arange(9, dtype=np.uint16).reshape(3, 3)).round(2).tolist()[1]
    [0.37, 0.5, 0.63]
    """
    gray = image.astype(np.float64)
    gray = gray.mean(axis=-1) if gray.ndim == 3 else gray
    low, high = np.percentile(gray, SHOWN_PERCENTILES)
    shown: np.ndarray = np.clip((gray - low) / (high - low if high > low else 1), 0, 1)
    return shown


def equalised(counts: np.ndarray) -> np.ndarray:
    """Histogram-equalised image: the share of pixels at or below each pixel's count."""
    _, inverse, number = np.unique(counts, return_inverse=True, return_counts=True)
    return (np.cumsum(number) / counts.size)[inverse].reshape(counts.shape)


def overlay(image: np.ndarray, values: np.ndarray, most: float) -> np.ndarray:
    """Blend a map over a gray image, `(h, w, 3)`.

    Args:
        image: `(h, w)` in [0, 1].
        values: `(h, w)`, the map.
        most: The absolute value to draw at full opacity.
    """
    strength = np.clip(values / most, -1, 1)[..., None]
    colour = np.where(strength > 0, FOR, AGAINST)
    opacity = MAX_OPAQUE * np.abs(strength)
    return image[..., None] * (1 - opacity) + colour * opacity
