"""From image files to batches: tf.data around `read_image`, the preprocessing and augmentation.

list → read and decode → gray, normalise, equalise, resize → (keep) → shuffle → augment → batch

Every random choice is a function of the seed, the epoch and the place in it, and of nothing else:
the same seed repeats a training exactly, and a training that goes on at epoch 7 sees what it would
have seen without a break.
"""

import hashlib
import json
import math
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tensorflow as tf

from alloyk._version import __version__
from alloyk.errors import AlloykError
from alloyk.imaging import read_image, shown
from alloyk.predictions import whole_file
from alloyk.tasks import LOGITS

AUTOTUNE = tf.data.AUTOTUNE


def _decode(path: bytes) -> np.ndarray:
    return read_image(os.fsdecode(path)).astype(np.float32)


def preprocessed_image(path, preprocessing):
    """The image of a file as `preprocessing` leaves it; `path` is a string tensor."""
    size = preprocessing.input_shape[1:3]

    def decode(path):
        image = _decode(path)
        if None not in size and image.shape[:2] != size:
            raise AlloykError(
                f"cannot correct the image {shown(os.fsdecode(path))} of {image.shape[0]}×"
                f"{image.shape[1]} by flat frames of {size[0]}×{size[1]}: give raw, uncropped "
                "frames of the same detector"
            )
        return image

    image = tf.numpy_function(decode, [path], tf.float32, stateful=False)
    return preprocessing(tf.ensure_shape(image, (*size, None))[None])[0]


def preprocessed_images(paths, preprocessing) -> tf.data.Dataset:
    """Preprocessed images in the order of `paths`, one at a time: their sizes may differ."""
    names = tf.data.Dataset.from_tensor_slices([os.fsencode(path) for path in paths])
    return names.map(
        lambda path: preprocessed_image(path, preprocessing),
        num_parallel_calls=AUTOTUNE,
        deterministic=True,
    )


def _reraise_reading_error(error: tf.errors.OpError):
    """TensorFlow hands on the text of what `read_image` raised: give it back its type."""
    marker = f"{AlloykError.__name__}: "
    message = str(error)
    if marker not in message:
        raise error
    raise AlloykError(message.split(marker, 1)[1].splitlines()[0].strip()) from None


@dataclass(frozen=True)
class KeptImages:
    """Preprocessed images in memory or in a memory-mapped file, read by their number.

    Attributes:
        array: ``(n, height, width, 1)`` float32.
    """

    array: np.ndarray

    def batches(self, numbers: tf.data.Dataset) -> tf.data.Dataset:
        """Images for batches of numbers."""

        def fetch(batch):
            images = tf.numpy_function(lambda at: self.array[at], [batch], tf.float32, False)
            return tf.ensure_shape(images, (None, *self.array.shape[1:]))

        return numbers.map(fetch, num_parallel_calls=AUTOTUNE, deterministic=True)


@dataclass(frozen=True)
class StreamedImages:
    """Images that are read and preprocessed anew each time: memory stays flat, each epoch pays.

    Attributes:
        paths: Files, in order.
        preprocessing: Layers from a raw image to a gray one of fixed size.
    """

    paths: list
    preprocessing: object

    def batches(self, numbers: tf.data.Dataset) -> tf.data.Dataset:
        """Images for batches of numbers."""
        names = tf.constant([os.fsencode(path) for path in self.paths])

        def fetch(number):
            return preprocessed_image(names[number], self.preprocessing)

        def together(batch):
            # One dataset per batch, so that the last batch of an epoch keeps its size.
            images = tf.data.Dataset.from_tensor_slices(batch).map(
                fetch, num_parallel_calls=AUTOTUNE, deterministic=True
            )
            return images.batch(tf.size(batch, out_type=tf.int64))

        return numbers.flat_map(together)


def keep_images(paths, preprocessing, *, folder: Path | None = None, key: str = ""):
    """Read and preprocess every image once, in order.

    Args:
        paths: Image files.
        preprocessing: Layers from a raw image to a gray one of fixed size.
        folder: Where to keep the result as a memory-mapped file; None keeps it in memory.
        key: What the files and their content are known by, such as
            `ImageDataset.fingerprint()`: a file made under another key, with other preprocessing
            or by another version is not taken.

    Returns:
        `KeptImages`.

    Raises:
        AlloykError: An image cannot be read, there is no room, or the folder cannot be written;
            the message names it.
    """
    shape = (len(paths), *preprocessing.output_shape[1:])
    _refuse_too_many(shape, folder)
    if folder is None:
        return KeptImages(_fill(np.empty(shape, np.float32), paths, preprocessing))
    described = json.dumps(
        [__version__, key, [str(path) for path in paths], preprocessing.get_config()],
        sort_keys=True,
    )
    target = folder / f"{hashlib.sha256(described.encode()).hexdigest()[:32]}.npy"
    if _kept_before(target, shape) is None:
        with whole_file(target) as unfinished:
            array = np.lib.format.open_memmap(unfinished, "w+", np.float32, shape)
            _fill(array, paths, preprocessing).flush()
    return KeptImages(_kept_before(target, shape))


def _kept_before(file: Path, shape) -> np.ndarray | None:
    """The memory-mapped images of a file that is whole, or None."""
    try:
        array = np.load(file, mmap_mode="r")
    except (OSError, ValueError, EOFError):
        return None
    return array if array.shape == shape and array.dtype == np.float32 else None


