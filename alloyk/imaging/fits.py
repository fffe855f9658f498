"""FITS by astropy."""

import functools
import io
import warnings
from typing import Any, BinaryIO

import numpy as np

from alloyk.errors import DataError
from alloyk.imaging.frames import Frames, missing_package
from alloyk.imaging.limits import CUT_SHORT

FITS_MARK = b"SIMPLE  ="

_BITPIX = (8, 16, 32, 64, -32, -64)  # FITS Standard 4.0, table 8


def fits(file: BinaryIO) -> Frames:
    """Return the frames of a FITS file: its only image or stack, rows in their stored order.

    Raises:
        DataError: There are several images, or none.
        ValueError: The file is cut short, or `DATASUM` in its header shows that it is damaged.
    """
    part, image = _only_image(file)
    *stack, height, width = (int(side) for side in image.shape)
    while stack[:1] == [1]:  # an axis of length 1 before the others
        stack.pop(0)
    if len(stack) > 1:
        raise DataError(
            f"its shape must be (height, width) or (frames, height, width), got {image.shape}; "
            "save each stack as a file"
        )
    lead = (0,) * (len(image.shape) - 2 - len(stack))

    @functools.cache
    def refuse_damaged() -> None:
        file.seek(0)
        stored = _opened(file, compressed=True)[part]  # the sum is of what is stored
        if stored.verify_datasum() == 0:  # 2: it has none
            raise ValueError("the checksum of its data is wrong")

    def get(number: int) -> np.ndarray:
        refuse_damaged()
        place = (*lead, number) if stack else lead
        return np.asarray(image.section[place] if place else image.data)

    return Frames(stack[0] if stack else 1, height, width, get)


def fits_headers(file: BinaryIO) -> list[dict[str, Any]]:
    """Return the headers that apply to the image, by keyword: its own, then the file's first."""
    parts = _opened(file)
    image = next((part for part in parts if _is_image(part)), parts[0])
    return [dict(image.header), dict(parts[0].header)]


def _only_image(file: BinaryIO) -> tuple[int, Any]:
    """The image, and its number among the parts of the file."""
    parts = _opened(file)
    end = file.seek(0, io.SEEK_END)
    images = [(number, part) for number, part in enumerate(parts) if _is_image(part)]
    if not images:
        raise DataError("it is a FITS file without an image; remove it")
    if len(images) > 1:
        raise DataError(
            f"it must contain one image or stack, got {len(images)}; save each as a file"
        )
    bits = images[0][1].header["BITPIX"]
    if bits not in _BITPIX:
        raise ValueError(f"its header gives numbers of an unknown kind (BITPIX {bits})")
    stored = images[0][1].fileinfo()
    if stored["datLoc"] + stored["datSpan"] > end:
        raise ValueError(CUT_SHORT)
    return images[0]


def _is_image(part: Any) -> bool:
    return bool(part.is_image) and len(part.shape) > 1


def _opened(file: BinaryIO, compressed: bool = False) -> Any:
    """The parts of the file, each with header and data; compressed images also as they are."""
    start = file.tell()
    if (file.seek(0, io.SEEK_END) - start) % 2880:  # FITS consists of such blocks
        raise ValueError(CUT_SHORT)
    file.seek(start)
    try:
        return _astropy_fits().open(
            file, memmap=False, lazy_load_hdus=False, disable_image_compression=compressed
        )
    except OSError as error:
        raise ValueError(f"its header is damaged ({error})") from error


def _astropy_fits() -> Any:
    try:
        from astropy.io import fits as astropy_fits
        from astropy.utils.exceptions import AstropyWarning
    except ImportError as error:
        raise missing_package("FITS", "astropy") from error
    # Warnings of headers are not for the user; each reader here raises what it cannot use.
    if not any(entry[2] is AstropyWarning for entry in warnings.filters):
        warnings.filterwarnings("ignore", category=AstropyWarning)
    return astropy_fits
