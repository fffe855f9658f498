"""What settings say of image files that do not say it themselves, for a folder or a block."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from alloyk.errors import DataError

LAYOUT_RULE = (
    "must give dtype (integers or floats, without byte order), shape [height, width], and may give "
    "offset >= 0 and byte_order (little or big)"
)
"""What must hold of the layout of raw files, for errors."""


@dataclass(frozen=True)
class RawLayout:
    """How a file without a header is laid out.

    Attributes:
        dtype: NumPy's name of its numbers, such as `uint16`.
        shape: Height and width of a frame, in pixels.
        offset: Bytes before the first frame.
        byte_order: `little` or `big`.
    """

    dtype: str
    shape: tuple[int, int]
    offset: int = 0
    byte_order: str = "little"

    @classmethod
    def of(cls, found: Any, name: str = "data.raw") -> "RawLayout":
        """Make a layout from a sidecar or a setting.

        Args:
            found: A mapping of `dtype`, `shape`, `offset` and `byte_order`.
            name: Name in errors.

        Raises:
            DataError: A key is missing or unknown, or a value out of its range.
        """
        try:
            unknown = set(found) - {"dtype", "shape", "offset", "byte_order"}
            height, width = (_whole(side) for side in found["shape"])
            dtype = str(found["dtype"])
            if dtype[:1] in "<>=|":  # the byte order has a key of its own
                raise ValueError(dtype)
            layout = cls(
                dtype,
                (height, width),
                _whole(found.get("offset", 0)),
                str(found.get("byte_order", "little")),
            )
            kind = layout.numbers.kind
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise DataError(f"{name} {LAYOUT_RULE}, got {found}; correct it") from error
        if unknown or min(height, width) < 1 or layout.offset < 0 or kind not in "uif":
            raise DataError(f"{name} {LAYOUT_RULE}, got {found}; correct it")
        return layout

    def to_yaml(self) -> str:
        """The layout as the text of a sidecar."""
        return (
            f"{{dtype: {self.dtype}, shape: [{self.shape[0]}, {self.shape[1]}], "
            f"offset: {self.offset}, byte_order: {self.byte_order}}}\n"
        )

    @property
    def numbers(self) -> np.dtype[Any]:
        """The number type with its byte order."""
        if self.byte_order not in ("little", "big"):
            raise ValueError(f"byte_order is {self.byte_order!r}")
        return np.dtype(self.dtype).newbyteorder(">" if self.byte_order == "big" else "<")


def _whole(value: object) -> int:
    """The value if it is a whole number; raises ValueError otherwise."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError(f"{value!r} is not a whole number")
    return value


@dataclass(frozen=True)
class FileSettings:
    """How to read files that leave it open.

    Attributes:
        raw: Layout of raw files without a sidecar.
        hdf5_path: Path of the array of images inside HDF5 files.
    """

    raw: RawLayout | None = None
    hdf5_path: str | None = None


NO_SETTINGS = FileSettings()
"""Leaves everything open."""

_ASSUMED: ContextVar[FileSettings] = ContextVar("assumed file settings", default=NO_SETTINGS)

# Folder → settings of the files below it.
_OF_FOLDERS: dict[str, FileSettings] = {}


def describe_files(folder: str | Path, settings: FileSettings) -> None:
    """Set how the files below a folder are read, for this process.

    A sidecar on disk overrides it, and so do the settings of a folder further inside.

    Args:
        folder: The folder; the paths of its images begin with it.
        settings: The settings; empty ones remove earlier ones.
    """
    place = os.path.abspath(folder)
    if settings == NO_SETTINGS:
        _OF_FOLDERS.pop(place, None)
    else:
        _OF_FOLDERS[place] = settings


def described_folders() -> dict[str, FileSettings]:
    """Folder → settings, as `describe_files` has set them; for another process."""
    return dict(_OF_FOLDERS)


@contextmanager
def assume_files(settings: FileSettings) -> Iterator[None]:
    """Set how files are read, within the block and this thread.

    Args:
        settings: The settings; what they leave open stays as it was.
    """
    before = _ASSUMED.get()
    token = _ASSUMED.set(
        FileSettings(settings.raw or before.raw, settings.hdf5_path or before.hdf5_path)
    )
    try:
        yield
    finally:
        _ASSUMED.reset(token)


def file_settings(path: str | Path | None) -> FileSettings:
    """Return how a file is read: as `assume_files` says, otherwise `describe_files`.

    Args:
        path: The file; None for bytes.
    """
    assumed = _ASSUMED.get()
    folders = () if path is None else Path(os.path.abspath(path)).parents
    of_folder = next((_OF_FOLDERS[str(f)] for f in folders if str(f) in _OF_FOLDERS), None)
    if of_folder is None:
        return assumed
    return FileSettings(assumed.raw or of_folder.raw, assumed.hdf5_path or of_folder.hdf5_path)
