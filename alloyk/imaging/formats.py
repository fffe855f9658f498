"""The formats of image files: how each is recognised and what reads it.

Pillow decodes JPEG and BMP, `png` PNG, tifffile and imagecodecs TIFF, pydicom DICOM and DICONDE,
and `lab` the formats of laboratories. Importing this module loads only NumPy and Pillow.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import BinaryIO

import numpy as np

from alloyk.errors import DataError
from alloyk.imaging import lab, pillow, png
from alloyk.imaging.advice import how_to_convert
from alloyk.imaging.raw import raw_layout

IMAGE_SUFFIXES = frozenset(
    {".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".bmp", ".dib"}
    | {".tif", ".tiff", ".btf", ".tf8", ".dcm", ".dicom", ".dic", ".dc3"}
    | lab.LAB_SUFFIXES
)

HEAD_BYTES = 8192
"""What `kind_of` needs of a file: EDF may have its keywords late; DICOM's mark is at 128."""


@dataclass(frozen=True)
class Format:
    """What reads one format. Each function takes a file at its beginning.

    Attributes:
        read: The pixels `(height, width, channels)` of a page.
        size: `(height, width)` of a page, from the header.
        pages: Number of pages or frames.
        decoded_pixels: Pixels that are decoded at once for a page; None for those of the page.
        read_all: Every page, where opening the file again for each is slow; None otherwise.
        total: The sum of all pages, float64, where adding one after another is slow; None for
            formats without, and if it returns None for the file.
        read_samples: The samples of the only page as they are stored, where `read` makes gray or
            RGB of them; None otherwise.
    """

    read: Callable[[BinaryIO, int | None], np.ndarray]
    size: Callable[[BinaryIO, int | None], tuple[int, int]]
    pages: Callable[[BinaryIO], int] = lambda file: 1
    decoded_pixels: Callable[[BinaryIO, int | None], int] | None = None
    read_all: Callable[[BinaryIO], Iterator[np.ndarray]] | None = None
    read_samples: Callable[[BinaryIO], np.ndarray] | None = None
    total: Callable[[BinaryIO], np.ndarray | None] | None = None


def format_of(kind: str) -> Format:
    """Return what reads a format that `kind_of` returned."""
    if kind == "png":
        return Format(png.read, png.size)
    if kind == "jpeg":
        return Format(pillow.read_jpeg, pillow.size_of_jpeg)
    if kind == "bmp":
        return Format(pillow.read_bmp, pillow.size)
    if kind == "tiff":
        from alloyk.imaging import tiff

        return Format(
            tiff.read, tiff.size, tiff.pages, tiff.decoded_pixels, tiff.read_all, tiff.read_samples
        )
    if kind == "dicom":
        from alloyk.imaging import dicom

        return Format(dicom.read, dicom.size, dicom.pages, dicom.decoded_pixels, dicom.read_all)
    return Format(
        partial(lab.read, kind=kind),
        partial(lab.size, kind=kind),
        partial(lab.pages, kind=kind),
        read_all=partial(lab.read_all, kind=kind),
        total=partial(lab.total, kind=kind),
    )


def kind_of_file(file: BinaryIO) -> str:
    """Return the format of a file at its beginning, as `kind_of` from its first bytes.

    HDF5 may have bytes of another program before its mark, 512, 1024, 2048, … of them.
    """
    head = file.read(HEAD_BYTES)
    try:
        return kind_of(head, str(getattr(file, "name", "")))
    except ValueError:
        place = 512
        while len(mark := _bytes_at(file, place)) == len(lab.HDF5_MARK):
            if mark == lab.HDF5_MARK:
                return "hdf5"
            place *= 2
        raise
    finally:
        file.seek(0)


def _bytes_at(file: BinaryIO, place: int) -> bytes:
    file.seek(place)
    return file.read(len(lab.HDF5_MARK))


def kind_of(head: bytes, name: str = "") -> str:
    """Return the format, such as `"png"`, `"tiff"` or `"dicom"`, from the first bytes of a file.

    Args:
        head: The first `HEAD_BYTES` bytes, or all of them.
        name: Name of the file: raw files have no mark.

    Raises:
        DataError: The format is known, but not read; says how to convert it.
        ValueError: The file is empty or not an image.
    """
    # A raw file may begin with any count, and so with the mark of another format.
    is_raw = name.lower().endswith(".raw")
    if is_raw and head and raw_layout(name) is not None:
        return "raw"
    # DICOM first: the 128 bytes before its mark may hold anything, such as a TIFF header.
    if head[128:132] == b"DICM":
        return "dicom"
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return "png"
    if head.startswith(b"\xff\xd8\xff"):
        return "jpeg"
    # The length of BMP's second header is below 256; text has more there.
    if head.startswith(b"BM") and not any(head[15:18]):
        return "bmp"
    if head.startswith((b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")):
        return "tiff"
    kind = lab.lab_kind(head)
    if kind is not None:
        return kind
    if not head:
        raise ValueError("the file is empty")
    if is_raw:
        return "raw"
    advice = how_to_convert(head, name)
    if advice is not None:
        raise DataError(advice)
    raise ValueError("it is not a PNG, JPEG, BMP, TIFF, DICOM, NumPy, EDF, FITS, HIS or HDF5 file")
