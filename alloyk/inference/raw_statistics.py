"""What can be measured on a raw image without a network: size, level, contrast, noise, defects."""

import math
from collections.abc import Iterator

import numpy as np

NAMES = ("height", "width", "level", "contrast", "noise", "defects", "median")
"""Names of the statistics, in order; the first three and `noise` are natural logarithms."""

# Minimum distance from the range of training at which a statistic counts as different: a factor of
# 1.1 in size, of 2 in level and noise, 0.15 of the contrast, 2 % of the pixels, 0.1 of the place of
# the median.
MARGINS = (math.log(1.1), math.log(1.1), math.log(2), 0.15, math.log(2), 0.02, 0.1)

# Noise deviations that a defective pixel lies outside its neighbours, and one of a defective line.
PIXEL_DEVIATIONS = 6.0
LINE_DEVIATIONS = 3.0
LINE_SHARE = 0.5

_NORMAL_MEDIAN = 0.67449  # of the absolute value of a normal deviate


# Pixels that are converted at a time: strips of rows of a large image stay in the cache.
STRIP_PIXELS = 2**18

# Pixels that the noise is measured on: of a larger image some strips, evenly spaced.
NOISE_PIXELS = 2**22


def raw_statistics(image: np.ndarray) -> np.ndarray:
    """Measure a raw image.

    The image is converted in strips of rows, so that a large one takes little more memory than it
    has itself.

    Args:
        image: `(height, width)` or `(height, width, 1)`, counts.

    Returns:
        `(7,)` float64, in the order of `NAMES`: logarithms of height, width, of the level (the
        99th percentile) and of the noise; contrast, the range between the 1st and the 99th
        percentile over the level; the share of pixels that look defective; and the place of the
        median in that range, 0 to 1, which an inverted image has at the other end.
    """
    height, width = image.shape[0], image.shape[1]
    gray = np.asarray(image).reshape(height, width)
    low, median, high = percentiles(gray, (1, 50, 99))
    level = max(high, 1e-6)
    contrast = (high - low) / level
    place = (median - low) / (high - low) if high > low else 0.5
    sizes = [math.log(height), math.log(width), math.log(level), contrast]
    if min(height, width) < 3:
        return np.array([*sizes, 0.0, 0.0, place])
    floor = 0.05 * max(float(gray.mean(dtype=np.float64)), 1e-6)
    noise = _noise_per_root(gray, floor)
    return np.array([*sizes, math.log(noise), _defect_share(gray, noise, floor), place])


def percentiles(values: np.ndarray, percents: tuple[float, ...]) -> list[float]:
    """Return `np.percentile` of the values as float64, without converting all of them.

    >>> percentiles(np.array([3, 1, 2], np.uint8), (0, 75))
    [1.0, 2.5]
    """
    places = [percent / 100 * (values.size - 1) for percent in percents]
    around = sorted({f(place) for place in places for f in (math.floor, math.ceil)})
    ordered = np.partition(values, around, axis=None)
    found = []
    for place in places:
        below, above = float(ordered[math.floor(place)]), float(ordered[math.ceil(place)])
        found.append(below + (above - below) * (place - math.floor(place)))
    return found


def _strips(first: int, last: int, width: int) -> Iterator[tuple[int, int]]:
    """Yield the first row of each strip and the one after it, of the rows `first` to `last`."""
    rows = max(1, STRIP_PIXELS // width)
    for start in range(first, last, rows):
        yield start, min(start + rows, last)


def _noise_per_root(gray: np.ndarray, floor: float) -> float:
    """Noise deviation over the root of the level, of two directions the smaller one."""
    height, width = gray.shape
    every = -(-gray.size // NOISE_PIXELS)
    found = []
    for down in (1, 0):
        strips = list(_strips(down, height - down, width))[::every]
        # float32 is enough for a median, and half the memory.
        rows = sum(stop - start for start, stop in strips)
        values = np.empty((rows, width - 2 * (1 - down)), np.float32)
        done = 0
        for start, stop in strips:
            block = gray[start - down : stop + down].astype(np.float64)
            before, middle, after = (
                (block[:-2], block[1:-1], block[2:])
                if down
                else (block[:, :-2], block[:, 1:-1], block[:, 2:])
            )
            second = np.abs(middle - (before + after) / 2)
            part = values[done : done + stop - start]
            with np.errstate(over="ignore"):  # of counts near the end of float32
                part[...] = second / np.sqrt(np.maximum(middle, floor))
            done += len(part)
        found.append(float(np.median(values, overwrite_input=True)))
    least = min(*found, float(np.finfo(np.float32).max))
    return max(least / _NORMAL_MEDIAN / math.sqrt(1.5), 1e-3)


def _defect_share(gray: np.ndarray, noise: float, floor: float) -> float:
    """Share of pixels outside their neighbours on all four sides, or part of such a line."""
    height, width = gray.shape
    found = np.empty((height, width), bool)
    column = np.empty((height, width), bool)
    for start, stop in _strips(0, height, width):
        rows = np.abs(np.arange(start - 1, stop + 1))
        rows = np.where(rows < height, rows, 2 * height - 2 - rows)  # mirrored at the edges
        block = gray[rows].astype(np.float64)
        deviation = noise * np.sqrt(np.maximum(block[1:-1], floor))
        down = _outside(block)
        across = _outside(np.pad(block[1:-1], ((0, 0), (1, 1)), mode="reflect").T).T
        limit = PIXEL_DEVIATIONS * deviation
        single = (down > limit) & (across > limit)
        limit = LINE_DEVIATIONS * deviation
        row = down > limit
        found[start:stop] = single | (row & (row.mean(axis=1, keepdims=True) > LINE_SHARE))
        column[start:stop] = across > limit
    column &= column.mean(axis=0, keepdims=True) > LINE_SHARE
    found |= column
    return float(found.mean())


def _outside(gray: np.ndarray) -> np.ndarray:
    """How far each pixel is outside the range of the pixels above and below it.

    Returns:
        One row less at the top and at the bottom.
    """
    above, middle, below = gray[:-2], gray[1:-1], gray[2:]
    outside: np.ndarray = np.maximum(
        middle - np.maximum(above, below), np.minimum(above, below) - middle
    )
    return outside
