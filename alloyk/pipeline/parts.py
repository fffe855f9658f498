"""The part of each batch that one of several devices or machines trains with.

All parts together are exactly the images of the whole batch, augmented and mixed as on one device,
so that the result does not depend on the number of devices.
"""

from typing import Any, NamedTuple

import tensorflow as tf

from alloyk.pipeline.reading import AUTOTUNE
from alloyk.preprocessing.mixup import mix, mixing


class Part(NamedTuple):
    """The devices of this process among the devices of all processes.

    Attributes:
        first: Index of the first device of this process.
        here: Number of devices of this process.
        total: Number of devices of all processes.
    """

    first: int = 0
    here: int = 1
    total: int = 1

    def bounds(self, size: Any, device: Any) -> tuple[Any, Any]:
        """Start and stop of a device's images in a batch of `size`.

        >>> [Part(total=4).bounds(10, device) for device in range(4)]
        [(0, 2), (2, 5), (5, 7), (7, 10)]
        """
        return device * size // self.total, (device + 1) * size // self.total


WHOLE = Part()


class PartBatches:
    """Training batches of the devices of this process: for each batch one element per device.

    Args:
        images: `KeptImages` or `StreamedImages`.
        targets: Tensors over all images.
        augmentation: `Augmentation` or None.
        part: The devices.
        uneven: Whether a batch may not divide evenly among the devices.
    """

    def __init__(
        self, images: Any, targets: Any, augmentation: Any, part: Part, uneven: bool
    ) -> None:
        self.images, self.targets = images, targets
        self.augmentation, self.part, self.uneven = augmentation, part, uneven
        self.mixup = augmentation.mixup if augmentation is not None else 0.0

    def batches(self, steps: tf.data.Dataset) -> tf.data.Dataset:
        """Batches from the image indices and the seed of each whole batch.

        Returns:
            Images and targets. If batches may be uneven there is a third element: per-image weights
            that make the mean of the per-device mean losses equal the mean loss of the batch.
        """
        parts = steps.flat_map(self._of_each_device)
        read = self.images.batches(parts.map(lambda numbers, *_: _at_least_one(numbers)))
        together = tf.data.Dataset.zip(read, parts).map(lambda batch, rest: (batch, *rest))
        finished = together.map(self._finish, num_parallel_calls=AUTOTUNE, deterministic=True)
        return finished.prefetch(AUTOTUNE)

    def _of_each_device(self, batch: Any, key: Any) -> tf.data.Dataset:
        """Image indices, places in the batch, size and seed of the batch for each device."""

        def of_device(device: Any) -> Any:
            size = tf.size(batch)
            start, stop = self.part.bounds(size, tf.cast(device, tf.int32))
            rows = tf.range(start, stop)
            if self.mixup:
                partners, _ = mixing(size, key, self.mixup)
                rows = tf.concat([rows, partners[start:stop]], 0)
            return tf.gather(batch, rows), rows, size, key

        first = self.part.first
        return tf.data.Dataset.range(first, first + self.part.here).map(of_device)

    def _finish(self, batch: Any, numbers: Any, rows: Any, size: Any, key: Any) -> Any:
        count = tf.size(rows)
        batch = batch[:count]  # without what `_at_least_one` added
        if self.augmentation is not None and self.augmentation.active:
            batch = self.augmentation(batch, key, rows, size)
        truth = tf.nest.map_structure(lambda table: tf.gather(table, numbers), self.targets)
        if self.mixup:
            count //= 2
            share = tf.gather(mixing(size, key, self.mixup)[1], rows[:count])
            batch, truth = mix(batch[:count], batch[count:], truth[:count], truth[count:], share)
        if not self.uneven:
            return batch, truth
        weight = tf.cast(count * self.part.total, tf.float32) / tf.cast(size, tf.float32)
        return batch, truth, tf.fill([count], weight)


def parts_in_order(
    images: Any, targets: Any, count: int, batch_size: int, part: Part
) -> tf.data.Dataset:
    """Images and targets in order, repeated; for each batch one element per local device."""
    targets = tf.nest.map_structure(tf.constant, targets)
    steps = -(-count // batch_size)

    def of_device(number: Any) -> Any:
        first = number // part.here * batch_size
        size = tf.minimum(count - first, batch_size)
        start, stop = part.bounds(size, part.first + number % part.here)
        return tf.range(first + start, first + stop)

    numbers = tf.data.Dataset.range(steps * part.here).map(of_device).repeat()
    read = images.batches(numbers.map(_at_least_one))

    def finish(batch: Any, at: Any) -> Any:
        truth = tf.nest.map_structure(lambda table: tf.gather(table, at), targets)
        return batch[: tf.size(at)], truth

    return tf.data.Dataset.zip(read, numbers).map(finish)


def _at_least_one(numbers: Any) -> Any:
    """Image indices to read; a device without an image in a batch reads image 0 in its place."""
    return tf.cond(tf.size(numbers) > 0, lambda: numbers, lambda: tf.zeros([1], numbers.dtype))
