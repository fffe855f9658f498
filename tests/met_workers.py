"""Workers of one training run that meet in threads of this process, without TensorFlow."""

import socket
import threading
import time
from contextlib import suppress

from alloyk.runtime.cluster import Cluster
from alloyk.runtime.frames import Frame, receive, send
from alloyk.runtime.meeting import meet


def together(*functions):
    """Call functions in threads; return what each returned or raised."""
    found = [None] * len(functions)

    def call(number):
        try:
            found[number] = functions[number]()
        except Exception as error:
            found[number] = error

    threads = [threading.Thread(target=call, args=(n,)) for n in range(len(functions))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    return found


def meeting(workers, described=({},) * 3, timeout_s=10.0):
    return together(
        *(
            lambda i=i, what=what: meet(Cluster(workers, i), what, timeout_s)
            for i, what in enumerate(described)
        )
    )


def hello(workers, index):
    """A connection to the chief that has said which worker it is, as the first step of `meet`."""
    host, port = workers[0].split(":")
    for _ in range(200):
        try:
            connection = socket.create_connection((host, int(port)), timeout=5)
        except OSError:
            time.sleep(0.02)
            continue
        send(connection, Frame({"program": "alloyk", "index": index}))
        return connection
    raise AssertionError("the chief does not listen")


def meet_and_stop(workers, index):
    """A worker that has met the others, and then neither sends nor reads; its connection."""
    connection = hello(workers, index)
    receive(connection)
    send(connection, Frame({"kind": "described", "value": {}}))
    while receive(connection).header["kind"] == "beat":
        pass
    return connection


def slow_address(address, bytes_per_s):
    """Another address of a worker, from which bytes arrive at this rate."""
    server = socket.create_server(("127.0.0.1", 0))
    host, port = address.split(":")

    part = 2**14

    def forward(source, target, pause_s):
        with suppress(OSError):
            while received := source.recv(part):
                target.sendall(received)
                time.sleep(pause_s)
            target.shutdown(socket.SHUT_WR)

    def accept():
        with server:
            while True:
                near, _ = server.accept()
                far = socket.socket()
                far.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2**14)
                with near, far:
                    if far.connect_ex((host, int(port))) == 0:
                        forth = threading.Thread(target=forward, args=(near, far, 0), daemon=True)
                        forth.start()
                        forward(far, near, part / bytes_per_s)
                        forth.join()
                        return

    threading.Thread(target=accept, daemon=True).start()
    return f"127.0.0.1:{server.getsockname()[1]}"
