"""Whether the files of a data set have changed, without reading the images."""

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from alloyk.errors import DataError
from alloyk.imaging import image_files, image_stamp, raw_layout
from alloyk.imaging.lab import HDF5_SUFFIXES
from alloyk.imaging.opening import files_beside
from alloyk.messages import shown

if TYPE_CHECKING:
    import pandas as pd


def stamps_digest(root: Path, table: "pd.DataFrame", hdf5_path: str | None) -> str:
    """Return a hash of all paths, sizes, time stamps, labels and splits, 64 hex digits.

    Args:
        root: Folder of the data set.
        table: Columns `path`, `label` and `split`; their order does not matter.
        hdf5_path: Path of the images inside HDF5 files.

    Raises:
        DataError: A file was removed after the data set was loaded.
    """
    digest = hashlib.sha256((hdf5_path or "").encode())
    rows = table[["path", "label", "split"]].sort_values("path")
    known: dict[Path, tuple[Any, ...]] = {}  # a file may hold many images
    for path, label, split in rows.itertuples(index=False, name=None):
        for file in image_files(root / path):
            if file not in known:
                try:
                    known[file] = _stamps(file)
                except OSError as error:
                    raise DataError(
                        f"{shown(root / path)} is no longer there: {error.strerror}"
                    ) from error
            digest.update(repr((path, label, split, *known[file])).encode())
    return digest.hexdigest()


def _stamps(file: Path) -> tuple[Any, ...]:
    """What changes with the content of a file, and with that of files it takes images from."""
    stamps: tuple[Any, ...] = image_stamp(file)
    if file.suffix.lower() == ".raw":
        stamps += (raw_layout(file),)
    if file.suffix.lower() in HDF5_SUFFIXES:
        for name in files_beside(file):
            try:
                stamps += (name, *image_stamp(file.parent / name))
            except OSError:
                stamps += (name, "missing")
    return stamps