def _refuse_too_many(shape, folder: Path | None) -> None:
    """Refuse what the disk or the memory cannot hold: filling either kills the process."""
    wanted = 4 * math.prod(shape)
    if folder is None:
        room, where = _memory_bytes(), "the memory"
        advice = "set data.cache=disk, or data.cache=none to read them in every epoch"
    else:
        nearest = next(path for path in (folder, *folder.absolute().parents) if path.exists())
        room, where = shutil.disk_usage(nearest).free, shown(nearest)
        advice = "name another disk by XDG_CACHE_HOME, or set data.cache=none"
    if wanted > room:
        raise AlloykError(
            f"{shape[0]} preprocessed images need {wanted / 1e9:.1f} GB, {where} has "
            f"{room / 1e9:.1f}: {advice}"
        )


def _memory_bytes() -> float:
    """Of the whole machine; infinite where the system does not say."""
    if "SC_PHYS_PAGES" not in getattr(os, "sysconf_names", {}):
        return math.inf
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _fill(array, paths, preprocessing):
    images = preprocessed_images(paths, preprocessing).batch(64).prefetch(1)
    start = 0
    try:
        for batch in images.as_numpy_iterator():
            array[start : start + len(batch)] = batch
            start += len(batch)
    except tf.errors.OpError as error:
        _reraise_reading_error(error)
    return array


def class_aware_order(labels, num_classes, seed):
    """Numbers of as many images as there are, each class equally likely, with replacement."""
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
    """What a network is told to say: labels alone, or by the names of its outputs."""
    labels = np.asarray(labels, np.int32)
    if not values:
        return labels
    further = {name: np.asarray(numbers, np.float32) for name, numbers in values.items()}
    return {LOGITS: labels, **further}


def training_batches(
    images, labels, *, batch_size, seed, epochs, first_epoch=0, augmentation=None,
    class_aware=False, values=None,
):  # fmt: skip
    """Shuffled, augmented batches of the epochs `first_epoch` to `epochs`, one after the other.

    Args:
        images: `KeptImages` or `StreamedImages`.
        labels: ``(n,)`` int class numbers.
        batch_size: Images per batch; the last of an epoch holds what is left.
        seed: Int; with the epoch's number it fixes order and augmentation.
        epochs: Number of the epoch to stop before.
        first_epoch: Number of the first epoch.
        augmentation: `Augmentation` or None.
        class_aware: Draw the classes equally often instead of each image once.
        values: Name of a further output → ``(n,)`` numbers; None for a network without one.

    Returns:
        A dataset of ``(images (batch, H, W, 1) float32, labels (batch,) int32)``, with
        `steps_per_epoch(n, batch_size)` batches per epoch. With `values` the second part is a
        dictionary of ``logits``, the labels, and of each name, ``(batch,)`` float32.
    """
    labels = np.asarray(labels, np.int32)
    targets = tf.nest.map_structure(tf.constant, _targets(labels, values))
    num_classes = int(labels.max()) + 1

    def epoch_numbers(epoch):
        key = tf.stack([tf.cast(seed, tf.int64), epoch])
        if class_aware:
            order = class_aware_order(labels, num_classes, key)
        else:
            order = tf.random.experimental.stateless_shuffle(tf.range(len(labels)), key)
        numbers = tf.data.Dataset.from_tensor_slices(tf.cast(order, tf.int64)).batch(batch_size)
        return numbers.enumerate().map(
            lambda step, batch: (batch, tf.random.experimental.stateless_fold_in(key, step))
        )

    steps = tf.data.Dataset.range(first_epoch, epochs).flat_map(epoch_numbers)
    numbers = steps.map(lambda batch, _: batch)
    seeds = steps.map(lambda _, key: key)
    batches = tf.data.Dataset.zip(images.batches(numbers), numbers, seeds)

    def finish(batch, at, key):
        if augmentation is not None and augmentation.active:
            batch = augmentation(batch, key)
        return batch, tf.nest.map_structure(lambda table: tf.gather(table, at), targets)

    return batches.map(finish, num_parallel_calls=AUTOTUNE, deterministic=True).prefetch(AUTOTUNE)


def evaluation_batches(images, labels, *, batch_size, values=None) -> tf.data.Dataset:
    """Every image once, in order, with its label; the last batch holds what is left.

    `values` are those of `training_batches`.
    """
    numbers = tf.data.Dataset.range(len(labels)).batch(batch_size)
    targets = tf.data.Dataset.from_tensor_slices(_targets(labels, values))
    pairs = tf.data.Dataset.zip(images.batches(numbers), targets.batch(batch_size))
    # Keras warns at the end of a validation set whose length it cannot see, as of a stream.
    known = tf.data.experimental.assert_cardinality(steps_per_epoch(len(labels), batch_size))
    return pairs.apply(known).prefetch(AUTOTUNE)


def steps_per_epoch(num_images: int, batch_size: int) -> int:
    """Batches in one epoch, the last, smaller one included."""
    return -(-num_images // batch_size)


def mean_and_std(images, count: int) -> tuple[tuple[float], tuple[float]]:
    """Mean and standard deviation over all pixels of `count` images, one number each."""
    pixels, total, squares = 0, 0.0, 0.0
    numbers = tf.data.Dataset.range(count).batch(64)
    for batch in images.batches(numbers).as_numpy_iterator():
        pixels += batch.size
        total += batch.sum(dtype=np.float64)
        squares += np.square(batch, dtype=np.float64).sum()
    mean = total / pixels
    return (mean,), (max(np.sqrt(squares / pixels - mean**2), 1e-6),)
