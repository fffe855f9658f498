"""HIS, which the detectors of Heimann, PerkinElmer and Varex write."""

import struct
from typing import Any, BinaryIO

import numpy as np

from alloyk.errors import DataError
from alloyk.imaging.frames import Frames, bare_frames
from alloyk.imaging.limits import CUT_SHORT

# The header: type 0x7000, 68 bytes long.
HIS_MARK = b"\x00\x70\x44\x00"
_HEADER = struct.Struct("<HHHIHHHHHHHdH34x")
_TYPES = {2: "u1", 4: "<u2", 32: "<u4", 64: "<f8", 128: "<f4"}


def his(file: BinaryIO) -> Frames:
    """Return the frames of a HIS file."""
    _, length, _, _, image_header, left, top, right, bottom, count, _, _, numbers = _header(file)
    if numbers not in _TYPES:
        raise DataError(f"its number type {numbers} is unknown; export it as TIFF")
    height, width = bottom - top + 1, right - left + 1
    dtype = np.dtype(_TYPES[numbers])
    return bare_frames(file, length + image_header, (height, width), dtype, count)


def integration_time_us(file: BinaryIO) -> float:
    """Return the integration time of the detector in µs; 0 if the header does not give it."""
    return float(_header(file)[11])


def _header(file: BinaryIO) -> tuple[Any, ...]:
    head = file.read(_HEADER.size)
    if len(head) < _HEADER.size:
        raise ValueError(CUT_SHORT)
    return _HEADER.unpack(head)
