"""Messages over a TCP connection: a JSON header and bytes."""

import json
import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

MAGIC = b"alyk"
_LENGTHS = struct.Struct(">4sIQ")
MAX_HEADER_BYTES = 16 * 2**20


@dataclass(frozen=True)
class Frame:
    """One message.

    Attributes:
        header: A JSON object.
        body: Further bytes.
    """

    header: dict[str, Any]
    body: bytes = b""


def send(connection: socket.socket, frame: Frame) -> None:
    """Send a message."""
    header = json.dumps(frame.header).encode()
    connection.sendall(_LENGTHS.pack(MAGIC, len(header), len(frame.body)) + header)
    if frame.body:
        connection.sendall(frame.body)


def receive(connection: socket.socket, arrived: Callable[[], None] = lambda: None) -> Frame:
    """Receive a message.

    Args:
        connection: Connected socket.
        arrived: Called whenever a part of the message has arrived.

    Raises:
        EOFError: The connection has ended.
        ValueError: What was received is no message.
    """
    magic, header_length, body_length = _LENGTHS.unpack(
        _exactly(connection, _LENGTHS.size, arrived)
    )
    if magic != MAGIC or header_length > MAX_HEADER_BYTES:
        raise ValueError("not a message of alloyk")
    header = json.loads(_exactly(connection, header_length, arrived))
    if not isinstance(header, dict):
        raise ValueError("not a message of alloyk")
    return Frame(header, _exactly(connection, body_length, arrived))


def _exactly(connection: socket.socket, count: int, arrived: Callable[[], None]) -> bytes:
    received = bytearray()
    while len(received) < count:
        part = connection.recv(min(count - len(received), 1 << 20))
        if not part:
            raise EOFError("the connection has ended")
        arrived()
        received += part
    return bytes(received)
