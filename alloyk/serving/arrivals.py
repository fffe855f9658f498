"""Image files that arrive in a folder, once they are complete.

The folder is polled, because network shares do not report file-system events. A file counts as
complete when its size and modification time have not changed for a while.
"""

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from alloyk.errors import DataError
from alloyk.imaging import is_image_file, is_image_name
from alloyk.messages import shown

SETTLE_S = 2.0
"""Seconds without a change after which a file counts as complete."""

PATIENCE_S = 30.0
"""Seconds for which a file that cannot be read is tried again before its error is final."""

POLL_S = 0.5
# A scan may take up to this share of the time, for the sake of a file server.
_SCAN_SHARE = 0.2

# Nanoseconds to whose multiples file servers round the time of modification: 100 ns (NTFS), 1 µs,
# 1 ms, 10 ms (exFAT), 1 s and 2 s (FAT).
_GRIDS_NS = (100, 10**3, 10**6, 10**7, 10**9, 2 * 10**9)

# The latest time that a table can show: the end of the year 9999.
_LATEST_NS = 253_402_300_799 * 10**9


class Arrival(NamedTuple):
    """A state of an image file.

    Attributes:
        name: Path relative to the folder, with `/`.
        size: Bytes.
        modified_ns: Modification time, in nanoseconds since 1970.
    """

    name: str
    size: int
    modified_ns: int


class _Waiting(NamedTuple):
    """A pending file, the time of the next attempt, and that of the first one that failed."""

    state: Arrival
    due: float
    failed: float | None = None


class Arrivals:
    """The image files below a folder that are complete and not yet processed.

    Hidden files and folders are ignored, and so are files with the suffix of another type, such as
    `plate.png.part`. A file without a suffix, or with a number as its suffix, is opened to decide.
    A file that is rewritten counts as a new one.

    Args:
        folder: The folder; its subfolders are included.
        settle_s: Seconds without a change after which a file is complete.
        patience_s: Seconds for which a complete file that cannot be read is tried again.
        clock: A monotonic clock, in seconds.

    Raises:
        DataError: `folder` is not a folder.
    """

    def __init__(
        self,
        folder: str | Path,
        settle_s: float = SETTLE_S,
        patience_s: float = PATIENCE_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.folder = Path(folder)
        if not self.folder.is_dir():
            raise DataError(
                f"the folder to watch must be an existing folder, got {shown(folder)}; check "
                "the path"
            )
        self._settle_s, self._patience_s, self._clock = settle_s, patience_s, clock
        self._scan_s = 0.0
        self._processed: dict[str, Arrival] = {}
        self._waiting: dict[str, _Waiting] = {}
        self._unnamed: dict[str, tuple[Arrival, bool]] = {}

    def mark_processed(self, arrival: Arrival) -> None:
        """Do not return this state of the file again."""
        self._processed[arrival.name] = arrival
        self._waiting.pop(arrival.name, None)

    def is_final(self, arrival: Arrival, *, failed: bool) -> bool:
        """Return whether the result for a file is final; if not, `ready` returns the file again.

        One that cannot be found any more is listed again if its share comes back.
        """
        try:
            status = os.stat(self.folder / arrival.name)
        except OSError:
            return not failed
        if _state(arrival.name, status) != arrival:  # the result may mix old and new content
            return False
        return not failed or self._postpone(arrival) >= self._patience_s

    def pause_s(self, poll_s: float = POLL_S) -> float:
        """Return the seconds to wait before the next listing."""
        return max(poll_s, self._scan_s / _SCAN_SHARE)

    def _postpone(self, arrival: Arrival) -> float:
        """Schedule another attempt; return the seconds since the first one."""
        now = self._clock()
        waiting = self._waiting.get(arrival.name)
        if waiting is None or waiting.state != arrival:
            return 0.0
        failed = now if waiting.failed is None else waiting.failed
        self._waiting[arrival.name] = _Waiting(arrival, now + self._settle_s, failed)
        return now - failed

    def ready(self) -> list[Arrival]:
        """List the folder; return the files that are complete, the oldest first."""
        before, now = time.monotonic(), self._clock()
        waiting: dict[str, _Waiting] = {}
        for state in self._listed():
            if self._is_processed(state):
                continue
            known = self._waiting.get(state.name)
            if known is None or known.state != state:
                known = _Waiting(state, now + self._settle_s)
            waiting[state.name] = known
        self._waiting = waiting
        self._scan_s = time.monotonic() - before
        complete = [one.state for one in waiting.values() if one.due <= now]
        return sorted(complete, key=lambda state: (state.modified_ns, state.name))

    def _is_processed(self, state: Arrival) -> bool:
        before = self._processed.get(state.name)
        if before is None or before.size != state.size:
            return False
        # A file server may round the modification time when it flushes its cache, once.
        if is_rounded(before.modified_ns, state.modified_ns):
            self._processed[state.name] = state
            return True
        return before == state

    def _listed(self) -> Iterator[Arrival]:
        """Every image file. A folder that cannot be listed is tried again at the next call."""
        pending: list[tuple[str, tuple[str, ...]]] = [("", (os.path.realpath(self.folder),))]
        while pending:
            prefix, above = pending.pop()
            try:
                with os.scandir(self.folder / prefix) as scanned:
                    entries = list(scanned)
            except OSError:
                continue
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                name = prefix + entry.name
                try:
                    if entry.is_dir():
                        real = os.path.realpath(entry.path)
                        if real not in above:  # not a symlink cycle
                            pending.append((name + "/", (*above, real)))
                    elif entry.is_file():
                        state = _state(name, entry.stat())
                        if self._is_image(state):
                            yield state
                except OSError:  # removed since it was listed
                    continue

    def _is_image(self, state: Arrival) -> bool:
        """Decide by the name; open a file without a suffix, or with a number as its suffix."""
        name = os.path.basename(state.name)
        suffix = os.path.splitext(name)[1]
        if is_image_name(name) or (suffix and not suffix[1:].isdigit()):
            return is_image_name(name)
        known = self._unnamed.get(state.name)
        if known is None or known[0] != state:
            path = self.folder / state.name
            try:
                with path.open("rb") as file:
                    file.read(1)
            except OSError:  # locked while it is written: the next listing asks again
                return False
            known = state, is_image_file(path)
            self._unnamed[state.name] = known
        return known[1]


def is_rounded(before_ns: int, after_ns: int) -> bool:
    """Return whether a time is another one, rounded as a file server does it.

    A time of whole seconds has been rounded already: the time after it belongs to a new content.

    >>> is_rounded(7_123_456_789, 7_000_000_000), is_rounded(7_000_000_000, 8_000_000_000)
    (True, False)
    """
    return before_ns % 10**9 != 0 and any(
        after_ns % grid == 0 and before_ns % grid != 0 and abs(after_ns - before_ns) < grid
        for grid in _GRIDS_NS
    )


def _state(name: str, status: os.stat_result) -> Arrival:
    return Arrival(name, status.st_size, min(max(status.st_mtime_ns, 0), _LATEST_NS))
