"""Check that a JPEG file is complete: libjpeg fills missing pixels with gray, without an error.

Pixel data cannot contain an end marker (FF is escaped). So the decoder gets the file with zeros in
place of the end; if it reads them, pixels are missing. Files with several scans or restart markers
have several segments of pixels. libjxl's parser, which repacks JPEG losslessly, counts their
coefficients. Files that it does not support (CMYK, some progressive ones) are decoded twice, with
and without padding after each segment.
"""

import io
import re
import struct
from typing import NamedTuple

import numpy as np
from PIL import Image

from alloyk.imaging.limits import CUT_SHORT, refuse_bad_size

# Markers (https://www.w3.org/Graphics/JPEG/itu-t81.pdf, table B.1).
_BASELINE, _SEQUENTIAL, _PROGRESSIVE = 0xC0, 0xC1, 0xC2
_SCAN, _RESTART_INTERVAL, _APP1, _APP14, _COMMENT = 0xDA, 0xDD, 0xE1, 0xEE, 0xFE
_STARTS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_NUMBER_OF_LINES = b"\xff\xdc\0\x04"
_END = b"\xff\xd9"
_PIECE_END = re.compile(rb"\xff[\x01-\xfe]")

# Bytes that libjpeg reads ahead; with more, missing blocks could be decoded from them. And the end
# of a complete image, of which the last bytes may be padding.
_READ_AHEAD = 8
_TAIL = 16

# Between the segments of a file with several: more than a block takes.
_FILLING = 64


class Frame(NamedTuple):
    """What the start of a frame says (T.81, B.2.2); `height` 0 is given behind the first scan."""

    marker: int
    depth: int
    height: int
    width: int
    channels: int


class Header(NamedTuple):
    """What is before the pixels of a JPEG file."""

    all_segments: list[tuple[int, bytes]]  # before the first scan, as (marker, content)
    scan: int  # where the first scan begins
    end: int  # where the end marker is

    @property
    def segments(self) -> dict[int, bytes]:
        """The last segment of each marker."""
        return dict(self.all_segments)

    @property
    def frame(self) -> Frame:
        """The first start of a frame, also that of JPEG-LS (T.87).

        Raises:
            ValueError: There is none.
        """
        for marker, content in self.all_segments:
            if (marker in _STARTS or marker == 0xF7) and len(content) >= 6:
                return Frame(marker, *struct.unpack(">BHHB", content[:6]))
        raise ValueError("its header is damaged: it gives no size")

    @property
    def exif(self) -> bytes:
        """The EXIF, or `b""`."""
        found = (content for marker, content in self.all_segments if marker == _APP1)
        return next((content for content in found if content.startswith(b"Exif\0\0")), b"")


def with_height(data: bytes) -> bytes:
    """Return a file whose header has the height, which DNL may give behind the first scan.

    Raises:
        ValueError: The file has no size or no end.
    """
    header = header_of(data)
    start, height = 2, data.find(_NUMBER_OF_LINES, header.scan)
    if header.frame.height or not 0 <= height < header.end:
        return data
    for marker, content in header.all_segments:
        start = data.index(bytes([0xFF, marker]) + (len(content) + 2).to_bytes(2), start)
        if marker == header.frame.marker:
            break
    lines = data[height + 4 : height + 6]
    return data[: start + 5] + lines + data[start + 7 : height] + data[height + 6 :]


def whole_image(data: bytes) -> Image.Image:
    """Return a decoded JPEG image with all its pixels.

    Raises:
        ValueError: Pixels are missing, or left over.
    """
    header = header_of(data)
    if _is_one_piece(data, header):
        return _decoded_to_the_end(data, header, reduced=False)
    image = _opened(data)
    image.load()
    whole = _is_repackable(data, header) if _is_known_to_libjxl(header) else None
    if whole is None:
        filled = _opened(with_filling(data, header))
        filled.load()
        whole = np.array_equal(np.asarray(image), np.asarray(filled))
    if not whole or lacks_scans(data, header):
        raise ValueError("pixels are missing in its middle")
    return image


def is_plain(data: bytes) -> bool:
    """Return whether a file is complete, sequential, 8-bit gray or YCbCr, without EXIF.

    The pixels are checked by decoding at an eighth of the size, which takes a third of the time.
    """
    header = header_of(data)
    segments = header.segments
    frame = segments.get(_BASELINE) or segments.get(_SEQUENTIAL)
    if frame is None or segments.keys() & {_APP1, _APP14} or not _is_one_piece(data, header):
        return False
    depth, height, width, channels = struct.unpack(">BHHB", frame[:6])
    refuse_bad_size(height, width)
    if depth != 8 or channels not in (1, 3):
        return False
    _decoded_to_the_end(data, header, reduced=True)
    return True


def _opened(data: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(data))
    refuse_bad_size(image.height, image.width)
    return image


def _decoded_to_the_end(data: bytes, header: Header, *, reduced: bool) -> Image.Image:
    # A short image has no separate tail.
    pixels = data[: header.end].rstrip(b"\xff")  # which may be padded
    tail = len(pixels) - _TAIL if len(pixels) - header.scan > 2 * _TAIL else 0
    file = _WatchedFile(pixels + bytes(_READ_AHEAD), tail)
    image = Image.open(file)
    refuse_bad_size(image.height, image.width)
    if reduced:
        image.draft("L", (1, 1))
    try:
        image.load()
    except OSError as error:
        if "truncated" in str(error):
            raise ValueError(f"{CUT_SHORT} or pixels are missing in its middle") from error
        raise
    if not file.reached_tail:
        raise ValueError("its pixels are damaged: the image is complete before they end")
    return image


