"""Metadata in a model file: its classes and its outputs."""

import json
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from alloyk import __version__
from alloyk.errors import DataError, ModelError
from alloyk.errors import reason as shortened
from alloyk.imaging import ChannelChoice, FileSettings, PageChoice, RawLayout
from alloyk.inference.members import UNREADABLE, read_member, replace_member, write_member
from alloyk.messages import shown
from alloyk.targets import LOGITS

MEMBER = "alloyk.json"
# Names of the one function and of the class output of an exported model.
SIGNATURE = "serving_default"
PROBABILITIES = "probabilities"


@dataclass(frozen=True)
class ModelMetadata:
    """Facts stored in a model file.

    Attributes:
        classes: Class labels in the order of the outputs.
        output: `logits` or `probabilities`: what the class output gives, and its name where
            there are other outputs.
        simulated: Whether the training images were simulated.
        spreads: Column that the model estimates beside the class → standard deviation of that
            column over the training images. The output of this name is in the column's unit.
        depths: Number types of the training images, such as `uint16`; empty if unknown.
        brightest: Smallest and largest maximum of a training image; None if not known.
        page: Pages that were read from training files with several.
        raw: Layout of raw training files.
        hdf5_path: Path of the array of images inside HDF5 training files.
        channels: Which images were the channels of one training sample; None if each was one.
        thresholds: Target error rate → probability below which the classifier abstains for it.
        alloyk: Version that wrote the file.
    """

    classes: tuple[str, ...]
    output: str
    simulated: bool
    spreads: dict[str, float] = field(default_factory=dict)
    depths: tuple[str, ...] = ()
    brightest: tuple[float, float] | None = None
    page: PageChoice | None = None
    raw: RawLayout | None = None
    hdf5_path: str | None = None
    channels: ChannelChoice | None = None
    thresholds: dict[float, float] = field(default_factory=dict)
    alloyk: str = __version__

    @property
    def files(self) -> FileSettings:
        """How raw and HDF5 training files were read."""
        return FileSettings(self.raw, self.hdf5_path)


def write_metadata(model: Path, metadata: ModelMetadata) -> None:
    """Add `metadata` to a model file or a SavedModel folder that has none yet."""
    write_member(model, MEMBER, _content(metadata))


def replace_metadata(model: Path, metadata: ModelMetadata) -> None:
    """Replace the metadata of an exported file or folder."""
    replace_member(model, MEMBER, _content(metadata))


def refuse_channels(metadata: ModelMetadata, model: Path, what: str, remedy: str) -> None:
    """Refuse a model of several channels for what takes gray images only.

    Args:
        metadata: Metadata of the model.
        model: The model, or its run.
        what: What the model is used for, as the subject of the error.
        remedy: What to do instead.

    Raises:
        ModelError: Its samples have several channels.
    """
    choice = metadata.channels
    if choice is not None and choice.count > 1:
        raise ModelError(
            f"{what} needs a model of one channel, got {shown(model)} with {choice.count} "
            f"({choice}); {remedy}"
        )


def _content(metadata: ModelMetadata) -> bytes:
    return json.dumps(asdict(metadata), indent=1, ensure_ascii=False).encode()


def read_metadata(model: Path) -> ModelMetadata:
    """Return what `write_metadata` wrote.

    Raises:
        ModelError: The file is not a model, or was not made by alloyk.
    """
    model = Path(model)
    try:
        found = json.loads(read_member(model, MEMBER))
    # Missing, cut short or damaged: the remedy is the same.
    except UNREADABLE as error:
        reason = "its class names are missing" if model.exists() else "it does not exist"
        raise _not_of_alloyk(model, reason) from error
    if not isinstance(found, dict) or not _is_valid("classes", found):
        raise _not_of_alloyk(model, "its class names are missing")
    for name in _VALID:
        if not _is_valid(name, found):
            raise _not_of_alloyk(model, f"the entry {name!r} of its metadata is missing or damaged")
    try:
        return _metadata_of(found)
    except (DataError, ValueError, TypeError, AttributeError) as error:
        raise _not_of_alloyk(model, f"its metadata is damaged ({shortened(error)})") from error


def _metadata_of(found: dict[str, Any]) -> ModelMetadata:
    """The metadata from the entries of a file; entries of later versions are ignored."""
    known = {field.name for field in fields(ModelMetadata)}
    found = {key: value for key, value in found.items() if key in known}
    found["classes"] = tuple(found["classes"])
    found["depths"] = tuple(found.get("depths", ()))
    if found.get("brightest") is not None:
        found["brightest"] = tuple(found["brightest"])
    if found.get("raw") is not None:
        found["raw"] = RawLayout.of(found["raw"])
    if found.get("channels") is not None:
        found["channels"] = ChannelChoice.of(found["channels"])
    thresholds = found.get("thresholds", {})
    found["thresholds"] = {float(rate): float(value) for rate, value in thresholds.items()}
    return ModelMetadata(**found)


def _is_valid(name: str, found: dict[str, Any]) -> bool:
    """Whether an entry has the right type, or is missing and may be."""
    return _VALID[name](found[name]) if name in found else name not in _REQUIRED


def _are_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(one, str) for one in value)


def _are_numbers(values: Iterable[Any]) -> bool:
    return all(isinstance(one, int | float) and not isinstance(one, bool) for one in values)


def _are_named_numbers(value: Any) -> bool:
    return isinstance(value, dict) and _are_numbers(value.values())


_REQUIRED = ("classes", "output", "simulated")
_VALID: dict[str, Callable[[Any], bool]] = {
    "classes": lambda value: _are_texts(value) and len(value) > 0,
    "output": lambda value: value in (LOGITS, PROBABILITIES),
    "simulated": lambda value: isinstance(value, bool),
    "spreads": _are_named_numbers,
    "depths": _are_texts,
    "brightest": lambda value: (
        value is None or (isinstance(value, list) and len(value) == 2 and _are_numbers(value))
    ),
    "page": lambda value: value is None or value in ("mean", "each") or isinstance(value, int),
    "hdf5_path": lambda value: value is None or isinstance(value, str),
    "thresholds": _are_named_numbers,
    "alloyk": lambda value: isinstance(value, str),
}
"""Entry of a file → whether its value has the right type; `raw` and `channels` check themselves."""


def _not_of_alloyk(model: Path, reason: str) -> ModelError:
    return ModelError(
        "a model must be made by alloyk (a run folder, .keras, .tflite, .onnx or SavedModel), "
        f"got {shown(model)}: {reason}; export or train it again"
    )
