"""Raw files, which have no header: a sidecar or the setting `data.raw` describes them."""

import io
import os
from pathlib import Path
from typing import BinaryIO

from alloyk.errors import DataError
from alloyk.imaging.described import LAYOUT_RULE, RawLayout, file_settings
from alloyk.imaging.frames import Frames, bare_frames

SIDECAR = "raw.yaml"
"""Name of the file that describes the raw files of its folder and the folders in it."""

SIDECAR_FOLDERS = 4
"""Folders above a raw file in which a sidecar is looked for, its own included."""


def raw_layout(path: str | Path) -> RawLayout | None:
    """Return the layout of a raw file, or None if it is not described.

    Sources, strongest first: `NAME.raw.yaml`; `raw.yaml` in its folder or one of the three above;
    `assume_files`; `describe_files`.

    Raises:
        DataError: A sidecar is invalid.
    """
    return sidecar_layout(path) or file_settings(path).raw


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
            f"{place.name} {LAYOUT_RULE}, got an invalid one ({reason}); correct it"
        ) from error
    return RawLayout.of(found, place.name)
