"""JPEG and BMP by Pillow."""

import warnings
from typing import BinaryIO

import numpy as np
from PIL import Image, UnidentifiedImageError

from alloyk.imaging import jpeg
from alloyk.imaging.limits import (
    native,
    oriented,
    oriented_size,
    refuse_bad_page,
    refuse_bad_size,
)

# Pillow warns of large images (`limits` checks the size) and of damaged EXIF (ignored). The filter
# is set once, because warnings.catch_warnings is not thread-safe.
warnings.filterwarnings("ignore", module=r"PIL\.")

_ORIENTATION_TAG = 0x0112


def read_jpeg(file: BinaryIO, page: int | None) -> np.ndarray:
    """Return the pixels of a JPEG file; raise if its end is missing."""
    refuse_bad_page(page, 1)
    data = jpeg.with_height(file.read())
    header = jpeg.header_of(data)
    refuse_bad_size(header.frame.height, header.frame.width)
    if _is_readable(header.frame):
        return _turned_array(jpeg.whole_image(data))
    from alloyk.imaging import jpeg_other

    return oriented(jpeg_other.read(data, header, header.frame), _orientation_in(header.exif))


def size_of_jpeg(file: BinaryIO, page: int | None) -> tuple[int, int]:
    """Return `(height, width)` of a JPEG file from its header."""
    try:
        return size(file, page)
    except UnidentifiedImageError:
        file.seek(0)
    header = jpeg.header_of(jpeg.with_height(file.read()))
    frame = header.frame
    refuse_bad_size(frame.height, frame.width)
    return oriented_size(frame.height, frame.width, _orientation_in(header.exif))


def _is_readable(frame: jpeg.Frame) -> bool:
    """Return whether Pillow reads a kind of JPEG: it has not hierarchical JPEG or JPEG-LS."""
    return frame.depth == 8 and frame.marker in (0xC0, 0xC1, 0xC2, 0xC3, 0xC9, 0xCA)


def read_bmp(file: BinaryIO, page: int | None) -> np.ndarray:
    """Return the pixels of a BMP file."""
    return _turned_array(_opened(file, page))


def size(file: BinaryIO, page: int | None) -> tuple[int, int]:
    """Return `(height, width)` from the header."""
    image = _opened(file, page)
    return oriented_size(image.height, image.width, _orientation(image))


def pillow_array(image: Image.Image) -> np.ndarray:
    """Return a Pillow image as `(height, width, 1 or 3)`, at Pillow's depth."""
    if image.mode in ("1", "LA", "La"):
        image = image.convert("L")
    elif image.mode not in ("L", "RGB", "I", "F") and not image.mode.startswith("I;16"):
        image = image.convert("RGB")  # palette, alpha, CMYK, YCbCr, Lab
    array = np.asarray(image)
    return native(array[..., None] if array.ndim == 2 else array)


def _opened(file: BinaryIO, page: int | None) -> Image.Image:
    refuse_bad_page(page, 1)
    image = Image.open(file)
    refuse_bad_size(image.height, image.width)
    return image


def _turned_array(image: Image.Image) -> np.ndarray:
    return oriented(pillow_array(image), _orientation(image))


def orientation(image: Image.Image) -> int:
    """Return the orientation in the EXIF or XMP of an image; 1, upright, if it cannot be read."""
    try:
        return int(image.getexif().get(_ORIENTATION_TAG, 1))
    except Exception:  # of almost any type, by the kind of damage
        return 1


def _orientation_in(exif: bytes) -> int:
    found = Image.Exif()
    try:
        found.load(exif)
        return int(found.get(_ORIENTATION_TAG, 1))
    except Exception:  # as in `orientation`
        return 1


def _orientation(image: Image.Image) -> int:
    return orientation(image) if "exif" in image.info else 1
