"""Preprocessed images by number: cached in memory or on disk, or read in every epoch."""

import hashlib
import json
import math
import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from alloyk import __version__
from alloyk.errors import AlloykError
from alloyk.files import whole_file
from alloyk.locks import locked_path
from alloyk.messages import shown
from alloyk.pipeline.autograph import without_autograph
from alloyk.pipeline.python_calls import PYTHON_CALLS
from alloyk.pipeline.reading import (
    AUTOTUNE,
    Digests,
    preprocessed_batches,
    reading_errors,
    untuned,
)
from alloyk.runtime.memory import usable_memory_bytes


@dataclass(frozen=True)
class KeptImages:
    """Preprocessed images in memory or in a memory-mapped file.

    Attributes:
        array: `(n, height, width, 1)` float32.
    """

    array: np.ndarray

    def parts(self, lengths: Iterable[int]) -> Iterator["KeptImages"]:
        """Consecutive parts of the images, without a copy."""
        start = 0
        for length in lengths:
            yield KeptImages(self.array[start : start + length])
            start += length

    @without_autograph
    def batches(self, numbers: tf.data.Dataset) -> tf.data.Dataset:
        """Images for batches of numbers."""

        @PYTHON_CALLS.counted
        def rows(numbers):
            return self.array[numbers]

        def fetch(batch):
            images = tf.numpy_function(rows, [batch], tf.float32, stateful=False)
            return tf.ensure_shape(images, (None, *self.array.shape[1:]))

        images = numbers.map(fetch, num_parallel_calls=AUTOTUNE, deterministic=True)
        return images.with_options(untuned())


@dataclass(frozen=True)
class StreamedImages:
    """Images that are read and preprocessed in every epoch; memory use does not grow with the set.

    Attributes:
        paths: Files, in order.
        preprocessing: Layers from a raw image to a gray one of fixed size.
        digests: Path → SHA-256 of the bytes read; filled for plain files.
    """

    paths: Sequence[Path]
    preprocessing: object
    digests: Digests | None = None

    @without_autograph
    def batches(self, numbers: tf.data.Dataset) -> tf.data.Dataset:
        """Images for batches of numbers."""
        names = tf.constant([os.fsencode(path) for path in self.paths])
        paths = numbers.map(lambda batch: tf.gather(names, batch))
        example = self.paths[0] if len(self.paths) else None
        return preprocessed_batches(paths, self.preprocessing, self.digests, example)


def keep_images(
    paths: Sequence[Path],
    preprocessing: Any,
    *,
    folder: Path | None = None,
    key: str = "",
    digests: Digests | None = None,
) -> KeptImages:
    """Read and preprocess every image once, in order.

    Args:
        paths: Image files.
        preprocessing: Layers from a raw image to a gray one of fixed size.
        folder: Folder for a memory-mapped file of the result; None keeps it in memory.
        key: Identifies the files and their content, such as `ImageDataset.fingerprint()`. A file
            with another key, preprocessing or version of alloyk is not reused.
        digests: Path → SHA-256 of the bytes read; filled for plain files.

    Returns:
        `KeptImages`.

    Raises:
        AlloykError: An image cannot be read, memory or disk space is too small, or the folder
            cannot be written.
    """
    shape = (len(paths), *preprocessing.output_shape[1:])
    if folder is None:
        _refuse_too_many(shape, None)
        return KeptImages(_fill(np.empty(shape, np.float32), paths, preprocessing, digests))
    described = json.dumps(
        [__version__, key, [str(path) for path in paths], preprocessing.get_config()],
        sort_keys=True,
    )
    target = folder / f"{hashlib.sha256(described.encode()).hexdigest()[:32]}.npy"
    kept = _kept_before(target, shape)
    if kept is None:
        with locked_path(target, wait=True):
            kept = _kept_before(target, shape)  # another process may have written it meanwhile
            if kept is None:
                _refuse_too_many(shape, folder)
                with whole_file(target) as unfinished:
                    array = np.lib.format.open_memmap(unfinished, "w+", np.float32, shape)
                    _fill(array, paths, preprocessing, digests).flush()
                kept = np.load(target, mmap_mode="r")
    return KeptImages(kept)


def _kept_before(file: Path, shape) -> np.ndarray | None:
    """The memory-mapped images of a complete file, or None."""
    try:
        array = np.load(file, mmap_mode="r")
    except (OSError, ValueError, EOFError):
        return None
    return array if array.shape == shape and array.dtype == np.float32 else None


def _refuse_too_many(shape, folder: Path | None) -> None:
    """Raise if the images do not fit: a full disk or memory would kill the process."""
    needed = 4 * math.prod(shape)
    if folder is None:
        room, where = usable_memory_bytes(), "this machine"
        advice = "set data.cache=disk, or data.cache=none to read them in every epoch"
    else:
        nearest = next(path for path in (folder, *folder.absolute().parents) if path.exists())
        room, where = shutil.disk_usage(nearest).free, shown(nearest)
        advice = "set XDG_CACHE_HOME to a folder on another disk, or set data.cache=none"
    if needed > room:
        raise AlloykError(
            f"preprocessed images must fit into the {room / 1e9:.1f} GB of {where}, got {shape[0]} "
            f"that need {needed / 1e9:.1f} GB; {advice}"
        )


def _fill(
    array: np.ndarray, paths: Sequence[Path], preprocessing: Any, digests: Digests | None
) -> Any:
    names = tf.data.Dataset.from_tensor_slices([os.fsencode(path) for path in paths])
    batches = preprocessed_batches(names.batch(64), preprocessing, digests, paths[0])
    images = batches.prefetch(1)
    start = 0
    with reading_errors():
        for batch in images.as_numpy_iterator():
            array[start : start + len(batch)] = batch
            start += len(batch)
    return array
