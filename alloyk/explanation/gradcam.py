"""Grad-CAM: the regions of a feature map that support a class.

Reference: [Selvaraju et al., 2017](https://arxiv.org/abs/1610.02391).
"""

from collections.abc import Iterator
from contextlib import contextmanager

import keras
import numpy as np
import tensorflow as tf

from alloyk.errors import AlloykError
from alloyk.explanation.model_parts import log_odds
from alloyk.models import feature_layer
from alloyk.models.nested import nested_layers
from alloyk.preprocessing import resize_weights

# The last feature map of a ResNet at the 224² it was designed for; of a 64² image that map has 2×2
# cells, which cannot separate an edge from a corner.
FINE_ENOUGH = 7
LAST, AUTO = "last", "auto"


class GradCAM:
    """Regions where the features of one layer raise the log-odds of a class.

    Each filter is weighted with the mean of its gradient over the map; negative values are set
    to 0.

    Args:
        network: From gray images `(n, H, W, 1)` to logits.
        layer: `auto`, `last` or a layer's name, see `map_layer`.

    Attributes:
        settings: Layer and resolution of the maps.
    """

    name = "gradcam"
    signed = False
    batch = 16
    checked_images, draws = 16, 5

    def __init__(self, network: keras.Model, layer: str = AUTO):
        self._network = network
        self._layer = map_layer(network, layer)
        self.settings = {"layer": self._layer.name, "cells": list(cells(self._layer))}

    def __call__(self, images: np.ndarray, classes: np.ndarray) -> np.ndarray:
        """Compute maps `(n, h, w)` float32, not negative, in units of log-odds.

        Args:
            images: `(n, H, W)` as the network sees them.
            classes: `(n,)` int, the class to explain in each.
        """
        network, pixels = self._network, tf.constant(images[..., None], tf.float32)
        chosen = tf.one_hot(classes, network.output_shape[-1])
        with (
            tf.GradientTape(watch_accessed_variables=False) as tape,
            _watched(self._layer, tape) as outputs,
        ):
            score = tf.reduce_sum(log_odds(network(pixels, training=False)) * chosen)
        (features,) = outputs
        weights = tf.reduce_mean(tape.gradient(score, features), axis=(1, 2), keepdims=True)
        return tf.nn.relu(tf.reduce_sum(weights * features, axis=-1)).numpy()

    def reference(self, images: np.ndarray) -> None:
        """Return None: Grad-CAM has no reference, and its maps have no fixed sum."""


@contextmanager
def _watched(layer: keras.layers.Layer, tape: tf.GradientTape) -> Iterator[list]:
    """Collect and watch the output of a layer, however deep it is nested."""
    outputs: list = []
    call = layer.call

    def watching(*args, **kwargs):
        output = call(*args, **kwargs)
        tape.watch(output)
        outputs.append(output)
        return output

    # Bypasses Keras' attribute tracking.
    object.__setattr__(layer, "call", watching)
    try:
        yield outputs
    finally:
        object.__delattr__(layer, "call")


def map_layer(network: keras.Model, name: str = AUTO) -> keras.layers.Layer:
    """Return the layer whose features are explained.

    Args:
        network: From gray images to logits.
        name: `last` for the last feature map; `auto` for the last that has `FINE_ENOUGH` cells
            along each side, or the last of all where none has; or the name of a layer.

    Raises:
        AlloykError: The network has no feature map, or no layer of that name.
    """
    try:
        last = feature_layer(network)
    except AlloykError:
        raise AlloykError(
            "Grad-CAM needs a convolutional network, but this one has no feature map; use "
            "--method shap"
        ) from None
    layers = {layer.name: layer for layer in [*through_layers(_backbone(network)), last]}
    if name == LAST:
        return last
    if name == AUTO:
        fine = [one for one in layers.values() if min(cells(one)) >= FINE_ENOUGH]
        return fine[-1] if fine else last
    if name not in layers:
        sizes = ", ".join(
            f"{name} ({'×'.join(map(str, cells(layer)))})" for name, layer in layers.items()
        )
        raise AlloykError(f"--layer must be auto, last or one of {sizes}, got {name!r}")
    return layers[name]


def cells(layer: keras.layers.Layer) -> tuple[int, int]:
    """Return height and width of a layer's feature map."""
    return layer.output.shape[1], layer.output.shape[2]


def through_layers(backbone: keras.Model) -> list[keras.layers.Layer]:
    """Return the layers that the whole signal passes through, first to last.

    Layers inside a residual block are left out, because the shortcut bypasses them. So is
    padding, whose border belongs to no region of the image.
    """
    position = {id(layer.output): at for at, layer in enumerate(backbone.layers)}
    last_reader = [0] * len(backbone.layers)
    for reader, layer in enumerate(backbone.layers):
        for source in _sources(layer):
            last_reader[position[id(source)]] = reader
    found, furthest = [], 0
    for at, layer in enumerate(backbone.layers):
        bypassed = furthest > at
        furthest = max(furthest, last_reader[at])
        padding = isinstance(layer, keras.layers.InputLayer | keras.layers.ZeroPadding2D)
        if len(layer.output.shape) == 4 and not padding and not bypassed:
            found.append(layer)
    return found


def _sources(layer: keras.layers.Layer) -> list:
    if isinstance(layer, keras.layers.InputLayer):
        return []
    return layer.input if isinstance(layer.input, list) else [layer.input]


def _backbone(network: keras.Model) -> keras.Model:
    return next(layer for layer in nested_layers(network) if layer.name == "backbone")


def enlarged(maps: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resize maps `(n, h, w)` to `(n, *size)` by linear interpolation between cell centres."""
    height, width = (
        np.asarray(resize_weights(old, new)) for old, new in zip(maps.shape[1:], size, strict=True)
    )
    return height @ maps @ width.T
