"""Convert colour to gray, with identical rounding everywhere."""

import numpy as np

# ITU-R BT.601-7, section 2.5.1: the luma that Pillow and TensorFlow also use for RGB to gray.
LUMA_WEIGHTS = (0.299, 0.587, 0.114)


def to_gray(image: np.ndarray) -> np.ndarray:
    """Return an image `(height, width, 1 or 3)` as gray float32 `(height, width, 1)`.

    The products are added in the same order as in `alloyk.preprocessing.Grayscale`; the last bit
    can move a pixel into another bin of the histogram.

    >>> to_gray(np.full((1, 1, 3), 7, np.uint16)).item()
    7.0
    """
    counts = image.astype(np.float32)
    if counts.shape[2] == 1:
        return counts
    red, green, blue = np.split(counts[..., :3], 3, axis=2)
    gray: np.ndarray = red * LUMA_WEIGHTS[0] + green * LUMA_WEIGHTS[1] + blue * LUMA_WEIGHTS[2]
    return gray


def with_channels(image: np.ndarray, channels: int | None) -> np.ndarray:
    """Return an image `(height, width, 1 or 3)` with 1 or 3 channels; as it is for None.

    >>> with_channels(np.full((1, 1, 1), 7, np.uint16), 3).tolist()
    [[[7, 7, 7]]]
    """
    if channels == 3 and image.shape[2] == 1:
        return np.repeat(image, 3, axis=2)
    if channels == 1 and image.shape[2] == 3:
        return to_gray(image)
    return image
