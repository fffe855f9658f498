"""From image files to batches: tf.data around reading, the preprocessing and augmentation.

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
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import tensorflow as tf

from alloyk import __version__
from alloyk.errors import AlloykError
from alloyk.files import whole_file
from alloyk.imaging import plain_format, read_image, shown
from alloyk.tasks import LOGITS

AUTOTUNE = tf.data.AUTOTUNE


# TensorFlow's decoders, by the name that `plain_format` gives to files of which they make exactly
# what `read_image` makes, in half its time (scripts/bench_pipeline.py).
_DECODERS = {
    "png8": partial(tf.io.decode_png, dtype=tf.uint8),
    "png16": partial(tf.io.decode_png, dtype=tf.uint16),
    "jpeg": partial(tf.io.decode_jpeg, dct_method="INTEGER_ACCURATE"),
}
_READ_IMAGE = len(_DECODERS)
# Others are not even opened; a PNG or JPEG file under another name is read by `read_image`.
_PLAIN_SUFFIXES = (b".png", b".jpg", b".jpeg", b".jpe")

BATCHES_AT_ONCE = 2  # the files of one are looked at while those of the other are decoded


class _PythonCalls:
    """What tf.data's threads have running in Python, so that one can wait for its end.

    An iterator that is thrown away amid its work waits for its threads and holds Python's lock
    meanwhile; a thread that waits for that lock then waits for ever.
    """

    REST_S = 0.1

    def __init__(self):
        self._lock = threading.Lock()
        self._running = 0
        self._last_end = 0.0
        self._refused = False

    def counted(self, function):
        """The function, as `tf.numpy_function` should call it."""

        @tf.autograph.experimental.do_not_convert
        def call(*arguments):
            with self._lock:
                self._running += 1
            try:
                if self._refused:
                    raise RuntimeError("nobody waits for this batch any more")
                return function(*arguments)
            finally:
                with self._lock:
                    self._running -= 1
                    self._last_end = time.monotonic()

        return call

    def wait_for_rest(self) -> None:
        """Let further calls fail at once, until none has run for a while."""
        self._refused = True
        try:
            while self._running or time.monotonic() - self._last_end < self.REST_S:
                time.sleep(self.REST_S / 10)
        finally:
            self._refused = False


_PYTHON_CALLS = _PythonCalls()


@_PYTHON_CALLS.counted
def _decoder_numbers(paths: np.ndarray) -> np.ndarray:
    """The place of each file's decoder in `_DECODERS`, or `_READ_IMAGE`."""
    numbers = {name: number for number, name in enumerate(_DECODERS)}
    formats = (
        plain_format(os.fsdecode(path)) if path.lower().endswith(_PLAIN_SUFFIXES) else None
        for path in paths
    )
    return np.array([numbers.get(name, _READ_IMAGE) for name in formats], np.int32)


def _read(path, size):
    """`read_image` in a graph; `size` is what flat frames ask for, or None twice."""

    @_PYTHON_CALLS.counted
    def read(path):
        image = read_image(os.fsdecode(path)).astype(np.float32)
        if None not in size and image.shape[:2] != size:
            raise AlloykError(
                f"cannot correct the image {shown(os.fsdecode(path))} of {image.shape[0]}×"
                f"{image.shape[1]} by flat frames of {size[0]}×{size[1]}: give raw, uncropped "
                "frames of the same detector"
            )
        return image

    return tf.numpy_function(read, [path], tf.float32, stateful=False)


def preprocessed_batches(batches: tf.data.Dataset, preprocessing) -> tf.data.Dataset:
    """Preprocessed images of batches of paths, in their order.

    Each file goes to TensorFlow's decoder where `plain_format` allows it, else to `read_image`. A
    batch in which anything fails is read again by `read_image` alone, which decides, and names the
    file.

    Args:
        batches: String tensors `(n,)`, paths.
        preprocessing: Layers from a raw image to a gray one of fixed size.

    Returns:
        Dataset of `(n, height, width, 1)` float32.
    """
    size = preprocessing.input_shape[1:3]

    def preprocessed(image):
        return preprocessing(tf.ensure_shape(image, (*size, None))[None])[0]

    def by_read_image(path, _):
        return preprocessed(_read(path, size))

    def by_its_decoder(path, number):
        def branch(decode):
            return lambda: tf.cast(decode(tf.io.read_file(path)), tf.float32)

        branches = [branch(decode) for decode in _DECODERS.values()]
        return preprocessed(tf.switch_case(number, [*branches, lambda: _read(path, size)]))

    def together(paths):
        numbers = tf.numpy_function(_decoder_numbers, [paths], tf.int32, stateful=False)
        files = tf.data.Dataset.from_tensor_slices((paths, tf.ensure_shape(numbers, (None,))))

        def batch(read):
            images = files.map(read, num_parallel_calls=AUTOTUNE, deterministic=True)
            # What is left of a batch after a failure is no batch.
            return images.batch(tf.size(paths, out_type=tf.int64), drop_remainder=True)

        return batch(by_its_decoder).ignore_errors().concatenate(batch(by_read_image)).take(1)

    # tf.data's fusion of map and batch stumbles over two of them in one function.
    options = tf.data.Options()
    options.experimental_optimization.map_and_batch_fusion = False
    return batches.interleave(
        together,
        cycle_length=BATCHES_AT_ONCE,
        num_parallel_calls=BATCHES_AT_ONCE,
        deterministic=True,
    ).with_options(options)


@contextmanager
def reading_errors():
    """Give what `read_image` raised its type back: TensorFlow hands on its text alone.

    Wanted around whatever draws batches: `fit`, `predict`, a loop.

    Raises:
        AlloykError: An image cannot be read; the message names it.
    """
    try:
        yield
    except BaseException as error:
        _PYTHON_CALLS.wait_for_rest()
        marker = f"{AlloykError.__name__}: "
        if not isinstance(error, tf.errors.OpError) or marker not in str(error):
            raise
        message = str(error).split(marker, 1)[1].splitlines()[0].strip()
        raise AlloykError(message) from None


@dataclass(frozen=True)
class KeptImages:
    """Preprocessed images in memory or in a memory-mapped file, read by their number.

    Attributes:
        array: ``(n, height, width, 1)`` float32.
    """

    array: np.ndarray

    def batches(self, numbers: tf.data.Dataset) -> tf.data.Dataset:
        """Images for batches of numbers."""

        @_PYTHON_CALLS.counted
        def rows(numbers):
            return self.array[numbers]

        def fetch(batch):
            images = tf.numpy_function(rows, [batch], tf.float32, stateful=False)
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
        paths = numbers.map(lambda batch: tf.gather(names, batch))
        return preprocessed_batches(paths, self.preprocessing)


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
    names = tf.data.Dataset.from_tensor_slices([os.fsencode(path) for path in paths])
    images = preprocessed_batches(names.batch(64), preprocessing).prefetch(1)
    start = 0
    with reading_errors():
        for batch in images.as_numpy_iterator():
            array[start : start + len(batch)] = batch
            start += len(batch)
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


@reading_errors()
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
