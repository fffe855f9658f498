"""HDF5 and NeXus by h5py."""

import itertools
import os
from collections.abc import Iterable
from dataclasses import replace
from typing import Any, BinaryIO

import numpy as np

from alloyk.errors import DataError
from alloyk.imaging.described import file_settings
from alloyk.imaging.frames import Frames, frames_of_array
from alloyk.imaging.hdf5_sources import WrittenData
from alloyk.imaging.hdf5_tree import Entry, attribute, entry_at, opened, walk
from alloyk.messages import few

_OPTION = "--hdf5-path (data.hdf5_path)"
_NUMBERS = "buif"
_NAMED = 5  # arrays in a message


def hdf5(file: BinaryIO) -> Frames:
    """Return the images of an HDF5 file: at the path of `FileSettings`, or else the NeXus default.

    Without both the only array of images is read.

    Raises:
        DataError: It has no such array, or a link to it leads to nothing. Reading an image raises
            it if a part of the image was never written.
    """
    name = getattr(file, "name", None)
    path = os.fspath(name) if isinstance(name, str | os.PathLike) else None
    archive, data = opened(file), WrittenData()

    def close() -> None:
        data.close()
        archive.close()

    try:
        image = _chosen_image(archive, file_settings(path).hdf5_path)
        frames = frames_of_array(image)
    except BaseException:
        close()
        raise

    def get(number: int) -> np.ndarray:
        data.require(image, number if frames.count > 1 else None)
        return frames.get(number)

    def total() -> np.ndarray:
        data.require(image, None)
        return _sum_by_chunks(image)

    across = frames.count > 1 and image.chunks is not None and image.chunks[0] > 1
    by_chunks = across and image.dtype.kind in "iuf"
    return replace(frames, get=get, close=close, total=total if by_chunks else None)


def _sum_by_chunks(image: Any) -> np.ndarray:
    """Return the sum of all frames, float64, in their order; each chunk is decoded once."""
    frames, *sides = (
        [slice(first, min(first + step, side)) for first in range(0, side, step)]
        for side, step in zip(image.shape, image.chunks, strict=True)
    )
    total = np.zeros(image.shape[1:])
    for rows, columns in itertools.product(*sides):
        for some in frames:
            for part in image[some, rows, columns]:
                total[rows, columns] += part
    return total


def _chosen_image(archive: Any, path: str | None) -> Any:
    """Return the array at a path; without one the default of NeXus, or the only array."""
    if path is not None:
        return _at(archive, path)
    image = _nexus_default(archive)
    if image is not None:
        return image
    entries = list(walk(archive))
    image = _only_marked(entries)
    if image is not None:
        return image
    found, broken = _arrays(entries)
    if len(found) < 2 and broken:
        choice = f", or choose {found[0]} with {_OPTION}" if found else ""
        raise DataError(f"{broken[0]}{choice}")
    if len(found) != 1:
        raise DataError(
            "it must contain one array of images or a NeXus default, got "
            f"{few(found, _NAMED) or 'none'}"
            + (f"; choose one with {_OPTION}" if found else "; save the images into it")
        )
    return entry_at(archive, found[0])


def _at(archive: Any, path: str) -> Any:
    """Return the array of images at a path inside the file."""
    import h5py

    image = entry_at(archive, "/" + path)
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
        f"{fault}; the file has {few(_arrays(walk(archive))[0], _NAMED) or 'none'}"
    )


def _nexus_default(archive: Any) -> Any:
    """Return the default data of NeXus, or None.

    `default` leads from group to group, or to the data set, and `signal` of the last one names the
    data set.

    Raises:
        DataError: The default is not an image, but the file has others.
    """
    import h5py

    entry, visited = archive, set()
    while isinstance(entry, h5py.Group) and hash(entry.id) not in visited:
        visited.add(hash(entry.id))
        default = attribute(entry, "default")
        following = entry_at(entry, default) if default else None
        entry = entry if following is None else following
    marked = entry if isinstance(entry, h5py.Dataset) else _signal_of(entry)
    if marked is not None and (_is_image(marked) or not (others := _arrays(walk(archive))[0])):
        return marked
    if marked is not None:
        raise DataError(
            f"its NeXus default {marked.name} must be an image, got the shape {marked.shape} and "
            f"the type {marked.dtype}; choose one of {few(others, _NAMED) or 'none'} with {_OPTION}"
        )
    return None


def _only_marked(entries: Iterable[Entry]) -> Any:
    """Return the only image that a group's `signal` names, or that has `signal=1` itself, or None.

    The latter is from before NeXus 3.1.
    """
    import h5py

    found: dict[int, Any] = {}
    for _, entry in entries:
        if isinstance(entry, DataError):
            continue
        is_marked = isinstance(entry, h5py.Dataset) and attribute(entry, "signal") == "1"
        signal = entry if is_marked else _signal_of(entry)
        if signal is not None and _is_image(signal):
            found[hash(signal.id)] = signal
    return next(iter(found.values())) if len(found) == 1 else None


def _signal_of(group: Any) -> Any:
    """Return the data set that the attribute `signal` of a group names, or None."""
    import h5py

    signal = attribute(group, "signal") if isinstance(group, h5py.Group) else ""
    entry = entry_at(group, signal) if signal else None
    return entry if isinstance(entry, h5py.Dataset) else None


def _arrays(entries: Iterable[Entry]) -> tuple[list[str], list[DataError]]:
    """Return the paths of all arrays of images, sorted, and what is wrong with broken links."""
    found: list[str] = []
    broken: list[DataError] = []
    for path, entry in entries:
        if isinstance(entry, DataError):
            broken.append(entry)
        elif _is_image(entry):
            found.append(path)
    return sorted(found), broken


def _is_image(entry: Any) -> bool:
    import h5py

    return isinstance(entry, h5py.Dataset) and entry.ndim >= 2 and entry.dtype.kind in _NUMBERS
