"""Set up Keras and TensorFlow for a configuration, before a network is built."""

from collections.abc import Iterator
from contextlib import contextmanager

import keras
import tensorflow as tf

from alloyk.config import Config
from alloyk.training.strategy import local_distribution


@contextmanager
def precision_kept() -> Iterator[None]:
    """Give Keras back its precision after the block, in which `set_up_keras` may change it."""
    before = keras.config.dtype_policy()
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def set_up_keras(config: Config, *, over_workers: bool = False) -> None:
    """Set seeds, deterministic kernels, precision and devices, before a network is built.

    With `over_workers` TensorFlow stays as it is after the import, because the devices of other
    machines cannot be added later; and the precision is float32, because Keras lets each worker
    decide alone whether a gradient in float16 is finite.
    """
    keras.utils.set_random_seed(config.seed)
    if config.train.deterministic:
        tf.config.experimental.enable_op_determinism()
    precision = config.train.mixed_precision
    mixed = bool(tf.config.list_physical_devices("GPU")) if precision == "auto" else precision
    keras.config.set_dtype_policy("mixed_float16" if mixed and not over_workers else "float32")
    if not over_workers:
        local_distribution(config.train)  # raises early if a device is missing
