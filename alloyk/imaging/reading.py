"""Read one radiograph, at its true depth, or say by name why it cannot be read.

PNG, JPEG and BMP go through Pillow, TIFF through tifffile (through Pillow where tifffile lacks the
compression), DICOM and DICONDE through pydicom. The format is told by the first bytes of a file,
never by its name. NumPy and Pillow are all that importing this module costs.
"""

import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import numpy as np

from alloyk.errors import AlloykError
from alloyk.imaging import pillow, png

IMAGE_SUFFIXES = frozenset(
    {".png", ".jpg", ".jpeg", ".jpe", ".bmp", ".dib", ".tif", ".tiff", ".dcm", ".dicom"}
)

_NOT_AN_IMAGE = "it is not a PNG, JPEG, BMP, TIFF or DICOM file"
_HEAD_BYTES = 132  # as far as DICOM's mark


def read_image(path: str | Path, *, page: int | None = None) -> np.ndarray:
    """Return the pixels of an image file, at the depth the file has.

    16-bit counts stay 16-bit counts. 1-, 2- and 4-bit samples are spread over 0 … 255, palettes
    become RGB, alpha is dropped, EXIF orientation is applied, inverted gray (DICOM MONOCHROME1,
    TIFF white-is-zero) is turned so that more is brighter; a DICOM rescale is applied, a DICOM
    window is not.

    Args:
        path: A PNG, JPEG, BMP, TIFF or DICOM / DICONDE file, of any name.
        page: Which page of a TIFF or frame of a DICOM file, from 0. Needed where there are several.

    Returns:
        Array `(height, width, channels)`, channels 1 or 3, native byte order, of the file's own
        type (`uint8`, `uint16`, `int32`, `float32`, …); `float32` where a DICOM rescale asks for
        it. It may be read-only.

    Raises:
        AlloykError: The file is missing, damaged, cut short, not an image, empty, larger than
            Pillow's limit against decompression bombs, has several pages and none was chosen, or
            holds NaN or infinite values.
    """
    image = _open(path, lambda file, kind: _pixels(file, kind, page))
    if image.dtype.kind == "f" and not np.isfinite(image).all():
        bad = image.size - int(np.isfinite(image).sum())
        raise AlloykError(
            f"cannot use the image {shown(path)}: {bad} of its values are NaN or infinite; "
            "repair or remove it"
        )
    return image


def image_size(path: str | Path, *, page: int | None = None) -> tuple[int, int]:
    """Return `(height, width)` that `read_image` would give, from the file's header alone.

    Args:
        path: An image file.
        page: Which page of a TIFF or frame of a DICOM file, from 0. Needed where there are several.

    Raises:
        AlloykError: The header cannot be read, or asks for more pixels than the limit.
    """
    return _open(path, lambda file, kind: _size(file, kind, page))


def image_format(path: str | Path) -> str:
    """Return `"png"`, `"jpeg"`, `"bmp"`, `"tiff"` or `"dicom"`, as the first bytes say.

    Raises:
        AlloykError: The file is missing, or none of them.
    """
    return _open(path, lambda file, kind: kind)


def plain_format(path: str | Path) -> str | None:
    """Return `"png8"`, `"png16"` or `"jpeg"` of a file that any decoder reads alike, else None.

    Such a file is whole, gray or RGB, and has no orientation, palette, alpha or inversion:
    `read_image` gives what libpng or libjpeg give. Checksums of PNG, the ends of both formats and
    the limit of size were looked at; damage within the compressed pixels is left to the decoder.
    None says nothing of why: `read_image` reads such a file or gives the reason.

    Args:
        path: A file.
    """
    try:
        return _open(path, _plain)
    except AlloykError:
        return None


def is_image_name(name: str) -> bool:
    """Tell whether a file name ends in one of `IMAGE_SUFFIXES`, in any case.

    >>> is_image_name("plate 7.TIFF"), is_image_name("README.md")
    (True, False)
    """
    dot = name.rfind(".")
    return dot > 0 and name[dot:].lower() in IMAGE_SUFFIXES


def shown(path: str | Path) -> str:
    r"""Return a path for a one-line message: as it is, or escaped where it would break the line.

    >>> print(shown("plate 7.png"), shown("a\nb.png"))
    plate 7.png 'a\nb.png'
    """
    text = str(path)
    return text if text.isprintable() else repr(text)


def _pixels(file: BinaryIO, kind: str, page: int | None) -> np.ndarray:
    if kind == "tiff":
        from alloyk.imaging import tiff

        return tiff.read(file, page)
    if kind == "dicom":
        from alloyk.imaging import dicom

        return dicom.read(file, page)
    readers = {"png": png.read, "jpeg": pillow.read_jpeg, "bmp": pillow.read_bmp}
    return readers[kind](file, page)


def _plain(file: BinaryIO, kind: str) -> str | None:
    if kind == "png":
        depth = png.plain_depth(file)
        return f"png{depth}" if depth else None
    return "jpeg" if kind == "jpeg" and pillow.is_plain_jpeg(file) else None


def _size(file: BinaryIO, kind: str, page: int | None) -> tuple[int, int]:
    if kind == "tiff":
        from alloyk.imaging import tiff

        return tiff.size(file, page)
    if kind == "dicom":
        from alloyk.imaging import dicom

        return dicom.size(file, page)
    return png.size(file, page) if kind == "png" else pillow.size(file, page)


def _kind(head: bytes) -> str:
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return "png"
    if head.startswith(b"\xff\xd8\xff"):
        return "jpeg"
    if head.startswith(b"BM"):
        return "bmp"
    if head.startswith((b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")):
        return "tiff"
    if head[128:] == b"DICM":
        return "dicom"
    raise ValueError(_NOT_AN_IMAGE if head else "the file is empty")


def _open(path: str | Path, read: Callable):
    """Run `read(file, kind)` on an opened image; name the file in whatever goes wrong."""
    try:
        with open(path, "rb", opener=_open_regular_file) as file:
            head = file.read(_HEAD_BYTES)
            file.seek(0)
            return read(file, _kind(head))
    except FileNotFoundError:
        raise AlloykError(f"no image at {shown(path)}: check the path") from None
    except AlloykError as error:
        raise AlloykError(f"cannot use the image {shown(path)}: {error}") from error
    # Decoders raise nearly anything on damaged bytes; to the user it all means the same.
    except Exception as error:
        why = " ".join(str(error).split()) or type(error).__name__
        if isinstance(error, OSError) and error.strerror:
            why = error.strerror
        elif "cannot identify image" in why:  # Pillow names an object in memory here
            why = "its header is damaged"
        raise AlloykError(
            f"cannot read the image {shown(path)}: {why}; replace or remove it"
        ) from error


def _open_regular_file(path: str, flags: int) -> int:
    # A pipe with an image's name would be waited for, a device read, for ever.
    descriptor = os.open(path, flags | getattr(os, "O_NONBLOCK", 0))
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise ValueError("it is not a regular file")
    return descriptor
