"""The members of a soft vote as one Keras model."""

from collections.abc import Sequence
from pathlib import Path

import keras
import numpy as np

from alloyk.backends import KerasBackend
from alloyk.metadata import ModelMetadata, read_metadata, write_metadata

# Below float32's smallest normal number a logarithm may be that of 0.
FLOOR = 1e-37


def save_soft_vote(models: Sequence[Path], weights: np.ndarray, path: Path) -> None:
    """Write a model that takes a raw image to the log of the members' weighted mean probability.

    These are logits: their softmax is the mean itself. Each member keeps its own preprocessing. A
    member of weight 0 is left out.

    Args:
        models: ``model.keras`` of each member, with the same classes.
        weights: `(members,)`, sum 1.
        path: The file to write.
    """
    described = [read_metadata(model) for model in models]
    classes = described[0].classes
    raw = keras.Input((None, None, None), name="raw_image")
    parts = []
    for number, (model, weight) in enumerate(zip(models, weights, strict=True), start=1):
        if not weight:
            continue
        metadata = described[number - 1]
        member = KerasBackend(model).model
        outputs = keras.Model(member.inputs[0], member.outputs[0], name=f"member_{number}")(raw)
        if metadata.output == "logits":
            outputs = keras.layers.Softmax(name=f"probabilities_{number}")(outputs)
        if metadata.classes != classes:
            order = [metadata.classes.index(label) for label in classes]
            outputs = keras.ops.take(outputs, order, axis=-1)
        parts.append(keras.layers.Rescaling(float(weight), name=f"weight_{number}")(outputs))
    mean = keras.layers.Add(name="vote")(parts) if len(parts) > 1 else parts[0]
    voted = keras.Model(raw, keras.ops.log(keras.ops.maximum(mean, FLOOR)), name="classifier")
    unfinished = path.with_suffix(".part.keras")
    voted.save(unfinished)
    simulated = any(one.simulated for one in described)
    write_metadata(unfinished, ModelMetadata(classes=classes, output="logits", simulated=simulated))
    unfinished.replace(path)
