"""Waiting until tf.data's threads have left Python, before an iterator is thrown away."""

import threading
import time

import tensorflow as tf


class PythonCalls:
    """What tf.data's threads have running in Python, so that one can wait for its end.

    An iterator that is thrown away amid its work waits for its threads and holds Python's lock
    meanwhile; a thread that waits for that lock then waits for ever.
    """

    REST_S = 0.1

    def __init__(self):
        self._lock = threading.Lock()
        self._running = 0
        self._last_end = 0.0
        self._refused = False

    def counted(self, function):
        """The function, as `tf.numpy_function` should call it."""

        @tf.autograph.experimental.do_not_convert
        def call(*arguments):
            with self._lock:
                self._running += 1
            try:
                if self._refused:
                    raise RuntimeError("nobody waits for this batch any more")
                return function(*arguments)
            finally:
                with self._lock:
                    self._running -= 1
                    self._last_end = time.monotonic()

        return call

    def wait_for_rest(self) -> None:
        """Let further calls fail at once, until none has run for a while."""
        self._refused = True
        try:
            while self._running or time.monotonic() - self._last_end < self.REST_S:
                time.sleep(self.REST_S / 10)
        finally:
            self._refused = False


PYTHON_CALLS = PythonCalls()
