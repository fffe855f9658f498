"""The bytes of an image by its name: of a file, or of the shards that its data set is in.

Everything that opens, measures or looks for an image does it here, so that images in shards are
read as files are.
"""

import io
import os
import stat
from pathlib import Path

from alloyk.imaging.store import known_store, stored

_MISSING = (FileNotFoundError, NotADirectoryError)


class StoredFile(io.BytesIO):
    """The bytes of an image in a shard, under its name.

    Attributes:
        name: Path of the image.
    """

    def __init__(self, content: bytes, name: str) -> None:
        super().__init__(content)
        self.name = name


def open_image_file(path: str | Path) -> io.BufferedReader | StoredFile:
    """Open the file of an image, without a page, for reading.

    Raises:
        OSError: The file cannot be opened.
        ValueError: It is a pipe, a device or a folder.
        DataError: The shard that it is in is damaged.
    """
    found = known_store(path)
    if found is None:
        try:
            return open(path, "rb", opener=_open_regular_file)
        except _MISSING:
            found = stored(path)
            if found is None:
                raise
    store, name = found
    return StoredFile(store.read(name), os.fspath(path))


def image_bytes(path: str | Path) -> bytes:
    """Return the bytes of the file of an image; raises as `open_image_file`."""
    found = known_store(path)
    if found is not None:
        return found[0].read(found[1])
    try:
        content = _whole_file(path)
    except _MISSING:
        content = None  # perhaps in shards
    if content is not None:
        return content
    with open_image_file(path) as file:
        return file.read()


def _whole_file(path: str | Path) -> bytes | None:
    """The bytes of a file by four system calls (a file object takes nine); None if not all."""
    descriptor = _open_regular_file(os.fspath(path), os.O_RDONLY | getattr(os, "O_BINARY", 0))
    try:
        size = os.fstat(descriptor).st_size
        content = os.read(descriptor, size)  # not more than 2 GiB
    finally:
        os.close(descriptor)
    return content if len(content) == size else None


def image_exists(path: str | Path) -> bool:
    """Return whether there is a file, a folder or a link of this name, or an image in shards."""
    return os.path.lexists(path) or stored(path) is not None


def image_length(path: str | Path) -> int:
    """Return the bytes of the file of an image.

    Raises:
        OSError: There is no such file.
    """
    return image_stamp(path)[0]


def image_stamp(path: str | Path) -> tuple[int, int]:
    """Return the bytes of the file of an image, and a number that changes with its content.

    It is the time of the last change in nanoseconds, in shards a checksum.

    Raises:
        OSError: There is no such file.
    """
    found = known_store(path)
    if found is None:
        try:
            status = os.stat(path)
        except _MISSING:
            found = stored(path)
            if found is None:
                raise
        else:
            return status.st_size, status.st_mtime_ns
    store, name = found
    return store.length(name), store.crc(name)


def _open_regular_file(path: str, flags: int) -> int:
    # Reading a pipe or a device could block forever.
    descriptor = os.open(path, flags | getattr(os, "O_NONBLOCK", 0))
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise ValueError("it is not a regular file")
    return descriptor
