"""Read one radiograph at its true depth; errors name the file and the reason.

PNG, JPEG and BMP are decoded by Pillow, TIFF by tifffile and imagecodecs, DICOM and DICONDE by
pydicom, and formats of laboratories by `lab`. The format is detected from the first bytes of a
file, not from its name. Importing this module loads only NumPy and Pillow.
"""

import io
import os
import stat
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, TypeVar

import numpy as np

from alloyk.errors import AlloykError, DataError
from alloyk.imaging import jpeg, lab, pillow, png
from alloyk.imaging.advice import how_to_convert
from alloyk.imaging.channels import channel_files
from alloyk.imaging.gray import to_gray
from alloyk.imaging.limits import CUT_SHORT
from alloyk.imaging.pages import CHANNELS, Page, split_page
from alloyk.imaging.raw import raw_layout

Result = TypeVar("Result")

_COMMON = frozenset({"png", "jpeg", "bmp", "tiff", "dicom"})

IMAGE_SUFFIXES = frozenset(
    {".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".bmp", ".dib"}
    | {".tif", ".tiff", ".btf", ".tf8", ".dcm", ".dicom", ".dic", ".dc3"}
    | lab.LAB_SUFFIXES
)

_NOT_AN_IMAGE = "it is not a PNG, JPEG, BMP, TIFF, DICOM, NumPy, EDF, HIS or HDF5 file"
_HEAD_BYTES = 512  # EDF may have its keyword late; DICOM's is at 128


def read_image(
    source: str | Path | bytes, *, page: Page | None = None, name: str = ""
) -> np.ndarray:
    """Return the pixels of an image file at the depth of the file.

    16-bit counts stay 16-bit counts. 1-, 2- and 4-bit samples are spread over 0 … 255, palettes
    become RGB, alpha is dropped, EXIF orientation is applied, inverted gray (DICOM MONOCHROME1,
    TIFF white-is-zero) is inverted so that more is brighter; a DICOM rescale is applied, a DICOM
    window is not.

    Args:
        source: Path of a PNG, JPEG, BMP, TIFF, DICOM / DICONDE, NumPy, EDF, HIS, HDF5 or raw file,
            of any name (raw: `.raw`); or the bytes of one. `FILE[2]` is a page of a FILE,
            `FILE[mean]` the mean of all pages, `FILE[channels]` an image with a channel for each
            page or sample; `FILE|FILE` has a channel from each file, see `channels`.
        page: Page of a TIFF or frame of a DICOM file, from 0, `"mean"` of all of them, or
            `"channels"`. Required if there are several.
        name: Name for bytes in errors; a path is its own name.

    Returns:
        Array `(height, width, channels)`, channels 1 or 3 unless they are asked for, native byte
        order, of the file's own type (`uint8`, `uint16`, `int32`, `float32`, …); `float32` if a
        DICOM rescale requires it. It may be read-only.

    Raises:
        AlloykError: The file is missing, damaged, cut short, not an image, empty, larger than
            Pillow's limit against decompression bombs, has several pages and none was chosen, or
            has NaN or infinite values.
    """
    if not isinstance(source, bytes) and page is None:
        files = channel_files(source)
        if len(files) > 1:
            return _together([_one_channel(read_image(file)) for file in files], shown(source))
        source, page = split_page(source)
    if page == "mean":
        image = _open(source, _mean, name)
    elif page == CHANNELS:
        image = _open(source, _channels, name)
    else:
        image = _open(source, lambda file, kind: _pixels(file, kind, page), name)
    if image.dtype.kind == "f" and not np.isfinite(image).all():
        bad = image.size - int(np.isfinite(image).sum())
        raise DataError(
            f"cannot use the image {_named(source, name)}: {bad} of its values are NaN or "
            "infinite; repair or remove it"
        )
    return image


def image_size(
    path: str | Path | bytes, *, page: Page | None = None, name: str = ""
) -> tuple[int, int]:
    """Return `(height, width)` of `read_image`, from the file's header only.

    Args:
        path: An image file, or the bytes of one.
        page: As in `read_image`.
        name: As in `read_image`.

    Raises:
        AlloykError: The header cannot be read, or gives more pixels than the limit.
    """
    return _of_header(path, page, name, _size)


def page_count(path: str | Path | bytes, *, name: str = "") -> int:
    """Return the number of pages or frames of an image file, or of its bytes, from headers only.

    Raises:
        AlloykError: The header cannot be read.
    """
    return _open(path, _pages, name)


def decoded_pixels(path: str | Path | bytes, *, page: Page | None = None, name: str = "") -> int:
    """Return how many pixels `read_image` decodes at once, from the file's header only.

    It is over the size of the image where a format stores several images together: a deflated
    DICOM file, planes or tiles of TIFF.

    Args:
        path: An image file, or the bytes of one.
        page: As in `read_image`.
        name: As in `read_image`.

    Raises:
        AlloykError: The header cannot be read, or gives more pixels than the limit.
    """
    return _of_header(path, page, name, _decoded)


def image_format(path: str | Path | bytes, *, name: str = "") -> str:
    """Return the format according to the first bytes, such as `"png"`, `"tiff"` or `"dicom"`.

    Args:
        path: An image file, or the bytes of one.
        name: As in `read_image`.

    Raises:
        AlloykError: The file is missing or of no known format.
    """
    source = path if isinstance(path, bytes) else split_page(channel_files(path)[0])[0]
    return _open(source, lambda file, kind: kind, name)


def plain_format(source: str | Path | bytes) -> str | None:
    """Return `"png8"`, `"png16"` or `"jpeg"` for a file that all decoders read alike, else None.

    Such a file is complete, gray or RGB, and has no orientation, palette, alpha or inversion:
    `read_image` returns the same values as libpng or libjpeg. Checksums of PNG, the pixels and the
    end of JPEG, and the size limit are checked; damage within the compressed pixels of PNG is left
    to the decoder. For None, `read_image` reads the file or gives the reason.

    Args:
        source: Path of a file, or its bytes.
    """
    try:
        return _open(source, _plain)
    except AlloykError:
        return None


def is_image_name(name: str) -> bool:
    """Return whether a file name ends in one of `IMAGE_SUFFIXES`, in any case.

    >>> is_image_name("plate 7.TIFF"), is_image_name("README.md")
    (True, False)
    """
    dot = name.rfind(".")
    return dot > 0 and name[dot:].lower() in IMAGE_SUFFIXES


def is_image_file(path: str | Path) -> bool:
    """Return whether a file counts as an image, for all commands.

    The name decides; if it has no suffix, or a number as suffix, the first bytes decide:
    instruments name files `IM0001` or `1.2.840.113619.2`. A `DICOMDIR` is not an image.
    """
    name = os.path.basename(path)
    if is_image_name(name):
        return True
    suffix = os.path.splitext(name)[1]
    if (suffix and not suffix[1:].isdigit()) or name.upper() == "DICOMDIR":
        return False
    try:
        with _binary_file(path) as file:
            _kind(file.read(_HEAD_BYTES))
    except (OSError, ValueError, AlloykError):
        return False
    return True


def shown(path: str | Path) -> str:
    r"""Return a path for a one-line message, escaped if it has control characters.

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
    if kind not in _COMMON:
        return lab.read(file, kind, page)
    readers = {"png": png.read, "jpeg": pillow.read_jpeg, "bmp": pillow.read_bmp}
    return readers[kind](file, page)


def _mean(file: BinaryIO, kind: str) -> np.ndarray:
    """Return the mean of all pages, float32; a single page unchanged."""
    count = _pages(file, kind)
    if count == 1:
        return _pixels(file, kind, 0)
    images = _all_pixels(file, kind, count)
    total = next(images).astype(np.float64)
    for image in images:
        if image.shape != total.shape:
            raise DataError(
                f"its pages must have one size for their mean, got {total.shape[:2]} and "
                f"{image.shape[:2]}; choose a page"
            )
        total += image
    return (total / count).astype(np.float32)


def _channels(file: BinaryIO, kind: str) -> np.ndarray:
    """Return every page, or every sample of the only page, as a channel."""
    count = _pages(file, kind)
    if count > 1:
        images = [_one_channel(image) for image in _all_pixels(file, kind, count)]
        return _together(images, "its pages")
    if kind == "tiff":
        from alloyk.imaging import tiff

        return tiff.read_samples(file)
    return _pixels(file, kind, 0)


def _one_channel(image: np.ndarray) -> np.ndarray:
    """Return gray as it is, and gray of colour."""
    return image if image.shape[2] == 1 else to_gray(image)


def _together(images: Sequence[np.ndarray], what: str) -> np.ndarray:
    """Join gray images `(height, width, 1)` as the channels of one."""
    first = images[0].shape
    other = next((image.shape for image in images if image.shape != first), None)
    if other is not None:
        raise DataError(
            f"the channels of a sample must have one size, got {first[0]}×{first[1]} and "
            f"{other[0]}×{other[1]} in {what}; take them with one detector setting"
        )
    return np.concatenate(images, axis=2)


def _all_pixels(file: BinaryIO, kind: str, count: int) -> Iterator[np.ndarray]:
    if kind not in _COMMON:  # some of these are read whole each time they are opened
        yield from lab.read_all(file, kind)
        return
    for page in range(count):
        file.seek(0)
        yield _pixels(file, kind, page)


def _pages(file: BinaryIO, kind: str) -> int:
    count = 1
    if kind == "tiff":
        from alloyk.imaging import tiff

        count = tiff.pages(file)
    elif kind == "dicom":
        from alloyk.imaging import dicom

        count = dicom.pages(file)
    elif kind not in _COMMON:
        count = lab.pages(file, kind)
    file.seek(0)
    return count


def _plain(file: BinaryIO, kind: str) -> str | None:
    if kind == "png":
        depth = png.plain_depth(file)
        return f"png{depth}" if depth else None
    return "jpeg" if kind == "jpeg" and jpeg.is_plain(file.read()) else None


def _of_header(
    path: str | Path | bytes,
    page: Page | None,
    name: str,
    function: Callable[[BinaryIO, str, int | None], Result],
) -> Result:
    """What `function` finds in the header of a page; of several, of the first one."""
    if page is None and not isinstance(path, bytes):
        path, page = split_page(channel_files(path)[0])
    number = page if isinstance(page, int) else None if page is None else 0
    return _open(path, lambda file, kind: function(file, kind, number), name)


def _size(file: BinaryIO, kind: str, page: int | None) -> tuple[int, int]:
    if kind == "tiff":
        from alloyk.imaging import tiff

        return tiff.size(file, page)
    if kind == "dicom":
        from alloyk.imaging import dicom

        return dicom.size(file, page)
    if kind not in _COMMON:
        return lab.size(file, kind, page)
    return png.size(file, page) if kind == "png" else pillow.size(file, page)


def _decoded(file: BinaryIO, kind: str, page: int | None) -> int:
    if kind == "tiff":
        from alloyk.imaging import tiff

        return tiff.decoded_pixels(file, page)
    if kind == "dicom":
        from alloyk.imaging import dicom

        return dicom.decoded_pixels(file, page)
    height, width = _size(file, kind, page)
    return height * width


def _kind(head: bytes, name: object = "") -> str:
    # A raw file may begin with any count, and so with the mark of another format.
    is_raw = str(name).lower().endswith(".raw")
    if is_raw and head and raw_layout(str(name)) is not None:
        return "raw"
    # DICOM first: the 128 bytes before its mark may hold anything, such as a TIFF header.
    if head[128:132] == b"DICM":
        return "dicom"
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return "png"
    if head.startswith(b"\xff\xd8\xff"):
        return "jpeg"
    if head.startswith(b"BM"):
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
    advice = how_to_convert(head, str(name))
    if advice is not None:
        raise DataError(advice)
    raise ValueError(_NOT_AN_IMAGE)


def with_open_image(path: str | Path, read: Callable[[BinaryIO, str], Result]) -> Result:
    """Return `read(file, format)` of an opened image file.

    Raises:
        AlloykError: The file is missing, of no known format, or `read` fails.
    """
    return _open(path, read)


def _open(
    source: str | Path | bytes, read: Callable[[BinaryIO, str], Result], name: str = ""
) -> Result:
    """Run `read(file, kind)` on an opened image; errors name the file."""
    try:
        with _binary_file(source) as file:
            head = file.read(_HEAD_BYTES)
            file.seek(0)
            # NumPy's warnings of casts are not for the user; errstate is local to the thread.
            with np.errstate(all="ignore"):
                return read(file, _kind(head, getattr(file, "name", "")))
    except FileNotFoundError:
        raise DataError(f"no image at {_named(source, name)}; check the path") from None
    except AlloykError as error:
        raise DataError(f"cannot use the image {_named(source, name)}: {error}") from error
    except MemoryError as error:
        raise DataError(
            f"cannot read the image {_named(source, name)}: it does not fit into memory; close "
            "other programs or cut it into smaller images"
        ) from error
    # Decoders raise errors of almost any type on damaged bytes.
    except Exception as error:
        raise DataError(
            f"cannot read the image {_named(source, name)}: {_reason(error)}; replace or remove it"
        ) from error


def _reason(error: Exception) -> str:
    why = " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    if "cannot identify image" in why:  # Pillow names an object in memory here
        return "its header is damaged"
    if "image file is truncated" in why:
        return CUT_SHORT
    return why


def _named(source: str | Path | bytes, name: str) -> str:
    return name or ("of these bytes" if isinstance(source, bytes) else shown(source))


def _binary_file(source: str | Path | bytes) -> BinaryIO:
    if isinstance(source, bytes):
        return io.BytesIO(source)
    return open(source, "rb", opener=_open_regular_file)


def _open_regular_file(path: str, flags: int) -> int:
    # Reading a pipe or a device could block forever.
    descriptor = os.open(path, flags | getattr(os, "O_NONBLOCK", 0))
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise ValueError("it is not a regular file")
    return descriptor
