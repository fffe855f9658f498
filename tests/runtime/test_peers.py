"""The connections of workers that have met, without TensorFlow: what they exchange, who is lost."""

import re
import threading
import time

import pytest
from met_workers import meet_and_stop, slow_address, together

from alloyk.errors import LostError
from alloyk.runtime import frames, links
from alloyk.runtime import peers as peers_module
from alloyk.runtime.cluster import Cluster
from alloyk.runtime.meeting import meet


def test_workers_exchange_values_and_get_the_files_of_the_first(met):
    values = together(*(lambda i=i, one=one: one.gather("x", i * 10) for i, one in enumerate(met)))
    assert values == [[0, 10, 20]] * 3
    files = {"checkpoint/state.npz": b"\0" * 3_000_000, "history.csv": b"epoch"}
    shared = together(*(lambda i=i, one=one: one.share_files(files if i == 0 else None)
                        for i, one in enumerate(met)))  # fmt: skip
    assert shared == [files] * 3


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


@pytest.fixture
def soon(monkeypatch):
    """A worker is lost after 1.5 s of silence, and no process is ended."""
    monkeypatch.setattr(links, "BEAT_S", 0.1)
    monkeypatch.setattr(peers_module, "CHECK_S", 0.1)
    monkeypatch.setattr(peers_module, "UNUSUAL_S", 0.3)
    monkeypatch.setattr(peers_module, "SILENCE_S", 1.5)
    monkeypatch.setattr(peers_module, "end_process", lambda code: None)


@pytest.fixture
def stopped(soon, workers):
    """The first two workers; the third has met them, and then neither sends nor reads."""
    *met, connection = together(
        *(lambda i=i: meet(Cluster(workers, i), {}, 10.0) for i in range(2)),
        lambda: meet_and_stop(workers, 2),
    )
    with connection:
        yield met
        for one in met:
            one.close()


def test_a_worker_that_does_not_answer_is_lost(stopped):
    for error in together(*(lambda one=one: one.gather("x", 1) for one in stopped)):
        assert isinstance(error, LostError)
        assert re.match(r"worker 2 \(.*\) has not answered for", str(error))


def test_an_error_of_tensorflow_is_explained_by_a_silent_worker(stopped):
    assert stopped[0].failure is None
    time.sleep(0.5)
    assert "worker 2" in stopped[0].wait_for_loss(0.0)


def test_a_worker_that_stops_reading_is_lost_while_files_are_sent(stopped, monkeypatch):
    """What the system buffers of a connection is less than these files, and than one part."""
    monkeypatch.setattr(peers_module, "PART_BYTES", 2**25)
    files = {"checkpoint/state.npz": b"\0" * 2**25}
    for error in together(
        lambda: stopped[0].share_files(files),
        lambda: (stopped[1].share_files(None), stopped[1].gather("x", 1)),
    ):
        assert isinstance(error, LostError)
        assert re.match(r"worker 2 \(.*\) has not answered for", str(error))
    monkeypatch.setattr(peers_module, "CLOSE_S", 0.3)
    began = time.monotonic()
    stopped[0].close()
    assert time.monotonic() - began < 2


def test_what_was_sent_has_left_when_the_main_thread_goes_on(workers, monkeypatch):
    """The main thread may hold Python's lock from then on, so that no other thread can send."""
    chief, connection = together(
        lambda: meet(Cluster(workers[:2], 0), {}, 10.0), lambda: meet_and_stop(workers, 1)
    )

    def send_late(*arguments):
        time.sleep(0.3)
        frames.send(*arguments)

    monkeypatch.setattr(links, "send", send_late)
    with connection:
        chief.share_files({})
        connection.settimeout(0.0)
        assert frames.receive(connection).header == {"kind": "files", "lengths": {}}
        chief.close()


def test_files_may_take_longer_than_the_longest_silence(soon, workers):
    """One link is slow, and the chief has nothing to send on the other one meanwhile."""
    through = (slow_address(workers[0], 1.5e6), *workers[1:])
    met = together(
        lambda: meet(Cluster(workers, 0), {}, 10.0),
        lambda: meet(Cluster(through, 1), {}, 10.0),
        lambda: meet(Cluster(workers, 2), {}, 10.0),
    )
    files = {"checkpoint/state.npz": bytes(range(256)) * 24_000, "empty": b"", "history.csv": b"a"}
    began = time.monotonic()
    shared = together(*(lambda i=i, one=one: one.share_files(files if i == 0 else None)
                        for i, one in enumerate(met)))  # fmt: skip
    assert time.monotonic() - began > 2 * peers_module.SILENCE_S
    assert shared == [files] * 3
    for one in met:
        one.close()


def test_a_main_thread_that_waits_inside_tensorflow_is_ended(met, monkeypatch, caplog):
    ended = threading.Event()
    monkeypatch.setattr(peers_module, "end_process", lambda code: ended.set())
    monkeypatch.setattr(peers_module, "GRACE_S", 0.2)
    met[1].close()
    assert ended.wait(5)
    assert f"Error: {met[0].failure}" in caplog.text
