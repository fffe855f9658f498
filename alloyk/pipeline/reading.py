"""Read and preprocess images, with TensorFlow's decoders where they give the same values."""

import hashlib
import json
import os
import re
from collections.abc import Callable
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
import tensorflow as tf

from alloyk import errors
from alloyk.errors import AlloykError
from alloyk.imaging import image_bytes, plain_format, read_image, shown
from alloyk.pipeline.python_calls import PYTHON_CALLS

AUTOTUNE = tf.data.AUTOTUNE

# TensorFlow's decoders by file format: `plain_format` names a format only for files of which they
# return exactly the values of `read_image`, in half the time (scripts/bench_pipeline.py).
_DECODERS = {
    "png8": partial(tf.io.decode_png, dtype=tf.uint8),
    "png16": partial(tf.io.decode_png, dtype=tf.uint16),
    "jpeg": partial(tf.io.decode_jpeg, dct_method="INTEGER_ACCURATE"),
}
_READ_IMAGE = len(_DECODERS)
# Other files are not opened here; `read_image` reads a PNG or JPEG file with another suffix.
_PLAIN_SUFFIXES = (b".png", b".jpg", b".jpeg", b".jpe")

BATCHES_AT_ONCE = 2  # files of one batch are read while those of another are decoded

# TensorFlow's text of an error raised in Python: its class and its first line.
_OUR_ERROR = re.compile(r"\balloyk\.errors\.(\w+): (.*)")

Digests = dict[str, str]
"""Path → SHA-256 of the file, 64 hexadecimal digits."""


def _files_read(digests: Digests | None) -> Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """A function that reads each plain file of a batch of paths, once.

    It returns the bytes and the index of the decoder in `_DECODERS`; for all other files, which
    `read_image` reads, no bytes and `_READ_IMAGE`. The SHA-256 of the bytes is written into
    `digests` when a file is read for the first time.
    """
    numbers = {name: number for number, name in enumerate(_DECODERS)}

    @PYTHON_CALLS.counted
    def read(paths: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        contents, places = [], []
        for path in paths:
            content = _plain_content(path)
            kind = plain_format(content) if content else None
            place = numbers[kind] if kind else _READ_IMAGE
            if digests is not None and content:
                name = os.fsdecode(path)
                if name not in digests:
                    digests[name] = hashlib.sha256(content).hexdigest()
            contents.append(b"" if place == _READ_IMAGE else content)
            places.append(place)
        return np.array(contents, object), np.array(places, np.int32)

    return read


def _plain_content(path: bytes) -> bytes | None:
    """The bytes of a regular file with the suffix of a plain format, or None."""
    if not path.lower().endswith(_PLAIN_SUFFIXES):
        return None
    try:
        return image_bytes(os.fsdecode(path))
    except (OSError, ValueError, AlloykError):  # reported by `read_image`
        return None


def _read(path, size):
    """`read_image` in a graph; `size` is that of the flat frames, or `(None, None)`."""

    @PYTHON_CALLS.counted
    def read(path):
        image = read_image(os.fsdecode(path)).astype(np.float32)
        if None not in size and image.shape[:2] != size:
            raise AlloykError(
                f"the image {shown(os.fsdecode(path))} must have the size of the flat frames, "
                f"{size[0]}×{size[1]}, got {image.shape[0]}×{image.shape[1]}; use raw, uncropped "
                "images and frames of the same detector"
            )
        return image

    return tf.numpy_function(read, [path], tf.float32, stateful=False)


_TRACED: dict[str, Callable[[Any], Any]] = {}


def _traced(preprocessing: Any) -> Callable[[Any], Any]:
    """A function that preprocesses one image `(height, width, channels)`.

    It is traced once for all data sets, both ways of reading, and one training after another with
    the same preprocessing: tracing takes a second, and tf.data would optimize each copy of the
    large graph.
    """
    # The configuration holds the digest of the flat frames.
    key = json.dumps(preprocessing.get_config(), sort_keys=True)
    if key not in _TRACED:
        size = preprocessing.input_shape[1:3]

        @tf.function(autograph=False, reduce_retracing=True)
        def preprocessed(image: Any) -> Any:
            return preprocessing(tf.ensure_shape(image, (*size, None))[None])[0]

        _TRACED.clear()  # only the last one is kept: it may hold large flat frames
        _TRACED[key] = preprocessed
    return _TRACED[key]


def preprocessed_batches(
    batches: tf.data.Dataset, preprocessing: Any, digests: Digests | None = None
) -> tf.data.Dataset:
    """Preprocessed images of batches of paths, in their order.

    TensorFlow's decoder reads a file if `plain_format` allows it, otherwise `read_image`. A batch
    in which a file fails is read again with `read_image` only, whose error names the file.

    Args:
        batches: String tensors `(n,)`, paths.
        preprocessing: Layers from a raw image to a gray one of fixed size.
        digests: Path → SHA-256 of the decoded bytes; filled for plain files.

    Returns:
        Dataset of `(n, height, width, 1)` float32.
    """
    size = preprocessing.input_shape[1:3]
    read_files = _files_read(digests)

    preprocessed = _traced(preprocessing)

    def by_read_image(path, _content, _number):
        return preprocessed(_read(path, size))

    def by_its_decoder(path, content, number):
        def branch(decode):
            return lambda: tf.cast(decode(content), tf.float32)

        branches = [branch(decode) for decode in _DECODERS.values()]
        return preprocessed(tf.switch_case(number, [*branches, lambda: _read(path, size)]))

    def together(paths):
        read = tf.numpy_function(read_files, [paths], [tf.string, tf.int32], stateful=False)
        contents, numbers = (tf.ensure_shape(one, (None,)) for one in read)
        files = tf.data.Dataset.from_tensor_slices((paths, contents, numbers))

        def batch(read):
            images = files.map(read, num_parallel_calls=AUTOTUNE, deterministic=True)
            # A batch that lost an image to an error is dropped.
            return images.batch(tf.size(paths, out_type=tf.int64), drop_remainder=True)

        return batch(by_its_decoder).ignore_errors().concatenate(batch(by_read_image)).take(1)

    # tf.data's fusion of map and batch fails with two of them in one function.
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
    """Restore the type of errors of `read_image`; TensorFlow keeps only their text.

    Use it around all code that consumes batches: `fit`, `predict`, a loop.

    Raises:
        AlloykError: An image cannot be read; the message names it.
    """
    try:
        yield
    except BaseException as error:
        PYTHON_CALLS.wait_for_rest()
        found = _OUR_ERROR.search(str(error)) if isinstance(error, tf.errors.OpError) else None
        if found is None:
            raise
        raise getattr(errors, found[1], AlloykError)(found[2].strip()) from None
