"""Set up Keras and TensorFlow for a configuration, before a network is built."""

from collections.abc import Iterator
from contextlib import contextmanager

import keras
import tensorflow as tf
from tensorflow.python.framework import config as tensorflow_config

from alloyk.config import Config
from alloyk.models.precision import precision
from alloyk.training.strategy import local_distribution


@contextmanager
def setup_undone() -> Iterator[None]:
    """Undo, after the block, what `set_up_keras` changes globally, except for the seeds."""
    deterministic = tensorflow_config.is_op_determinism_enabled()
    with precision(keras.config.dtype_policy()):
        try:
            yield
        finally:
            if not deterministic:
                tensorflow_config.disable_op_determinism()  # has no public name


def set_up_keras(config: Config, *, over_workers: bool = False) -> None:
    """Set seeds, deterministic kernels, precision and devices, before a network is built.

    With `over_workers` TensorFlow stays as it is after the import, because the devices of other
    machines cannot be added later; and the precision is float32, because Keras lets each worker
    decide alone whether a gradient in float16 is finite.
    """
    keras.utils.set_random_seed(config.seed)
    if config.train.deterministic:
        tf.config.experimental.enable_op_determinism()
    mixed = config.train.mixed_precision
    if mixed == "auto":
        mixed = bool(tf.config.list_physical_devices("GPU"))
    keras.config.set_dtype_policy("mixed_float16" if mixed and not over_workers else "float32")
    if not over_workers:
        local_distribution(config.train)  # raises early if a device is missing
