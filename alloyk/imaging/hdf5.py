"""HDF5 and NeXus by h5py."""

import itertools
import os
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from alloyk.errors import DataError
from alloyk.imaging.frames import Frames, frames_of_array, missing_package


def hdf5(file: BinaryIO) -> Frames:
    """Return the images of an HDF5 file: what NeXus marks as the default, or the only array.

    Raises:
        DataError: It has no such array, or the array is in other files, which are missing.
    """
    image = _only_image(opened(file))
    if image.external:
        raise DataError(
            "its array is stored outside of HDF5, in other files; save the images into the file"
        )
    if image.is_virtual:
        image = _with_sources(image, getattr(file, "name", None))
    frames = frames_of_array(image)

    def get(number: int) -> np.ndarray:
        _refuse_unwritten(image, number if frames.count > 1 else None)
        return frames.get(number)

    return replace(frames, get=get)


def _with_sources(image: Any, path: object) -> Any:
    """Open the file of a virtual array by its path, as HDF5 needs to find the other files.

    HDF5 gives zeros for the data of a file that is missing, so each is looked for first.
    """
    names = sorted({source.file_name for source in image.virtual_sources()} - {"."})
    if not isinstance(path, str | os.PathLike) or not Path(path).is_file():
        raise DataError(
            f"its array is in other files ({', '.join(names)}), which are found only from a file "
            "on disk; save the images into one file"
        )
    folder = Path(path).parent
    missing = [name for name in names if not (folder / name).is_file()]
    if missing:
        raise DataError(
            f"its array is in other files, of which {missing[0]} is missing; put it into "
            f"{folder}, or save the images into one file"
        )
    import h5py

    return h5py.File(path, "r")[image.name]


def _refuse_unwritten(image: Any, number: int | None) -> None:
    """Raise if a part of an image was never written, as after an interrupted measurement.

    HDF5 gives the fill value, mostly 0, for it.
    """
    if image.is_virtual or 0 in image.shape:
        return
    if image.chunks is None:
        written = image.id.get_storage_size() > 0
    else:
        starts = [
            range(0, side, step) for side, step in zip(image.shape, image.chunks, strict=True)
        ]
        if number is not None:
            starts[0] = range(number - number % image.chunks[0], number + 1, image.chunks[0])
        written = all(
            image.id.get_chunk_info_by_coord(place).byte_offset is not None
            for place in itertools.product(*starts)
        )
    if not written:
        raise DataError("a part of it was never written; measure it again, or leave it out")


def opened(file: BinaryIO) -> Any:
    """Return the `h5py.File`."""
    try:
        import h5py
        import hdf5plugin  # noqa: F401 - registers decoders
    except ImportError as error:
        raise missing_package("HDF5", "h5py and hdf5plugin") from error
    return h5py.File(file, "r")


def _only_image(archive: Any) -> Any:
    """Return the default data of NeXus, otherwise the only array of images."""
    import h5py

    group, visited = archive, set()
    while group.name not in visited:
        visited.add(group.name)
        default = _text(group.attrs.get("default"))
        if default and isinstance(group.get(default), h5py.Group):
            group = group[default]
    signal = _text(group.attrs.get("signal"))
    if signal and isinstance(group.get(signal), h5py.Dataset):
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


def _text(value: Any) -> str:
    """An attribute as text; empty if it is none."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return value if isinstance(value, str) else ""
