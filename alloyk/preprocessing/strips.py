"""Rows of large images, visited strip by strip.

A layer of many operations needs many copies of its image, too many for frames of 16 million pixels
and more. In a strip of rows they are small. Layers compute the same numbers, bit for bit, for a
whole image and in strips: means over an image are means of the means of its rows.

By default an image is visited as a whole, which is fastest for small ones and in batches. Strips
are used in graphs that are traced within `looped`.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from keras import ops

LARGE_PIXELS = 2**22
"""Images with more pixels, of all channels, are to be visited in strips."""

STRIP_PIXELS = 2**19
"""Pixels of a strip: its copies stay in the cache."""

Visit = Callable[[Any, Any], Any]
"""`visit(start, stop)` computes something from the rows `start` to `stop - 1`."""

_LOOPED: ContextVar[bool] = ContextVar("looped", default=False)


@contextmanager
def looped() -> Iterator[None]:
    """Visit images in strips by a TensorFlow loop; only for graphs that TensorFlow runs."""
    before = _LOOPED.set(True)
    try:
        yield
    finally:
        _LOOPED.reset(before)


def is_looped() -> bool:
    """Whether images are visited in strips."""
    return _LOOPED.get()


def map_rows(visit: Visit, images: Any, rank: int = 3) -> Any:
    """Results of all rows `(batch, height, …)`.

    Args:
        visit: Returns `(batch, stop - start, …)` float32, each row independent of the strip.
        images: `(batch, height, width, …)`, for their size.
        rank: Number of dimensions of the results.
    """
    height, width = ops.shape(images)[1:3]
    if not is_looped():
        return visit(0, height)
    import tensorflow as tf

    rows, count = _loop_rows(height, width)
    parts = tf.TensorArray(tf.float32, count, infer_shape=False, element_shape=(None,) * rank)

    def body(number: Any, parts: Any) -> tuple[Any, Any]:
        start = number * rows
        found = visit(start, ops.minimum(start + rows, height))
        # Joined along the first axis; moving an axis of length 1 copies nothing.
        return number + 1, parts.write(number, ops.moveaxis(found, 1, 0))

    first = ops.convert_to_tensor(0, "int32")
    _, parts = tf.while_loop(
        lambda number, _: number < count, body, (first, parts), parallel_iterations=1
    )
    return ops.moveaxis(parts.concat(), 0, 1)


def sum_rows(visit: Visit, images: Any, shape: tuple) -> Any:
    """Sum of the results of all strips.

    Args:
        visit: Returns a float32 tensor of `shape`; only exact sums, such as counts, do not depend
            on the strips.
        images: `(batch, height, width, …)`, for their size.
        shape: Shape of the result.
    """
    height, width = ops.shape(images)[1:3]
    if not is_looped():
        return visit(0, height)
    import tensorflow as tf

    rows, count = _loop_rows(height, width)

    def body(number: Any, total: Any) -> tuple[Any, Any]:
        start = number * rows
        return number + 1, total + visit(start, ops.minimum(start + rows, height))

    start = (ops.convert_to_tensor(0, "int32"), ops.zeros(shape, "float32"))
    _, total = tf.while_loop(lambda number, _: number < count, body, start, parallel_iterations=1)
    return ops.reshape(total, shape)


def rows_of(images: Any, start: Any, stop: Any) -> Any:
    """The rows `start` to `stop - 1` of images."""
    return images[:, start:stop] if is_looped() else images


def rows_around(images: Any, start: Any, stop: Any, margin: int) -> tuple[Any, Any]:
    """The rows `start - margin` to `stop + margin - 1` of images in strips, mirrored at the edges.

    Returns:
        The rows, and their indices before mirroring, `(stop - start + 2 · margin,)` int32.
    """
    last = ops.shape(images)[1] - 1
    places = start - margin + ops.arange(stop - start + 2 * margin, dtype="int32")
    # At most to the other edge, if there are fewer rows than the margin.
    before, after = ops.minimum(-places, last), last - ops.minimum(places - last, last)
    mirrored = ops.where(places < 0, before, ops.where(places > last, after, places))
    return ops.take(images, mirrored, axis=1), places


def mean(images: Any) -> Any:
    """Mean of each image `(batch, height, width)`, `(batch, 1, 1)`."""
    return mean_of_rows(ops.mean(images, axis=2))


def mean_of_rows(means: Any) -> Any:
    """Mean of each image from the means of its rows `(batch, height)`, `(batch, 1, 1)`."""
    return ops.mean(means, axis=1)[:, None, None]


def _loop_rows(height: Any, width: Any) -> tuple[Any, Any]:
    """Rows of a strip, and number of strips."""
    rows = ops.maximum(STRIP_PIXELS // width, 1)
    return rows, (height + rows - 1) // rows
