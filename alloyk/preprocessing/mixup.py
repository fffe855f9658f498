"""Mixing of two training images and their classes: MixUp."""

from typing import Any

import tensorflow as tf


def mix_pairs(images: Any, labels: Any, seed: Any, alpha: float) -> tuple[Any, Any]:
    """Mix each image of a batch with another one of it.

    The share of the first image is drawn from Beta(alpha, alpha) for each image. Everything drawn
    follows from the seed, so that an interrupted epoch can be repeated; KerasCV's `MixUp` draws
    from TensorFlow's global generator.

    Args:
        images: `(batch, height, width, 1)` float32.
        labels: `(batch,)` int class numbers.
        seed: `(2,)` int tensor.
        alpha: Float > 0. Small values leave most images nearly as they are, 1 makes every share
            equally likely.

    Returns:
        Mixed images, and `(batch, 3)` float32: first class, second class, share of the first.

    Reference: [Zhang et al., 2018](https://arxiv.org/abs/1710.09412).
    """
    batch = tf.shape(labels)[0]
    # Numbers that the draws of `Augmentation`, counted from 1, do not reach.
    numbers = (1001, 1002, 1003)
    seeds = [tf.random.experimental.stateless_fold_in(seed, number) for number in numbers]
    first, second = (tf.random.stateless_gamma([batch], one, alpha) for one in seeds[:2])
    # Both are 0 in float32 at times if alpha is small.
    share = tf.math.divide_no_nan(first, first + second)
    partner = tf.random.experimental.stateless_shuffle(tf.range(batch), seeds[2])
    weight = share[:, None, None, None]
    mixed = weight * images + (1 - weight) * tf.gather(images, partner)
    classes = tf.cast(labels, tf.float32)
    return mixed, tf.stack([classes, tf.gather(classes, partner), share], axis=-1)
