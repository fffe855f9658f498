"""Input of the detector of unlike images, as an additional output of a network.

The pooled features, and a coarse image of the preprocessed image, which keeps what the network
ignores.
"""

from typing import Any

import keras
import numpy as np
from keras import ops

from alloyk.targets import LOGITS

HEAD_LAYERS = ("hidden", LOGITS)
"""Layers whose input is the pooled features; the first that a network has is used."""

COARSE_SIDE = 8
"""Rows and columns of the coarse image."""


def with_features(model: keras.Model, name: str) -> keras.Model | None:
    """Return a model with pooled features and coarse image as an additional output.

    Layers and weights are shared with `model`.

    Args:
        model: A chain of layers that ends in a model of `build_model`: a run's network, or its
            whole classifier from the raw image.
        name: Name of the additional output.

    Returns:
        A model from the same image to a dictionary: `logits`, other named outputs of
        `model`, and `name`, `(batch, d + COARSE_SIDE ** 2)`. None if `model` is not such a chain,
        as an ensemble is not.
    """
    *before, last = [one for one in model.layers if not isinstance(one, keras.layers.InputLayer)]
    if not isinstance(last, keras.Model):
        return None
    pooled = _pooled(last)
    if pooled is not None:
        features = ops.concatenate([pooled, coarse_image(last.inputs[0])], axis=-1)
        ending = keras.Model(last.inputs[0], {**_by_name(last.output), name: features})
    else:
        inner = with_features(last, name)
        if inner is None:
            return None
        ending = inner
    image = x = keras.Input(model.input_shape[1:], name="image")
    for layer in before:
        x = layer(x)
    return keras.Model(image, ending(x), name=f"{model.name}_with_{name}")


def coarse_image(images: Any) -> Any:
    """Mean of each of 8 × 8 equal parts of images `(batch, height, width, channels)`.

    Returns:
        `(batch, COARSE_SIDE ** 2)`, row by row; channels are averaged.
    """
    down, across = (_part_weights(side).astype(np.float32) for side in images.shape[1:3])
    gray = ops.cast(ops.mean(images, axis=-1), "float32")
    picture = ops.matmul(ops.matmul(down, gray), across.T)
    return ops.reshape(picture, (-1, COARSE_SIDE**2))


def _part_weights(side: int) -> np.ndarray:
    """Share of each of `side` pixels in the mean of each part, `(COARSE_SIDE, side)`.

    >>> _part_weights(12)[0].round(3).tolist()[:3]
    [0.667, 0.333, 0.0]
    """
    edges = np.linspace(0, side, COARSE_SIDE + 1)
    pixels = np.arange(side)
    overlap = np.minimum(edges[1:, None], pixels + 1) - np.maximum(edges[:-1, None], pixels)
    return np.asarray(np.maximum(overlap, 0) * COARSE_SIDE / side)


def _pooled(network: keras.Model) -> Any:
    """The pooled features inside `network` itself; or None if they are deeper or do not exist."""
    layers = {layer.name: layer for layer in network.layers}
    return next((layers[name].input for name in HEAD_LAYERS if name in layers), None)


def _by_name(output: Any) -> dict[str, Any]:
    if isinstance(output, dict):
        return output
    (logits,) = output if isinstance(output, list) else [output]
    return {LOGITS: logits}
