"""Read and preprocess images, with TensorFlow's decoders where they give the same values."""

import hashlib
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
from alloyk.imaging import image_bytes, plain_format, read_image
from alloyk.imaging.contents import open_image_file
from alloyk.messages import shown
from alloyk.pipeline.autograph import without_autograph
from alloyk.pipeline.grouping import Grouping
from alloyk.pipeline.python_calls import PYTHON_CALLS
from alloyk.runtime.cores import available_cores

AUTOTUNE = tf.data.AUTOTUNE
"""As many calls as the machine has cores, under `untuned`."""

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

_PNG_HEAD_BYTES = 24  # up to its size

BATCHES_AT_ONCE = 2  # files of one batch are read while those of another are decoded
PARALLEL_IMAGES = available_cores()  # of a batch

# TensorFlow's text of an error raised in Python: its class and its first line.
_OUR_ERROR = re.compile(r"\balloyk\.errors\.(\w+): (.*)")

Digests = dict[str, str]
"""Path → SHA-256 of the file, 64 hexadecimal digits."""


def _files_read(digests: Digests | None, grouping: Grouping) -> Callable[[np.ndarray], Any]:
    """A function that reads each plain file of a batch of paths, once.

    It returns the bytes and the index of the decoder in `_DECODERS`; for all other files, which
    `read_image` reads, no bytes and `_READ_IMAGE`; and whether the images may be grouped. The
    SHA-256 of the bytes is written into `digests` when a file is read for the first time.
    """
    numbers = {name: number for number, name in enumerate(_DECODERS)}

    @PYTHON_CALLS.counted
    def read(paths: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.bool_]:
        contents, places, sizes = [], [], []
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
            sizes.append(_png_size(content) if content else (0, 0))
        grouped = np.bool_(grouping.is_for(np.array(sizes)))
        return np.array(contents, object), np.array(places, np.int32), grouped

    return read


def _plain_content(path: bytes) -> bytes | None:
    """The bytes of a regular file with the suffix of a plain format, or None."""
    if not path.lower().endswith(_PLAIN_SUFFIXES):
        return None
    try:
        return image_bytes(os.fsdecode(path))
    except (OSError, ValueError, AlloykError):  # reported by `read_image`
        return None


def _head(path: str | os.PathLike[str]) -> bytes:
    """The first bytes of a file; none if it cannot be read, which `read_image` reports."""
    try:
        with open_image_file(os.fspath(path)) as file:
            return file.read(_PNG_HEAD_BYTES)
    except (OSError, ValueError, AlloykError):
        return b""


def _png_size(content: bytes) -> tuple[int, int]:
    """Height and width in the header of a PNG file; `(0, 0)` for another one."""
    if not content.startswith(b"\x89PNG"):
        return 0, 0
    return int.from_bytes(content[20:24]), int.from_bytes(content[16:20])


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


