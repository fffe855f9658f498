"""One connection to another worker: what is sent, and what counts as a sign of life."""

import socket
import threading
import time

import pytest

from alloyk.runtime import links
from alloyk.runtime.frames import Frame, receive, send


@pytest.fixture
def pair():
    """A link, and the socket at its other end."""
    near, far = socket.socketpair()
    link = links.Link(near, threading.Condition())
    with far:
        yield link, far
        link.close(0.0)


def test_messages_arrive_in_order_and_all_before_the_end(pair):
    link, far = pair
    sent = [Frame({"kind": str(number)}, b"x" * number) for number in range(100)]
    for frame in sent:
        link.send(frame)
    link.close(5.0)
    assert [receive(far) for _ in sent] == sent
    with pytest.raises(EOFError):
        receive(far)


def test_signs_of_life_are_sent_while_there_is_nothing_else(monkeypatch):
    monkeypatch.setattr(links, "BEAT_S", 0.02)
    near, far = socket.socketpair()
    link = links.Link(near, threading.Condition())
    with far:
        assert [receive(far).header for _ in range(3)] == [{"kind": "beat"}] * 3
        link.close(5.0)


def test_a_part_of_a_message_is_a_sign_of_life(pair):
    link, far = pair
    frame = Frame({"kind": "part"}, b"x" * 10_000)
    near, whole = socket.socketpair()
    with near, whole:
        send(near, frame)
        message = whole.recv(20_000)
    far.sendall(message[:5_000])
    began = link.heard
    arrived = []
    reader = threading.Thread(target=lambda: arrived.append(link.receive()))
    reader.start()
    wait_until(lambda: link.heard > began)
    assert arrived == []
    far.sendall(message[5_000:])
    reader.join(5)
    assert arrived == [frame]


def wait_until(condition):
    ends = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < ends
        time.sleep(0.01)


def test_neither_sending_nor_closing_waits_for_a_worker_that_does_not_read(pair):
    link, _ = pair
    began = time.monotonic()
    for _ in range(3):
        link.send(Frame({"kind": "part"}, b"x" * 2**22))
    link.close(0.1)
    assert time.monotonic() - began < 2
