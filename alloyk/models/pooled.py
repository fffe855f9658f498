"""The pooled features of a network as an additional output."""

from typing import Any

import keras

from alloyk.targets import LOGITS

HEAD_LAYERS = ("hidden", LOGITS)
"""Layers whose input is the pooled features; the first that a network has is used."""


def with_features(model: keras.Model, name: str) -> keras.Model | None:
    """Return a model with the pooled features as an additional output.

    Layers and weights are shared with `model`.

    Args:
        model: A chain of layers that ends in a model of `build_model`: a run's network, or its
            whole classifier from the raw image.
        name: Name of the additional output.

    Returns:
        A model from the same image to a dictionary: `logits`, other named outputs of
        `model`, and `name`, `(batch, d)`. None if `model` is not such a chain, as a vote is not.
    """
    *before, last = [one for one in model.layers if not isinstance(one, keras.layers.InputLayer)]
    if not isinstance(last, keras.Model):
        return None
    pooled = _pooled(last)
    if pooled is not None:
        ending = keras.Model(last.inputs[0], {**_by_name(last.output), name: pooled})
    else:
        inner = with_features(last, name)
        if inner is None:
            return None
        ending = inner
    image = x = keras.Input(model.input_shape[1:], name="image")
    for layer in before:
        x = layer(x)
    return keras.Model(image, ending(x), name=f"{model.name}_with_{name}")


def _pooled(network: keras.Model) -> Any:
    """The pooled features inside `network` itself; or None if they are deeper or do not exist."""
    layers = {layer.name: layer for layer in network.layers}
    return next((layers[name].input for name in HEAD_LAYERS if name in layers), None)


def _by_name(output: Any) -> dict[str, Any]:
    if isinstance(output, dict):
        return output
    (logits,) = output if isinstance(output, list) else [output]
    return {LOGITS: logits}
