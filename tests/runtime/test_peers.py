"""The meeting of workers, without TensorFlow: who is missing, different or lost."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time

import pytest
from workers import addresses, tf_config

from alloyk.errors import ConfigError, LostError
from alloyk.runtime import peers as peers_module
from alloyk.runtime.cluster import Cluster
from alloyk.runtime.peers import meet


@pytest.fixture
def workers():
    return tuple(addresses(3))


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


@pytest.fixture
def met(workers):
    found = meeting(workers)
    yield found
    for one in found:
        one.close()


def test_workers_exchange_values_and_get_the_files_of_the_first(met):
    values = together(*(lambda i=i, one=one: one.gather("x", i * 10) for i, one in enumerate(met)))
    assert values == [[0, 10, 20]] * 3
    files = {"checkpoint/state.npz": b"\0" * 3_000_000, "history.csv": b"epoch"}
    shared = together(*(lambda i=i, one=one: one.share_files(files if i == 0 else None)
                        for i, one in enumerate(met)))  # fmt: skip
    assert shared == [files] * 3


def test_a_port_of_tensorflow_is_free_again_while_the_connections_are_open(met, workers):
    for address in workers:
        with socket.socket() as again:
            again.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            again.bind(("", int(address.rpartition(":")[2])))
            again.listen()


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
            ConfigError, match=rf"^the port {port} of worker 1 .* must be free, got: Add"
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


@pytest.mark.parametrize("lost", [0, 1])
def test_a_lost_worker_ends_the_waiting_of_all_others(met, lost, monkeypatch):
    monkeypatch.setattr(peers_module, "end_process", lambda code: None)
    waiting = [one for one in met if one is not met[lost]]
    threading.Timer(0.2, met[lost].close).start()
    found = together(*(lambda one=one: one.gather("x", 1) for one in waiting))
    for error in found:
        assert isinstance(error, LostError)
        assert str(error) == f"worker {lost} ({met[0].cluster.addresses[lost]}) ended"


def test_a_failure_is_told_to_all_others(met, monkeypatch):
    monkeypatch.setattr(peers_module, "end_process", lambda code: None)
    threading.Timer(0.2, met[2].fail, ["the disk is full"]).start()
    for error in together(lambda: met[0].gather("x", 1),
                          lambda: met[1].gather("x", 1)):  # fmt: skip
        assert isinstance(error, LostError)
        assert str(error) == f"worker 2 ({met[0].cluster.addresses[2]}) failed: the disk is full"


def test_a_worker_that_does_not_answer_is_lost(met, monkeypatch):
    monkeypatch.setattr(peers_module, "end_process", lambda code: None)
    monkeypatch.setattr(peers_module, "BEAT_S", 0.1)
    monkeypatch.setattr(peers_module, "SILENCE_S", 0.5)
    monkeypatch.setattr(met[1], "_send", lambda *arguments: None)  # as if its machine were off
    with pytest.raises(LostError, match=r"worker 1 \(.*\) has not answered for"):
        met[0].gather("x", 1)


def test_an_error_of_tensorflow_is_explained_by_a_silent_worker(met, monkeypatch):
    monkeypatch.setattr(peers_module, "end_process", lambda code: None)
    monkeypatch.setattr(peers_module, "BEAT_S", 0.1)
    monkeypatch.setattr(peers_module, "SILENCE_S", 1.5)
    assert met[0].wait_for_loss(0.1) is None
    monkeypatch.setattr(met[1], "_send", lambda *arguments: None)
    time.sleep(0.5)
    assert "worker 1" in met[0].wait_for_loss(0.0)


def test_a_main_thread_that_waits_inside_tensorflow_is_ended(met, monkeypatch, caplog):
    ended = threading.Event()
    monkeypatch.setattr(peers_module, "end_process", lambda code: ended.set())
    monkeypatch.setattr(peers_module, "GRACE_S", 0.2)
    met[1].close()
    assert ended.wait(5)
    assert f"Error: {met[0].failure}" in caplog.text


def test_sigterm_ends_a_worker_that_waits(workers):
    program = "from alloyk.runtime.peers import *; from alloyk.runtime.cluster import *\n"
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
