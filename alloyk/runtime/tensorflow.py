"""Loading TensorFlow without its greetings and remarks."""

import os

from alloyk.runtime.native_output import held_output


def load_tensorflow() -> None:
    """Import TensorFlow with its remarks on processors and absent GPUs held back."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with held_output():
        import tensorflow as tf

        tf.config.list_physical_devices()  # the driver speaks at first use
    tf.get_logger().setLevel("ERROR")  # it warns of functions traced anew, as every fold does
