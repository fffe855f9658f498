"""Samples of several channels: which images are the channels, and the name of such a sample.

`a/x_40kv.png|x_45kv.png` is one image of two channels. The first file is named as usual, the others
relative to its folder.
"""

import os
import posixpath
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from alloyk.errors import DataError
from alloyk.imaging.contents import image_exists

SEPARATOR = "|"


@dataclass(frozen=True)
class ChannelChoice:
    """Which images of a data set are the channels of one sample.

    Attributes:
        column: Column of the manifest in which they differ.
        values: Its value for each channel, in order.
        by: Column that is equal for the channels of a sample; None for `pose_id`, or `plate_id` if
            there is no such column.
    """

    column: str
    values: tuple[str, ...]
    by: str | None = None

    @classmethod
    def of(cls, found: Any, name: str = "data.channels") -> "ChannelChoice":
        """Make a choice from a mapping of `column`, `values` and `by`.

        Raises:
            DataError: A key is missing or unknown.
        """
        try:
            values = tuple(str(value) for value in found["values"])
            column, by = str(found["column"]), found.get("by")
            known = set(found) <= {"column", "values", "by"}
        except (AttributeError, KeyError, TypeError):
            known, values = False, ()
        if not known or not values:
            raise DataError(
                f"{name} must have the keys column and values, and optionally by, got {found}"
            )
        return cls(column, values, None if by is None else str(by))

    @property
    def count(self) -> int:
        """Number of channels."""
        return len(self.values)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {**asdict(self), "values": list(self.values)}

    def __str__(self) -> str:
        return f"{self.column} {', '.join(self.values)}"


def several(choice: ChannelChoice | None) -> bool:
    """Whether samples have more than one channel."""
    return choice is not None and choice.count > 1


def channel_name(paths: Sequence[str]) -> str:
    """Return the name of the sample whose channels are these files, with `/` in their paths.

    >>> channel_name(["a/x_40kv.png", "a/x_45kv.png"]), channel_name(["40/x.png", "45/x.png"])
    ('a/x_40kv.png|x_45kv.png', '40/x.png|../45/x.png')
    """
    first, *others = paths
    folder = posixpath.dirname(first) or "."
    return SEPARATOR.join([first, *(posixpath.relpath(path, folder) for path in others)])


def channel_files(path: str | Path) -> list[str]:
    """Return the files of the channels that a name stands for; one for all other images.

    >>> channel_files("a/x_40kv.png|x_45kv.png"), channel_files("40/x.png|../45/x.png")
    (['a/x_40kv.png', 'a/x_45kv.png'], ['40/x.png', '45/x.png'])
    >>> channel_files("plate.png")
    ['plate.png']
    """
    text = str(path)
    if SEPARATOR not in text or image_exists(text):
        return [text]
    first, *others = text.split(SEPARATOR)
    folder = os.path.dirname(first)
    return [first, *(os.path.normpath(os.path.join(folder, other)) for other in others)]
