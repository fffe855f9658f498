"""Connections between the workers of one training run, which report a lost worker.

The connections that `alloyk.runtime.meeting` makes stay open until the run is finished: they report
a worker that ended or no longer answers, which would leave all others waiting.
"""

import contextlib
import logging
import os
import socket
import struct
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

from alloyk.errors import LostError
from alloyk.runtime.cluster import Cluster
from alloyk.runtime.frames import Frame, receive, send

BEAT_S = 2.0
SILENCE_S = 30.0
"""A worker from which nothing was heard for this long is lost."""
GRACE_S = 10.0
"""Time for the main thread to end by itself, once a worker is lost."""

logger = logging.getLogger(__name__)


class Peers:
    """Open connections: of the chief to every worker, of a worker to the chief.

    Args:
        cluster: All workers.
        connections: Number of a worker → connected socket.
    """

    def __init__(self, cluster: Cluster, connections: Mapping[int, socket.socket]) -> None:
        self.cluster = cluster
        self.failure: str | None = None
        self._connections = dict(connections)
        self._received: dict[int, deque[Frame]] = {index: deque() for index in connections}
        self._heard = {index: time.monotonic() for index in connections}
        self._locks = {index: threading.Lock() for index in connections}
        self._changed = threading.Condition()
        self._closed = threading.Event()
        for index, connection in self._connections.items():
            connection.settimeout(None)
            self._thread(self._listen, index)
        self._thread(self._beat)

    @property
    def is_chief(self) -> bool:
        """Whether this process writes the run."""
        return self.cluster.is_chief

    @property
    def count(self) -> int:
        """Number of workers."""
        return len(self.cluster.addresses)

    @property
    def is_one_silent(self) -> bool:
        """Whether a worker has been silent for longer than usual, and may be lost soon."""
        now = time.monotonic()
        return any(now - heard > 3 * BEAT_S for heard in self._heard.values())

    def wait_for_loss(self, seconds: float) -> str | None:
        """Which worker was lost, if TensorFlow has noticed it before this connection did.

        Args:
            seconds: Longest wait, unless one is silent already.
        """
        ends = time.monotonic() + seconds
        while self.failure is None and (time.monotonic() < ends or self.is_one_silent):
            time.sleep(0.05)
        return self.failure

    def gather(self, name: str, value: Any) -> list[Any]:
        """Return the value of every worker, in order; all workers wait for each other here.

        Args:
            name: What is exchanged; the same on all workers.
            value: A JSON value.

        Raises:
            LostError: A worker ended, failed or no longer answers.
        """
        if not self.is_chief:
            self._send(0, Frame({"kind": name, "value": value}))
            return list(self._next(0, name).header["values"])
        found = {index: self._next(index, name).header["value"] for index in self._connections}
        values = [value, *(found[index] for index in range(1, self.count))]
        self._send_all(Frame({"kind": name, "values": values}))
        return values

    def share_files(self, files: Mapping[str, bytes] | None) -> dict[str, bytes]:
        """Return the chief's files on every worker.

        Args:
            files: Name → content on the chief; not used on the others.
        """
        if not self.is_chief:
            frame = self._next(0, "files")
            whole, at, found = frame.body, 0, {}
            for name, length in frame.header["lengths"].items():
                found[name] = whole[at : at + length]
                at += length
            return found
        files = dict(files or {})
        lengths = {name: len(content) for name, content in files.items()}
        self._send_all(Frame({"kind": "files", "lengths": lengths}, b"".join(files.values())))
        return files

    def fail(self, text: str) -> None:
        """Tell all workers that this one has failed."""
        if self.failure is None:
            self._send_all(Frame({"kind": "failed", "text": text}))

    def close(self) -> None:
        """Close the connections; nothing is reported as lost from here on."""
        self._closed.set()
        for index, connection in self._connections.items():
            with contextlib.suppress(OSError), self._locks[index]:
                connection.shutdown(socket.SHUT_RDWR)
            connection.close()

    def _thread(self, function: Callable[..., None], *arguments: Any) -> None:
        threading.Thread(target=function, args=arguments, daemon=True, name="peers").start()

    def _send(self, index: int, frame: Frame) -> None:
        with contextlib.suppress(OSError), self._locks[index]:  # `_listen` reports the loss
            send(self._connections[index], frame)

    def _send_all(self, frame: Frame) -> None:
        for index in self._connections:
            self._send(index, frame)

    def _next(self, index: int, kind: str) -> Frame:
        """The next message of a worker."""
        with self._changed:
            self._changed.wait_for(lambda: self._received[index] or self.failure)
            if not self._received[index]:
                raise LostError(str(self.failure))
            frame = self._received[index].popleft()
        if frame.header.get("kind") != kind:
            raise LostError(f"{self.cluster.name_of(index)} is at another place of the training")
        return frame

    def _listen(self, index: int) -> None:
        """Receive from one worker until its connection ends."""
        name = self.cluster.name_of(index)
        reason = "ended"
        while True:
            try:
                frame = receive(self._connections[index])
            except (OSError, EOFError, ValueError, struct.error):
                break
            self._heard[index] = time.monotonic()
            kind = frame.header.get("kind")
            if kind == "failed":
                text = str(frame.header.get("text"))
                reason = text if index == 0 and text.startswith("worker ") else f"failed: {text}"
                break
            if kind != "beat":
                with self._changed:
                    self._received[index].append(frame)
                    self._changed.notify_all()
        self._lose(reason if reason.startswith("worker ") else f"{name} {reason}")

    def _beat(self) -> None:
        """Send a sign of life, and watch for those of the others."""
        while not self._closed.wait(BEAT_S):
            self._send_all(Frame({"kind": "beat"}))
            now = time.monotonic()
            for index, heard in self._heard.items():
                if now - heard > SILENCE_S:
                    name = self.cluster.name_of(index)
                    self._lose(f"{name} has not answered for {SILENCE_S:.0f} s")

    def _lose(self, text: str) -> None:
        with self._changed:
            if self._closed.is_set() or self.failure is not None:
                return
            self.failure = text
            self._changed.notify_all()
        if self.is_chief:
            self._send_all(Frame({"kind": "failed", "text": text}))
        self._thread(self._end_if_stuck)

    def _end_if_stuck(self) -> None:
        """End the process if its main thread waits for the lost worker inside TensorFlow."""
        if not self._closed.wait(GRACE_S):
            logger.error("Error: %s", self.failure)
            end_process(1)


def end_process(code: int) -> None:
    """End at once, without the threads of TensorFlow."""
    logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)
