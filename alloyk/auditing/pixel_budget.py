"""A limit on the pixels that several threads hold at a time."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class PixelBudget:
    """Lets threads work on images while their pixels together stay below a limit.

    An image larger than the limit is worked on alone.

    Args:
        pixels: The limit.
    """

    def __init__(self, pixels: int) -> None:
        self.pixels = pixels
        self._held = 0
        self._freed = threading.Condition()

    @contextmanager
    def hold(self, pixels: int) -> Iterator[None]:
        """Wait until there is room for an image, and keep it for the block."""
        with self._freed:
            self._freed.wait_for(lambda: not self._held or self._held + pixels <= self.pixels)
            self._held += pixels
        try:
            yield
        finally:
            with self._freed:
                self._held -= pixels
                self._freed.notify_all()
