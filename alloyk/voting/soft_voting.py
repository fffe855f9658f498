"""The members of a soft vote as one Keras model."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from alloyk.errors import ModelError
from alloyk.imaging import several
from alloyk.inference.backends import KerasBackend
from alloyk.inference.metadata import ModelMetadata, read_metadata, write_metadata
from alloyk.targets import LOGITS, shared_columns

# How the images of all members are read.
_READING = ("channels", "page", "raw", "hdf5_path")

# Just above float32's smallest normal number: smaller values may be flushed to 0.
FLOOR = 1e-37


def save_soft_vote(models: Sequence[Path], weights: np.ndarray, path: Path) -> None:
    """Write a model from a raw image to the log of the members' weighted mean probability.

    These are logits: their softmax is the mean. Each member keeps its own preprocessing. The
    network of a member of weight 0 is left out. Quantities that every member estimates, these too,
    are averaged with the same weights.

    Args:
        models: `model.keras` of each member, with the same classes; the order is that of the first.
        weights: `(members,)`, sum 1.
        path: The file to write.

    Raises:
        ModelError: Two members use flat frames of detectors of different sizes, or differ in how
            their images are read.
    """
    described = [read_metadata(model) for model in models]
    reading = {key: _common_setting(described, key) for key in _READING}
    classes, channels = described[0].classes, described[0].channels
    backends = {
        number: KerasBackend(model)
        for number, (model, weight) in enumerate(zip(models, weights, strict=True), start=1)
        if weight
    }
    size = _common_size(backends.values())
    raw = keras.Input(
        (*size, channels.count if channels and several(channels) else None), name="raw_image"
    )
    together = shared_columns([list(one.spreads) for one in described])
    parts = []
    estimates: dict[str, list[Any]] = {column: [] for column in together}
    for number, backend in backends.items():
        metadata, weight, member = described[number - 1], weights[number - 1], backend.model
        image = member.inputs[0]
        # As a functional model: a loaded Sequential loses the names of its outputs.
        outputs = keras.Model(image, member(image), name=f"member_{number}")(raw)
        if isinstance(outputs, dict):
            for column, values in estimates.items():
                values.append(float(weight) * outputs[column])
            outputs = outputs[LOGITS]
        if metadata.output == "logits":
            outputs = keras.layers.Softmax(name=f"probabilities_{number}", dtype="float32")(outputs)
        if metadata.classes != classes:
            order = [metadata.classes.index(label) for label in classes]
            outputs = keras.ops.take(outputs, order, axis=-1)
        weighted = keras.layers.Rescaling(float(weight), name=f"weight_{number}", dtype="float32")
        parts.append(weighted(outputs))
    mean = keras.layers.Add(name="vote", dtype="float32")(parts) if len(parts) > 1 else parts[0]
    outputs = keras.ops.log(keras.ops.maximum(mean, FLOOR))
    if together:
        outputs = {LOGITS: outputs} | {column: sum(values) for column, values in estimates.items()}
    voted = keras.Model(raw, outputs, name="classifier")
    unfinished = path.with_suffix(".part.keras")
    voted.save(unfinished)
    simulated = any(one.simulated for one in described)
    spreads = {column: described[0].spreads[column] for column in together}
    write_metadata(unfinished, ModelMetadata(classes, LOGITS, simulated, spreads, **reading))
    unfinished.replace(path)


def _common_setting(described: Sequence[ModelMetadata], key: str) -> Any:
    """The value of a setting of `data`, which must be that of all members."""
    found = [getattr(one, key) for one in described]
    if any(one != found[0] for one in found):
        values = " and ".join(dict.fromkeys(str("none" if v is None else v) for v in found))
        raise ModelError(
            f"members of an ensemble must have the same data.{key}, got {values}; combine "
            f"runs with the same data.{key}"
        )
    return found[0]


def _common_size(backends: Iterable[KerasBackend]) -> tuple[int | None, int | None]:
    """Size of the raw images that all members take: that of a flat-field correction, if any."""
    frames = {backend.input_shape[:2] for backend in backends} - {(None, None)}
    if len(frames) > 1:
        sizes = " and ".join(sorted(f"{height}x{width}" for height, width in frames))
        raise ModelError(
            "members of an ensemble must take the same raw images, but their flat-field "
            f"corrections take frames of {sizes}; vote with runs of one detector"
        )
    height, width = frames.pop() if frames else (None, None)
    return height, width
