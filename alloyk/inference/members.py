"""Small files inside a model file: its metadata and its novelty detector.

A `.keras` file is a zip archive and takes more members. A `.tflite` file gets a zip archive behind
its last byte, as TensorFlow Lite's own metadata does with label files; interpreters stop reading
before it. An `.onnx` file has named text in its `metadata_props`, here base64. A SavedModel is a
folder and gets more files.
"""

import base64
import binascii
import zipfile
from collections.abc import Iterator
from pathlib import Path

ONNX_SUFFIX = ".onnx"

# Field numbers of ONNX: ModelProto.metadata_props, StringStringEntryProto.key and value.
_PROPS, _KEY, _VALUE = 14, 1, 2
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5

UNREADABLE = (OSError, KeyError, ValueError, zipfile.error)
"""What `read_member` raises if the model has no such member, or is damaged."""


def write_member(model: Path, name: str, content: bytes) -> None:
    """Add a member to a model; a folder's or an `.onnx` file's of this name is replaced."""
    model = Path(model)
    if model.is_dir():
        (model / name).write_bytes(content)
    elif model.suffix == ONNX_SUFFIX:
        import onnx

        proto = onnx.load(str(model))
        named = [entry for entry in proto.metadata_props if entry.key == name]
        entry = named[0] if named else proto.metadata_props.add()
        entry.key, entry.value = name, base64.b64encode(content).decode()
        model.write_bytes(proto.SerializeToString(deterministic=True))
    else:
        with zipfile.ZipFile(model, "a") as archive:
            # A fixed date: the same model gives the same bytes.
            archive.writestr(zipfile.ZipInfo(name), content)


def replace_member(model: Path, name: str, content: bytes) -> None:
    """Replace a member of a `.tflite` or `.onnx` file or of a folder; its other members stay."""
    model = Path(model)
    if model.is_dir() or model.suffix == ONNX_SUFFIX:
        write_member(model, name, content)
        return
    with zipfile.ZipFile(model) as archive:
        kept = {one.filename: archive.read(one) for one in archive.infolist()}
        start = min(one.header_offset for one in archive.infolist())
    with model.open("r+b") as file:
        file.truncate(start)
    for other, old in kept.items():
        write_member(model, other, content if other == name else old)


def read_member(model: Path, name: str) -> bytes:
    """Return a member of a model file or folder.

    Raises:
        OSError, KeyError, ValueError, zipfile.error: As `UNREADABLE` lists them.
    """
    model = Path(model)
    if model.is_dir():
        return (model / name).read_bytes()
    if model.suffix == ONNX_SUFFIX:
        try:
            return base64.b64decode(_onnx_props(model.read_bytes())[name], validate=True)
        except (IndexError, binascii.Error) as error:
            raise ValueError(f"damaged ONNX file: {error}") from error
    with zipfile.ZipFile(model) as archive:
        return archive.read(name)


def _onnx_props(content: bytes) -> dict[str, bytes]:
    """Read the `metadata_props` of an ONNX file without the package onnx."""
    found = {}
    for number, value in _fields(memoryview(content)):
        if number == _PROPS and value is not None:
            entry = dict(_fields(value))
            key, text = entry.get(_KEY), entry.get(_VALUE)
            if key is not None and text is not None:
                found[bytes(key).decode()] = bytes(text)
    return found


def _fields(content: memoryview) -> Iterator[tuple[int, memoryview | None]]:
    """Yield number and bytes of each field of a protocol buffer, None for a number."""
    place = 0
    while place < len(content):
        tag, place = _varint(content, place)
        number, kind = tag >> 3, tag & 7
        if kind == _BYTES:
            size, place = _varint(content, place)
            if place + size > len(content):
                raise ValueError("cut short")
            yield number, content[place : place + size]
            place += size
        elif kind == _VARINT:
            _, place = _varint(content, place)
            yield number, None
        elif kind in (_FIXED32, _FIXED64):
            place += 4 if kind == _FIXED32 else 8
            yield number, None
        else:
            raise ValueError(f"no protocol buffer: wire type {kind}")


def _varint(content: memoryview, place: int) -> tuple[int, int]:
    """A number and the place after it.

    >>> _varint(memoryview(bytes([172, 2, 9])), 0)
    (300, 2)
    """
    number = shift = 0
    while True:
        byte = content[place]
        number |= (byte & 127) << shift
        place, shift = place + 1, shift + 7
        if byte < 128:
            return number, place
