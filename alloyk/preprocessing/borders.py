"""Dark borders: the shadow of a collimator at the edge of the field."""

from typing import Any

from keras import ops

from alloyk.preprocessing.strips import is_looped, map_rows, rows_of

BORDER_LEVEL = 0.125
"""The brightest pixel of a border is below this fraction of the image's mean."""

BORDER_DEPTH = 0.1
"""Widest border that is repaired, fraction of the side; a wider one may be the object."""


def fill_borders(images: Any) -> Any:
    """Extend `(batch, height, width)` images over dark rows and columns at their edges."""
    batch, height, width = ops.shape(images)
    dark_below = BORDER_LEVEL * ops.mean(images, axis=(1, 2))[:, None]
    rows = _inside(ops.max(images, axis=2) < dark_below, height)
    columns = _inside(ops.max(images, axis=1) < dark_below, width)
    first = ops.arange(batch, dtype="int32")[:, None] * height
    pixels = ops.reshape(images, (-1,))

    def filled(start: Any, stop: Any) -> Any:
        places = (first + rows_of(rows, start, stop)) * width
        return ops.take(pixels, places[:, :, None] + columns[:, None, :])

    if not is_looped():
        return map_rows(filled, images)
    moved = ops.logical_or(
        ops.any(rows != ops.arange(height, dtype="int32")),
        ops.any(columns != ops.arange(width, dtype="int32")),
    )
    return ops.cond(moved, lambda: map_rows(filled, images), lambda: images)


def _inside(dark: Any, size: Any) -> Any:
    """Source line of each line, `(batch, size)`: itself, or the nearest one inside a border.

    Args:
        dark: `(batch, size)` bool, whether the whole line is dark.
        size: Number of lines.
    """
    places = ops.arange(size, dtype="int32")[None, :]
    deepest = ops.cast(ops.cast(size, "float32") * BORDER_DEPTH, "int32")
    bright = ops.where(dark, size, places)
    first = ops.min(bright, axis=1, keepdims=True)
    last = ops.max(ops.where(dark, -1, places), axis=1, keepdims=True)
    first = ops.where(first <= deepest, first, 0)
    last = ops.where(last >= size - 1 - deepest, last, size - 1)
    return ops.minimum(ops.maximum(places, first), last)
