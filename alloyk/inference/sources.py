"""What `predict` is given: files, folders, patterns, bytes and arrays, as images to classify."""

import glob
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from alloyk.errors import AlloykError, DataError
from alloyk.imaging import image_size, is_image_file, read_image, shown

STANDARD_INPUT = "-"

# As many images are decoded together, and as many pixels or less: memory is bounded by pixels, not
# by files (32 decoded frames of 10,000² would take 9.4 GB).
READ_AHEAD = 32
READ_AHEAD_PIXELS = 2**25

Image = str | np.ndarray


class Item(NamedTuple):
    """One image to classify."""

    number: int
    name: str | None
    source: Image  # a path to read, or the pixels

    def __str__(self) -> str:
        return f"image {self.number} (from 0)" if self.name is None else shown(self.name)


def as_items(images: Any, names: Sequence[str | None] | None) -> list[Item]:
    """Number and name the images given to `Classifier.predict`.

    Raises:
        ValueError: An array is not of the shape of an image, or the names are too few or many.
    """
    one_array = isinstance(images, np.ndarray) and images.ndim in (2, 3)
    images = [images] if one_array or isinstance(images, str | os.PathLike) else list(images)
    if names is not None and len(names) != len(images):
        raise ValueError(f"names must have {len(images)} entries, got {len(names)}")
    items = []
    for number, image in enumerate(images):
        name: str | None = None
        source: Image
        if isinstance(image, str | os.PathLike):
            source = name = str(os.fspath(image))
        else:
            source = _as_image(np.asarray(image))
        items.append(Item(number, names[number] if names is not None else name, source))
    return items


def _as_image(array: np.ndarray) -> np.ndarray:
    """Return a raw image `(height, width, 1 or 3)`."""
    image = array[..., None] if array.ndim == 2 else array
    if image.ndim != 3 or image.shape[2] not in (1, 2, 3, 4) or not image.size:
        raise ValueError(
            "an image must have the shape (height, width) or (height, width, 1 to 4 channels), "
            f"got {array.shape}"
        )
    if image.dtype.kind not in "biuf":
        raise ValueError(f"an image must hold numbers, got dtype {image.dtype}")
    return image[..., : 1 if image.shape[2] < 3 else 3]  # without alpha


def chunks(items: Sequence[Item]) -> Iterator[list[Item]]:
    """Yield the items in order, as many at a time as are decoded together."""
    chunk: list[Item] = []
    pixels = 0
    for item in items:
        needed = _pixels_of(item)
        if chunk and (len(chunk) == READ_AHEAD or pixels + needed > READ_AHEAD_PIXELS):
            yield chunk
            chunk, pixels = [], 0
        chunk.append(item)
        pixels += needed
    if chunk:
        yield chunk


def _pixels_of(item: Item) -> int:
    if not isinstance(item.source, str):
        return int(item.source.shape[0] * item.source.shape[1])
    try:
        height, width = image_size(item.source)
    except AlloykError:
        return 0  # reading it gives the reason
    return height * width


def decoded(items: Sequence[Item]) -> list[np.ndarray | AlloykError]:
    """Decode what has to be read, several at a time; an error takes the place of an image."""
    if len(items) == 1:
        return [_pixels_or_error(items[0])]
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(min(len(items), (os.cpu_count() or 1) + 4)) as pool:
        return list(pool.map(_pixels_or_error, items))


def _pixels_or_error(item: Item) -> np.ndarray | AlloykError:
    if isinstance(item.source, str):
        try:
            return read_image(item.source)
        except AlloykError as error:
            return error
    if not np.isfinite(item.source).all():
        return DataError(f"cannot use {item}: it holds NaN or infinite values")
    return item.source


def find_images(
    arguments: Iterable[str], ignored: Callable[[list[str]], object] = lambda names: None
) -> list[str]:
    """Return the image files that files, folders and patterns name, in their order.

    A folder gives every image below it, sorted; a pattern (`*`, `?`, `[…]`, `**` for any
    depth) those that match, sorted. `-`, for standard input, stays.

    Args:
        arguments: Files, folders, patterns and `-`.
        ignored: Called with the files of a folder, or those that a pattern matches, that are not
            images.

    Raises:
        AlloykError: One of them names no image.
    """
    found = []
    for argument in arguments:
        others: list[str] = []
        if os.path.isdir(argument):
            from alloyk.data import discovery

            tree = discovery.find_images(Path(argument))
            some = [os.path.join(argument, name) for name in tree.images]
            others = [os.path.join(argument, name) for name in tree.others]
        elif argument == STANDARD_INPUT or os.path.lexists(argument):
            some = [argument]
        elif glob.has_magic(argument):
            matches = [p for p in sorted(glob.glob(argument, recursive=True)) if os.path.isfile(p)]
            some = [path for path in matches if is_image_file(path)]
            others = [path for path in matches if path not in set(some)]
        else:
            raise DataError(f"no image at {shown(argument)}: check the path")
        if not some:
            raise DataError(
                f"no image in {shown(argument)}; needs PNG, JPEG, BMP, TIFF or DICOM files"
            )
        if others:
            ignored(others)
        found += some
    return found


def image_from_bytes(data: bytes, name: str) -> np.ndarray:
    """Decode the bytes of one image file.

    Args:
        data: A whole file of any format that alloyk reads.
        name: How errors name it.
    """
    return read_image(data, name=name)
