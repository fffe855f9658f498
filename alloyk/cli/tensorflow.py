"""Loading TensorFlow without its greetings."""

import os
import sys
import tempfile


def load_tensorflow() -> None:
    """Import TensorFlow with its start-up messages held back; they show when the import fails.

    Its C++ side writes to the file descriptor before any log level is read, so that nothing less
    than redirecting it keeps `alloyk` from speaking of missing GPUs and oneDNN.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    sys.stderr.flush()
    terminal = os.dup(2)
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            import tensorflow as tf

            tf.config.list_physical_devices()  # the driver speaks at first use
        except BaseException:
            held.seek(0)
            os.write(terminal, held.read())
            raise
        finally:
            os.dup2(terminal, 2)
            os.close(terminal)
