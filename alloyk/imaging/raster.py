"""PNG, JPEG and BMP by Pillow, with what Pillow lets pass put right.

Pillow takes PNG files whose pixels fail their checksum or whose end is missing, JPEG files without
an end, and cuts 16-bit colour PNG to 8 bit.
"""

import io
import struct
import warnings
import zlib
from typing import BinaryIO

import numpy as np
from PIL import Image

from alloyk.imaging.checks import (
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

_ORIENTATION_TAG = 0x0112


def read_png(file: BinaryIO, page: int | None) -> np.ndarray:
    """Return the pixels of a PNG file that is whole."""
    data = file.read()
    (width, height, depth, colour, interlaced), pixels = _checked_png(data)
    refuse_bad_size(height, width)
    image = _opened(io.BytesIO(data), page)
    if depth == 16 and colour != 0:
        array = _colour16(image.size, colour, interlaced, b"".join(pixels))
        return oriented(array, _orientation(image))
    return _turned_array(image)


def read_jpeg(file: BinaryIO, page: int | None) -> np.ndarray:
    """Return the pixels of a JPEG file that has an end."""
    data = file.read()
    # libjpeg invents what is missing. Pixels cannot hold an end marker (FF is escaped in them),
    # so the first one behind the start of the scan is the image's own, not a thumbnail's.
    if data.find(b"\xff\xd9", _jpeg_scan(data)) < 0:
        raise ValueError(CUT_SHORT)
    return _turned_array(_opened(io.BytesIO(data), page))


def read_bmp(file: BinaryIO, page: int | None) -> np.ndarray:
    """Return the pixels of a BMP file."""
    return _turned_array(_opened(file, page))


def size(file: BinaryIO, page: int | None) -> tuple[int, int]:
    """Return `(height, width)` from the header."""
    image = _opened(file, page)
    return oriented_size(image.height, image.width, _orientation(image))


READERS = {"png": read_png, "jpeg": read_jpeg, "bmp": read_bmp}


def pillow_array(image: Image.Image) -> np.ndarray:
    """Return a Pillow image as `(height, width, 1 or 3)`, as deep as Pillow has it."""
    if image.mode in ("1", "LA", "La"):
        image = image.convert("L")
    elif image.mode not in ("L", "RGB", "I", "F") and not image.mode.startswith("I;16"):
        image = image.convert("RGB")  # palette, alpha, CMYK, YCbCr, Lab
    array = np.asarray(image)
    if image.mode == "I" and image.format == "PNG":  # 16-bit gray in older Pillow
        array = array.astype(np.uint16)
    return native(array[..., None] if array.ndim == 2 else array)


def _opened(file: BinaryIO, page: int | None) -> Image.Image:
    refuse_bad_page(page, 1)
    image = Image.open(file)
    refuse_bad_size(image.height, image.width)
    return image


def _turned_array(image: Image.Image) -> np.ndarray:
    return oriented(pillow_array(image), _orientation(image))


def _orientation(image: Image.Image) -> int:
    # PNG may carry EXIF behind its pixels, so that it is known only after loading.
    if image.format == "PNG":
        image.load()
    if "exif" not in image.info and "Raw profile type exif" not in image.info:
        return 1
    return image.getexif().get(_ORIENTATION_TAG, 1)


def _checked_png(data: bytes) -> tuple[tuple[int, int, int, int, int], list[bytes]]:
    """Return the header `(width, height, depth, colour, interlaced)` and the packed pixels.

    Every part must be whole, with the right checksum, up to the end mark.
    """
    position, pixels, header = 8, [], None
    view = memoryview(data)
    while position + 12 <= len(data):
        length, name = struct.unpack_from(">I4s", data, position)
        end = position + 12 + length
        if end > len(data):
            break
        if zlib.crc32(view[position + 4 : end - 4]) != int.from_bytes(view[end - 4 : end]):
            raise ValueError(f"the checksum of its {name.decode('latin-1')!r} part is wrong")
        if header is None:
            if name != b"IHDR" or length != 13:
                raise ValueError("its header is missing")
            header = struct.unpack_from(">IIBBxxB", data, position + 8)
        elif name == b"IDAT":
            pixels.append(view[position + 8 : end - 4])
        elif name == b"IEND":
            return header, pixels
        position = end
    raise ValueError(CUT_SHORT)


def _colour16(
    image_size: tuple[int, int], colour: int, interlaced: int, pixels: bytes
) -> np.ndarray:
    """Decode 16-bit RGB, RGB + alpha or gray + alpha, without the alpha.

    Pillow has no 16-bit colour and keeps the high bytes, but its decoder gives either byte when
    asked: `16B` reads the samples as big-endian, which PNG is, and `16L` as little-endian.
    """
    if colour == 4:  # four bytes a pixel: gray high, gray low, alpha high, alpha low
        raw = np.asarray(Image.frombytes("RGBA", image_size, pixels, "zip", "RGBA", interlaced))
        return (raw[..., 0:1].astype(np.uint16) << 8) | raw[..., 1:2]
    mode = {2: "RGB", 6: "RGBA"}[colour]
    high, low = (
        np.asarray(Image.frombytes(mode, image_size, pixels, "zip", f"{mode};{order}", interlaced))
        for order in ("16B", "16L")
    )
    return (high[..., :3].astype(np.uint16) << 8) | low[..., :3]


def _jpeg_scan(data: bytes) -> int:
    """Return where the first scan starts, by stepping over the segments before it."""
    position = 2
    while position + 4 <= len(data):
        marker = data[position + 1]
        if data[position] != 0xFF:
            raise ValueError("its markers are damaged")
        if marker == 0xDA:
            return position
        if marker == 0xFF:  # padding
            position += 1
        elif marker == 0x01 or 0xD0 <= marker <= 0xD8:  # markers without content
            position += 2
        else:
            position += 2 + int.from_bytes(data[position + 2 : position + 4], "big")
    raise ValueError(CUT_SHORT)
