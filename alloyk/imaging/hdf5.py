"""HDF5 and NeXus by h5py."""

from typing import Any, BinaryIO

from alloyk.errors import DataError
from alloyk.imaging.frames import Frames, frames_of_array, missing_package


def hdf5(file: BinaryIO) -> Frames:
    """Return the images of an HDF5 file: what NeXus marks as the default, or the only array."""
    archive = opened(file)
    return frames_of_array(_only_image(archive))


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
