"""The connections of workers that have met, without TensorFlow: what they exchange, who is lost."""

import threading
import time

import pytest
from met_workers import together

from alloyk.errors import LostError
from alloyk.runtime import peers as peers_module


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
