"""Work on the thumbnails of very many images without a copy of all of them."""

from collections.abc import Callable

import numpy as np

SAMPLE = 20_000
"""Images from which a median over a data set is computed."""

ROWS = 4096


def sample_of(rows: np.ndarray) -> np.ndarray:
    """Return all rows, or 10,000 to 20,000 of more, evenly spread.

    >>> len(sample_of(np.arange(20_000))), len(sample_of(np.arange(30_000)))
    (20000, 15000)
    """
    return rows[:: max(-(-len(rows) // SAMPLE), 1)]


def in_blocks(
    function: Callable[[np.ndarray], np.ndarray], thumbs: np.ndarray, rows: np.ndarray
) -> np.ndarray:
    """Apply a function to blocks of thumbnails, and join the results.

    Args:
        function: From `(m, side · side)` float32 to `(m, …)`.
        thumbs: `(n, side, side)`.
        rows: The rows to take, at least one.
    """
    parts = []
    for start in range(0, len(rows), ROWS):
        part = thumbs[rows[start : start + ROWS]].astype(np.float32)
        parts.append(function(part.reshape(len(part), -1)))
    return np.concatenate(parts)


def normed(thumbs: np.ndarray) -> np.ndarray:
    """Return thumbnails `(m, …)` as rows of mean 0 and length 1."""
    flat = thumbs.reshape(len(thumbs), -1)
    flat = flat - flat.mean(axis=1, keepdims=True)
    return flat / np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-6)
