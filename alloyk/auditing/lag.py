"""Lag of the detector: images that carry a fading ghost of the image before.

A ghost shows where the image before has edges and this one has none. Similarity alone proves
nothing: consecutive images may show the same plate. But a ghost appears in the later image only,
while similarity without lag is the same in both directions of time. So the check measures how
strongly the edges of each image reappear in the next, and subtracts the same in reverse order.
"""

from collections.abc import Iterator

import numpy as np

from alloyk.auditing.blocks import ROWS
from alloyk.auditing.defects import MEDIAN_OF_NORMAL
from alloyk.auditing.findings import CHECK, Audited, Finding
from alloyk.auditing.quality import MIN_IN_SERIES, STANDARD_ERRORS, series_in_order, sorted_rows
from alloyk.messages import counted

# An edge is a second difference of block means above this many robust standard deviations of all
# those of the image, and above this fraction of its mean count.
STRONG = 8.0
MIN_EDGE = 0.02
# The other image is empty where its second differences, up to two blocks around, are below this
# fraction of the edge: an edge that has moved a little is not a ghost.
EMPTY = 0.25
REACH = 2
MIN_BLOCKS = 3

# The smallest lag that matters: half a per cent of the image before.
LAG = 0.005


def lag(audited: Audited) -> Iterator[Finding]:
    """A ghost of the image before, in the order of time if it is known, else of file names."""
    found = max((_ghost(audited, pairs) for pairs in _orders(audited)), key=lambda ghost: ghost[1])
    fraction, z, count = found
    if z < STANDARD_ERRORS or fraction < LAG:
        return
    yield Finding(
        "lag",
        CHECK,
        f"Images carry a ghost of the image before, {100 * fraction:.1f} % as strong (median of "
        f"{counted(count, 'pair')} of consecutive images).",
        "Correct the lag, or wait longer or reset the detector between exposures; until then, "
        "record the classes in mixed order and keep consecutive images in one split.",
        values={"fraction": fraction, "pairs": count},
    )


LAG_CHECKS = (lag,)


def _orders(audited: Audited) -> Iterator[np.ndarray]:
    """Rows `(n, 2)` of an image and the next: within each series of a class, and over all."""
    within = series_in_order(audited, 2).values()
    yield np.concatenate([_consecutive(rows) for rows in within] or [np.empty((0, 2), int)])
    yield _consecutive(sorted_rows(audited, np.arange(len(audited))))


def _consecutive(rows: np.ndarray) -> np.ndarray:
    return np.stack([rows[:-1], rows[1:]], axis=1)


def _ghost(audited: Audited, pairs: np.ndarray) -> tuple[float, float, int]:
    """Median ghost over pairs, the z value of Wilcoxon's signed-rank test, and the number of pairs.

    The null hypothesis is that forwards less backwards is symmetric about 0.
    """
    from scipy.stats import rankdata

    pairs = pairs[audited.scan.readable[pairs].all(axis=1)]
    parts = [_differences(audited, pairs[i : i + ROWS]) for i in range(0, len(pairs), ROWS)]
    found = np.concatenate([np.empty(0), *parts])
    found = found[np.isfinite(found)]
    if len(found) < MIN_IN_SERIES:
        return 0.0, 0.0, len(found)
    ranks = rankdata(np.abs(found))
    z = float((ranks * np.sign(found)).sum() / np.sqrt(np.square(ranks).sum()))
    return float(np.median(found)), z, len(found)


def _differences(audited: Audited, pairs: np.ndarray) -> np.ndarray:
    """Ghost of the first image in the second less that of the second in the first, NaN: unknown."""
    means = np.abs(audited.measure("mean"))
    first, second = (
        _edges(audited.scan.thumbs[rows].astype(np.float32) * means[rows, None, None])
        for rows in pairs.T
    )
    first_mean, second_mean = means[pairs.T]
    return _carried(first, second, first_mean) - _carried(second, first, second_mean)


def _edges(blocks: np.ndarray) -> np.ndarray:
    """Second differences of `(n, side, side)` down and across, `(n, 2, side, side)`."""
    edges = np.zeros((len(blocks), 2, *blocks.shape[1:]), np.float32)
    edges[:, 0, 1:-1] = blocks[:, 2:] - 2 * blocks[:, 1:-1] + blocks[:, :-2]
    edges[:, 1, :, 1:-1] = blocks[:, :, 2:] - 2 * blocks[:, :, 1:-1] + blocks[:, :, :-2]
    return edges


def _carried(edges: np.ndarray, other: np.ndarray, means: np.ndarray) -> np.ndarray:
    """Relative height `(n,)` of edges in another image that has none there; NaN: unknown."""
    from scipy.ndimage import maximum_filter

    heights = np.abs(edges)
    deviation = np.median(heights.reshape(len(edges), -1), axis=1) / MEDIAN_OF_NORMAL
    smallest = np.maximum(STRONG * deviation, MIN_EDGE * means)[:, None, None, None]
    around = (1, 2 * REACH + 1, 2 * REACH + 1)
    own = maximum_filter(np.abs(other).max(axis=1), size=around)[:, None]
    used = (heights > smallest) & (own < EMPTY * heights)
    weights = np.where(used, edges, 0)
    norm = np.square(weights, dtype=np.float64).sum(axis=(1, 2, 3))
    enough = used.sum(axis=(1, 2, 3)) >= MIN_BLOCKS
    carried = (weights * other).sum(axis=(1, 2, 3), dtype=np.float64)
    return np.divide(carried, norm, out=np.full(len(edges), np.nan), where=enough)
