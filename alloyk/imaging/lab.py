"""Formats of laboratories: NumPy, EDF, FITS, HIS, HDF5 / NeXus and raw files.

Each reader returns `Frames`: their number, their size and a function that reads one. NumPy, HIS and
raw need no extra; EDF needs fabio, FITS astropy, HDF5 h5py and hdf5plugin:
`pip install "alloyk[lab]"`.
"""

from collections.abc import Callable, Iterator
from contextlib import closing
from typing import BinaryIO

import numpy as np

from alloyk.imaging.edf import edf
from alloyk.imaging.fits import FITS_MARK, fits
from alloyk.imaging.frames import Frames
from alloyk.imaging.hdf5 import hdf5
from alloyk.imaging.his import HIS_MARK, his
from alloyk.imaging.limits import native, refuse_bad_page, refuse_bad_size
from alloyk.imaging.numpy_files import npy, npz
from alloyk.imaging.raw import raw

HDF5_SUFFIXES = frozenset({".h5", ".hdf5", ".nxs"})

LAB_SUFFIXES = HDF5_SUFFIXES | {
    ".npy", ".npz", ".edf", ".fits", ".fit", ".fts", ".his", ".raw",
}  # fmt: skip

_READERS: dict[str, Callable[[BinaryIO], Frames]] = {
    "npy": npy, "npz": npz, "edf": edf, "fits": fits, "his": his, "hdf5": hdf5, "raw": raw,
}  # fmt: skip

HDF5_MARK = b"\x89HDF\r\n\x1a\n"

_EDF_KEYS = (b"edf_", b"headerid", b"byteorder", b"dim_1")


def lab_kind(head: bytes) -> str | None:
    """Return the format according to the first bytes of a file, or None."""
    if head.startswith(b"\x93NUMPY"):
        return "npy"
    if head.startswith(b"PK\x03\x04") and b".npy" in head[:512]:
        return "npz"
    if head.startswith(HDF5_MARK):
        return "hdf5"
    if head.startswith(HIS_MARK):
        return "his"
    if head.startswith(FITS_MARK):
        return "fits"
    text = head.lstrip()
    if text.startswith(b"{") and any(key in text.lower() for key in _EDF_KEYS):
        return "edf"
    return None


def read(file: BinaryIO, page: int | None, *, kind: str) -> np.ndarray:
    """Return one image `(height, width, 1 or 3)`, at its stored depth."""
    with closing(_READERS[kind](file)) as frames:
        refuse_bad_page(page, frames.count)
        return _image(frames, page or 0)


def read_all(file: BinaryIO, *, kind: str) -> Iterator[np.ndarray]:
    """Yield every image of the file, which is opened once."""
    with closing(_READERS[kind](file)) as frames:
        for number in range(frames.count):
            yield _image(frames, number)


def total(file: BinaryIO, *, kind: str) -> np.ndarray | None:
    """Return the sum of all images, `(height, width, 1)` float64; None to add them one by one."""
    with closing(_READERS[kind](file)) as frames:
        if frames.total is None:
            return None
        refuse_bad_size(frames.height, frames.width)
        return frames.total()[..., None]


def _image(frames: Frames, number: int) -> np.ndarray:
    refuse_bad_size(frames.height, frames.width)
    image = native(np.asarray(frames.get(number)))
    if image.dtype.kind == "b":
        image = image.astype(np.uint8) * np.uint8(255)
    if image.shape[:2] != (frames.height, frames.width):
        raise ValueError(
            f"it contains {image.shape}, but its header gives {frames.height} × {frames.width}"
        )
    return image[..., None] if image.ndim == 2 else image


def size(file: BinaryIO, page: int | None, *, kind: str) -> tuple[int, int]:
    """Return `(height, width)`."""
    with closing(_READERS[kind](file)) as frames:
        refuse_bad_page(page, frames.count)
        refuse_bad_size(frames.height, frames.width)
        return frames.height, frames.width


def pages(file: BinaryIO, *, kind: str) -> int:
    """Return the number of images in the file."""
    with closing(_READERS[kind](file)) as frames:
        return frames.count
