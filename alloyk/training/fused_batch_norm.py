"""Batch norm in training as one operator of TensorFlow; Keras makes a dozen of it."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import keras


@contextmanager
def fused_batch_norm(network: keras.Model) -> Iterator[None]:
    """Compute batch norm in less time while a network is trained (`scripts/bench_fused.py`).

    The layers stay those of Keras, and so do saved files: only their training step is replaced,
    by the same computation. Keras' own step is used on another backend, on several devices, for
    other types than float32, and where a layer normalises what TensorFlow's operator cannot.
    """
    layers = [layer for layer in network._flatten_layers() if _is_for(layer)]
    for layer in layers:
        layer.call = partial(_call, layer)
    try:
        yield
    finally:
        for layer in layers:
            del layer.call


def _is_for(layer: keras.Layer) -> bool:
    return (
        keras.backend.backend() == "tensorflow"
        and isinstance(layer, keras.layers.BatchNormalization)
        and layer.axis in (-1, 3)
        and layer.scale
        and layer.center
        and not layer.renorm
        and layer.compute_dtype == "float32"
    )


def _call(
    layer: keras.layers.BatchNormalization,
    inputs: Any,
    training: bool | None = None,
    mask: Any = None,
) -> Any:
    """The layer's `call`: normalise `(batch, height, width, channels)`, update the averages."""
    here = training and layer.trainable and mask is None and not layer.synchronized
    if not here or len(inputs.shape) != 4:
        return type(layer).call(layer, inputs, training=training, mask=mask)
    import tensorflow as tf

    outputs, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
        x=inputs,
        scale=tf.convert_to_tensor(layer.gamma),
        offset=tf.convert_to_tensor(layer.beta),
        mean=tf.zeros([0]),
        variance=tf.zeros([0]),
        epsilon=layer.epsilon,
        is_training=True,
    )
    # The operator divides by n − 1, Keras by n.
    values = tf.cast(tf.reduce_prod(tf.shape(inputs)[:-1]), tf.float32)
    variance *= (values - 1) / values
    for average, now in ((layer.moving_mean, mean), (layer.moving_variance, variance)):
        average.assign(average * layer.momentum + now * (1 - layer.momentum))
    return outputs
