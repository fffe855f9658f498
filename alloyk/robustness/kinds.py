"""What detectors, laboratories and file formats do to a raw image.

Each kind is a function of an image `(height, width)` float64 in counts, a strength, the largest
count of the detector and a random generator; it returns an image of the same size.
"""

import io
import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from PIL import Image

# A pixel below this share of the brightest counts as one at it: about one count of 16 bits.
DARK = 2.0**-16

Change = Callable[[np.ndarray, float, float, np.random.Generator], np.ndarray]


class Kind(NamedTuple):
    """A disturbance.

    Attributes:
        unit: What the strength counts.
        strengths: From weak to strong.
        change: The function.
        recognisable: Whether the image still shows its class. If not, every confident
            answer is an error.
    """

    unit: str
    strengths: tuple[float, ...]
    change: Change
    recognisable: bool = True


def _scattered(value: float) -> Change:
    """Set single pixels, at least one, to a share of full scale."""

    def change(image, share, full_scale, rng):
        count = max(1, round(share * image.size))
        changed = image.copy()
        changed.ravel()[rng.choice(image.size, count, replace=False)] = value * full_scale
        return changed

    return change


def _clusters(image, count, full_scale, rng):
    changed = image.copy()
    for _ in range(int(count)):
        row, column = (int(rng.integers(0, side - 1)) for side in image.shape)
        changed[row : row + 2, column : column + 2] = 0
    return changed


def _lines(value: float, axis: int) -> Change:
    def change(image, count, full_scale, rng):
        changed = image.copy()
        lines = rng.choice(image.shape[axis], int(count), replace=False)
        changed[lines if axis == 0 else (slice(None), lines)] = value * full_scale
        return changed

    return change


def _border(image, pixels, full_scale, rng):
    changed = np.zeros_like(image)
    inner = slice(int(pixels), -int(pixels))
    changed[inner, inner] = image[inner, inner]
    return changed


def _gain(image, factor, full_scale, rng):
    return image * factor


def _offset(image, share, full_scale, rng):
    return image + share * full_scale


def _gradient(image, share, full_scale, rng):
    columns = np.linspace(-1, 1, image.shape[1])
    return image * (1 + share * columns / 2)


def _vignette(image, share, full_scale, rng):
    rows, columns = (np.linspace(-1, 1, side) for side in image.shape)
    return image * (1 - share * (rows[:, None] ** 2 + columns**2) / 2)


def _bits(image, bits, full_scale, rng):
    levels = 2**bits - 1
    return np.rint(image / full_scale * levels) / levels * full_scale


def _jpeg(image, quality, full_scale, rng):
    file = io.BytesIO()
    gray = np.clip(np.rint(image / full_scale * 255), 0, 255).astype(np.uint8)
    Image.fromarray(gray).save(file, "JPEG", quality=int(quality))
    return np.asarray(Image.open(file), np.float64) / 255 * full_scale


def _blur(image, deviation, full_scale, rng):
    from scipy.ndimage import gaussian_filter

    return gaussian_filter(image, deviation, mode="nearest")


def noise_per_root(image: np.ndarray) -> float:
    """Noise deviation over the root of the level, from second differences along columns.

    Proportional to the root of the images' unit: float images may hold any.
    """
    middle = np.maximum(image[1:-1], max(DARK * image.max(), np.finfo(np.float64).tiny))
    difference = image[1:-1] - (image[:-2] + image[2:]) / 2
    return float(np.median(np.abs(difference) / np.sqrt(middle)) * 1.4826 / math.sqrt(1.5))


def _dose(image, factor, full_scale, rng):
    """Add the noise of a lower dose; the mean count stays."""
    added = noise_per_root(image) * math.sqrt(1 / factor - 1)
    return image + added * np.sqrt(np.maximum(image, 0)) * rng.standard_normal(image.shape)


def _moved(image, matrix, shift):
    from scipy.ndimage import affine_transform

    centre = (np.array(image.shape) - 1) / 2
    offset = centre - matrix @ centre + np.asarray(shift)
    return affine_transform(image, matrix, offset, order=1, mode="nearest")


def _rotation(image, degrees, full_scale, rng):
    angle = math.radians(degrees) * rng.choice([-1, 1])
    cos, sin = math.cos(angle), math.sin(angle)
    return _moved(image, np.array([[cos, -sin], [sin, cos]]), (0, 0))


def _shift(image, share, full_scale, rng):
    direction = rng.uniform(0, 2 * math.pi)
    height, width = image.shape
    step = (share * height * math.sin(direction), share * width * math.cos(direction))
    return _moved(image, np.eye(2), step)


def _crop(image, share, full_scale, rng):
    return _moved(image, np.eye(2) * (1 - share), (0, 0))


def _turned(image, quarters, full_scale, rng):
    turned = np.rot90(image, int(quarters))
    if turned.shape != image.shape:
        return np.flipud(image)
    return turned


