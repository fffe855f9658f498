"""The meeting of workers, without TensorFlow: who is missing, different or another program."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import closing

import pytest
from met_workers import hello, meeting, together
from workers import tf_config

from alloyk.errors import ConfigError
from alloyk.runtime.cluster import Cluster
from alloyk.runtime.frames import receive
from alloyk.runtime.meeting import _listener, meet


def has_ipv6():
    """Whether a program can listen on `::1`."""
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            return True
    except OSError:
        return False


needs_ipv6 = pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6")
FAMILIES = [socket.AF_INET, pytest.param(socket.AF_INET6, marks=needs_ipv6)]


@pytest.mark.parametrize("family", FAMILIES)
def test_a_port_of_tensorflow_is_free_again_while_the_connections_are_open(met, workers, family):
    for address in workers:
        with socket.socket(family) as again:
            again.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            again.bind(("", int(address.rpartition(":")[2])))
            again.listen()


@needs_ipv6
@pytest.mark.parametrize("host", ["[::1]", "127.0.0.1"])
def test_a_chief_listens_on_both_kinds_of_addresses(workers, host):
    port = workers[0].rpartition(":")[2]
    met = meeting((f"{host}:{port}", *workers[1:]))
    assert [one.count for one in met] == [3] * 3
    for one in met:
        one.close()


def test_a_machine_without_ipv6_listens_on_ipv4(workers, monkeypatch):
    monkeypatch.setattr(socket, "has_dualstack_ipv6", lambda: False)
    with closing(_listener(Cluster(workers, 0))) as listener:
        assert listener.family == socket.AF_INET


def test_a_missing_worker_is_named_by_all_in_time(workers):
    began = time.monotonic()
    chief, other = meeting(workers, ({}, {}), timeout_s=1.0)
    assert time.monotonic() - began < 8
    for error in (chief, other):
        assert isinstance(error, ConfigError)
        assert str(error).startswith(
            f"all 3 workers must start within 1 s, got no connection from worker 2 ({workers[2]});"
        )


def test_a_missing_chief_is_named(workers):
    with pytest.raises(
        ConfigError, match=r"^worker 0 \(.*\) must answer within 0.5 s, got no answ"
    ):
        meet(Cluster(workers, 1), {}, 0.5)


def test_a_chief_that_is_another_program_is_no_answer(workers):
    with socket.create_server(("127.0.0.1", int(workers[0].rpartition(":")[2]))) as server:

        def hang_up():
            while True:
                try:
                    server.accept()[0].close()
                except OSError:
                    return

        threading.Thread(target=hang_up, daemon=True).start()
        with pytest.raises(ConfigError, match="got an answer of another program"):
            meet(Cluster(workers, 1), {}, 1.0)


def test_what_differs_is_an_error_of_all_workers(workers):
    keras = [{"seed": 0, "the version of Keras": version} for version in ("3.15", "3.15", "3.14")]
    for error in meeting(workers, keras):
        assert isinstance(error, ConfigError)
        assert str(error) == (
            "the version of Keras must be the same on all workers, got 3.15 on worker 0 "
            f"({workers[0]}) and 3.14 on worker 2 ({workers[2]})"
        )


def test_a_port_in_use_is_an_error(workers):
    port = int(workers[1].rpartition(":")[2])
    with (
        socket.create_server(("", port)),
        pytest.raises(
            ConfigError,
            match=rf"^the port {port} of worker 1 .* must be free, got: Address already in use;",
        ),
    ):
        meet(Cluster(workers, 1), {}, 5.0)


def test_something_else_that_connects_is_ignored(workers):
    def knock():
        host, port = workers[0].split(":")
        for _ in range(100):
            try:
                with socket.create_connection((host, int(port)), timeout=1) as connection:
                    connection.sendall(b"GET / HTTP/1.1\r\n\r\n" + b"x" * 64)
                return
            except OSError:
                time.sleep(0.02)

    *met, _ = together(
        lambda: meet(Cluster(workers, 0), {}, 10.0),
        lambda: (time.sleep(0.3), meet(Cluster(workers, 1), {}, 10.0))[1],
        lambda: (time.sleep(0.3), meet(Cluster(workers, 2), {}, 10.0))[1],
        knock,
    )
    assert [one.count for one in met] == [3] * 3
    for one in met:
        one.close()


def test_sigterm_ends_a_worker_that_waits(workers):
    program = "from alloyk.runtime.meeting import *; from alloyk.runtime.cluster import *\n"
    program += "print(1, flush=True); meet(cluster_from_environment(), {}, 60)"
    process = subprocess.Popen(
        [sys.executable, "-c", program],
        env={**os.environ, "TF_CONFIG": tf_config(list(workers), 1)},
        stdout=subprocess.PIPE,
    )
    assert process.stdout.readline() == b"1\n"
    time.sleep(0.3)
    process.send_signal(signal.SIGTERM)
    assert process.wait(5) == -signal.SIGTERM
    process.stdout.close()


@pytest.mark.parametrize("index", [2, -1])
def test_a_worker_that_the_chief_does_not_know_is_told_so(workers, index):
    def unknown():
        with hello(workers, index) as connection:
            return receive(connection).header["text"]

    chief, text, worker = together(
        lambda: meet(Cluster(workers[:2], 0), {}, 10.0),
        unknown,
        lambda: (time.sleep(0.5), meet(Cluster(workers[:2], 1), {}, 10.0))[1],
    )
    assert text == (
        "TF_CONFIG must have the same addresses on all workers, got 2 workers on worker 0 and a "
        f"worker {index}; correct it, and start all again"
    )
    assert [chief.count, worker.count] == [2, 2]
    chief.close()
    worker.close()


def test_a_second_worker_of_one_index_is_refused(workers):
    def first_and_second():
        with hello(workers, 1):
            time.sleep(0.3)
            meet(Cluster(workers, 1), {}, 10.0)

    chief, second = together(lambda: meet(Cluster(workers, 0), {}, 2.0), first_and_second)
    assert isinstance(chief, ConfigError)
    assert str(second) == (
        "TF_CONFIG must have another index on each worker, got 1 on two; correct it, or end the "
        "other worker 1"
    )


def test_a_worker_that_is_started_again_replaces_the_one_that_ended(workers):
    def ended_and_started_again():
        for _ in range(2):
            hello(workers, 1).close()
            time.sleep(0.2)
        return meet(Cluster(workers, 1), {}, 10.0)

    met = together(
        lambda: meet(Cluster(workers, 0), {}, 10.0),
        ended_and_started_again,
        lambda: (time.sleep(1.0), meet(Cluster(workers, 2), {}, 10.0))[1],
    )
    assert [one.count for one in met] == [3] * 3
    for one in met:
        one.close()
