"""Measure one training step on the real graph: its duration, and the memory at its peak."""

import time
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from alloyk import pipeline
from alloyk.config import Config
from alloyk.pipeline.reading import untuned
from alloyk.runtime.memory import peak_memory_bytes
from alloyk.training.build import build_network, compile_network
from alloyk.training.faster_layers import faster_layers

STEPS = 3
"""Measured steps, after the first one, which traces the graph …"""

ENOUGH_SECONDS = 4.0
"""… or fewer, once they have taken this long."""

FORWARD_SHARE = 0.25
"""Share of a training step that the forward pass is taken to need; `scripts/estimate_check.py`
measures it for each network."""


class StepCost(NamedTuple):
    """What one training step takes.

    Attributes:
        seconds: Median duration of a step.
        peak_bytes: Largest memory that the process has taken so far, steps included.
    """

    seconds: float
    peak_bytes: int


def measure_step(network: keras.Model, element_spec: Any, batch_size: int) -> StepCost:
    """Run a few training steps of a compiled network on random images; its state is restored.

    `fit` runs the same graph afterwards, without tracing it again.

    Args:
        network: Compiled, its optimizer built.
        element_spec: That of the training batches.
        batch_size: Images per batch.
    """
    variables = [*network.variables, *network.optimizer.variables]
    before = [keras.ops.convert_to_numpy(variable).copy() for variable in variables]
    shape = (batch_size, *network.input_shape[1:])
    batch = tf.nest.map_structure(lambda spec: _filled(spec, shape), element_spec)
    batches = iter(
        tf.data.Dataset.from_generator(
            lambda: (batch for _ in range(STEPS + 1)), output_signature=element_spec
        ).with_options(untuned())
    )
    network.make_train_function()
    seconds = _median_seconds(lambda: network.train_function(batches))
    network.reset_metrics()
    for variable, array in zip(variables, before, strict=True):
        variable.assign(array)
    return StepCost(seconds, peak_memory_bytes())


def measure_configuration(config: Config, class_counts: list[int]) -> StepCost:
    """Measure a training step of a configuration without its data.

    Args:
        config: The experiment.
        class_counts: Training images of each class.
    """
    labels = np.repeat(np.arange(len(class_counts)), class_counts)
    network = build_network(config, [], len(class_counts))
    steps = pipeline.steps_per_epoch(len(labels), config.train.batch_size)
    compile_network(config, network, labels, len(class_counts), steps)
    mixed = bool(config.augment.mixup)
    spec = (
        tf.TensorSpec((None, *network.input_shape[1:]), tf.float32),
        tf.TensorSpec((None, 3), tf.float32) if mixed else tf.TensorSpec((None,), tf.int32),
    )
    with faster_layers(network):
        return measure_step(network, spec, config.train.batch_size)


def estimate_step(config: Config, num_classes: int) -> float:
    """Estimate the seconds of a training step from forward passes of the untrained network.

    Takes a fraction of the time of `measure_configuration`, most of which is tracing.

    Args:
        config: The experiment.
        num_classes: Number of classes.
    """
    network = build_network(config, [], num_classes)
    forward = tf.function(partial(network, training=True), autograph=False)
    shape = (config.train.batch_size, *network.input_shape[1:])
    images = tf.constant(np.random.default_rng(0).random(shape, np.float32))
    with faster_layers(network):
        return _median_seconds(lambda: forward(images)) / FORWARD_SHARE


def _median_seconds(step: Callable[[], Any]) -> float:
    """Median duration of a traced function without its first call, which traces it."""
    seconds: list[float] = []
    while len(seconds) <= STEPS and sum(seconds[1:]) <= ENOUGH_SECONDS:
        started = time.perf_counter()
        tf.nest.map_structure(np.asarray, step())
        seconds.append(time.perf_counter() - started)
    return float(np.median(seconds[1:]))


def _filled(spec: tf.TensorSpec, image_shape: tuple[int, ...]) -> np.ndarray:
    """Random images of a shape, or zeros for targets, whose later sides are known."""
    if spec.shape.rank == len(image_shape):
        return np.random.default_rng(0).random(image_shape, np.float32)
    return np.zeros((image_shape[0], *spec.shape[1:]), spec.dtype.as_numpy_dtype)
