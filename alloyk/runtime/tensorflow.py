"""Importing TensorFlow with its startup logging suppressed and the faster CPU kernels chosen."""

import os

from alloyk.runtime.kernels import choose_kernels
from alloyk.runtime.native_output import held_output


def load_tensorflow(arch: str | None = None, image_size: tuple[int, int] | None = None) -> None:
    """Import TensorFlow.

    Args:
        arch: Name of the architecture that will run, if it is known: the choice of CPU kernels
            depends on it, and cannot be changed once TensorFlow is imported.
        image_size: `(height, width)` that the network sees, in pixels, if it is known.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    choose_kernels(arch, image_size)
    with held_output():
        import tensorflow as tf

        tf.config.list_physical_devices()  # GPU drivers log when they are first used
    tf.get_logger().setLevel("ERROR")  # it warns when functions are traced again, as each fold does
