"""Preprocess the small images of a batch together, each with the bits that it gets by itself.

The graph of preprocessing has hundreds of operations. To start them takes 1 to 2 ms, which for a
small image is nearly all of its time (scripts/bench_pipeline.py).
"""

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

GROUPED_PIXELS = 2**13
"""Maximum number of pixels of an image that is preprocessed with others. All raw images of such a
batch are in memory together; larger images keep several processors busy one by one."""

GROUP_NUMBERS = 2**17
"""Maximum size of the images preprocessed together, in numbers: their copies stay in the cache."""

# TensorFlow computes eight numbers at once, and those left over at the end of an array by another
# routine, which rounds differently. Matrices with shorter sides are multiplied in another way if
# there are several. Such images are preprocessed one by one.
SIDE_STEP = 8
MIN_SIDE = 24

_TRACED: dict[str, Callable[[Any], Any]] = {}


class Grouping:
    """Preprocessing of the images of a batch: small ones of equal shape together, others singly.

    Args:
        preprocessing: Layers from raw images to images of fixed size.

    Attributes:
        alone: Preprocesses images of one size, `(n, height, width, channels)` float32.
        output_shape: Of a preprocessed image, `(height, width, channels)`.
    """

    def __init__(self, preprocessing: Any) -> None:
        self.alone = _traced(preprocessing)
        self.output_shape = tuple(preprocessing.output_shape[1:])
        # Between the layers, each channel is an image.
        limits = [layer.most_together for layer in preprocessing.layers]
        limits = [limit // self.output_shape[-1] for limit in limits if limit is not None]
        self._most = min(limits, default=GROUP_NUMBERS)

    def is_for(self, sizes: np.ndarray) -> bool:
        """Whether the images of a batch may be grouped.

        Args:
            sizes: `(n, 2)` int, height and width; 0 if unknown.
        """
        sides = np.vstack([sizes, self.output_shape[:2]])
        even = (sides % SIDE_STEP == 0).all() and (sides >= MIN_SIDE).all()
        return bool(even and (sizes.prod(axis=1) <= GROUPED_PIXELS).all() and self._most > 1)

    def together(self, numbers: Any, shapes: Any) -> Any:
        """Preprocess a batch of raw images in a graph.

        Args:
            numbers: `(n, m)` float32, a flat image in each row; shorter ones are padded.
            shapes: `(n, 3)` int32, height, width and channels; 0 if preprocessed already.

        Returns:
            `(n, height, width, channels)` float32, in the order of the batch.
        """
        images = tf.cond(
            tf.reduce_any(shapes > 0),
            lambda: self._in_groups(numbers, shapes),
            lambda: tf.reshape(numbers, (-1, *self.output_shape)),
        )
        return tf.ensure_shape(images, (None, *self.output_shape))

    def _in_groups(self, numbers: Any, shapes: Any) -> Any:
        order, edges = self._groups(shapes)
        count = tf.size(edges) - 1
        parts = tf.TensorArray(
            tf.float32, count, infer_shape=False, element_shape=(None, *self.output_shape)
        )

        def body(group: Any, parts: Any) -> tuple[Any, Any]:
            rows = order[edges[group] : edges[group + 1]]
            shape = shapes[rows[0]]
            raw = tf.gather(numbers, rows)[:, : tf.reduce_prod(shape)]
            images = self.alone(tf.reshape(raw, tf.concat([[-1], shape], 0)))
            return group + 1, parts.write(group, images)

        first = tf.constant(0)
        _, parts = tf.while_loop(lambda group, _: group < count, body, (first, parts))
        return tf.gather(parts.concat(), tf.argsort(order))

    def _groups(self, shapes: Any) -> tuple[Any, Any]:
        """Rows of a batch sorted by shape, `(n,)`, and the ends of groups, `(groups + 1,)`."""
        keys = tf.reduce_sum(tf.cast(shapes, tf.int64) * [2**40, 2**20, 1], axis=1)
        order = tf.argsort(keys, stable=True)
        _, kinds, counts = tf.unique_with_counts(tf.gather(keys, order))
        place = tf.range(tf.size(order)) - tf.gather(tf.cumsum(counts, exclusive=True), kinds)
        size = tf.reduce_prod(tf.gather(shapes, order), axis=1)
        begins = place % tf.clip_by_value(GROUP_NUMBERS // size, 1, self._most) == 0
        return order, tf.concat([tf.cast(tf.where(begins)[:, 0], tf.int32), [tf.size(order)]], 0)


def _traced(preprocessing: Any) -> Callable[[Any], Any]:
    """A function that preprocesses images of one size `(n, height, width, channels)`.

    It is traced once for all data sets, both ways of reading, and one run after another with
    the same preprocessing: tracing takes a second, and tf.data would optimize each copy of the
    large graph.
    """
    # The configuration holds the digest of the flat frames.
    key = json.dumps(preprocessing.get_config(), sort_keys=True)
    found = _TRACED.get(key)
    if found is None:
        raw_images = tf.TensorSpec((None, *preprocessing.input_shape[1:3], None), tf.float32)

        @tf.function(autograph=False, input_signature=[raw_images])
        def preprocessed(images: Any) -> Any:
            return preprocessing(images)

        _TRACED.clear()  # only the last one is kept: it may hold large flat frames
        found = _TRACED[key] = preprocessed
    return found
