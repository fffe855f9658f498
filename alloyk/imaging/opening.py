"""Open an image file; errors name the file and the reason."""

import io
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, TypeVar

import numpy as np

from alloyk.errors import AlloykError, DataError, ImageError
from alloyk.imaging.contents import open_image_file
from alloyk.imaging.formats import IMAGE_SUFFIXES, kind_of_file
from alloyk.imaging.lab import HDF5_SUFFIXES
from alloyk.imaging.limits import CUT_SHORT
from alloyk.messages import shown

Result = TypeVar("Result")

# What decoders quote of a damaged file: escaped bytes and what follows them.
_DUMP = re.compile(r"(?:\\x[0-9a-f]{2}.{0,2}){3}.*")
_LONGEST_REASON = 200


def with_open_image(
    source: str | Path | bytes, read: Callable[[BinaryIO, str], Result], name: str = ""
) -> Result:
    """Return `read(file, format)` of an opened image file, or of its bytes.

    Args:
        source: Path of the file, without a page; or its bytes.
        read: Gets the file at its beginning, and its format as `kind_of_file` returns it.
        name: Name in errors; by default that of the file.

    Raises:
        ImageError: The file is missing, of no known format, or `read` fails.
        DataError: The memory does not suffice.
    """
    try:
        with binary_file(source) as file:
            kind = kind_of_file(file)
            # NumPy's warnings of casts are not for the user; errstate is local to the thread.
            with np.errstate(all="ignore"):
                return read(file, kind)
    except FileNotFoundError:
        raise ImageError(f"no image at {named(source, name)}; check the path") from None
    except AlloykError as error:
        why = _printable(str(error))
        raise ImageError(f"cannot use the image {named(source, name)}: {why}") from error
    except MemoryError as error:
        raise DataError(
            f"cannot read the image {named(source, name)}: it does not fit into memory; close "
            "other programs or cut it into smaller images"
        ) from error
    # Decoders raise errors of almost any type on damaged bytes.
    except Exception as error:
        raise ImageError(
            f"cannot read the image {named(source, name)}: {_reason(error)}; replace or remove it"
        ) from error


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
        with binary_file(path) as file:
            kind_of_file(file)
    except (OSError, ValueError, AlloykError):
        return False
    return True


def files_beside(path: str | Path) -> list[str]:
    """Return the other files that an image file takes its images from, as it names them, sorted.

    Only HDF5 does so. Empty if the file cannot be read, or h5py is not installed.
    """
    suffix = os.path.splitext(path)[1].lower()
    if suffix in IMAGE_SUFFIXES - HDF5_SUFFIXES:
        return []

    def names(file: BinaryIO, kind: str) -> list[str]:
        if kind != "hdf5":
            return []
        from alloyk.imaging.hdf5_tree import other_files

        return other_files(file)

    try:
        return with_open_image(path, names)
    except AlloykError:
        return []


def named(source: str | Path | bytes, name: str = "") -> str:
    """Return how a message calls an image: `name`, or else its path."""
    return name or ("of these bytes" if isinstance(source, bytes) else shown(source))


def _reason(error: Exception) -> str:
    why = " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    if "cannot identify image" in why:  # Pillow names an object in memory here
        return "its header is damaged"
    if "image file is truncated" in why or why == "Truncated File Read":
        return CUT_SHORT
    why = _DUMP.sub("…", _printable(why))
    return why if len(why) <= _LONGEST_REASON else why[:_LONGEST_REASON] + "…"


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else "·" for c in text)


def binary_file(source: str | Path | bytes) -> BinaryIO:
    """Open the file of an image, or bytes, for reading.

    Raises:
        OSError: The file cannot be opened.
        ValueError: It is a pipe, a device or a folder.
        DataError: The shard that it is in is damaged.
    """
    return io.BytesIO(source) if isinstance(source, bytes) else open_image_file(source)
