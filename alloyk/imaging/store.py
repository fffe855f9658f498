"""Images in a few large files, *shards*, instead of millions of small ones.

`FOLDER/shards/` holds the bytes of the images of the data set FOLDER: TFRecord files, an index and
`shards.json`. An image keeps its name: `FOLDER/train/1050/plate7.png` is read from its shard,
although there is no such file.

The index is two arrays, which are mapped and not loaded: `keys.npy`, the sorted hashes of the
names, and `places.npy`, where each image is; 28 bytes for an image.
"""

import hashlib
import json
import os
import threading
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from alloyk.errors import DataError
from alloyk.imaging.records import OVERHEAD, content_of
from alloyk.messages import shown

SHARDS = "shards"
DESCRIPTION = "shards.json"
KEYS = "keys.npy"
PLACES = "places.npy"
VERSION = 1

PLACE = np.dtype([("offset", "<u8"), ("length", "<u4"), ("crc", "<u4"), ("shard", "<u4")])

MAX_LENGTH = np.iinfo(PLACE["length"]).max
"""Largest number of bytes of an image."""

# Files of more shards are opened for each image: a process may have 1,024 open files.
MAX_OPEN = 256
_AT_ONCE = 100_000

REMEDY = "restore it from a copy, or make the data set again with `alloyk split SRC OUT --shards N`"


def name_key(name: str, salt: int = 0) -> int:
    """Return the 64-bit hash by which the index finds a name."""
    text = name.encode("utf-8", "surrogateescape")
    digest = hashlib.blake2b(text, digest_size=8, salt=salt.to_bytes(8, "little")).digest()
    return int.from_bytes(digest, "little")


def name_keys(names: Sequence[str], salt: int = 0) -> np.ndarray:
    """Return `name_key` of each name, `(n,)` uint64."""
    return np.fromiter((name_key(name, salt) for name in names), np.uint64, len(names))


