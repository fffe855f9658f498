"""HDF5 and NeXus by h5py."""

import itertools
import os
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from alloyk.errors import DataError
from alloyk.imaging.described import file_settings
from alloyk.imaging.frames import Frames, frames_of_array, missing_package

_OPTION = "--hdf5-path (data.hdf5_path)"
_NUMBERS = "buif"
_NAMED = 5  # arrays in a message


def hdf5(file: BinaryIO) -> Frames:
    """Return the images of an HDF5 file: at the path of `FileSettings`, or else the NeXus default.

    Without both the only array of images is read.

    Raises:
        DataError: It has no such array, or the array is in other files, which are missing.
    """
    name = getattr(file, "name", None)
    path = os.fspath(name) if isinstance(name, str | os.PathLike) else None
    image = _chosen_image(opened(file), file_settings(path).hdf5_path)
    if image.external:
        raise DataError(
            "its array is stored outside of HDF5, in other files; save the images into the file"
        )
    if image.is_virtual:
        image = _with_sources(image, path)
    frames = frames_of_array(image)

    def get(number: int) -> np.ndarray:
        _refuse_unwritten(image, number if frames.count > 1 else None)
        return frames.get(number)

    return replace(frames, get=get)


def _with_sources(image: Any, path: str | None) -> Any:
    """Open the file of a virtual array by its path, as HDF5 needs to find the other files.

    HDF5 gives zeros for the data of a file that is missing, so each is looked for first.
    """
    names = sorted({source.file_name for source in image.virtual_sources()} - {"."})
    if path is None or not Path(path).is_file():
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


def _chosen_image(archive: Any, path: str | None) -> Any:
    """Return the array at a path; without one the default of NeXus, or the only array."""
    image = _nexus_default(archive) if path is None else _at(archive, path)
    if image is not None:
        return image
    found = _arrays(archive)
    if len(found) != 1:
        raise DataError(
            f"it must contain one array of images or a NeXus default, got {_few(found)}"
            + (f"; choose one with {_OPTION}" if found else "; save the images into it")
        )
    return archive[found[0]]


def _at(archive: Any, path: str) -> Any:
    """Return the array of images at a path inside the file."""
    import h5py

    image = archive.get(path)
    if image is None:
        fault = "which does not exist"
    elif not isinstance(image, h5py.Dataset):
        fault = "which is a group" if isinstance(image, h5py.Group) else "which is not an array"
    elif image.dtype.kind not in _NUMBERS:
        fault = "whose values are not integers or floats"
    elif image.ndim not in (2, 3):
        fault = f"whose shape is {image.shape}"
    else:
        return image
    raise DataError(
        f"{_OPTION} must name an array (height, width) or (frames, height, width), got {path}, "
        f"{fault}; the file has {_few(_arrays(archive))}"
    )


def _nexus_default(archive: Any) -> Any:
    """Return the default data of NeXus, or None.

    `default` leads from group to group, and `signal` of the last one names the data set. Without
    them it is the only data set that a group's `signal` names, or that has `signal=1` itself, as
    before NeXus 3.1.
    """
    import h5py

    group, visited = archive, set()
    while group.name not in visited:
        visited.add(group.name)
        default = _text(group.attrs.get("default"))
        if default and isinstance(group.get(default), h5py.Group):
            group = group[default]
    marked = _signal_of(group)
    if marked is not None:
        return marked
    found: dict[Any, Any] = {}

    def look(name: str, entry: Any) -> None:
        is_marked = isinstance(entry, h5py.Dataset) and _text(entry.attrs.get("signal")) == "1"
        signal = entry if is_marked else _signal_of(entry)
        if signal is not None and _is_image(signal):
            found[signal.id.__hash__()] = signal

    group.visititems(look)
    return next(iter(found.values())) if len(found) == 1 else None


def _signal_of(group: Any) -> Any:
    """Return the data set that the attribute `signal` of a group names, or None."""
    import h5py

    signal = _text(group.attrs.get("signal"))
    entry = group.get(signal) if signal and isinstance(group, h5py.Group) else None
    return entry if isinstance(entry, h5py.Dataset) else None


def _arrays(archive: Any) -> list[str]:
    """Return the paths of all arrays of images, sorted; of links to one the first."""
    found: dict[Any, str] = {}

    def look(name: str, entry: Any) -> None:
        if _is_image(entry):
            found.setdefault(entry.id.__hash__(), name)

    archive.visititems(look)
    return sorted(found.values())


def _is_image(entry: Any) -> bool:
    import h5py

    return isinstance(entry, h5py.Dataset) and entry.ndim >= 2 and entry.dtype.kind in _NUMBERS


def _few(names: list[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more if names else "none"


def _text(value: Any) -> str:
    """An attribute as text; empty if it is none."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, np.generic | np.ndarray) and value.size == 1:
        return _text(value.item())
    return str(value) if isinstance(value, str | int) else ""
