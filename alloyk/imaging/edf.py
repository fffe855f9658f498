"""EDF, the ESRF data format, by fabio."""

import logging
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
        return data

    return Frames(int(image.nframes), int(height), int(width), get)


def edf_header(file: BinaryIO) -> dict[str, str]:
    """Return the header of the first frame."""
    return dict(_opened(file).header)


def _opened(file: BinaryIO) -> Any:
    try:
        from fabio.edfimage import EdfImage
        from fabio.fabioutils import BytesIO
    except ImportError as error:
        raise missing_package("EDF", "fabio") from error

    logging.getLogger("fabio").setLevel(logging.CRITICAL)
    image = EdfImage()
    image.read(BytesIO(file.read()))
    return image
