"""Whether this process was asked to end.

A library can lose the exception that a signal raises in one of its callbacks, and fail a moment
later for another reason. What records an error for good asks here first.
"""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_noted: list[type[KeyboardInterrupt]] = []


def note_interrupt(kind: type[KeyboardInterrupt]) -> None:
    """Remember that a signal raised `kind`."""
    _noted.append(kind)


def raise_noted_interrupt() -> None:
    """Raise the interrupt that was noted in this process, if any."""
    if _noted:
        raise _noted[-1]


@contextmanager
def noted_interrupts() -> Iterator[None]:
    """Note Ctrl-C in the block; what was noted is forgotten at its end.

    A handler that is already set for SIGINT stays.
    """
    in_main = threading.current_thread() is threading.main_thread()
    ours = in_main and signal.getsignal(signal.SIGINT) is signal.default_int_handler

    def end(number: int, frame: object) -> None:
        note_interrupt(KeyboardInterrupt)
        raise KeyboardInterrupt

    if ours:
        signal.signal(signal.SIGINT, end)
    try:
        yield
    finally:
        _noted.clear()
        if ours:
            signal.signal(signal.SIGINT, signal.default_int_handler)
