"""Mixing of two training images and their classes: MixUp."""

from typing import Any

import tensorflow as tf


def mix_pairs(images: Any, labels: Any, seed: Any, alpha: float) -> tuple[Any, Any]:
    """Mix each image of a batch with another one of it, as `mixing` draws them.

    Args:
        images: `(batch, height, width, 1)` float32.
        labels: `(batch,)` int class indices.
        seed: `(2,)` int tensor.
        alpha: That of `mixing`.

    Returns:
        Mixed images, and `(batch, 3)` float32: first class, second class, share of the first.
    """
    partner, share = mixing(tf.shape(labels)[0], seed, alpha)
    return mix(images, tf.gather(images, partner), labels, tf.gather(labels, partner), share)


def mixing(size: Any, seed: Any, alpha: float) -> tuple[Any, Any]:
    """Draw with which other image of a batch each one is mixed, and how much of it is kept.

    The share of the first image is drawn from Beta(alpha, alpha) for each image. Everything drawn
    follows from the seed, so that an interrupted epoch can be repeated; KerasCV's `MixUp` draws
    from TensorFlow's global generator.

    Args:
        size: Images of the batch.
        seed: `(2,)` int tensor.
        alpha: Float > 0. Small values leave most images nearly as they are, 1 makes every share
            equally likely.

    Returns:
        Place of the other image `(size,)` int32, and share of the first `(size,)` float32.

    Reference: [Zhang et al., 2018](https://arxiv.org/abs/1710.09412).
    """
    # Numbers that the draws of `Augmentation`, counted from 1, do not reach.
    numbers = (1001, 1002, 1003)
    seeds = [tf.random.experimental.stateless_fold_in(seed, number) for number in numbers]
    first, second = (tf.random.stateless_gamma([size], one, alpha) for one in seeds[:2])
    # Both are 0 in float32 at times if alpha is small.
    share = tf.math.divide_no_nan(first, first + second)
    return tf.random.experimental.stateless_shuffle(tf.range(size), seeds[2]), share


def mix(images: Any, others: Any, labels: Any, other_labels: Any, share: Any) -> tuple[Any, Any]:
    """Mix images with others, in order; the result is that of `mix_pairs`.

    `share` is that of the first image, `(batch,)` float32.
    """
    weight = share[:, None, None, None]
    first, second = (tf.cast(one, tf.float32) for one in (labels, other_labels))
    mixed = weight * images + (1 - weight) * others
    return mixed, tf.stack([first, second, share], axis=-1)
