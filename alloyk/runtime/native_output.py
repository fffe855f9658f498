"""Keep native libraries' chatter off the terminal, and show it when something fails."""

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def held_output() -> Iterator[None]:
    """Hold back what is written to stdout and stderr, by C++ code too, unless the block fails.

    What was held back goes to stderr then, before the exception goes on. Only for short blocks:
    the descriptors are the process's, so that other threads are held back as well.
    """
    with tempfile.TemporaryFile() as held:
        try:
            with _descriptors_into(held):
                yield
        except Exception:
            held.seek(0)
            sys.stderr.write(held.read().decode(errors="replace"))
            raise


@contextmanager
def _descriptors_into(file) -> Iterator[None]:
    """Let the descriptors 1 and 2 write to `file`, then give them back.

    `sys.stdout` and `sys.stderr` stay the objects they are: logging handlers that a library makes
    meanwhile hold on to them.
    """
    saved = {}
    _flush()
    try:
        for descriptor in (1, 2):
            try:
                saved[descriptor] = os.dup(descriptor)
            except OSError:  # closed, as in a daemon: nothing is written to it
                continue
            os.dup2(file.fileno(), descriptor)
        yield
    finally:
        _flush()
        for descriptor, original in saved.items():
            os.dup2(original, descriptor)
            os.close(original)


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.flush()
