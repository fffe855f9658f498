"""JPEG and BMP by Pillow."""

import io
import struct
import warnings
from typing import BinaryIO

import numpy as np
from PIL import Image

from alloyk.imaging.limits import (
    CUT_SHORT,
    native,
    oriented,
    oriented_size,
    refuse_bad_page,
    refuse_bad_size,
)

# Pillow warns of large images (the limit is enforced by checks) and of damaged EXIF (then ignored).
# A filter set once, as warnings.catch_warnings is not safe in tf.data's threads.
warnings.filterwarnings("ignore", module=r"PIL\.")

ORIENTATION_TAG = 0x0112

# JPEG markers (https://www.w3.org/Graphics/JPEG/itu-t81.pdf, table B.1): the two kinds of frame
# that are neither progressive nor arithmetically coded, start of scan, EXIF, Adobe's colours.
_BASELINE, _SEQUENTIAL, _SCAN, _APP1, _APP14 = 0xC0, 0xC1, 0xDA, 0xE1, 0xEE


def read_jpeg(file: BinaryIO, page: int | None) -> np.ndarray:
    """Return the pixels of a JPEG file that has an end."""
    data = file.read()
    _jpeg_segments(data)
    return _turned_array(_opened(io.BytesIO(data), page))


def is_plain_jpeg(file: BinaryIO) -> bool:
    """Tell whether a whole JPEG file is sequential, 8-bit gray or YCbCr, without EXIF."""
    segments = _jpeg_segments(file.read())
    frame = segments.get(_BASELINE) or segments.get(_SEQUENTIAL)
    if frame is None or segments.keys() & {_APP1, _APP14}:
        return False
    depth, height, width, channels = struct.unpack(">BHHB", frame[:6])
    refuse_bad_size(height, width)
    return depth == 8 and channels in (1, 3)


def read_bmp(file: BinaryIO, page: int | None) -> np.ndarray:
    """Return the pixels of a BMP file."""
    return _turned_array(_opened(file, page))


def size(file: BinaryIO, page: int | None) -> tuple[int, int]:
    """Return `(height, width)` from the header."""
    image = _opened(file, page)
    return oriented_size(image.height, image.width, _orientation(image))


def pillow_array(image: Image.Image) -> np.ndarray:
    """Return a Pillow image as `(height, width, 1 or 3)`, as deep as Pillow has it."""
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


def _orientation(image: Image.Image) -> int:
    return image.getexif().get(ORIENTATION_TAG, 1) if "exif" in image.info else 1


def _jpeg_segments(data: bytes) -> dict[int, bytes]:
    """Return the segments before the first scan, by marker; refuse a file that has no end."""
    position, segments = 2, {}
    while position + 4 <= len(data):
        marker = data[position + 1]
        if data[position] != 0xFF:
            raise ValueError("its markers are damaged")
        if marker == _SCAN:
            # libjpeg invents what is missing. Pixels cannot hold an end marker (FF is escaped in
            # them), so the first one behind the start of the scan is the image's own, not a
            # thumbnail's.
            if data.find(b"\xff\xd9", position) < 0:
                raise ValueError(CUT_SHORT)
            return segments
        if marker == 0xFF:  # padding
            position += 1
        elif marker == 0x01 or 0xD0 <= marker <= 0xD8:  # markers without content
            position += 2
        else:
            length = int.from_bytes(data[position + 2 : position + 4])
            segments[marker] = data[position + 4 : position + 2 + length]
            position += 2 + length
    raise ValueError(CUT_SHORT)
