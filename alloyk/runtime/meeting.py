"""The meeting of the workers of one training run, before TensorFlow starts.

TensorFlow waits without end for a worker that does not start, and ignores SIGTERM meanwhile. So the
workers meet here first, over plain TCP, on the chief's port of `TF_CONFIG`; the port is free again
when TensorFlow starts its server on it.
"""

import contextlib
import os
import socket
import struct
import time
from collections.abc import Mapping
from typing import Any

from alloyk.errors import ConfigError
from alloyk.runtime.cluster import Cluster
from alloyk.runtime.frames import Frame, receive, send
from alloyk.runtime.peers import Peers

ANSWER_S = 5.0
"""Longest wait for a message of a worker that is connected."""


def meet(cluster: Cluster, described: Mapping[str, Any], timeout_s: float) -> Peers:
    """Connect to all other workers, and compare what they are about to do.

    Args:
        cluster: All workers.
        described: Name → JSON value, which must be equal on all workers.
        timeout_s: Longest wait for the others.

    Raises:
        ConfigError: A worker is missing, differs in `described`, or a port is in use.
    """
    deadline = time.monotonic() + timeout_s
    with contextlib.closing(_listener(cluster)) as own:
        if cluster.is_chief:
            connections = _accept_all(cluster, own, deadline, timeout_s)
        else:
            connections = {0: _connect(cluster, deadline, timeout_s)}
    peers = Peers(cluster, connections)
    try:
        refuse_differences(cluster, peers.gather("described", dict(described)))
    except BaseException:
        peers.close()
        raise
    return peers


def refuse_differences(cluster: Cluster, described: list[dict[str, Any]]) -> None:
    """Raise unless all workers described the same.

    >>> pair = Cluster(("one:1", "two:1"), 0)
    >>> refuse_differences(pair, [{"keras": "3.15.1"}, {"keras": "3.14.0"}])
    Traceback (most recent call last):
    ...
    alloyk.errors.ConfigError: keras must be the same on all workers, got 3.15.1 on worker 0 (one:1)
    and 3.14.0 on worker 1 (two:1)
    """
    first = described[0]
    for index, other in enumerate(described):
        for name in [*first, *(name for name in other if name not in first)]:
            if first.get(name) != other.get(name):
                raise ConfigError(
                    f"{name} must be the same on all workers, got {first.get(name)} on "
                    f"{cluster.name_of(0)} and {other.get(name)} on {cluster.name_of(index)}"
                )


def _listener(cluster: Cluster) -> socket.socket:
    """Take the port of this worker, which TensorFlow will use, on IPv4 and IPv6."""
    port = int(cluster.addresses[cluster.index].rpartition(":")[2])
    both = socket.has_dualstack_ipv6()
    try:
        return socket.create_server(
            ("", port),
            family=socket.AF_INET6 if both else socket.AF_INET,
            backlog=len(cluster.addresses),
            dualstack_ipv6=both,
        )
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        raise ConfigError(
            f"the port {port} of {cluster.name_of(cluster.index)} must be free, got: {reason}; end "
            "the process that uses it, or choose another port in TF_CONFIG"
        ) from None


def _accept_all(
    cluster: Cluster, listener: socket.socket, deadline: float, timeout_s: float
) -> dict[int, socket.socket]:
    """Wait until every worker has connected."""
    found: dict[int, socket.socket] = {}
    try:
        while len(found) < len(cluster.addresses) - 1:
            listener.settimeout(max(deadline - time.monotonic(), 0.001))
            connection, _ = listener.accept()
            index = _index_of(connection)
            if index is None:
                connection.close()  # this is no worker
                continue
            objection = _objection(cluster, index, found)
            if objection is not None:
                _refuse(connection, objection)
                continue
            if index in found:
                found[index].close()
            found[index] = connection
    except TimeoutError:
        missing = [i for i in range(1, len(cluster.addresses)) if i not in found]
        text = (
            f"all {len(cluster.addresses)} workers must start within {timeout_s:g} s, got no "
            f"connection from {', '.join(map(cluster.name_of, missing))}; start the missing ones, "
            "check that they reach the address of worker 0, or raise train.peer_timeout_seconds"
        )
        for connection in found.values():
            _refuse(connection, text)
        raise ConfigError(text) from None
    except BaseException:
        for connection in found.values():
            connection.close()
        raise
    for connection in found.values():
        with contextlib.suppress(OSError):  # reported as lost by `Peers`
            send(connection, Frame({"kind": "welcome"}))
    return dict(sorted(found.items()))


def _index_of(connection: socket.socket) -> int | None:
    """The number of the worker that has connected; None if it is another program."""
    connection.settimeout(ANSWER_S)
    try:
        hello = receive(connection).header
    except (OSError, EOFError, ValueError, struct.error):
        return None
    index = hello.get("index")
    return index if hello.get("program") == "alloyk" and isinstance(index, int) else None


def _objection(cluster: Cluster, index: int, found: Mapping[int, socket.socket]) -> str | None:
    """Why this worker cannot take part; None if it can."""
    if not 0 < index < len(cluster.addresses):
        return (
            f"TF_CONFIG must have the same addresses on all workers, got {len(cluster.addresses)} "
            f"workers on worker 0 and a worker {index}; correct it, and start all again"
        )
    if index in found and not _has_ended(found[index]):
        return (
            f"TF_CONFIG must have another index on each worker, got {index} on two; correct it, or "
            f"end the other worker {index}"
        )
    return None


def _has_ended(connection: socket.socket) -> bool:
    """Whether a worker that waits for an answer has closed its connection."""
    connection.setblocking(False)
    try:
        return connection.recv(1, socket.MSG_PEEK) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True
    finally:
        connection.settimeout(ANSWER_S)


def _refuse(connection: socket.socket, text: str) -> None:
    with contextlib.suppress(OSError), connection:
        send(connection, Frame({"kind": "refused", "text": text}))


def _connect(cluster: Cluster, deadline: float, timeout_s: float) -> socket.socket:
    """Connect to the chief, which may start later than this worker."""
    host, _, port = cluster.addresses[0].rpartition(":")
    answered = False
    while (left := deadline - time.monotonic()) > 0:
        try:
            connection = socket.create_connection((host.strip("[]"), int(port)), timeout=left)
        except OSError:
            time.sleep(0.2)
            continue
        try:
            send(connection, Frame({"program": "alloyk", "index": cluster.index}))
            connection.settimeout(max(deadline + ANSWER_S - time.monotonic(), 0.1))
            answer = receive(connection).header
        except (OSError, EOFError, ValueError, struct.error):
            answered = True
            connection.close()
            time.sleep(0.2)
            continue
        if answer.get("kind") == "welcome":
            return connection
        connection.close()
        raise ConfigError(str(answer.get("text", "the chief refused this worker")))
    found = "an answer of another program, or an interrupted start" if answered else "no answer"
    raise ConfigError(
        f"{cluster.name_of(0)} must answer within {timeout_s:g} s, got {found}; start it, check "
        "its address in TF_CONFIG, or raise train.peer_timeout_seconds"
    )
