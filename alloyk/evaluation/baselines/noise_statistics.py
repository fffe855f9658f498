"""Statistics of the noise of an image, without its levels and shapes."""

import numpy as np

BLOCKS = 8
"""Blocks along each side; the noise is measured in each."""

MIN_SIDE = 3 * BLOCKS
"""Minimum number of pixels along each side."""

FLOOR = 1e-6
"""Replaces the noise of a block without noise, in units of the image."""

# Second difference along both axes, which removes every level and slope. Divided by the root of the
# sum of its squares, it keeps the standard deviation of white noise.
_KERNEL = (1.0, -2.0, 1.0)
_KERNEL_NORM = 6.0
_MEDIAN_OF_MAGNITUDE = 0.6745  # of a standard normal number


def noise_features(images: np.ndarray) -> np.ndarray:
    """Return the logarithm of the local noise: 8 × 8 blocks, and their means by row and column.

    The median of a block's magnitudes is taken, so that an edge across the block, which depends on
    levels, counts little.

    Args:
        images: Gray images `(n, height, width)`, each side 24 pixels or more.

    Returns:
        `(n, 80)` float32.

    Raises:
        ValueError: If a side is shorter.

    Source: J. Immerkær, Comput. Vis. Image Underst. 64 (1996) 300, for the operator.
    """
    images = np.asarray(images, np.float32)
    if min(images.shape[1:]) < MIN_SIDE:
        raise ValueError(
            f"`images` must have {MIN_SIDE} pixels or more along each side, got "
            f"{images.shape[1]}x{images.shape[2]}"
        )
    left, middle, right = _KERNEL
    rows = left * images[:, :-2] + middle * images[:, 1:-1] + right * images[:, 2:]
    residual = left * rows[:, :, :-2] + middle * rows[:, :, 1:-1] + right * rows[:, :, 2:]
    magnitude = np.abs(residual) / _KERNEL_NORM
    blocks = np.stack(
        [
            [np.median(block, axis=(1, 2)) for block in np.array_split(band, BLOCKS, axis=2)]
            for band in np.array_split(magnitude, BLOCKS, axis=1)
        ]
    )
    noise = np.log(np.maximum(blocks / _MEDIAN_OF_MAGNITUDE, FLOOR))
    return np.concatenate([noise.reshape(BLOCKS**2, -1), noise.mean(axis=0), noise.mean(axis=1)]).T