class _FilesOfBatch:
    """The files of a batch, with the ways to read and preprocess them.

    Args:
        paths: String tensor `(n,)`.
        read_files: See `_files_read`.
        grouping: Grouping of the preprocessing.
        size: That of the flat frames, or `(None, None)`.
    """

    def __init__(self, paths, read_files, grouping, size):
        types = [tf.string, tf.int32, tf.bool]
        contents, numbers, self._grouped = tf.numpy_function(
            read_files, [paths], types, stateful=False
        )
        contents, numbers = (tf.ensure_shape(one, (None,)) for one in (contents, numbers))
        self._files = paths, contents, numbers
        self._count = tf.size(paths, out_type=tf.int64)
        self._grouping, self._size = grouping, size

    def one_by_one(self):
        """A dataset of one element, the preprocessed images."""
        batch = tf.data.Dataset.from_tensors(self._files)
        by_its_decoder = batch.map(self._each(lambda *file: self._decoded(*file)))
        by_read_image = batch.map(self._each(lambda path, *_: _read(path, self._size)))
        return by_its_decoder.ignore_errors().concatenate(by_read_image).take(1)

    def for_groups(self):
        """A dataset of one element, what `Grouping.together` takes."""

        def raw(*file):
            image = tf.ensure_shape(self._decoded(*file), (*self._size, None))
            return tf.reshape(image, [-1]), tf.shape(image)

        def finished(images):
            return tf.reshape(images, (self._count, -1)), tf.zeros((self._count, 3), tf.int32)

        files = tf.data.Dataset.from_tensor_slices(self._files)
        files = files.take(tf.where(self._grouped, self._count, 0))
        images = files.map(raw, num_parallel_calls=AUTOTUNE, deterministic=True)
        # A batch that lost an image to an error is dropped.
        first = images.padded_batch(self._count, drop_remainder=True)
        return first.ignore_errors().concatenate(self.one_by_one().map(finished)).take(1)

    def _each(self, read):
        """A function that reads and preprocesses the files of a batch, `(n, h, w, channels)`.

        A dataset of the single files would take more time, as one is made for each batch.
        """
        shape = self._grouping.output_shape

        def preprocessed(file):
            image = tf.ensure_shape(read(*file), (*self._size, None))
            return tf.ensure_shape(self._grouping.alone(image[None])[0], shape)

        signature = tf.TensorSpec(shape, tf.float32)
        return lambda *files: tf.map_fn(
            preprocessed, files, parallel_iterations=PARALLEL_IMAGES, fn_output_signature=signature
        )

    def _decoded(self, path, content, number):
        def branch(decode):
            return lambda: tf.cast(decode(content), tf.float32)

        branches = [branch(decode) for decode in _DECODERS.values()]
        return tf.switch_case(number, [*branches, lambda: _read(path, self._size)])


@without_autograph
def preprocessed_batches(
    batches: tf.data.Dataset,
    preprocessing: Any,
    digests: Digests | None = None,
    example: str | os.PathLike[str] | None = None,
) -> tf.data.Dataset:
    """Preprocessed images of batches of paths, in their order.

    TensorFlow's decoder reads a file if `plain_format` allows it, otherwise `read_image`. A batch
    in which a file fails is read again with `read_image` only, whose error names the file.

    Args:
        batches: String tensors `(n,)`, paths.
        preprocessing: Layers from a raw image to a gray one of fixed size.
        digests: Path → SHA-256 of the decoded bytes; filled for plain files.
        example: One of the files. If it is a small PNG file, the images of a batch of such files
            are preprocessed in groups; they are the same, bit for bit.

    Returns:
        Dataset of `(n, height, width, 1)` float32.
    """
    size = preprocessing.input_shape[1:3]
    grouping = Grouping(preprocessing)
    read_files = _files_read(digests, grouping)
    in_groups = example is not None and grouping.is_for(np.array([_png_size(_head(example))]))

    def together(paths):
        files = _FilesOfBatch(paths, read_files, grouping, size)
        return files.for_groups() if in_groups else files.one_by_one()

    options = untuned()
    # tf.data's fusion of map and batch fails with two of them in one function.
    options.experimental_optimization.map_and_batch_fusion = False
    images = batches.interleave(
        together,
        cycle_length=BATCHES_AT_ONCE,
        num_parallel_calls=BATCHES_AT_ONCE,
        deterministic=True,
    ).with_options(options)
    if not in_groups:
        return images
    return images.map(grouping.together, num_parallel_calls=AUTOTUNE, deterministic=True)


def untuned():
    """Options of tf.data with which an iterator ends at once.

    Where tf.data tunes itself, TensorFlow 2.21 ends an iterator, in three of four cases, only when
    its tuning wakes up next: after 0.6, 1.3, 2.6, 5.1, 10, 20 or 41 s. A pass over validation
    images that takes 1.6 s took 2.6 s (`scripts/bench_pipeline.py --part end`).
    """
    options = tf.data.Options()
    options.autotune.enabled = False
    return options


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
