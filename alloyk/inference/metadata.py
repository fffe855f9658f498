"""What a model file says about itself: its classes and what its outputs are.

A ``.keras`` file is a zip archive and takes one more member. A ``.tflite`` file gets a zip archive
behind its last byte, as TensorFlow Lite's own metadata does with label files; interpreters stop
reading before it. A SavedModel is a folder and gets one more file.
"""

import json
import zipfile
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path

from alloyk import __version__
from alloyk.errors import AlloykError
from alloyk.imaging import shown

MEMBER = "alloyk.json"
# What an exported model calls its one function and its class output.
SIGNATURE = "serving_default"
PROBABILITIES = "probabilities"


@dataclass(frozen=True)
class ModelMetadata:
    """Facts that travel inside a model file.

    Attributes:
        classes: Class labels in the order of the outputs.
        output: ``logits`` or ``probabilities``: what the class output gives, and its name where
            there are others beside it.
        simulated: Whether the training images were simulated.
        spreads: Column that the model estimates beside the class → standard deviation of that
            column over the training images. The output of this name is in the column's unit.
        alloyk: Version that wrote the file.
    """

    classes: tuple[str, ...]
    output: str
    simulated: bool
    spreads: dict[str, float] = field(default_factory=dict)
    alloyk: str = __version__


def write_metadata(model: Path, metadata: ModelMetadata) -> None:
    """Add `metadata` to a `.keras` or `.tflite` file or a SavedModel folder that has none yet."""
    text = json.dumps(asdict(metadata), indent=1, ensure_ascii=False)
    if Path(model).is_dir():
        (Path(model) / MEMBER).write_text(text, encoding="utf-8")
        return
    with zipfile.ZipFile(model, "a") as archive:
        # A fixed date: the same model gives the same bytes.
        archive.writestr(zipfile.ZipInfo(MEMBER), text)


def read_metadata(model: Path) -> ModelMetadata:
    """What `write_metadata` wrote.

    Raises:
        AlloykError: The file is no model, or was not made by alloyk.
    """
    model = Path(model)
    try:
        if model.is_dir():
            text = (model / MEMBER).read_text(encoding="utf-8")
        else:
            with zipfile.ZipFile(model) as archive:
                text = archive.read(MEMBER).decode()
        found = json.loads(text)
        known = {field.name for field in fields(ModelMetadata)}
        found = {key: value for key, value in found.items() if key in known}
        return ModelMetadata(**{**found, "classes": tuple(found["classes"])})
    # Missing, cut short, damaged, no object, an entry missing: it all means the same to the user.
    except (OSError, KeyError, ValueError, TypeError, AttributeError, zipfile.error) as error:
        reason = "it does not exist" if not model.exists() else "its class names are missing"
        raise AlloykError(
            f"wanted a model made by alloyk (a run folder, .keras, .tflite or SavedModel), "
            f"found {shown(model)}: {reason}; export or train it again"
        ) from error
