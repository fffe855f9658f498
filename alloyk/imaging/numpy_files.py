"""NumPy's `.npy` and `.npz`."""

import io
import math
import re
import tokenize
import zipfile
from collections.abc import Callable
from typing import IO, Any, BinaryIO

import numpy as np
from numpy.lib import format as npy_format

from alloyk.errors import DataError
from alloyk.imaging.frames import Frames, frames_of_array
from alloyk.imaging.limits import CUT_SHORT, refuse_bad_size

_PIECE = 2**20  # bytes


class _Stored:
    """An array of a file, of which only what is used is read.

    Attributes:
        shape: Its shape, from the header.
        dtype: Its number type.
        is_fortran: Whether the first axis varies fastest.
    """

    def __init__(self, file: IO[bytes], length: int, read: Callable[[int, int], bytes]) -> None:
        """Read the header of a `.npy` file.

        Args:
            file: The file, at its beginning.
            length: Its length in bytes.
            read: Returns the bytes from a place in the file on, and as many as the second argument.

        Raises:
            ValueError: The header is damaged, or gives more values than there are.
        """
        self.shape, self.is_fortran, self.dtype = _header(file)
        self._start, self._read = file.tell(), read
        needed, rest = math.prod(self.shape) * self.dtype.itemsize, length - self._start
        if needed > rest and not self.dtype.hasobject:
            raise ValueError(
                f"{CUT_SHORT}: its header gives {' × '.join(map(str, self.shape))} "
                f"{self.dtype.name}, which need {needed} bytes, got {rest}"
            )

    def __getitem__(self, place: Any) -> np.ndarray:
        first, shape = 0, self.shape
        if isinstance(place, int) and not self.is_fortran:
            first, shape, place = place, self.shape[1:], ...
        length = math.prod(shape) * self.dtype.itemsize
        data = self._read(self._start + first * length, length)
        order: Any = "F" if self.is_fortran else "C"
        return np.asarray(np.frombuffer(data, self.dtype).reshape(shape, order=order)[place])


def npy(file: BinaryIO) -> Frames:
    """Return the images of a `.npy` file.

    Raises:
        DataError: Its array is not numeric, or of another shape than images have.
        ValueError: It is damaged or cut short.
    """

    def read(start: int, length: int) -> bytes:
        file.seek(start)
        return file.read(length)

    length = file.seek(0, io.SEEK_END)
    file.seek(0)
    return frames_of_array(_Stored(file, length, read))


def npz(file: BinaryIO) -> Frames:
    """Return the images of a `.npz` archive of one array.

    Raises:
        DataError: There are several arrays, or as for `.npy`.
        ValueError: It is damaged or cut short.
    """
    archive = zipfile.ZipFile(file)
    names = archive.namelist()
    if len(names) != 1:
        arrays = ", ".join(name.removesuffix(".npy") for name in names) or "none"
        raise DataError(f"it must contain one array, got {arrays}; save one as .npy")

    with archive.open(names[0]) as member:
        stored = _Stored(
            member, archive.getinfo(names[0]).file_size, _Member(archive, names[0]).read
        )
    if stored.is_fortran and len(stored.shape) == 3:  # its pages are interleaved
        refuse_bad_size(stored.shape[0] * stored.shape[1], stored.shape[2])
    return frames_of_array(stored)


class _Member:
    """A file in an archive, of which only what is used is kept in memory."""

    def __init__(self, archive: zipfile.ZipFile, name: str) -> None:
        self._archive, self._name = archive, name
        self._file: IO[bytes] | None = None
        self._is_verified = False

    def read(self, start: int, length: int) -> bytes:
        """Return bytes; at first, all of the file is inflated, as its checksum is at its end.

        Raises:
            ValueError: The file is shorter.
            BadZipFile: The checksum is wrong.
        """
        if self._file is None or self._file.tell() > start:
            self._file = self._archive.open(self._name)
        _skip(self._file, start - self._file.tell())
        data = self._file.read(length)
        if not self._is_verified:
            _skip(self._file, None)
            self._is_verified = True
        if len(data) < length:
            raise ValueError(CUT_SHORT)
        return data


def _skip(file: IO[bytes], length: int | None) -> None:
    """Read on by some bytes, or to the end, in small pieces."""
    while length is None or length > 0:
        piece = file.read(_PIECE if length is None else min(_PIECE, length))
        if not piece:
            return
        length = None if length is None else length - len(piece)


def _header(file: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Return shape, whether the order is Fortran's, and number type.

    Raises:
        ValueError: The header is damaged.
    """
    try:
        return _parsed_header(file)
    except (ValueError, SyntaxError, TypeError, tokenize.TokenError) as error:
        raise ValueError("its header is damaged") from error


def _parsed_header(file: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    version = npy_format.read_magic(file)
    size = file.read(2 if version == (1, 0) else 4)
    text = file.read(int.from_bytes(size, "little"))
    # Python 2 wrote 9L for 9, of which NumPy warns.
    found = io.BytesIO(size + re.sub(rb"(?<=\d)L", b" ", text))
    if version == (1, 0):
        shape, is_fortran, dtype = npy_format.read_array_header_1_0(found)
    else:
        shape, is_fortran, dtype = npy_format.read_array_header_2_0(found)
    return shape, is_fortran, dtype
