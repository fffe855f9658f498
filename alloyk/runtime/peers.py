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
from alloyk.runtime.frames import Frame
from alloyk.runtime.links import BEAT_S, Link

UNUSUAL_S = 3 * BEAT_S
"""A worker that is silent for this long may be lost soon."""
CHECK_S = 2.0
SILENCE_S = 30.0
"""A worker from which nothing was heard for this long is lost."""
GRACE_S = 10.0
"""Time for the main thread to end by itself, once a worker is lost."""
CLOSE_S = 5.0
"""Longest time to send what is queued when the connections are closed."""
PART_BYTES = 2**20
"""Files are sent in parts of this size, each confirmed: a failure is told before the next part."""

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
        self._received: dict[int, deque[Frame]] = {index: deque() for index in connections}
        self._changed = threading.Condition()
        self._links = {
            index: Link(connection, self._changed) for index, connection in connections.items()
        }
        self._closed = threading.Event()
        for index in self._links:
            self._thread(self._listen, index)
        self._thread(self._watch)

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
        return any(now - link.heard > UNUSUAL_S for link in self._links.values())

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
            self._send(Frame({"kind": name, "value": value}))
            return list(self._next(0, name).header["values"])
        found = {index: self._next(index, name).header["value"] for index in self._links}
        values = [value, *(found[index] for index in range(1, self.count))]
        self._send(Frame({"kind": name, "values": values}))
        return values

    def share_files(self, files: Mapping[str, bytes] | None) -> dict[str, bytes]:
        """Return the chief's files on every worker.

        Args:
            files: Name → content on the chief; not used on the others.
        """
        if not self.is_chief:
            lengths = self._next(0, "files").header["lengths"]
            return {name: self._next_file(length) for name, length in lengths.items()}
        files = dict(files or {})
        lengths = {name: len(content) for name, content in files.items()}
        self._send(Frame({"kind": "files", "lengths": lengths}))
        for content in files.values():
            for start in range(0, len(content), PART_BYTES):
                self._send(Frame({"kind": "part"}, content[start : start + PART_BYTES]))
                for index in self._links:
                    self._next(index, "received")
        return files

    def fail(self, text: str) -> None:
        """Tell all workers that this one has failed."""
        if self.failure is None:
            self._queue(Frame({"kind": "failed", "text": text}))

    def close(self) -> None:
        """Close the connections; nothing is reported as lost from here on."""
        self._closed.set()
        deadline = time.monotonic() + CLOSE_S
        for link in self._links.values():
            link.close(max(deadline - time.monotonic(), 0))

    def _thread(self, function: Callable[..., None], *arguments: Any) -> None:
        threading.Thread(target=function, args=arguments, daemon=True, name="peers").start()

    def _send(self, frame: Frame) -> None:
        """Send a message to all connected workers, and wait until the system has taken it.

        What is only queued would not be sent while the main thread waits inside TensorFlow, which
        may hold Python's lock.
        """
        self._queue(frame)
        with self._changed:
            self._changed.wait_for(
                lambda: self.failure or all(link.is_sent for link in self._links.values())
            )

    def _queue(self, frame: Frame) -> None:
        for link in self._links.values():
            link.send(frame)

    def _next_file(self, length: int) -> bytes:
        """The next file of the chief."""
        content = bytearray()
        while len(content) < length:
            content += self._next(0, "part").body
            self._send(Frame({"kind": "received"}))
        return bytes(content)

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
                frame = self._links[index].receive()
            except (OSError, EOFError, ValueError, struct.error):
                break
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

    def _watch(self) -> None:
        """Report a worker from which nothing arrives."""
        while not self._closed.wait(CHECK_S):
            now = time.monotonic()
            for index, link in self._links.items():
                if now - link.heard > SILENCE_S:
                    name = self.cluster.name_of(index)
                    self._lose(f"{name} has not answered for {SILENCE_S:.0f} s")

    def _lose(self, text: str) -> None:
        with self._changed:
            if self._closed.is_set() or self.failure is not None:
                return
            self.failure = text
            self._changed.notify_all()
        if self.is_chief:
            self._queue(Frame({"kind": "failed", "text": text}))
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
