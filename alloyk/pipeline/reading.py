"""From paths to preprocessed images, by TensorFlow's decoders where they give the same numbers."""

import os
from contextlib import contextmanager
from functools import partial

import numpy as np
import tensorflow as tf

from alloyk.errors import AlloykError
from alloyk.imaging import plain_format, read_image, shown
from alloyk.pipeline.python_calls import PYTHON_CALLS

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


@PYTHON_CALLS.counted
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

    @PYTHON_CALLS.counted
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
        PYTHON_CALLS.wait_for_rest()
        marker = f"{AlloykError.__name__}: "
        if not isinstance(error, tf.errors.OpError) or marker not in str(error):
            raise
        message = str(error).split(marker, 1)[1].splitlines()[0].strip()
        raise AlloykError(message) from None
