"""Importing TensorFlow and Keras with startup logging suppressed and the faster kernels chosen.

Keras takes settings from the user's environment and from `keras.json`. alloyk's networks need
their own: another backend cannot run them, another number type or image layout changes them, and a
limit on steps would leave images out.
"""

import gc
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from alloyk.errors import ConfigError
from alloyk.runtime.kernels import choose_kernels
from alloyk.runtime.native_output import held_output

BACKEND = "KERAS_BACKEND"
# Limits on training, and another way to hold variables.
REMOVED = ("KERAS_MAX_EPOCHS", "KERAS_MAX_STEPS_PER_EPOCH", "KERAS_NNX_ENABLED")


def load_tensorflow() -> None:
    """Import TensorFlow, and Keras with the settings that alloyk needs.

    Raises:
        ConfigError: Keras runs on another backend, or its own settings file is invalid.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    choose_kernels()
    if "keras" not in sys.modules:
        # Keras imports matplotlib, which fails if `MPLBACKEND` names one that is not installed.
        import alloyk.runtime.drawing  # noqa: F401
    with _keras_environment(), held_output(), _without_collection():
        problem = _keras_problem()  # before TensorFlow, which imports it too
        if problem is None:
            import tensorflow as tf

            tf.config.list_physical_devices()  # GPU drivers log when they are first used
    if problem is not None:
        raise ConfigError(problem)
    # Newer GPUs would otherwise round the factors of float32 products to 10 bits.
    tf.config.experimental.enable_tensor_float_32_execution(False)
    tf.get_logger().setLevel("ERROR")  # it warns when functions are traced again, as each fold does
    _set_up_keras()


def _keras_problem() -> str | None:
    """Import Keras; return why it cannot be used here."""
    try:
        import keras
    except ImportError:
        raise
    except Exception as error:  # of any kind, on a wrong keras.json
        found = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        return (
            f"keras.json in {_keras_folder()} must be valid settings of Keras, got {found}; "
            "correct or remove the file"
        )
    backend = keras.config.backend()
    if backend == "tensorflow":
        return None
    return (
        f"Keras must run on TensorFlow, got the backend {backend}; set {BACKEND}=tensorflow before "
        "Keras is imported"
    )


def _set_up_keras() -> None:
    import keras

    keras.config.set_floatx("float32")
    keras.config.set_image_data_format("channels_last")
    keras.config.set_epsilon(1e-7)
    for limit in ("set_max_epochs", "set_max_steps_per_epoch"):
        getattr(keras.config, limit, lambda _: None)(None)  # newer than the oldest Keras supported


@contextmanager
def _keras_environment() -> Iterator[None]:
    """The environment in which Keras is imported; the user's is back after the block."""
    before = {name: os.environ.pop(name, None) for name in (BACKEND, *REMOVED)}
    os.environ[BACKEND] = "tensorflow"
    try:
        yield
    finally:
        del os.environ[BACKEND]
        os.environ.update({name: value for name, value in before.items() if value is not None})


@contextmanager
def _without_collection() -> Iterator[None]:
    """Without Python's search for garbage, which takes a tenth of the time of such an import."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _keras_folder() -> str:
    return os.environ.get("KERAS_HOME") or os.path.join(os.path.expanduser("~"), ".keras")
