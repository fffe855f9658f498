"""NumPy's `.npy` and `.npz`."""

from typing import BinaryIO

import numpy as np

from alloyk.errors import DataError
from alloyk.imaging.frames import Frames, frames_of_array


def npy(file: BinaryIO) -> Frames:
    """Return the images of a `.npy` file."""
    start = file.tell()
    array = np.load(file, allow_pickle=False)
    file.seek(start)
    return frames_of_array(array)


def npz(file: BinaryIO) -> Frames:
    """Return the images of a `.npz` archive of one array."""
    with np.load(file, allow_pickle=False) as archive:
        names = archive.files
        if len(names) != 1:
            raise DataError(f"it must contain one array, got {', '.join(names)}; save one as .npy")
        return frames_of_array(archive[names[0]])
