"""Report the progress of long work: one protocol for the whole package.

A long function takes `progress` and opens a task when it knows the total:

    >>> def double(numbers, progress=NO_PROGRESS):
    ...     with progress.task("doubling", len(numbers), "numbers") as advance:
    ...         for number in numbers:
    ...             yield 2 * number
    ...             advance(1)
    >>> list(double([1, 2, 3]))
    [2, 4, 6]

The command line passes an object that draws a bar; a notebook or a server passes its own.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

Advance = Callable[[int], object]
"""Called with the number of units done since the last call."""


class Progress:
    """Shows nothing. Override `task` to show something."""

    def task(self, label: str, total: int, unit: str = "images") -> AbstractContextManager[Advance]:
        """Open a task of `total` units; the context gives the function that counts them.

        Args:
            label: Name of the work, such as `reading`.
            total: Number of units to do.
            unit: What is counted, in the plural.
        """
        return nullcontext(_ignore)


def _ignore(done: int) -> None:
    """Count nothing."""


NO_PROGRESS = Progress()
"""The default of every `progress` argument."""


class CallbackProgress(Progress):
    """Calls a function with (label, done, total, unit) after each step.

    >>> progress = CallbackProgress(lambda *step: print(*step))
    >>> with progress.task("reading", 4) as advance:
    ...     advance(1)
    ...     advance(3)
    reading 1 4 images
    reading 4 4 images
    """

    def __init__(self, call: Callable[[str, int, int, str], object]):
        self.call = call

    def task(self, label: str, total: int, unit: str = "images") -> AbstractContextManager[Advance]:
        """Open a task, see `Progress.task`."""
        done = 0

        def advance(count: int) -> None:
            nonlocal done
            done += count
            self.call(label, done, total, unit)

        return nullcontext(advance)
