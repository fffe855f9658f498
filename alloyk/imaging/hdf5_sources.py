"""Whether the data of an HDF5 array exists, also of a virtual one, which is in other arrays.

HDF5 gives its fill value, mostly 0, for data that was never written, is mapped nowhere, or whose
file or array is missing.
"""

import itertools
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from alloyk.errors import DataError
from alloyk.imaging.hdf5_tree import entry_at, in_memory, open_other

_ELSEWHERE = "its array is in other files"
_AGAIN = "save the images again"

Places = list[np.ndarray]
"""Indices along each axis; all their combinations are meant."""


class _Part(NamedTuple):
    """A part of a virtual array, and the data that is mapped to it.

    Attributes:
        places: The part; of an irregular selection, a box around it.
        mask: Within `places`, what belongs to it; None for all.
        file: File of the data; `.` for the same.
        array: Path of the data in it.
        selection: What of that array is mapped, HDF5's dataspace.
        unlimited: Axis of the virtual array along which the part grows with its source, if any.
    """

    places: Places
    mask: np.ndarray | None
    file: str
    array: str
    selection: Any
    unlimited: int | None = None


class WrittenData:
    """Refuses images whose data does not exist; keeps the files open that it looked into."""

    def __init__(self) -> None:
        self._files: dict[Path, Any] = {}
        self._maps: dict[tuple[str, str], tuple[list[Any], np.ndarray, np.ndarray]] = {}

    def close(self) -> None:
        """Close the other files."""
        for file in self._files.values():
            file.close()
        self._files.clear()
        self._maps.clear()

    def require(self, image: Any, number: int | None) -> None:
        """Raise if not all of an image was written.

        Args:
            image: `h5py.Dataset`.
            number: Index along the first axis; None for the whole array.

        Raises:
            DataError: A part of it does not exist; says which file lacks it.
        """
        places = [np.arange(side) for side in image.shape]
        if number is not None:
            places[0] = np.array([number])
        self._require(image, places, ())

    def _require(self, image: Any, places: Places, within: tuple[tuple[str, str], ...]) -> None:
        """Raise if the places of an array that others are made of were not all written."""
        name = os.path.basename(str(image.file.filename)) if within else ""
        if image.external:
            raise DataError(
                "its array is stored outside of HDF5, in other files; save the images into the file"
            )
        if not all(len(indices) for indices in places):
            return
        if not image.is_virtual:
            if not _is_written(image, places):
                raise DataError(
                    f"a part of it was never written{f' in {name}' if name else ''}; measure it "
                    "again, or leave it out"
                )
            return
        this = (os.path.realpath(str(image.file.filename)), image.name)
        if this in within:
            raise DataError(f"its array is mapped to itself at {image.name}; {_AGAIN}")
        exists = np.zeros([len(indices) for indices in places], bool)
        for part in self._parts(image, places):
            if _has(part, places):
                source = self._source(image, part)
                self._require(source, _in_source(part, source, places, exists), (*within, this))
        if not exists.all():
            raise DataError(
                f"a part of it is mapped to no data{f' in {name}' if name else ''}; leave it out, "
                f"or {_AGAIN}"
            )

    def _parts(self, image: Any, places: Places) -> Iterator[_Part]:
        """Yield the mapped parts of a virtual array that may have some of the places."""
        key = (str(image.file.filename), str(image.name))
        if key not in self._maps:
            maps = image.virtual_sources()
            bounds = np.array([_first_axis(entry.vspace, image.shape) for entry in maps])
            first, last = bounds.reshape(-1, 2).T
            self._maps[key] = maps, first, last
        maps, first, last = self._maps[key]
        for index in np.flatnonzero((last >= places[0][0]) & (first <= places[0][-1])):
            entry = maps[index]
            axis = _unlimited_axis(entry.vspace)
            if axis is None or _unlimited_axis(entry.src_space) is not None:
                yield _part(entry, image.shape)
            else:
                yield from _blocks(entry, image.shape, axis, places[axis])

    def _source(self, image: Any, part: _Part) -> Any:
        """Return the array that has the data of a part."""
        import h5py

        archive = image.file if part.file == "." else self._file(image.file, part.file)
        array = entry_at(archive, "/" + part.array)
        if not isinstance(array, h5py.Dataset):
            place = "the file" if part.file == "." else Path(str(archive.filename)).name
            fault = "does not exist" if array is None else "is not an array"
            raise DataError(
                f"its array is made of others, of which {part.array} {fault} in {place}; {_AGAIN}"
            )
        return array

    def _file(self, archive: Any, name: str) -> Any:
        if in_memory(archive):
            raise DataError(
                f"{_ELSEWHERE} ({name}), which are found only from a file on disk; save the images "
                "into one file"
            )
        folder = Path(archive.filename).parent
        path = next((path for path in _candidates(archive, name) if path.is_file()), None)
        if path is None:
            raise DataError(
                f"{_ELSEWHERE}, of which {name} is missing; put it into {folder}, or save the "
                "images into one file"
            )
        if path not in self._files:
            self._files[path] = open_other(path)
        return self._files[path]


