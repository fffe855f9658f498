"""The images in a file of a laboratory format."""

import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np

from alloyk.errors import DataError
from alloyk.imaging.limits import CUT_SHORT


@dataclass(frozen=True)
class Frames:
    """The images in a file.

    Attributes:
        count: Number of images.
        height: Height in pixels.
        width: Width in pixels.
        get: Function that reads an image by its number, `(height, width)` or `(height, width, 3)`.
        close: Closes what was opened to read them.
        total: Function that returns the sum of all images, `(height, width)` float64, where
            reading one after another would decode each many times; None otherwise.
    """

    count: int
    height: int
    width: int
    get: Callable[[int], np.ndarray]
    close: Callable[[], None] = lambda: None
    total: Callable[[], np.ndarray] | None = None


def frames_of_array(array: Any) -> Frames:
    """Return the images of an array: `(h, w)`, `(h, w, 1 or 3)`, or `(n, h, w)`, a stack.

    Raises:
        DataError: It has another shape, or is not numeric.
    """
    shape, dtype = tuple(int(side) for side in array.shape), np.dtype(array.dtype)
    if dtype.kind not in "buif":
        raise DataError(f"its values must be integers or floats, got {dtype}; convert it")
    if len(shape) == 2 or (len(shape) == 3 and shape[2] in (1, 3)):
        return Frames(1, shape[0], shape[1], lambda number: np.asarray(array[...]))
    if len(shape) == 3:
        if not shape[0]:
            raise DataError(f"it has no pages (shape {shape}); remove it")
        return Frames(shape[0], shape[1], shape[2], lambda number: np.asarray(array[number]))
    raise DataError(
        "its shape must be (height, width), (height, width, 3) or (frames, height, width), got "
        f"{shape}; save it in one of these"
    )


def bare_frames(
    file: BinaryIO, offset: int, shape: tuple[int, int], dtype: np.dtype[Any], count: int
) -> Frames:
    """Return uncompressed frames stored one after another.

    Raises:
        ValueError: There are none, or the file is too short for them.
    """
    length = shape[0] * shape[1] * dtype.itemsize
    end = file.seek(0, io.SEEK_END)
    if count < 1 or min(shape) < 1:
        raise ValueError(f"its header gives {count} frames of {shape[0]} × {shape[1]} pixels")
    if offset + count * length > end:
        raise ValueError(
            f"{CUT_SHORT}: {count} frames of {shape[0]} × {shape[1]} {dtype.name} need "
            f"{offset + count * length} bytes, got {end}"
        )

    def get(number: int) -> np.ndarray:
        file.seek(offset + number * length)
        return np.frombuffer(file.read(length), dtype).reshape(shape)

    return Frames(count, *shape, get)


def missing_package(kind: str, packages: str) -> DataError:
    """Return the error about a reader that is not installed."""
    return DataError(f'{kind} needs the package {packages}; pip install "alloyk[lab]"')
