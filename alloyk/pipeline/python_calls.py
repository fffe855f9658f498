"""Drain in-flight Python callbacks of tf.data before an iterator is destroyed."""

import threading
import time

import tensorflow as tf


class PythonCalls:
    """Count the Python functions that tf.data's threads are running, and wait for their end.

    The destructor of an iterator waits for its threads while it holds Python's global lock. A
    thread that needs that lock would then wait forever.
    """

    REST_S = 0.1

    def __init__(self):
        self._lock = threading.Lock()
        self._running = 0
        self._last_end = 0.0
        self._refused = False

    def counted(self, function):
        """Wrap a function for `tf.numpy_function`, so that its calls are counted."""

        @tf.autograph.experimental.do_not_convert
        def call(*arguments):
            with self._lock:
                self._running += 1
            try:
                if self._refused:
                    raise RuntimeError("the iterator of this batch is being closed")
                return function(*arguments)
            finally:
                with self._lock:
                    self._running -= 1
                    self._last_end = time.monotonic()

        return call

    def wait_for_rest(self) -> None:
        """Make new calls fail at once, until none has run for `REST_S` seconds."""
        self._refused = True
        try:
            while self._running or time.monotonic() - self._last_end < self.REST_S:
                time.sleep(self.REST_S / 10)
        finally:
            self._refused = False


PYTHON_CALLS = PythonCalls()
