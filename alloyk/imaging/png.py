"""Read PNG exactly: all bits of 16-bit colour, with all checksums, all rows and the end verified.

Pillow accepts files with wrong checksums, missing last rows or a missing end, and reduces 16-bit
colour to 8 bits. So this module parses the file, and uses Pillow's fast decoder only to undo the
filters of the rows.
"""

import io
import math
import struct
import zlib
from typing import BinaryIO, NamedTuple

import numpy as np
from PIL import Image

from alloyk.errors import DataError
from alloyk.imaging.limits import (
    CUT_SHORT,
    native,
    oriented,
    oriented_size,
    refuse_bad_page,
    refuse_bad_size,
)
from alloyk.imaging.pillow import orientation

_GRAY, _RGB, _PALETTE, _GRAY_ALPHA, _RGB_ALPHA = 0, 2, 3, 4, 6
_SAMPLES = {_GRAY: 1, _RGB: 3, _PALETTE: 1, _GRAY_ALPHA: 2, _RGB_ALPHA: 4}

# (colour, depth) -> Pillow's mode, and its name for the packing of the samples. Pillow has no
# 16-bit colour, but can read either byte: 16B reads the samples as big-endian, as in PNG, 16L as
# little-endian.
_DECODERS = {
    (_GRAY, 1): ("1", "1"),
    (_GRAY, 2): ("L", "L;2"),
    (_GRAY, 4): ("L", "L;4"),
    (_GRAY, 8): ("L", "L"),
    (_GRAY, 16): ("I;16", "I;16B"),
    (_RGB, 8): ("RGB", "RGB"),
    (_RGB, 16): ("RGB", "RGB;16B", "RGB;16L"),
    (_PALETTE, 1): ("P", "P;1"),
    (_PALETTE, 2): ("P", "P;2"),
    (_PALETTE, 4): ("P", "P;4"),
    (_PALETTE, 8): ("P", "P"),
    (_GRAY_ALPHA, 8): ("LA", "LA"),
    (_GRAY_ALPHA, 16): ("RGBA", "RGBA"),  # four bytes per pixel: gray high, gray low, alpha
    (_RGB_ALPHA, 8): ("RGBA", "RGBA"),
    (_RGB_ALPHA, 16): ("RGBA", "RGBA;16B", "RGBA;16L"),
}

# Chunks that do not change pixel values: resolution, time, text, colour profiles.
_INERT_PARTS = frozenset(
    {b"IDAT", b"pHYs", b"tIME", b"tEXt", b"iTXt", b"gAMA", b"cHRM", b"sRGB", b"iCCP", b"sBIT"}
)

_TEXT_PARTS = (b"tEXt", b"zTXt", b"iTXt")
_ANIMATION = b"acTL"
_BEGINNING_READ = (*_TEXT_PARTS, _ANIMATION)
_TURNING_KEYS = (b"Raw profile type ", b"XML:com.adobe.xmp")
_KEY_BYTES = 20

# Adam7: first column, first row, column step, row step of each pass.
_PASSES = (
    (0, 0, 8, 8),
    (4, 0, 8, 8),
    (0, 4, 4, 8),
    (2, 0, 4, 4),
    (0, 2, 2, 4),
    (1, 0, 2, 2),
    (0, 1, 1, 2),
)


class _Header(NamedTuple):
    width: int
    height: int
    depth: int
    colour: int
    interlaced: int


def read(file: BinaryIO, page: int | None) -> np.ndarray:
    """Return the pixels of a complete PNG file, `(height, width, 1 or 3)`."""
    refuse_bad_page(page, 1)
    data = file.read()
    header, parts = _taken_apart(data)
    refuse_bad_size(header.height, header.width)
    _refuse_animation(parts)
    if (header.colour, header.depth) not in _DECODERS:
        raise ValueError(f"colour type {header.colour} with {header.depth} bits does not exist")
    array = _decoded(header, b"".join(parts[b"IDAT"]))
    if header.colour == _PALETTE:
        array = _looked_up(array[..., 0], b"".join(parts.get(b"PLTE", [])))
    if _may_be_turned(parts):
        array = oriented(array, _orientation(io.BytesIO(data)))
    return array


def size(file: BinaryIO, page: int | None) -> tuple[int, int]:
    """Return `(height, width)` from the header, without reading the pixels."""
    refuse_bad_page(page, 1)
    image = Image.open(file)
    refuse_bad_size(image.height, image.width)
    parts: dict[bytes, list[memoryview]] = {}
    file.seek(8)
    while len(head := file.read(8)) == 8:
        length, name = struct.unpack(">I4s", head)
        begin = file.read(min(length, _KEY_BYTES)) if name in _BEGINNING_READ else b""
        parts.setdefault(name, []).append(memoryview(begin))
        file.seek(length - len(begin) + 4, io.SEEK_CUR)
    _refuse_animation(parts)
    turned = _orientation(file) if _may_be_turned(parts) else 1
    return oriented_size(image.height, image.width, turned)


