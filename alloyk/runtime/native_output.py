"""Holding back the output of native libraries, and showing it if something fails."""

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO


@contextmanager
def held_output() -> Iterator[None]:
    """Hold back everything written to stdout and stderr, also by C++ code, unless the block fails.

    If it fails, the output goes to stderr before the exception is raised. Use it for short blocks
    only: it redirects the descriptors of the process, so output of other threads is held back too.
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
def _descriptors_into(file: IO[bytes]) -> Iterator[None]:
    """Redirect the descriptors 1 and 2 to `file`, then restore them.

    `sys.stdout` and `sys.stderr` stay the same objects: logging handlers that a library creates in
    the block keep references to them.
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
