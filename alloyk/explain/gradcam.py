"""Grad-CAM: which places of a feature map speak for a class.

Reference: [Selvaraju et al., 2017](https://arxiv.org/abs/1610.02391).
"""

from collections.abc import Iterator
from contextlib import contextmanager

import keras
import numpy as np
import tensorflow as tf

from alloyk.errors import AlloykError
from alloyk.explain.model_parts import log_odds
from alloyk.models import feature_layer
from alloyk.preprocessing import resize_weights

# The last feature map of a ResNet at the 224² it was designed for; of a 64² image that map has two
# by two cells, which tell no edge from a corner.
FINE_ENOUGH = 7
LAST, AUTO = "last", "auto"


class GradCAM:
    """Where the features of one layer raise the log-odds of a class.

    Each filter is weighted with the mean of its gradient over the map; what speaks against the
    class is set to 0.

    Args:
        network: From gray images `(n, H, W, 1)` to logits.
        layer: `auto`, `last` or a layer's name, see `map_layer`.

    Attributes:
        settings: What a reader wants to know about the maps.
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
        """Maps `(n, h, w)` float32, not negative, in units of log-odds.

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
        """Grad-CAM compares with nothing: its maps do not sum to anything."""


@contextmanager
def _watched(layer: keras.layers.Layer, tape: tf.GradientTape) -> Iterator[list]:
    """Collect what a layer gives, however deep it lies in nested models, and watch it."""
    outputs: list = []
    call = layer.call

    def watching(*args, **kwargs):
        output = call(*args, **kwargs)
        tape.watch(output)
        outputs.append(output)
        return output

    # Past Keras' own attribute tracking, which has nothing to do with this.
    object.__setattr__(layer, "call", watching)
    try:
        yield outputs
    finally:
        object.__delattr__(layer, "call")


def map_layer(network: keras.Model, name: str = AUTO) -> keras.layers.Layer:
    """The layer whose features are looked at.

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
            "Grad-CAM wants a convolutional network, and this one has no feature map: take "
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
        raise AlloykError(f"no layer {name!r} to explain: choose auto, last or one of {sizes}")
    return layers[name]


def cells(layer: keras.layers.Layer) -> tuple[int, int]:
    """Height and width of a layer's feature map."""
    return layer.output.shape[1], layer.output.shape[2]


def through_layers(backbone: keras.Model) -> list[keras.layers.Layer]:
    """Feature maps that the whole signal passes, first to last.

    A layer inside a residual block is none of them: the shortcut passes it by. Nor is padding,
    whose border belongs to no place of the image.
    """
    position = {id(layer.output): at for at, layer in enumerate(backbone.layers)}
    last_reader = [0] * len(backbone.layers)
    for reader, layer in enumerate(backbone.layers):
        for source in _sources(layer):
            last_reader[position[id(source)]] = reader
    found, furthest = [], 0
    for at, layer in enumerate(backbone.layers):
        passed_by = furthest > at
        furthest = max(furthest, last_reader[at])
        padding = isinstance(layer, keras.layers.InputLayer | keras.layers.ZeroPadding2D)
        if len(layer.output.shape) == 4 and not padding and not passed_by:
            found.append(layer)
    return found


def _sources(layer: keras.layers.Layer) -> list:
    if isinstance(layer, keras.layers.InputLayer):
        return []
    return layer.input if isinstance(layer.input, list) else [layer.input]


def _backbone(network: keras.Model) -> keras.Model:
    return next(layer for layer in network._flatten_layers() if layer.name == "backbone")


def enlarged(maps: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Maps `(n, h, w)` brought to `(n, *size)` by linear interpolation between cell centres."""
    height, width = (
        np.asarray(resize_weights(old, new)) for old, new in zip(maps.shape[1:], size, strict=True)
    )
    return height @ maps @ width.T
