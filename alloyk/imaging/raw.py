"""Raw files, which have no header: a sidecar or the setting `data.raw` describes them."""

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from alloyk.errors import DataError
from alloyk.imaging.frames import Frames, bare_frames

_RULE = (
    "must give dtype (integers or floats, without byte order), shape [height, width], and may give "
    "offset >= 0 and byte_order (little or big)"
)


SIDECAR = "raw.yaml"
"""Name of the file that describes the raw files of its folder and the folders in it."""

SIDECAR_FOLDERS = 4
"""Folders above a raw file in which a sidecar is looked for, its own included."""


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
            raise DataError(f"{name} {_RULE}, got {found}; correct it") from error
        if unknown or min(height, width) < 1 or layout.offset < 0 or kind not in "uif":
            raise DataError(f"{name} {_RULE}, got {found}; correct it")
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


_ASSUMED: ContextVar["RawLayout | None"] = ContextVar("assumed raw layout", default=None)

# Folder → layout of the raw files below it, from `data.raw`.
_SETTINGS: dict[str, RawLayout] = {}


def describe_raw(folder: str | Path, layout: RawLayout | None) -> None:
    """Set the layout of the raw files below a folder, for this process.

    A sidecar on disk overrides it, and so does the layout of a folder further inside.

    Args:
        folder: The folder; the paths of its images begin with it.
        layout: The layout; None removes an earlier one.
    """
    place = os.path.abspath(folder)
    if layout is None:
        _SETTINGS.pop(place, None)
    else:
        _SETTINGS[place] = layout


@contextmanager
def assume_raw(layout: RawLayout | None) -> Iterator[None]:
    """Set the layout of raw files without a sidecar, within the block and this thread.

    Args:
        layout: The layout; None changes nothing.
    """
    token = _ASSUMED.set(layout or _ASSUMED.get())
    try:
        yield
    finally:
        _ASSUMED.reset(token)


def raw_layout(path: str | Path) -> RawLayout | None:
    """Return the layout of a raw file, or None if it is not described.

    Sources, strongest first: `NAME.raw.yaml`; `raw.yaml` in its folder or one of the three above;
    `assume_raw`; `describe_raw`.

    Raises:
        DataError: A sidecar is invalid.
    """
    described = sidecar_layout(path)
    if described is not None:
        return described
    folders = Path(os.path.abspath(path)).parents
    assumed = _ASSUMED.get()
    return assumed or next((_SETTINGS[str(f)] for f in folders if str(f) in _SETTINGS), None)


def sidecar_layout(path: str | Path) -> RawLayout | None:
    """Return the layout of a raw file that a sidecar on disk gives, or None.

    Raises:
        DataError: The sidecar is invalid.
    """
    folders = Path(os.path.abspath(path)).parents
    for place in (
        Path(f"{path}.yaml"),
        *(folder / SIDECAR for folder in folders[:SIDECAR_FOLDERS]),
    ):
        if place.is_file():
            return _sidecar(place)
    return None


def raw(file: BinaryIO) -> Frames:
    """Return the frames of a file without a header.

    Raises:
        DataError: It is not described, or its length does not fit the description.
    """
    name = getattr(file, "name", None)
    if not isinstance(name, str | os.PathLike):
        raise DataError("a raw file has no header, so it cannot be read from bytes; give its path")
    layout = raw_layout(os.fspath(name))
    if layout is None:
        raise DataError(
            "a raw file has no header: set data.raw, or write a raw.yaml into its folder, such as "
            "{dtype: uint16, shape: [2048, 2048], offset: 0, byte_order: little}"
        )
    length = layout.shape[0] * layout.shape[1] * layout.numbers.itemsize
    rest = file.seek(0, io.SEEK_END) - layout.offset
    if rest < length or rest % length:
        raise DataError(
            f"its description gives frames of {length} bytes from byte {layout.offset}, got "
            f"{max(rest, 0)} bytes there; correct raw.yaml or data.raw, or replace the file"
        )
    return bare_frames(file, layout.offset, layout.shape, layout.numbers, rest // length)


def _sidecar(place: Path) -> RawLayout:
    import yaml

    try:
        found = yaml.safe_load(place.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())
        raise DataError(
            f"{place.name} {_RULE}, got an invalid one ({reason}); correct it"
        ) from error
    return RawLayout.of(found, place.name)
