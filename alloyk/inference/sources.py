"""Images to classify, given as files, arrays or bytes: numbered, named and decoded."""

import os
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from alloyk.errors import AlloykError, ConfigError, DataError
from alloyk.imaging import (
    NO_SETTINGS,
    FileSettings,
    PageChoice,
    assume_files,
    channel_files,
    image_size,
    page_count,
    page_paths,
    read_image,
    split_page,
)
from alloyk.imaging.limits import unusable_values
from alloyk.imaging.pages import CHANNELS, names_channels
from alloyk.messages import shown
from alloyk.runtime.cores import available_cores

# Limits on the images and pixels decoded together: memory is bounded by pixels, not by files
# (32 decoded frames of 10,000² would take 9.4 GB).
READ_AHEAD = 32
READ_AHEAD_PIXELS = 2**25
# No two images of different shards are decoded or classified together: rounding depends on which
# images share a batch, and a shard that is classified alone has the rows of the whole.
SHARD_IMAGES = 1024

# An error stands for an image that turned out to be unreadable before.
Image = str | np.ndarray | AlloykError


class Item(NamedTuple):
    """One image to classify.

    Attributes:
        number: Its place among all.
        name: What it is called, if anything.
        source: A path to read, the pixels, or why there are none.
        shard: Number of the shard of what was given.
    """

    number: int
    name: str | None
    source: Image
    shard: int = 0

    def __str__(self) -> str:
        return f"image {self.number} (counted from 0)" if self.name is None else shown(self.name)


def as_items(images: Any, names: Sequence[str | None] | None, channels: int = 1) -> list[Item]:
    """Number and name the images given to `Classifier.predict`.

    Args:
        images: Paths, arrays, and errors of images that cannot be read.
        names: What to call them.
        channels: Channels of an image; with 1, colour and alpha are allowed too.

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
        elif isinstance(image, AlloykError):
            source = image
        else:
            source = _as_image(np.asarray(image), channels)
        name = names[number] if names is not None else name
        items.append(Item(number, name, source, number // SHARD_IMAGES))
    return items


def with_pages(
    items: Sequence[Item], page: PageChoice | None, files: FileSettings = NO_SETTINGS
) -> list[Item]:
    """Replace each file of several pages by one page, their mean, or all pages.

    Args:
        items: Images; those that name a page, or are pixels, stay.
        page: What to take; None changes nothing.
        files: How raw and HDF5 files are read.

    Raises:
        ConfigError: `page` is none of these.
    """
    if page is None:
        return list(items)
    if not (page in ("mean", "each") or (type(page) is int and page >= 0)):
        raise ConfigError(f"page must be a page number (0 or more), mean or each, got {page!r}")
    taken: list[Item] = []
    for item in items:
        if not isinstance(item.source, str) or split_page(item.source)[1] is not None:
            taken.append(item._replace(number=len(taken)))
            continue
        try:
            with assume_files(files):
                count = page_count(item.source)
        except AlloykError:
            count = 1  # reading it gives the reason
            page_taken: PageChoice = 0
        else:
            page_taken = page
        sources = page_paths(item.source, count, page_taken)
        names = page_paths(item.name, count, page_taken) if item.name else [item.name]
        for source, name in zip(sources, names * (len(sources) // len(names)), strict=True):
            taken.append(Item(len(taken), name, source, item.shard))
    return taken


def all_channels(items: Sequence[Item]) -> list[Item]:
    """Take everything in each file as the channels of one image, unless a page is named."""
    return [
        item._replace(source=f"{item.source}[{CHANNELS}]")
        if isinstance(item.source, str)
        and len(channel_files(item.source)) == 1
        and split_page(item.source)[1] is None
        else item
        for item in items
    ]


def refuse_channels(path: str, image: np.ndarray) -> None:
    """Refuse an image `(height, width, channels)` of several for a model that takes one.

    Raises:
        DataError: The name is `FILE[channels]` or `FILE|FILE`, and not for a single channel.
    """
    if image.shape[2] > 1 and names_channels(path):
        raise DataError(
            f"{shown(path)} must have one channel for this model, got {image.shape[2]}; name a "
            "single page or file"
        )


def _as_image(array: np.ndarray, channels: int) -> np.ndarray:
    """Return a raw image `(height, width, channels)`; with one channel, colour as it is."""
    image = array[..., None] if array.ndim == 2 else array
    if channels > 1 and image.ndim == 3 and image.size and image.dtype.kind in "biuf":
        return image
    if image.ndim != 3 or image.shape[2] not in (1, 2, 3, 4) or not image.size:
        raise ValueError(
            "an image must have the shape (height, width) or (height, width, 1 to 4 channels), "
            f"got {array.shape}"
        )
    if image.dtype.kind not in "biuf":
        raise ValueError(f"an image must hold numbers, got dtype {image.dtype}")
    return image[..., : 1 if image.shape[2] < 3 else 3]  # without alpha


def chunks(
    items: Sequence[Item], files: FileSettings = NO_SETTINGS, channels: int = 1
) -> Iterator[list[Item]]:
    """Yield the items in order, as many at a time as are decoded together.

    Args:
        items: Images.
        files: How raw and HDF5 files are read.
        channels: Channels of an image in files.
    """
    chunk: list[Item] = []
    pixels = 0
    for item in items:
        with assume_files(files):
            needed = _pixels_of(item, channels)
        full = len(chunk) == READ_AHEAD or pixels + needed > READ_AHEAD_PIXELS
        if chunk and (full or item.shard != chunk[-1].shard):
            yield chunk
            chunk, pixels = [], 0
        chunk.append(item)
        pixels += needed
    if chunk:
        yield chunk


def _pixels_of(item: Item, channels: int) -> int:
    """Pixels of all channels."""
    if isinstance(item.source, np.ndarray):
        return item.source.size
    if isinstance(item.source, AlloykError):
        return 0
    try:
        height, width = image_size(item.source)
    except AlloykError:
        return 0  # reading it gives the reason
    return height * width * channels


def decoded(
    items: Sequence[Item], files: FileSettings = NO_SETTINGS
) -> list[np.ndarray | AlloykError]:
    """Decode unread images, several at a time; an unreadable one is replaced by its error."""

    def read(item: Item) -> np.ndarray | AlloykError:
        with assume_files(files):  # of its own thread
            return _pixels_or_error(item)

    if len(items) == 1:
        return [read(items[0])]
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(min(len(items), available_cores() + 4)) as pool:
        return list(pool.map(read, items))


def _pixels_or_error(item: Item) -> np.ndarray | AlloykError:
    if isinstance(item.source, str):
        try:
            return read_image(item.source)
        except AlloykError as error:
            return error
    if isinstance(item.source, AlloykError):
        return item.source
    unusable = unusable_values(item.source)
    return DataError(f"cannot use {item}: {unusable}") if unusable else item.source


def image_from_bytes(
    data: bytes,
    name: str,
    page: PageChoice | None = None,
    files: FileSettings = NO_SETTINGS,
) -> np.ndarray:
    """Decode the bytes of one image file.

    Args:
        data: A whole file of any format that alloyk reads.
        name: Its name in error messages.
        page: The page, or `mean` of all of them, where there are several.
        files: How HDF5 files are read.

    Raises:
        DataError: It cannot be read, or has several pages and `page` is `each` or None.
    """
    with assume_files(files):
        if page == "each":
            count = page_count(data, name=name)
            if count > 1:
                raise DataError(
                    f"the image {name} must be one page with --page each, got {count}; give --page "
                    "a number or mean, or pass the file by its name"
                )
            page = None
        return read_image(data, name=name, page=page)