def index_digest(folder: Path) -> str:
    """Return the SHA-256 of both arrays of the index in a folder."""
    digest = hashlib.sha256()
    for name in (KEYS, PLACES):
        with open(folder / name, "rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


class ImageStore:
    """The images in the shards of one data set, by name.

    Args:
        root: Folder of the data set, which has the folder `shards`.

    Raises:
        DataError: A shard is missing or has another length, or the index is damaged.
    """

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root)
        self.folder = self.root / SHARDS
        described = self._description()
        self._salt = int(described["salt"])
        self._files = [self.folder / str(one["name"]) for one in described["files"]]
        self._check_files([int(one["bytes"]) for one in described["files"]])
        self._keys, self._places = self._index(str(described["index"]))
        self._open: dict[int, int] = {}
        self._opening = threading.Lock()

    def __len__(self) -> int:
        return len(self._keys)

    def __del__(self) -> None:
        for descriptor in getattr(self, "_open", {}).values():
            os.close(descriptor)

    def __contains__(self, name: str) -> bool:
        return self._row(name) is not None

    def missing(self, names: Sequence[str]) -> list[str]:
        """Return the names that are not in the store, in order."""
        found: list[str] = []
        for start in range(0, len(names), _AT_ONCE):
            some = names[start : start + _AT_ONCE]
            keys = name_keys(some, self._salt)
            rows = np.minimum(np.searchsorted(self._keys, keys), len(self._keys) - 1)
            found += [some[row] for row in np.flatnonzero(self._keys[rows] != keys).tolist()]
        return found

    def length(self, name: str) -> int:
        """Return the bytes of an image's file.

        Raises:
            KeyError: There is no such image.
        """
        return int(self._place(name)["length"])

    def crc(self, name: str) -> int:
        """Return the checksum of an image's bytes.

        Raises:
            KeyError: There is no such image.
        """
        return int(self._place(name)["crc"])

    def read(self, name: str) -> bytes:
        """Return the bytes of an image's file.

        Raises:
            KeyError: There is no such image.
            DataError: The shard cannot be read, or the image in it is damaged.
        """
        offset, length, crc, shard = self._place(name).item()
        file = self._files[shard]
        try:
            record = self._bytes(shard, length + OVERHEAD, offset)
        except OSError as error:
            raise DataError(
                f"cannot read the shard {shown(file)}: {error.strerror}; {REMEDY}"
            ) from error
        content = content_of(record)
        if content is None:
            cut = len(record) < length + OVERHEAD
            what = "ends before" if cut else "is damaged, or not the one of the index, at"
            raise DataError(f"the shard {shown(file)} {what} byte {offset}; {REMEDY}")
        if int.from_bytes(record[-4:], "little") != crc:
            raise DataError(
                f"the shard {shown(file)} must have the image of the index at byte {offset}, got "
                f"another one, as if shards were exchanged; {REMEDY}"
            )
        return content

    def _row(self, name: str) -> int | None:
        key = np.uint64(name_key(name, self._salt))
        row = int(np.searchsorted(self._keys, key))
        return row if row < len(self._keys) and self._keys[row] == key else None

    def _place(self, name: str) -> Any:
        row = self._row(name)
        if row is None:
            raise KeyError(name)
        return self._places[row]

    def _bytes(self, shard: int, length: int, offset: int) -> bytes:
        """`pread`, which threads share without a lock."""
        if shard not in self._open and len(self._open) >= MAX_OPEN:
            with open(self._files[shard], "rb", buffering=0) as file:
                return os.pread(file.fileno(), length, offset)
        if shard not in self._open:
            with self._opening:
                if shard not in self._open:
                    self._open[shard] = os.open(self._files[shard], os.O_RDONLY | os.O_CLOEXEC)
        return os.pread(self._open[shard], length, offset)

    def _description(self) -> dict[str, Any]:
        file = self.folder / DESCRIPTION
        try:
            found = json.loads(file.read_text(encoding="utf-8"))
            version = found["version"]
            _ = [(one["name"], one["bytes"]) for one in found["files"]], found["salt"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DataError(
                f"{shown(file)} must describe the shards, but it is damaged "
                f"({' '.join(str(error).split())}); {REMEDY}"
            ) from error
        if version != VERSION:
            raise DataError(
                f"{shown(file)} must have version {VERSION}, got {version}; install a newer "
                "alloyk, or make the data set again"
            )
        return dict(found)

    def _check_files(self, lengths: Iterable[int]) -> None:
        """Raise if a shard is missing or not as long as it was."""
        for file, expected in zip(self._files, lengths, strict=True):
            try:
                length = os.stat(file).st_size
            except OSError as error:
                raise DataError(
                    f"the shard {shown(file)} is missing ({error.strerror}); {REMEDY}"
                ) from error
            if length != expected:
                raise DataError(
                    f"the shard {shown(file)} must have {expected} bytes, got {length}; {REMEDY}"
                )

    def _index(self, digest: str) -> tuple[np.ndarray, np.ndarray]:
        try:
            if index_digest(self.folder) != digest:
                raise ValueError("its SHA-256 is another one")
            # As plain arrays: NumPy looks up a memmap itself more slowly.
            keys = np.load(self.folder / KEYS, mmap_mode="r").view(np.ndarray)
            places = np.load(self.folder / PLACES, mmap_mode="r").view(np.ndarray)
        except (OSError, ValueError) as error:
            raise DataError(
                f"the index in {shown(self.folder)} must be the one of its shards, but it is "
                f"damaged or of another data set ({' '.join(str(error).split())}); {REMEDY}"
            ) from error
        return keys, places


# Folder of images → the store that has them, and their names' beginning. Filled where an image is
# looked for.
_FOLDERS: dict[str, tuple[ImageStore, str]] = {}
_MAX_FOLDERS = 10_000


def has_store(root: str | Path) -> bool:
    """Return whether a folder is a data set in shards."""
    return os.path.isfile(os.path.join(root, SHARDS, DESCRIPTION))


def open_store(root: str | Path) -> ImageStore | None:
    """Open the store of a data set again; None if its images are files.

    Raises:
        DataError: See `ImageStore`.
    """
    top = os.path.abspath(root)
    for folder in [one for one in _FOLDERS if one == top or one.startswith(top + os.sep)]:
        del _FOLDERS[folder]
    if not has_store(top):
        return None
    store = ImageStore(top)
    _FOLDERS[top] = store, ""
    return store


def known_store(path: str | Path) -> tuple[ImageStore, str] | None:
    """`stored`, if the store of the folder is open; without a look at the disk."""
    if not _FOLDERS:
        return None
    folder, name = os.path.split(os.path.abspath(path))
    found = _FOLDERS.get(folder)
    return (found[0], found[1] + name) if found and found[1] + name in found[0] else None


def stored(path: str | Path) -> tuple[ImageStore, str] | None:
    """Return the store that an image is in, and its name there; None if its file is or would be.

    Raises:
        DataError: The store of its folder is damaged.
    """
    folder, name = os.path.split(os.path.abspath(path))
    found = _FOLDERS.get(folder) or _found(folder)
    return (found[0], found[1] + name) if found and found[1] + name in found[0] else None


def store_around(folder: str | Path) -> tuple[ImageStore, str] | None:
    """Return the store of the nearest data set that a folder is in, and the beginning of names.

    Raises:
        DataError: The store is damaged.
    """
    return _found(os.path.abspath(folder))


def _found(folder: str) -> tuple[ImageStore, str] | None:
    """The store of a folder or the nearest above it."""
    top, below = folder, ""
    while True:
        known = _FOLDERS.get(top)
        if known is None and has_store(top):
            known = ImageStore(top), ""
            _FOLDERS[top] = known
        if known is not None:
            break
        above, name = os.path.split(top)
        if above == top:
            return None
        top, below = above, f"{name}/{below}"
    if len(_FOLDERS) > _MAX_FOLDERS:
        _FOLDERS.clear()
    _FOLDERS[folder] = known[0], known[1] + below
    return _FOLDERS[folder]