class _WatchedFile(io.BytesIO):
    """Bytes with a tail; they record whether the tail was read."""

    def __init__(self, data: bytes, tail: int) -> None:
        super().__init__(data)
        self._tail = tail
        self.reached_tail = False

    def read(self, size: int | None = -1) -> bytes:
        position = self.tell()
        if position >= self._tail:
            self.reached_tail = True
            return super().read(size)
        limit = self._tail - position
        return super().read(limit if size is None or size < 0 else min(size, limit))


def _is_one_piece(data: bytes, header: Header) -> bool:
    """Return whether all pixels are in one scan without restart markers."""
    frame = header.segments.get(_BASELINE) or header.segments.get(_SEQUENTIAL)
    if frame is None or _RESTART_INTERVAL in header.segments:
        return False
    return len(frame) > 5 and data[header.scan + 4] == frame[5]  # as many channels


def _is_known_to_libjxl(header: Header) -> bool:
    """Return whether the image is 8-bit, Huffman-coded, with one or three channels.

    libjxl refuses complete progressive files with restart markers and subsampled colours.
    """
    frames = [header.segments.get(m, b"") for m in (_BASELINE, _SEQUENTIAL, _PROGRESSIVE)]
    frame = next((frame for frame in frames if len(frame) > 5), b"")
    is_subsampled = len(set(frame[7::3])) > 1
    if is_subsampled and {_PROGRESSIVE, _RESTART_INTERVAL} <= header.segments.keys():
        return False
    return frame[:1] == b"\x08" and frame[5] in (1, 3)


def _is_repackable(data: bytes, header: Header) -> bool:
    """Return whether libjxl finds exactly all coefficients of the pixels."""
    import imagecodecs

    # Comments and segments of other programs do not affect the pixels.
    kept = [
        b"\xff" + bytes([marker]) + (len(content) + 2).to_bytes(2) + content
        for marker, content in header.all_segments
        if not (0xE0 <= marker <= 0xEF or marker == _COMMENT)
    ]
    end = data.rfind(_END)
    bare = b"".join([data[:2], *kept, data[header.scan : end + 2]])
    try:
        imagecodecs.jpegxl_encode_jpeg(bare)
    except imagecodecs.JpegxlError:
        return False
    return True


def lacks_scans(data: bytes, header: Header) -> bool:
    """Return whether a progressive file ends before its last bits (T.81, G.1.1.1.1)."""
    if _PROGRESSIVE not in header.segments:
        return False
    frame = header.segments[_PROGRESSIVE]
    missing = {frame[6 + 3 * i]: [True] * 64 for i in range(frame[5])}  # by component
    position = header.scan
    while 0 <= position < len(data):
        count = data[position + 4]
        first, last, bits = data[position + 5 + 2 * count : position + 8 + 2 * count]
        for i in range(count):
            if bits & 0x0F == 0:
                coefficients = missing.get(data[position + 5 + 2 * i], [True] * 64)
                coefficients[first : last + 1] = [False] * (last + 1 - first)
        position = data.find(b"\xff\xda", position + 2)
    return any(any(coefficients) for coefficients in missing.values())


def with_filling(data: bytes, header: Header) -> bytes:
    """Return the file with padding after each segment of pixels.

    Complete segments ignore it; an incomplete one takes pixels from it.
    """
    filling = bytes(value % 255 for value in range(37, 37 + 7 * _FILLING, 7))
    parts, position, in_pixels = [data[: header.scan]], header.scan, False
    while position < len(data):
        found = _PIECE_END.search(data, position)
        if found is None:
            break
        at, marker = found.start(), data[found.start() + 1]
        piece = data[position:at]
        parts += [piece.rstrip(b"\xff"), filling] if in_pixels else [piece]
        length = 0
        if not (0xD0 <= marker <= 0xD9 or marker == 0x01):
            length = int.from_bytes(data[at + 2 : at + 4])
        parts.append(data[at : at + 2 + length])
        position = at + 2 + length
        in_pixels = marker == _SCAN or 0xD0 <= marker <= 0xD7
        if marker == 0xD9:
            break
    return b"".join([*parts, data[position:]])


def header_of(data: bytes) -> Header:
    """Return what comes before the first scan, and the ends.

    Raises:
        ValueError: The file has no end, or its markers are damaged.
    """
    position, segments = 2, list[tuple[int, bytes]]()
    while position + 4 <= len(data):
        marker = data[position + 1]
        if data[position] != 0xFF:
            raise ValueError("its markers are damaged")
        if marker == _SCAN:
            # The first end after the start of the pixels belongs to the image, not to a thumbnail.
            end = data.find(_END, position)
            if end < 0:
                raise ValueError(CUT_SHORT)
            return Header(segments, position, end)
        if marker == 0xFF:  # padding
            position += 1
        elif marker == 0x01 or 0xD0 <= marker <= 0xD8:  # markers without content
            position += 2
        else:
            length = int.from_bytes(data[position + 2 : position + 4])
            segments.append((marker, data[position + 4 : position + 2 + length]))
            position += 2 + length
    raise ValueError(CUT_SHORT)
