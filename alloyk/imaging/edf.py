"""EDF, the ESRF data format, by fabio."""

import logging
from collections.abc import Mapping
from typing import Any, BinaryIO

import numpy as np

from alloyk.imaging.frames import Frames, missing_package
from alloyk.imaging.limits import CUT_SHORT


def edf(file: BinaryIO) -> Frames:
    """Return the frames of an EDF file."""
    image = _opened(file)
    height, width = image.shape[-2:]

    def get(number: int) -> np.ndarray:
        frame = image.get_frame(number) if image.nframes > 1 else image
        data = np.asarray(frame.data)
        stored = image._frames[number] if number < len(image._frames) else None
        if getattr(stored, "incomplete_data", False):  # fabio fills with zeros
            raise ValueError(CUT_SHORT)
        _refuse_small_block(frame.header, data)
        return data

    return Frames(int(image.nframes), int(height), int(width), get)


def _refuse_small_block(header: Mapping[str, str], data: np.ndarray) -> None:
    """Raise if the header gives fewer bytes than the image needs; fabio fills with zeros."""
    given = {key.lower(): value for key, value in header.items()}
    size = given.get("edf_binarysize", given.get("size", "")).strip()
    if size.isdecimal() and "compression" not in given and int(size) < data.nbytes:
        raise ValueError(
            f"its header gives {size} bytes for {data.shape[0]} × {data.shape[1]} {data.dtype}, "
            f"which need {data.nbytes}"
        )


def edf_headers(file: BinaryIO) -> list[dict[str, str]]:
    """Return the header of each frame."""
    image = _opened(file)
    return [dict(image.get_frame(number).header) for number in range(image.nframes)]


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
