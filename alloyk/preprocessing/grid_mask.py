"""Grid masking by KerasCV, with masks that follow from a seed alone.

KerasCV's layers draw from a random generator with a state, so that an interrupted epoch cannot be
repeated. `GridMask` takes its generator from an attribute that KerasCV documents for subclasses;
here it is replaced by one without a state. KerasCV's `MixUp` and `CutMix` draw from TensorFlow's
global generator, which cannot be replaced.

Reference: [Chen et al., 2020](https://arxiv.org/abs/2001.04086).
"""

from typing import Any

import tensorflow as tf


class _SeededGenerator:
    """Stands in for `tf.random.Generator`: the numbers follow from the seed and their order.

    Args:
        seed: `(2,)` int tensor.
    """

    def __init__(self, seed: Any):
        self._seed = seed
        self._drawn = 0

    def uniform(self, shape: Any, minval: Any, maxval: Any, dtype: Any) -> Any:
        self._drawn += 1
        seed = tf.random.experimental.stateless_fold_in(self._seed, self._drawn)
        return tf.random.stateless_uniform(shape, seed, minval, maxval, dtype)


def _grid_mask_layer(ratio: float) -> Any:
    import keras_cv  # takes a second, and only this augmentation needs it

    try:
        return keras_cv.layers.GridMask(ratio_factor=(ratio, ratio), rotation_factor=0.0)
    except RuntimeError:
        # In a deterministic training TensorFlow's global generator must be set. The layer asks for
        # it, but does not draw from it here.
        with tf.init_scope():
            tf.random.set_global_generator(tf.random.Generator.from_seed(0))
        return keras_cv.layers.GridMask(ratio_factor=(ratio, ratio), rotation_factor=0.0)


def mask_by_grid(images: Any, seed: Any, ratio: float, rows: Any = None) -> Any:
    """Set a grid of squares, at random places of each image, to the image's mean.

    Args:
        images: `(batch, height, width, 1)` float32.
        seed: `(2,)` int tensor; the same seed gives the same masks.
        ratio: Float in (0, 1). Side of the squares, part of the grid's period.
        rows: `(batch,)` int, places of the images in the batch for which masks are drawn; None if
            these are all.

    Returns:
        `(batch, height, width, 1)` float32.
    """
    layer = _grid_mask_layer(ratio)

    def masked(image_and_number: Any) -> Any:
        image, number = image_and_number
        layer._random_generator = _SeededGenerator(
            tf.random.experimental.stateless_fold_in(seed, number)
        )
        mask, _ = layer.get_random_transformation(image=image)
        mean = tf.fill(tf.shape(image), tf.reduce_mean(image))
        return layer.augment_image(image, transformation=(mask, mean))

    numbers = tf.range(tf.shape(images)[0]) if rows is None else rows
    result = tf.map_fn(masked, (images, numbers), fn_output_signature=images.dtype)
    return tf.ensure_shape(result, images.shape)
