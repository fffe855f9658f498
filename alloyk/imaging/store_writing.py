"""Write the shards that `store` reads."""

import json
import os
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.pool import ThreadPool
from pathlib import Path
from typing import Any

import numpy as np

from alloyk.errors import DataError
from alloyk.imaging.contents import image_bytes, image_stamp
from alloyk.imaging.records import OVERHEAD, write_record
from alloyk.imaging.store import (
    DESCRIPTION,
    KEYS,
    MAX_LENGTH,
    PLACE,
    PLACES,
    SHARDS,
    VERSION,
    index_digest,
    name_keys,
)
from alloyk.messages import shown

MAX_SHARDS = 100_000
_AHEAD = 32  # files are read together: shared storage takes milliseconds to open one
_READERS = 8


def write_store(
    root: Path,
    names: Sequence[str],
    source: Path,
    paths: Sequence[str],
    shards: int,
    advance: Callable[[int], object] = lambda _: None,
) -> None:
    """Write the files of images, byte by byte, into `ROOT/shards`, in their order.

    `shards.json` is written last: without it the shards are not read.

    Args:
        root: Folder of the data set, which must exist and have no shards.
        names: What the images are called, below `root`; each once.
        source: Folder that `paths` are relative to.
        paths: Their files.
        shards: Number of files to write, of as equally many images as possible.
        advance: Called with the number of images written since the last call.

    Raises:
        DataError: More shards than images, or an image cannot be read.
        OSError: The shards cannot be written.
    """
    if not 1 <= shards <= min(len(names), MAX_SHARDS):
        raise DataError(
            f"the number of shards must be 1 to {min(len(names), MAX_SHARDS)} for {len(names)} "
            f"images, got {shards}; choose fewer, so that each has a few hundred megabytes"
        )
    folder = root / SHARDS
    folder.mkdir()
    places = np.zeros(len(names), PLACE)
    files = []
    with ThreadPool(_READERS) as pool:
        for shard in range(shards):
            start, stop = (number * len(names) // shards for number in (shard, shard + 1))
            name = f"images-{shard:05d}-of-{shards:05d}.tfrecord"
            contents = _contents(pool, source, paths[start:stop])
            written = _write_shard(folder / name, contents, places[start:stop], advance)
            places["shard"][start:stop] = shard
            files.append({"name": name, "bytes": written, "images": stop - start})
    salt = _write_index(folder, names, places)
    description = {
        "version": VERSION,
        "images": len(names),
        "salt": salt,
        "index": index_digest(folder),
        "files": files,
    }
    _write_synced(folder / DESCRIPTION, json.dumps(description, indent=1).encode())


def _contents(pool: ThreadPool, source: Path, paths: Sequence[str]) -> Iterator[bytes]:
    for start in range(0, len(paths), _AHEAD):
        files = [source / path for path in paths[start : start + _AHEAD]]
        yield from pool.map(_content, files)


def _content(path: Path) -> bytes:
    try:
        if (size := image_stamp(path)[0]) > MAX_LENGTH:
            raise DataError(
                f"an image in shards must have less than 4 GiB, got {size / 2**30:.1f} GiB in "
                f"{shown(path)}; leave out --shards"
            )
        return image_bytes(path)
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise DataError(f"cannot read the image {shown(path)}: {why}; restore it") from error


def _write_shard(
    path: Path, contents: Iterator[bytes], places: np.ndarray, advance: Callable[[int], object]
) -> int:
    """Write a shard and the places of its images; return its length."""
    offset = 0
    with open(path, "wb") as file:
        for row, content in enumerate(contents):
            crc = write_record(file, content)
            for name, value in (("offset", offset), ("length", len(content)), ("crc", crc)):
                places[name][row] = value
            offset += len(content) + OVERHEAD
            advance(1)
        file.flush()
        os.fsync(file.fileno())
    return offset


def _write_index(folder: Path, names: Sequence[str], places: np.ndarray) -> int:
    """Write both arrays; return the salt with which no two names have one hash."""
    salt = 0
    while True:
        keys = name_keys(names, salt)
        order = np.argsort(keys, kind="stable")
        keys = keys[order]
        if not (keys[1:] == keys[:-1]).any():
            break
        salt += 1
    _save(folder / KEYS, keys)
    _save(folder / PLACES, places[order])
    return salt


def _save(path: Path, array: np.ndarray[Any, Any]) -> None:
    with open(path, "wb") as file:
        np.save(file, array)
        file.flush()
        os.fsync(file.fileno())


def _write_synced(path: Path, content: bytes) -> None:
    with open(path, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