def plain_depth(file: BinaryIO) -> int | None:
    """Return 8 or 16 for a complete PNG file of plain gray or colour, otherwise None.

    None for alpha, palettes, interlaced rows, and all chunks that may affect decoding. The
    checksums of the pixels are left to the decoder: libpng verifies those of `IDAT` itself.
    """
    header, parts = _taken_apart(file.read(), unchecked=b"IDAT")
    refuse_bad_size(header.height, header.width)
    plain = (
        header.colour in (_GRAY, _RGB)
        and header.depth in (8, 16)
        and not header.interlaced
        and parts.keys() <= _INERT_PARTS
        and not _may_be_turned(parts)
    )
    return header.depth if plain else None


def _may_be_turned(parts: dict[bytes, list[memoryview]]) -> bool:
    """Return whether a chunk may have an EXIF or XMP orientation, also as text."""
    if b"eXIf" in parts:
        return True
    texts = (text for name in _TEXT_PARTS for text in parts.get(name, ()))
    return any(bytes(text[: len(key)]) == key for text in texts for key in _TURNING_KEYS)


def _orientation(file: BinaryIO) -> int:
    file.seek(0)
    return orientation(Image.open(file))


def _refuse_animation(parts: dict[bytes, list[memoryview]]) -> None:
    """Raise if there are images after the first, which PNG readers show alone (PNG 3, 11.3.6)."""
    control = parts.get(_ANIMATION)
    frames = int.from_bytes(control[0][:4]) if control else 1
    if frames > 1:
        raise DataError(f"it is an animation of {frames} images; save each as a file")


def _looked_up(index: np.ndarray, palette: bytes) -> np.ndarray:
    colours = len(palette) // 3
    if len(palette) % 3 or index.max(initial=0) >= colours:
        raise ValueError(f"its pixels exceed the {colours} colours of its palette")
    return np.asarray(np.frombuffer(palette, np.uint8).reshape(-1, 3)[index])


def _taken_apart(
    data: bytes, unchecked: bytes = b""
) -> tuple[_Header, dict[bytes, list[memoryview]]]:
    """Return the header and the chunks by name, up to the end.

    The checksums of all chunks are verified, except those of the chunks named `unchecked`.
    """
    position, header, view = 8, None, memoryview(data)
    parts: dict[bytes, list[memoryview]] = {b"IDAT": []}
    while position + 12 <= len(data):
        length, name = struct.unpack_from(">I4s", data, position)
        end = position + 12 + length
        if end > len(data):
            break
        if name != unchecked and zlib.crc32(view[position + 4 : end - 4]) != int.from_bytes(
            view[end - 4 : end]
        ):
            raise ValueError(f"the checksum of its {name.decode('latin-1')!r} chunk is wrong")
        content = view[position + 8 : end - 4]
        if header is None:
            if name != b"IHDR" or length != 13:
                raise ValueError("its header is missing")
            header = _Header(*struct.unpack(">IIBBxxB", content))
        elif name == b"IEND":
            return header, parts
        else:
            parts.setdefault(name, []).append(content)
        position = end
    raise ValueError(CUT_SHORT)


def _decoded(header: _Header, packed: bytes) -> np.ndarray:
    expected = _bytes_of_rows(header)
    unpacker = zlib.decompressobj()
    rows = unpacker.decompress(packed, expected)
    if len(rows) < expected:
        raise ValueError(f"it has {len(rows)} bytes of pixels, but its header requires {expected}")
    # zlib verifies the checksum after the last row only if decompression continues.
    unpacker.decompress(unpacker.unconsumed_tail, expected)
    if not unpacker.eof:
        raise ValueError("its pixels have no end")
    # Pillow needs compressed rows; level 0 takes no time.
    stored = zlib.compress(rows, 0)
    mode, *orders = _DECODERS[header.colour, header.depth]
    planes = []
    for order in orders:
        image = Image.frombytes(
            mode, (header.width, header.height), stored, "zip", order, header.interlaced
        )
        planes.append(np.asarray(image))
    first = planes[0] if planes[0].ndim == 3 else planes[0][..., None]
    if mode == "1":
        return first * np.uint8(255)
    if header.depth < 16 or header.colour == _GRAY:
        return native(first[..., : 3 if header.colour in (_RGB, _RGB_ALPHA) else 1])
    if header.colour == _GRAY_ALPHA:
        high, low = first[..., 0:1], first[..., 1:2]
    else:
        high, low = first[..., :3], planes[1][..., :3]
    return np.asarray(high.astype(np.uint16) << 8 | low)


def _bytes_of_rows(header: _Header) -> int:
    """Return the size of the unpacked rows, each with one byte for its filter."""
    bits = header.depth * _SAMPLES[header.colour]
    passes = _PASSES if header.interlaced else ((0, 0, 1, 1),)
    total = 0
    for left, top, across, down in passes:
        width = math.ceil((header.width - left) / across)
        height = math.ceil((header.height - top) / down)
        if width > 0 and height > 0:
            total += height * (1 + math.ceil(width * bits / 8))
    return total
