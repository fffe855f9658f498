"""Finished parts of a large prediction, in a folder beside its output.

`OUT.shards/shards.json` describes the prediction; each finished shard is one file, which gets its
name when it is complete. So a killed prediction continues from the finished shards.
"""

import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from alloyk.errors import ConfigError
from alloyk.files import whole_file, writing
from alloyk.messages import shown
from alloyk.runs.json_file import read_json, write_json
from alloyk.runtime.ray_map import Shard

DESCRIPTION_FILE = "shards.json"
VERSION = 1
_SUFFIX = ".part"


class ShardRows(NamedTuple):
    """A finished shard.

    Attributes:
        images: Number of rows.
        errors: Number of those with an error.
        first_error: The first one's error.
        counts: State of `UnlikeTraining`.
        text: The rows.
    """

    images: int
    errors: int
    first_error: str
    counts: Mapping[str, Any]
    text: str


class ShardHead(NamedTuple):
    """The first line of a shard's file: a `ShardRows` without its text."""

    images: int
    errors: int
    first_error: str
    counts: Mapping[str, Any]
    bytes: int


class ShardFolder:
    """The folder of the shards of one output; other processes must not use it meanwhile."""

    def __init__(self, output: Path) -> None:
        self.path = output.with_name(output.name + ".shards")

    def open(self, description: Mapping[str, Any]) -> None:
        """Take the folder for a prediction.

        Args:
            description: Everything that determines the rows, and `versions`.

        Raises:
            ConfigError: It holds another prediction or other files.
        """
        description = json.loads(json.dumps({"version": VERSION, **description}))
        file = self.path / DESCRIPTION_FILE
        if not file.is_file():
            if self.path.is_dir() and any(not one.name.startswith(".") for one in self._files()):
                raise ConfigError(
                    f"{shown(self.path)} must be absent or hold an unfinished prediction, but it "
                    "holds other files; choose another --output"
                )
            write_json(file, description)
            return
        difference = _difference(read_json(file), description)
        if difference is not None:
            raise ConfigError(
                f"{shown(self.path)} holds an unfinished prediction with {difference}; give the "
                "command of that prediction, choose another --output, or delete the folder"
            )

    def head(self, number: int) -> ShardHead | None:
        """The counts of a shard; None unless its file is there and complete."""
        try:
            with self._file(number).open("rb") as file:
                head = ShardHead(**json.loads(file.readline()))
                complete = os.fstat(file.fileno()).st_size - file.tell() == head.bytes
        except (OSError, ValueError, TypeError):
            return None
        return head if complete else None

    def write(self, number: int, rows: ShardRows) -> None:
        """Write the file of a finished shard."""
        data = rows.text.encode(errors="surrogateescape")  # a file name may be any bytes
        head = ShardHead(*rows[:-1], bytes=len(data))
        with whole_file(self._file(number)) as unfinished, unfinished.open("wb") as file:
            file.write(json.dumps(head._asdict()).encode() + b"\n" + data)
            file.flush()
            os.fsync(file.fileno())

    def join(self, count: int, output: Path, end: str) -> None:
        """Write the rows of all shards, in order, into the output."""
        with whole_file(output) as unfinished, unfinished.open("wb") as out:
            for number in range(count):
                with self._file(number).open("rb") as file:
                    file.readline()
                    shutil.copyfileobj(file, out)
            out.write(end.encode())

    def remove(self) -> None:
        """Remove the folder; last the description, which marks it as a prediction."""
        with writing(self.path):
            for file in self._files():
                if file.name != DESCRIPTION_FILE:
                    file.unlink()
            (self.path / DESCRIPTION_FILE).unlink(missing_ok=True)
            self.path.rmdir()

    def remove_if_empty(self) -> None:
        """Remove the folder of a prediction that has finished no shard."""
        if self.path.is_dir() and not any(one.suffix == _SUFFIX for one in self._files()):
            self.remove()

    def _file(self, number: int) -> Path:
        return self.path / f"{number:06d}{_SUFFIX}"

    def _files(self) -> Iterator[Path]:
        return self.path.iterdir()


def _difference(before: Mapping[str, Any], now: Mapping[str, Any]) -> str | None:
    """The first difference between two predictions; None if there is none."""
    if before.get("version") != VERSION:
        return f"version {before.get('version')} of its files, got {VERSION}"
    for key, what in (("model", "another model"), ("sources", "other images")):
        if before.get(key) != now[key]:
            return what
    for part in ("options", "versions"):
        old, new = before.get(part, {}), now[part]
        for key in new:
            if old.get(key) != new[key]:
                return f"{key} {json.dumps(old.get(key))}, got {json.dumps(new[key])}"
    return None


def named_shards(names: Sequence[str], size: int) -> Iterator[Shard]:
    """The files of each shard.

    >>> [(shard.number, shard.content) for shard in named_shards(["a", "b", "c"], 2)]
    [(0, ['a', 'b']), (1, ['c'])]
    """
    for number, first in enumerate(range(0, len(names), size)):
        part = list(names[first : first + size])
        name = shown(part[0]) + (f" to {shown(part[-1])}" if len(part) > 1 else "")
        yield Shard(number, part, f"the shard {name}")
