"""Metadata in a model file: its classes and its outputs."""

import json
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path

from alloyk import __version__
from alloyk.errors import DataError, ModelError
from alloyk.imaging import ChannelChoice, FileSettings, PageChoice, RawLayout, shown
from alloyk.inference.members import UNREADABLE, read_member, replace_member, write_member

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
    # Missing, cut short, damaged, not an object, an entry missing: the remedy is the same.
    except (*UNREADABLE, DataError, TypeError, AttributeError) as error:
        reason = "it does not exist" if not model.exists() else "its class names are missing"
        raise ModelError(
            "a model must be made by alloyk (a run folder, .keras, .tflite, .onnx or SavedModel), "
            f"got {shown(model)}: {reason}; export or train it again"
        ) from error
