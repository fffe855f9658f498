"""Batches of an epoch: order, augmentation and targets."""

import numpy as np
import tensorflow as tf

from alloyk.pipeline.autograph import without_autograph
from alloyk.pipeline.parts import WHOLE, PartBatches, parts_in_order
from alloyk.pipeline.reading import AUTOTUNE, reading_errors
from alloyk.preprocessing.mixup import mix_pairs
from alloyk.targets import LOGITS


def class_aware_order(labels, num_classes, seed):
    """As many image numbers as there are images, drawn with replacement, classes equally likely."""
    labels = np.asarray(labels)
    by_class = tf.constant(np.argsort(labels, kind="stable"), tf.int64)
    counts = np.bincount(labels, minlength=num_classes)
    present = np.flatnonzero(counts)
    starts = tf.constant(np.cumsum(counts)[present] - counts[present], tf.float64)
    counts = tf.constant(counts[present], tf.float64)
    draws = tf.random.stateless_uniform([2, len(labels)], seed, dtype=tf.float64)
    chosen = tf.cast(draws[0] * len(present), tf.int64)
    place = tf.gather(starts, chosen) + tf.floor(draws[1] * tf.gather(counts, chosen))
    return tf.gather(by_class, tf.cast(place, tf.int64))


def _targets(labels, values):
    """The targets of a network: labels only, or a dictionary by the names of its outputs."""
    labels = np.asarray(labels, np.int32)
    if not values:
        return labels
    further = {name: np.asarray(numbers, np.float32) for name, numbers in values.items()}
    return {LOGITS: labels, **further}


@without_autograph
def training_batches(
    images, labels, *, batch_size, seed, epochs, first_epoch=0, first_step=0, augmentation=None,
    class_aware=False, values=None, part=WHOLE,
):  # fmt: skip
    """Shuffled, augmented batches of the epochs `first_epoch` to `epochs`, one after the other.

    Args:
        images: `KeptImages` or `StreamedImages`.
        labels: `(n,)` int class indices.
        batch_size: Images per batch; the last one of an epoch may be smaller.
        seed: Int; order and augmentation depend on it and on the epoch's number only.
        epochs: Number of the last epoch, plus one.
        first_epoch: Number of the first epoch.
        first_step: Batches of the first epoch that are left out; their images are not read.
        augmentation: `Augmentation` or None.
        class_aware: Whether to draw all classes equally often instead of each image once.
        values: Name of each further output → `(n,)` numbers; None if there are none.
        part: Part of each batch that is read, one element per device. All parts together are
            exactly the images of the whole batch, augmented alike.

    Returns:
        A dataset of `(images (batch, H, W, 1) float32, labels (batch,) int32)`, with
        `steps_per_epoch(n, batch_size)` batches per epoch. With `values` the second
        element is a dictionary: the labels as `logits`, and each name's numbers, `(batch,)`
        float32. With mixing it is `(batch, 3)` float32, see `alloyk.preprocessing.mixup`. If
        the last batch of an epoch divides unevenly over devices, there is a third element: the
        weight of each image `(batch,)` with which the mean over devices of their mean losses is
        the mean over the batch.
    """
    labels = np.asarray(labels, np.int32)
    targets = tf.nest.map_structure(tf.constant, _targets(labels, values))
    num_classes = int(labels.max()) + 1
    if part.total > 1:
        uneven = bool(len(labels) % batch_size % part.total)
        parts = PartBatches(images, targets, augmentation, part, uneven)

    def epoch_numbers(epoch):
        key = tf.stack([tf.cast(seed, tf.int64), epoch])
        if class_aware:
            order = class_aware_order(labels, num_classes, key)
        else:
            order = tf.random.experimental.stateless_shuffle(tf.range(len(labels)), key)
        numbers = tf.data.Dataset.from_tensor_slices(tf.cast(order, tf.int64)).batch(batch_size)
        steps = numbers.enumerate().map(
            lambda step, batch: (batch, tf.random.experimental.stateless_fold_in(key, step))
        )
        return steps.skip(tf.where(epoch == first_epoch, tf.cast(first_step, tf.int64), 0))

    steps = tf.data.Dataset.range(first_epoch, epochs).flat_map(epoch_numbers)
    if part.total > 1:
        return parts.batches(steps)
    numbers = steps.map(lambda batch, _: batch)
    seeds = steps.map(lambda _, key: key)
    batches = tf.data.Dataset.zip(images.batches(numbers), numbers, seeds)

    def finish(batch, at, key):
        if augmentation is not None and augmentation.active:
            batch = augmentation(batch, key)
        truth = tf.nest.map_structure(lambda table: tf.gather(table, at), targets)
        if augmentation is not None and augmentation.mixup:
            return mix_pairs(batch, truth, key, augmentation.mixup)
        return batch, truth

    return batches.map(finish, num_parallel_calls=AUTOTUNE, deterministic=True).prefetch(AUTOTUNE)


@without_autograph
def evaluation_batches(images, labels, *, batch_size, values=None, part=WHOLE) -> tf.data.Dataset:
    """Every image once, in order, with its label; the last batch may be smaller.

    `values` and `part` are those of `training_batches`. A part is repeated without end: Keras
    counts the batches of all devices, and cannot know when each has had its last.
    """
    targets = _targets(labels, values)
    if part.total > 1:
        return parts_in_order(images, targets, len(labels), batch_size, part).prefetch(AUTOTUNE)
    numbers = tf.data.Dataset.range(len(labels)).batch(batch_size)
    truth = tf.data.Dataset.from_tensor_slices(targets).batch(batch_size)
    pairs = tf.data.Dataset.zip(images.batches(numbers), truth)
    # Keras warns at the end of a validation set of unknown length.
    known = tf.data.experimental.assert_cardinality(steps_per_epoch(len(labels), batch_size))
    return pairs.apply(known).prefetch(AUTOTUNE)


def steps_per_epoch(num_images: int, batch_size: int) -> int:
    """Number of batches in one epoch, including a last, smaller one."""
    return -(-num_images // batch_size)


@reading_errors()
def mean_and_std(images, count: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of each channel over all pixels of `count` images."""
    pixels, totals, squares = 0, np.zeros(1), np.zeros(1)
    numbers = tf.data.Dataset.range(count).batch(64)
    for batch in images.batches(numbers).as_numpy_iterator():
        channels = np.moveaxis(batch, -1, 0)
        pixels += channels[0].size
        totals = totals + np.array([one.sum(dtype=np.float64) for one in channels])
        squares = squares + np.array([np.square(one, dtype=np.float64).sum() for one in channels])
    means = totals / pixels
    deviations = np.maximum(np.sqrt(squares / pixels - means**2), 1e-6)
    return tuple(means.tolist()), tuple(deviations.tolist())
