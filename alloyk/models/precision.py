"""The precision in which a network computes."""

import json
from collections.abc import Iterator
from contextlib import contextmanager

import keras

from alloyk.models.nested import nested_layers


@contextmanager
def precision(policy: str | keras.DTypePolicy) -> Iterator[None]:
    """Build layers in this precision; afterwards Keras has its earlier one again."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def in_float32(model: keras.Model) -> keras.Model:
    """Return a Keras model that computes in float32: itself, or a copy of one in mixed precision.

    Half precision is for training on a GPU: a processor computes it slowly, and TensorFlow Lite
    has no operators for it. The weights are float32 either way. The copy is not compiled.
    """
    layers = list(nested_layers(model))
    mixed = {layer.dtype_policy.name for layer in layers if layer.compute_dtype != "float32"}
    if not mixed:
        return model
    described = keras.saving.serialize_keras_object(model)
    described.pop("compile_config", None)
    text = json.dumps(described)
    for name in mixed:
        text = text.replace(json.dumps(name), '"float32"')
    with precision("float32"):  # containers and inputs take the global policy
        copy = keras.saving.deserialize_keras_object(json.loads(text))
    copy.set_weights(model.get_weights())
    return copy