def _candidates(archive: Any, name: str) -> Iterator[Path]:
    """Yield where HDF5 looks for the file of a source, in its order."""
    path = Path(name)
    if path.is_absolute():
        yield path
        path = Path(path.name)
    for prefix in filter(None, os.environ.get("HDF5_VDS_PREFIX", "").split(":")):
        yield Path(prefix) / path
    yield Path(archive.filename).parent / path
    yield path
    yield Path(os.path.realpath(archive.filename)).parent / path


def _is_written(image: Any, places: Places) -> bool:
    """Whether the places of an array that is stored in its file were written."""
    if image.chunks is None:
        return bool(image.id.get_storage_size() > 0)
    starts = [
        np.unique(indices // step) * step
        for indices, step in zip(places, image.chunks, strict=True)
    ]
    return all(
        image.id.get_chunk_info_by_coord(tuple(map(int, place))).byte_offset is not None
        for place in itertools.product(*starts)
    )


def _first_axis(space: Any, shape: tuple[int, ...]) -> tuple[int, int]:
    """Return the first and last index of a selection along the first axis."""
    if _unlimited_axis(space) is not None or not _is_hyperslab(space):
        return 0, shape[0] - 1
    low, high = space.get_select_bounds()
    return int(low[0]), int(high[0])


def _is_hyperslab(space: Any) -> bool:
    from h5py import h5s

    return bool(space.get_select_type() == h5s.SEL_HYPERSLABS)


def _regular(space: Any) -> Any:
    """Return start, stride, count and block of a regular selection for each axis; else None."""
    if _is_hyperslab(space) and space.is_regular_hyperslab():
        return list(zip(*space.get_regular_hyperslab(), strict=True))
    return None


def _unlimited_axis(space: Any) -> int | None:
    """Return the axis along which a selection grows with the array, if any."""
    from h5py import h5s

    for axis, (_, _, count, _) in enumerate(_regular(space) or ()):
        if count == h5s.UNLIMITED:
            return axis
    return None


def _selected(space: Any, shape: tuple[int, ...]) -> Places:
    """Return the places of a selection; of an irregular one, a box around it."""
    regular = _regular(space)
    if regular is not None:
        return [_along(axis, side) for axis, side in zip(regular, shape, strict=True)]
    if not _is_hyperslab(space):
        return [np.arange(side) for side in shape]
    low, high = space.get_select_bounds()
    return [np.arange(int(first), int(last) + 1) for first, last in zip(low, high, strict=True)]


def _along(regular: tuple[int, int, int, int], side: int) -> np.ndarray:
    """Return the indices of a regular selection along one axis; an unlimited one ends with it."""
    from h5py import h5s

    start, stride, count, block = regular
    if count == h5s.UNLIMITED:
        count = max(0, -((start - side) // stride))
        indices = (start + stride * np.arange(count)[:, None] + np.arange(block)).ravel()
        return indices[indices < side]
    return (start + stride * np.arange(count)[:, None] + np.arange(block)).ravel()


def _part(entry: Any, shape: tuple[int, ...]) -> _Part:
    """Return a mapping whose source has one name."""
    places = _selected(entry.vspace, shape)
    mask = None
    if _is_hyperslab(entry.vspace) and _regular(entry.vspace) is None:
        mask = np.zeros([len(indices) for indices in places], bool)
        origin = [int(indices[0]) for indices in places]
        for low, high in entry.vspace.get_select_hyper_blocklist().astype(int):
            corners = zip(low, high, origin, strict=True)
            mask[tuple(slice(int(a - zero), int(b - zero) + 1) for a, b, zero in corners)] = True
    return _Part(
        places,
        mask,
        _named(entry.file_name),
        _named(entry.dset_name),
        entry.src_space,
        _unlimited_axis(entry.vspace),
    )


def _blocks(entry: Any, shape: tuple[int, ...], axis: int, asked: np.ndarray) -> Iterator[_Part]:
    """Yield the mappings of a source whose name has the number of the block, as `part_%b.h5`."""
    start, stride, _, block = _regular(entry.vspace)[axis]
    places = _selected(entry.vspace, shape)
    for number in np.unique((asked[asked >= start] - start) // stride):
        indices = start + number * stride + np.arange(block)
        places[axis] = indices[indices < shape[axis]]
        file, array = _named(entry.file_name, number), _named(entry.dset_name, number)
        yield _Part(list(places), None, file, array, entry.src_space)


def _named(pattern: str, number: int = 0) -> str:
    """Return the name of a source: `%b` is the number of its block, `%%` a percent sign."""
    return re.sub("%[b%]", lambda sign: str(number) if sign[0] == "%b" else "%", pattern)


def _has(part: _Part, places: Places) -> bool:
    """Whether a part may have some of the places."""
    return all(np.isin(a, b).any() for a, b in zip(places, part.places, strict=True))


def _in_source(part: _Part, source: Any, places: Places, exists: np.ndarray) -> Places:
    """Mark the places that a part has, and return those of its source.

    Args:
        part: A part of a virtual array, with some of the places.
        source: The array that has its data.
        places: Places of the virtual array.
        exists: For each combination of places, whether a part has it; changed.

    Raises:
        DataError: The source is smaller than what is mapped.
    """
    mapped, selected = _of_equal_size(part, source)
    hits = [np.isin(asked, own) for asked, own in zip(places, mapped, strict=True)]
    orders = [
        np.searchsorted(own, asked[hit])
        for own, asked, hit in zip(mapped, places, hits, strict=True)
    ]
    exists[np.ix_(*map(np.flatnonzero, hits))] |= (
        True if part.mask is None else part.mask[np.ix_(*orders)]
    )
    long = [axis for axis, indices in enumerate(mapped) if len(indices) > 1]
    other = [axis for axis, indices in enumerate(selected) if len(indices) > 1]
    sides = [len(mapped[axis]) for axis in long], [len(selected[axis]) for axis in other]
    if part.mask is None and sides[0] == sides[1]:  # otherwise all of the source must exist
        for axis, axis_of_source in zip(long, other, strict=True):
            selected[axis_of_source] = selected[axis_of_source][orders[axis]]
    return selected


def _of_equal_size(part: _Part, source: Any) -> tuple[Places, Places]:
    """Return the places of a part and those of its source; what grows with both is cut alike."""
    mapped, regular = list(part.places), _regular(part.selection)
    fits = source.ndim == len(regular) if regular else True
    selected = _selected(part.selection, source.shape) if fits else []
    axis = _unlimited_axis(part.selection) if fits else None
    if axis is not None and part.unlimited is not None:
        length = min(len(mapped[part.unlimited]), len(selected[axis]))
        mapped[part.unlimited] = mapped[part.unlimited][:length]
        selected[axis] = selected[axis][:length]
    elif fits:
        count = np.prod([len(indices) for indices in mapped])
        fits = all(
            not len(indices) or indices[-1] < side
            for indices, side in zip(selected, source.shape, strict=True)
        ) and (_is_hyperslab(part.selection) or part.mask is not None or source.size >= count)
    if not fits:
        raise DataError(
            f"its array is made of others, of which {part.array} with the shape {source.shape} is "
            f"smaller than what is mapped to it; {_AGAIN}"
        )
    return mapped, selected
