"""One connection to another worker: sending never waits, and signs of life go both ways.

A slow or stopped worker must not delay what others are sent. So each connection has a thread that
sends what is queued. Each part that arrives is a sign of life, also one of a long message.
"""

import contextlib
import socket
import threading
import time
from collections import deque

from alloyk.runtime.frames import Frame, receive, send

BEAT_S = 2.0
"""Longest time without a sign of life of this worker."""


class Link:
    """A connection to one worker.

    Args:
        connection: Connected socket; closed by `close`.
        changed: Notified when a message was sent.

    Attributes:
        heard: Time (`time.monotonic`) at which something last arrived.
    """

    def __init__(self, connection: socket.socket, changed: threading.Condition) -> None:
        connection.settimeout(None)
        self.heard = time.monotonic()
        self._connection = connection
        self._queue: deque[Frame] = deque()
        self._changed = changed
        self._closing = False
        self._sender = threading.Thread(target=self._send_queued, daemon=True, name="link")
        self._sender.start()

    @property
    def is_sent(self) -> bool:
        """Whether the system has taken all that was queued."""
        return not self._queue

    def send(self, frame: Frame) -> None:
        """Queue a message."""
        with self._changed:
            self._queue.append(frame)
            self._changed.notify_all()

    def receive(self) -> Frame:
        """Wait for a message.

        Raises:
            EOFError: The connection has ended.
            OSError: It was lost.
            ValueError: What was received is no message.
        """
        return receive(self._connection, self._hear)

    def close(self, timeout_s: float) -> None:
        """Close the connection when what is queued is sent, or after a time."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._sender.join(timeout_s)
        with contextlib.suppress(OSError):
            self._connection.shutdown(socket.SHUT_RDWR)  # ends both threads, if they wait
        self._connection.close()

    def _hear(self) -> None:
        self.heard = time.monotonic()

    def _send_queued(self) -> None:
        with contextlib.suppress(OSError):  # which `receive` reports
            while True:
                with self._changed:
                    self._changed.wait_for(lambda: self._queue or self._closing, BEAT_S)
                    if self._closing and not self._queue:
                        return
                    queued = self._queue[0] if self._queue else None
                send(self._connection, queued or Frame({"kind": "beat"}))
                if queued is not None:
                    with self._changed:
                        self._queue.popleft()
                        self._changed.notify_all()
