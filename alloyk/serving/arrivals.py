"""Finished image files that arrive in a folder.

The folder is listed again and again: a network share reports no events. A file counts as finished
when its size and time of modification have not changed for a while.
"""

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from alloyk.errors import DataError
from alloyk.imaging import is_image_file, is_image_name, shown

SETTLE_S = 2.0
"""Seconds without a change after which a file counts as finished."""

PATIENCE_S = 30.0
"""Seconds for which a file that cannot be read is tried again before its error is final."""

POLL_S = 0.5
# A scan may take up to this share of the time, for the sake of a file server.
_SCAN_SHARE = 0.2

# The latest time that a table can show: the end of the year 9999.
_LATEST_NS = 253_402_300_799 * 10**9


class Arrival(NamedTuple):
    """A state of an image file.

    Attributes:
        name: Path relative to the folder, with `/`.
        size: Bytes.
        modified_ns: Time of modification, in nanoseconds since 1970.
    """

    name: str
    size: int
    modified_ns: int


class _Waiting(NamedTuple):
    """A file that is not done, since when it has been in this state, and when to try it."""

    state: Arrival
    since: float
    due: float


class Arrivals:
    """The image files below a folder that are finished and not yet done.

    Hidden files and folders are ignored, and so are files whose name is not that of an image, such
    as `plate.png.part`. A file that is written again counts as another one.

    Args:
        folder: The folder; its subfolders are included.
        settle_s: Seconds without a change after which a file is finished.
        patience_s: Seconds for which a finished file that cannot be read is tried again.
        clock: Seconds, increasing.

    Raises:
        DataError: There is no such folder.
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
            raise DataError(f"the folder to watch must exist, but {shown(folder)} does not")
        self._settle_s, self._patience_s, self._clock = settle_s, patience_s, clock
        self._scan_s = 0.0
        self._done: dict[str, Arrival] = {}
        self._waiting: dict[str, _Waiting] = {}
        self._unnamed: dict[str, tuple[Arrival, bool]] = {}

    def mark_done(self, arrival: Arrival) -> None:
        """Do not return this state of the file again."""
        self._done[arrival.name] = arrival
        self._waiting.pop(arrival.name, None)

    def is_final(self, arrival: Arrival, *, failed: bool) -> bool:
        """Whether the result for a file that was read can be kept; if not, it is returned again."""
        if self.has_changed(arrival):  # what was read may be half of one and the other
            return False
        return not failed or self._postpone(arrival) >= self._patience_s

    def pause_s(self, poll_s: float = POLL_S) -> float:
        """Return the seconds to wait before the next listing."""
        return max(poll_s, self._scan_s / _SCAN_SHARE)

    def _postpone(self, arrival: Arrival) -> float:
        """Return the file again later; report for how many seconds it has been finished."""
        now = self._clock()
        waiting = self._waiting.get(arrival.name)
        if waiting is None or waiting.state != arrival:
            return 0.0
        self._waiting[arrival.name] = waiting._replace(due=now + self._settle_s)
        return now - waiting.since - self._settle_s

    def has_changed(self, arrival: Arrival) -> bool:
        """Whether the file is now in another state; a file that is gone was read whole."""
        try:
            status = os.stat(self.folder / arrival.name)
        except OSError:
            return False
        return _state(arrival.name, status) != arrival

    def ready(self) -> list[Arrival]:
        """List the folder; return the files that are finished, the oldest first."""
        before, now = time.monotonic(), self._clock()
        waiting: dict[str, _Waiting] = {}
        for state in self._listed():
            if self._is_done(state):
                continue
            known = self._waiting.get(state.name)
            if known is None or known.state != state:
                known = _Waiting(state, now, now + self._settle_s)
            waiting[state.name] = known
        self._waiting = waiting
        self._scan_s = time.monotonic() - before
        finished = [one.state for one in waiting.values() if one.due <= now]
        return sorted(finished, key=lambda state: (state.modified_ns, state.name))

    def _is_done(self, state: Arrival) -> bool:
        done = self._done.get(state.name)
        if done is None or done.size != state.size:
            return False
        # A file server may round the time once its cache is written; a file that is written again
        # within this time was never finished.
        return abs(done.modified_ns - state.modified_ns) <= self._settle_s * 1e9

    def _listed(self) -> Iterator[Arrival]:
        """Every image file; a folder that cannot be listed now may be there at the next call."""
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
                        if real not in above:  # a link in a circle
                            pending.append((name + "/", (*above, real)))
                    elif entry.is_file():
                        state = _state(name, entry.stat())
                        if self._is_image(state):
                            yield state
                except OSError:  # removed since it was listed
                    continue

    def _is_image(self, state: Arrival) -> bool:
        """Decide by the name; open a file without suffix once only."""
        name = os.path.basename(state.name)
        suffix = os.path.splitext(name)[1]
        if is_image_name(name) or (suffix and not suffix[1:].isdigit()):
            return is_image_name(name)
        known = self._unnamed.get(state.name)
        if known is None or known[0] != state:
            known = state, is_image_file(self.folder / state.name)
            self._unnamed[state.name] = known
        return known[1]


def _state(name: str, status: os.stat_result) -> Arrival:
    return Arrival(name, status.st_size, min(max(status.st_mtime_ns, 0), _LATEST_NS))
