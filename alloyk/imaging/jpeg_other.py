"""JPEG that Pillow does not read, by imagecodecs: more than 8 bits, lossless, JPEG-LS."""

from collections.abc import Callable
from typing import Any

import imagecodecs
import numpy as np

from alloyk.errors import DataError
from alloyk.imaging.jpeg import Frame, Header, lacks_scans, with_filling
from alloyk.imaging.limits import CUT_SHORT, refuse_bad_size
from alloyk.messages import counted

_END = b"\xff\xd9"
_LS = 0xF7
_SEQUENTIAL, _LOSSLESS = (0xC0, 0xC1, 0xC2), 0xC3


def complete(decode: Callable[[bytes], Any]) -> Callable[[bytes], Any]:
    """Return a JPEG decoder that raises if pixels are missing, where `decode` fills them.

    A complete frame gives the same pixels with bits left over before its end marker.
    """

    def decoded(source: bytes) -> Any:
        body, end, rest = source.rpartition(_END)
        if not end or rest.strip(b"\0\xff"):
            raise ValueError(CUT_SHORT)
        image = decode(source)
        for filling in (b"\x55", b"\xaa"):
            if not np.array_equal(image, decode(body + 64 * filling + end)):
                raise ValueError("pixels are missing in its middle")
        return image

    return decoded


def read(data: bytes, header: Header, frame: Frame) -> np.ndarray:
    """Return the pixels `(height, width, 1 or 3)` of a JPEG file, as they are stored.

    Raises:
        DataError: Its kind is not read.
        ValueError: Pixels are missing, or damaged.
    """
    refuse_bad_size(frame.height, frame.width)
    lossy = frame.marker in _SEQUENTIAL and frame.depth == 12
    if frame.channels not in (1, 3) or not (lossy or frame.marker in (_LOSSLESS, _LS)):
        raise DataError(
            f"its kind of JPEG (SOF{frame.marker - 0xC0}, {frame.depth} bit, "
            f"{counted(frame.channels, 'channel')}) is not read; convert it to PNG or TIFF"
        )
    try:
        if frame.marker == _LS:
            image = imagecodecs.jpegls_decode(data)
        else:
            image = imagecodecs.jpeg8_decode(data)
            other = imagecodecs.jpeg8_decode(with_filling(data, header))
            if not np.array_equal(image, other) or lacks_scans(data, header):
                raise ValueError("pixels are missing in its middle")
    except RuntimeError as error:
        raise ValueError(f"its pixels are damaged ({error})") from error
    shape = (frame.height, frame.width, frame.channels)
    if image.size != frame.height * frame.width * frame.channels:
        raise ValueError(f"it decodes to {image.shape}, but its header gives {shape}")
    return np.asarray(image.reshape(shape))
