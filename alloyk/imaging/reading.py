"""Read one radiograph at its true depth, or what its header says of it.

The format is detected from the first bytes of a file, not from its name; see `formats`.
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, TypeVar

import numpy as np

from alloyk.errors import AlloykError, DataError, ImageError
from alloyk.imaging import jpeg, png
from alloyk.imaging.channels import channel_files
from alloyk.imaging.formats import Format, format_of
from alloyk.imaging.gray import to_gray
from alloyk.imaging.limits import unusable_values
from alloyk.imaging.opening import named, with_open_image
from alloyk.imaging.pages import CHANNELS, Page, split_page
from alloyk.messages import shown

Result = TypeVar("Result")


def read_image(
    source: str | Path | bytes, *, page: Page | None = None, name: str = ""
) -> np.ndarray:
    """Return the pixels of an image file at the depth of the file.

    16-bit counts stay 16-bit counts. 1-, 2- and 4-bit samples are spread over 0 … 255, palettes
    become RGB, alpha is dropped, EXIF orientation is applied, inverted gray (DICOM MONOCHROME1,
    TIFF white-is-zero) is inverted so that more is brighter; a DICOM rescale is applied, a DICOM
    window is not.

    Args:
        source: Path of a PNG, JPEG, BMP, TIFF, DICOM / DICONDE, NumPy, EDF, FITS, HIS, HDF5 or raw
            file, of any name (raw: `.raw`); or the bytes of one. `FILE[2]` is a page of a FILE,
            `FILE[mean]` the mean of all pages, `FILE[channels]` an image with a channel for each
            page or sample; `FILE|FILE` has a channel from each file, see `channels`.
        page: Page of a TIFF or frame of a DICOM file, from 0, `"mean"` of all of them, or
            `"channels"`. Required if there are several.
        name: Name for bytes in errors; a path is its own name.

    Returns:
        Array `(height, width, channels)`, channels 1 or 3 unless they are asked for, native byte
        order, of the file's own type (`uint8`, `uint16`, `int32`, `float32`, …); `float32` if a
        DICOM rescale requires it. It may be read-only.

    Raises:
        AlloykError: The file is missing, damaged, cut short, not an image, empty, larger than
            Pillow's limit against decompression bombs, has several pages and none was chosen, or
            has values that are NaN, infinite or beyond the range of float32.
    """
    if not isinstance(source, bytes) and page is None:
        files = channel_files(source)
        if len(files) > 1:
            return _together([_one_channel(read_image(file)) for file in files], shown(source))
        source, page = split_page(source)
    if page == "mean":
        image = with_open_image(source, _mean, name)
    elif page == CHANNELS:
        image = with_open_image(source, _channels, name)
    else:
        image = with_open_image(source, lambda file, kind: format_of(kind).read(file, page), name)
    unusable = unusable_values(image)
    if unusable:
        raise ImageError(f"cannot use the image {named(source, name)}: {unusable}")
    return image


def image_size(
    path: str | Path | bytes, *, page: Page | None = None, name: str = ""
) -> tuple[int, int]:
    """Return `(height, width)` of `read_image`, from the file's header only.

    Args:
        path: An image file, or the bytes of one.
        page: As in `read_image`.
        name: As in `read_image`.

    Raises:
        AlloykError: The header cannot be read, or gives more pixels than the limit.
    """
    return _of_header(path, page, name, lambda form, file, page: form.size(file, page))


def page_count(path: str | Path | bytes, *, name: str = "") -> int:
    """Return the number of pages or frames of an image file, or of its bytes, from headers only.

    Raises:
        AlloykError: The header cannot be read.
    """
    return with_open_image(path, lambda file, kind: format_of(kind).pages(file), name)


def decoded_pixels(path: str | Path | bytes, *, page: Page | None = None, name: str = "") -> int:
    """Return how many pixels `read_image` decodes at once, from the file's header only.

    It is over the size of the image where a format stores several images together: a deflated
    DICOM file, planes or tiles of TIFF.

    Args:
        path: An image file, or the bytes of one.
        page: As in `read_image`.
        name: As in `read_image`.

    Raises:
        AlloykError: The header cannot be read, or gives more pixels than the limit.
    """
    return _of_header(path, page, name, _decoded)


def image_format(path: str | Path | bytes, *, name: str = "") -> str:
    """Return the format according to the first bytes, such as `"png"`, `"tiff"` or `"dicom"`.

    Args:
        path: An image file, or the bytes of one.
        name: As in `read_image`.

    Raises:
        AlloykError: The file is missing or of no known format.
    """
    source = path if isinstance(path, bytes) else split_page(channel_files(path)[0])[0]
    return with_open_image(source, lambda file, kind: kind, name)


def plain_format(source: str | Path | bytes) -> str | None:
    """Return `"png8"`, `"png16"` or `"jpeg"` for a file that all decoders read alike, else None.

    Such a file is complete, gray or RGB, and has no orientation, palette, alpha or inversion:
    `read_image` returns the same values as libpng or libjpeg. The parts of PNG, the pixels and the
    end of JPEG, and the size limit are checked; damage of the compressed pixels of PNG is left to
    the decoder. For None, `read_image` reads the file or gives the reason.

    Args:
        source: Path of a file, or its bytes.
    """
    try:
        return with_open_image(source, _plain)
    except AlloykError:
        return None


def _mean(file: BinaryIO, kind: str) -> np.ndarray:
    """Return the mean of all pages, float32; a single page unchanged."""
    form = format_of(kind)
    count, images = _all_pages(file, form)
    if count == 1:
        return next(images)
    total = form.total(file) if form.total else None
    if total is None:
        file.seek(0)
        total = _sum(images)
    total /= count
    unusable = unusable_values(total)  # before they become infinite in float32
    if unusable:
        raise DataError(unusable)
    return total.astype(np.float32)


def _sum(images: Iterator[np.ndarray]) -> np.ndarray:
    """Return the sum of pages, float64."""
    total = next(images).astype(np.float64)
    for image in images:
        if image.shape != total.shape:
            raise DataError(
                f"its pages must have one size for their mean, got {total.shape[:2]} and "
                f"{image.shape[:2]}; choose a page"
            )
        total += image
    return total


_WITH_COLOURS = ("png", "jpeg", "bmp", "dicom")
"""Formats whose three values per pixel are colours."""


def _channels(file: BinaryIO, kind: str) -> np.ndarray:
    """Return every page, or every sample of the only page, as a channel."""
    form = format_of(kind)
    count, images = _all_pages(file, form)
    if count > 1:
        return _together([_one_channel(image) for image in images], "its pages")
    if form.read_samples:
        return form.read_samples(file)
    image = next(images)
    if kind in _WITH_COLOURS and image.shape[2] > 1:
        raise DataError("colours cannot be used as channels; save one page or file per channel")
    return image


def _all_pages(file: BinaryIO, form: Format) -> tuple[int, Iterator[np.ndarray]]:
    """Return the number of pages and each of them in turn."""
    count = form.pages(file)
    file.seek(0)
    return count, form.read_all(file) if form.read_all else _one_by_one(file, form, count)


def _one_by_one(file: BinaryIO, form: Format, count: int) -> Iterator[np.ndarray]:
    for page in range(count):
        file.seek(0)
        yield form.read(file, page)


def _one_channel(image: np.ndarray) -> np.ndarray:
    """Return gray as it is, and gray of colour."""
    return image if image.shape[2] == 1 else to_gray(image)


def _together(images: Sequence[np.ndarray], what: str) -> np.ndarray:
    """Join gray images `(height, width, 1)` as the channels of one."""
    first = images[0].shape
    other = next((image.shape for image in images if image.shape != first), None)
    if other is not None:
        raise DataError(
            f"the channels of a sample must have one size, got {first[0]}×{first[1]} and "
            f"{other[0]}×{other[1]} in {what}; take them with one detector setting"
        )
    return np.concatenate(images, axis=2)


def _plain(file: BinaryIO, kind: str) -> str | None:
    if kind == "png":
        depth = png.plain_depth(file)
        return f"png{depth}" if depth else None
    return "jpeg" if kind == "jpeg" and jpeg.is_plain(file.read()) else None


def _of_header(
    path: str | Path | bytes,
    page: Page | None,
    name: str,
    function: Callable[[Format, BinaryIO, int | None], Result],
) -> Result:
    """What `function` finds in the header of a page; of several, of the first one."""
    if page is None and not isinstance(path, bytes):
        path, page = split_page(channel_files(path)[0])
    number = page if isinstance(page, int) else None if page is None else 0
    return with_open_image(path, lambda file, kind: function(format_of(kind), file, number), name)


def _decoded(form: Format, file: BinaryIO, page: int | None) -> int:
    if form.decoded_pixels:
        return form.decoded_pixels(file, page)
    height, width = form.size(file, page)
    return height * width
