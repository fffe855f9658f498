"""Formats of laboratories: NumPy, EDF, HIS, HDF5 / NeXus and raw files.

Each reader returns `Frames`: their number, their size and a function that reads one. NumPy, HIS and
raw need no extra; EDF needs fabio, HDF5 needs h5py and hdf5plugin: `pip install "alloyk[lab]"`.
"""

import io
import os
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from alloyk.errors import DataError
from alloyk.imaging.limits import CUT_SHORT, native, refuse_bad_page, refuse_bad_size

LAB_SUFFIXES = frozenset({".npy", ".npz", ".edf", ".his", ".raw", ".h5", ".hdf5", ".nxs"})

# Formats that are recognised only to suggest a conversion.
REFUSED = {
    "fits": "FITS is not read; convert it to TIFF or NumPy, for example with astropy",
    "ole": "Zeiss TXRM and XRM are not read; export TIFF from the microscope's program",
}


@dataclass(frozen=True)
class Frames:
    """The images in a file.

    Attributes:
        count: Number of images.
        height: Height in pixels.
        width: Width in pixels.
        get: Function that reads an image by its number, `(height, width)` or `(height, width, 3)`.
    """

    count: int
    height: int
    width: int
    get: Callable[[int], np.ndarray]


def lab_kind(head: bytes) -> str | None:
    """Return the format according to the first bytes of a file, or None."""
    if head.startswith(b"\x93NUMPY"):
        return "npy"
    if head.startswith(b"PK\x03\x04") and b".npy" in head[:_HEAD]:
        return "npz"
    if head.startswith(b"\x89HDF\r\n\x1a\n"):
        return "hdf5"
    if head.startswith(_HIS_MARK):
        return "his"
    text = head.lstrip()
    if text.startswith(b"{") and any(key in text.lower() for key in _EDF_KEYS):
        return "edf"
    if head.startswith(b"SIMPLE  ="):
        return "fits"
    return "ole" if head.startswith(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1") else None


def read(file: BinaryIO, kind: str, page: int | None) -> np.ndarray:
    """Return one image `(height, width, 1 or 3)`, at its stored depth."""
    frames = _frames(file, kind)
    refuse_bad_page(page, frames.count)
    refuse_bad_size(frames.height, frames.width)
    image = native(np.asarray(frames.get(page or 0)))
    if image.dtype.kind == "b":
        image = image.astype(np.uint8) * np.uint8(255)
    if image.shape[:2] != (frames.height, frames.width):
        raise ValueError(
            f"it contains {image.shape}, but its header gives {frames.height} × {frames.width}"
        )
    return image[..., None] if image.ndim == 2 else image


def size(file: BinaryIO, kind: str, page: int | None) -> tuple[int, int]:
    """Return `(height, width)`."""
    frames = _frames(file, kind)
    refuse_bad_page(page, frames.count)
    refuse_bad_size(frames.height, frames.width)
    return frames.height, frames.width


def pages(file: BinaryIO, kind: str) -> int:
    """Return the number of images in the file."""
    return _frames(file, kind).count


def _frames(file: BinaryIO, kind: str) -> Frames:
    if kind in REFUSED:
        raise DataError(REFUSED[kind])
    return _READERS[kind](file)


_HEAD = 512
_EDF_KEYS = (b"edf_", b"headerid", b"byteorder", b"dim_1")


def frames_of_array(array: Any) -> Frames:
    """Return the images of an array: `(h, w)`, `(h, w, 1 or 3)`, or `(n, h, w)`, a stack.

    Raises:
        DataError: It has another shape, or is not numeric.
    """
    shape, dtype = tuple(int(side) for side in array.shape), np.dtype(array.dtype)
    if dtype.kind not in "buif":
        raise DataError(f"its values must be integers or floats, got {dtype}; convert it")
    if len(shape) == 2 or (len(shape) == 3 and shape[2] in (1, 3)):
        return Frames(1, shape[0], shape[1], lambda number: np.asarray(array[...]))
    if len(shape) == 3:
        return Frames(shape[0], shape[1], shape[2], lambda number: np.asarray(array[number]))
    raise DataError(
        "its shape must be (height, width), (height, width, 3) or (frames, height, width), got "
        f"{shape}; save it in one of these"
    )


def _npy(file: BinaryIO) -> Frames:
    start = file.tell()
    array = np.load(file, allow_pickle=False)
    file.seek(start)
    return frames_of_array(array)


def _npz(file: BinaryIO) -> Frames:
    with np.load(file, allow_pickle=False) as archive:
        names = archive.files
        if len(names) != 1:
            raise DataError(f"it must contain one array, got {', '.join(names)}; save one as .npy")
        return frames_of_array(archive[names[0]])


def _edf(file: BinaryIO) -> Frames:
    try:
        from fabio.edfimage import EdfImage
        from fabio.fabioutils import BytesIO
    except ImportError as error:
        raise _extra("EDF", "fabio") from error

    _quiet("fabio")
    image = EdfImage()
    image.read(BytesIO(file.read()))
    height, width = image.shape[-2:]

    def get(number: int) -> np.ndarray:
        frame = image.get_frame(number) if image.nframes > 1 else image
        data = np.asarray(frame.data)
        stored = image._frames[number] if number < len(image._frames) else None
        if getattr(stored, "incomplete_data", False):  # fabio fills with zeros
            raise ValueError(CUT_SHORT)
        return data

    return Frames(int(image.nframes), int(height), int(width), get)


# The header of Heimann / PerkinElmer / Varex files: type 0x7000, 68 bytes long.
_HIS_MARK = b"\x00\x70\x44\x00"
_HIS_HEADER = struct.Struct("<HHHIHHHHHHHdH34x")
_HIS_TYPES = {2: "u1", 4: "<u2", 32: "<u4", 64: "<f8", 128: "<f4"}


def _his(file: BinaryIO) -> Frames:
    head = file.read(_HIS_HEADER.size)
    if len(head) < _HIS_HEADER.size:
        raise ValueError(CUT_SHORT)
    _, length, _, _, image_header, left, top, right, bottom, count, _, _, numbers = (
        _HIS_HEADER.unpack(head)
    )
    if numbers not in _HIS_TYPES:
        raise DataError(f"its number type {numbers} is unknown; export it as TIFF")
    height, width = bottom - top + 1, right - left + 1
    return _bare_frames(
        file, length + image_header, (height, width), np.dtype(_HIS_TYPES[numbers]), count
    )


def _bare_frames(
    file: BinaryIO, offset: int, shape: tuple[int, int], dtype: np.dtype[Any], count: int
) -> Frames:
    length = shape[0] * shape[1] * dtype.itemsize
    end = file.seek(0, io.SEEK_END)
    if count < 1 or min(shape) < 1 or offset + count * length > end:
        raise ValueError(
            f"{CUT_SHORT}: {count} frames of {shape[0]} × {shape[1]} {dtype.name} need "
            f"{offset + count * length} bytes, got {end}"
        )

    def get(number: int) -> np.ndarray:
        file.seek(offset + number * length)
        return np.frombuffer(file.read(length), dtype).reshape(shape)

    return Frames(count, *shape, get)


def _hdf5(file: BinaryIO) -> Frames:
    try:
        import h5py
        import hdf5plugin  # noqa: F401 - registers decoders
    except ImportError as error:
        raise _extra("HDF5", "h5py and hdf5plugin") from error

    archive = h5py.File(file, "r")
    return frames_of_array(_only_image(archive, h5py))


def _only_image(archive: Any, h5py: Any) -> Any:
    """Return the default data of NeXus, otherwise the only array of images."""
    group = archive
    while "default" in group.attrs and group.attrs["default"] in group:
        group = group[group.attrs["default"]]
    signal = group.attrs.get("signal")
    if isinstance(signal, str) and signal in group:
        return group[signal]
    found: dict[Any, str] = {}

    def look(name: str, entry: Any) -> None:
        # Links to one array count once.
        if isinstance(entry, h5py.Dataset) and entry.ndim >= 2 and entry.dtype.kind in "buif":
            found.setdefault(entry.id.__hash__(), name)

    archive.visititems(look)
    if len(found) != 1:
        names = ", ".join(sorted(found.values())) or "none"
        raise DataError(
            f"it must contain one array of images or a NeXus default, got {names}; "
            "save only the images"
        )
    return archive[next(iter(found.values()))]


def raw_layout(path: str | Path) -> Path | None:
    """Return the sidecar of a raw file: `NAME.raw.yaml`, or `raw.yaml` in a folder above it."""
    beside = Path(f"{path}.yaml")
    folders = Path(os.path.abspath(path)).parents
    places = [beside, *(folder / "raw.yaml" for folder in folders[:4])]
    return next((place for place in places if place.is_file()), None)


def raw_frames(file: BinaryIO, path: str | Path) -> Frames:
    """Return the frames of a headerless file according to its sidecar.

    Raises:
        DataError: There is no sidecar, or it does not describe this file.
    """
    sidecar = raw_layout(path)
    if sidecar is None:
        raise DataError(
            "a raw file has no header: write a raw.yaml into its folder, such as "
            "{dtype: uint16, shape: [2048, 2048], offset: 0, byte_order: little}"
        )
    dtype, shape, offset = _described(sidecar)
    length = shape[0] * shape[1] * dtype.itemsize
    rest = file.seek(0, io.SEEK_END) - offset
    if rest < length or rest % length:
        raise ValueError(
            f"{sidecar.name} gives frames of {length} bytes from byte {offset}, but the file has "
            f"{rest} bytes there"
        )
    return _bare_frames(file, offset, shape, dtype, rest // length)


def _described(sidecar: Path) -> tuple[np.dtype[Any], tuple[int, int], int]:
    import yaml

    try:
        found = yaml.safe_load(sidecar.read_text(encoding="utf-8"))
        unknown = set(found) - {"dtype", "shape", "offset", "byte_order"}
        dtype = np.dtype(str(found["dtype"]))
        if {"little": False, "big": True}[found.get("byte_order", "little")]:
            dtype = dtype.newbyteorder(">")
        else:
            dtype = dtype.newbyteorder("<")
        height, width = (int(side) for side in found["shape"])
        offset = int(found.get("offset", 0))
    except (KeyError, TypeError, ValueError, yaml.YAMLError) as error:
        raise DataError(f"{_RULE}, got an invalid {sidecar.name} ({error}); correct it") from error
    if unknown or min(height, width) < 1 or offset < 0 or dtype.kind not in "uif":
        raise DataError(f"{_RULE}, got {found} in {sidecar.name}; correct it")
    return dtype, (height, width), offset


_RULE = (
    "raw.yaml must give dtype (integers or floats), shape [height, width], and may give "
    "offset >= 0 and byte_order (little or big)"
)


def _raw(file: BinaryIO) -> Frames:
    name = getattr(file, "name", None)
    if not isinstance(name, str | os.PathLike):
        raise DataError("a raw file has no header, so it cannot be read from bytes; give its path")
    return raw_frames(file, os.fspath(name))


def _extra(kind: str, packages: str) -> DataError:
    return DataError(f'{kind} needs the package {packages}; pip install "alloyk[lab]"')


def _quiet(name: str) -> None:
    import logging

    logging.getLogger(name).setLevel(logging.CRITICAL)


_READERS: dict[str, Callable[[BinaryIO], Frames]] = {
    "npy": _npy, "npz": _npz, "edf": _edf, "his": _his, "hdf5": _hdf5, "raw": _raw,
}  # fmt: skip
