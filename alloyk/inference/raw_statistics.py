"""What can be measured on a raw image without a network: size, level, contrast, noise, defects."""

import math

import numpy as np

NAMES = ("height", "width", "level", "contrast", "noise", "defects")
"""Of the statistics, in order; the first three and `noise` are natural logarithms."""

# Least distance from the range of training at which a statistic counts as different: a factor of
# 1.1 in size, of 2 in level and noise, 0.15 of the contrast, 2 % of the pixels.
MARGINS = (math.log(1.1), math.log(1.1), math.log(2), 0.15, math.log(2), 0.02)

# Noise deviations that a defective pixel lies outside its neighbours, and one of a defective line.
PIXEL_DEVIATIONS = 6.0
LINE_DEVIATIONS = 3.0
LINE_SHARE = 0.5

_NORMAL_MEDIAN = 0.67449  # of the absolute value of a normal deviate


def raw_statistics(image: np.ndarray) -> np.ndarray:
    """Measure a raw image.

    Args:
        image: `(height, width)` or `(height, width, 1)`, counts.

    Returns:
        `(6,)` float64, in the order of `NAMES`: logarithms of height, width, of the level (the
        99th percentile) and of the noise; contrast, the range between the 1st and the 99th
        percentile over the level; and the share of pixels that look defective.
    """
    height, width = image.shape[0], image.shape[1]
    gray = np.asarray(image, np.float64).reshape(height, width)
    low, high = np.percentile(gray, (1, 99))
    level = max(high, 1e-6)
    contrast = (high - low) / level
    if min(height, width) < 3:
        return np.array([math.log(height), math.log(width), math.log(level), contrast, 0.0, 0.0])
    root = np.sqrt(np.maximum(gray, 0.05 * max(float(gray.mean()), 1e-6)))
    noise = _noise_per_root(gray, root)
    return np.array(
        [
            math.log(height),
            math.log(width),
            math.log(level),
            contrast,
            math.log(noise),
            _defect_share(gray, noise * root),
        ]
    )


def _noise_per_root(gray: np.ndarray, root: np.ndarray) -> float:
    """Noise deviation over the root of the level, of two directions the smaller one."""
    found = []
    for image, scale in ((gray, root), (gray.T, root.T)):
        second = image[1:-1] - (image[:-2] + image[2:]) / 2
        found.append(np.median(np.abs(second) / scale[1:-1]))
    return max(float(min(found)) / _NORMAL_MEDIAN / math.sqrt(1.5), 1e-3)


def _defect_share(gray: np.ndarray, noise: np.ndarray) -> float:
    """Share of pixels outside their neighbours on all four sides, or part of such a line."""
    down, across = _outside(gray), _outside(gray.T).T
    single = (down > PIXEL_DEVIATIONS * noise) & (across > PIXEL_DEVIATIONS * noise)
    row, column = down > LINE_DEVIATIONS * noise, across > LINE_DEVIATIONS * noise
    rows = row & (row.mean(axis=1, keepdims=True) > LINE_SHARE)
    columns = column & (column.mean(axis=0, keepdims=True) > LINE_SHARE)
    return float((single | rows | columns).mean())


def _outside(gray: np.ndarray) -> np.ndarray:
    """How far each pixel lies outside the range of the pixels above and below it."""
    above = np.concatenate([gray[1:2], gray[:-1]])
    below = np.concatenate([gray[1:], gray[-2:-1]])
    outside: np.ndarray = np.maximum(
        gray - np.maximum(above, below), np.minimum(above, below) - gray
    )
    return outside
