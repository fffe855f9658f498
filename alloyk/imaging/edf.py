"""EDF, the ESRF data format, by fabio."""

import logging
import math
from collections.abc import Mapping
from typing import Any, BinaryIO

import numpy as np

from alloyk.errors import DataError
from alloyk.imaging.frames import Frames, missing_package
from alloyk.imaging.limits import CUT_SHORT


def edf(file: BinaryIO) -> Frames:
    """Return the frames of an EDF file; a block with `Dim_3` has several.

    Raises:
        DataError: The frames differ in size.
        ValueError: The header is damaged, or the file is cut short.
    """
    image = _opened(file)
    blocks = [image.get_frame(number) for number in range(image.nframes)]
    if any(len(block.shape) < 2 for block in blocks):
        raise ValueError("its header is damaged: it gives no height")
    sizes = {block.shape[-2:] for block in blocks}
    if len(sizes) > 1:
        listed = " and ".join(f"{height} × {width}" for height, width in sorted(sizes))
        raise DataError(f"its frames must have one size, got {listed}; save each size as a file")
    ((height, width),) = sizes
    places = [(block, plane) for block in blocks for plane in range(_planes(block))]

    def get(number: int) -> np.ndarray:
        block, plane = places[number]
        data = np.asarray(block.data)
        if getattr(block, "incomplete_data", False):  # fabio fills with zeros
            raise ValueError(CUT_SHORT)
        _refuse_small_block(block.header, data)
        return np.asarray(data.reshape(-1, *data.shape[-2:])[plane])

    return Frames(len(places), int(height), int(width), get)


def _planes(block: Any) -> int:
    """Return the number of images in a block, from the dimensions above the second."""
    return math.prod(int(length) for length in block.shape[:-2])


def _refuse_small_block(header: Mapping[str, str], data: np.ndarray) -> None:
    """Raise if the header gives fewer bytes than the image needs; fabio fills with zeros."""
    given = {key.lower(): value for key, value in header.items()}
    size = given.get("edf_binarysize", given.get("size", "")).strip()
    if size.isdecimal() and "compression" not in given and int(size) < data.nbytes:
        raise ValueError(
            f"its header gives {size} bytes for {' × '.join(map(str, data.shape))} {data.dtype}, "
            f"which need {data.nbytes}"
        )


def edf_headers(file: BinaryIO) -> list[dict[str, str]]:
    """Return the header of each frame."""
    image = _opened(file)
    blocks = [image.get_frame(number) for number in range(image.nframes)]
    return [dict(block.header) for block in blocks for _ in range(_planes(block))]


def _opened(file: BinaryIO) -> Any:
    try:
        from fabio.edfimage import EdfImage
        from fabio.fabioutils import BytesIO
    except ImportError as error:
        raise missing_package("EDF", "fabio") from error

    logging.getLogger("fabio").setLevel(logging.CRITICAL)
    image = EdfImage()
    try:
        image.read(BytesIO(file.read()))
    # fabio fails with any error on a header that is incomplete.
    except (KeyError, NameError, ValueError, TypeError, AttributeError, IndexError) as error:
        raise ValueError("its header is damaged") from error
    return image