def _flipped(axis: int) -> Change:
    def change(image, strength, full_scale, rng):
        return np.flip(image, axis)

    return change


def _saturation(image, share, full_scale, rng):
    return np.minimum(image, share * np.percentile(image, 99))


def _lag(image, share, full_scale, rng):
    """Add an after-image of the previous frame; here the same image upside down."""
    return image + share * image[::-1]


def _hair(image, pixels, full_scale, rng):
    """A straight object across the field that takes half of the beam."""
    rows, columns = np.indices(image.shape)
    angle = rng.uniform(0.2, 1.3)
    middle = (np.array(image.shape) - 1) / 2
    across = (rows - middle[0]) * math.cos(angle) - (columns - middle[1]) * math.sin(angle)
    return np.where(np.abs(across) <= pixels / 2, image / 2, image)


def _marker(image, share, full_scale, rng):
    """A bright square in a corner, as burnt-in text."""
    side = max(1, round(share * min(image.shape)))
    changed = image.copy()
    changed[1 : 1 + side, 1 : 1 + side] = full_scale
    return changed


def _binning(image, factor, full_scale, rng):
    factor = int(factor)
    height, width = (side // factor * factor for side in image.shape)
    blocks = image[:height, :width].reshape(height // factor, factor, width // factor, factor)
    binned = blocks.mean(axis=(1, 3)).repeat(factor, 0).repeat(factor, 1)
    changed = image.copy()
    changed[:height, :width] = binned
    return changed


def _inverted(image, strength, full_scale, rng):
    return image.max() + image.min() - image


def _empty(image, level, full_scale, rng):
    mean = level * full_scale
    least = 1e-3 * math.sqrt(DARK * full_scale)
    noise = max(noise_per_root(image), least) * math.sqrt(mean)
    return mean + noise * rng.standard_normal(image.shape)


def _only_noise(image, spread, full_scale, rng):
    return full_scale * (0.5 + spread * rng.standard_normal(image.shape))


def _photograph(image, number, full_scale, rng):
    """One of scikit-learn's two photographs, gray, resized to the image."""
    from sklearn.datasets import load_sample_images

    photograph = load_sample_images().images[int(number) - 1].mean(axis=2).astype(np.uint8)
    top, left = (int(rng.integers(0, 100)) for _ in range(2))
    part = Image.fromarray(photograph[top : top + 320, left : left + 500])
    height, width = image.shape
    gray = np.asarray(part.resize((width, height), Image.Resampling.BILINEAR), np.float64)
    return gray / 255 * image.max()


SHARES = (1e-4, 1e-3, 1e-2)
KINDS: dict[str, Kind] = {
    "dead pixels": Kind("share", SHARES, _scattered(0.0)),
    "hot pixels": Kind("share", SHARES, _scattered(1.0)),
    "dead 2×2 clusters": Kind("clusters", (1, 3, 10), _clusters),
    "dead rows": Kind("rows", (1, 2, 4), _lines(0.0, 0)),
    "hot columns": Kind("columns", (1, 2, 4), _lines(1.0, 1)),
    "dark border": Kind("pixels", (1, 2, 4), _border),
    "gain": Kind("factor", (0.8, 0.6, 0.4), _gain),
    "offset": Kind("of full scale", (0.01, 0.03, 0.1), _offset),
    "gradient": Kind("of the level", (0.05, 0.1, 0.2), _gradient),
    "vignette": Kind("of the level", (0.05, 0.1, 0.2), _vignette),
    "bit depth": Kind("bits", (10, 8, 6), _bits),
    "JPEG": Kind("quality", (95, 90, 70), _jpeg),
    "blur": Kind("pixels", (0.5, 1, 2), _blur),
    "dose": Kind("factor", (0.5, 0.25, 0.1), _dose),
    "rotation": Kind("degrees", (2, 5, 10), _rotation),
    "shift": Kind("of the side", (0.02, 0.05, 0.1), _shift),
    "crop": Kind("of the side", (0.04, 0.08, 0.16), _crop),
    "turn": Kind("quarter turns", (1, 2, 3), _turned),
    "flip left-right": Kind("", (1,), _flipped(1)),
    "flip up-down": Kind("", (1,), _flipped(0)),
    "saturation": Kind("of the brightest", (0.9, 0.7, 0.5), _saturation),
    "lag": Kind("of the frame before", (0.01, 0.03, 0.1), _lag),
    "hair": Kind("pixels", (1, 2, 4), _hair),
    "burnt-in marker": Kind("of the side", (0.05, 0.1, 0.2), _marker),
    "binning": Kind("pixels", (2, 3, 4), _binning),
    "inverted": Kind("", (1,), _inverted, recognisable=False),
    "empty beam": Kind("of full scale", (0.2, 0.5, 0.8), _empty, recognisable=False),
    "noise only": Kind("of full scale", (0.02, 0.1, 0.2), _only_noise, recognisable=False),
    "photograph": Kind("number", (1, 2), _photograph, recognisable=False),
}
